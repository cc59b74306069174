package allocator

import (
	"cmp"
	"slices"
	"strings"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// kept is room that is kept free for a group that others would overtake for ever: what ends there gathers until
// the group fits. It is the reservation of backfilling schedulers (Lifka, The ANL/IBM SP Scheduling System, 1995), for a
// few groups instead of one. It holds room on nodes and counts in no share.
type kept struct {
	group *group
	spots []*spot      // one, or those of a gang in the order of on
	on    []landing    // of a gang: where each slot that waits is to go; without ports
	band  structs.Band // in which the group was served then; what is served in a higher one may take the room
	until structs.Time // when it is looked at whether a start is expected earlier on another node
}

// spot is what is kept on one node.
type spot struct {
	*kept
	node  *node
	room  structs.Resources
	start start // of what goes there, when fresh
	fresh bool
}

const (
	// DefaultKeepAfter is how long a group gets nothing, and is overtaken, before room is kept for it.
	DefaultKeepAfter = structs.Duration(300e9)
	// KeepRetry is when a group is looked at again for which no room was kept.
	KeepRetry = structs.Duration(20e9)
	// EndMargin is what an allocation may need beyond its max_run_duration to start and to end.
	EndMargin = structs.EndMargin
	// mostKept bounds what is kept: one node in keptPart, and at most mostKept nodes.
	mostKept = 64
	keptPart = 20
	// Room is kept for a start that is expected within so many times KeepAfter: an hour, or a day when it is known. What never
	// ends must not keep a node idle.
	keptGuessed = 12
	keptKnown   = 288
)

// keptBelow reports whether room on n is kept for something that is served in a lower band.
func (n *node) keptBelow(band structs.Band) bool { return n.kept != nil && n.kept.band < band }

// observe notes since when groups wait.
func (a *Allocator) observe() {
	for _, g := range a.fresh {
		g.fresh = false
		if g.requests.len() == 0 {
			g.since, g.retry = 0, 0
			a.lookNoMore(g)
			if g.kept != nil {
				a.unkeep(g.kept)
			}
			continue
		}
		if g.since == 0 {
			g.since, g.retry = a.now, 0
		}
		a.lookLater(g)
	}
	a.fresh = a.fresh[:0]
}

// seeWaiting has a group observed whose last slot went or whose first came.
func (a *Allocator) seeWaiting(g *group) {
	if !g.fresh {
		g.fresh = true
		a.fresh = append(a.fresh, g)
	}
}

// lookLater has a group looked at when it may be due for room to be kept.
func (a *Allocator) lookLater(g *group) {
	if a.options.KeepAfter < 0 || g.kept != nil || g.since == 0 || g.shape.gang == nil && g.shape.ask.Elsewhere() {
		return
	}
	g.look = g.due(a.options.KeepAfter)
	if g.lookAt < 0 {
		a.byLook.push(g)
	} else {
		a.byLook.fix(g)
	}
}

func (a *Allocator) lookNoMore(g *group) {
	if g.lookAt >= 0 {
		a.byLook.remove(g)
	}
}

func (g *group) due(after structs.Duration) structs.Time { return max(g.since.Add(after), g.retry) }

// served notes that a group got something.
func (a *Allocator) served(g *group) {
	g.since = a.now
	if g.kept != nil {
		a.unkeep(g.kept)
	}
}

// keep keeps room for the groups that are due for it, those in higher bands and those that wait for longer first, and
// reports whether it did for any. Nothing else can be served at the time.
func (a *Allocator) keep() (done bool) {
	var due []*group
	for a.byLook.len() > 0 && a.byLook.top().look <= a.now {
		g := a.byLook.top()
		switch {
		case g.requests.len() == 0:
			a.byLook.remove(g)
		case g.due(a.options.KeepAfter) > a.now:
			a.lookLater(g)
		default:
			a.byLook.remove(g)
			due = append(due, g)
		}
	}
	if len(due) == 0 {
		return false
	}
	slices.SortFunc(due, func(x, y *group) int {
		return cmp.Or(cmp.Compare(a.bandOf(y), a.bandOf(x)), cmp.Compare(x.since, y.since),
			strings.Compare(x.client.account.path, y.client.account.path), cmp.Compare(x.client.framework, y.client.framework),
			cmp.Compare(y.band, x.band), strings.Compare(x.kind(), y.kind()), x.tag.compare(y.tag))
	})
	most := a.mostKept()
	for _, g := range due {
		g.retry = a.now.Add(KeepRetry)
		if a.spots() < most && a.overtaken(g) && a.mayHold(g) {
			k := a.earliest(g)
			switch {
			case k == nil && g.shape.gang != nil && len(a.decisions) > 0: // what they hold cannot be judged before it is committed
			case k == nil:
				g.retry = a.now.Add(a.options.KeepAfter)
			case a.mayKeep(k, most):
				a.keepRoom(k)
				done = true
				continue
			}
		}
		a.lookLater(g)
	}
	return done
}

// kind orders what the groups of one framework ask for in some way.
func (g *group) kind() string {
	if g.shape.gang != nil {
		return g.shape.key
	}
	return g.shape.ask.Key()
}

// spots returns on how many nodes room is kept.
func (a *Allocator) spots() (n int) {
	for _, k := range a.kept {
		n += len(k.spots)
	}
	return n
}

// mayKeep reports whether room for k is within the bound: a gang that needs more nodes may have them when none is kept.
func (a *Allocator) mayKeep(k *kept, most int) bool {
	spots := a.spots()
	return spots == 0 || spots+len(k.spots) <= most
}

func (a *Allocator) mostKept() int {
	nodes := 0
	for _, n := range a.byOrd {
		if n.Spec() != nil {
			nodes++
		}
	}
	return min(mostKept, max(1, nodes/keptPart))
}

// bandOf returns the band in which a group is served now.
func (a *Allocator) bandOf(g *group) structs.Band {
	amount, _ := g.atOnce()
	if g.band >= structs.Production && g.client.account.beyondGuarantee(amount) != nil {
		return structs.BatchBand
	}
	return g.band
}

// overtaken reports whether something in the band of g, or a lower one, was served since g last was.
func (a *Allocator) overtaken(g *group) bool {
	for b := range a.bandOf(g) + 1 {
		if a.lastServed[b] > g.since {
			return true
		}
	}
	return false
}

// mayHold reports whether the roles let a group have what is served of it at once.
func (a *Allocator) mayHold(g *group) bool {
	acc := g.client.account
	amount, n := g.atOnce()
	return a.overPart(g, amount) == nil && (acc.overLimit(amount, n) == nil || a.fitsWithoutOffers(acc, amount, n))
}

// earliest returns the room to keep for a group: on the node where its start is expected first, and soon, or nil.
func (a *Allocator) earliest(g *group) *kept {
	k := &kept{group: g}
	if g.shape.gang != nil {
		if k.on = a.gather(g); k.on == nil {
			return nil
		}
		k.spotsOf()
		return k
	}
	n := a.earliestNode(g)
	if n == nil {
		return nil
	}
	k.spots = []*spot{{kept: k, node: n, room: g.shape.ask.Resources}}
	return k
}

func (a *Allocator) earliestNode(g *group) (best *node) {
	var least structs.Time
	for _, n := range a.byOrd {
		if len(n.claims) > 0 || n.kept != nil && n.kept.group != g {
			continue
		}
		st, ok := a.startFor(n, g)
		if ok && a.soon(st) && (best == nil || st.guess < least || st.guess == least && n.ID < best.ID) {
			best, least = n, st.guess
		}
	}
	return best
}

// soon reports whether it is worth to keep room until then.
func (a *Allocator) soon(st start) bool {
	times := structs.Duration(keptGuessed)
	if st.known {
		times = keptKnown
	}
	return st.guess <= a.now.Add(times*a.options.KeepAfter)
}

// keepRoom keeps room.
func (a *Allocator) keepRoom(k *kept) {
	g := k.group
	k.band, k.until = a.bandOf(g), a.now.Add(a.options.KeepAfter)
	g.kept = k
	a.lookNoMore(g)
	a.kept = append(a.kept, k)
	for _, x := range k.spots {
		a.rescindAll(x.node.offers, "a request needs the room")
		x.node.kept = x
		x.node.putKept()
	}
	for _, x := range k.spots {
		a.touch(x.node, false)
	}
	st, last, _ := a.startOf(k)
	r := g.requests.top()
	d := &Keep{Request: r.ID, Role: g.client.account.path, Priority: r.Priority,
		Node: last.node.ID, NodeName: last.node.Name(), Nodes: len(k.spots), Known: st.known, Start: max(st.at, a.now)}
	if g.shape.gang != nil {
		r = g.shape.gang.parts[0]
	}
	d.Job = r.Ask.Job
	a.out = append(a.out, Decision{Keep: d})
}

// unkeep gives the room up.
func (a *Allocator) unkeep(k *kept) {
	for _, x := range k.spots {
		x.node.liftKept()
		x.node.kept = nil
	}
	k.group.kept = nil
	a.kept = slices.DeleteFunc(a.kept, func(o *kept) bool { return o == k })
	for _, x := range k.spots {
		a.touch(x.node, true)
	}
	if k.group.requests.len() > 0 {
		a.lookLater(k.group)
	}
}

// unkeepIdle gives up the room of groups that may have no more, perhaps since something else of their role was served, and
// reports whether there was any. Nothing else can be served at the time.
func (a *Allocator) unkeepIdle() (done bool) {
	for _, k := range slices.Clone(a.kept) {
		if !a.mayHold(k.group) || k.on != nil && !k.group.shape.gang.gathers() {
			a.unkeep(k)
			done = true
		}
	}
	return done
}

// review gives up the room that is of no use any more, and moves what is expected to start earlier elsewhere.
func (a *Allocator) review() {
	for _, k := range slices.Clone(a.kept) {
		g := k.group
		if slices.ContainsFunc(k.spots, func(x *spot) bool { return x.node.undecided() }) {
			continue // what was decided there is not committed: it cannot be judged now
		}
		if _, _, ok := a.startOf(k); !ok {
			a.unkeep(k)
			continue
		}
		if a.now < k.until {
			continue
		}
		k.until = a.now.Add(a.options.KeepAfter)
		if best := a.earliest(g); !k.same(best) {
			a.unkeep(k)
			if best != nil && a.mayKeep(best, a.mostKept()) {
				a.keepRoom(best)
			}
		}
	}
	a.keptChanged = len(a.kept) > 0
}

// same reports whether k keeps what another would.
func (k *kept) same(o *kept) bool {
	return o != nil && slices.EqualFunc(k.spots, o.spots, func(x, y *spot) bool { return x.node == y.node }) &&
		slices.EqualFunc(k.on, o.on, func(x, y landing) bool { return x.part == y.part && x.node == y.node })
}

// undecided reports whether decisions in flight hold room on n.
func (n *node) undecided() bool { return n.holds > len(n.allocs)+len(n.claims) }

// settleKept places what fits now where room was kept for it. It goes before all others.
func (a *Allocator) settleKept() {
	if !a.keptChanged {
		return
	}
	a.keptChanged = false
	for _, k := range slices.Clone(a.kept) {
		if k.group.kept != k {
			continue // it was given up for one before it
		}
		if k.on != nil {
			a.settleGathered(k)
			continue
		}
		g, n, s := k.group, k.spots[0].node, k.group.shape
		ask := s.ask.Among(a.work)
		if !placement.Fits(n.seen(s.view, false, true), a.peersOfAsk(ask), ask, placement.First).OK || !a.mayHold(g) {
			continue
		}
		band, r := a.bandOf(g), g.requests.top()
		ports, _ := n.Assign(s.ask)
		a.makeLimitRoom(g.client.account, s.amount, 1)
		h := a.takeSlot(r, n)
		h.ports = ports
		a.out = append(a.out, Decision{Place: a.decide(h, r.Priority, band)})
	}
}

// startOf returns when the group is expected to start where room is kept for it, and the node for which it waits longest.
func (a *Allocator) startOf(k *kept) (st start, last *spot, ok bool) {
	st.known = true
	for _, x := range k.spots {
		if !x.fresh { // it moves with the books of the node alone; the guess is not looked at
			if k.on != nil {
				x.start, ok = a.startOfGathered(x)
			} else {
				x.start, ok = a.startFor(x.node, k.group)
			}
			if !ok {
				return st, nil, false
			}
			x.fresh = true
		}
		if last == nil || x.start.guess > last.start.guess {
			last = x
		}
		st = st.and(x.start)
	}
	return st, last, true
}

// endsBefore reports whether what is placed now and runs for at most d has ended when what k is kept for is expected to start.
func (a *Allocator) endsBefore(d structs.Duration, k *kept) bool {
	st, _, ok := a.startOf(k)
	return ok && st.known && a.now.Add(d).Add(EndMargin) <= st.at
}

// backfill returns the node for a slot of work that has ended when what room is kept for is expected to start, or nil.
func (a *Allocator) backfill(s *shape, slot Slot) *node {
	if s.ask.MaxRun <= 0 {
		return nil
	}
	var nodes []*placement.Node
	for _, k := range a.kept {
		if a.endsBefore(s.ask.MaxRun, k) {
			for _, x := range k.spots {
				nodes = append(nodes, x.node.seen(s.view, false, true))
			}
		}
	}
	return a.bestOf(nodes, s, slot)
}

// bestOf returns the node for a slot among some books, which need not be those of the pool, or nil.
func (a *Allocator) bestOf(books []*placement.Node, s *shape, slot Slot) *node {
	if len(books) == 0 {
		return nil
	}
	peers := a.peersFor(s)
	for _, n := range books {
		if n.ID == slot.Prefer && placement.Fits(n, peers, s.ask, placement.First).OK {
			return a.byOrd[n.Ord]
		}
	}
	if best := placement.Best(books, peers, s.ask, slot.Avoid); best != nil {
		return a.byOrd[best.Ord]
	}
	return nil
}
