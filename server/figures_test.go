package server_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// The leader says how long its decisions and commits take, what is declined, what becomes of messages, and which tasks never were.
func TestFigures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 2)
		s := r.subscribe(eng("spark"))
		leader := s.host.server
		o := s.offer("")
		check(t, leader.Decline(s.sub.Framework, s.sub.Connection, []structs.OfferID{o.ID}, allocator.Filter{Refuse: structs.Duration(time.Hour)}))
		check(t, leader.MessageFramework(t.Context(), &server.ExecutorMessage{Framework: s.sub.Framework, Executor: "x"}))
		check(t, leader.MessageFramework(t.Context(), &server.ExecutorMessage{Framework: "nobody", Executor: "x"}))
		check(t, leader.Tell(s.sub.Framework, s.sub.Connection, &server.TaskNews{Task: "t", TaskUpdate: structs.TaskUpdate{State: structs.TaskError, Reason: "TASK_INVALID"}}))
		f := leader.Figures()
		if f.Consensus.Commits.Ever == 0 || f.Consensus.Commits.At(1) == 0 || f.Consensus.Voters != 3 || f.Consensus.Bytes == 0 {
			t.Errorf("consensus: %d commits, %d voters, %d bytes", f.Consensus.Commits.Ever, f.Consensus.Voters, f.Consensus.Bytes)
		}
		if f.Steps.Ever == 0 || f.Waits.Ever == 0 || f.Waits.Ever > f.Steps.Ever {
			t.Errorf("%d decisions, %d of them on news", f.Steps.Ever, f.Waits.Ever)
		}
		if f.Filters["eng"] != 1 || len(f.Offers) != 1 || f.Offers[0].Declined != 1 {
			t.Errorf("%v filters, offers: %+v", f.Filters, f.Offers)
		}
		if f.Passed != 1 || f.Lost != 1 || f.Refused[state.TaskEnd{State: structs.TaskError, Reason: "TASK_INVALID"}] != 1 {
			t.Errorf("%d messages passed on, %d lost, never were %v", f.Passed, f.Lost, f.Refused)
		}
		for _, h := range r.servers {
			if f := h.server.Figures(); h.server != leader && (f.Steps.Ever != 0 || len(f.Offers) != 0 || f.Consensus.Voters != 3) {
				t.Errorf("a server that never led: %+v", f)
			}
		}
	})
}
