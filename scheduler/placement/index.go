package placement

import (
	"strings"

	"github.com/proffer/proffer/structs"
)

// Index finds the best node for one ask among many. It keeps the nodes on which the ask fits in heaps by score, one
// heap for each combination of values that spread and distinct_property look at: what an allocation adds to a value
// changes the score of a heap as a whole, so a spread over fifty racks costs fifty comparisons and not a pass over all
// nodes. It equals Best as long as Update is called for each node whose books, spec or peers changed.
type Index struct {
	ask     *Ask
	peers   *Peers
	entries []indexEntry // by Node.Ord
	nodes   []*Node
	buckets []*bucket
	byValue map[string]*bucket
	classes map[class]*suit
	counts  []map[string]*int64 // one for each spread, then one for each property; key: value, prefixed when known
	totals  int64               // allocations of the group on nodes that are known
}

type indexEntry struct {
	spec    *structs.Node // what suit was found for
	suit    *suit
	score   int64
	at      int32 // position in the heap of its bucket, -1 when the ask does not fit
	ofGroup int32 // peers that are in the counts
	ofJob   int32
}

// suit is what depends on the class of a node only.
type suit struct {
	ok     bool
	liking int64
	bucket *bucket
}

type bucket struct {
	values []value
	counts []*int64
	heap   []int32 // ords, best first
}

type value struct {
	text  string
	known bool
}

// NewIndex looks at all nodes once. Ords should be dense; nil entries are skipped. The index refers to peers.
func NewIndex(ask *Ask, peers *Peers, nodes []*Node) *Index {
	x := &Index{ask: ask, peers: peers, byValue: map[string]*bucket{}, classes: map[class]*suit{}}
	x.counts = make([]map[string]*int64, len(ask.spreads)+len(ask.properties))
	for i := range x.counts {
		x.counts[i] = map[string]*int64{}
	}
	x.entries = make([]indexEntry, 0, len(nodes))
	for _, n := range nodes {
		if n != nil {
			e := x.entry(n)
			x.look(n, e)
			if x.fits(n, e) {
				e.score = ask.packedScore(n) + e.suit.liking
				e.at = int32(len(e.suit.bucket.heap))
				e.suit.bucket.heap = append(e.suit.bucket.heap, int32(n.Ord))
			}
		}
	}
	for _, b := range x.buckets {
		for i := len(b.heap)/2 - 1; i >= 0; i-- {
			x.down(b, i)
		}
	}
	return x
}

// Ask returns the ask that x serves.
func (x *Index) Ask() *Ask { return x.ask }

// Update tells x that the node changed in any way.
func (x *Index) Update(n *Node) {
	e := x.entry(n)
	if e.at >= 0 && e.spec != n.spec {
		x.remove(e.suit.bucket, int(e.at))
	}
	x.look(n, e)
	if !x.fits(n, e) {
		if e.at >= 0 {
			x.remove(e.suit.bucket, int(e.at))
		}
		return
	}
	score, b := x.ask.packedScore(n)+e.suit.liking, e.suit.bucket
	switch {
	case e.at < 0:
		e.score = score
		x.push(b, n.Ord)
	case score != e.score:
		e.score = score
		if i := x.up(b, int(e.at)); i == int(e.at) {
			x.down(b, i)
		}
	}
}

// Remove forgets a node; its Ord may be given to another one afterwards.
func (x *Index) Remove(n *Node) {
	if n.Ord >= len(x.entries) || x.nodes[n.Ord] != n {
		return
	}
	e := &x.entries[n.Ord]
	if e.at >= 0 {
		x.remove(e.suit.bucket, int(e.at))
	}
	x.uncount(e)
	*e = indexEntry{at: -1}
	x.nodes[n.Ord] = nil
}

// Best returns the best node for one more allocation, or nil. Nodes in avoid are taken only when no other fits.
func (x *Index) Best(avoid []structs.NodeID) *Node {
	if len(avoid) == 0 {
		return x.best()
	}
	var aside []int32
	for _, b := range x.buckets {
		for len(b.heap) > 0 && containsID(avoid, x.nodes[b.heap[0]].ID) {
			ord := b.heap[0]
			x.remove(b, 0)
			aside = append(aside, ord)
		}
	}
	found := x.best()
	for _, ord := range aside {
		x.push(x.entries[ord].suit.bucket, int(ord))
	}
	if found == nil && len(aside) > 0 {
		return x.best()
	}
	return found
}

// Fits reports whether the ask fits on that node now.
func (x *Index) Fits(n *Node) bool {
	return n.Ord < len(x.entries) && x.nodes[n.Ord] == n && x.entries[n.Ord].at >= 0 && x.open(x.entries[n.Ord].suit.bucket)
}

func containsID(list []structs.NodeID, id structs.NodeID) bool {
	for _, other := range list {
		if other == id {
			return true
		}
	}
	return false
}

func (x *Index) best() *Node {
	var best *Node
	var bestScore int64
	for _, b := range x.buckets {
		if len(b.heap) == 0 || !x.open(b) {
			continue
		}
		n := x.nodes[b.heap[0]]
		score := x.entries[n.Ord].score
		for i := range x.ask.spreads {
			score -= x.ask.spreads[i].cost(b.values[i].text, b.values[i].known, *b.counts[i], x.totals)
		}
		if best == nil || before(score, n.ID, bestScore, best.ID) {
			best, bestScore = n, score
		}
	}
	return best
}

