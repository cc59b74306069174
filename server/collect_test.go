package server_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Ended work that is still needed is far beyond the bound: the collection looks for it now and then, and not again and
// again. Once it is not needed, it goes.
func TestTheCollectionRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const count = 700 // more than the bound and its slack
		r := newRegion(t, 1, 1)
		r.propose(&state.SubmitJob{Job: job("web", "service", count, small, func(j *structs.Job) {
			j.Groups[0].Reschedule = &structs.Reschedule{Delay: structs.Duration(10 * time.Hour), MaxDelay: structs.Duration(10 * time.Hour)}
		})})
		r.eventually("all running", func() bool { return r.running("web") == count })
		leader := r.leader().server
		leader.SetRetention(1, 24*time.Hour, 0, time.Hour)
		entries := func(d time.Duration) uint64 {
			before := leader.Raft().Stats().CommitIndex
			time.Sleep(d)
			return leader.Raft().Stats().CommitIndex - before
		}
		time.Sleep(time.Minute)
		if n := entries(10 * time.Minute); n > 11 {
			t.Errorf("%d entries in ten minutes with nothing to collect", n)
		}
		r.nodes[0].failAll()
		ended := func() int {
			_, n := leader.Store().Snapshot().AllocCount()
			return n
		}
		r.eventually("all failed", func() bool { return ended() == count })
		time.Sleep(time.Minute)
		if n := entries(time.Minute); n > 8 || ended() != count {
			t.Errorf("%d entries in a minute, and %d of %d are left of what is needed", n, ended(), count)
		}
		r.propose(&state.StopJob{Name: "web"})
		r.eventually("what nobody needs is gone", func() bool { return ended() <= 1 })
	})
}

// failAll has everything fail that runs on the node.
func (n *node) failAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.allocs {
		w.status = structs.AllocFailed
		n.region.witness.stop(w.key, n)
		n.up.Observe(n.update(w))
	}
}
