package server_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/proffer/proffer/scheduler/allocator"
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
		if end := s.told("soft", structs.TaskGone); end.Reason != "CONTAINER_PREEMPTED" || !end.Agent || !strings.HasPrefix(end.Message, "taken back") {
			t.Errorf("it is told %+v", end)
		}
	})
}

// An executor of a framework begins on what the node itself has, and is best-effort work as long as one of its tasks is on what others leave: when
// they use that, those tasks of a pod go, and the others stay.
func TestExecutorsUseWhatOthersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 1)
		n := r.nodes[0]
		r.propose(&state.SubmitJob{Job: job("web", "service", 1, func(j *structs.Job) { j.Groups[0].Tasks[0].Resources.CPU = 4000 })})
		r.eventually("web runs", func() bool { return r.running("web") == 1 })
		f := eng("spark")
		f.Terms = map[string]*structs.OfferTerms{"eng": {Revocable: true}}
		s := r.subscribe(f)
		done, err := s.accept(s.offer(""), joins("firm"))
		check(t, err)
		check(t, errors.Join(done.Faults...))
		id := done.Allocs[0]
		s.acknowledge(s.told("firm", structs.TaskRunning))
		n.up.Slack(structs.Slack{CPU: 2500, Memory: 1 << 30})
		soft := func(task string) *server.FrameworkOperation {
			op := joins(task)
			op.Launch.Slack.CPU, op.Launch.External.Tasks[0].Revocable = 1000, &structs.Slack{CPU: 1000}
			return op
		}
		offers := func() (ids []structs.OfferID) {
			r.eventually("all that is left of both kinds is offered", func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				firm, slack := false, structs.Milli(0)
				for _, o := range s.offers {
					ids = append(ids, o.ID)
					if firm = firm || !o.Revocable; o.Revocable {
						slack += o.Resources.CPU
					}
				}
				if !firm || slack != 2500-r.snapshot().Alloc(id).OfSlack().CPU {
					ids = nil
					return false
				}
				clear(s.offers)
				return true
			})
			return ids
		}
		launch := func(op *server.FrameworkOperation) error {
			done, err := s.host.server.Accept(context.Background(), s.sub.Framework, s.sub.Connection, offers(), []*server.FrameworkOperation{op}, allocator.Filter{})
			check(t, err)
			return done.Faults[0]
		}
		is := func(what string, slack structs.Milli, band structs.Band) {
			t.Helper()
			r.eventually(what, func() bool {
				a := r.snapshot().Alloc(id)
				return a.OfSlack().CPU == slack && a.Priority.Band == band
			})
		}
		check(t, launch(soft("one")))
		is("with one", 1000, structs.BestEffort)
		check(t, launch(soft("two")))
		is("with two", 2000, structs.BestEffort)
		if err := launch(soft("three")); err == nil || !strings.Contains(err.Error(), "that is revocable, the offers have") {
			t.Errorf("more than others leave: %v", err)
		}
		for _, task := range []string{"one", "two"} {
			s.acknowledge(s.told(task, structs.TaskRunning))
			check(t, s.host.server.KillTask(context.Background(), s.sub.Framework, s.sub.Connection, server.TaskName{Task: task}))
			s.acknowledge(s.told(task, structs.TaskKilled))
		}
		is("without them", 0, structs.BatchBand)
		check(t, launch(soft("four")))
		s.acknowledge(s.told("four", structs.TaskRunning))
		n.up.Slack(structs.Slack{CPU: 500, Memory: 1 << 30})
		if end := s.told("four", structs.TaskGone); end.Reason != "CONTAINER_PREEMPTED" || !end.Agent || !strings.HasPrefix(end.Message, "taken back") {
			t.Errorf("it ends as %+v", end)
		}
		is("without what was taken back", 0, structs.BatchBand)
		if a := r.snapshot().Alloc(id); a.Desired != structs.DesiredRun || a.Tasks["firm"].Status != structs.TaskRunning {
			t.Errorf("with it went %+v", a)
		}
		if r.running("web") != 1 {
			t.Error("web does not run")
		}
	})
}
