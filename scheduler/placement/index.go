package placement

import (
	"math"
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
	slots []slot // by number of the bucket
	seen  int    // position in the log of the pool
	sizes [8]sized

	// Of an ask that looks at the other allocations of its job.
	counts  []map[string]*int64 // one for each spread, then one for each property; key: value, prefixed when known
	totals  int64               // allocations of the group on nodes that are known
	counted map[*Node]*counted
	taken   []uint64 // set of Ords: distinct_hosts excludes them
}

// slot is what an index knows of a bucket: the best nodes of it that fit, in order. No other node comes before the last of
// them; when all is set, no other fits at all. Without any and without all nothing is known.
type slot struct {
	top    []candidate
	all    bool
	counts []*int64
}

// candidate is a node that fits with its score, without liking and spread.
type candidate struct {
	node  *Node
	score int64
}

// topMost is how many nodes a slot remembers after a look at each node of its bucket, which costs more than a search of trees.
const topMost = 16

// put adds a node in its place, and forgets the last when there are more than most.
func (s *slot) put(c candidate, most int) {
	i := len(s.top)
	for i > 0 && before(c.score, c.node.ID, s.top[i-1].score, s.top[i-1].node.ID) {
		i--
	}
	if s.top = slices.Insert(s.top, i, c); len(s.top) > most {
		s.top, s.all = s.top[:most], false
	}
}

// drop forgets a node.
func (s *slot) drop(n *Node) {
	s.top = slices.DeleteFunc(s.top, func(c candidate) bool { return c.node == n })
}

// counted is what is in the counts of the peers on one node.
type counted struct {
	spec       *structs.Node
	group, job int
	counts     []*int64
}

// sized remembers weights.
type sized struct {
	size *size
	weights
}

// Index returns an index for an ask. It refers to peers.
func (p *Pool) Index(ask *Ask, peers *Peers) *Index {
	x := &Index{ask: ask, peers: peers, pool: p, view: p.view(ask), seen: -1}
	if n := len(ask.spreads) + len(ask.properties); n > 0 {
		x.counts = make([]map[string]*int64, n)
	}
	return x
}

// Ask returns the ask that x serves.
func (x *Index) Ask() *Ask { return x.ask }

// Size returns about how many bytes x occupies.
func (x *Index) Size() int {
	return 1024 + (64+8*len(x.counts))*len(x.slots) + len(x.taken)*8 + 128*len(x.counted)
}

// Best returns the best node for one more allocation, or nil. Nodes in avoid are taken only when no other fits.
func (x *Index) Best(avoid []structs.NodeID) *Node {
	x.sync()
	if len(avoid) > 0 {
		if n := x.best(avoid); n != nil {
			return n
		}
	}
	return x.best(nil)
}

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

func containsID(list []structs.NodeID, id structs.NodeID) bool {
	for _, other := range list {
		if other == id {
			return true
		}
	}
	return false
}

func (x *Index) best(avoid []structs.NodeID) *Node {
	var best *Node
	var bestScore int64
	for i := range x.slots {
		s := &x.slots[i]
		if !x.open(i) {
			continue
		}
		for len(s.top) > 0 && x.view.of(s.top[0].node) != int32(i) {
			s.top = slices.Delete(s.top, 0, 1) // it is of another bucket now
		}
		if len(s.top) == 0 && !s.all {
			x.search(s, i, nil)
		}
		found := s.top
		if len(found) > 0 && containsID(avoid, found[0].node.ID) {
			var other slot
			x.search(&other, i, avoid)
			found = other.top
		}
		if len(found) == 0 {
			continue
		}
		n, score := found[0].node, found[0].score
		b := x.view.buckets[i]
		score += b.liking
		for j := range x.ask.spreads {
			score -= x.ask.spreads[j].cost(b.values[j].text, b.values[j].known, *s.counts[j], x.totals)
		}
		if best == nil || before(score, n.ID, bestScore, best.ID) {
			best, bestScore = n, score
		}
	}
	return best
}

