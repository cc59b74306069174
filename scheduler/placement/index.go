package placement

import (
	"slices"

	"github.com/proffer/proffer/structs"
)

// Index finds the best node for one ask in a pool. Of each bucket it remembers the best nodes; what changed since is
// read from the log of the pool and compared with them, and only when none is left that fits is the bucket searched again. It equals Best over the nodes that the pool was told of.
type Index struct {
	ask   *Ask
	peers *Peers
	pool  *Pool
	view  *view
	built int    // of the view
	slots []slot // by number of the bucket
	seen  int    // position in the log of the pool
	sizes [8]sized
	main  *Index              // see Beside; nil: it counts itself
	mine  func(ord int) *Node // of main's nodes, the one of its own pool; nil when it has none
	turns int                 // of turn, that changed something

	// Of an ask that looks at other allocations.
	counts  []map[string]*int64 // one for each spread, property and wide rule; key: value, prefixed when known
	totals  int64               // allocations of the group on nodes that are known
	counted map[*Node]*counted
	taken   []uint64 // set of Ords: distinct_hosts excludes them
	around  []*Peers // for each rule about other work, here and then wide: where that is; nil: no rules
	marked  []int64  // for each: allocations that it is about, on nodes that are known
	lonely  []bool   // for each: it is met everywhere, since it is the ask's own mark and nothing has it
	wishes  bool     // some of the rules about a node are wishes
}

// slot is what an index knows of a bucket: of the nodes where no work is that a wish is about, and of the others, which lean
// one way or the other.
type slot struct {
	known
	leaning known
	counts  []*int64
}

// known is the best nodes that fit, in order. No other node comes before the last of them; when all is set, no other fits at
// all. Without any and without all nothing is known.
type known struct {
	top []candidate
	all bool
}

// candidate is a node that fits with its score, without liking and spread.
type candidate struct {
	node  *Node
	score int64
}

// topMost is how many nodes a slot remembers after a look at each node of its bucket, which costs more than a search of trees.
const topMost = 16

// put adds a node in its place, and forgets the last when there are more than most.
func (s *known) put(c candidate, most int) {
	i := len(s.top)
	for i > 0 && before(c.score, c.node.ID, s.top[i-1].score, s.top[i-1].node.ID) {
		i--
	}
	if s.top = slices.Insert(s.top, i, c); len(s.top) > most {
		s.top, s.all = s.top[:most], false
	}
}

func (s *known) has(n *Node) bool {
	return slices.ContainsFunc(s.top, func(c candidate) bool { return c.node == n })
}

// drop forgets a node.
func (s *known) drop(n *Node) {
	s.top = slices.DeleteFunc(s.top, func(c candidate) bool { return c.node == n })
}

// sized remembers weights.
type sized struct {
	size *size
	weights
}

// Index returns an index for an ask. It refers to peers.
func (p *Pool) Index(ask *Ask, peers *Peers) *Index {
	x := &Index{ask: ask, peers: peers, pool: p, view: p.view(ask), seen: -1}
	if n := len(ask.spreads) + len(ask.properties) + len(ask.wide); n > 0 {
		x.counts = make([]map[string]*int64, n)
	}
	if n := len(ask.here) + len(ask.wide); n > 0 {
		x.around, x.marked, x.lonely = make([]*Peers, n), make([]int64, n), make([]bool, n)
		x.wishes = slices.ContainsFunc(ask.here, func(r neighbour) bool { return r.weight != 0 })
	}
	return x
}

// Ask returns the ask that x serves.
func (x *Index) Ask() *Ask { return x.ask }

// Size returns about how many bytes x occupies.
func (x *Index) Size() int {
	size := len(x.view.levels)
	if x.ask.unique { // it is the only one that has such a view, as a rule
		size = suitSize * len(x.view.suits)
	}
	return size + 1024 + (96+8*len(x.counts))*len(x.slots) + len(x.taken)*8 + (128+8*len(x.around))*len(x.counted)
}

// Best returns the best node for one more allocation, or nil. Nodes in avoid are taken only when no other fits.
func (x *Index) Best(avoid []structs.NodeID) *Node { return x.BestWithin(nil, avoid) }

// Fits reports whether the ask fits on that node now.
func (x *Index) Fits(n *Node) bool {
	x.sync()
	b := x.view.of(n)
	return b >= 0 && x.fits(n) && x.open(int(b))
}

// Suits reports whether the ask could fit on that node if it held nothing, as far as that does not depend on amounts. It
// is true for a node that changed and was not looked at since.
func (x *Index) Suits(n *Node) bool {
	if n.pending {
		return true
	}
	x.view.sync(x.pool)
	return x.view.of(n) >= 0
}

