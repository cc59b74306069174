package allocator

import (
	"slices"

	"github.com/proffer/proffer/structs"
)

func (h *hold) high() bool { return h.band >= structs.Production }

// commit lists h among the committed allocations of its node.
func (a *Allocator) commit(h *hold) {
	h.at = len(h.node.allocs)
	h.node.allocs = append(h.node.allocs, h)
	h.node.given = false
	a.ofBand[h.band]++
	a.restate(h.node)
	if !h.slack.IsZero() {
		a.shrink(h.node)
	}
	if h.ganged {
		a.join(h)
	}
	if len(a.asleep) > 0 {
		a.touch(h.node, true) // a gang that waits may preempt it
	}
	if len(a.reclaims) > 0 || h.node.kept != nil {
		a.touch(h.node, false)
	}
	for b := min(h.band, structs.BatchBand) + 1; int(b) < bands; b++ {
		if a.blockedBands[b] > 0 {
			a.touch(h.node, true) // somebody who waits may preempt it
			return
		}
	}
}

func (a *Allocator) uncommit(h *hold) {
	n := h.node
	last := n.allocs[len(n.allocs)-1]
	n.allocs[h.at], last.at = last, h.at
	n.allocs = n.allocs[:len(n.allocs)-1]
	n.given = false
	a.ofBand[h.band]--
	a.restate(n)
	if h.kin != nil {
		a.part(h)
	}
	h.yield(structs.Slack{})
	if !h.leaving {
		return
	}
	n.leaving--
	if !h.slack.IsZero() {
		n.spare.leaving = n.spare.leaving.Sub(h.slack)
	}
	if h.victim {
		a.preempted--
		a.fewer = true
	}
	a.countLeaving(h, -1)
}

// leave notes that h is being stopped.
func (a *Allocator) leave(h *hold) {
	if h.leaving {
		return
	}
	if h.kin != nil {
		h.kin.stays(h, -1)
		a.stir(h.kin)
	}
	h.yield(structs.Slack{})
	h.leaving = true
	h.node.given = false
	h.node.leaving++
	if !h.slack.IsZero() {
		h.node.spare.leaving = h.node.spare.leaving.Add(h.slack)
	}
	a.countLeaving(h, 1)
	a.touch(h.node, true)
}

func (a *Allocator) countLeaving(h *hold, sign int64) {
	if !h.high() {
		return
	}
	a.raiseStaying(h.client.account, h.amount, -sign)
}

// reclaimedAs returns the band that h is protected by: its own, or batch for production and monitoring that no guarantee
// covers, that is beyond one by more than a tenth and stays beyond or at it when h goes, with the rest of its gang, or that is being
// stopped already.
func (h *hold) reclaimedAs() structs.Band {
	if !h.high() {
		return h.band
	}
	if h.leaving {
		return structs.BatchBand
	}
	covered := false
	for role := h.client.account.roleOf(); role != nil; role = role.parent {
		for kind, v := range h.weight() {
			g, named := role.guarantee.at(kind)
			if !named || v == 0 {
				continue
			}
			covered = true
			if stays := usedOf(role.staying, kind); stays > g+g/10 && stays-v >= g {
				return structs.BatchBand
			}
		}
	}
	if covered {
		return h.band
	}
	return structs.BatchBand
}

func (h *hold) exempt() bool {
	for role := h.client.account.roleOf(); role != nil; role = role.parent {
		if role.exempt {
			return true
		}
	}
	return false
}

// preempt makes room for the first slot of a group on the node where that costs least, and holds it, or puts the group
// aside. What leaves already costs nothing.
func (a *Allocator) preempt(g *group, overLimit bool) {
	s, band := g.shape, g.queued
	if !a.mayPreempt(band) {
		a.block(s, a.hopeless(band))
		return
	}
	x := a.reclaimOf(s, band)
	for x.nodes.len() > 0 {
		n := x.nodes.top()
		victims, ok := a.victims(n, s, band)
		if c := costOf(victims); !ok || c != x.costs[n.Ord] {
			x.put(n, c, ok)
			continue
		}
		fresh := fresh(victims)
		if len(fresh) > 0 && a.preempted+len(fresh) > a.mostPreempted() && (a.preempted > 0 || !oneGang(fresh)) {
			a.throttled[s] = true
			a.block(s, 1<<band)
			return
		}
		a.claim(g, n, fresh, overLimit)
		return
	}
	a.block(s, a.hopeless(band))
}

func (a *Allocator) mostPreempted() int {
	if a.options.MostPreempted > 0 {
		return a.options.MostPreempted
	}
	return max(10, len(a.allocs)/10)
}

// mayPreempt reports whether there can be anything that gives way to a band.
func (a *Allocator) mayPreempt(band structs.Band) bool {
	for b := range bands {
		// Production and monitoring beyond their guarantees give way as batch does.
		if a.ofBand[b] > 0 && (structs.Band(b) < band || b >= int(structs.Production) && band > structs.BatchBand) {
			return true
		}
	}
	return slices.ContainsFunc(a.kept, func(k *kept) bool { return k.band < band })
}

// wakePreempting lets those try again who wait for victims to end, or for what may be preempted to change.
func (a *Allocator) wakePreempting() {
	if a.seenEpoch != a.epoch {
		a.seenEpoch = a.epoch
		for s := range a.blocked {
			if s.blocked.highest() > structs.BestEffort || a.spares != nil {
				a.unblock(s)
			}
		}
	}
	if a.fewer {
		a.fewer = false
		for s := range a.throttled {
			a.unblock(s)
		}
	}
}
