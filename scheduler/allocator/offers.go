package allocator

import (
	"container/list"
	"slices"

	"github.com/proffer/proffer/structs"
)

// offer is an outstanding offer with its accounting.
type offer struct {
	structs.Offer
	seq    uint64
	client *client
	wish   *wish
	node   *node
	amount []int64
	ports  []structs.Range // by number, see PortsOf; nil: nobody asked
	listed *list.Element   // in the offers of the client
	older  *offer          // in Allocator.standing
	newer  *offer
}

// offerLine is offers by age. All are good for as long, so that is the order in which they expire.
type offerLine struct{ oldest, newest *offer }

func (l *offerLine) add(o *offer) {
	o.older, l.newest = l.newest, o
	if o.older == nil {
		l.oldest = o
	} else {
		o.older.newer = o
	}
}

func (l *offerLine) remove(o *offer) {
	if o.older == nil {
		l.oldest = o.newer
	} else {
		o.older.newer = o.newer
	}
	if o.newer == nil {
		l.newest = o.older
	} else {
		o.newer.older = o.older
	}
	o.older, o.newer = nil, nil
}

// serveOffer offers one node to a framework whose turn it is to have a wish served; nil when there is none for it.
func (a *Allocator) serveOffer(w *wish, now structs.Time) *structs.Offer {
	c := w.client
	if a.spent(c.of) {
		c.of.full = true
		a.pause(w)
		return nil
	}
	if w.slack && c.account.exempts() {
		a.pause(w)
		return nil
	}
	for {
		ord := w.todo.firstInBoth(a.openTo(w))
		if ord < 0 {
			a.pause(w)
			return nil
		}
		n := a.byOrd[ord]
		if !c.shows(n) {
			w.todo.remove(ord)
			continue
		}
		free, ok := w.free(n)
		if !ok {
			w.todo.remove(ord)
			continue
		}
		most, limit := a.withinLimits(c, free)
		if limit != nil {
			a.dequeue(w.group)
			w.group.parked = limit
			limit.parked[w.group] = true
			return nil
		}
		bundle, ok := a.bundle(w, n, free, most, now)
		if !ok {
			w.todo.remove(ord)
			if !most.Fits(free) {
				w.cutShort(ord)
			}
			continue
		}
		return a.makeOffer(w, n, bundle, now)
	}
}

func (a *Allocator) makeOffer(w *wish, n *node, bundle structs.Resources, now structs.Time) *structs.Offer {
	c := w.client
	a.lastOffer++
	a.turns++
	a.tookTurn(c.account)
	o := &offer{seq: a.lastOffer, client: c, wish: w, node: n, amount: a.amount(bundle), Offer: structs.Offer{
		ID:        a.offerID(),
		Framework: c.framework, Role: c.account.path, Node: n.ID, NodeName: n.Name(), Resources: bundle, Revocable: w.slack,
		Made: now, Expires: now.Add(a.options.OfferTimeout)}}
	if m := n.window(); m != nil {
		o.Unavailable = &m.Window
	}
	a.offers[o.ID] = o
	a.standing.add(o)
	o.listed = c.offers.PushBack(o)
	c.of.made++
	a.holdOffer(o, 1)
	if !w.slack {
		o.Reserved = n.parts(c.view, bundle)
		n.offered = n.offered.Add(bundle)
	}
	list := o.listOn()
	*list = append(*list, o)
	o.hold()
	a.touch(n, false)
	a.lastServed[w.group.band] = a.now
	a.charge(c.account, o.amount, false, false, 1)
	made := o.Offer
	return &made
}

// endOffer gives back what an offer holds.
func (a *Allocator) endOffer(o *offer) {
	delete(a.offers, o.ID)
	a.standing.remove(o)
	o.client.offers.Remove(o.listed)
	list := o.listOn()
	*list = slices.DeleteFunc(*list, func(p *offer) bool { return p == o })
	if !o.wish.slack {
		o.node.offered = o.node.offered.Sub(o.Resources)
	}
	o.drop()
	a.touch(o.node, true)
	a.charge(o.client.account, o.amount, false, false, -1)
	a.holdOffer(o, -1)
}

