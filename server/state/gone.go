package state

import (
	"slices"

	"github.com/proffer/proffer/structs"
)

// Nodes that an operator gave up stay known as such, so that frameworks that ask later are told who said that their tasks are over. One
// that was marked gone, which may have been there, never registers under its id again: it is told so, stops what it runs, and stays out
// (client/gone.go). It remembers that by itself, so the bound matters only for nodes that were not heard of since.
//
// A node that is marked gone while it is there stays in the state until nothing on it has to be waited for: work of frameworks is given
// up at once, as a master of Mesos does, so that they hear it from the servers; work of jobs is stopped, and their next allocations come
// as after any stop, so that what is to run once never runs twice. Its goodbye, or the end of its lease, is the end of it. Volumes on its disks
// go with it, as with a master of Mesos: who says that a machine is gone for good says it of its disks. Those of plugins are their storage's, which
// takes them back from the node as from any that was forgotten.

// maxGone bounds them: the oldest are forgotten, and then nobody knows why they are not there.
const maxGone = 1024

// goneNodes are nodes that operators removed, the newest last. It is never changed.
type goneNodes struct {
	IDs    []structs.NodeID
	Marked []structs.NodeID `codec:",omitempty"` // those of them that may not come back
}

// goes notes that an operator gave a node up; marked: for good.
func (tx *Tx) goes(id structs.NodeID, marked bool) {
	m, next := *tx.meta, goneNodes{}
	if m.Gone != nil {
		next = *m.Gone
	}
	next.IDs = addGone(next.IDs, id)
	if marked {
		next.Marked = addGone(next.Marked, id)
	}
	m.Gone = &next
	tx.putMeta(m)
}

// addGone returns a copy of all with id as the newest.
func addGone(all []structs.NodeID, id structs.NodeID) []structs.NodeID {
	all = slices.DeleteFunc(slices.Clone(all), func(x structs.NodeID) bool { return x == id })
	return append(all[max(0, len(all)+1-maxGone):], id)
}

// isBack forgets that a node was given up: it is there again.
func (tx *Tx) isBack(id structs.NodeID) {
	m := *tx.meta
	if m.Gone == nil || !slices.Contains(m.Gone.IDs, id) {
		return
	}
	next := *m.Gone
	next.IDs = slices.DeleteFunc(slices.Clone(next.IDs), func(x structs.NodeID) bool { return x == id })
	m.Gone = &next
	tx.putMeta(m)
}

// Gone reports whether an operator gave up the node with that id, and it did not come back.
func (t *trees) Gone(id structs.NodeID) bool {
	return t.meta.Gone != nil && slices.Contains(t.meta.Gone.IDs, id)
}

// MarkedGone reports whether an operator said that the node with that id is gone for good: it may not come back under it.
func (t *trees) MarkedGone(id structs.NodeID) bool {
	return t.meta.Gone != nil && slices.Contains(t.meta.Gone.Marked, id)
}

// present returns a node that was not marked gone: nothing of others can be changed.
func (tx *Tx) present(id structs.NodeID) (*structs.Node, error) {
	n, err := tx.node(id)
	if err == nil && n.Gone != nil {
		return nil, structs.Errorf(structs.Conflict, nodeText(n), "it is marked gone")
	}
	return n, err
}

// leaves begins the end of a node that is there and was marked gone. Nothing more is placed on it. It goes at once when nothing of it has
// to be waited for.
func (tx *Tx) leaves(old *structs.Node) {
	n := *old
	n.Gone = &structs.Closed{By: tx.Actor, Since: tx.Now}
	n.Eligible, n.Drain, n.Maintenance, n.DrainIndex = false, nil, nil, tx.Index
	n.Closed = &structs.Closed{By: tx.Actor, Reason: whyGone, Since: tx.Now}
	tx.putNode(old, n)
	wait := len(n.Attached) > 0
	for _, a := range tx.held(n.ID) {
		switch {
		case a.External != nil:
			tx.lose(a, whyGone)
		case len(n.Attached) > 0 && tx.isPlugin(a):
			// The node stops it last: others need it to end.
		default:
			tx.stop(a, whyGone)
			wait = true
		}
	}
	if !wait {
		tx.forgetNode(get(tx.nodes, n.ID))
	}
}

// whyGone is why work on a node ends that was marked gone.
const whyGone = "an operator marked its node gone"

// isPlugin reports whether an allocation is a storage plugin.
func (tx *Tx) isPlugin(a *structs.Allocation) bool {
	v := tx.version(a.Job, a.Version)
	if v == nil {
		return false
	}
	g := v.Job.Group(a.Group)
	return g != nil && g.Plugin()
}

// isOver ends a node that was marked gone, which said goodbye or whose lease is over: nothing that may not run elsewhere runs there.
func (tx *Tx) isOver(n *structs.Node) {
	for _, a := range tx.held(n.ID) {
		tx.lose(a, whyGone)
	}
	tx.forgetNode(get(tx.nodes, n.ID))
}

// DataOn names the volumes on a node whose data nobody has given up: they are lost with it.
func (s *Snapshot) DataOn(n *structs.Node) []string { return s.dataOn(n) }
