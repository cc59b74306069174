package state

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

// A node that an operator gave up is known as such until it is back, or until very many others were given up since; one that was
// forgotten by itself is not.
func TestGoneNodes(t *testing.T) {
	r := newRegion(t)
	gives := func(id structs.NodeID) {
		for _, c := range []Command{&RegisterNode{Node: &structs.Node{ID: id, Name: string(id)}}, &SetNodeStatus{Node: id, Status: structs.NodeLost}, &RemoveNode{Node: id}} {
			r.must(c)
		}
	}
	is := func(id structs.NodeID, want bool) {
		t.Helper()
		if got := r.store.Snapshot().Gone(id); got != want {
			t.Errorf("node %s is gone: %t, want %t", id, got, want)
		}
	}
	is("a", false)
	gives("a")
	gives("b")
	is("a", true)
	is("b", true)
	r.must(&RegisterNode{Node: &structs.Node{ID: "a", Name: "a"}})
	is("a", false)
	is("b", true)
	r.must(&SetNodeStatus{Node: "a", Status: structs.NodeLost})
	r.must(&Collect{Nodes: []structs.NodeID{"a"}, NodesBefore: 1 << 62})
	if r.store.Snapshot().Node("a") != nil {
		t.Fatal("the node is not forgotten")
	}
	is("a", false)
	for i := range maxGone - 1 {
		gives(structs.NodeID(fmt.Sprintf("n%d", i)))
	}
	is("b", true)
	gives("last")
	is("b", false)
	is("n0", true)
	is("last", true)
	var out bytes.Buffer
	if err := r.store.Image().Persist(&out); err != nil {
		t.Fatal(err)
	}
	if err := r.store.Restore(&out); err != nil {
		t.Fatal(err)
	}
	is("last", true)
	is("b", false)
}

// Volumes on the disks of a node that is marked gone are lost with it, and named.
func TestMarkedGoneWithVolumes(t *testing.T) {
	for _, ready := range []bool{true, false} {
		r := newRegion(t)
		one := r.disks("1", 100*mib)
		at := func(name string) *structs.Volume {
			return &structs.Volume{Name: name, Node: one, Size: 10 * mib, Access: structs.AccessExclusive, Role: "default"}
		}
		r.must(&PutVolume{Volume: at("kept")})
		r.must(&PutVolume{Volume: at("deleted")})
		r.must(&DeleteVolume{Name: "deleted", Keep: structs.Duration(3600e9)})
		r.must(&PutVolume{Volume: at("purging")})
		r.must(&DeleteVolume{Name: "purging"})
		if !ready {
			r.must(&SetNodeStatus{Node: one, Status: structs.NodeLost})
			r.refuses("node purge -gone", &RemoveNode{Node: one})
		}
		r.must(&SetDrain{Node: one, Drain: &structs.Drain{Gone: true}})
		got := r.must(&RemoveNode{Node: one, Gone: true}).(*NodeRemoved)
		if !slices.Equal(got.Lost, []string{"deleted", "kept"}) {
			t.Errorf("lost are %v", got.Lost)
		}
		s := r.store.Snapshot()
		if s.Node(one) != nil || s.Volume("kept") != nil || s.Volume("deleted") != nil || s.Volume("purging") != nil {
			t.Error("something of it is left")
		}
		if again := r.must(&RemoveNode{Node: one, Gone: true}).(*NodeRemoved); again.Lost != nil {
			t.Errorf("once more: %v", again.Lost)
		}
	}
}

// A node that is marked gone never registers again. Of one that is there the work of frameworks is lost at once, and that of jobs stopped: it stays
// until it said goodbye or its lease is over.
func TestMarkedGone(t *testing.T) {
	r := newRegion(t)
	register := func(id structs.NodeID) *Registered {
		t.Helper()
		return r.must(&RegisterNode{Node: &structs.Node{ID: id, Name: string(id), Gone: &structs.Closed{}}}).(*Registered)
	}
	back := func(id structs.NodeID, gone bool) {
		t.Helper()
		if got := register(id); got.Gone != gone || got.Gone == (got.Incarnation != 0) {
			t.Errorf("node %s: %+v", id, got)
		}
	}
	back("away", false)
	r.must(&SetNodeStatus{Node: "away", Status: structs.NodeLost})
	r.must(&RemoveNode{Node: "away"})
	back("away", false) // nobody marked it
	r.must(&SetNodeStatus{Node: "away", Status: structs.NodeLost})
	r.must(&RemoveNode{Node: "away"})
	r.must(&RemoveNode{Node: "away", Gone: true}) // and now somebody does
	back("away", true)

	back("idle", false)
	if err := r.fails(structs.Conflict, &RemoveNode{Node: "idle"}); !strings.Contains(err.Error(), "-gone") {
		t.Errorf("of one that is ready: %v", err)
	}
	seen := uint64(7)
	r.fails(structs.Conflict, &RemoveNode{Node: "idle", Gone: true, ExpectIndex: &seen})
	r.must(&RemoveNode{Node: "idle", Gone: true})
	if r.store.Snapshot().Node("idle") != nil {
		t.Error("nothing is on it, and it stays")
	}
	r.must(&RemoveNode{Node: "idle", Gone: true})
	back("idle", true)
	r.fails(structs.NotFound, &RemoveNode{Node: "never", Gone: true})
	var out bytes.Buffer
	if err := r.store.Image().Persist(&out); err != nil {
		t.Fatal(err)
	}
	if err := r.store.Restore(&out); err != nil {
		t.Fatal(err)
	}
	if s := r.store.Snapshot(); !s.MarkedGone("idle") || s.MarkedGone("never") {
		t.Error("it is not known any more who is marked gone")
	}
}
