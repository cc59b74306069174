package server

import (
	"fmt"
	"testing"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// An explanation says what speaks for the nodes that were taken: what each would score if its allocation had to be placed
// now, which is more than any other node where it fits.
func TestExplainSaysWhyThere(t *testing.T) {
	store := state.New()
	index := uint64(0)
	apply := func(c state.Command) any {
		t.Helper()
		index++
		r := store.Apply(index, &state.Entry{Envelopes: []state.Envelope{{Command: c}}})[0]
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		return r.Answer
	}
	for i, rack := range []string{"r1", "r2", "r1"} {
		id := structs.NodeID(fmt.Sprint(i))
		apply(&state.RegisterNode{Node: &structs.Node{ID: id, Name: "n" + fmt.Sprint(i), Datacenter: "dc1", Meta: map[string]string{"rack": rack},
			Drivers: map[string]*structs.Driver{"mock": {Healthy: true}}, Resources: structs.Resources{CPU: 4000, Memory: 4 << 30}}})
	}
	count := 3
	job := &structs.Job{Name: "web", Affinities: []*structs.Affinity{{Attribute: "${meta.rack}", Value: "r1", Weight: 30}},
		Spreads: []*structs.Spread{{Attribute: "${meta.rack}", Weight: 10}},
		Groups: []*structs.Group{{Name: "g", Count: &count, Tasks: []*structs.Task{{Name: "t", Driver: "mock",
			Resources: &structs.TaskResources{CPU: 1000, Memory: 1 << 30}}}}}}
	job.Canonicalize()
	apply(&state.SubmitJob{Job: job})
	for i, node := range []structs.NodeID{"0", "1"} {
		answer := apply(&state.Place{Placements: []*state.Placement{{NodeIncarnation: 1, Alloc: &structs.Allocation{
			ID: structs.AllocID(fmt.Sprint("a", i)), Framework: "service", Role: "default", Job: "web", Version: 1, Group: "g", Index: i, Node: node,
			Resources: job.Groups[0].Ask()}}}}).(*state.Placed)
		if refused := answer.Placements[0]; refused.Refused != "" {
			t.Fatalf("%+v", refused)
		}
	}
	snap := store.Snapshot()
	groups, books, err := explainWith(snap, job, snap.Job("web"), "")
	if err != nil {
		t.Fatal(err)
	}
	g := groups[0]
	full := placement.Parts{Packing: g.Scores["0"].Packing, Affinity: 300_000, Spread: 0}
	if len(g.Scores) != 2 || g.Scores["0"] != full || full.Packing <= 0 {
		t.Errorf("n0 has rack r1, which nobody else has: %+v", g.Scores)
	}
	if other := g.Scores["1"]; other.Affinity != 0 || other.Spread != 0 || other.Packing != full.Packing {
		t.Errorf("n1 has rack r2: %+v", other)
	}
	// The books are as before: one more would go to n0 again.
	if n := placement.Best(books.nodes, books.peers, books.asks["g"], nil); n.ID != "0" {
		t.Errorf("the third: %s", n.ID)
	}
	if named := g.Scores["0"].Named(); len(named) != 2 || named["affinity"] != 0.3 {
		t.Errorf("named: %v", named)
	}
}
