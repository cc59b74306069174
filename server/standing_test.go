package server_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// What waits has a place in the order, a reason for it and a time at which it is expected, whichever server is asked; roles
// have their places; and a simulation says what would help.
func TestPlaceInTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 1)
		cores := func(n structs.Milli) func(*structs.Job) {
			return func(j *structs.Job) { j.Groups[0].Tasks[0].Resources.CPU = n }
		}
		in := func(role string) func(*structs.Job) { return func(j *structs.Job) { j.Role = role } }
		bounded := func(j *structs.Job) { j.Groups[0].MaxRunDuration = structs.Duration(time.Hour) }
		r.propose(&state.PutRole{Role: &structs.Role{Name: "eng", Weight: 2000}})
		r.propose(&state.SubmitJob{Job: job("ours", "service", 2, in("eng"), cores(2000), bounded)})
		r.propose(&state.SubmitJob{Job: job("theirs", "service", 4, in("science"), cores(1000), bounded)})
		r.eventually("a full node", func() bool { return r.running("ours") == 2 && r.running("theirs") == 4 })
		begun := structs.At(time.Now())
		r.propose(&state.SubmitJob{Job: job("small", "service", 2, in("science"), cores(1000))})
		r.propose(&state.SubmitJob{Job: job("next", "service", 3, in("eng"), cores(1000))})
		r.propose(&state.SubmitJob{Job: job("large", "service", 1, in("eng"), cores(9000))})
		time.Sleep(time.Minute)

		for name, want := range map[string]string{"next": "3 of 3 allocations wait to be placed; no node has room for group g", "ours": ""} {
			if got := r.leader().server.Store().Snapshot().Job(name).Why; got != want {
				t.Errorf("the record of %s says %q, not %q", name, got, want)
			}
		}
		explain := func(h *host, name string) *server.GroupExplanation {
			t.Helper()
			groups, err := h.server.Explain(context.Background(), name, "")
			check(t, err)
			return groups[0]
		}
		for _, h := range r.servers {
			// Both hold half of the region, and eng has twice the weight: it goes ahead until it is level.
			first := explain(h, "next")
			if w := first.Standing; w == nil || w.Because != allocator.OfNoNode || w.Turn == nil || w.Turn.At != 1 || len(w.Turn.Ranks) != 2 || w.Turn.Ranks[0].Of != 2 {
				t.Fatalf("%s: %+v", h.ip, first.Standing)
			}
			if e := first.Expected; e == nil || e.NodeName != "node1" || e.At < begun.Add(structs.Duration(59*time.Minute)) || e.At > begun.Add(structs.Duration(62*time.Minute)) {
				t.Errorf("%s: expected %+v", h.ip, e)
			}
			later := explain(h, "small")
			if turn := later.Standing.Turn; turn.At != 5 || len(turn.Ahead) != 1 || turn.Ahead[0].Role != "eng" || turn.Ahead[0].Slots != 4 || turn.Ranks[0].Behind != "eng" {
				t.Errorf("%s: %s", h.ip, turn)
			}
			if never := explain(h, "large").Expected; never == nil || never.At != 0 || never.Why == "" {
				t.Errorf("%s: what is larger than the node is expected %+v", h.ip, never)
			}
			shares, err := h.server.Shares(context.Background())
			check(t, err)
			if len(shares) != 2 || shares[0].Role != "eng" || shares[0].Waiting != 4 || shares[0].Running != 2 || shares[0].Rank.At != 1 || shares[1].Rank.At != 2 ||
				shares[0].Frameworks[0].Framework != "service" {
				t.Errorf("%s: %+v", h.ip, shares)
			}
			more, err := h.server.Simulate(context.Background(), &server.Change{Add: 1, Like: "node1"})
			check(t, err)
			if more.Placed != 5 || more.Waiting != 1 {
				t.Errorf("%s: with one more node %+v", h.ip, more)
			}
		}
	})
}
