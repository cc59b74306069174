package placement

import (
	"github.com/proffer/proffer/structs"
)

// Pool is the nodes that take new work, in the order in which asks look for them. It is made once and serves every ask:
// what Index keeps for one ask is small beside it. A node is in one pool at most, and its Ord must be given once in it.
type Pool struct {
	sizes   []*size
	bySize  map[sizeKey]*size
	kinds   []*kind // by number; nil where a number is free
	byClass map[class]*kind
	free    []int32 // numbers
	news    []int32 // numbers of kinds, oldest first, each time one is given
	newsAt  int     // position of news[0]
	told    []*Node // that said something new of themselves, oldest first
	toldAt  int     // position of told[0]
	images  map[image]*holders
	moved   int     // one more each time a node comes to a kind or leaves it
	nodes   int     // that take new work
	fresh   bool    // some of pending are new
	pending []*Node // changed and not taken over yet
	log     []*Node // changed and taken over, oldest first
	logAt   int     // position of log[0]
	slack   int     // changes that are kept beside two for each node
	keep    int     // views
	// keepSuits is of how many kinds and nodes the views may know something.
	keepSuits int
	few       int // so many nodes of a bucket are looked at one by one
	views     map[string]*view
	tick      uint64 // of the last use of a view
}

// kind is the nodes of one class.
type kind struct {
	class  class
	number int32
	nodes  []*Node
}

// place is where a node is in its pool.
type place struct {
	pending bool
	taken   *structs.Node // the spec that kind and size were found for
	kind    *kind         // nil as long as it takes no new work
	at      int           // in kind.nodes
	size    *size
	block   *block
	filled  fill // when it was taken over
}

// NewPool returns an empty pool.
func NewPool() *Pool {
	return &Pool{bySize: map[sizeKey]*size{}, byClass: map[class]*kind{}, views: map[string]*view{}, images: map[image]*holders{}, slack: 64, few: 64, keep: maxViews,
		keepSuits: maxSuits}
}

// Changed tells p that a node is new, or that its books, its spec or the peers on it changed, or that it is gone (its spec
// is nil). It is cheap: the node is looked at when somebody asks next.
func (p *Pool) Changed(n *Node) {
	if !n.pending {
		n.pending = true
		p.pending = append(p.pending, n)
		p.fresh = p.fresh || n.kind == nil && n.spec != nil
	}
}

// TakeNew takes over what changed when there are new nodes in it, so that who asks first does not wait for that.
func (p *Pool) TakeNew() {
	if p.fresh {
		p.flush()
	}
}

// flush takes over what changed.
func (p *Pool) flush() {
	if len(p.pending) == 0 {
		return
	}
	p.fresh = false
	for _, n := range p.pending {
		n.pending = false
		p.settle(n)
	}
	p.log = append(p.log, p.pending...)
	clear(p.pending)
	p.pending = p.pending[:0]
	if most := 2*p.nodes + p.slack; len(p.log) > 2*most {
		drop := len(p.log) - most
		rest := copy(p.log, p.log[drop:])
		clear(p.log[rest:])
		p.log = p.log[:rest]
		p.logAt += drop
	}
}

// end returns the position behind the last change.
func (p *Pool) end() int { return p.logAt + len(p.log) }

func (p *Pool) settle(n *Node) {
	if n.taken == n.spec && n.kind != nil {
		n.size.move(seatOf(n))
		return
	}
	if n.taken != n.spec {
		p.store(n, n.taken, n.spec)
		p.tell(n)
	}
	n.taken = n.spec
	usable := n.spec != nil && n.spec.Schedulable()
	if n.kind != nil && (!usable || n.kind.class != n.class) {
		p.leaveKind(n)
	}
	if n.size != nil && (!usable || n.size.key != sizeOf(n)) {
		p.leaveSize(n)
	}
	if !usable {
		return
	}
	if n.kind == nil {
		p.joinKind(n)
	}
	if n.size == nil {
		p.joinSize(n)
	} else {
		n.size.move(seatOf(n))
	}
}

// tell notes that a node said something new.
func (p *Pool) tell(n *Node) {
	p.told = append(p.told, n)
	if most := 2*p.nodes + p.slack; len(p.told) > 2*most {
		drop := len(p.told) - most
		rest := copy(p.told, p.told[drop:])
		clear(p.told[rest:])
		p.told, p.toldAt = p.told[:rest], p.toldAt+drop
	}
}

func (p *Pool) joinKind(n *Node) {
	k := p.byClass[n.class]
	if k == nil {
		k = &kind{class: n.class, number: int32(len(p.kinds))}
		if last := len(p.free) - 1; last >= 0 {
			k.number, p.free = p.free[last], p.free[:last]
			p.kinds[k.number] = k
		} else {
			p.kinds = append(p.kinds, k)
		}
		p.byClass[n.class] = k
		p.news = append(p.news, k.number)
		if most := 2*len(p.kinds) + p.slack; len(p.news) > 2*most {
			drop := len(p.news) - most
			p.news = append(p.news[:0], p.news[drop:]...)
			p.newsAt += drop
		}
	}
	n.kind, n.at = k, len(k.nodes)
	k.nodes = append(k.nodes, n)
	p.nodes++
	p.moved++
}

func (p *Pool) leaveKind(n *Node) {
	k, last := n.kind, len(n.kind.nodes)-1
	k.nodes[n.at] = k.nodes[last]
	k.nodes[n.at].at = n.at
	k.nodes[last] = nil
	k.nodes = k.nodes[:last]
	n.kind = nil
	if last == 0 {
		delete(p.byClass, k.class)
		p.kinds[k.number] = nil
		p.free = append(p.free, k.number)
	}
	p.nodes--
	p.moved++
}

func (p *Pool) joinSize(n *Node) {
	key := sizeOf(n)
	z := p.bySize[key]
	if z == nil {
		z = newSize(n)
		z.at = len(p.sizes)
		p.sizes, p.bySize[key] = append(p.sizes, z), z
	}
	n.size = z
	z.insert(seatOf(n))
}

func (p *Pool) leaveSize(n *Node) {
	z := n.size
	n.size = nil
	z.remove(n)
	if z.nodes == 0 {
		delete(p.bySize, z.key)
		last := len(p.sizes) - 1
		p.sizes[z.at] = p.sizes[last]
		p.sizes[z.at].at = z.at
		p.sizes[last] = nil
		p.sizes = p.sizes[:last]
	}
}
