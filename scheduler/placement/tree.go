package placement

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// size is the nodes with equal CPU and memory and custom resources of the same names. They are the leaves of one tree that all asks share: each block of
// it knows between which bounds the nodes below it are used, so a search passes over blocks where nothing can fit or score
// higher than what it has. Nodes that are used alike are close together: blocks are ordered by the bits of the used parts
// of CPU and memory in turn, a curve through the plane that keeps neighbours together (Morton 1966), and split and merge
// as those of a B-tree.
type size struct {
	key     sizeKey
	at      int               // in Pool.sizes
	avail   structs.Resources // of one of them
	customs []string          // custom scalars that they have, sorted
	root    *block
	nodes   int
}

type sizeKey struct {
	cpu     structs.Milli
	memory  structs.Bytes
	customs string
}

func sizeOf(n *Node) sizeKey {
	return sizeKey{n.avail.CPU, n.avail.Memory, strings.Join(customsOf(n.avail), "\x00")}
}

// customsOf returns the names of custom scalars of which there are some, sorted.
func customsOf(r structs.Resources) (names []string) {
	for name, v := range r.Custom {
		if v > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

const (
	leafMost = 32 // nodes of a block
	fanMost  = 16 // blocks of a block
)

type block struct {
	up   *block
	kids []*block // by low; nil in a leaf
	all  []seat   // of a leaf, in no order
	low  uint32   // no key below is smaller, and none in the block before is larger
	box  box
}

// seat is a node in a leaf with what a search looks at first.
type seat struct {
	node              *Node
	key               uint32
	fill              fill
	cpu, memory, disk int64 // free
}

// box is the bounds of what is below a block.
type box struct {
	least, most       fill
	cpu, memory, disk int64   // the most that any node has free
	custom            []int64 // the same, by size.customs
	first             *Node   // the lowest id
}

func newSize(n *Node) *size {
	z := &size{key: sizeOf(n), avail: n.avail, customs: customsOf(n.avail), root: &block{low: math.MaxUint32}}
	z.root.box.clear(len(z.customs))
	return z
}

// mortonKey takes the first sixteen bits of both parts in turn.
func mortonKey(f fill) uint32 {
	spread := func(part int32) uint32 {
		x := uint32(int64(part) * 0xffff / fullPack)
		x = (x | x<<8) & 0x00ff00ff
		x = (x | x<<4) & 0x0f0f0f0f
		x = (x | x<<2) & 0x33333333
		return (x | x<<1) & 0x55555555
	}
	return spread(f[0])<<1 | spread(f[1])
}

func seatOf(n *Node) seat {
	f := n.fill()
	n.filled = f
	return seat{node: n, key: mortonKey(f), fill: f, cpu: int64(n.avail.CPU - n.used.CPU),
		memory: int64(n.avail.Memory - n.used.Memory), disk: int64(n.avail.Disk - n.used.Disk)}
}

func (x *box) clear(customs int) {
	x.least, x.most = fill{math.MaxInt32, math.MaxInt32}, fill{math.MinInt32, math.MinInt32}
	x.cpu, x.memory, x.disk = math.MinInt64, math.MinInt64, math.MinInt64
	if customs > 0 && x.custom == nil {
		x.custom = make([]int64, customs)
	}
	for i := range x.custom {
		x.custom[i] = math.MinInt64
	}
}

// cover extends x by a node, but for first.
func (x *box) cover(e *seat, customs []string) {
	for i := range e.fill {
		x.least[i], x.most[i] = min(x.least[i], e.fill[i]), max(x.most[i], e.fill[i])
	}
	x.cpu, x.memory, x.disk = max(x.cpu, e.cpu), max(x.memory, e.memory), max(x.disk, e.disk)
	for i, name := range customs {
		x.custom[i] = max(x.custom[i], int64(e.node.avail.Custom[name]-e.node.used.Custom[name]))
	}
}

// unite extends x by another box, but for first.
func (x *box) unite(o *box) {
	for i := range o.least {
		x.least[i], x.most[i] = min(x.least[i], o.least[i]), max(x.most[i], o.most[i])
	}
	x.cpu, x.memory, x.disk = max(x.cpu, o.cpu), max(x.memory, o.memory), max(x.disk, o.disk)
	for i := range x.custom {
		x.custom[i] = max(x.custom[i], o.custom[i])
	}
}

func (x *box) equals(o *box) bool {
	return x.least == o.least && x.most == o.most && x.cpu == o.cpu && x.memory == o.memory && x.disk == o.disk &&
		x.first == o.first && len(x.custom) == 0
}

func lower(a, b *Node) *Node {
	if a == nil || b != nil && b.ID < a.ID {
		return b
	}
	return a
}

// insert adds a node.
func (z *size) insert(e seat) {
	b := z.root
	for {
		b.low = min(b.low, e.key)
		b.box.cover(&e, z.customs)
		b.box.first = lower(b.box.first, e.node)
		if b.kids == nil {
			break
		}
		i := 1
		for i < len(b.kids) && b.kids[i].low <= e.key {
			i++
		}
		b = b.kids[i-1]
	}
	z.nodes++
	b.all = append(b.all, e)
	e.node.block = b
	if len(b.all) > leafMost {
		z.split(b)
	}
}

// move brings the seat of a node up to date.
func (z *size) move(e seat) {
	b := e.node.block
	at, top := 0, uint32(0)
	for i := range b.all {
		if b.all[i].node == e.node {
			at = i
		}
		top = max(top, b.all[i].key)
	}
	if b.all[at] == e {
		if len(z.customs) > 0 {
			z.refresh(b, nil)
		}
		return
	}
	if e.key < b.low || e.key > top {
		z.remove(e.node)
		z.insert(e)
		return
	}
	b.all[at] = e
	z.refresh(b, nil)
}

// remove takes a node out.
func (z *size) remove(n *Node) {
	b := n.block
	i, last := slices.IndexFunc(b.all, func(e seat) bool { return e.node == n }), len(b.all)-1
	b.all[i] = b.all[last]
	b.all[last] = seat{}
	b.all = b.all[:last]
	n.block = nil
	z.nodes--
	if last <= leafMost/4 && b.up != nil {
		b = z.merge(b)
	}
	z.refresh(b, n)
}

// refresh computes the box of b and of what is above it; gone is a node that left, or nil when only a seat changed.
func (z *size) refresh(b *block, gone *Node) {
	for ; b != nil; b = b.up {
		old := b.box
		z.compute(b, gone)
		if gone == nil && old.equals(&b.box) {
			return
		}
	}
}

// compute computes the box of one block from what it has; its first node only when that is gone.
func (z *size) compute(b *block, gone *Node) {
	b.box.clear(len(z.customs))
	if b.box.first == gone { // or it is not known yet
		b.box.first = nil
		for i := range b.all {
			b.box.first = lower(b.box.first, b.all[i].node)
		}
		for _, k := range b.kids {
			b.box.first = lower(b.box.first, k.box.first)
		}
	}
	for i := range b.all {
		b.box.cover(&b.all[i], z.customs)
	}
	for _, k := range b.kids {
		b.box.unite(&k.box)
	}
}

// split halves a block that has too much.
func (z *size) split(b *block) {
	right := &block{up: b.up}
	if b.kids == nil {
		slices.SortFunc(b.all, func(x, y seat) int { return cmp.Compare(x.key, y.key) })
		half := len(b.all) / 2
		right.all = append(make([]seat, 0, leafMost+1), b.all[half:]...)
		clear(b.all[half:])
		b.all, right.low = b.all[:half], right.all[0].key
		for i := range right.all {
			right.all[i].node.block = right
		}
	} else {
		half := len(b.kids) / 2
		right.kids = append(make([]*block, 0, fanMost+1), b.kids[half:]...)
		clear(b.kids[half:])
		b.kids, right.low = b.kids[:half], right.kids[0].low
		for _, k := range right.kids {
			k.up = right
		}
	}
	for _, x := range []*block{b, right} {
		x.box.first = nil
		z.compute(x, nil)
	}
	up := b.up
	if up == nil {
		up = &block{low: b.low, kids: append(make([]*block, 0, fanMost+1), b)}
		b.up, right.up, z.root = up, up, up
	}
	up.kids = slices.Insert(up.kids, slices.Index(up.kids, b)+1, right)
	if up == z.root && len(up.kids) == 2 {
		up.box.first = nil
		z.compute(up, nil)
	}
	if len(up.kids) > fanMost {
		z.split(up)
	}
}

// merge joins a leaf that has little with a neighbour that has room, takes away what is empty, and returns the block that
// is left.
func (z *size) merge(b *block) *block {
	up := b.up
	i := slices.Index(up.kids, b)
	for _, left := range []int{i - 1, i} {
		if left < 0 || left+1 >= len(up.kids) {
			continue
		}
		x, y := up.kids[left], up.kids[left+1]
		if len(x.all)+len(y.all) > leafMost*3/4 {
			continue
		}
		for i := range y.all {
			y.all[i].node.block = x
		}
		x.all, y.all, b = append(x.all, y.all...), nil, x
		x.box.first = lower(x.box.first, y.box.first)
		z.prune(y)
		break
	}
	return z.prune(b)
}

// prune takes an empty block away, and what becomes empty by that; it returns the first block above that stays.
func (z *size) prune(b *block) *block {
	for b.up != nil && len(b.all) == 0 && len(b.kids) == 0 {
		b.up.kids = slices.DeleteFunc(b.up.kids, func(k *block) bool { return k == b })
		b = b.up
	}
	if len(b.kids) == 0 {
		b.kids = nil // the root is a leaf again
	}
	for len(z.root.kids) == 1 {
		z.root = z.root.kids[0]
		z.root.up = nil
	}
	return b
}
