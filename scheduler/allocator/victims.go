package allocator

import (
	"cmp"
	"slices"
	"strings"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// givesWay is one allocation that may give way, and the band as which it does.
type givesWay struct {
	*hold
	as structs.Band
}

// givingWay returns what may have to go on a node, in the order of the contract: what leaves already, then lower bands, then
// younger work. The node keeps the list until something on it, or what may be preempted everywhere, changed.
func (a *Allocator) givingWay(n *node) []givesWay {
	if n.given && n.givenAt == a.epoch {
		return n.giving
	}
	n.given, n.givenAt, n.giving = true, a.epoch, n.giving[:0]
	for _, h := range n.allocs {
		if as := h.givesWayAs(); as <= structs.BatchBand && !h.spared() {
			n.giving = append(n.giving, givesWay{h, as})
		}
	}
	slices.SortFunc(n.giving, func(x, y givesWay) int {
		if x.leaving != y.leaving {
			if x.leaving {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(x.as, y.as), cmp.Compare(y.created, x.created), strings.Compare(string(y.alloc), string(x.alloc)))
	})
	n.relief = reliefOf(n.giving)
	return n.giving
}

// lack is how much of the usual resources is missing on a node.
type lack struct{ cpu, memory, disk int64 }

// lackOf ignores what is not asked for, of which a node may have less than nothing.
func lackOf(ask, free *structs.Resources) (l lack) {
	if ask.CPU > 0 {
		l.cpu = int64(ask.CPU - free.CPU)
	}
	if ask.Memory > 0 {
		l.memory = int64(ask.Memory - free.Memory)
	}
	if ask.Disk > 0 {
		l.disk = int64(ask.Disk - free.Disk)
	}
	return l
}

func (l lack) plus(o lack) lack { return lack{l.cpu + o.cpu, l.memory + o.memory, l.disk + o.disk} }

func (l lack) minus(o lack) lack { return lack{l.cpu - o.cpu, l.memory - o.memory, l.disk - o.disk} }

// held is what an allocation has of the usual resources of the node's own room.
func (h *hold) held() lack {
	return lack{int64(h.resources.CPU - h.slack.CPU), int64(h.resources.Memory - h.slack.Memory), int64(h.resources.Disk)}
}

// unitFrom returns where what goes together and ends before end begins.
func unitFrom(victims []*hold, end int) int {
	if end == 0 {
		return 0
	}
	start := end - 1
	for h := victims[start]; h.kin != nil && !h.leaving && start > 0 && victims[start-1].kin == h.kin && !victims[start-1].leaving; {
		start--
	}
	return start
}

func (l lack) none() bool { return l.cpu <= 0 && l.memory <= 0 && l.disk <= 0 }

// victims returns what has to end on a node so that s, served in a band, fits: work of lower bands, never production or
// monitoring within a guarantee; what leaves anyway first, then lower bands, then younger work, as much as is needed; what
// turns out not to be needed is spared, the last first. What of a gang is on the node goes or stays together, and the rest of
// it, which is not returned, with it. Offers on the node are taken back before, and room that is kept for a lower band. False
// when nothing helps. The slice is good until the next call.
func (a *Allocator) victims(n *node, s *shape, band structs.Band) (out []*hold, ok bool) {
	low := n.keptBelow(band)
	if len(n.allocs) == 0 && !low || !a.mayPreempt(band) || n.Spec() == nil || !n.Spec().Schedulable() {
		return nil, false
	}
	mode := placement.First
	if s.index != nil {
		if !s.index.Suits(n.Node) {
			return nil, false
		}
		if s.ask.Elsewhere() { // where other work is does not change when it is stopped: the index knows already
			if !s.index.Open(n.Node) {
				return nil, false
			}
			mode = placement.Alone
		}
	}
	out = a.found[:0]
	defer func() { a.found = out[:0] }()
	dropped := 0        // of out: gone from the books
	var counted []*hold // high ones that are counted as leaving
	n.liftOffers()
	defer n.putOffers()
	if low {
		n.liftKept()
		defer n.putKept()
	}
	free := n.freeFor(s.view)
	missing := lackOf(&s.ask.Resources, &free)
	peers := a.peersFor(s)
	fits := func() bool { return placement.Fits(n.seen(s.view, false, false), peers, s.ask, mode).OK }
	ok = low && missing.none() && fits()
	for i, w := range a.givingWay(n) {
		if ok {
			break
		}
		if w.as >= band || w.kin != nil && !w.leaving && slices.Contains(out, w.hold) {
			continue
		}
		if !w.leaving && (w.high() || w.kin != nil) {
			if w.givesWayAs() > structs.BatchBand { // not any more, after those before it
				continue
			}
			counted = a.countGone(w.hold, counted)
		}
		out = append(out, w.hold)
		missing = missing.minus(w.held())
		if w.kin != nil && !w.leaving {
			for _, o := range n.giving[i+1:] {
				if o.kin == w.kin && !o.leaving {
					out = append(out, o.hold)
					missing = missing.minus(o.held())
				}
			}
		}
		if !missing.none() {
			continue
		}
		for ; dropped < len(out); dropped++ {
			n.Drop(out[dropped].client.account, out[dropped].booked(), out[dropped].ports)
		}
		ok = fits()
	}
	for _, h := range counted {
		a.shiftLeaving(h, -1)
	}
	if !ok {
		for _, h := range out[:dropped] {
			n.Hold(h.client.account, h.booked(), h.ports)
		}
		return nil, false
	}
	// Whoever is spared is back in the books.
	for end := unitFrom(out, len(out)); end > 0 && !out[end-1].leaving; {
		start, with := unitFrom(out, end), missing
		for _, h := range out[start:end] {
			with = with.plus(h.held())
		}
		if with.none() {
			for _, h := range out[start:end] {
				n.Hold(h.client.account, h.booked(), h.ports)
			}
			if fits() {
				out, missing = slices.Delete(out, start, end), with
			} else {
				for _, h := range out[start:end] {
					n.Drop(h.client.account, h.booked(), h.ports)
				}
			}
		}
		end = start
	}
	for _, h := range out {
		n.Hold(h.client.account, h.booked(), h.ports)
	}
	return out, true
}

// countGone counts production and monitoring that goes with h as leaving for the time of a computation, and adds it to a list.
func (a *Allocator) countGone(h *hold, list []*hold) []*hold {
	if h.kin == nil {
		a.shiftLeaving(h, 1)
		return append(list, h)
	}
	for _, o := range h.kin.holds {
		if o.high() && !o.leaving {
			a.shiftLeaving(o, 1)
			list = append(list, o)
		}
	}
	return list
}

// shiftLeaving counts h as leaving for the time of a computation.
func (a *Allocator) shiftLeaving(h *hold, sign int64) {
	a.raise(h.client.account, stayingOf, h.amount, -sign)
}
