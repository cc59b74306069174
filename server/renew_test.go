package server

import (
	"slices"
	"testing"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// A node that the region gave up, or is about to, gets no lease: its fenced work may be started elsewhere.
func TestWhoGetsNoLease(t *testing.T) {
	store := state.New()
	index := uint64(0)
	apply := func(c state.Command) {
		t.Helper()
		index++
		if err := store.Apply(index, &state.Entry{Envelopes: []state.Envelope{{Command: c}}})[0].Err; err != nil {
			t.Fatal(err)
		}
	}
	apply(&state.RegisterNode{Node: &structs.Node{ID: "a", Name: "a"}})
	apply(&state.RegisterNode{Node: &structs.Node{ID: "b", Name: "b"}})
	w := newLeaseWatch(&Server{config: Config{Lease: 15 * time.Second}, store: store})
	refused := func(want ...structs.NodeID) {
		t.Helper()
		now := time.Now()
		var asks []leaseAsk
		for _, id := range []structs.NodeID{"a", "b", "c"} {
			ask := leaseAsk{Node: id}
			if n := store.Snapshot().Node(id); n != nil {
				ask.Session = n.Session
			}
			asks = append(asks, ask)
		}
		var got []structs.NodeID
		for _, ask := range w.renew(store.Snapshot(), asks, now) {
			got = append(got, ask.Node)
		}
		if !slices.Equal(got, append(want, "c")) {
			t.Errorf("refused %v, not %v", got, want)
		}
		for _, id := range []structs.NodeID{"a", "b"} {
			if x := w.leases.nodes[id]; !slices.Contains(want, id) && (x == nil || !x.ends.Equal(now.Add(15*time.Second))) {
				t.Errorf("%s was granted a lease that is not watched: %+v", id, x)
			}
		}
	}
	refused() // both are new: follow has not seen them yet
	w.leases.drop("a")
	w.losing["a"] = 1
	refused("a")
	apply(&state.SetNodeStatus{Node: "a", Status: structs.NodeLost})
	refused("a")
	delete(w.losing, "a")
	refused("a")
	w.losing["a"] = 1
	apply(&state.RegisterNode{Node: &structs.Node{ID: "a", Name: "a"}})
	refused() // it is another incarnation
	apply(&state.SetNodeStatus{Node: "b", Status: structs.NodeLeft})
	refused("b")

	// The longer of two leases counts, and an older session gets none.
	apply(&state.RegisterNode{Node: &structs.Node{ID: "d", Name: "d"}, Open: true, Lease: structs.Duration(time.Minute)})
	first := store.Snapshot().Node("d").Session
	apply(&state.RegisterNode{Node: &structs.Node{ID: "d", Name: "d"}, Open: true, Lease: structs.Duration(15 * time.Second)})
	second, now := store.Snapshot().Node("d").Session, time.Now()
	old, young := leaseAsk{Node: "d", Session: first}, leaseAsk{Node: "d", Session: second}
	if got := w.renew(store.Snapshot(), []leaseAsk{old, young}, now); !slices.Equal(got, []leaseAsk{old}) {
		t.Errorf("refused %v, not %v", got, old)
	}
	if x := w.leases.nodes["d"]; !x.ends.Equal(now.Add(time.Minute)) {
		t.Errorf("the lease is counted for %v, not a minute", x.ends.Sub(now))
	}
}
