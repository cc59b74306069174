package allocator

import (
	"cmp"
	"slices"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// Step decides until nothing can be served, or until it made budget decisions (0: no bound). It costs what changed since
// the last Step, and next to nothing when nothing did. now ends offers and filters, and has claims looked at; it
// must not go back.
func (a *Allocator) Step(now structs.Time, budget int) []Decision {
	a.now = now
	a.startClocks()
	a.changeAsks()
	a.expire(now)
	a.observe()
	a.review()
	a.reclaimSlack()
	roused := false
	for budget <= 0 || len(a.out) < budget {
		a.settleClaims()
		a.changeAsks()
		a.settleKept()
		a.changeAsks()
		a.wake()
		if a.totalChanged {
			a.totalChanged = false
			a.reshare(a.root)
		}
		if !roused {
			roused = true
			a.rouse()
		}
		g := a.next()
		switch {
		case g == nil && (a.rouse() || a.unkeepIdle() || a.keep()):
		case g == nil:
			return a.decided()
		case g.shape == nil:
			if o := a.serveOffer(g.wish, now); o != nil {
				a.out = append(a.out, Decision{Offer: o})
			}
		case g.shape.gang != nil:
			a.serveGang(g)
		default:
			if p := a.serve(g); p != nil {
				a.out = append(a.out, Decision{Place: p})
			}
		}
	}
	return a.decided()
}

// decided ends a Step.
func (a *Allocator) decided() []Decision {
	a.startClocks() // of slots that wait again
	out := a.out
	a.out = nil
	a.pool.TakeNew()
	return out
}

// next returns whose turn it is: the highest band with demand; in it the role with the smallest share, from the root
// down; in that role the framework with the smallest share; of it what comes first by level and age.
func (a *Allocator) next() *group {
	for band := structs.Band(bands - 1); band >= 0; band-- {
		acc := a.root
		for acc.client == nil {
			if acc.active[band].len() == 0 {
				break
			}
			acc = acc.active[band].top()
		}
		if acc.client != nil {
			return acc.client.queue[band].top()
		}
	}
	return nil
}

// serve places one slot of the group's first request, or puts the group aside until something changed.
//
// What a request may claim, in this order: free room, what is reserved for it first; then room that is kept for a start that
// comes later than its end, or reserved from a time that does; then, as best-effort, what others have and do not use, see chooseSpare; then
// room that offers hold; then that of running work of lower bands, see preempt.
func (a *Allocator) serve(g *group) *Place {
	acc, s := g.client.account, g.shape
	over, ok := a.admit(g, s.amount, 1)
	if !ok {
		return nil
	}
	r := g.requests.top()
	slot := r.pending[0]
	n := a.choose(s, slot)
	if n == nil {
		n = a.backfill(s, slot)
	}
	if n == nil {
		n = a.borrow(s, slot)
	}
	var slack structs.Slack
	if n == nil {
		if n = a.chooseSpare(g, slot); n != nil {
			slack = s.ask.Resources.Slack().Beyond(n.Free().Slack())
		}
	}
	if n == nil && a.makeRoom(s) {
		n = a.choose(s, slot)
	}
	if n == nil && a.makeSlack(g) {
		if n = a.chooseSpare(g, slot); n != nil {
			slack = s.ask.Resources.Slack().Beyond(n.Free().Slack())
		}
	}
	if n == nil {
		a.preempt(g, over != nil)
		return nil
	}
	ports, ok := n.Assign(s.ask)
	if !ok {
		// Fits counted the same ports; it cannot happen, and waiting is the harmless answer.
		a.block(s, upTo(g.queued))
		return nil
	}
	if over != nil {
		a.makeLimitRoom(acc, s.amount, 1)
	}
	band := g.queued
	h := a.takeSlot(r, n)
	h.ports, h.slack = ports, slack
	return a.decide(h, r.Priority, band)
}

// admit checks guarantee and limits for n allocations of an amount in all, or puts the group aside. over is a role whose limit holds
// only once offers below it are taken back.
func (a *Allocator) admit(g *group, amount []int64, n int) (over *account, ok bool) {
	acc := g.client.account
	if g.band >= structs.Production && g.demoted == nil {
		if role := acc.beyondGuarantee(amount); role != nil {
			a.dequeue(g)
			g.demoted = role
			role.demoted[g] = true
			a.enqueue(g)
			return nil, false
		}
	}
	if role := a.overPart(g, amount); role != nil {
		a.dequeue(g)
		g.parked = role
		role.parked[g] = true
		return nil, false
	}
	over = acc.overLimit(amount, n)
	if over != nil && !a.fitsWithoutOffers(acc, amount, n) {
		a.dequeue(g)
		g.parked = over
		over.parked[g] = true
		return nil, false
	}
	return over, true
}

// takeSlot makes a hold of the first slot of a request on a node, without ports.
func (a *Allocator) takeSlot(r *request, n *node) *hold {
	s, slot := r.group.shape, r.pending[0]
	h := &hold{node: n, client: r.group.client, job: r.Ask.Job, group: r.Ask.Group, marks: s.ask.Marks, ask: a.phase(r), tag: r.group.tag,
		amount: s.amount, resources: s.ask.Resources, maxRun: s.ask.MaxRun, band: r.group.band, request: r.ID, slot: slot, wanted: true}
	a.turns++
	r.pending = r.pending[1:]
	if len(r.pending) == 0 {
		r.pending = nil
		a.drop(r)
	}
	a.served(r.group)
	a.tookTurn(r.group.client.account)
	if r.pending == nil {
		a.stopClock(r)
	}
	return h
}

// decide takes a hold as a decision in flight.
func (a *Allocator) decide(h *hold, priority structs.Priority, ordered structs.Band) *Place {
	a.restartClock(h)
	h.ask = nil
	a.lastID++
	h.decision = a.lastID
	a.decisions[h.decision] = h
	a.lastServed[ordered] = a.now
	a.inFlight(h)
	a.take(h)
	p := &Place{ID: h.decision, Request: h.request, Framework: h.client.framework, Role: h.client.account.path, Priority: priority,
		Ordered: ordered, Job: h.job, Group: h.group, Marks: h.marks,
		Owner: h.tag.owner, FrameworkScheduler: h.tag.scheduler, Slot: h.slot, Node: h.node.ID, NodeName: h.node.Name(),
		Resources: h.resources, Ports: h.ports, MaxRun: h.maxRun}
	if !h.slack.IsZero() {
		p.Revocable = new(h.slack)
	}
	if spec := h.node.Spec(); spec != nil {
		p.Incarnation = spec.Incarnation
	}
	return p
}

// inFlight notes that the slot of h is taken care of.
func (a *Allocator) inFlight(h *hold) {
	if h.request == "" {
		return
	}
	placing := a.placing[h.request]
	if placing == nil {
		placing = make(map[int]*hold, 1)
		a.placing[h.request] = placing
	}
	placing[h.slot.Index] = h
}

// choose returns the node for a slot, or nil.
func (a *Allocator) choose(s *shape, slot Slot) *node { return a.chooseWithin(s, slot, nil) }

// chooseWithin is choose among the nodes where Ask.Within has a value; nil: all nodes.
func (a *Allocator) chooseWithin(s *shape, slot Slot, in *string) *node {
	a.sync(s)
	if slot.Prefer != "" {
		if n := a.nodes[slot.Prefer]; n != nil && !a.outlasts(s, n) && a.fitsOn(n, s) && isIn(s, n, in) {
			return n
		}
	}
	avoid := a.avoid(s, slot)
	var best *placement.Node
	if mine := a.reserved(s); mine != nil {
		best = mine.BestWithin(in, avoid)
	}
	if best == nil || slices.Contains(avoid, best.ID) {
		if other := s.index.BestWithin(in, avoid); other != nil && (best == nil || !slices.Contains(avoid, other.ID)) {
			best = other
		}
	}
	if best == nil {
		return nil
	}
	return a.byOrd[best.Ord]
}

// isIn reports whether Ask.Within has a value on a node.
func isIn(s *shape, n *node, in *string) bool {
	if in == nil {
		return true
	}
	value, ok := s.ask.ValueOn(n.Spec())
	return ok && value == *in
}

// shape returns the shape of an ask of those who see the nodes in one way.
func (a *Allocator) shape(ask *placement.Ask, v *view) *shape {
	key := ask.Key()
	if v != nil {
		key += " for " + v.role
	}
	s := a.shapes[key]
	if s != nil && s.view != v {
		a.forget(s) // of a view that went; nobody asks for it
		s = nil
	}
	if s == nil {
		s = &shape{ask: ask, key: key, view: v, amount: a.amount(ask.Resources), groups: map[*group]bool{}}
		a.shapes[s.key] = s
		if ask.Peered() {
			a.peered[ask.Job]++
			a.want(s, 1)
		}
	}
	return s
}

// retire keeps the index of a shape that nobody asks for, for the next who does; of one job's shape it forgets all.
func (a *Allocator) retire(s *shape) {
	if s.gang != nil {
		return
	}
	a.forgetReclaims(s)
	if s.blocked != 0 || s.index == nil || s.ask.Peered() {
		a.forget(s)
	}
}

func (a *Allocator) forget(s *shape) {
	delete(a.shapes, s.key)
	a.unblocked(s)
	a.forgetReclaims(s)
	if !s.ask.Peered() {
		return
	}
	a.want(s, -1)
	if a.peered[s.ask.Job]--; a.peered[s.ask.Job] == 0 {
		delete(a.peered, s.ask.Job)
		a.work.Trim(s.ask.Job)
	}
}

// sync makes the index of a shape, if it has none; it keeps itself up to date with the pool.
func (a *Allocator) sync(s *shape) {
	a.tick++
	s.used = a.tick
	if s.index != nil {
		return
	}
	a.evict()
	peers := a.peersFor(s)
	s.index = a.pool.Index(s.ask, peers)
	a.indexed++
}

// evict drops the indexes that were not used for longest when they occupy more than the bound.
func (a *Allocator) evict() {
	if a.indexed < a.evictAt {
		return
	}
	var with []*shape
	size := 0
	for _, s := range a.shapes {
		if s.index != nil {
			with = append(with, s)
			size += s.index.Size()
		}
	}
	slices.SortFunc(with, func(x, y *shape) int { return cmp.Compare(x.used, y.used) })
	for len(with) > 1 && size > a.options.IndexBytes*3/4 {
		s := with[0]
		with = with[1:]
		size -= s.index.Size()
		s.index, s.mine, s.spare = nil, nil, nil
		if len(s.groups) == 0 {
			a.forget(s)
		}
	}
	a.indexed = len(with)
	a.evictAt = 2*a.indexed + 2
}

// wake lets those try again for whom nodes changed.
func (a *Allocator) wake() {
	a.settleStirred()
	a.wakePreempting()
	if len(a.grown) == 0 {
		return
	}
	grown := a.grown
	a.grown = nil
	for _, n := range grown {
		n.grew = false
	}
	a.gain(grown)
	const few = 16
	var ords bitset
	if len(grown) >= few && len(a.offering) > 0 {
		for _, n := range grown {
			ords.add(n.Ord)
		}
	}
	for s := range a.blocked {
		if a.mayFit(s, grown) {
			a.unblock(s)
		}
	}
	for _, c := range a.offering {
		for _, w := range c.wishes {
			if w.slack && !c.terms.slack {
				continue // it looks at all when its terms change
			}
			if len(grown) < few {
				for _, n := range grown {
					w.todo.add(n.Ord)
				}
			} else {
				w.todo.unite(ords)
			}
			if w.group.at < 0 {
				a.wakeWish(w)
			}
		}
	}
}

// mayFit reports whether s may fit on one of some nodes, offers on it taken back, or beside what room is kept for.
func (a *Allocator) mayFit(s *shape, nodes []*node) bool {
	if s.ask.Elsewhere() {
		return true
	}
	peers := a.peersFor(s)
	for _, n := range nodes {
		if placement.Fits(n.seen(s.view, true, false), peers, s.ask, placement.Alone).OK {
			return true
		}
		if k := n.kept; k != nil && s.ask.MaxRun > 0 && a.endsBefore(s.ask.MaxRun, k.kept) &&
			placement.Fits(n.seen(s.view, false, true), peers, s.ask, placement.Alone).OK {
			return true
		}
		if books := a.lent(n, s); books != nil && placement.Fits(books, peers, s.ask, placement.Alone).OK {
			return true
		}
		if books := n.spareBooks(true); books != nil && s.takesSlack() && placement.Fits(books, peers, s.ask, placement.Alone).OK {
			return true
		}
		if _, ok := a.victims(n, s, s.blocked.highest()); ok {
			return true
		}
	}
	return false
}

// makeRoom rescinds the offers that keep s from fitting, lowest in the order first, until it fits on a node; false when
// it would fit on none without any offer, and then nothing is rescinded.
func (a *Allocator) makeRoom(s *shape) bool {
	peers := a.peersFor(s)
	return a.clearOffers(false, func(n *node) bool {
		return placement.Fits(n.seen(s.view, false, false), peers, s.ask, placement.First).OK
	})
}

// clearOffers rescinds offers of slack, or those of what is free, lowest in the order first, until fits says so of the node of the last
// one; false when it does so of none, and then nothing is rescinded. fits sees books without the offers.
func (a *Allocator) clearOffers(slack bool, fits func(n *node) bool) bool {
	if len(a.offers) == 0 {
		return false
	}
	var lifted []*offer // off the books while it is looked
	restore := func() {
		for _, o := range lifted {
			o.hold()
		}
	}
	tried := map[*client]bool{}
	for {
		c := a.lastOfOffers(a.root, tried)
		if c == nil {
			restore()
			return false
		}
		for e := c.offers.Back(); e != nil; e = e.Prev() {
			last := e.Value.(*offer)
			if last.wish.slack != slack {
				continue
			}
			last.drop()
			lifted = append(lifted, last)
			if !fits(last.node) {
				continue
			}
			restore()
			for _, o := range slices.Clone(*last.listOn()) {
				if tried[o.client] || o.client == c && o.seq >= last.seq {
					a.rescind(o, "a request needs the room")
				}
			}
			return true
		}
		tried[c] = true
	}
}

// lastOfOffers returns the framework below acc that comes last in the order, among those with offers that were not tried.
func (a *Allocator) lastOfOffers(acc *account, tried map[*client]bool) (last *client) {
	for _, c := range a.offering {
		if c.offers.Len() > 0 && !tried[c] && c.account.below(acc) && (last == nil || last.account.comesBefore(c.account)) {
			last = c
		}
	}
	return last
}

func (acc *account) below(top *account) bool {
	for ; acc != nil; acc = acc.parent {
		if acc == top {
			return true
		}
	}
	return false
}

// comesBefore orders two frameworks as the walk from the root does: by the shares of what they have not in common.
func (acc *account) comesBefore(o *account) bool {
	x, y := acc.line(), o.line()
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return serveFirst(x[i], y[i])
		}
	}
	return false
}

