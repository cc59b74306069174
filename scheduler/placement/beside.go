package placement

// Beside returns an index over p for the ask of another index, over a pool with more nodes, of which p has some with other
// books: the work on all nodes counts for spreads and rules, and main has it counted. Nodes have the same Ord in both pools;
// mine returns p's node of an Ord, or nil.
func (p *Pool) Beside(main *Index, mine func(ord int) *Node) *Index {
	x := p.Index(main.ask, main.peers)
	x.mine = mine
	x.main, x.counts, x.around, x.marked, x.lonely = main, main.counts, main.around, main.marked, main.lonely
	return x
}

// own returns the node of x's pool for one on which other work is; nil when x's pool has it not.
func (x *Index) own(n *Node) *Node {
	if x.main == nil {
		return n
	}
	return x.mine(n.Ord)
}

// IsBeside reports whether x counts with main.
func (x *Index) IsBeside(main *Index) bool { return x.main == main }

// follow takes over what main counted, and reports whether rules are met everywhere that were not, or the reverse.
func (x *Index) follow() bool {
	m := x.main
	m.sync()
	x.totals, x.taken = m.totals, m.taken
	if len(x.counts) > 0 {
		for i := range x.slots {
			x.slots[i].counts = x.countsOf(x.view.buckets[i].values) // m may have begun anew
		}
	}
	turned := x.turns != m.turns
	x.turns = m.turns
	return turned
}
