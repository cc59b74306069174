package state

import (
	"bytes"
	"fmt"
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
