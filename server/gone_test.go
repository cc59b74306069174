package server_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// stays checks that a node that was told that it is gone looks for no server any more, and is sent away when it is started again.
func (r *region) stays(n *node) {
	r.t.Helper()
	for range 2 {
		<-n.done
		if server, _, _ := n.session(); server != "" || r.snapshot().Node(n.id) != nil {
			r.t.Errorf("node %s, which is gone, has a session with %q and the record %+v", n.id, server, r.snapshot().Node(n.id))
		}
		n.powerOff()
		n.start()
	}
}

// A node that is there and is marked gone is told so by its session: it ends its work, which goes elsewhere, what may run once only after
// it ended there, and does not come back.
func TestNodeMarkedGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 2)
		r.ready()
		r.propose(&state.SubmitJob{Job: job("web", "service", 4)})
		r.propose(&state.SubmitJob{Job: job("once", "service", 2, func(j *structs.Job) { j.Groups[0].OnLost = structs.OnLostFence })})
		r.eventually("six running", func() bool { return r.running("web") == 4 && r.running("once") == 2 })
		n := r.nodes[0]
		r.propose(&state.RemoveNode{Node: n.id, Gone: true})
		if !r.snapshot().MarkedGone(n.id) {
			t.Error("it is not marked at once")
		}
		r.eventually("all run elsewhere", func() bool {
			return r.snapshot().Node(n.id) == nil && r.running("web") == 4 && r.running("once") == 2
		})
		for a := range r.snapshot().AllocsOnNode(n.id) {
			if a.Status != structs.AllocComplete || a.DesiredWhy == "" {
				t.Errorf("of %s[%d] there, which the node ended, it is known that it is %s: %q", a.Job, a.Index, a.Status, a.DesiredWhy)
			}
		}
		r.stays(n)
	})
}

// One that is cut off as it is marked gone keeps what may run once until its lease is over, and hears of it when it is back.
func TestNodeMarkedGoneWhileCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 2)
		r.ready()
		r.propose(&state.SubmitJob{Job: job("once", "service", 2, func(j *structs.Job) { j.Groups[0].OnLost = structs.OnLostFence })})
		r.eventually("two running", func() bool { return r.running("once") == 2 })
		n := r.nodes[0]
		r.mesh.Cut([]string{n.ip}, []string{r.servers[0].ip})
		begun := time.Now()
		r.propose(&state.RemoveNode{Node: n.id, Gone: true})
		if on := r.snapshot().Node(n.id); on == nil || on.Gone == nil || on.Schedulable() {
			t.Errorf("the node is %+v", on)
		}
		for what, cmd := range map[string]state.Command{"drain": &state.SetDrain{Node: n.id, Drain: &structs.Drain{}},
			"eligibility": &state.SetEligibility{Node: n.id, Eligible: true}} {
			if _, _, err := r.leader().server.Propose(t.Context(), "", "op", cmd); structs.KindOf(err) != structs.Conflict {
				t.Errorf("%s of it: %v", what, err)
			}
		}
		r.propose(&state.RemoveNode{Node: n.id, Gone: true}) // is done already
		r.eventually("both run elsewhere", func() bool { return r.snapshot().Node(n.id) == nil && r.running("once") == 2 })
		if passed := time.Since(begun); passed < 15*time.Second {
			t.Errorf("what may run once was given up after %s", passed)
		}
		r.mesh.Mend([]string{n.ip}, []string{r.servers[0].ip})
		r.stays(n)
	})
}

// A drain that is to end so marks its node gone once that is empty, whoever leads by then.
func TestDrainMarksGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 2)
		r.ready()
		r.propose(&state.SubmitJob{Job: job("web", "service", 4)})
		r.eventually("four running", func() bool { return r.running("web") == 4 })
		for _, n := range r.nodes { // nothing can move
			r.propose(&state.SetEligibility{Node: n.id})
		}
		n := r.nodes[0]
		r.propose(&state.SetDrain{Node: n.id, Drain: &structs.Drain{Gone: true, Deadline: structs.At(time.Now().Add(time.Minute))}})
		r.propose(&state.SetMaintenance{Node: n.id, Maintenance: &structs.Maintenance{Window: structs.Window{Start: structs.At(time.Now().Add(time.Hour))}, Drain: structs.Duration(time.Hour)}})
		r.eventually("it is also emptied for its window", func() bool { m := r.snapshot().Node(n.id).Maintenance; return m.Began })
		first := r.leader()
		first.crash()
		if was := r.leader(); was == first {
			t.Fatal("the same server leads")
		}
		if d := r.snapshot().Node(n.id).Drain; d == nil || !d.Gone {
			t.Errorf("the drain is %+v", d)
		}
		r.propose(&state.SetEligibility{Node: r.nodes[1].id, Eligible: true})
		r.eventually("gone", func() bool { return r.snapshot().Node(n.id) == nil && r.running("web") == 4 })
		if !r.snapshot().MarkedGone(n.id) {
			t.Error("it is not marked")
		}
		r.stays(n)
	})
}
