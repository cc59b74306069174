package placement

import (
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/structs"
)

// view is what an ask looks at that does not depend on amounts: datacenters, drivers, constraints, affinities, and the
// values of spread, distinct_property and of rules about work within an attribute. All asks of a pool for which these are the same share one view. It is looked
// up once a class of nodes, or once a node when it depends on what differs from node to node.
type view struct {
	ask     *Ask // one of them
	suits   []suit
	buckets []*bucket
	byValue map[string]int32
	seen    int // position in Pool.news, or in Pool.log when the ask is unique
	looked  bool
	used    uint64
	built   int // one more each time the buckets got new numbers: who kept numbers begins anew
	most    int // with more buckets it is looked at how many have no nodes

	levels   []uint8 // by Ord, of an ask with images that is not unique: what those are worth that a node has; see images.go
	heard    int     // position in Pool.told
	heardAll bool
	turns    int // one more each time levels may have changed
}

// suit is the bucket that a kind, or a node when the ask is unique, belongs to.
type suit struct {
	member
	spec   *structs.Node // of node
	bucket int32         // -1 when it does not suit
	at     int32         // in bucket.members
}

// member is a kind, or a single node.
type member struct {
	kind *kind
	node *Node
}

// bucket is the nodes that suit an ask and that it likes equally: what an allocation adds to a value of spread or
// distinct_property changes the score of a bucket as a whole, so a spread over fifty racks costs fifty comparisons and
// not a pass over all nodes.
type bucket struct {
	values  []value
	liking  int64
	within  value // of Ask.Within
	members []member
	counted int // Pool.moved for which nodes is right
	nodes   int
	split   *split // nil: no node of the members has an image
	level   uint8  // of split; that of the members is 0
}

type value struct {
	text  string
	known bool
}

// The views of a pool are bounded in number and in what they know of kinds and nodes, 40 bytes each; those that were not used
// for longest go first. An index that has one keeps it, see Index.Size.
const (
	maxViews = 1024
	maxSuits = 1 << 21
	suitSize = 40
)

// suits returns of how many kinds and nodes the views know something.
func (p *Pool) suits() (n int) {
	for _, v := range p.views {
		n += len(v.suits) + len(v.levels)/suitSize
	}
	return n
}

// view returns the view of an ask.
func (p *Pool) view(a *Ask) *view {
	v := p.views[a.viewKey]
	if v == nil {
		for len(p.views) > 0 && (len(p.views) >= p.keep || p.suits() > p.keepSuits) {
			p.dropViews()
		}
		v = &view{ask: a, byValue: map[string]int32{}, most: bucketsKept}
		p.views[a.viewKey] = v
	}
	p.tick++
	v.used = p.tick
	return v
}

func (p *Pool) dropViews() {
	ticks := make([]uint64, 0, len(p.views))
	for _, v := range p.views {
		ticks = append(ticks, v.used)
	}
	slices.Sort(ticks)
	for key, v := range p.views {
		if v.used <= ticks[len(ticks)/4] {
			delete(p.views, key)
		}
	}
}

// bucketsKept is how many buckets need no look at whether they have nodes.
const bucketsKept = 64

// shrink forgets the buckets when most have no nodes any more: values of nodes that are gone. It costs what was spent on
// making them.
func (v *view) shrink(p *Pool) {
	live := 0
	for _, b := range v.buckets {
		if v.size(p, b) > 0 {
			live++
		}
	}
	if v.most = max(bucketsKept, 4*live); len(v.buckets) <= v.most {
		return
	}
	clear(v.byValue)
	v.suits, v.buckets, v.looked, v.heardAll, v.built = nil, nil, false, false, v.built+1
}

