package state

import (
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

// A node that has less than before loses what does not fit any more, and nothing else.
func TestANodeShrinks(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 8000)
	low := job("low", "batch", 2, "g")
	low.Priority = "best-effort"
	r.must(&SubmitJob{Job: low})
	r.must(&SubmitJob{Job: job("web", "service", 4, "g")})
	var all []*structs.Allocation
	for _, p := range []struct {
		job   string
		index int
	}{{"low", 0}, {"web", 0}, {"web", 1}, {"low", 1}, {"web", 2}, {"web", 3}} {
		all = append(all, r.place(p.job, "g", p.index, id))
	}
	register := func(what string, change func(*structs.Node), stopped ...int) {
		t.Helper()
		n := *r.store.Snapshot().Node(id)
		change(&n)
		r.must(&RegisterNode{Node: &n})
		want := map[structs.AllocID]bool{}
		for _, i := range stopped {
			want[all[i].ID] = true
		}
		for i, a := range all {
			got := r.store.Snapshot().Alloc(a.ID)
			if (got.Desired == structs.DesiredStop) != want[a.ID] || want[a.ID] && !strings.Contains(got.DesiredWhy, "no longer fits") {
				t.Errorf("%s: %d is wanted to %s, because %q", what, i, got.Desired, got.DesiredWhy)
			}
		}
	}
	register("it has more", func(n *structs.Node) { n.Resources.CPU = 9000 })
	register("it has less, and enough", func(n *structs.Node) { n.Resources.CPU = 6000 })
	register("more is reserved: the lowest and newest goes", func(n *structs.Node) { n.Reserved.CPU = 1000 }, 3)
	register("the same again", func(n *structs.Node) {}, 3)
	register("then the older one of the lowest, and the newest of the others", func(n *structs.Node) { n.Resources.CPU = 4000 }, 3, 0, 5)
	r.must(&SetNodeStatus{Node: id, Status: structs.NodeLost})
	register("what is lost is lost", func(n *structs.Node) { n.Resources.CPU = 1000 }, 3, 0, 5)
}
