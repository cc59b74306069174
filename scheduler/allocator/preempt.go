package allocator

import (
	"cmp"
	"slices"
	"strings"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// reclaim keeps, for one shape and one band that it is served in, what room on each node would cost: a heap of the nodes
// where stopping work of lower bands makes room, cheapest first. It is brought up to date from the log of changed nodes,
// and built anew when what may be preempted changed everywhere, or when room on one node
// can come from a change on another.
type reclaim struct {
	shape *shape
	band  structs.Band
	seen  int    // position in the log of changes
	epoch uint64 // of the allocator
	at    []int  // by Ord: position in nodes; -1
	costs []cost // by Ord
	nodes heap[*node]
}

// mostReclaims bounds the reclaims that are kept, of some 40 bytes a node each; the oldest is forgotten first.
const mostReclaims = 32

// cost is what room on a node costs, see costs.less.
type cost struct {
	band    structs.Band // the highest of those who have to go; -1 when it is enough that what leaves is gone
	count   int
	created structs.Time // of the oldest of them
}

// less orders nodes by what has to go: lower bands, then fewer, then younger ones.
func (c cost) less(o cost) bool {
	return cmp.Or(cmp.Compare(c.band, o.band), cmp.Compare(c.count, o.count), cmp.Compare(o.created, c.created)) < 0
}

func (h *hold) high() bool { return h.band >= structs.Production }

// commit lists h among the committed allocations of its node.
func (a *Allocator) commit(h *hold) {
	h.at = len(h.node.allocs)
	h.node.allocs = append(h.node.allocs, h)
	h.node.ordered = false
	a.ofBand[h.band]++
	if len(a.reclaims) > 0 {
		a.touch(h.node, false)
	}
	for b := min(h.band, structs.BatchBand) + 1; int(b) < bands; b++ {
		if a.blockedBands[b] > 0 {
			a.touch(h.node, true) // somebody who waits may preempt it
			return
		}
	}
}

func (a *Allocator) uncommit(h *hold) {
	n := h.node
	last := n.allocs[len(n.allocs)-1]
	n.allocs[h.at], last.at = last, h.at
	n.allocs = n.allocs[:len(n.allocs)-1]
	n.ordered = false
	a.ofBand[h.band]--
	if !h.leaving {
		return
	}
	n.leaving--
	a.leaving--
	if h.victim {
		a.preempted--
		a.fewer = true
	}
	a.countLeaving(h, -1)
}

// leave notes that h is being stopped.
func (a *Allocator) leave(h *hold) {
	if h.leaving {
		return
	}
	h.leaving = true
	h.node.ordered = false
	h.node.leaving++
	a.leaving++
	a.countLeaving(h, 1)
	a.touch(h.node, true)
}

func (a *Allocator) countLeaving(h *hold, sign int64) {
	if !h.high() {
		return
	}
	for role := h.client.account.roleOf(); role != nil; role = role.parent {
		a.mayReclaim(role)
		addTo(&role.leaving, h.amount, sign)
		a.mayReclaim(role)
	}
}

// mayReclaim is called before and after what a role holds above its guarantee changes: it may be reclaimed from it.
func (a *Allocator) mayReclaim(role *account) {
	for kind := range role.guarantee {
		if g, named := role.guarantee.at(kind); named && usedOf(role.high, kind)-usedOf(role.leaving, kind) > g {
			a.epoch++
			return
		}
	}
}

// reclaimedAs returns the band that h is protected by: its own, or batch for production and monitoring that no guarantee
// covers, or that is beyond one by more than a tenth and stays beyond or at it when h goes.
func (h *hold) reclaimedAs() structs.Band {
	if !h.high() {
		return h.band
	}
	covered := false
	for role := h.client.account.roleOf(); role != nil; role = role.parent {
		for kind, v := range h.amount {
			g, named := role.guarantee.at(kind)
			if !named || v == 0 {
				continue
			}
			covered = true
			if h.leaving {
				continue
			}
			if holds := usedOf(role.high, kind) - usedOf(role.leaving, kind); holds > g+g/10 && holds-v >= g {
				return structs.BatchBand
			}
		}
	}
	if covered {
		return h.band
	}
	return structs.BatchBand
}

func (h *hold) exempt() bool {
	for role := h.client.account.roleOf(); role != nil; role = role.parent {
		if role.exempt {
			return true
		}
	}
	return false
}

// preempt makes room for the first slot of a group on the node where that costs least, and holds it, or puts the group
// aside. What leaves already costs nothing.
func (a *Allocator) preempt(g *group, overLimit bool) {
	s, band := g.shape, g.queued
	if !a.mayPreempt(band) {
		a.block(s, upTo(band))
		return
	}
	x := a.reclaimOf(s, band)
	for x.nodes.len() > 0 {
		n := x.nodes.top()
		victims, ok := a.victims(n, s, band)
		if c := costOf(victims); !ok || c != x.costs[n.Ord] {
			a.recost(x, n, s, band)
			continue
		}
		fresh := slices.DeleteFunc(slices.Clone(victims), func(h *hold) bool { return h.leaving })
		if len(fresh) > 0 && a.preempted+len(fresh) > a.mostPreempted() {
			a.throttled[s] = true
			a.block(s, 1<<band)
			return
		}
		a.claim(g, n, fresh, overLimit)
		return
	}
	a.block(s, upTo(band))
}

func (a *Allocator) mostPreempted() int {
	if a.options.MostPreempted > 0 {
		return a.options.MostPreempted
	}
	return max(10, len(a.allocs)/10)
}

// mayPreempt reports whether there can be anything that gives way to a band.
func (a *Allocator) mayPreempt(band structs.Band) bool {
	for b := range bands {
		// Production and monitoring beyond their guarantees give way as batch does.
		if a.ofBand[b] > 0 && (structs.Band(b) < band || b >= int(structs.Production) && band > structs.BatchBand) {
			return true
		}
	}
	return false
}

// claim holds room on a node for a slot, and asks for the victims to be stopped.
func (a *Allocator) claim(g *group, n *node, fresh []*hold, overLimit bool) {
	for len(n.offers) > 0 {
		a.rescind(n.offers[len(n.offers)-1], "a request needs the room")
	}
	if overLimit {
		a.makeLimitRoom(g.client.account, g.shape.amount)
	}
	r, band := g.requests.top(), g.queued
	h := a.takeSlot(r, n)
	h.ordered = band
	p := &Preempt{Request: r.ID, Job: h.job, Role: g.client.account.path, Priority: r.Priority, Slot: h.slot, Node: n.ID, NodeName: n.Name()}
	for _, v := range fresh {
		p.Victims = append(p.Victims, v.alloc)
		v.victim = true
		a.preempted++
		a.leave(v)
	}
	a.claimed++
	h.seq, h.check = a.claimed, a.now.Add(ClaimCheck)
	a.holdClaim(h)
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
			for _, h := range slices.Clone(n.claims) {
				a.settleClaim(h)
			}
			n.ripe = false
		}
	}
}

