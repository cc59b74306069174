package placement

import (
	"cmp"
	"slices"

	"github.com/proffer/proffer/structs"
)

// What need not be fetched counts for a node. Which images a node has differs from node to node, so they are no part of its
// class: a view looks up the class, and remembers beside it which nodes have an image of its ask.

// image is the image of a task, or one that a driver has.
type image struct{ driver, name string }

const (
	// perImage is what an image is worth on a node that has it: up to 64 MiB once, up to 256 MiB twice, and so on for each
	// four times as much, at most mostImage times. It counts what all images of the ask that are there take together.
	perImage  = fullPack / 10
	mostImage = 5
	// unknownImage is what an image is taken to take when the node does not know.
	unknownImage = structs.Bytes(128 << 20)
	// largestImage is what counts of one.
	largestImage = structs.Bytes(1 << 40)
)

// addImage notes the image of a task.
func (a *Ask) addImage(driver string, t *structs.Task) {
	if name := t.Image(); name != "" {
		a.images = append(a.images, image{driver, name})
	}
	for _, m := range t.ImageMounts {
		a.images = append(a.images, image{structs.ImagesDriver, structs.ImageName(m.Image)})
	}
}

// sortImages leaves each image once, in order.
func (a *Ask) sortImages() {
	slices.SortFunc(a.images, func(x, y image) int { return cmp.Or(cmp.Compare(x.driver, y.driver), cmp.Compare(x.name, y.name)) })
	a.images = slices.Compact(a.images)
}

// present says what the images of a that a node has are worth, in perImage.
func (a *Ask) present(spec *structs.Node) uint8 {
	var sum structs.Bytes
	for i := range a.images {
		d := spec.Drivers[a.images[i].driver]
		if d == nil {
			continue
		}
		switch size, has := d.Images[a.images[i].name]; {
		case has && size == 0:
			sum += unknownImage
		case has:
			sum += min(max(size, 1), largestImage)
		}
	}
	if sum == 0 {
		return 0
	}
	level := uint8(1)
	for bound := structs.Bytes(64 << 20); sum > bound && level < mostImage; bound *= 4 {
		level++
	}
	return level
}

// holders is the nodes of a pool that have an image. Some may not have it any more, or be there twice.
type holders struct {
	nodes []*Node
	count int // of those that have it
}

// store takes over which images a node has that had others.
func (p *Pool) store(n *Node, was, is *structs.Node) {
	has := func(spec *structs.Node, x image) bool {
		if spec == nil || spec.Drivers[x.driver] == nil {
			return false
		}
		_, has := spec.Drivers[x.driver].Images[x.name]
		return has
	}
	// turn counts the images of one spec that the other one has not.
	turn := func(spec, other *structs.Node, by int) {
		if spec == nil {
			return
		}
		for driver, d := range spec.Drivers {
			if d == nil {
				continue
			}
			for name := range d.Images {
				x := image{driver, name}
				if has(other, x) {
					continue
				}
				h := p.images[x]
				if h == nil {
					h = &holders{}
					p.images[x] = h
				}
				if h.count += by; by > 0 {
					h.nodes = append(h.nodes, n)
				}
				switch {
				case h.count == 0:
					delete(p.images, x)
				case len(h.nodes) > 2*h.count+8:
					h.tidy(func(n *Node) bool { return has(n.spec, x) })
				}
			}
		}
	}
	turn(was, is, -1)
	turn(is, was, 1)
}

// tidy leaves the nodes that have the image, each once.
func (h *holders) tidy(has func(*Node) bool) {
	seen := make(map[*Node]bool, h.count)
	h.nodes = slices.DeleteFunc(h.nodes, func(n *Node) bool {
		twice := seen[n]
		seen[n] = true
		return twice || !has(n)
	})
}

// split divides the nodes of a bucket by what their images are worth: those that have some are in buckets of their own.
type split struct {
	of           *bucket              // it has the members of all
	with         [mostImage + 1]int32 // number of the bucket of each level; 0: there is none
	moved, turns int                  // Pool.moved and view.turns for which the rest is right
	counts       [mostImage + 1]int
	nodes        [mostImage + 1][]*Node // nil: not listed
}

// syncImages takes over what nodes say of images. The classes were looked up before.
func (v *view) syncImages(p *Pool) {
	switch {
	case len(v.ask.images) == 0:
		return
	case !v.heardAll || v.heard < p.toldAt:
		clear(v.levels)
		for i := range v.ask.images {
			if h := p.images[v.ask.images[i]]; h != nil {
				for _, n := range h.nodes {
					if n.kind != nil { // else another one may have its Ord
						v.hear(n)
					}
				}
			}
		}
		v.heardAll = true
		v.turns++
	default:
		for _, n := range p.told[v.heard-p.toldAt:] {
			v.hear(n)
		}
	}
	v.heard = p.toldAt + len(p.told)
}

// hear takes over what one node says.
func (v *view) hear(n *Node) {
	level, of := uint8(0), int32(-1)
	if n.kind != nil {
		level, of = v.ask.present(n.taken), v.suits[n.kind.number].bucket
	}
	if level == 0 && n.Ord >= len(v.levels) {
		return
	}
	for n.Ord >= len(v.levels) {
		v.levels = append(v.levels, 0)
	}
	v.levels[n.Ord] = level
	v.turns++
	if level == 0 || of < 0 {
		return
	}
	b := v.buckets[of]
	if b.split == nil {
		b.split = &split{of: b, moved: -1}
	}
	if b.split.with[level] == 0 {
		b.split.with[level] = int32(len(v.buckets))
		v.buckets = append(v.buckets, &bucket{values: b.values, liking: b.liking + int64(level)*perImage, within: b.within, split: b.split,
			level: level})
	}
}

// level says what the images are worth that a node has.
func (v *view) level(n *Node) uint8 {
	if n.Ord >= len(v.levels) {
		return 0
	}
	return v.levels[n.Ord]
}

// update counts the nodes anew when something changed.
func (s *split) update(p *Pool, v *view) {
	if s.moved == p.moved && s.turns == v.turns {
		return
	}
	*s = split{of: s.of, with: s.with, moved: p.moved, turns: v.turns}
	for _, m := range s.of.members {
		for _, n := range m.kind.nodes {
			s.counts[v.level(n)]++
		}
	}
}

// list returns the nodes of a level.
func (s *split) list(p *Pool, v *view, level uint8) []*Node {
	s.update(p, v)
	if s.nodes[level] == nil {
		s.nodes[level] = make([]*Node, 0, s.counts[level])
		for _, m := range s.of.members {
			for _, n := range m.kind.nodes {
				if v.level(n) == level {
					s.nodes[level] = append(s.nodes[level], n)
				}
			}
		}
	}
	return s.nodes[level]
}

// size returns how many nodes a bucket has.
func (v *view) size(p *Pool, b *bucket) int {
	if b.split == nil {
		return b.size(p)
	}
	b.split.update(p, v)
	return b.split.counts[b.level]
}

// each looks at all nodes of a bucket.
func (v *view) each(p *Pool, b *bucket, look func(*Node)) {
	if b.split != nil {
		for _, n := range b.split.list(p, v, b.level) {
			look(n)
		}
		return
	}
	for _, m := range b.members {
		if m.node != nil {
			look(m.node)
			continue
		}
		for _, n := range m.kind.nodes {
			look(n)
		}
	}
}
