package state

import (
	"testing"

	"github.com/proffer/proffer/structs"
)

// What is of a node's slack is not of its own room, and counts for the role all the same.
func TestRevocableHoldsNoRoom(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 2000)
	r.must(&SubmitJob{Job: job("web", "service", 2, "g")})
	r.must(&SubmitJob{Job: job("scan", "batch", 3, "g")})
	r.place("web", "g", 0, id)
	r.place("web", "g", 1, id)
	r.refused(RefusedResources, r.placement("scan", "g", 0, id))
	of := func(index int, s structs.Slack) *Placement {
		p := r.placement("scan", "g", index, id)
		p.Alloc.Revocable = &s
		return p
	}
	r.refused(RefusedResources, of(0, structs.Slack{CPU: 999}))
	r.refused(RefusedInvalid, of(0, structs.Slack{CPU: 1001}))
	r.refused(RefusedInvalid, of(0, structs.Slack{CPU: 1000, Memory: -1}))
	if got := r.must(&Place{Placements: []*Placement{of(0, structs.Slack{CPU: 1000})}}).(*Placed); got.Placements[0].Refused != "" {
		t.Fatalf("refused: %+v", got.Placements[0])
	}
	s := r.store.Snapshot()
	if node, role := s.Usage(id).Resources, s.RoleUse("default").Resources; node.CPU != 2000 || node.Memory != 3<<20 || role.CPU != 3000 || role.Memory != 3<<20 {
		t.Errorf("the node: %s, the role: %s", node, role)
	}
	// A node that has less stops what its own room is too small for.
	n := *s.Node(id)
	n.Resources.CPU = 1000
	r.must(&RegisterNode{Node: &n})
	stopped := ""
	for a := range r.store.Snapshot().AllocsOnNode(id) {
		if a.Desired == structs.DesiredStop {
			stopped += a.Job
		}
	}
	if stopped != "web" {
		t.Errorf("stopped: %q", stopped)
	}
}
