package allocator

import (
	"cmp"
	"slices"

	"github.com/proffer/proffer/structs"
)

// offering fills in the defaults of what Options say of offers.
func (o *Options) offering() {
	if o.OfferTimeout <= 0 {
		o.OfferTimeout = DefaultOfferTimeout
	}
	if len(o.Smallest) == 0 {
		o.Smallest = smallest()
	}
	if o.Backoff == 0 {
		o.Backoff = DefaultBackoff
	}
}

// SetOffering changes what options say of offers: OfferTimeout, Smallest, MostOffers, MostOffered and Backoff. It counts from
// now on: outstanding offers stay, whatever they hold, and end no later than one that is made now. Filters stay.
func (a *Allocator) SetOffering(to Options, now structs.Time) {
	to.offering()
	o := &a.options
	o.OfferTimeout, o.Smallest, o.MostOffers, o.MostOffered, o.Backoff = to.OfferTimeout, to.Smallest, to.MostOffers, to.MostOffered, to.Backoff
	end := now.Add(o.OfferTimeout)
	for x := a.standing.oldest; x != nil; x = x.newer { // so that the oldest still end first
		x.Expires = min(x.Expires, end)
	}
	a.smallest = floorsOf(o.Smallest)
	a.refloor()
	for _, c := range a.offering {
		c.of.full = false
		c.unpark()
		a.reopen(c)
	}
}

// unpark has a framework that waits for a limit look again.
func (c *client) unpark() {
	for _, w := range c.wishes {
		if limit := w.group.parked; limit != nil {
			delete(limit.parked, w.group)
			w.group.parked = nil
		}
	}
}

// SetSharing takes over how roles at the top take turns, what counts in no share, and after which time room is kept; what else
// is in o is not looked at. A sorter that there is not is SorterDRF. What is decided stays decided.
func (a *Allocator) SetSharing(o Options) {
	if a.sorters[o.Sorter] == nil {
		o.Sorter = SorterDRF
	}
	a.options.Sorter = o.Sorter
	a.resort(a.root)
	if !slices.Equal(a.options.Exclude, o.Exclude) {
		a.exclude(o.Exclude)
		a.reshare(a.root)
	}
	if after := cmp.Or(o.KeepAfter, DefaultKeepAfter); a.options.KeepAfter != after {
		a.options.KeepAfter = after
		for _, r := range a.requests {
			a.lookAnew(r)
		}
		for _, g := range a.gangs {
			a.lookAnew(g.lead)
		}
	}
}

// lookAnew has the group of a request looked at when room may be due for it by the options as they are now.
func (a *Allocator) lookAnew(r *request) {
	if a.lookNoMore(r.group); r.at >= 0 {
		a.lookLater(r.group)
	}
}

// exclude has resources count in no share.
func (a *Allocator) exclude(names []string) {
	a.options.Exclude, a.excluded = slices.Clone(names), nil
	for _, name := range names {
		a.excluded = append(a.excluded, a.kindOf(name))
	}
}
