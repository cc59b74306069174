package allocator

import (
	"cmp"
	"slices"

	"github.com/proffer/proffer/structs"
)

// reclaim keeps, for one shape and one band that it is served in, what room on each node would cost: a heap of the nodes
// where stopping work of lower bands may make room, cheapest first. It is brought up to date from the log of changed nodes,
// and built anew when what may be preempted changed everywhere, or when room on one node
// can come from a change on another. Of most nodes it knows only what room costs at least: the victims are looked for
// where that is less than what room costs elsewhere.
type reclaim struct {
	shape *shape
	band  structs.Band
	seen  int    // position in the log of changes
	epoch uint64 // of the allocator
	at    []int  // by Ord: position in nodes; -1
	costs []cost // by Ord, at least
	nodes heap[*node]
}

// mostReclaims bounds the reclaims that are kept, of some 40 bytes a node each; the oldest is forgotten first.
const mostReclaims = 32

// cost is what room on a node costs, see compare.
type cost struct {
	band    structs.Band // the highest of those who have to go; -1 when it is enough that what leaves is gone
	count   int
	created structs.Time // of the oldest of them
}

// compare orders nodes by what has to go: lower bands, then fewer, then younger ones.
func (c *cost) compare(o *cost) int {
	switch {
	case c.band != o.band:
		return cmp.Compare(c.band, o.band)
	case c.count != o.count:
		return cmp.Compare(c.count, o.count)
	}
	return cmp.Compare(o.created, c.created)
}

func costOf(victims []*hold) cost {
	c := cost{band: -1}
	for i, h := range victims {
		switch {
		case h.leaving:
		case h.kin == nil:
			c.add(h)
		case i == 0 || victims[i-1].kin != h.kin || victims[i-1].leaving: // the first of its gang
			for _, o := range h.kin.holds {
				if !o.leaving {
					c.add(o)
				}
			}
		}
	}
	return c
}

func (c *cost) add(h *hold) {
	if c.count == 0 || h.created < c.created {
		c.created = h.created
	}
	c.band = max(c.band, h.reclaimedAs())
	c.count++
}

// reclaimOf returns what room costs for a shape served in a band, up to date.
func (a *Allocator) reclaimOf(s *shape, band structs.Band) *reclaim {
	x := s.reclaims[band]
	if x == nil {
		x = a.newReclaim()
		x.shape, x.band, x.seen = s, band, -1
		s.reclaims[band] = x
		a.reclaims = append(a.reclaims, x)
	}
	if s.ask.Elsewhere() || x.epoch != a.epoch || x.seen < a.changedFrom {
		x.epoch = a.epoch
		x.reset(len(a.byOrd))
		for _, n := range a.byOrd {
			if c, ok := a.atLeast(n, s, band); ok {
				x.at[n.Ord], x.costs[n.Ord] = x.nodes.len(), c
				x.nodes.items = append(x.nodes.items, n)
			}
		}
		x.nodes.init()
	} else {
		for _, ord := range a.changed[x.seen-a.changedFrom:] {
			n := a.byOrd[ord]
			c, ok := a.atLeast(n, s, band)
			x.put(n, c, ok)
		}
	}
	x.seen = a.changedFrom + len(a.changed)
	return x
}

// newReclaim makes one, of the oldest when there are enough.
func (a *Allocator) newReclaim() *reclaim {
	if len(a.reclaims) == mostReclaims {
		x := a.reclaims[0]
		a.forgetReclaim(x)
		return x
	}
	x := &reclaim{}
	x.nodes = heap[*node]{less: func(m, n *node) bool {
		c := x.costs[m.Ord].compare(&x.costs[n.Ord])
		return c < 0 || c == 0 && m.ID < n.ID
	}, at: func(n *node) *int { return &x.at[n.Ord] }}
	return x
}

// reset forgets what is known of nodes and makes room for a number of them.
func (x *reclaim) reset(nodes int) {
	if cap(x.at) < nodes {
		x.at, x.costs, x.nodes.items = make([]int, nodes), make([]cost, nodes), make([]*node, 0, nodes)
	}
	x.at, x.costs = x.at[:nodes], x.costs[:nodes]
	clear(x.nodes.items)
	x.nodes.items = x.nodes.items[:0]
	for i := range x.at {
		x.at[i] = -1
	}
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

// put notes what room on a node costs, or that nothing makes room there.
func (x *reclaim) put(n *node, c cost, ok bool) {
	for n.Ord >= len(x.at) {
		x.at, x.costs = append(x.at, -1), append(x.costs, cost{})
	}
	if x.at[n.Ord] >= 0 {
		x.nodes.remove(n)
	}
	if ok {
		x.costs[n.Ord] = c
		x.nodes.push(n)
	}
}

// atLeast returns what room on a node costs at least, as far as a look at the amounts tells; false when nothing makes room
// there.
func (a *Allocator) atLeast(n *node, s *shape, band structs.Band) (c cost, ok bool) {
	if spec := n.Spec(); spec == nil || !spec.Schedulable() || s.index != nil && !s.index.Suits(n.Node) {
		return c, false
	}
	c.band = -1
	if n.room != nil || len(n.offers) > 0 || n.keptBelow(band) {
		return c, true
	}
	for name, v := range s.ask.Resources.Custom {
		if v > n.Available().Custom[name] {
			return c, false
		}
	}
	giving, free := a.givingWay(n), n.Free()
	count, ok := n.relief.needs(lackOf(&s.ask.Resources, &free).minus(n.relief.leaving))
	if count == 0 && n.relief.first > 0 {
		return c, true
	}
	count = max(count, 1) // something else is missing
	giving = giving[n.relief.first:]
	if !ok || count > len(giving) || giving[count-1].as >= band {
		return c, false
	}
	last := giving[count-1] // no other choice of so many is of a lower band, or younger in this one
	return cost{band: last.as, count: count, created: last.created}, true
}

// relief is what may give way on a node, in amounts.
type relief struct {
	first   int  // of node.giving: the first that does not leave already
	leaving lack // what those before it hold
	most    lack // the most that one of the others holds, of each
	all     lack // what all of them hold
}

func reliefOf(giving []givesWay) (r relief) {
	for _, w := range giving {
		has := w.held()
		if w.leaving {
			r.first++
			r.leaving = r.leaving.plus(has)
			continue
		}
		r.all = r.all.plus(has)
		r.most = lack{max(r.most.cpu, has.cpu), max(r.most.memory, has.memory), max(r.most.disk, has.disk)}
	}
	return r
}

// needs returns how many have to go at least until nothing is missing; false when all of them are not enough.
func (r *relief) needs(missing lack) (count int, ok bool) {
	for _, x := range [...][3]int64{{missing.cpu, r.most.cpu, r.all.cpu}, {missing.memory, r.most.memory, r.all.memory},
		{missing.disk, r.most.disk, r.all.disk}} {
		switch missing, most, all := x[0], x[1], x[2]; {
		case missing > all && missing > 0:
			return 0, false
		case missing > 0:
			count = max(count, int((missing-1)/most)+1)
		}
	}
	return count, true
}
