package allocator

import (
	"cmp"
	"slices"
	"strings"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// claim holds room on a node for a slot, and asks for the victims to be stopped.
func (a *Allocator) claim(g *group, n *node, fresh []*hold, overLimit bool) {
	a.rescindAll(n.offers, "a request needs the room")
	took := n.keptBelow(g.queued)
	if took {
		a.unkeep(n.kept.kept)
	}
	if overLimit {
		a.makeLimitRoom(g.client.account, g.shape.amount, 1)
	}
	r, band := g.requests.top(), g.queued
	h := a.takeSlot(r, n)
	h.ordered, h.ports = band, n.Static(g.shape.ask)
	a.stopFor(h, r.Priority, fresh)
	a.claimed++
	h.seq, h.check = a.claimed, a.now.Add(ClaimCheck)
	a.holdClaim(h)
	if took {
		a.ripen(n) // that may have been all
	}
}

// stopFor asks for victims to be stopped so that a claim has room.
func (a *Allocator) stopFor(h *hold, priority structs.Priority, victims []*hold) {
	p := &Preempt{Request: h.request, Job: h.job, Role: h.client.account.path, Priority: priority, Slot: h.slot, Node: h.node.ID, NodeName: h.node.Name()}
	for _, v := range victims {
		p.Victims = append(p.Victims, v.alloc)
		v.victim = true
		a.preempted++
		a.leave(v)
	}
	a.out = append(a.out, Decision{Preempt: p})
}

// ripen has the claims on a node looked at in the next Step.
func (a *Allocator) ripen(n *node) {
	if len(n.claims) > 0 && !n.ripe {
		n.ripe = true
		a.ripe = append(a.ripe, n)
	}
}

// settleClaims turns claims into placements where there is room now, and gives up those for which nothing is left to wait.
func (a *Allocator) settleClaims() {
	for len(a.ripe) > 0 {
		ripe := a.ripe
		a.ripe = nil
		slices.SortFunc(ripe, func(x, y *node) int { return strings.Compare(string(x.ID), string(y.ID)) })
		for _, n := range ripe {
			for _, h := range slices.SortedFunc(slices.Values(n.claims), func(x, y *hold) int { return cmp.Compare(x.seq, y.seq) }) {
				switch {
				case !slices.Contains(n.claims, h): // it was given up with others of its gang
				case h.with != nil:
					a.settleGangClaim(h)
				default:
					a.settleClaim(h)
				}
			}
			n.ripe = false
		}
	}
}

// settleClaim looks at a claim that is not of a gang. Those that came later do not stand in its way: what has ended is for the
// one that waits longest, and nobody waits for the last of all that is being stopped on the node.
func (a *Allocator) settleClaim(h *hold) {
	n, r := h.node, a.requests[h.request]
	a.unclaim(h)
	if h.client.account.inClosed() != nil {
		a.again(h.request, h.slot)
		return
	}
	back := a.liftLater(h)
	fits, ports := a.fitsClaimed(h)
	back()
	if !fits && n.leaving > 0 && n.Spec() != nil && n.Spec().Schedulable() {
		a.holdClaim(h)
		return
	}
	if fits {
		h.ports = ports
		a.out = append(a.out, Decision{Place: a.decide(h, r.Priority, h.ordered)})
		return
	}
	a.again(h.request, h.slot)
}

// liftLater takes the claims on the node of h off the books that came later and are not of its gang, for the time until the function that
// it returns is called.
func (a *Allocator) liftLater(h *hold) (back func()) {
	var later []*hold
	for _, o := range h.node.claims {
		if o.seq > h.seq && (h.with == nil || o.with != h.with) {
			later = append(later, o)
			a.lift(o, -1)
		}
	}
	return func() {
		for _, o := range later {
			a.lift(o, 1)
		}
	}
}

// fitsClaimed reports whether what a claim is for fits on its node, and with which ports. The claim is off the books.
func (a *Allocator) fitsClaimed(h *hold) (ok bool, ports []structs.AssignedPort) {
	ask := h.ask.Among(a.work)
	books := h.node.seen(a.requests[h.request].group.shape.view, false, false)
	if !placement.Fits(books, a.peersOfAsk(ask), ask, placement.First).OK {
		return false, nil
	}
	ports, ok = h.node.Assign(ask)
	return ok, ports
}

func (a *Allocator) holdClaim(h *hold) {
	a.inFlight(h)
	h.node.claims = append(h.node.claims, h)
	a.byCheck.push(h)
	a.take(h)
}

// checkClaims gives up the claims whose time has come when there is free room elsewhere.
func (a *Allocator) checkClaims(now structs.Time) {
	for a.byCheck.len() > 0 && a.byCheck.top().check <= now {
		h := a.byCheck.top()
		if h.with != nil {
			a.checkGang(h.with, now)
			continue
		}
		if a.choose(a.requests[h.request].group.shape, h.slot) == nil {
			h.check = now.Add(ClaimCheck)
			a.byCheck.fix(h)
			continue
		}
		a.unclaim(h)
		a.again(h.request, h.slot)
	}
}

// unclaim gives back what a claim holds.
func (a *Allocator) unclaim(h *hold) {
	a.byCheck.remove(h)
	h.node.claims = slices.DeleteFunc(h.node.claims, func(o *hold) bool { return o == h })
	a.settled(h)
	a.give(h)
}

// dropClaims gives up the claims of a request, or only those for slots that it does not list any more.
func (a *Allocator) dropClaims(request string, unwanted bool) {
	for _, h := range a.placing[request] {
		if h.decision == 0 && !(unwanted && h.wanted) {
			a.unclaim(h)
		}
	}
}
