package state

import (
	"fmt"
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

// All placements of a gang are done or none, and each says why.
func TestAGangIsPlacedWholeOrNotAtAll(t *testing.T) {
	r := newRegion(t)
	id, other := r.node("1", 1000), r.node("2", 1000)
	j := job("mpi", "batch", 3, "a")
	j.Gang = &structs.Gang{}
	r.must(&SubmitJob{Job: j})
	ask := j.Groups[0].Ask()
	next := 0
	place := func(nodes ...structs.NodeID) []PlaceResult {
		t.Helper()
		c := &Place{}
		for i, n := range nodes {
			next++
			c.Placements = append(c.Placements, &Placement{NodeIncarnation: 1, Gang: 7, Alloc: &structs.Allocation{
				ID: structs.AllocID(fmt.Sprint("p", next)), Framework: "batch", Job: "mpi", Version: 1, Group: "a", Index: i, Node: n, Resources: ask}})
		}
		return r.must(c).(*Placed).Placements
	}
	held := func() (n int) {
		for a := range r.store.Snapshot().Allocs() {
			if a.Holds() && a.Gang {
				n++
			}
		}
		return n
	}
	before := r.store.Snapshot().TableIndex(Allocs)
	for i, result := range place(id, other, "no such node") {
		if result.Refused != RefusedNode || strings.Contains(result.Why, "gang") != (i < 2) {
			t.Errorf("%d: %+v", i, result)
		}
	}
	if held() != 0 || r.store.Snapshot().TableIndex(Allocs) != before {
		t.Errorf("%d of a refused gang are there", held())
	}
	for _, result := range place(id, other, id) {
		if result.Refused != "" {
			t.Errorf("%+v", result)
		}
	}
	if held() != 3 {
		t.Errorf("%d of a gang are there", held())
	}
	// What completed counts until the gang is placed anew.
	for i, status := range []structs.AllocStatus{structs.AllocComplete, structs.AllocFailed, structs.AllocFailed} {
		for a := range r.store.Snapshot().AllocsOfJob("mpi") {
			if a.Index == i {
				r.must(&Observe{Node: a.Node, NodeIncarnation: 1, Updates: []*structs.AllocUpdate{{ID: a.ID, Incarnation: a.Incarnation, Status: status}}})
			}
		}
	}
	if done := r.store.Snapshot().Job("mpi").Finished["a"]; structs.CountIndexes(done) != 1 {
		t.Errorf("finished: %v", done)
	}
	for _, result := range place(other, id, id) {
		if result.Refused != "" {
			t.Errorf("%+v", result)
		}
	}
	if done := r.store.Snapshot().Job("mpi").Finished["a"]; len(done) != 0 || held() != 3 {
		t.Errorf("finished %v in the second life, %d run", done, held())
	}
	r.fails(structs.Invalid, &ScaleJob{Name: "mpi", Group: "a", Count: 4})
}

// The largest gangs that validation lets through fit into one entry, whatever takes the room in them.
func TestTheLargestGangIsOneEntry(t *testing.T) {
	long := strings.Repeat("n", 128)
	for _, x := range []struct {
		name, resource string
		ports          int
	}{{"j", "", 0}, {long, "", 0}, {"j", "", 1}, {"j", "", 30}, {long, long, 3}} {
		j := job(x.name, "batch", structs.MaxGang, x.name)
		j.Gang = &structs.Gang{}
		j.Canonicalize()
		j.Groups[0].Tasks[0].Resources.Ports = x.ports
		if x.resource != "" {
			j.Groups[0].Tasks[0].Resources.Custom = map[string]structs.Milli{x.resource: 1 << 49}
		}
		count := structs.MaxGang
		for j.Groups[0].Count = &count; j.Validate(nil) != nil; count-- {
			if count == 1 {
				t.Fatal(j.Validate(nil))
			}
		}
		c := &Place{}
		for i := range count {
			a := &structs.Allocation{ID: structs.AllocID(structs.NewID()), Framework: "batch", Job: x.name, Version: 1 << 40, Group: x.name, Index: i,
				Node: structs.NodeID(structs.NewID()), Resources: j.Groups[0].Ask()}
			a.Resources.CPU, a.Resources.Memory, a.Resources.Disk = 1<<40, 1<<50, 1<<50
			for p := range x.ports {
				a.Ports = append(a.Ports, structs.AssignedPort{Host: "2001:db8:1234:5678:9abc:def0:1234:5678", Port: 20000 + p})
			}
			for k := range 32 { // as many as are remembered
				a.Failures = append(a.Failures, structs.Time(1<<60+k))
			}
			c.Placements = append(c.Placements, &Placement{Alloc: a, NodeIncarnation: 1 << 40, Replaces: structs.AllocID(structs.NewID()), Gang: 1 << 40})
		}
		raw, err := EncodeEnvelope(Envelope{Key: "k", Actor: "server " + long, Command: c})
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) > structs.MaxGangBytes {
			t.Errorf("%d with names of %d and %d ports: %d bytes, %d for each", count, len(x.name), x.ports, len(raw), len(raw)/count)
		}
	}
}