// Open reports whether a node has, of what depends on where other work is, all that the ask wants: it may fit as soon as
// there is room. With Alone, Fits checks the rest.
func (x *Index) Open(n *Node) bool {
	x.sync()
	b := x.view.of(n)
	return b >= 0 && x.nearby(n) && x.open(int(b))
}

func containsID(list []structs.NodeID, id structs.NodeID) bool {
	for _, other := range list {
		if other == id {
			return true
		}
	}
	return false
}

// best looks at all buckets, or at those where Ask.Within has a value.
func (x *Index) best(avoid []structs.NodeID, in *string) *Node {
	var best *Node
	var bestScore int64
	for i := range x.slots {
		s := &x.slots[i]
		if !x.open(i) || in != nil && x.view.buckets[i].within != (value{*in, true}) {
			continue
		}
		found, ok := x.first(&s.known, i, false, avoid)
		if x.wishes {
			c, leans := x.first(&s.leaning, i, true, avoid)
			if leans && (!ok || before(c.score, c.node.ID, found.score, found.node.ID)) {
				found, ok = c, true
			}
		}
		if !ok {
			continue
		}
		n, score := found.node, found.score
		b := x.view.buckets[i]
		score += b.liking
		for j := range x.ask.spreads {
			score -= x.ask.spreads[j].cost(b.values[j].text, b.values[j].known, *s.counts[j], x.totals)
		}
		for j := range x.ask.wide {
			if r := &x.ask.wide[j]; r.weight != 0 && x.met(i, j) {
				score += r.weight * perAffinity
			}
		}
		if best == nil || before(score, n.ID, bestScore, best.ID) {
			best, bestScore = n, score
		}
	}
	return best
}

// first returns the best node of a bucket, of those that lean or of the others.
func (x *Index) first(s *known, i int, leaning bool, avoid []structs.NodeID) (candidate, bool) {
	for len(s.top) > 0 && x.view.of(s.top[0].node) != int32(i) {
		s.top = slices.Delete(s.top, 0, 1) // it is of another bucket now
	}
	if len(s.top) == 0 && !s.all {
		x.search(s, i, leaning, nil)
	}
	found := s.top
	if len(found) > 0 && containsID(avoid, found[0].node.ID) {
		var other known
		x.search(&other, i, leaning, avoid)
		found = other.top
	}
	if len(found) == 0 {
		return candidate{}, false
	}
	return found[0], true
}

// open reports whether no distinct_property of a bucket is used up, and its nodes have the work around that must be.
func (x *Index) open(i int) bool {
	for j := range x.ask.wide {
		if x.ask.wide[j].weight == 0 && !x.met(i, j) {
			return false
		}
	}
	for j := range x.ask.properties {
		k := len(x.ask.spreads) + j
		if !x.view.buckets[i].values[k].known || *x.slots[i].counts[k] >= int64(x.ask.properties[j].limit) {
			return false
		}
	}
	return true
}

// met reports whether wide rule j is met on the nodes of bucket i.
func (x *Index) met(i, j int) bool {
	k := len(x.ask.spreads) + len(x.ask.properties) + j
	known := x.view.buckets[i].values[k].known
	if known && x.lonely[len(x.ask.here)+j] {
		return true
	}
	return (known && *x.slots[i].counts[k] > 0) == x.ask.wide[j].near
}

// nearby reports whether a node has the work that must be on it, and not what must not.
func (x *Index) nearby(n *Node) bool {
	for i := range x.ask.here {
		r := &x.ask.here[i]
		if r.weight == 0 && !x.lonely[i] && (r.on(x.around[i], n.ID) > 0) != r.near {
			return false
		}
	}
	return true
}

// lean returns what the work on a node adds to its score, against one where nothing is that a wish is about; false when
// there is no such work.
func (x *Index) lean(n *Node) (sum int64, found bool) {
	for i := range x.ask.here {
		r := &x.ask.here[i]
		if r.weight == 0 || r.on(x.around[i], n.ID) == 0 {
			continue
		}
		found = true
		if r.near {
			sum += r.weight * perAffinity
		} else {
			sum -= r.weight * perAffinity
		}
	}
	return sum, found
}

// replayMost is how many changes are cheaper to look at than a search of a bucket is, when nodes are of few sizes; with many
// sizes a search looks at each, and a look at a change costs about the same.
const replayMost = 32

