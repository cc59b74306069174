package server_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/structs"
)

// boot starts a server on a new machine.
func (r *region) boot(expect int) *host {
	i := len(r.servers)
	h := &host{region: r, ip: fmt.Sprintf("10.0.0.%d", i+1), disk: raft.NewInmemStore(), snaps: raft.NewInmemSnapshotStore(),
		id: fmt.Sprintf("%032d", i+1)}
	r.servers = append(r.servers, h)
	h.start(expect)
	return h
}

// peers returns the members of the Raft group as the leader has them.
func (r *region) peers() (ids []string) {
	list, err := r.leader().server.Raft().Peers()
	check(r.t, err)
	for _, p := range list {
		ids = append(ids, p.ID)
	}
	slices.Sort(ids)
	return ids
}

// A region is made once, by exactly as many servers as were asked for, and by none that ask for another number.
func TestBootstrapExpect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 0, 0)
		none := func(when string) {
			t.Helper()
			time.Sleep(2 * time.Minute)
			for _, h := range r.servers {
				if h.server == nil {
					continue
				}
				if list, err := h.server.Raft().Peers(); err != nil || len(list) > 0 || h.server.Raft().Leader().ID != "" {
					t.Fatalf("%s: %s has the peers %v: %v", when, h.ip, list, err)
				}
			}
		}
		r.boot(3)
		none("one of three")
		r.boot(3)
		none("two of three")
		third := r.boot(5)
		none("a third one that waits for five")
		third.crash()
		third.start(3)
		r.eventually("three make the region", func() bool { return len(r.peers()) == 3 })

		// A fourth that asks for as many joins the region, and makes none of its own.
		fourth := r.boot(3)
		r.eventually("the fourth is taken in", func() bool { return slices.Contains(r.peers(), fourth.id) })
		if got := len(r.peers()); got != 4 {
			t.Errorf("%d peers", got)
		}
	})
}

// A server that an operator declares left leaves the Raft group at once, long before the clean-up of dead ones.
func TestAServerThatLeftIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 4, 0)
		r.eventually("four peers", func() bool { return len(r.peers()) == 4 })
		gone := r.followers()[0]
		gone.crash()
		leader := r.leader()
		r.eventually("gossip lets it be declared left", func() bool {
			err := leader.gossip.ForceLeave("server" + gone.ip)
			if err != nil && structs.KindOf(err) != structs.Conflict {
				t.Fatal(err)
			}
			return err == nil
		})
		declared := time.Now()
		r.eventually("it is no peer", func() bool { return !slices.Contains(r.peers(), gone.id) })
		if took := time.Since(declared); took > 30*time.Second {
			t.Errorf("it took %s", took)
		}
		// It may come back, as a new life.
		gone.start(4)
		r.eventually("it is a peer again", func() bool { return slices.Contains(r.peers(), gone.id) })
	})
}
