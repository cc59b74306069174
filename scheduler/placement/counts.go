package placement

import (
	"slices"

	"github.com/proffer/proffer/structs"
)

// counted is what is in the counts of an index for one node.
type counted struct {
	spec       *structs.Node
	group, job int   // allocations of its own job
	marked     []int // for each rule about other work, here and then wide: allocations that it is about; nil: none
	counts     []*int64
}

// countsOf returns the counts that stand for values, one for each spread, property and wide rule.
func (x *Index) countsOf(values []value) []*int64 {
	out := make([]*int64, len(values))
	for i, v := range values {
		out[i] = x.countFor(i, v.text, v.known)
	}
	return out
}

func (x *Index) countFor(i int, text string, known bool) *int64 {
	if x.counts[i] == nil {
		x.counts[i] = map[string]*int64{}
	}
	key := countKey(text, known)
	c := x.counts[i][key]
	if c == nil {
		c = new(int64)
		x.counts[i][key] = c
	}
	return c
}

// meet finds where the work is that the rules are about. It is good until work comes or goes.
func (x *Index) meet() {
	for i := range x.around {
		x.around[i] = x.ask.rule(i).peers(x.peers)
	}
}

// rule returns a rule by its number in around.
func (a *Ask) rule(i int) *neighbour {
	if i < len(a.here) {
		return &a.here[i]
	}
	return &a.wide[i-len(a.here)]
}

// markedOn returns how many allocations each rule is about on a node; nil when there are none.
func (x *Index) markedOn(n *Node) (out []int) {
	for i, p := range x.around {
		if k := x.ask.rule(i).on(p, n.ID); k > 0 {
			if out == nil {
				out = make([]int, len(x.around))
			}
			out[i] = k
		}
	}
	return out
}

// count brings the counts up to date with the work on one node.
func (x *Index) count(n *Node) {
	now := counted{spec: n.spec}
	if n.spec != nil { // else its values are not known
		now.group, now.job, now.marked = x.peers.on(n.ID, ofGroup, x.ask.Group), x.peers.on(n.ID, ofJob, ""), x.markedOn(n)
	}
	c, none := x.counted[n], now.job == 0 && now.marked == nil
	if c == nil && none || c != nil && c.group == now.group && c.job == now.job && c.spec == now.spec && slices.Equal(c.marked, now.marked) {
		return
	}
	if c != nil {
		x.add(c, -1)
	}
	x.hosts(n, now.job > 0 && (x.ask.hosts == ofJob || now.group > 0))
	if none {
		delete(x.counted, n)
		return
	}
	if len(x.counts) > 0 {
		now.counts = x.countsOf(x.ask.valuesOf(n.spec))
	}
	if x.counted == nil {
		x.counted = map[*Node]*counted{}
	}
	x.counted[n] = &now
	x.add(&now, 1)
}

// recount counts all work anew.
func (x *Index) recount() {
	for _, c := range x.counted {
		x.add(c, -1)
	}
	clear(x.counted)
	clear(x.taken)
	for _, p := range append([]*Peers{x.peers}, x.around...) {
		if p != nil {
			for _, on := range p.nodes {
				x.count(on.node)
			}
		}
	}
}

func (x *Index) add(c *counted, sign int64) {
	x.totals += sign * int64(c.group)
	for i, k := range c.marked {
		x.marked[i] += sign * int64(k)
	}
	wide := len(x.ask.spreads) + len(x.ask.properties)
	for i, count := range c.counts {
		j := i - len(x.ask.spreads)
		switch {
		case i >= wide:
			if c.marked != nil {
				*count += sign * int64(c.marked[len(x.ask.here)+i-wide])
			}
		case j >= 0 && x.ask.properties[j].scope == ofJob:
			*count += sign * int64(c.job)
		default:
			*count += sign * int64(c.group)
		}
	}
}

// hosts notes whether distinct_hosts excludes a node.
func (x *Index) hosts(n *Node, taken bool) {
	for taken && n.Ord/64 >= len(x.taken) {
		x.taken = append(x.taken, 0)
	}
	switch {
	case taken:
		x.taken[n.Ord/64] |= 1 << (n.Ord % 64)
	case n.Ord/64 < len(x.taken):
		x.taken[n.Ord/64] &^= 1 << (n.Ord % 64)
	}
}

// valuesOf returns the values of spreads, then properties, then wide rules, on a node.
func (a *Ask) valuesOf(spec *structs.Node) []value {
	values := make([]value, 0, len(a.spreads)+len(a.properties)+len(a.wide))
	add := func(t template) {
		text, known := t.resolve(spec)
		values = append(values, value{text, known})
	}
	for i := range a.spreads {
		add(a.spreads[i].attribute)
	}
	for i := range a.properties {
		add(a.properties[i].value)
	}
	for i := range a.wide {
		add(a.wide[i].where)
	}
	return values
}