// sync takes over what changed in the pool.
func (x *Index) sync() {
	p := x.pool
	p.flush()
	x.view.sync(p)
	if x.built != x.view.built {
		x.startAnew()
	}
	for i := len(x.slots); i < len(x.view.buckets); i++ {
		s := slot{}
		if len(x.counts) > 0 {
			s.counts = x.countsOf(x.view.buckets[i].values)
		}
		x.slots = append(x.slots, s)
	}
	turned := x.main != nil && x.follow()
	end := p.end()
	if x.seen == end && !turned {
		return
	}
	x.meet()
	lost := x.seen < p.logAt
	search := lost || turned || end-x.seen > max(replayMost*len(x.slots), len(p.sizes)/2)
	if x.main == nil && x.ask.Peered() {
		if lost {
			x.recount()
		} else {
			for _, n := range p.log[x.seen-p.logAt:] {
				x.count(n)
			}
		}
		search = x.turn() || search
	}
	if search {
		for i := range x.slots {
			s := &x.slots[i]
			s.top, s.all = s.top[:0], false
			s.leaning.top, s.leaning.all = s.leaning.top[:0], false
		}
	} else {
		for _, n := range p.log[x.seen-p.logAt:] {
			x.look(n)
		}
	}
	x.seen = end
}

// startAnew forgets all, since buckets have other numbers now.
func (x *Index) startAnew() {
	x.built, x.slots, x.seen = x.view.built, nil, -1
	if x.main != nil {
		return // the counts are not its own
	}
	x.totals, x.counted = 0, nil
	clear(x.counts)
	clear(x.marked)
}

// turn notes which rules are met everywhere, and reports whether that changed for nodes that are remembered.
func (x *Index) turn() (changed bool) {
	for i, lonely := range x.lonely {
		if now := x.ask.rule(i).own && x.marked[i] == 0; now != lonely {
			x.lonely[i] = now
			changed = changed || i < len(x.ask.here)
		}
	}
	if changed {
		x.turns++
	}
	return changed
}

// leans reports whether there is work on a node that a wish is about.
func (x *Index) leans(n *Node) bool {
	if !x.wishes {
		return false
	}
	_, found := x.lean(n)
	return found
}

// look compares a node that changed with the best ones of its bucket.
func (x *Index) look(n *Node) {
	i := x.view.of(n)
	if i < 0 {
		return // when it is in a slot, best notices
	}
	s := &x.slots[i].known
	if x.wishes {
		other := &x.slots[i].leaning
		if x.leans(n) {
			s, other = other, s
		}
		other.drop(n)
	}
	if len(s.top) == 0 && !s.all {
		return
	}
	fits, c := x.fits(n), candidate{node: n}
	if fits {
		c.score = x.scoreOf(n)
	}
	later := false
	if !s.all { // the last node is the measure, also when it is n itself and became worse
		last := s.top[len(s.top)-1]
		later = before(last.score, last.node.ID, c.score, n.ID)
	}
	s.drop(n)
	if fits && !later {
		s.put(c, topMost)
	}
}

// weigh returns the weights for nodes of a size.
func (x *Index) weigh(z *size) *weights {
	e := &x.sizes[z.at%len(x.sizes)]
	if e.size != z {
		*e = sized{z, x.ask.weigh(z.avail)}
	}
	return &e.weights
}

// scoreOf scores what depends on the node and not on its bucket.
func (x *Index) scoreOf(n *Node) int64 {
	score := x.weigh(n.size).at(n.filled[0], n.filled[1])
	if x.wishes {
		lean, _ := x.lean(n)
		score += lean
	}
	return score
}

// fits checks what depends on the node and not on its bucket.
func (x *Index) fits(n *Node) bool {
	a := x.ask
	if a.Resources.CPU > n.avail.CPU-n.used.CPU && a.Resources.CPU > 0 ||
		a.Resources.Memory > n.avail.Memory-n.used.Memory && a.Resources.Memory > 0 {
		return false
	}
	return x.admits(n)
}

// admits checks what is left when CPU and memory fit.
func (x *Index) admits(n *Node) bool {
	a := x.ask
	if a.Resources.Disk > n.avail.Disk-n.used.Disk && a.Resources.Disk > 0 {
		return false
	}
	c := check{mode: Alone}
	if a.special && c.amounts(n, a) || c.assigned(n, a) {
		return false
	}
	if x.around != nil && !x.nearby(n) {
		return false
	}
	return a.hosts == nothing || n.Ord/64 >= len(x.taken) || x.taken[n.Ord/64]&(1<<(n.Ord%64)) == 0
}
