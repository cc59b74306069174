package scheduler

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/proffer/proffer/structs"
)

// Slot is what there is of one index of a group.
type Slot struct {
	Active   *structs.Allocation // wanted and not ended, the newest one
	Stopping *structs.Allocation // told to stop and not ended yet; the index is not free before it ended
	Ended    *structs.Allocation // the newest that ended
}

// View is the allocations of one group by index.
type View struct {
	Slots []Slot // count of them
	// Surplus is what is wanted and shall not be: indexes beyond count, highest first, then older ones of an index that a
	// newer one has.
	Surplus []*structs.Allocation
	// Beyond counts allocations beyond count that were told to stop and have not ended.
	Beyond int

	have   []*structs.Allocation
	failed map[int][]*structs.Allocation
}

// SurplusWhy says why one of View.Surplus is stopped.
func SurplusWhy(a *structs.Allocation, count int) string {
	if a.Index >= count {
		return fmt.Sprintf("count is %d", count)
	}
	return "a newer allocation has its index"
}

// ByGroup sorts the allocations of a job by group.
func ByGroup(have []*structs.Allocation) map[string][]*structs.Allocation {
	out := map[string][]*structs.Allocation{}
	for _, a := range have {
		out[a.Group] = append(out[a.Group], a)
	}
	return out
}

// Look builds the view of a group.
func Look(have []*structs.Allocation, count int) View {
	v := View{Slots: make([]Slot, max(0, count)), have: have}
	var older []*structs.Allocation
	for _, a := range have {
		switch {
		case a.Index < 0 || a.Index >= count:
			if !a.Ended() && a.Desired == structs.DesiredStop {
				v.Beyond++
			} else if !a.Ended() {
				v.Surplus = append(v.Surplus, a)
			}
		case a.Ended():
			keepNewest(&v.Slots[a.Index].Ended, a)
		case a.Desired == structs.DesiredStop:
			keepNewest(&v.Slots[a.Index].Stopping, a)
		default:
			if old := keepNewest(&v.Slots[a.Index].Active, a); old != nil {
				older = append(older, old)
			}
		}
	}
	slices.SortFunc(v.Surplus, func(x, y *structs.Allocation) int {
		return cmp.Or(cmp.Compare(y.Index, x.Index), cmp.Compare(x.ID, y.ID))
	})
	slices.SortFunc(older, func(x, y *structs.Allocation) int {
		return cmp.Or(cmp.Compare(y.Index, x.Index), cmp.Compare(x.ID, y.ID))
	})
	v.Surplus = append(v.Surplus, older...)
	return v
}

// keepNewest puts the newer one in place and returns the other one.
func keepNewest(place **structs.Allocation, a *structs.Allocation) (older *structs.Allocation) {
	if *place == nil {
		*place = a
		return nil
	}
	if newer(a, *place) {
		a, *place = *place, a
	}
	return a
}

func newer(a, b *structs.Allocation) bool {
	return cmp.Or(cmp.Compare(a.Incarnation, b.Incarnation), cmp.Compare(a.CreateIndex, b.CreateIndex), cmp.Compare(a.ID, b.ID)) > 0
}

// Replacing answers Want.Replaces from memory and knows the restart of the job.
type Replacing struct {
	want  Want
	group string
	known map[uint64]bool
}

// NewReplacing returns the answers for one group.
func NewReplacing(want Want, group string) *Replacing {
	return &Replacing{want: want, group: group, known: map[uint64]bool{}}
}

// Outdated reports whether a must be replaced: by a newer version of the job, or by its restart.
func (r *Replacing) Outdated(a *structs.Allocation) bool {
	if a.CreateIndex < r.want.Record.Restart {
		return true
	}
	if a.Version == r.want.Record.Version {
		return false
	}
	replaces, ok := r.known[a.Version]
	if !ok {
		replaces = r.want.Replaces == nil || r.want.Replaces(r.group, a.Version, r.want.Record.Version)
		r.known[a.Version] = replaces
	}
	return replaces
}

// Draining returns the drain of the node of a, or nil.
func (w Want) Draining(a *structs.Allocation) *structs.Drain {
	if w.Node == nil {
		return nil
	}
	if n := w.Node(a.Node); n != nil {
		return n.Drain
	}
	return nil
}

// maxAvoid bounds Placement.Avoid.
const maxAvoid = 8

// FailedOn returns the nodes on which allocations of an index failed, the newest failure first. The first call sorts the
// failures of the whole group.
func (v *View) FailedOn(index int) []structs.NodeID {
	if v.failed == nil {
		v.failed = map[int][]*structs.Allocation{}
		for _, a := range v.have {
			if a.Status == structs.AllocFailed && a.Desired != structs.DesiredStop {
				v.failed[a.Index] = append(v.failed[a.Index], a)
			}
		}
	}
	failed := v.failed[index]
	slices.SortFunc(failed, func(x, y *structs.Allocation) int {
		if newer(x, y) {
			return -1
		}
		return 1
	})
	var out []structs.NodeID
	for _, a := range failed {
		if len(out) < maxAvoid && !slices.Contains(out, a.Node) {
			out = append(out, a.Node)
		}
	}
	return out
}
