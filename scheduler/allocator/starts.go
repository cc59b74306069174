package allocator

import (
	"cmp"
	"slices"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// start is when something would fit on a node as work ends there, or all of it on some.
type start struct {
	at    structs.Time // at the latest; zero: at once
	known bool         // whether there is a latest time: enough of the work has a max_run_duration
	guess structs.Time // by what is known and otherwise by age, see guessOf
}

// startFor returns when a group would fit on a node as what is committed there ends, room that is kept for it there being its; false
// when that would not be enough.
func (a *Allocator) startFor(n *node, g *group) (st start, ok bool) {
	if n.kept != nil && n.kept.group == g {
		n.liftKept()
		defer n.putKept()
	}
	return a.startOn(n, g.shape)
}

// startOn returns when one of a shape would fit on a node as what is committed there ends, offers taken back; false when that
// would not be enough.
func (a *Allocator) startOn(n *node, s *shape) (st start, ok bool) {
	if n.Spec() == nil || !n.Spec().Schedulable() || s.index != nil && !s.index.Suits(n.Node) {
		return st, false
	}
	ask, all := &s.ask.Resources, n.Available()
	if !lackOf(ask, &all).none() {
		return st, false
	}
	n.liftOffers()
	defer n.putOffers()
	st.guess, ok = a.fitsAfter(n, s, n.allocs, a.guessOf)
	if !ok {
		return st, false
	}
	var bounded []*hold
	for _, h := range n.allocs {
		if h.leaving || h.ends != 0 {
			bounded = append(bounded, h)
		}
	}
	st.at, st.known = a.fitsAfter(n, s, bounded, (*hold).end)
	if !st.known {
		st.at = 0
	}
	return st, true
}

// end returns when a hold has ended at the latest, of one that is being stopped or has a max_run_duration; zero is at once.
func (h *hold) end() structs.Time {
	if h.leaving {
		return 0
	}
	return h.ends
}

// guessOf guesses when a hold ends: what has no max_run_duration is taken to run for as long again as it did.
func (a *Allocator) guessOf(h *hold) structs.Time {
	switch {
	case h.leaving:
		return a.now
	case h.ends != 0:
		return max(h.ends, a.now)
	}
	return a.now + max(a.now-h.created, 0)
}

// fitsAfter returns when s fits on n after holds have ended one after the other, at the times that end says.
func (a *Allocator) fitsAfter(n *node, s *shape, holds []*hold, end func(*hold) structs.Time) (at structs.Time, ok bool) {
	ordered := slices.Clone(holds)
	slices.SortFunc(ordered, func(x, y *hold) int { return cmp.Or(cmp.Compare(end(x), end(y)), cmp.Compare(x.alloc, y.alloc)) })
	peers, free := a.peersFor(s), n.freeFor(s.view)
	missing := lackOf(&s.ask.Resources, &free)
	fits := func() bool {
		return missing.none() && placement.Fits(n.seen(s.view, false, false), peers, s.ask, placement.First).OK
	}
	gone := 0
	for ok = fits(); !ok && gone < len(ordered); ok = fits() {
		h := ordered[gone]
		gone++
		at, missing = end(h), missing.minus(h.held())
		n.Drop(h.client.account, h.booked(), h.ports)
	}
	for _, h := range ordered[:gone] {
		n.Hold(h.client.account, h.booked(), h.ports)
	}
	if !ok {
		return 0, false
	}
	return at, true
}

// and returns when both have started.
func (s start) and(o start) start {
	s.guess, s.at, s.known = max(s.guess, o.guess), max(s.at, o.at), s.known && o.known
	if !s.known {
		s.at = 0
	}
	return s
}
