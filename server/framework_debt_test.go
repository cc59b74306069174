package server_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// A framework that acknowledges the end of no task launches no more at some point, and goes on once it does, also in another subscription.
func TestEndsThatNobodyAcknowledgesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1)
		r.servers[0].server.SetMaxUntold(2)
		f := eng("spark")
		s := r.subscribe(f)
		f.ID = s.sub.Framework
		launch := func(task string) error {
			t.Helper()
			done, err := s.accept(s.offer(""), launches(task, 1))
			check(t, err)
			return done.Faults[0]
		}
		var ends []*server.TaskNews
		for _, task := range []string{"one", "two"} {
			check(t, launch(task))
			s.acknowledge(s.told(task, structs.TaskRunning))
			check(t, s.host.server.KillTask(t.Context(), s.sub.Framework, s.sub.Connection, server.TaskName{Task: task}))
			ends = append(ends, s.told(task, structs.TaskKilled))
		}
		refused := func() {
			t.Helper()
			if err := launch("three"); structs.KindOf(err) != structs.Exhausted || !strings.Contains(err.Error(), "2 tasks ended") {
				t.Errorf("a third one: %v", err)
			}
		}
		refused()
		s.close()
		s = r.subscribe(f)
		refused()
		s.acknowledge(ends[0])
		r.eventually("it launches again", func() bool { return launch("three") == nil })
	})
}

// What became of operations with an id counts likewise, also while it is being committed. Operations without one go on.
func TestOutcomesThatNobodyAcknowledgesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1)
		r.servers[0].server.SetMaxUntold(2)
		s := r.subscribe(eng("spark"))
		named := func(id string) *server.FrameworkOperation {
			return &server.FrameworkOperation{Reserve: reserves("eng", 1), ID: id}
		}
		done, err := s.accept(s.offer(""), named("one"), named("two"), named("three"), &server.FrameworkOperation{Reserve: reserves("eng", 1)}, launches("a", 1))
		check(t, err)
		for i, want := range []string{"", "", "2 operations were decided", "", ""} {
			if fault := done.Faults[i]; (fault == nil) != (want == "") || fault != nil && !strings.Contains(fault.Error(), want) || i < 3 && done.Kept[i] != (want == "") {
				t.Errorf("operation %d: %v, kept: %t", i, fault, done.Kept[i])
			}
		}
		refused := func(op *server.FrameworkOperation) {
			t.Helper()
			done, err := s.accept(s.offer(""), op)
			check(t, err)
			if err := done.Faults[0]; structs.KindOf(err) != structs.Exhausted || !strings.Contains(err.Error(), "0 tasks ended and 2 operations were decided") {
				t.Errorf("it is answered %v", err)
			}
		}
		refused(named("four"))
		refused(launches("b", 1))
		id := s.sub.Framework
		check(t, s.host.server.AcknowledgeOperation(t.Context(), id, s.sub.Connection, state.AcknowledgedOperation{ID: "one", UUID: r.snapshot().Operation(id, "one").UUID}))
		r.eventually("it launches again", func() bool {
			done, err := s.accept(s.offer(""), launches("b", 1))
			return err == nil && done.Faults[0] == nil
		})
	})
}

// What nobody acknowledges in a while of one subscription is forgotten.
func TestOutcomesThatNobodyAcknowledgesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1)
		r.servers[0].server.SetHeedWithin(10 * time.Minute)
		f := eng("spark")
		s := r.subscribe(f)
		f.ID = s.sub.Framework
		_, err := s.accept(s.offer(""), &server.FrameworkOperation{Reserve: reserves("eng", 1), ID: "one"})
		check(t, err)
		kept := func() bool { return r.snapshot().Operation(f.ID, "one") != nil }
		time.Sleep(8 * time.Minute)
		s.close()
		time.Sleep(5 * time.Minute)
		r.subscribe(f)
		time.Sleep(8 * time.Minute)
		if !kept() {
			t.Fatal("it is forgotten before its time")
		}
		time.Sleep(4 * time.Minute)
		if kept() {
			t.Error("it is not forgotten")
		}
	})
}
