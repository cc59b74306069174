package placement

import (
	"math"

	"github.com/proffer/proffer/structs"
)

// search looks for the best node of a bucket.
type search struct {
	*Index
	bucket      int32
	all         bool // every node of the pool is of the bucket
	leaning     bool // only nodes that lean are looked for; false: only those that do not
	avoid       []structs.NodeID
	cpu, memory int64 // that must be free
	disk        int64
	customs     []int64 // that must be free, by size.customs
	weights     *weights
	looks, most int
	best        *Node
	score       int64
}

// search finds the best nodes of a bucket, of those that lean or of the others. It looks into the trees for the best one;
// when few nodes are of the bucket, or when it finds that the trees do not help, it looks at each node of the bucket. Those
// that lean, and those that have what must be on a node, are known.
func (x *Index) search(s *known, i int, leaning bool, avoid []structs.NodeID) {
	s.top, s.all = s.top[:0], true
	b := x.view.buckets[i]
	nodes := x.view.size(x.pool, b)
	if nodes == 0 {
		return
	}
	q := search{Index: x, bucket: int32(i), all: nodes == x.pool.nodes, leaning: leaning, avoid: avoid, cpu: asked(int64(x.ask.Resources.CPU)),
		memory: asked(int64(x.ask.Resources.Memory)), disk: asked(int64(x.ask.Resources.Disk))}
	if leaning {
		q.leanNodes(s)
		return
	}
	if must := x.mustBe(nodes); must != nil {
		for _, on := range must.nodes {
			if n := x.own(on.node); n != nil && x.view.of(n) == q.bucket {
				q.single(s, n)
			}
		}
		return
	}
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
	x.view.each(x.pool, b, func(n *Node) { q.single(s, n) })
}

// mustBe returns where work is that must be on a node, if that is on fewer nodes than a bucket has.
func (x *Index) mustBe(nodes int) (fewest *Peers) {
	for i := range x.ask.here {
		if r := &x.ask.here[i]; !r.near || r.weight != 0 || x.lonely[i] {
			continue
		}
		p := x.around[i]
		if p == nil {
			return &Peers{}
		}
		if len(p.nodes) < nodes {
			fewest, nodes = p, len(p.nodes)
		}
	}
	return fewest
}

// leanNodes looks at the nodes with work that a wish is about.
func (q *search) leanNodes(s *known) {
	for i, p := range q.around[:len(q.ask.here)] {
		if q.ask.here[i].weight == 0 || p == nil {
			continue
		}
		for _, on := range p.nodes {
			if n := q.own(on.node); n != nil && q.view.of(n) == q.bucket && !s.has(n) {
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
func (q *search) single(s *known, n *Node) {
	if n.kind == nil || !q.fits(n) || containsID(q.avoid, n.ID) || q.leans(n) != q.leaning {
		return
	}
	score := q.scoreOf(n)
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
			if (q.all || q.view.of(e.node) == q.bucket) && q.admits(e.node) && !containsID(q.avoid, e.node.ID) && !q.leans(e.node) {
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
