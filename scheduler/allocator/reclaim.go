package allocator

import (
	"cmp"
	"slices"

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
