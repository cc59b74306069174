package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/proffer/proffer/structs"
)

// unfencedJob is one whose node does not end it when it is cut off.
func unfencedJob(name string, v *structs.GroupVolume) *structs.Job {
	j := stored(name, 1, v)
	j.Groups[0].OnLost = structs.OnLostReplace
	return j
}

// uncontrolled registers a node with a plugin that nobody can ask to take a volume back.
func (r *region) uncontrolled(name string) structs.NodeID {
	return r.plug(name, &structs.NodePlugin{Vendor: "v", Node: &structs.PluginNodePart{Healthy: true, ID: "as-" + name}})
}

// settleVolume does what the leader does for a volume until it needs nothing; called says whether its storage attaches.
func (r *region) settleVolume(name string, called bool) (did []VolumeDeed) {
	for range 20 {
		s := r.store.Snapshot()
		v := s.Volume(name)
		if v == nil {
			return did
		}
		e := s.NextErrand(v)
		if e == nil {
			return did
		}
		n := r.deed(name, e.Did, e.Node)
		n.Called = called && e.At != nil && e.At.Called
		r.must(n)
		did = append(did, e.Did)
	}
	r.t.Fatalf("volume %s is never done: %v", name, did)
	return nil
}

func TestUnfencedWorkKeepsItsVolume(t *testing.T) {
	r := newRegion(t)
	one, two := r.uncontrolled("1"), r.uncontrolled("2")
	r.must(plugVolume("data", structs.AccessExclusive, "x"))
	r.must(&SubmitJob{Job: unfencedJob("db", &structs.GroupVolume{Name: "data"})})
	r.settleVolume("data", false)
	a := r.place("db", "a", 0, one)
	r.settleVolume("data", false)
	a = r.observe(a, structs.AllocRunning, structs.TaskRunning)
	volume := func() *structs.Volume { return r.store.Snapshot().Volume("data") }
	unfenced := func() structs.AllocID {
		if at := volume().AttachedTo(one); at != nil {
			return at.Unfenced
		}
		return "not attached"
	}

	// It is lost, and the container may run on: nobody else has the volume, whatever is tried.
	r.must(&SetNodeStatus{Node: one, Status: structs.NodeLost})
	if got := r.store.Snapshot().Alloc(a.ID); got.Status != structs.AllocLost || unfenced() != a.ID {
		t.Fatalf("%s, kept for %q", got.Status, unfenced())
	}
	if did := r.settleVolume("data", false); did != nil {
		t.Fatalf("the leader did %v", did)
	}
	r.fails(structs.Conflict, r.deed("data", VolumeDetaches, one))
	r.fails(structs.Conflict, &DeleteVolume{Name: "data"})
	r.fails(structs.Conflict, &DeleteVolume{Name: "data", Forget: true})
	r.refused(RefusedVolume, r.placement("db", "a", 0, two))
	why := r.store.Snapshot().LeftBehind(volume())
	for _, want := range []string{structs.Short(a.ID), "node 1, which is cut off", "node purge 1", "volume detach -force data 1"} {
		if !strings.Contains(why, want) {
			t.Errorf("%q is not in %q", want, why)
		}
	}
	r.must(&StopJob{Name: "db"})
	r.must(&Collect{Before: 1 << 62, MaxFinished: -1, Nodes: []structs.NodeID{one}, NodesBefore: 1 << 62})
	if r.store.Snapshot().Alloc(a.ID) == nil || r.store.Snapshot().Node(one) == nil {
		t.Fatal("what the volume is kept for was forgotten")
	}
	r.must(&SubmitJob{Job: unfencedJob("db", &structs.GroupVolume{Name: "data"})})

	// The node is back. What was given up is stopped, and nobody has the volume before it ended.
	r.uncontrolled("1")
	r.fails(structs.Conflict, &DetachVolume{Name: "data", Node: one}) // it will say so by itself
	r.must(&RestartJob{Name: "db"})
	if a = r.observe(a, structs.AllocRunning, structs.TaskRunning); a.Desired != structs.DesiredStop {
		t.Fatalf("%+v", a)
	}
	r.refused(RefusedVolume, r.placement("db", "a", 0, one))
	r.refused(RefusedVolume, r.placement("db", "a", 0, two))
	r.observe(a, structs.AllocComplete, structs.TaskKilled)
	if unfenced() != "" {
		t.Fatalf("kept for %q", unfenced())
	}
	r.settleVolume("data", false)
	b := r.place("db", "a", 0, two)
	r.settleVolume("data", false)
	r.observe(b, structs.AllocRunning, structs.TaskRunning)

	// Nothing took its place: it goes on.
	r.must(&SetNodeStatus{Node: two, Status: structs.NodeLost})
	r.uncontrolled("2")
	if b = r.observe(b, structs.AllocRunning, structs.TaskRunning); b.Status != structs.AllocRunning || b.Desired != structs.DesiredRun {
		t.Fatalf("%+v", b)
	}
	if at := volume().AttachedTo(two); at.Unfenced != "" {
		t.Errorf("kept for %q", at.Unfenced)
	}
	r.refused(RefusedHeld, r.placement("db", "a", 0, one))

	// An operator says that nothing there writes; or that the node is gone.
	r.fails(structs.Conflict, &DetachVolume{Name: "data", Node: two})
	r.fails(structs.NotFound, &DetachVolume{Name: "data", Node: one})
	r.must(&SetNodeStatus{Node: two, Status: structs.NodeLost})
	r.fails(structs.Conflict, &DetachVolume{Name: "data", ID: "other", Node: two})
	r.must(&DetachVolume{Name: "data", Node: two})
	if n := r.store.Snapshot().Node(two); n.Attached != nil {
		t.Errorf("%v", n.Attached)
	}
	c := r.place("db", "a", 0, one)
	r.settleVolume("data", false)
	r.must(&SetNodeStatus{Node: one, Status: structs.NodeLost})
	r.uncontrolled("2")
	r.must(&Observe{Node: two, NodeIncarnation: r.store.Snapshot().Node(two).Incarnation, Told: true})
	r.refused(RefusedVolume, r.placement("db", "a", 0, two))
	r.must(&RemoveNode{Node: one})
	r.nodes = slices.DeleteFunc(r.nodes, func(id structs.NodeID) bool { return id == one })
	r.settleVolume("data", false)
	r.place("db", "a", 0, two)
	if r.store.Snapshot().Alloc(c.ID).Status != structs.AllocLost {
		t.Error("it is not lost")
	}
}

