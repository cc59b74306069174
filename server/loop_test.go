package server_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// small is a task of which many fit on a node.
func small(j *structs.Job) {
	for _, g := range j.Groups {
		g.Tasks[0].Resources = &structs.TaskResources{CPU: 1, Memory: 1 << 20}
	}
}

// What the loop wants at once may be more than an entry takes.
func TestMoreThanAnEntryTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 2, func(r *region) { r.entryBytes = 16 << 10 })
		r.propose(&state.SubmitJob{Job: job("web", "service", 600, small)})
		r.eventually("all running", func() bool { return r.running("web") == 600 })
		r.propose(&state.ScaleJob{Name: "web", Group: "g", Count: 1})
		r.eventually("one running", func() bool { return r.running("web") == 1 && r.witness.count() == 1 })
		for i := range 300 {
			r.propose(&state.SubmitJob{Job: job(fmt.Sprintf("job%d", i), "service", 1, small)})
		}
		r.eventually("all jobs running", func() bool { return r.witness.count() == 301 })
	})
}

// A job that is purged and submitted again is another job, whatever is left of the first one.
func TestPurgedAndSubmittedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1)
		with := func(text string, cpu structs.Milli) func(*structs.Job) {
			return func(j *structs.Job) {
				j.Groups[0].Tasks[0].Config = map[string]any{"text": text}
				j.Groups[0].Tasks[0].Resources.CPU = cpu
			}
		}
		submit := func(kind, text string, cpu structs.Milli) {
			t.Helper()
			r.propose(&state.SubmitJob{Job: job("j", kind, 2, with(text, cpu))})
			r.eventually(text, func() bool {
				found := 0
				for a := range r.leader().server.Store().Snapshot().AllocsOfJob("j") {
					if a.Desired == structs.DesiredStop {
						continue
					}
					found++
					switch have := r.nodes[0].text("j", a.Version); {
					case a.Resources.CPU != cpu:
						t.Fatalf("%s is placed with %s of CPU, not %s", text, a.Resources.CPU, cpu)
					case a.Status != structs.AllocPending && have != text:
						t.Fatalf("%s runs the text %q", text, have)
					case kind == "batch" && a.Status != structs.AllocComplete, kind == "service" && a.Status != structs.AllocRunning:
						return false
					}
				}
				return found == 2
			})
		}
		for i, kind := range []string{"service", "service", "batch", "batch", "service"} {
			submit(kind, fmt.Sprintf("text %d", i), structs.Milli(100+10*i))
			r.propose(&state.StopJob{Name: "j", Purge: true}) // and at once the next one
		}
		r.eventually("nothing left", func() bool { return r.witness.count() == 0 })
	})
}

// When the outcome of a command is not known, the loop begins anew from the state: what the command did is not done twice,
// and what it did not do is done.
func TestTheLoopAfterAnUnknownOutcome(t *testing.T) {
	unknown := structs.Errorf(structs.Unknown, "propose", "it may have happened")
	for name, happens := range map[string]bool{"it happened": true, "it did not happen": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRegion(t, 1, 2)
				var lost atomic.Int32
				r.leader().server.Between(func(commit func() (any, error)) (any, error) {
					if lost.Add(1) > 2 {
						return commit()
					}
					if happens {
						commit()
					}
					return nil, unknown
				})
				r.propose(&state.SubmitJob{Job: job("web", "service", 6)})
				r.eventually("six running", func() bool { return r.running("web") == 6 })
				r.propose(&state.ScaleJob{Name: "web", Group: "g", Count: 8})
				r.eventually("eight running", func() bool { return r.running("web") == 8 })
				time.Sleep(time.Minute)
				if n := lost.Load(); n < 3 {
					t.Errorf("%d commands", n)
				}
				if n := len(r.witness.starts()); n != 8 || r.witness.count() != 8 {
					t.Errorf("%d starts and %d run, not 8", n, r.witness.count())
				}
			})
		})
	}
}
