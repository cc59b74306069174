package server_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Work with on_lost = "wait(5m)" is left alone for five minutes after its node is lost, and no longer.
func TestWaitForALostNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 2)
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

func (w *witness) starts() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.began...)
}