// open reports whether no distinct_property of a bucket is used up.
func (x *Index) open(i int) bool {
	for j := range x.ask.properties {
		k := len(x.ask.spreads) + j
		if !x.view.buckets[i].values[k].known || *x.slots[i].counts[k] >= int64(x.ask.properties[j].limit) {
			return false
		}
	}
	return true
}

// replayMost is how many changes are cheaper to look at than a search of a bucket is, when nodes are of few sizes; with many
// sizes a search looks at each, and a look at a change costs about the same.
const replayMost = 32

// sync takes over what changed in the pool.
func (x *Index) sync() {
	p := x.pool
	p.flush()
	x.view.sync(p)
	for i := len(x.slots); i < len(x.view.buckets); i++ {
		s := slot{}
		if len(x.counts) > 0 {
			s.counts = x.countsOf(x.view.buckets[i].values)
		}
		x.slots = append(x.slots, s)
	}
	end := p.end()
	if x.seen == end {
		return
	}
	lost := x.seen < p.logAt
	if lost && x.ask.Peered() {
		x.recount()
	}
	search := lost || end-x.seen > max(replayMost*len(x.slots), len(p.sizes)/2)
	if search {
		for i := range x.slots {
			x.slots[i].top, x.slots[i].all = x.slots[i].top[:0], false
		}
	}
	if !lost && (!search || x.ask.Peered()) {
		for _, n := range p.log[x.seen-p.logAt:] {
			if x.ask.Peered() {
				x.count(n)
			}
			if !search {
				x.look(n)
			}
		}
	}
	x.seen = end
}