// listOn returns the offers of the same kind on the node, oldest first.
func (o *offer) listOn() *[]*offer {
	if o.wish.slack {
		return &o.node.spare.offers
	}
	return &o.node.offers
}

// hold takes what an offer holds from the books of its node, of the slack or of what is free; drop gives it back.
func (o *offer) hold() {
	if x := o.node.spare; o.wish.slack {
		x.offered = x.offered.Add(o.Resources.Slack())
		return
	}
	o.node.Hold(o.client.account, o.Resources, nil)
}

func (o *offer) drop() {
	if x := o.node.spare; o.wish.slack {
		x.offered = x.offered.Sub(o.Resources.Slack())
		return
	}
	o.node.Drop(o.client.account, o.Resources, nil)
}

// rescindAll takes all offers of one kind back that a node has, the newest first.
func (a *Allocator) rescindAll(offers []*offer, why string) {
	for _, o := range slices.Backward(slices.Clone(offers)) {
		a.rescind(o, why)
	}
}

func (c *client) newest() *offer { return c.offers.Back().Value.(*offer) }

// rescind takes an offer back.
func (a *Allocator) rescind(o *offer, why string) {
	o.client.of.rescinded++
	o.client.of.ended(o, "rescinded", a.now)
	a.takeBack(o, why)
}

func (a *Allocator) takeBack(o *offer, why string) {
	a.endOffer(o)
	a.out = append(a.out, Decision{Rescind: &Rescind{Offer: o.ID, Framework: o.Framework, Why: why}})
}

// expire ends offers and filters whose time has come.
func (a *Allocator) expire(now structs.Time) {
	for o := a.standing.oldest; o != nil && o.Expires <= now; o = a.standing.oldest {
		// Who does not answer would be the first to be offered the node again, and nobody else would ever see it.
		a.unused(o.wish, o.node, o.Resources, Filter{DefaultRefuse}, now)
		o.client.of.ended(o, "expired", now)
		a.takeBack(o, "expired")
		a.ignore(o.client.of, now)
	}
	for a.byUntil.len() > 0 && a.byUntil.top().until <= now {
		f := a.byUntil.top()
		a.endFilter(f)
		f.wish.todo.add(f.node.Ord)
		a.wakeWish(f.wish)
	}
	a.checkClaims(now)
	a.askToLeave(now)
}

// WakeAt returns when Step must be called again although nothing changed, because an offer or a filter ends, a claim is
// looked at, or a constraint relaxes or hardens; zero for never.
func (a *Allocator) WakeAt() (at structs.Time) {
	if o := a.standing.oldest; o != nil {
		at = o.Expires
	}
	if a.byUntil.len() > 0 && (at == 0 || a.byUntil.top().until < at) {
		at = a.byUntil.top().until
	}
	if a.byCheck.len() > 0 && (at == 0 || a.byCheck.top().check < at) {
		at = a.byCheck.top().check
	}
	if a.byChange.len() > 0 && (at == 0 || a.byChange.top().change < at) {
		at = a.byChange.top().change
	}
	if a.byAgain.len() > 0 && (at == 0 || a.byAgain.top().again < at) && a.byAgain.top().again < never {
		at = a.byAgain.top().again
	}
	if a.byLook.len() > 0 && (at == 0 || a.byLook.top().look < at) {
		at = a.byLook.top().look
	}
	for g := range a.asleep {
		if g.throttled && (at == 0 || g.again < at) {
			at = g.again
		}
	}
	for _, k := range a.kept {
		if at == 0 || k.until < at {
			at = k.until
		}
	}
	return at
}

// Offers returns the outstanding offers, oldest first.
func (a *Allocator) Offers() []structs.Offer {
	out := make([]structs.Offer, 0, len(a.offers))
	for o := a.standing.oldest; o != nil; o = o.newer {
		out = append(out, o.Offer)
	}
	return out
}