// sync takes over what changed in the pool.
func (v *view) sync(p *Pool) {
	if len(v.buckets) > v.most {
		v.shrink(p)
	}
	if v.ask.unique {
		if end := p.end(); !v.looked || v.seen < p.logAt {
			for i := range v.suits {
				if n := v.suits[i].node; n != nil && n.kind == nil {
					v.look(i, member{})
				}
			}
			for _, k := range p.kinds {
				if k != nil {
					for _, n := range k.nodes {
						v.look(n.Ord, member{node: n})
					}
				}
			}
			v.seen, v.looked = end, true
		}
		for _, n := range p.log[v.seen-p.logAt:] {
			v.look(n.Ord, member{node: n})
		}
		v.seen = p.end()
		return
	}
	if end := p.newsAt + len(p.news); !v.looked || v.seen < p.newsAt {
		for i, k := range p.kinds {
			v.look(i, member{kind: k})
		}
		v.seen, v.looked = end, true
	}
	for _, i := range p.news[v.seen-p.newsAt:] {
		v.look(int(i), member{kind: p.kinds[i]})
	}
	v.seen = p.newsAt + len(p.news)
	v.syncImages(p)
}

// look finds the bucket of what has number i.
func (v *view) look(i int, m member) {
	for i >= len(v.suits) {
		v.suits = append(v.suits, suit{bucket: -1})
	}
	s := &v.suits[i]
	var spec *structs.Node
	switch {
	case m.node != nil:
		if m.node.kind != nil {
			spec = m.node.taken
		}
	case m.kind != nil:
		spec = m.kind.nodes[0].taken // any one: they do not differ in what v looks at
	}
	if s.member == m && (m.kind != nil || s.spec == spec) {
		return
	}
	if s.bucket >= 0 {
		v.buckets[s.bucket].drop(v, s.at)
	}
	*s = suit{member: m, spec: spec, bucket: -1}
	if spec == nil {
		return
	}
	c := check{mode: First}
	if c.static(spec, v.ask) {
		return
	}
	level := uint8(0)
	if m.node != nil {
		level = v.ask.present(spec)
	}
	s.bucket = v.bucketFor(spec, level)
	b := v.buckets[s.bucket]
	s.at = int32(len(b.members))
	b.members = append(b.members, m)
	b.recount()
}

func (b *bucket) drop(v *view, at int32) {
	last := len(b.members) - 1
	b.members[at] = b.members[last]
	v.suits[b.members[at].number()].at = at
	b.members[last] = member{}
	b.members = b.members[:last]
	b.recount()
}

// recount notes that the members changed.
func (b *bucket) recount() {
	b.counted = -1
	if b.split != nil {
		b.split.moved = -1
	}
}

func (m member) number() int {
	if m.kind != nil {
		return int(m.kind.number)
	}
	return m.node.Ord
}

// of returns the bucket of a node, or -1.
func (v *view) of(n *Node) int32 {
	if n.kind == nil {
		return -1
	}
	if v.ask.unique {
		return v.suits[n.Ord].bucket
	}
	b := v.suits[n.kind.number].bucket
	if level := v.level(n); level > 0 && b >= 0 {
		return v.buckets[b].split.with[level]
	}
	return b
}

// size returns how many nodes the members of b are.
func (b *bucket) size(p *Pool) int {
	if b.counted != p.moved {
		b.nodes, b.counted = 0, p.moved
		for _, m := range b.members {
			if m.kind != nil {
				b.nodes += len(m.kind.nodes)
			} else {
				b.nodes++
			}
		}
	}
	return b.nodes
}

// bucketFor returns the bucket of nodes like one, whose images are worth so much.
func (v *view) bucketFor(spec *structs.Node, level uint8) int32 {
	b := &bucket{values: v.ask.valuesOf(spec), liking: v.ask.liking(spec) + int64(level)*perImage, counted: -1}
	b.within.text, b.within.known = v.ask.within.resolve(spec)
	var key strings.Builder
	for _, v := range b.values {
		key.WriteString(countKey(v.text, v.known))
		key.WriteByte(0)
	}
	key.WriteString(strconv.FormatInt(b.liking, 10))
	key.WriteString(countKey(b.within.text, b.within.known))
	if i, ok := v.byValue[key.String()]; ok {
		return i
	}
	i := int32(len(v.buckets))
	v.buckets, v.byValue[key.String()] = append(v.buckets, b), i
	return i
}

func countKey(text string, known bool) string {
	if !known {
		return ""
	}
	return "=" + text
}
