package allocator

import (
	"cmp"
	"maps"
	"slices"

	"github.com/proffer/proffer/structs"
)

// Offered says how a framework stands with offers; false when it is not registered for any. With hidden it says why nodes
// are not offered, which costs a look at every node for each of its roles. It changes nothing.
func (a *Allocator) Offered(id structs.FrameworkID, hidden bool) (*structs.OfferStatus, bool) {
	f := a.frameworks[id]
	if f == nil {
		return nil, false
	}
	s := &structs.OfferStatus{Framework: id, Outstanding: f.held, Share: a.offeredShare(f).Milli(), Full: a.spent(f),
		Hoarding: f.hoarding, Ignored: f.ignored, Unused: f.unused, Offered: f.made, Accepted: f.accepted, Declined: f.declined,
		Expired: f.expired, Rescinded: f.rescinded, Last: f.last, Roles: []*structs.RoleOffers{}}
	for _, c := range f.clients {
		r := &structs.RoleOffers{Role: c.account.path, Outstanding: c.offers.Len(), Suppressed: c.suppressed, Hidden: []*structs.HiddenNodes{}}
		for e := c.offers.Front(); e != nil; e = e.Next() {
			s.Held = s.Held.Add(e.Value.(*offer).Resources)
		}
		if hidden {
			a.hidden(c, r)
			r.Revocable = a.slackShown(c)
		}
		s.Roles = append(s.Roles, r)
	}
	return s, true
}

// Frameworks returns the ids of those that are registered for offers, in order.
func (a *Allocator) Frameworks() []structs.FrameworkID { return slices.Sorted(maps.Keys(a.frameworks)) }

// hidden evaluates every check on every node.
func (a *Allocator) hidden(c *client, r *structs.RoleOffers) {
	reasons := map[string]*structs.HiddenNodes{}
	add := func(n *node, until structs.Time, why string) {
		h := reasons[why]
		if h == nil {
			h = &structs.HiddenNodes{Why: why, On: n.Name(), Until: until}
			reasons[why] = h
			r.Hidden = append(r.Hidden, h)
		}
		h.Nodes++
		h.On = min(h.On, n.Name())
		h.Until = min(h.Until, until)
	}
	if _, limit := a.withinLimits(c, structs.Resources{}); limit != nil {
		r.Limit, r.NoPrincipal = limit.path, limit.userLimit > 0 && c.of.owner == ""
	}
	for _, n := range a.byOrd {
		spec := n.Spec()
		if spec == nil || n.gone {
			continue
		}
		r.Nodes++
		if !spec.Schedulable() {
			add(n, 0, "it takes no work")
		}
		for _, unmet := range c.terms.where.Unmet(spec) {
			add(n, 0, unmet.Title())
		}
		if name := c.terms.unwanted(n); name != "" {
			add(n, 0, "it has "+name+", which the framework does not want")
		}
		free := n.offering(c, n.freeFor(c.view))
		most := free
		if r.Limit == "" {
			most, _ = a.withinLimits(c, free)
		}
		var none structs.Resources
		switch back := n.offering(c, n.seen(c.view, true, false).Free()); {
		case !anyMet(a.floorsFor(c), &back, &none):
			add(n, 0, "it has less left than the smallest offer")
		case n.crumb(&free, c.view) || !anyMet(a.floorsFor(c), &free, &none):
			add(n, 0, "what it has left is offered")
		case !anyMet(a.floorsFor(c), &most, &none):
			add(n, 0, "limits leave less than the smallest offer")
		}
		var until structs.Time
		for _, f := range c.wishes[roomWish].filters[n] {
			if f.until > a.now && f.refused.Fits(most) {
				until = max(until, f.until)
			}
		}
		if until > 0 {
			add(n, until, "it was declined, and has no more now")
		}
	}
	slices.SortFunc(r.Hidden, func(x, y *structs.HiddenNodes) int {
		return cmp.Or(cmp.Compare(y.Nodes, x.Nodes), cmp.Compare(x.Why, y.Why))
	})
}
