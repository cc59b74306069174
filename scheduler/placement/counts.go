package placement

import "github.com/proffer/proffer/structs"

// countsOf returns the counts that stand for values, one for each spread and property.
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

// count brings the counts up to date with the peers on one node.
func (x *Index) count(n *Node) {
	group, job := x.peers.on(n.ID, ofGroup, x.ask.Group), x.peers.on(n.ID, ofJob, "")
	if n.spec == nil {
		group, job = 0, 0 // its values are not known
	}
	c := x.counted[n]
	if c == nil && job == 0 || c != nil && c.group == group && c.job == job && c.spec == n.spec {
		return
	}
	if c != nil {
		x.add(c, -1)
	}
	x.hosts(n, job > 0 && (x.ask.hosts == ofJob || group > 0))
	if job == 0 {
		delete(x.counted, n)
		return
	}
	c = &counted{spec: n.spec, group: group, job: job}
	if len(x.counts) > 0 {
		c.counts = x.countsOf(x.ask.valuesOf(n.spec))
	}
	if x.counted == nil {
		x.counted = map[*Node]*counted{}
	}
	x.counted[n] = c
	x.add(c, 1)
}

// recount counts all peers anew.
func (x *Index) recount() {
	for _, c := range x.counted {
		x.add(c, -1)
	}
	clear(x.counted)
	clear(x.taken)
	if x.peers != nil {
		for _, on := range x.peers.nodes {
			x.count(on.node)
		}
	}
}

func (x *Index) add(c *counted, sign int64) {
	x.totals += sign * int64(c.group)
	for i, count := range c.counts {
		if j := i - len(x.ask.spreads); j >= 0 && x.ask.properties[j].scope == ofJob {
			*count += sign * int64(c.job)
		} else {
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

// valuesOf returns the values of spreads, then properties, on a node.
func (a *Ask) valuesOf(spec *structs.Node) []value {
	values := make([]value, 0, len(a.spreads)+len(a.properties))
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
	return values
}
