package server_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/client/gossip"
)

// level returns the feature level of the region.
func (r *region) level() int { return r.leader().server.Store().Snapshot().Meta().FeatureLevel }

// A server that does not know the level of the region is not taken in before it is upgraded.
func TestAnOldServerIsNotAdded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 0)
		r.eventually("three peers", func() bool { return len(r.peers()) == 3 })
		old := r.machine()
		old.level = r.level() - 1
		old.start(3)
		r.everybodySees(old, gossip.Alive)
		time.Sleep(2 * time.Minute)
		if slices.Contains(r.peers(), old.id) {
			t.Fatal("it is a peer")
		}
		old.crash()
		old.level++
		old.start(3)
		r.eventually("it is a peer", func() bool { return slices.Contains(r.peers(), old.id) })
	})
}

// The level rises once every server of the Raft group knows a higher one, and not while one of them is away: it may come
// back as old as it was.
func TestTheLevelWaitsForEveryServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 0)
		r.eventually("three peers", func() bool { return len(r.peers()) == 3 })
		first := r.level()
		upgrade := func(h *host, level int) {
			h.level = level
			check(t, h.gossip.Update(func(m *gossip.Member) { m.FeatureMax = level }))
		}
		stays := func(when string, level int) {
			t.Helper()
			time.Sleep(2 * time.Minute)
			if got := r.level(); got != level {
				t.Fatalf("%s: level %d, not %d", when, got, level)
			}
		}
		away := r.followers()[0]
		away.crash()
		for _, h := range r.servers {
			if h != away {
				upgrade(h, first+1)
			}
		}
		stays("one is away", first)
		away.start(3)
		stays("one is old", first)
		upgrade(away, first+1)
		r.eventually("all know the next level", func() bool { return r.level() == first+1 })

		away.crash()
		for _, h := range r.servers {
			if h != away {
				upgrade(h, first+2)
			}
		}
		stays("one is away again", first+1)
		check(t, r.leader().server.RemovePeer(t.Context(), away.id))
		r.eventually("one that was removed is not waited for", func() bool { return r.level() == first+2 })
	})
}
