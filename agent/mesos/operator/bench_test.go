package operator

import (
	"fmt"
	"testing"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// populous is a region of 1,000 nodes with 100 tasks each.
func populous(b *testing.B) *state.Store {
	const nodes, each = 1_000, 100
	store, index := state.New(), uint64(0)
	apply := func(c state.Command) any {
		index++
		r := store.Apply(index, &state.Entry{Time: structs.Time(index) * 1e9, Envelopes: []state.Envelope{{Command: c}}})[0]
		if r.Err != nil {
			b.Fatal(r.Err)
		}
		return r.Answer
	}
	for i := range 10 {
		apply(&state.ConnectFramework{Framework: &structs.Framework{ID: structs.FrameworkID(fmt.Sprint("f", i)), Name: "f", User: "root", Roles: []string{"eng"}, Connection: "c"}})
	}
	for i := range nodes {
		n := &structs.Node{ID: structs.NodeID(fmt.Sprintf("%032x", i)), Name: fmt.Sprint("n", i), Hosts: []string{"10.0.0.1"}, Resources: structs.Resources{CPU: 64000, Memory: 1 << 40}}
		apply(&state.RegisterNode{Node: n})
		p := &state.Place{}
		for k := range each {
			id := fmt.Sprintf("task-%d-%d", i, k)
			p.Placements = append(p.Placements, &state.Placement{NodeIncarnation: 1,
				Job: &structs.Job{Groups: []*structs.Group{{Name: "task", Tasks: []*structs.Task{{Name: id, User: "root"}}}}},
				Alloc: &structs.Allocation{ID: structs.AllocID(structs.NewID()), Framework: structs.FrameworkID(fmt.Sprint("f", k%10)), Role: "eng", Node: n.ID,
					Group: "task", Resources: structs.Resources{CPU: 100, Memory: 128 << 20}, External: &structs.External{Tasks: []*structs.ExternalTask{{ID: id, Name: id}}}}})
		}
		apply(p)
	}
	return store
}

func BenchmarkState(b *testing.B) {
	snap := populous(b).Snapshot()
	b.ReportAllocs()
	for b.Loop() {
		d := &document{picture: newPicture(snap), encoder: newEncoder(), offered: offeredBy(nil)}
		d.state()
		b.SetBytes(int64(sizeOf(d.body().chunks)))
	}
}

func BenchmarkMetrics(b *testing.B) {
	r := &region{store: populous(b)}
	s := r.servers()
	b.ReportAllocs()
	for b.Loop() {
		d := &document{picture: newPicture(r.store.Snapshot()), encoder: newEncoder(), offered: offeredBy(nil), from: s}
		d.encoder.figures(d.metrics(true, 0))
		b.SetBytes(int64(sizeOf(d.body().chunks)))
	}
}
