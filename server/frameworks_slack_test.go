package server_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// A framework that takes what is revocable is offered what a service has reserved and does not use, runs best-effort work on it, and
// loses that when the service uses it.
func TestFrameworkUsesWhatOthersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 1)
		n := r.nodes[0]
		r.propose(&state.SubmitJob{Job: job("web", "service", 1, func(j *structs.Job) { j.Groups[0].Tasks[0].Resources.CPU = 8000 })})
		r.eventually("web runs", func() bool { return r.running("web") == 1 })
		n.up.Slack(structs.Slack{CPU: 5000, Memory: 1 << 30})
		f := eng("spark")
		f.Terms = map[string]*structs.OfferTerms{"eng": {Revocable: true}}
		s := r.subscribe(f)
		var o *server.FrameworkOffer
		for o == nil || !o.Revocable {
			o = s.offer("")
		}
		if o.Resources.CPU != 5000 || o.Resources.Disk != 0 || len(o.Ports) != 0 {
			t.Errorf("it is offered %s", o.Text())
		}
		firm, soft := launches("firm", 1), launches("soft", 3)
		soft.Launch.Slack = soft.Launch.Resources.Slack()
		done, err := s.accept(o, firm, soft)
		check(t, err)
		if done.Faults[0] == nil || !strings.Contains(done.Faults[0].Error(), "the offers have") {
			t.Errorf("work that may not be taken back on what may: %v", done.Faults[0])
		}
		check(t, errors.Join(done.Faults[1:]...))
		a := r.snapshot().Alloc(done.Allocs[1])
		if a == nil || a.OfSlack().CPU != 3000 || a.Priority.Band != structs.BestEffort {
			t.Fatalf("the allocation is %+v", a)
		}
		s.acknowledge(s.told("soft", structs.TaskRunning))
		n.up.Slack(structs.Slack{CPU: 1000, Memory: 1 << 30})
		if end := s.told("soft", structs.TaskKilled); end.Reason != "CONTAINER_PREEMPTED" || !end.Agent || !strings.HasPrefix(end.Message, "taken back") {
			t.Errorf("it is told %+v", end)
		}
	})
}