func (a *Allocator) settleClaim(h *hold) {
	n, r := h.node, a.requests[h.request]
	s := r.group.shape
	a.unclaim(h)
	if h.client.account.inClosed() != nil {
		a.again(h.request, h.slot)
		return
	}
	fits := placement.Fits(n.Node, a.peersFor(s), s.ask, placement.First).OK
	if !fits && n.leaving > 0 && n.Spec() != nil && n.Spec().Schedulable() {
		a.holdClaim(h)
		return
	}
	if ports, ok := n.Assign(s.ask); fits && ok {
		h.ports = ports
		a.out = append(a.out, Decision{Place: a.decide(h, r.Priority, h.ordered)})
		return
	}
	a.again(h.request, h.slot)
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

func (a *Allocator) peersFor(s *shape) *placement.Peers {
	if !s.ask.Peered() {
		return nil
	}
	return a.peersOf(s.ask.Job)
}

// givesWay is one allocation that may give way, and the band as which it does.
type givesWay struct {
	*hold
	as structs.Band
}

// givingWay returns what may have to go on a node, in the order of the contract: what leaves already, then lower bands, then
// younger work. The node keeps the list until something on it, or what may be preempted everywhere, changed.
func (a *Allocator) givingWay(n *node) []givesWay {
	if n.ordered && n.orderedAt == a.epoch {
		return n.order
	}
	n.ordered, n.orderedAt, n.order = true, a.epoch, n.order[:0]
	for _, h := range n.allocs {
		if as := h.reclaimedAs(); as <= structs.BatchBand && (h.leaving || !h.exempt()) {
			n.order = append(n.order, givesWay{h, as})
		}
	}
	slices.SortFunc(n.order, func(x, y givesWay) int {
		if x.leaving != y.leaving {
			if x.leaving {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(x.as, y.as), cmp.Compare(y.created, x.created), strings.Compare(string(y.alloc), string(x.alloc)))
	})
	return n.order
}

// lack is how much of the usual resources is missing on a node.
type lack struct{ cpu, memory, disk int64 }

// lackOf ignores what is not asked for, of which a node may have less than nothing.
func lackOf(ask, free *structs.Resources) (l lack) {
	if ask.CPU > 0 {
		l.cpu = int64(ask.CPU - free.CPU)
	}
	if ask.Memory > 0 {
		l.memory = int64(ask.Memory - free.Memory)
	}
	if ask.Disk > 0 {
		l.disk = int64(ask.Disk - free.Disk)
	}
	return l
}

func (l lack) less(r *structs.Resources) lack {
	return lack{l.cpu - int64(r.CPU), l.memory - int64(r.Memory), l.disk - int64(r.Disk)}
}

func (l lack) none() bool { return l.cpu <= 0 && l.memory <= 0 && l.disk <= 0 }

// victims returns what has to end on a node so that s, served in a band, fits: work of lower bands, never production or
// monitoring within a guarantee; what leaves anyway first, then lower bands, then younger work, as much as is needed; what
// turns out not to be needed is spared, the last first. Offers on the node are taken back before. False when nothing
// helps. The slice is good until the next call.
func (a *Allocator) victims(n *node, s *shape, band structs.Band) (out []*hold, ok bool) {
	if len(n.allocs) == 0 || !a.mayPreempt(band) || n.Spec() == nil || !n.Spec().Schedulable() {
		return nil, false
	}
	if s.index != nil && !s.index.Suits(n.Node) {
		return nil, false
	}
	ask, free := &s.ask.Resources, n.Free()
	missing := lackOf(ask, &free).less(&n.offered)
	out = a.found[:0]
	defer func() { a.found = out[:0] }()
	dropped, counted := 0, 0 // of out: gone from the books; high ones that are counted as leaving
	n.Drop(n.offered, nil)
	peers := a.peersFor(s)
	fits := func() bool { return placement.Fits(n.Node, peers, s.ask, placement.First).OK }
	for _, w := range a.givingWay(n) {
		if w.as >= band {
			continue
		}
		if w.high() && !w.leaving {
			if w.reclaimedAs() > structs.BatchBand { // not any more, after those before it
				continue
			}
			a.shiftLeaving(w.hold, 1)
			counted++
		}
		out = append(out, w.hold)
		if missing = missing.less(&w.resources); !missing.none() {
			continue
		}
		for ; dropped < len(out); dropped++ {
			n.Drop(out[dropped].resources, out[dropped].ports)
		}
		if ok = fits(); ok {
			break
		}
	}
	if counted > 0 {
		for _, h := range out {
			if h.high() && !h.leaving {
				a.shiftLeaving(h, -1)
			}
		}
	}
	if !ok {
		for _, h := range out[:dropped] {
			n.Hold(h.resources, h.ports)
		}
		n.Hold(n.offered, nil)
		return nil, false
	}
	// Whoever is spared is back in the books.
	for i := len(out) - 2; i >= 0 && !out[i].leaving; i-- {
		h := out[i]
		with := lack{missing.cpu + int64(h.resources.CPU), missing.memory + int64(h.resources.Memory), missing.disk + int64(h.resources.Disk)}
		if !with.none() {
			continue
		}
		n.Hold(h.resources, h.ports)
		if fits() {
			out, missing = slices.Delete(out, i, i+1), with
			continue
		}
		n.Drop(h.resources, h.ports)
	}
	for _, h := range out {
		n.Hold(h.resources, h.ports)
	}
	n.Hold(n.offered, nil)
	return out, true
}

// shiftLeaving counts h as leaving for the time of a computation.
func (a *Allocator) shiftLeaving(h *hold, sign int64) {
	for role := h.client.account.roleOf(); role != nil; role = role.parent {
		addTo(&role.leaving, h.amount, sign)
	}
}

func costOf(victims []*hold) cost {
	c := cost{band: -1}
	for _, h := range victims {
		if h.leaving {
			continue
		}
		if c.count == 0 || h.created < c.created {
			c.created = h.created
		}
		c.band = max(c.band, h.reclaimedAs())
		c.count++
	}
	return c
}

// reclaimOf returns what room costs for a shape served in a band, up to date.
func (a *Allocator) reclaimOf(s *shape, band structs.Band) *reclaim {
	x := s.reclaims[band]
	end := a.changedFrom + len(a.changed)
	if x == nil || s.ask.Elsewhere() || x.epoch != a.epoch || x.seen < a.changedFrom {
		x = &reclaim{shape: s, band: band, epoch: a.epoch, at: make([]int, len(a.byOrd)), costs: make([]cost, len(a.byOrd))}
		x.nodes = heap[*node]{
			less: func(m, n *node) bool {
				if x.costs[m.Ord] != x.costs[n.Ord] {
					return x.costs[m.Ord].less(x.costs[n.Ord])
				}
				return m.ID < n.ID
			},
			at: func(n *node) *int { return &x.at[n.Ord] }}
		for i := range x.at {
			x.at[i] = -1
		}
		a.forgetReclaim(s.reclaims[band])
		if len(a.reclaims) == mostReclaims {
			a.forgetReclaim(a.reclaims[0])
		}
		s.reclaims[band] = x
		a.reclaims = append(a.reclaims, x)
		for _, n := range a.byOrd {
			a.recost(x, n, s, band)
		}
	} else {
		for _, ord := range a.changed[x.seen-a.changedFrom:] {
			a.recost(x, a.byOrd[ord], s, band)
		}
	}
	x.seen = end
	return x
}

func (a *Allocator) forgetReclaims(s *shape) {
	for _, x := range s.reclaims {
		a.forgetReclaim(x)
	}
}

func (a *Allocator) forgetReclaim(x *reclaim) {
	if x == nil {
		return
	}
	a.reclaims = slices.DeleteFunc(a.reclaims, func(o *reclaim) bool { return o == x })
	x.shape.reclaims[x.band] = nil
	a.trimChanged()
}

// trimChanged forgets changes that nobody reads, or that cost more to read than a look at every node.
func (a *Allocator) trimChanged() {
	if most := 2*len(a.byOrd) + 64; len(a.reclaims) == 0 || len(a.changed) > most {
		a.changedFrom += len(a.changed)
		a.changed = a.changed[:0]
	}
}

// recost computes anew what room on a node costs.
func (a *Allocator) recost(x *reclaim, n *node, s *shape, band structs.Band) {
	for n.Ord >= len(x.at) {
		x.at, x.costs = append(x.at, -1), append(x.costs, cost{})
	}
	victims, ok := a.victims(n, s, band)
	if x.at[n.Ord] >= 0 {
		x.nodes.remove(n)
	}
	if ok {
		x.costs[n.Ord] = costOf(victims)
		x.nodes.push(n)
	}
}

// wakePreempting lets those try again who wait for victims to end, or for what may be preempted to change.
func (a *Allocator) wakePreempting() {
	if a.seenEpoch != a.epoch {
		a.seenEpoch = a.epoch
		for s := range a.blocked {
			if s.blocked.highest() > structs.BestEffort {
				a.unblock(s)
			}
		}
	}
	if a.fewer {
		a.fewer = false
		for s := range a.throttled {
			a.unblock(s)
		}
	}
}
