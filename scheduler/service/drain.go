package service

import (
	"cmp"
	"slices"

	"github.com/proffer/proffer/scheduler"
	"github.com/proffer/proffer/structs"
)

// A drain moves an allocation that runs: another one is placed beside it, with its index, and once that is healthy the old one is stopped. The
// images are there by then, and nobody notices. Where two at once cannot be (Group.StartsFirst) the old one is stopped first; so it is when half
// of the time until the deadline has passed and there was no place for another one: at the deadline all would have to go at once.

// migrateOf returns the migrate block of a group with its defaults.
func migrateOf(job *structs.Job, g *structs.Group) structs.Update {
	u := updateOf(job)
	if m := g.Migrate; m != nil {
		u.MaxParallel = cmp.Or(m.MaxParallel, u.MaxParallel)
		u.MinHealthyTime = cmp.Or(m.MinHealthyTime, u.MinHealthyTime)
	}
	return u
}

// moving returns, by index, the allocations that are to run until the one that was placed for them is healthy, also when the drain ended
// meanwhile: nobody knows better which of the two runs well.
func (n *next) moving(v *scheduler.View, u structs.Update) map[int]*structs.Allocation {
	var out map[int]*structs.Allocation
	for _, a := range v.Surplus {
		if !follows(v, a) || a.Status != structs.AllocRunning || n.moveNow(a) || n.healthy(v.Slots[a.Index].Active, u) {
			continue
		}
		if out == nil {
			out = map[int]*structs.Allocation{}
		}
		out[a.Index] = a
	}
	return out
}

// follows reports whether the active allocation of a's index was placed for a.
func follows(v *scheduler.View, a *structs.Allocation) bool {
	return a.Index < len(v.Slots) && v.Slots[a.Index].Active != nil && v.Slots[a.Index].Active.Previous == a.ID
}

// surplusWhy says why an allocation is stopped that is wanted no more.
func surplusWhy(want scheduler.Want, v *scheduler.View, a *structs.Allocation, count int) string {
	if follows(v, a) && want.Draining(a) != nil {
		return "its node drains"
	}
	return scheduler.SurplusWhy(a, count)
}

// move begins to move an allocation that runs.
func (n *next) move(g *structs.Group, v *scheduler.View, a *structs.Allocation) {
	if !n.startsFirst(g, a) {
		n.running--
		n.stop(a, "its node drains")
		return
	}
	if v.Slots[a.Index].Stopping != nil || slices.ContainsFunc(v.Surplus, func(other *structs.Allocation) bool { return other.Index == a.Index }) {
		return // another one of its index has to end
	}
	p := scheduler.Placement{Group: g.Name, Index: a.Index, Previous: a.ID, Failures: a.Failures}
	if last := v.Slots[a.Index].Ended; last != nil && last.Previous == a.ID && last.Desired != structs.DesiredStop && last.Status != structs.AllocLost {
		retry := scheduler.Reschedule(g.Reschedule, structs.ServiceJob, last.Failures, last.Modified)
		if retry.At > n.now {
			n.wake(retry.At)
			n.because("%s[%d], which was to move from a node that drains, is %s and is placed again at %s", g.Name, a.Index, last.Status, retry.At)
			return
		}
		p.Failures, p.Avoid = retry.Failures, v.FailedOn(a.Index)
	}
	n.place(p)
}

// startsFirst reports whether another one is started before a is stopped.
func (n *next) startsFirst(g *structs.Group, a *structs.Allocation) bool {
	if !g.StartsFirst() || a.OnLost == structs.OnLostFence {
		return false
	}
	d := n.want.Draining(a)
	if d.Deadline == 0 {
		return true
	}
	half := d.Started.Add(d.Deadline.Sub(d.Started) / 2)
	n.wake(half)
	return n.now < half
}
