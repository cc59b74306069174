package allocator

import (
	"maps"
	"slices"
	"strings"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// Room is kept for a gang as a whole: for each slot that waits on the node where it is expected to fit first, with those before
// it already there. The gang is expected to start when the last of them fits.

// gathers reports whether room can be kept for a gang: where each of it may go must not depend on work elsewhere, nor on ports that a
// node has once.
func (g *gang) gathers() bool {
	return !slices.ContainsFunc(g.parts, func(r *request) bool {
		return len(r.pending) > 0 && (r.group.shape.ask.Elsewhere() || r.Ask.Fixed())
	})
}

// gather returns a node for each slot of a gang that waits, so that the start of the last one is expected first, and soon, or nil. Values of
// Ask.Within with equal expectations are taken by name.
func (a *Allocator) gather(lead *group) (best []landing) {
	g := lead.shape.gang
	parts := a.largestFirst(g)
	if len(parts) == 0 || !g.gathers() {
		return nil
	}
	defer a.liftSpots(lead)()
	values := map[string]bool{}
	for _, n := range a.byOrd {
		if n.Spec() == nil {
			continue
		}
		if value, ok := parts[0].Ask.ValueOn(n.Spec()); ok {
			values[value] = true
		}
	}
	var least structs.Time
	for _, value := range slices.Sorted(maps.Keys(values)) {
		found, st, ok := a.gatherWithin(parts, value)
		if ok && a.soon(st) && (best == nil || st.guess < least) {
			best, least = found, st.guess
		}
	}
	return best
}

// gatherWithin is gather inside one value. Nothing is held after it.
func (a *Allocator) gatherWithin(parts []*request, in string) (found []landing, all start, ok bool) {
	defer func() { a.unland(found) }()
	all.known = true
	for _, r := range parts {
		s := r.group.shape
		at, starts := make([]int, len(a.byOrd)), make([]start, len(a.byOrd))
		nodes := heap[*node]{at: func(n *node) *int { return &at[n.Ord] }, less: func(m, n *node) bool {
			if x, y := starts[m.Ord].guess, starts[n.Ord].guess; x != y {
				return x < y
			}
			return strings.Compare(string(m.ID), string(n.ID)) < 0
		}}
		weigh := func(n *node) {
			if st, ok := a.startOn(n, s); ok {
				starts[n.Ord] = st
				nodes.push(n)
			}
		}
		for i, n := range a.byOrd {
			at[i] = -1
			if n.Spec() == nil || a.nodes[n.ID] != n || len(n.claims) > 0 || n.kept != nil {
				continue
			}
			if value, ok := r.Ask.ValueOn(n.Spec()); ok && value == in {
				weigh(n)
			}
		}
		for _, slot := range r.pending {
			if nodes.len() == 0 {
				return found, all, false
			}
			n := nodes.top()
			all = all.and(starts[n.Ord])
			f := landing{part: r, slot: slot, node: n}
			a.try(&f)
			found = append(found, f)
			nodes.remove(n)
			weigh(n)
		}
	}
	return found, all, true
}

// maxRun returns for how long what waits of a gang may run; 0: without end.
func (g *gang) maxRun() (most structs.Duration) {
	for _, r := range g.parts {
		if len(r.pending) == 0 {
			continue
		}
		if r.Ask.MaxRun <= 0 {
			return 0
		}
		most = max(most, r.Ask.MaxRun)
	}
	return most
}

// mayBackfill reports whether there is room that a gang might use until it is needed: which it is changes without that a node has more.
func (a *Allocator) mayBackfill(g *gang) bool { return len(a.kept) > 0 && g.maxRun() > 0 }

// landBackfilled is land where room that is kept for what starts after all of the gang has ended counts as free.
func (a *Allocator) landBackfilled(g *gang) []landing {
	var behind []*kept
	for _, k := range a.kept {
		if k.group != g.lead.group && a.endsBefore(g.maxRun(), k) {
			behind = append(behind, k)
		}
	}
	if len(behind) == 0 {
		return nil
	}
	for _, k := range behind {
		defer a.liftSpots(k.group)()
	}
	return a.land(g, false)
}

// spotsOf adds up what k.on takes of each node.
func (k *kept) spotsOf() {
	for _, f := range k.on {
		i := slices.IndexFunc(k.spots, func(x *spot) bool { return x.node == f.node })
		if i < 0 {
			i = len(k.spots)
			k.spots = append(k.spots, &spot{kept: k, node: f.node})
		}
		k.spots[i].room = k.spots[i].room.Add(f.part.Ask.Resources)
	}
}

// liftSpots takes what is kept for a group off the books, for the time until the function that it returns is called.
func (a *Allocator) liftSpots(g *group) (back func()) {
	if g.kept == nil {
		return func() {}
	}
	spots := g.kept.spots
	for _, x := range spots {
		x.node.liftKept()
		x.node.kept = nil
		a.look(x.node)
	}
	return func() {
		for _, x := range spots {
			x.node.kept = x
			x.node.putKept()
			a.look(x.node)
		}
	}
}

// startOfGathered returns when all that is to go on one node for a gang is expected to fit there.
func (a *Allocator) startOfGathered(x *spot) (st start, ok bool) {
	x.node.liftKept()
	defer func() {
		x.node.putKept()
		a.look(x.node) // what is tried meanwhile has it looked at without
	}()
	var found []landing
	defer func() { a.unland(found) }()
	st.known = true
	for _, f := range x.on {
		if f.node != x.node {
			continue
		}
		one, ok := a.startOn(f.node, f.part.group.shape)
		if !ok {
			return st, false
		}
		st = st.and(one)
		a.try(&f)
		found = append(found, f)
	}
	return st, true
}

// settleGathered places a gang when all of it fits where room is kept for it.
func (a *Allocator) settleGathered(k *kept) {
	found, ok := a.landGathered(k)
	if !ok || !a.mayHold(k.group) {
		return
	}
	g, band := k.group.shape.gang, a.bandOf(k.group)
	amount, n := g.whole()
	a.makeLimitRoom(k.group.client.account, amount, n)
	a.placeGang(g, found, band)
}

// landGathered finds ports for all of a gang where room is kept for it, and reports whether it fits. Nothing is held after it.
func (a *Allocator) landGathered(k *kept) (found []landing, ok bool) {
	defer a.liftSpots(k.group)()
	defer func() { a.unland(found) }()
	for _, f := range k.on {
		s := f.part.group.shape
		ask := s.ask.Among(a.work)
		if !placement.Fits(f.node.seen(s.view, false, false), a.peersOfAsk(ask), ask, placement.First).OK {
			return found, false
		}
		if f.ports, ok = f.node.Assign(s.ask); !ok {
			return found, false
		}
		a.try(&f)
		found = append(found, f)
	}
	return found, true
}
