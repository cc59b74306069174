package server_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// A plan goes where the loop would: not to a node whose maintenance comes too early, as long as another one has room. An
// explanation names the node that is avoided. What a plan places ends some time, and what waits may start then.
func TestPlanAroundMaintenance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 2)
		s := r.leader().server
		r.eventually("two nodes", func() bool {
			ready := 0
			for n := range s.Store().Snapshot().Nodes() {
				if n.Schedulable() {
					ready++
				}
			}
			return ready == 2
		})
		for i := range r.nodes { // whichever it is that is liked more
			avoided, other := r.nodes[i].id, r.nodes[1-i].id
			r.propose(&state.SetMaintenance{Node: avoided, Maintenance: &structs.Maintenance{Window: structs.Window{
				Start: structs.At(time.Now().Add(2 * time.Hour))}}})
			full := int(s.Store().Snapshot().Node(other).Available().CPU / 100)
			for count, beyond := range map[int]int{full: 0, full + 1: 1} {
				plan, err := s.Plan(context.Background(), job("web", "service", count))
				check(t, err)
				on := map[structs.NodeID]int{}
				for _, a := range plan[0].Held {
					on[a.Node]++
				}
				if on[other] != full || on[avoided] != beyond || len(plan[0].Avoided) != 1 || plan[0].Avoided[0].ID != avoided {
					t.Errorf("%d allocations: %v, %v is avoided", count, on, plan[0].Avoided)
				}
			}
			short := func(j *structs.Job) { j.Groups[0].MaxRunDuration = structs.Duration(time.Hour) }
			plan, err := s.Plan(context.Background(), job("web", "service", 1, short))
			check(t, err)
			if len(plan[0].Avoided) != 0 {
				t.Errorf("what ends in time avoids %s", plan[0].Avoided[0].Name)
			}
			plan, err = s.Plan(context.Background(), job("web", "service", 2*full+1, short))
			check(t, err)
			if g := plan[0]; g.Waiting != 1 || g.Expected == nil || g.Expected.At == 0 || !strings.Contains(g.Expected.Why, "max_run_duration") {
				t.Errorf("%d wait, expected %+v", g.Waiting, g.Expected)
			}
			r.propose(&state.SetMaintenance{Node: avoided})
		}
		r.propose(&state.SetMaintenance{Node: r.nodes[0].id, Maintenance: &structs.Maintenance{Window: structs.Window{
			Start: structs.At(time.Now().Add(2 * time.Hour))}}})
		r.propose(&state.SubmitJob{Job: job("runs", "service", 1)})
		r.eventually("it runs", func() bool { return r.running("runs") == 1 })
		groups, err := s.Explain(context.Background(), "runs", "")
		check(t, err)
		if g := groups[0]; len(g.Held) == 0 {
			t.Errorf("nothing runs: %+v", g)
		} else if len(g.Avoided) != 1 || g.Avoided[0].ID != r.nodes[0].id || g.Held[0].Node != r.nodes[1].id {
			t.Errorf("it runs on %s, and avoids %v", g.Held[0].NodeName, g.Avoided)
		}
	})
}
