package server_test

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/server/state"
)

// A restored snapshot does not know what was placed after it was saved. Nothing of that is killed.
func TestARestoredSnapshotKillsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 2)
		r.propose(&state.SubmitJob{Job: job("old", "service", 2)})
		r.eventually("old runs", func() bool { return r.running("old") == 2 })
		var archive bytes.Buffer
		check(t, r.leader().server.SaveSnapshot(context.Background(), &archive))
		was := r.leader().server.Store().Snapshot().Meta().Generation
		r.propose(&state.SubmitJob{Job: job("young", "service", 2)})
		r.eventually("young runs", func() bool { return r.running("young") == 2 })

		leader := r.leader()
		for _, h := range r.servers {
			if h != leader { // through a follower
				_, err := h.server.RestoreSnapshot(context.Background(), &archive)
				check(t, err)
				break
			}
		}
		r.eventually("sessions of the new generation", func() bool {
			is := r.leader().server.Store().Snapshot().Meta().Generation
			for _, n := range r.nodes {
				if n.works() != is {
					return false
				}
			}
			return is != was
		})
		r.eventually("old runs on", func() bool { return r.running("old") == 2 })
		time.Sleep(time.Minute)
		if n := r.witness.count(); n != 4 || len(r.witness.began) != 4 {
			t.Errorf("%d run and %d began, not 4\n%s", n, len(r.witness.began), r.describe())
		}
		quarantined := 0
		for _, n := range r.nodes {
			for _, w := range n.held() {
				if w.quarantined {
					quarantined++
				}
			}
		}
		if quarantined != 2 {
			t.Errorf("%d are quarantined, not 2", quarantined)
		}
		// The region goes on.
		r.propose(&state.SubmitJob{Job: job("next", "service", 2)})
		r.eventually("next runs", func() bool { return r.running("next") == 2 })
	})
}

// works returns the generation that the node's work belongs to.
func (n *node) works() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.generation
}

func (n *node) held() (out []work) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.allocs {
		out = append(out, *w)
	}
	return out
}
