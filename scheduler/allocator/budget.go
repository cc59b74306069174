package allocator

import "github.com/proffer/proffer/structs"

// HoardAfter is how many offers in a row a framework may leave without an answer until it is named a hoarder.
const HoardAfter = 10

// tally is what became of the offers of a framework.
type tally struct {
	made, accepted, declined, expired, rescinded uint64
	ignored                                      int // in a row, not answered
	unused                                       int // in a row, not used
	hoarding                                     bool
	last                                         *structs.LastOffer
}

// ended notes how an offer ended.
func (t *tally) ended(o *offer, how string, now structs.Time) {
	t.last = &structs.LastOffer{Time: now, End: how, NodeName: o.NodeName, Role: o.Role, Resources: o.Resources}
}

// Hoard says that a framework began to let offers end without an answer, or with Over that it answers again.
type Hoard struct {
	Framework structs.FrameworkID
	Over      bool
	structs.Hoarding
}

// spent reports whether the outstanding offers of a framework are as much as it may have. It may always have one.
func (a *Allocator) spent(f *framework) bool {
	if f.held == 0 {
		return false
	}
	if most := a.options.MostOffers; most > 0 && f.held >= most {
		return true
	}
	most := a.options.MostOffered
	return most > 0 && !a.offeredShare(f).less(Share{int64(most), 1000, 1})
}

// offeredShare is the largest part of any resource of the region that the offers of a framework hold, whatever the policy.
func (a *Allocator) offeredShare(f *framework) Share { return DRF{}.Share(f.offered, a.total, 1) }

// holdOffer accounts for an offer of the framework; a negative sign gives it back.
func (a *Allocator) holdOffer(o *offer, sign int) {
	f := o.client.of
	f.held += sign
	addTo(&f.offered, o.amount, int64(sign))
	addTo(&o.client.offered, o.amount, int64(sign))
	if sign < 0 && f.full {
		f.full = false
		for _, c := range f.clients {
			for _, w := range c.wishes {
				a.wakeWish(w)
			}
		}
	}
}

// ignore notes that nobody answered an offer.
func (a *Allocator) ignore(f *framework, now structs.Time) {
	f.expired++
	f.unused++
	if f.ignored++; f.ignored >= HoardAfter && !f.hoarding {
		f.hoarding = true
		a.out = append(a.out, Decision{Hoard: &Hoard{Framework: f.id, Hoarding: structs.Hoarding{Since: now, Ignored: f.ignored, Held: f.held}}})
	}
}

// heard notes that a framework answered.
func (a *Allocator) heard(f *framework) {
	f.ignored = 0
	if f.hoarding {
		f.hoarding = false
		a.out = append(a.out, Decision{Hoard: &Hoard{Framework: f.id, Over: true}})
	}
}