// open reports whether no distinct_property of b is used up.
func (x *Index) open(b *bucket) bool {
	for i := range x.ask.properties {
		j := len(x.ask.spreads) + i
		if !b.values[j].known || *b.counts[j] >= int64(x.ask.properties[i].limit) {
			return false
		}
	}
	return true
}

func (x *Index) entry(n *Node) *indexEntry {
	for n.Ord >= len(x.entries) {
		x.entries = append(x.entries, indexEntry{at: -1})
		x.nodes = append(x.nodes, nil)
	}
	x.nodes[n.Ord] = n
	return &x.entries[n.Ord]
}

// look brings e's suit and the counts of peers up to date.
func (x *Index) look(n *Node, e *indexEntry) {
	if e.spec != n.spec {
		x.uncount(e)
		e.spec, e.suit = n.spec, nil
		if n.spec != nil {
			e.suit = x.suitOf(n)
		}
	}
	if e.suit == nil || len(x.counts) == 0 {
		return
	}
	group, job := x.peers.on(n.ID, ofGroup, x.ask.Group), x.peers.on(n.ID, ofJob, "")
	if int(e.ofGroup) == group && int(e.ofJob) == job {
		return
	}
	x.count(e, group-int(e.ofGroup), job-int(e.ofJob))
	e.ofGroup, e.ofJob = int32(group), int32(job)
}

func (x *Index) uncount(e *indexEntry) {
	if e.suit != nil && (e.ofGroup != 0 || e.ofJob != 0) {
		x.count(e, -int(e.ofGroup), -int(e.ofJob))
	}
	e.ofGroup, e.ofJob = 0, 0
}

func (x *Index) count(e *indexEntry, group, job int) {
	x.totals += int64(group)
	for i, c := range e.suit.bucket.counts {
		if j := i - len(x.ask.spreads); j >= 0 && x.ask.properties[j].scope == ofJob {
			*c += int64(job)
		} else {
			*c += int64(group)
		}
	}
}

func (x *Index) suitOf(n *Node) *suit {
	if !x.ask.unique {
		if s := x.classes[n.class]; s != nil {
			return s
		}
	}
	c := check{mode: First}
	s := &suit{ok: !c.static(n.spec, x.ask), liking: x.ask.liking(n.spec), bucket: x.bucketOf(n.spec)}
	if !x.ask.unique {
		x.classes[n.class] = s
	}
	return s
}

func (x *Index) bucketOf(spec *structs.Node) *bucket {
	var values []value
	var key strings.Builder
	add := func(t template) {
		text, known := t.resolve(spec)
		values = append(values, value{text, known})
		key.WriteString(countKey(text, known))
		key.WriteByte(0)
	}
	for i := range x.ask.spreads {
		add(x.ask.spreads[i].attribute)
	}
	for i := range x.ask.properties {
		add(x.ask.properties[i].value)
	}
	if b := x.byValue[key.String()]; b != nil {
		return b
	}
	b := &bucket{values: values}
	for i, v := range values {
		k := countKey(v.text, v.known)
		if x.counts[i][k] == nil {
			x.counts[i][k] = new(int64)
		}
		b.counts = append(b.counts, x.counts[i][k])
	}
	x.buckets = append(x.buckets, b)
	x.byValue[key.String()] = b
	return b
}

func countKey(text string, known bool) string {
	if !known {
		return ""
	}
	return "=" + text
}

func (x *Index) fits(n *Node, e *indexEntry) bool {
	if e.suit == nil || !e.suit.ok {
		return false
	}
	c := check{mode: Alone}
	if c.state(n) || c.amounts(n, x.ask) || c.assigned(n, x.ask) {
		return false
	}
	return x.ask.hosts == nothing || x.peers.on(n.ID, x.ask.hosts, x.ask.Group) == 0
}

func (x *Index) less(a, b int32) bool {
	return before(x.entries[a].score, x.nodes[a].ID, x.entries[b].score, x.nodes[b].ID)
}

func (x *Index) push(b *bucket, ord int) {
	b.heap = append(b.heap, int32(ord))
	x.entries[ord].at = int32(len(b.heap) - 1)
	x.up(b, len(b.heap)-1)
}

func (x *Index) remove(b *bucket, i int) {
	last := len(b.heap) - 1
	x.entries[b.heap[i]].at = -1
	if i != last {
		b.heap[i] = b.heap[last]
		x.entries[b.heap[i]].at = int32(i)
	}
	b.heap = b.heap[:last]
	if i != last {
		if x.up(b, i) == i {
			x.down(b, i)
		}
	}
}

func (x *Index) up(b *bucket, i int) int {
	for i > 0 {
		parent := (i - 1) / 2
		if !x.less(b.heap[i], b.heap[parent]) {
			break
		}
		x.swap(b, i, parent)
		i = parent
	}
	return i
}

func (x *Index) down(b *bucket, i int) {
	for {
		child := 2*i + 1
		if child >= len(b.heap) {
			return
		}
		if child+1 < len(b.heap) && x.less(b.heap[child+1], b.heap[child]) {
			child++
		}
		if !x.less(b.heap[child], b.heap[i]) {
			return
		}
		x.swap(b, i, child)
		i = child
	}
}

func (x *Index) swap(b *bucket, i, j int) {
	b.heap[i], b.heap[j] = b.heap[j], b.heap[i]
	x.entries[b.heap[i]].at, x.entries[b.heap[j]].at = int32(i), int32(j)
}
