package batch

import (
	"fmt"
	"slices"

	"github.com/proffer/proffer/scheduler"
	"github.com/proffer/proffer/structs"
)

// member is one index of a gang.
type member struct {
	group *structs.Group
	index int
	*scheduler.Slot
	view     *scheduler.View
	outdated *scheduler.Replacing
	done     bool
}

func (m *member) String() string { return fmt.Sprintf("%s[%d]", m.group.Name, m.index) }

// maxAvoid bounds the nodes that a gang avoids.
const maxAvoid = 8

// gang decides for a job whose allocations run together or not at all. As long as each index runs or is done, they go on. Otherwise all
// that run are stopped, and when the last of them has ended all indexes are placed anew, those that were done too. A failure of one or
// more of them uses up one attempt of the gang, by the reschedule block of the group of the first that failed; when there is none left,
// the gang failed for good.
func (n *next) gang(byGroup map[string][]*structs.Allocation) {
	var all []*member
	broken, gaveUp := "", false // why it does not go on; an index is recorded as failed for good
	breaks := func(why string) {
		if broken == "" {
			broken = why
		}
	}
	for _, g := range n.want.Job.Groups {
		v := n.look(g, byGroup[g.Name])
		finished, failedFor := cursor{ranges: n.want.Record.Finished[g.Name]}, cursor{ranges: n.want.Record.FailedFor[g.Name]}
		outdated := scheduler.NewReplacing(n.want, g.Name)
		for i := range v.Slots {
			m := &member{group: g, index: i, Slot: &v.Slots[i], view: &v, outdated: outdated}
			all = append(all, m)
			gaveUp = failedFor.has(i) || gaveUp
			m.done = finished.has(i) || m.ended() && m.completed()
			switch {
			case m.done:
			case m.Active != nil:
				if why := n.mustEnd(m.Active, outdated); why != "" {
					breaks(why)
				}
			case m.Stopping != nil:
				n.stopping++
				breaks(fmt.Sprintf("%s of its gang is being stopped", m))
			case m.Ended == nil:
				breaks(fmt.Sprintf("%s of its gang is missing", m))
			default:
				breaks(fmt.Sprintf("%s of its gang ended (%s)", m, m.Ended.Status))
			}
		}
	}
	switch {
	case gaveUp:
		n.giveUp(all)
	case broken == "":
		n.together(all)
	default:
		n.anew(all, broken)
	}
}

// ended reports whether nothing of the index runs and something of this version did.
func (m *member) ended() bool {
	return m.Active == nil && m.Stopping == nil && m.Slot.Ended != nil && !m.outdated.Outdated(m.Slot.Ended)
}

func (m *member) completed() bool {
	a := m.Slot.Ended
	return a.Status == structs.AllocComplete && (a.Desired != structs.DesiredStop || completed(m.group, a))
}

// failed reports whether the index failed by itself.
func (m *member) failed() bool {
	return m.ended() && m.Slot.Ended.Status == structs.AllocFailed && m.Slot.Ended.Desired != structs.DesiredStop
}

// together lets a gang go on.
func (n *next) together(all []*member) {
	done := map[string][]structs.Range{}
	for _, m := range all {
		switch {
		case !m.done:
			n.goesOn(m.Active)
		default:
			n.count(false)
			if m.Active != nil {
				n.stop(m.Active, "the work of its index is done")
			}
			if !structs.HasIndex(n.want.Record.Finished[m.group.Name], m.index) {
				done[m.group.Name] = extend(done[m.group.Name], m.index)
			}
		}
	}
	for group, ranges := range done {
		note(&n.steps.Finished, group, ranges)
	}
}

// anew stops what runs of a gang, and places all of it once nothing does.
func (n *next) anew(all []*member, why string) {
	var first *member // that failed
	var failures []structs.Time
	for _, m := range all {
		if !m.ended() {
			continue
		}
		if len(m.Slot.Ended.Failures) > len(failures) {
			failures = m.Slot.Ended.Failures
		}
		if m.failed() && (first == nil || m.Slot.Ended.Modified < first.Slot.Ended.Modified) {
			first = m
		}
	}
	var retry scheduler.Retry
	var avoid []structs.NodeID
	if first != nil {
		retry = scheduler.Reschedule(first.group.Reschedule, structs.BatchJob, failures, first.Slot.Ended.Modified)
		if retry.Used {
			n.giveUp(all)
			return
		}
		failures, avoid = retry.Failures, failedOn(all)
	}
	for _, m := range all {
		if m.Active != nil {
			n.stop(m.Active, why)
		}
	}
	if retry.At > n.now {
		n.wake(retry.At)
		n.because("%s failed and the gang is placed again at %s", first, retry.At)
		return
	}
	if n.stopping > 0 {
		n.because("the gang runs again when all of it was stopped: %s", why)
		return
	}
	for _, m := range all {
		p := scheduler.Placement{Group: m.group.Name, Index: m.index, Failures: failures, Avoid: avoid}
		if m.Slot.Ended != nil {
			p.Previous = m.Slot.Ended.ID
		}
		n.steps.Place = append(n.steps.Place, p)
	}
}

// failedOn returns the nodes on which members failed.
func failedOn(all []*member) (nodes []structs.NodeID) {
	for _, m := range all {
		for _, id := range m.view.FailedOn(m.index) {
			if len(nodes) < maxAvoid && !slices.Contains(nodes, id) {
				nodes = append(nodes, id)
			}
		}
	}
	return nodes
}

// giveUp ends a gang that failed for good.
func (n *next) giveUp(all []*member) {
	failed := map[string][]structs.Range{}
	for _, m := range all {
		n.count(!m.done)
		if m.Active != nil {
			n.stop(m.Active, "its gang failed for good")
		}
		if !m.done && !structs.HasIndex(n.want.Record.FailedFor[m.group.Name], m.index) {
			failed[m.group.Name] = extend(failed[m.group.Name], m.index)
		}
	}
	for group, ranges := range failed {
		note(&n.steps.FailedFor, group, ranges)
	}
}
