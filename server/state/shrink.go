package state

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/proffer/proffer/structs"
)

// shrunk stops what does not fit on a node any more that has less than before. In the order of their priority, the oldest
// first, allocations stay as long as they fit; what is being stopped already does not count.
func (tx *Tx) shrunk(n *structs.Node) {
	held := slices.DeleteFunc(tx.held(n.ID), func(a *structs.Allocation) bool { return a.Desired == structs.DesiredStop })
	slices.SortFunc(held, func(a, b *structs.Allocation) int {
		return cmp.Or(b.Priority.Compare(a.Priority), cmp.Compare(a.CreateIndex, b.CreateIndex), cmp.Compare(a.ID, b.ID))
	})
	available := n.Available()
	var stay structs.Resources
	for _, a := range held {
		if sum := stay.Add(a.Booked()); available.Fits(sum) {
			stay = sum
			continue
		}
		tx.stop(a, fmt.Sprintf("it no longer fits: %s has %s now", nodeText(n), available))
	}
}
