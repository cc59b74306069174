package server_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Work with on_lost = "wait(5m)" is left alone for five minutes after its node is lost, and no longer.
func TestWaitForALostNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 2)
		r.ready()
		r.propose(&state.SubmitJob{Job: job("web", "service", 4, func(j *structs.Job) { j.Groups[0].OnLost = "wait(5m)" })})
		r.eventually("four running", func() bool { return r.running("web") == 4 })
		away := r.nodes[0]
		on := 0
		for range r.leader().server.Store().Snapshot().HeldOnNode(away.id) {
			on++
		}
		status := func(id structs.NodeID) structs.NodeStatus {
			return r.leader().server.Store().Snapshot().Node(id).Status
		}
		replaced := func() int { return len(r.witness.starts()) - 4 }

		// It comes back in time, and its work has run on.
		r.mesh.Cut([]string{away.ip}, r.ip())
		r.eventually("it is lost", func() bool { return status(away.id) == structs.NodeLost })
		time.Sleep(4 * time.Minute)
		r.mesh.Heal()
		r.eventually("it is back", func() bool { return status(away.id) == structs.NodeReady })
		time.Sleep(10 * time.Minute)
		if replaced() != 0 || r.witness.count() != 4 {
			t.Fatalf("%d were replaced, %d run\n%s", replaced(), r.witness.count(), r.describe())
		}

		away.powerOff()
		r.eventually("it is lost", func() bool { return status(away.id) == structs.NodeLost })
		time.Sleep(5*time.Minute - time.Second)
		if replaced() != 0 {
			t.Fatalf("%d were replaced too early", replaced())
		}
		time.Sleep(10 * time.Second)
		if on == 0 || replaced() != on || r.witness.count() != 4 {
			t.Errorf("%d of %d were replaced\n%s", replaced(), on, r.describe())
		}
	})
}

// What runs on a node that was lost keeps its room when the node is back, also if other work waits for room: none is placed there before the
// node told what it runs.
func TestANodeThatIsBackTellsFirst(t *testing.T) {
	t.Run("lost", func(t *testing.T) { backTellsFirst(t, false) })
	t.Run("forgotten", func(t *testing.T) { backTellsFirst(t, true) })
}

func backTellsFirst(t *testing.T, forgotten bool) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1)
		s, away := r.subscribe(eng("spark")), r.nodes[0]
		o := s.offer("")
		work := launches("work", 1)
		work.Launch.Resources.CPU = o.Resources.CPU
		done, err := s.accept(o, work)
		check(t, err)
		check(t, errors.Join(done.Faults...))
		s.acknowledge(s.told("work", structs.TaskRunning))
		r.mesh.Cut([]string{away.ip}, r.ip())
		s.told("work", structs.TaskUnreachable)
		r.propose(&state.SubmitJob{Job: job("web", "service", 1)})
		if forgotten {
			r.propose(&state.RemoveNode{Node: away.id})
		}
		r.mesh.Heal()
		s.forget()
		s.told("work", structs.TaskRunning)
		time.Sleep(time.Minute)
		if a := r.snapshot().Alloc(done.Allocs[0]); a.Status != structs.AllocRunning || a.Desired != structs.DesiredRun || r.running("web") != 0 {
			t.Errorf("its room was given away\n%s", r.describe())
		}
		check(t, s.host.server.KillTask(t.Context(), s.sub.Framework, s.sub.Connection, server.TaskName{Task: "work"}))
		r.eventually("the room is used again", func() bool { return r.running("web") == 1 })
	})
}

func (w *witness) starts() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.began...)
}