// A storage that can take the volume back is asked for that, and then it is free; a reader that holds on keeps the attachment meanwhile.
func TestUnfencedWorkIsCutOffByTheStorage(t *testing.T) {
	r := newRegion(t)
	one, two := r.plugged("1", 0, nil), r.plugged("2", 0, nil)
	r.must(plugVolume("data", structs.AccessSingleWriter, "x"))
	r.must(&SubmitJob{Job: unfencedJob("w", &structs.GroupVolume{Name: "data", Access: structs.AccessSingleWriter})})
	reads := stored("r", 1, &structs.GroupVolume{Name: "data", Access: structs.AccessSingleWriter, ReadOnly: true})
	reads.Groups[0].OnLost = "wait(5m)"
	r.must(&SubmitJob{Job: reads})
	r.settleVolume("data", true)
	r.place("w", "a", 0, one)
	r.place("r", "a", 0, one)
	r.settleVolume("data", true)
	r.must(&SetNodeStatus{Node: one, Status: structs.NodeLost})
	r.settleVolume("data", true)
	r.refused(RefusedVolume, r.placement("w", "a", 0, two)) // the reader is waited for, and with it the attachment
	r.must(&LoseAllocs{Node: one})
	if did := r.settleVolume("data", true); fmt.Sprint(did) != "[detaches detached]" {
		t.Fatalf("%v", did)
	}
	r.place("w", "a", 0, two)
}