// look compares a node that changed with the best ones of its bucket.
func (x *Index) look(n *Node) {
	i := x.view.of(n)
	if i < 0 {
		return // when it is in a slot, best notices
	}
	s := &x.slots[i]
	if len(s.top) == 0 && !s.all {
		return
	}
	fits, c := x.fits(n), candidate{node: n}
	if fits {
		c.score = x.weigh(n.size).at(n.filled[0], n.filled[1])
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
	return a.hosts == nothing || n.Ord/64 >= len(x.taken) || x.taken[n.Ord/64]&(1<<(n.Ord%64)) == 0
}

// search looks for the best node of a bucket.
type search struct {
	*Index
	bucket      int32
	all         bool // every node of the pool is of the bucket
	avoid       []structs.NodeID
	cpu, memory int64 // that must be free
	disk        int64
	customs     []int64 // that must be free, by size.customs
	weights     *weights
	looks, most int
	best        *Node
	score       int64
}

// search fills a slot with the best nodes of a bucket. It looks into the trees for the best one; when few nodes are of the
// bucket, or when it finds that the trees do not help, it looks at each node of the bucket.
func (x *Index) search(s *slot, i int, avoid []structs.NodeID) {
	s.top, s.all = s.top[:0], true
	b := x.view.buckets[i]
	nodes := b.size(x.pool)
	if nodes == 0 {
		return
	}
	q := search{Index: x, bucket: int32(i), all: nodes == x.pool.nodes, avoid: avoid, cpu: asked(int64(x.ask.Resources.CPU)),
		memory: asked(int64(x.ask.Resources.Memory)), disk: asked(int64(x.ask.Resources.Disk))}
	if nodes > x.pool.few && nodes*nodes > 4*x.pool.nodes && len(x.pool.sizes) <= nodes/4 {
		q.most = max(256, 2*nodes)
		q.trees()
		if q.looks <= q.most {
			if q.best != nil {
				s.top, s.all = append(s.top, candidate{q.best, q.score}), false
			}
			return
		}
	}
	for _, m := range b.members {
		if m.node != nil {
			q.single(s, m.node)
		} else {
			for _, n := range m.kind.nodes {
				q.single(s, n)
			}
		}
	}
}

// asked makes an amount such that what is free is less when, and only when, it does not suffice.
func asked(amount int64) int64 {
	if amount <= 0 {
		return math.MinInt64
	}
	return amount
}

// single looks at one node of the bucket.
func (q *search) single(s *slot, n *Node) {
	if n.kind == nil || !q.fits(n) || containsID(q.avoid, n.ID) {
		return
	}
	score := q.weigh(n.size).at(n.filled[0], n.filled[1])
	if last := len(s.top) - 1; last == topMost-1 && before(s.top[last].score, s.top[last].node.ID, score, n.ID) {
		s.all = false
		return
	}
	s.put(candidate{n, score}, topMost)
}

// trees searches the nodes of each size, those first that promise most.
func (q *search) trees() {
	type promise struct {
		size *size
		weights
		bound int64
	}
	var few [8]promise
	list := few[:0]
	for _, z := range q.pool.sizes {
		w := q.ask.weigh(z.avail)
		if q.enter(z) && q.mayFit(&z.root.box) {
			list = append(list, promise{z, w, w.most(&z.root.box)})
		}
	}
	for len(list) > 0 {
		at := 0
		for i := range list {
			if list[i].bound > list[at].bound {
				at = i
			}
		}
		p := &list[at]
		if q.best != nil && p.bound < q.score || q.looks > q.most {
			return
		}
		q.enter(p.size)
		q.weights = &p.weights
		q.visit(p.size.root)
		list[at] = list[len(list)-1]
		list = list[:len(list)-1]
	}
}

// enter prepares the search of a size; false when its nodes lack a custom resource that is asked for.
func (q *search) enter(z *size) bool {
	q.customs = q.customs[:0]
	found := 0
	for _, name := range z.customs {
		amount := int64(q.ask.Resources.Custom[name])
		if amount > 0 {
			found++
		}
		q.customs = append(q.customs, asked(amount))
	}
	return found == q.ask.customs
}

func (q *search) mayFit(x *box) bool {
	if x.cpu < q.cpu || x.memory < q.memory || x.disk < q.disk {
		return false
	}
	for i, free := range x.custom {
		if free < q.customs[i] {
			return false
		}
	}
	return true
}

// most returns the highest score within a box.
func (w *weights) most(x *box) int64 {
	cpu, memory := x.most[0], x.most[1]
	if w.cpu < 0 {
		cpu = x.least[0]
	}
	if w.memory < 0 {
		memory = x.least[1]
	}
	return w.at(cpu, memory)
}

// visit searches a block: of a leaf all nodes, of others the blocks that promise most first, as long as one promises more
// than what was found.
func (q *search) visit(b *block) {
	if b.kids == nil {
		q.looks += len(b.all)
		for i := range b.all {
			e := &b.all[i]
			if e.cpu < q.cpu || e.memory < q.memory {
				continue
			}
			score := q.weights.at(e.fill[0], e.fill[1])
			if q.best != nil && !before(score, e.node.ID, q.score, q.best.ID) {
				continue
			}
			if (q.all || q.view.of(e.node) == q.bucket) && q.admits(e.node) && !containsID(q.avoid, e.node.ID) {
				q.best, q.score = e.node, score
			}
		}
		return
	}
	var bounds [fanMost]int64
	for i, k := range b.kids {
		bounds[i] = math.MinInt64
		if q.mayFit(&k.box) {
			bounds[i] = q.weights.most(&k.box)
		}
	}
	q.looks += len(b.kids)
	for q.looks <= q.most {
		at := -1
		for i, k := range b.kids {
			if bounds[i] != math.MinInt64 && (at < 0 || before(bounds[i], k.box.first.ID, bounds[at], b.kids[at].box.first.ID)) {
				at = i
			}
		}
		if at < 0 || q.best != nil && !before(bounds[at], b.kids[at].box.first.ID, q.score, q.best.ID) {
			return
		}
		bounds[at] = math.MinInt64
		q.visit(b.kids[at])
	}
}
