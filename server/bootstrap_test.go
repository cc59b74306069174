package server_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/client/gossip"
	"github.com/proffer/proffer/structs"
)

// boot starts a server on a new machine.
func (r *region) boot(expect int) *host {
	h := r.machine()
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
		r.boot(3)
		r.notMade("one of three")
		r.boot(3)
		r.notMade("two of three")
		third := r.boot(5)
		r.notMade("a third one that waits for five")
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

// notMade fails the test when some server is part of a region within two minutes of the bubble.
func (r *region) notMade(when string) {
	r.t.Helper()
	time.Sleep(2 * time.Minute)
	for _, h := range r.servers {
		if h.server == nil {
			continue
		}
		if list, err := h.server.Raft().Peers(); err != nil || len(list) > 0 || h.server.Raft().Leader().ID != "" {
			r.t.Fatalf("%s: %s has the peers %v: %v", when, h.ip, list, err)
		}
	}
}

// A region is made only by servers all of which say that they are new and see exactly the same ones.
func TestBootstrapNeedsTheSameServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 0, 0)
		one, two := r.boot(3), r.boot(3)
		third, fourth := r.machine(), r.machine()
		all := []string{one.id, two.id, third.id}
		var says atomic.Pointer[census]
		good := &census{Fresh: true, Expect: 3, IDs: all}
		says.Store(good)
		fourth.pretend(3, says.Load)
		third.pretend(3, says.Load)
		r.notMade("four where three are expected")
		says.Store(&census{Expect: 3, IDs: all}) // before three are left
		fourth.crash()
		r.everybodySees(fourth, gossip.Failed)
		for what, bad := range map[string]*census{
			"one that knows a region": {Fresh: false, Expect: 3, IDs: all},
			"another number":          {Fresh: true, Expect: 5, IDs: all},
			"one that sees fewer":     {Fresh: true, Expect: 3, IDs: all[1:]},
			"one that sees more":      {Fresh: true, Expect: 3, IDs: append(slices.Clone(all), fourth.id)},
			"one that sees others":    {Fresh: true, Expect: 3, IDs: []string{two.id, third.id, fourth.id}},
		} {
			says.Store(bad)
			r.notMade(what)
		}
		says.Store(good)
		r.eventually("the region is made", func() bool { return len(r.peers()) == 3 })
	})
}

// A server that was stopped in order shows as left, and stays in the Raft group for as long as one that failed: most who
// leave come back.
func TestAServerThatWasStoppedMayComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 4, 0)
		r.eventually("four peers", func() bool { return len(r.peers()) == 4 })
		gone := r.followers()[0]
		left := r.leave(gone)
		time.Sleep(50*time.Second - time.Since(left))
		if !slices.Contains(r.peers(), gone.id) {
			t.Error("it was removed from the Raft group as if it never came back")
		}
		gone.start(4)
		r.everybodySees(gone, gossip.Alive)
		time.Sleep(time.Minute)

		left = r.leave(gone)
		r.eventually("it is no peer", func() bool { return !slices.Contains(r.peers(), gone.id) })
		if took := time.Since(left); took < time.Minute {
			t.Errorf("it was removed after %s", took)
		}
		gone.start(4)
		r.eventually("it is a peer again", func() bool { return slices.Contains(r.peers(), gone.id) })
	})
}

// A server that an operator declares gone leaves the Raft group at once, long before the clean-up of dead ones, and comes
// back as a new life.
func TestAServerThatIsDeclaredGoneIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 4, 0)
		r.eventually("four peers", func() bool { return len(r.peers()) == 4 })
		gone, other := r.followers()[0], r.followers()[1]
		if err := other.gossip.ForceLeave("server" + gone.ip); structs.KindOf(err) != structs.Conflict {
			t.Errorf("while it is alive: %v", err)
		}
		left := r.leave(gone)
		check(t, other.gossip.ForceLeave("server"+gone.ip))
		r.eventually("it is no peer", func() bool { return !slices.Contains(r.peers(), gone.id) })
		if took := time.Since(left); took > 20*time.Second { // the clean-up takes a minute
			t.Errorf("it took %s", took)
		}
		r.everybodySees(gone, gossip.Removed)
		gone.start(4)
		r.eventually("it is a peer again", func() bool { return slices.Contains(r.peers(), gone.id) })
		r.everybodySees(gone, gossip.Alive)
	})
}

// leave stops a server in order, waits until the others show that, and returns when it began.
func (r *region) leave(h *host) time.Time {
	r.t.Helper()
	left := time.Now()
	h.leave()
	r.everybodySees(h, gossip.Left)
	if took := time.Since(left); took > 10*time.Second {
		r.t.Errorf("it shows as left after %s", took)
	}
	return left
}

// everybodySees waits until the pool has a status of h on every server that is up.
func (r *region) everybodySees(h *host, status gossip.Status) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("%s is %s everywhere", h.ip, status), func() bool {
		return !slices.ContainsFunc(r.servers, func(o *host) bool {
			return o.server != nil && o != h && !slices.ContainsFunc(o.gossip.Members(), func(m gossip.Member) bool { return m.ID == h.id && m.Status == status })
		})
	})
}