// Whatever happens, no two containers of different nodes have the volume, although nobody can fence them and no storage helps.
func TestNeverTwoUnfencedWriters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRegion(t)
		nodes := []structs.NodeID{r.uncontrolled("1"), r.uncontrolled("2"), r.uncontrolled("3")}
		r.must(plugVolume("v", structs.AccessExclusive, "x"))
		for _, job := range []string{"x", "y"} {
			r.must(&SubmitJob{Job: unfencedJob(job, &structs.GroupVolume{Name: "v"})})
		}
		r.settleVolume("v", false)
		writes := map[structs.AllocID]structs.NodeID{} // containers, whatever the region believes
		up := map[structs.NodeID]bool{nodes[0]: true, nodes[1]: true, nodes[2]: true}
		node, jobName := rapid.SampledFrom(nodes), rapid.SampledFrom([]string{"x", "y"})
		place := func() {
			r.commit(Envelope{Command: &Place{Placements: []*Placement{r.placement(jobName.Draw(t, "job"), "a", 0, node.Draw(t, "node"))}}})
		}
		lead := func() {
			s := r.store.Snapshot()
			if e := s.NextErrand(s.Volume("v")); e != nil {
				n := r.deed("v", e.Did, e.Node)
				n.Called = false
				r.must(n)
			}
		}
		begin := func() { // nodes hear what they have, and start it
			for a := range r.store.Snapshot().Allocs() {
				at := r.store.Snapshot().Volume("v").AttachedTo(a.Node)
				if up[a.Node] && !a.Ended() && a.Desired == structs.DesiredRun && at != nil && at.State == structs.Attached {
					writes[a.ID] = a.Node
					r.observe(a, structs.AllocRunning, structs.TaskRunning)
				}
			}
		}
		for range rapid.IntRange(10, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 8).Draw(t, "step") {
			case 0:
				place()
			case 1:
				lead()
			case 2, 3:
				lead() // it is taken back from where it was
				lead()
				place()
				lead()
				begin()
			case 4:
				begin()
			case 5: // a container ends, which a node that is cut off keeps for itself
				for id, on := range writes {
					delete(writes, id)
					if up[on] {
						r.observe(r.store.Snapshot().Alloc(id), structs.AllocFailed, structs.TaskFailed)
					}
					break
				}
			case 6: // it is cut off
				id := node.Draw(t, "node")
				if r.store.Snapshot().Node(id) != nil {
					up[id] = false
					r.must(&SetNodeStatus{Node: id, Status: structs.NodeLost})
					r.must(&LoseAllocs{Node: id})
				}
			case 7: // it is back, and says what it has; what is not wanted any more it stops
				id := node.Draw(t, "node")
				if up[id] {
					continue
				}
				r.uncontrolled(strings.TrimPrefix(string(id), "node-"))
				up[id] = true
				for a := range r.store.Snapshot().Allocs() {
					if a.Node != id || a.Status != structs.AllocLost {
						continue
					}
					if _, runs := writes[a.ID]; !runs {
						r.observe(a, structs.AllocFailed, structs.TaskFailed)
					} else if a = r.observe(a, structs.AllocRunning, structs.TaskRunning); a.Desired == structs.DesiredStop {
						delete(writes, a.ID)
						r.observe(a, structs.AllocComplete, structs.TaskKilled)
					}
				}
			case 8: // switched off, and forgotten by an operator
				id := node.Draw(t, "node")
				if up[id] || r.store.Snapshot().Node(id) == nil {
					continue
				}
				for a, on := range writes {
					if on == id {
						delete(writes, a)
					}
				}
				r.must(&RemoveNode{Node: id})
				r.nodes = slices.DeleteFunc(r.nodes, func(n structs.NodeID) bool { return n == id })
			}
			r.check()
			var on []structs.NodeID
			for _, n := range writes {
				if on = append(on, n); n != on[0] {
					t.Fatalf("it is written to from %v", on)
				}
			}
		}
	})
}
