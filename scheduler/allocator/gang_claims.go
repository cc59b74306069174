package allocator

import (
	"cmp"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// A gang that fits nowhere claims room for all its slots at once, on nodes where it is free and on nodes where work of lower bands can be
// stopped, or for none of them. It is placed when every claim has its room, and gives all up when one has nothing to wait for.

// force finds the node where room for one shape costs least, during one try.
type force struct {
	part  *request
	band  structs.Band
	epoch uint64
	at    []int  // by Ord: position in nodes; -1; elsewhere for a node of another value
	costs []cost // by Ord
	nodes heap[*node]
}

const elsewhere = -2

// claimGang has a gang claim room for all its slots, or puts it aside.
func (a *Allocator) claimGang(lead *group, overLimit bool) {
	g, band := lead.shape.gang, lead.queued
	var found []landing
	throttled := false
	if a.mayPreempt(band) {
		found, throttled = a.landByForce(g, band)
	}
	if found == nil {
		a.sleep(g, band, throttled)
		return
	}
	a.rescindUnder(found)
	if overLimit {
		amount, n := g.whole()
		a.makeLimitRoom(lead.client.account, amount, n)
	}
	with := &together{}
	a.served(lead)
	a.drop(g.lead)
	took := map[*node]bool{}
	for _, f := range found {
		if f.forced && f.node.keptBelow(band) {
			a.unkeep(f.node.kept.kept)
			took[f.node] = true
		}
		h := a.takeSlot(f.part, f.node)
		h.with, h.ganged, h.ordered, h.ready, h.ports = with, true, band, !f.forced, f.node.Static(f.part.Ask)
		with.holds = append(with.holds, h)
		if f.forced {
			a.stopFor(h, f.part.Priority, f.victims)
		}
		a.claimed++
		h.seq, h.check = a.claimed, a.now.Add(ClaimCheck)
		a.holdClaim(h)
	}
	for n := range took {
		a.ripen(n) // that may have been all
	}
}

// landByForce finds for each slot of a gang the best free node, or else the one where room costs least, as if nothing were offered.
// Values of the attribute are tried in order of the room that is free for the largest part, the most first: there the fewest have to go.
// throttled says that it would do so somewhere but for MostPreempted.
func (a *Allocator) landByForce(g *gang, band structs.Band) (found []landing, throttled bool) {
	defer a.withoutOffers()()
	defer a.liftSpots(g.lead.group)()
	parts := a.largestFirst(g)
	free, forced := make([]map[string]int64, len(parts)), make([]map[string]int64, len(parts))
	for i, r := range parts {
		free[i] = a.roomsOf(r, nil)
		forced[i] = a.roomsOf(r, func(n *node) structs.Resources { return a.mayGo(n, band) })
	}
	values := g.enough(parts, forced)
	slices.SortFunc(values, func(x, y string) int { return cmp.Or(cmp.Compare(free[0][y], free[0][x]), strings.Compare(x, y)) })
	for _, in := range values {
		found, over := a.forceWithin(parts, in, band)
		if found != nil {
			return found, false
		}
		throttled = throttled || over
	}
	return nil, throttled
}

// mayGo returns what of a node may give way to a band, and what is kept there for a lower one.
func (a *Allocator) mayGo(n *node, band structs.Band) (sum structs.Resources) {
	if n.keptBelow(band) {
		sum = n.kept.room
	}
	if len(n.allocs) == 0 || !a.mayPreempt(band) {
		return sum
	}
	for _, w := range a.givingWay(n) {
		if w.as < band {
			sum = sum.Add(w.booked())
		}
	}
	return sum
}

// forceWithin is landByForce inside one value. Nothing is held after it, and nothing being stopped.
func (a *Allocator) forceWithin(parts []*request, in string, band structs.Band) (found []landing, throttled bool) {
	epoch := a.epoch
	found, ok, throttled := a.tryForce(parts, in, band)
	a.unland(found)
	for _, f := range found {
		for _, v := range f.victims {
			a.markGoing(v, -1)
		}
	}
	a.epoch = epoch
	if !ok {
		return nil, throttled
	}
	return found, false
}

// tryForce leaves what it found held, and what has to go marked.
func (a *Allocator) tryForce(parts []*request, in string, band structs.Band) (found []landing, ok, throttled bool) {
	left := a.mostPreempted() - a.preempted
	forces := map[*request]*force{}
	for _, r := range parts {
		for _, slot := range r.pending {
			f, ok := a.landing(r, slot, in)
			if !ok {
				if f, ok = a.landForced(forces, r, slot, in, band); !ok {
					return found, false, false
				}
			}
			found = append(found, f)
			if left -= len(f.victims); left < 0 && len(f.victims) > 0 {
				return found, false, true
			}
			for _, x := range forces {
				a.weighAgain(x, f.node)
				for _, v := range f.victims {
					a.weighAgain(x, v.node)
				}
			}
		}
	}
	return found, true, false
}

// landForced holds the node where room for one slot costs least, and marks what has to go.
func (a *Allocator) landForced(forces map[*request]*force, r *request, slot Slot, in string, band structs.Band) (landing, bool) {
	x := forces[r]
	if x == nil || x.epoch != a.epoch || r.group.shape.ask.Elsewhere() { // where the slots before it are matters on other nodes too
		x = a.newForce(r, in, band)
		forces[r] = x
	}
	f := landing{part: r, slot: slot, forced: true}
	if x.nodes.len() == 0 {
		return f, false
	}
	f.node = x.nodes.top()
	victims, ok := a.victims(f.node, r.group.shape, band)
	if !ok {
		return f, false // weighAgain has seen it: it cannot happen
	}
	f.victims, f.ports = fresh(victims), f.node.Static(r.Ask)
	for _, v := range f.victims {
		a.markGoing(v, 1)
	}
	a.try(&f)
	return f, true
}

func (a *Allocator) newForce(r *request, in string, band structs.Band) *force {
	x := &force{part: r, band: band, epoch: a.epoch, at: make([]int, len(a.byOrd)), costs: make([]cost, len(a.byOrd))}
	x.nodes = heap[*node]{
		less: func(m, n *node) bool {
			c := x.costs[m.Ord].compare(&x.costs[n.Ord])
			return c < 0 || c == 0 && m.ID < n.ID
		},
		at: func(n *node) *int { return &x.at[n.Ord] }}
	for i, n := range a.byOrd {
		x.at[i] = elsewhere
		if n.Spec() == nil || a.nodes[n.ID] != n {
			continue
		}
		if value, ok := r.Ask.ValueOn(n.Spec()); ok && value == in {
			x.at[i] = -1
			a.weighAgain(x, n)
		}
	}
	return x
}

// weighAgain computes anew what room on a node costs.
func (a *Allocator) weighAgain(x *force, n *node) {
	if x.at[n.Ord] == elsewhere {
		return
	}
	if x.at[n.Ord] >= 0 {
		x.nodes.remove(n)
	}
	if victims, ok := a.victims(n, x.part.group.shape, x.band); ok {
		x.costs[n.Ord] = costOf(victims)
		x.nodes.push(n)
	}
}

// markGoing counts an allocation as being stopped for the time of a try; a negative sign ends that.
func (a *Allocator) markGoing(v *hold, sign int) {
	v.leaving = sign > 0
	v.node.leaving += sign
	v.node.given = false
	if v.kin != nil {
		v.kin.stays(v, -sign)
		for _, h := range v.kin.holds {
			h.node.given = false
		}
	}
	if v.high() {
		// What may go elsewhere changed. No list that was made in a try is used after it: its epoch does not come again.
		a.shiftLeaving(v, int64(sign))
		a.tries++
		a.epoch = 1<<63 | a.tries
	}
}

// settleGangClaim looks whether the claim of a gang has its room now.
func (a *Allocator) settleGangClaim(h *hold) {
	n := h.node
	if h.client.account.inClosed() != nil {
		a.giveUp(h.with)
		return
	}
	a.lift(h, -1)
	back := a.liftLater(h)
	h.ready, _ = a.fitsClaimed(h)
	back()
	a.lift(h, 1)
	switch {
	case !h.ready && (n.leaving == 0 || n.Spec() == nil || !n.Spec().Schedulable()):
		a.giveUp(h.with)
	case !slices.ContainsFunc(h.with.holds, func(o *hold) bool { return !o.ready }):
		a.placeClaimed(h.with)
	}
}

// lift takes a claim out of the books for a moment, or puts it back.
func (a *Allocator) lift(h *hold, by int) {
	if by < 0 {
		h.node.Drop(h.client.account, h.resources, h.ports)
	} else {
		h.node.Hold(h.client.account, h.resources, h.ports)
	}
	a.countPeer(h.node, h.job, h.group, h.marks, by)
}

// giveUp gives all claims of a gang up; it waits again.
func (a *Allocator) giveUp(with *together) {
	for _, h := range with.holds {
		a.unclaim(h)
	}
	for _, h := range with.holds {
		a.again(h.request, h.slot)
	}
}

// placeClaimed places a gang of which every claim has its room, unless they are in each other's way.
func (a *Allocator) placeClaimed(with *together) {
	for _, h := range with.holds {
		a.unclaim(h)
	}
	var found []landing
	for _, h := range with.holds {
		f := landing{part: a.requests[h.request], slot: h.slot, node: h.node}
		back, ok := a.liftLater(h), false
		ok, f.ports = a.fitsClaimed(h)
		back()
		if !ok {
			break
		}
		a.try(&f)
		found = append(found, f)
	}
	a.unland(found)
	if len(found) < len(with.holds) {
		for _, h := range with.holds {
			a.again(h.request, h.slot)
		}
		return
	}
	for i, h := range with.holds {
		h.ports = found[i].ports
		p := a.decide(h, found[i].part.Priority, h.ordered)
		p.Gang = found[i].part.gang.id
		a.out = append(a.out, Decision{Place: p})
	}
}

// checkGang gives the claims of a gang up when there is free room for all of it.
func (a *Allocator) checkGang(with *together, now structs.Time) {
	g := a.requests[with.holds[0].request].gang
	for _, h := range with.holds {
		a.lift(h, -1)
		a.look(h.node)
		r := a.requests[h.request]
		r.pending = append(r.pending, h.slot)
	}
	for _, r := range g.parts {
		slices.SortFunc(r.pending, compareSlots)
	}
	free := a.land(g, false) != nil
	for _, h := range with.holds {
		a.requests[h.request].pending = nil
		a.lift(h, 1)
		a.look(h.node)
	}
	if free {
		a.giveUp(with)
		return
	}
	for _, h := range with.holds {
		h.check = now.Add(ClaimCheck)
		a.byCheck.fix(h)
	}
}
