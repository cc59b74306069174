package allocator

import "github.com/proffer/proffer/structs"

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
	if limit := c.offering.parked; limit != nil {
		delete(limit.parked, c.offering)
		c.offering.parked = nil
	}
}
