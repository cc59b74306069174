package server_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// joins launches a task of a core with the executor x, which has half a core of its own.
func joins(task string) *server.FrameworkOperation {
	op := launches(task, 1)
	op.Launch.Group.Tasks[0].Name = task
	op.Launch.External = &structs.External{Executor: "x", Info: []byte("x"), Own: structs.Resources{CPU: 500},
		Tasks: []*structs.ExternalTask{{ID: task, Name: task, Resources: op.Launch.Resources, Together: true}}}
	return op
}

// Launches with one executor, in one accept or one after the other, are one allocation. Its own amount is asked for once, offers name it,
// and none is rescinded while what it holds grows.
func TestLaunchesOfOneExecutorJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 1)
		s := r.subscribe(eng("spark"))
		o := s.offer("")
		if len(o.Executors) != 0 {
			t.Errorf("the first offer names %v", o.Executors)
		}
		all := o.Resources.CPU
		done, err := s.accept(o, joins("one"), joins("two"))
		check(t, err)
		check(t, errors.Join(done.Faults...))
		id := done.Allocs[0]
		for i, name := range []string{"three", "four", "five"} {
			o := s.offer("")
			if fmt.Sprint(o.Executors) != "[x]" || o.Resources.CPU != all-2500-structs.Milli(1000*i) {
				t.Errorf("offer %d of %s names %v", i, o.Resources, o.Executors)
			}
			done, err := s.accept(o, joins(name))
			check(t, err)
			check(t, errors.Join(done.Faults...))
			if done.Allocs[0] != id {
				t.Errorf("%s is in %s and not in %s", name, done.Allocs[0], id)
			}
		}
		for _, name := range []string{"one", "two", "three", "four", "five"} {
			if n := s.told(name, structs.TaskRunning); n.Alloc != id || n.Executor != "x" || n.Within != name {
				t.Errorf("%s is told as %+v", name, n)
			}
		}
		if a := r.snapshot().Alloc(id); a.Resources.CPU != 5500 {
			t.Errorf("it holds %s", a.Resources)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.dropped) != 0 {
			t.Errorf("%d offers were rescinded", len(s.dropped))
		}
	})
}

// An executor that was lost with its node may still run there and not be wanted any more when the node is back. Until it has ended none of its
// name begins beside it.
func TestNoSecondExecutorBeforeTheFirstEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1)
		s, n := r.subscribe(eng("spark")), r.nodes[0]
		done, err := s.accept(s.offer(""), joins("one"), joins("two"))
		check(t, err)
		check(t, errors.Join(done.Faults...))
		first := done.Allocs[0]
		s.told("one", structs.TaskRunning)
		s.told("two", structs.TaskRunning)
		n.slowly(true)
		r.mesh.Cut([]string{n.ip}, r.ip())
		s.told("one", structs.TaskUnreachable)
		r.propose(&state.PutReservation{Reservation: &structs.Reservation{ID: "ops", Node: n.id, Role: "ops", Resources: structs.Resources{CPU: 6000}}})
		r.mesh.Heal()
		done, err = s.accept(s.offer(""), joins("three"))
		check(t, err)
		var refused *server.RefusedOperation
		if !errors.As(done.Faults[0], &refused) || refused.Reason != state.RefusedEnding {
			t.Errorf("while the first one ends: %v", done.Faults)
		}
		if a := r.snapshot().Alloc(first); a.Status != structs.AllocLost || a.Desired != structs.DesiredStop {
			t.Fatalf("the first one is %+v", a)
		}
		n.slowly(false)
		r.eventually("the first one has ended", func() bool { return r.snapshot().Alloc(first).Status == structs.AllocComplete })
		done, err = s.accept(s.offer(""), joins("three"))
		check(t, err)
		check(t, errors.Join(done.Faults...))
		s.told("three", structs.TaskRunning)
	})
}

// Of two launches of one task one is refused, and what was decided for it and for the one that joined is free again.
func TestATaskThatIsLaunchedTwiceHoldsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 1)
		s := r.subscribe(eng("spark"))
		o := s.offer("")
		all := o.Resources.CPU
		done, err := s.accept(o, joins("one"))
		check(t, err)
		check(t, errors.Join(done.Faults...))
		done, err = s.accept(s.offer(""), joins("two"), joins("two"))
		check(t, err)
		if done.Faults[0] != nil || done.Faults[1] == nil {
			t.Errorf("the faults are %v", done.Faults)
		}
		r.eventually("the rest is offered", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			rest := all - 2500
			for _, o := range s.offers {
				rest -= o.Resources.CPU
			}
			return rest == 0
		})
	})
}

// A task ended and was forgotten, and another one of its id joined, while its node was away: what the node then says of the first is not said of
// the second, and the node runs that.
func TestATaskIsNotTakenForAForgottenOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 1)
		s := r.subscribe(eng("spark"))
		n := r.nodes[0]
		launch := func(task string) {
			t.Helper()
			done, err := s.accept(s.offer(""), joins(task))
			check(t, err)
			check(t, errors.Join(done.Faults...))
		}
		runs := func(task string) {
			t.Helper()
			s.acknowledge(s.told(task, structs.TaskRunning))
		}
		launch("stays")
		runs("stays")
		launch("one")
		runs("one")
		check(t, s.host.server.KillTask(context.Background(), s.sub.Framework, s.sub.Connection, server.TaskName{Task: "one"}))
		s.acknowledge(s.told("one", structs.TaskKilled))
		r.eventually("all is acknowledged", func() bool {
			for a := range r.snapshot().AllocsOnNode(n.id) {
				return a.External.Told()
			}
			return false
		})
		r.mesh.Cut([]string{n.ip}, r.ip())
		launch("two") // "one" is forgotten
		launch("one")
		s.forget()
		r.mesh.Heal()
		runs("two")
		runs("one")
		if len(s.heard("one")) == 0 || slices.ContainsFunc(s.heard("one"), func(u *server.TaskNews) bool { return u.State.Ended() }) {
			t.Errorf("of the second task it heard %+v", s.heard("one"))
		}
	})
}
