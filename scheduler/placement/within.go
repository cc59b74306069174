package placement

import (
	"math"

	"github.com/proffer/proffer/structs"
)

// What a gang needs beside what every ask does: nodes with one value of an attribute (Ask.Within), and a bound of how many
// of its allocations they take, so that a value where they cannot all fit is not tried.

// compileWithin compiles the attribute of which a gang gets one value.
func (a *Ask) compileWithin(attribute string, problems *structs.Problems) {
	t, err := parseTemplate(attribute)
	if _, constant := t.constant(); err != nil || attribute != "" && constant {
		problems.Add("gang.within", "%q is not an attribute such as ${meta.rack}", attribute)
		return
	}
	a.Within, a.within = attribute, t
	a.unique = a.unique || t.unique()
}

// ValueOn returns the value of a.Within on a node, and whether the node has one. Without Within all nodes have one.
func (a *Ask) ValueOn(spec *structs.Node) (string, bool) { return a.within.resolve(spec) }

// BestWithin is Best among the nodes where Ask.Within has a value; nil: all nodes.
func (x *Index) BestWithin(in *string, avoid []structs.NodeID) *Node {
	x.sync()
	if len(avoid) > 0 {
		if n := x.best(avoid, in); n != nil {
			return n
		}
	}
	return x.best(nil, in)
}

// Rooms adds up, for each value of Ask.Within, how many allocations its nodes take by their amounts alone: never less than
// what fits. more says what else is free on a node; nil for nothing anywhere. It costs a look at each node that suits.
func (x *Index) Rooms(more func(*Node) *structs.Resources) map[string]int64 {
	x.sync()
	rooms, nothing := map[string]int64{}, &structs.Resources{}
	for _, b := range x.view.buckets {
		if !b.within.known || x.view.size(x.pool, b) == 0 {
			continue
		}
		room := rooms[b.within.text]
		x.view.each(x.pool, b, func(n *Node) {
			back := nothing
			if more != nil {
				back = more(n)
			}
			room += x.ask.times(n, back)
		})
		rooms[b.within.text] = room
	}
	return rooms
}

// Times returns how many allocations of an ask a node takes by their amounts alone, with what else is free there; none when it does
// not suit. It is what Rooms adds up.
func Times(n *Node, a *Ask, more *structs.Resources) int64 {
	c := check{mode: First}
	if c.state(n) || n.spec == nil || c.static(n.spec, a) {
		return 0
	}
	if more == nil {
		more = &structs.Resources{}
	}
	return a.times(n, more)
}

func (a *Ask) times(n *Node, more *structs.Resources) int64 {
	most := int64(math.MaxInt32)
	bound := func(asked, free int64) {
		if asked > 0 {
			most = min(most, max(0, free)/asked)
		}
	}
	bound(int64(a.Resources.CPU), int64(n.avail.CPU-n.used.CPU+more.CPU))
	bound(int64(a.Resources.Memory), int64(n.avail.Memory-n.used.Memory+more.Memory))
	bound(int64(a.Resources.Disk), int64(n.avail.Disk-n.used.Disk+more.Disk))
	for name, v := range a.Resources.Custom {
		bound(int64(v), int64(n.avail.Custom[name]-n.used.Custom[name]+more.Custom[name]))
	}
	if a.hosts != nothing || a.Fixed() {
		most = min(most, 1)
	}
	return most
}

// Fixed reports whether a wants a port that a node has only once.
func (a *Ask) Fixed() bool {
	for i := range a.ports {
		if a.ports[i].Static != 0 {
			return true
		}
	}
	return false
}