// line returns the accounts from below the root to acc.
func (acc *account) line() (out []*account) {
	for ; acc.parent != nil; acc = acc.parent {
		out = append(out, acc)
	}
	slices.Reverse(out)
	return out
}

// fitsWithoutOffers reports whether the amount of n allocations would be within all limits if all offers below the roles were taken
// back.
func (a *Allocator) fitsWithoutOffers(acc *account, amount []int64, n int) bool {
	if len(a.offers) == 0 {
		return false
	}
	for role := acc.roleOf(); role != nil; role = role.parent {
		if role.full(n) {
			return false
		}
		if role.limit == nil {
			continue
		}
		var held []int64
		for _, c := range a.offering {
			if c.account.below(role) {
				addTo(&held, c.offered, 1)
			}
		}
		for kind, v := range amount {
			if limit, named := role.limit.at(kind); named && v > 0 && usedOf(role.used, kind)-usedOf(held, kind)+v > limit {
				return false
			}
		}
	}
	return true
}

// makeLimitRoom rescinds offers below roles that are at their limit, lowest in the order first, until the amount is within
// all limits.
func (a *Allocator) makeLimitRoom(acc *account, amount []int64, n int) {
	for {
		over := acc.overLimit(amount, n)
		if over == nil {
			return
		}
		c := a.lastOfOffers(over, nil)
		if c == nil {
			return
		}
		a.rescind(c.newest(), "a request needs the quota")
	}
}