// A lower lease in the configuration breaks no fence: the longer one that a node may still hold is waited for, and then the
// lower one counts.
func TestTheLeaseIsLowered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 3, func(r *region) { r.lease = 20 * time.Second })
		r.propose(&state.SubmitJob{Job: job("db", "service", 6, func(j *structs.Job) { j.Groups[0].OnLost = "fence" })})
		r.eventually("six running", func() bool { return r.running("db") == 6 })
		r.lease = 4 * time.Second
		for _, h := range r.servers { // one after the other, as one upgrades them
			h.crash()
			time.Sleep(3 * time.Second)
			h.start(3)
			r.eventually("it follows", func() bool { return h.server.Raft().Leader().Address != "" })
		}
		r.eventually("sessions with the lower lease", func() bool {
			for _, n := range r.nodes {
				if _, _, leased := n.session(); n.granted() != r.lease || !leased {
					return false
				}
			}
			return true
		})
		cut := func() (lostAfter time.Duration) {
			began := time.Now()
			r.mesh.Cut([]string{r.nodes[0].ip}, r.ip())
			r.eventually("it is lost", func() bool {
				return r.leader().server.Store().Snapshot().Node(r.nodes[0].id).Status == structs.NodeLost
			})
			lostAfter = time.Since(began)
			time.Sleep(45 * time.Second)
			r.mesh.Heal()
			r.eventually("six running after the cut", func() bool { return r.running("db") == 6 && r.witness.count() == 6 })
			if len(r.witness.doubles) > 0 {
				t.Fatalf("ran twice: %v", r.witness.doubles)
			}
			return lostAfter
		}
		cut()
		time.Sleep(time.Minute)
		if took := cut(); took > 10*time.Second {
			t.Errorf("it was lost after %v, with a lease of %v\n%s", took, r.lease, r.describe())
		}
	})
}

// granted returns the lease of the newest session.
func (n *node) granted() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.length
}

// Nodes whose leases end together are lost together, and not with an entry for each of them.
func TestManyNodesAreLostAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const nodes = 1000
		r := newRegion(t, 1, 0)
		s := r.leader().server
		var registering sync.WaitGroup
		for i := range nodes {
			registering.Go(func() { // without a session: nobody renews its lease
				r.propose(&state.RegisterNode{Node: &structs.Node{ID: structs.NodeID(fmt.Sprintf("%032x", i+1)), Name: fmt.Sprint("n", i)}})
			})
		}
		registering.Wait()
		before := s.Raft().Stats().CommitIndex
		r.eventually("all are lost", func() bool {
			for n := range s.Store().Snapshot().Nodes() {
				if n.Status != structs.NodeLost {
					return false
				}
			}
			return true
		})
		if entries := s.Raft().Stats().CommitIndex - before; entries > nodes/4 {
			t.Errorf("%d entries for %d nodes", entries, nodes)
		}
	})
}

// A node that is away for longer than node_age and holds nothing is forgotten; one that comes back is a node like any
// other. One whose work may still run is not forgotten.
func TestNodesThatAreAwayForLongAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 2, func(r *region) { r.nodeAge = 10 * time.Minute })
		node := func(n *node) *structs.Node { return r.leader().server.Store().Snapshot().Node(n.id) }
		ready := func() (count int) {
			for _, n := range r.nodes {
				if x := node(n); x != nil && x.Status == structs.NodeReady {
					count++
				}
			}
			return count
		}
		r.eventually("two nodes", func() bool { return ready() == 2 })
		r.propose(&state.SubmitJob{Job: job("held", "service", 1, func(j *structs.Job) {
			j.Groups[0].OnLost = "wait(1h)"
			j.Constraints = []*structs.Constraint{{Attribute: "${node.name}", Value: r.nodes[1].name}}
		})})
		r.eventually("it runs", func() bool { return r.running("held") == 1 })
		for _, n := range r.nodes {
			n.powerOff()
		}
		time.Sleep(9 * time.Minute)
		if node(r.nodes[0]) == nil {
			t.Fatal("the node was forgotten before its time")
		}
		time.Sleep(3 * time.Minute)
		if node(r.nodes[0]) != nil {
			t.Error("the node is known after 12 minutes")
		}
		if node(r.nodes[1]) == nil {
			t.Error("a node is forgotten whose work is waited for")
		}
		r.nodes[0].start()
		r.eventually("it is back", func() bool { return ready() == 1 })
	})
}
