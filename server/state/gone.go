package state

import (
	"slices"

	"github.com/proffer/proffer/structs"
)

// Nodes that an operator gave up stay known as such, so that frameworks that ask later are told who said that their tasks are over.

// maxGone bounds them: the oldest are forgotten, and then nobody knows why they are not there.
const maxGone = 1024

// goneNodes are nodes that operators removed, the newest last. It is never changed.
type goneNodes struct{ IDs []structs.NodeID }

// goes notes that an operator gave a node up.
func (tx *Tx) goes(id structs.NodeID) {
	m, all := *tx.meta, []structs.NodeID(nil)
	if m.Gone != nil {
		all = slices.Clone(m.Gone.IDs[max(0, len(m.Gone.IDs)+1-maxGone):])
	}
	m.Gone = &goneNodes{append(all, id)}
	tx.putMeta(m)
}

// isBack forgets that a node was given up: it is there again.
func (tx *Tx) isBack(id structs.NodeID) {
	m := *tx.meta
	if m.Gone == nil || !slices.Contains(m.Gone.IDs, id) {
		return
	}
	m.Gone = &goneNodes{slices.DeleteFunc(slices.Clone(m.Gone.IDs), func(x structs.NodeID) bool { return x == id })}
	tx.putMeta(m)
}

// Gone reports whether an operator gave up the node with that id, and it did not come back.
func (s *Snapshot) Gone(id structs.NodeID) bool {
	return s.meta.Gone != nil && slices.Contains(s.meta.Gone.IDs, id)
}
