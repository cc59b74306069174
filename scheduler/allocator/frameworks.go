package allocator

import (
	"fmt"
	"maps"
	"slices"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// framework is a registered one: it wants offers.
type framework struct {
	id      structs.FrameworkID
	owner   string    // of its work
	clients []*client // in the order of its roles
	held    int       // outstanding offers
	offered []int64   // what they hold
	full    bool      // it waits until its budget has room
	tally
}

// terms are compiled structs.OfferTerms.
type terms struct {
	floors  []floor          // nil: those of the options
	where   *placement.Where // nil: any node
	without []string         // custom resources that its nodes have not
	slack   bool             // it takes what is revocable
}

func compileTerms(role string, t *structs.OfferTerms) (out terms, err error) {
	if t == nil {
		return out, nil
	}
	var problems structs.Problems
	structs.CheckSmallest(&problems, fmt.Sprintf("role %q: smallest", role), t.Smallest)
	if err := problems.Err(); err != nil {
		return out, err
	}
	out.floors, out.without, out.slack = floorsOf(t.Smallest), t.Without, t.Revocable
	for _, name := range t.Without {
		if !structs.ValidName(name) {
			return out, structs.Errorf(structs.Invalid, fmt.Sprintf("role %q: without", role), "%q is not a name for a resource", name)
		}
	}
	if out.where, err = placement.CompileWhere(t.Where); err != nil {
		return out, structs.Errorf(structs.Invalid, fmt.Sprintf("role %q", role), "%w", err)
	}
	return out, nil
}

// CheckTerms says what is wrong with the roles and terms of a framework, as SetFramework would.
func CheckTerms(f *structs.Framework) error {
	_, err := compileAll(f)
	return err
}

func compileAll(f *structs.Framework) (map[string]terms, error) {
	object := "framework " + string(f.ID)
	for i, r := range f.Roles {
		if !structs.ValidRole(r) {
			return nil, structs.Errorf(structs.Invalid, object, "role %q is not a valid name", r)
		}
		if slices.Contains(f.Roles[:i], r) {
			return nil, structs.Errorf(structs.Invalid, object, "role %q is named twice", r)
		}
	}
	all := make(map[string]terms, len(f.Roles))
	for _, r := range slices.Sorted(maps.Keys(f.Terms)) {
		if !slices.Contains(f.Roles, r) {
			return nil, structs.Errorf(structs.Invalid, object, "it has terms for role %q, which is none of its roles", r)
		}
		compiled, err := compileTerms(r, f.Terms[r])
		if err != nil {
			return nil, structs.Errorf(structs.Invalid, object, "%w", err)
		}
		all[r] = compiled
	}
	return all, nil
}

// SetFramework registers a framework for the roles in which it wants offers, or changes what it said: all or nothing.
// Offers in roles that it left are rescinded; other offers stay, even those that new terms would not allow, and so do
// filters. The terms say which roles are suppressed from now on; the others are revived when they were. Requests need no
// registration.
func (a *Allocator) SetFramework(f *structs.Framework) error {
	all, err := compileAll(f)
	if err != nil {
		return err
	}
	fw := a.frameworks[f.ID]
	if fw == nil {
		fw = &framework{id: f.ID}
		a.frameworks[f.ID] = fw
	}
	old := fw.clients
	fw.clients, fw.owner = nil, f.Principal
	for _, r := range f.Roles {
		c := a.client(f.ID, r)
		fw.clients = append(fw.clients, c)
		if !c.registered {
			c.registered, c.of = true, fw
			c.wishes = []*wish{roomWish: newWish(c, false), slackWish: newWish(c, true)}
			a.offering = append(a.offering, c)
		}
		c.terms, c.seen, c.suits = all[r], nil, nil
		c.unpark()
		if t := f.Terms[r]; t != nil && t.Suppressed {
			a.suppress(c)
		} else if c.suppressed {
			a.revive(c)
		}
	}
	for _, c := range old {
		if !slices.Contains(fw.clients, c) {
			a.unregister(c, "the framework left the role")
		}
	}
	a.refloor()
	a.restateAll()
	for _, c := range fw.clients {
		a.reopen(c)
	}
	return nil
}

// Withdraw rescinds the offers of a framework that its terms do not allow any more: of nodes that it does not want, and of revocable
// resources when it takes none. With all it rescinds every one: they were made for somebody who understood something else.
func (a *Allocator) Withdraw(id structs.FrameworkID, all bool) {
	f := a.frameworks[id]
	if f == nil {
		return
	}
	for _, c := range f.clients {
		var unfit []*offer
		for e := c.offers.Front(); e != nil; e = e.Next() {
			if o := e.Value.(*offer); all || !c.shows(o.node) || o.wish.slack && !c.terms.slack {
				unfit = append(unfit, o)
			}
		}
		a.rescindAll(unfit, "the framework changed what it wants")
	}
}

// Resubscribe is SetFramework for a scheduler that knows nothing of what was sent before: outstanding offers end without a
// word, and inverse offers that were not answered are made again.
func (a *Allocator) Resubscribe(f *structs.Framework) error {
	if err := a.SetFramework(f); err != nil {
		return err
	}
	for _, c := range a.frameworks[f.ID].clients {
		for c.offers.Len() > 0 {
			a.endOffer(c.newest())
		}
	}
	for _, n := range a.windows {
		if x := n.inverse[f.ID]; x != nil && x.asked {
			delete(a.inverse, x.ID)
			x.asked = false
			a.restate(n)
		}
	}
	return nil
}

// Disconnect ends the offers of a framework and its filters, and has it offered nothing until SetFramework. Its requests
// and what it runs stay.
func (a *Allocator) Disconnect(id structs.FrameworkID) {
	a.deregister(id, "the framework is not connected")
}

// RemoveFramework forgets a framework with its offers and requests. What it runs stays accounted until it is released.
func (a *Allocator) RemoveFramework(id structs.FrameworkID) {
	var requests []string
	for name, r := range a.requests {
		if r.Framework == id {
			requests = append(requests, name)
		}
	}
	for _, name := range requests {
		a.RemoveRequest(name)
	}
	a.deregister(id, "the framework left")
}

func (a *Allocator) deregister(id structs.FrameworkID, why string) {
	f := a.frameworks[id]
	if f == nil {
		return
	}
	delete(a.frameworks, id)
	for _, c := range f.clients {
		a.unregister(c, why)
	}
	a.heard(f)
	a.refloor()
	a.restateAll()
}

func (a *Allocator) unregister(c *client, why string) {
	c.registered = false
	for c.offers.Len() > 0 {
		a.rescind(c.newest(), why)
	}
	c.unpark()
	for _, w := range c.wishes {
		a.dequeue(w.group)
		a.unfilterAll(w)
		for role := c.account.roleOf(); role != nil; role = role.parent {
			delete(role.cut, w)
		}
	}
	c.wishes, c.suppressed, c.of = nil, false, nil
	c.terms, c.seen, c.suits = terms{}, nil, nil
	a.offering = slices.DeleteFunc(a.offering, func(o *client) bool { return o == c })
	a.prune(c.account)
}

// Suppress stops offers to a framework in some of its roles, all when none is named. Outstanding offers stay. A role that
// is none of its own is an error, and nothing changes.
func (a *Allocator) Suppress(id structs.FrameworkID, roles ...string) error {
	clients, err := a.clientsOf(id, roles)
	for _, c := range clients {
		a.suppress(c)
	}
	return err
}

func (a *Allocator) suppress(c *client) {
	c.suppressed = true
	for _, w := range c.wishes {
		a.pause(w)
	}
}

// Revive makes offers flow again to a framework in some of its roles, all when none is named, and ends its filters but
// for those that firm back-off keeps. A role that is none of its own is an error, and nothing changes.
func (a *Allocator) Revive(id structs.FrameworkID, roles ...string) error {
	clients, err := a.clientsOf(id, roles)
	for _, c := range clients {
		a.revive(c)
		a.reopen(c)
	}
	if err == nil {
		a.askAgain(id)
	}
	return err
}

func (a *Allocator) revive(c *client) {
	c.suppressed = false
	for _, w := range c.wishes {
		a.endFilters(w, func(*filter) bool { return true })
	}
}

// Want is what a framework says that it needs now: so much on one node, or on any when Node is empty.
type Want struct {
	Node      structs.NodeID
	Resources structs.Resources
}

// Demand is a hint: filters end for nodes that have what a framework wants now, so that it sees them again before their
// time. Nothing else changes, and firm back-off is kept. Bad amounts are an error.
func (a *Allocator) Demand(id structs.FrameworkID, wants []Want) error {
	for i, w := range wants {
		var problems structs.Problems
		w.Resources.Problems(fmt.Sprintf("request %d", i), &problems)
		if err := problems.Err(); err != nil {
			return err
		}
	}
	clients, err := a.clientsOf(id, nil)
	for _, c := range clients {
		for _, w := range c.wishes {
			a.endFilters(w, func(f *filter) bool {
				free, ok := w.free(f.node)
				return ok && slices.ContainsFunc(wants, func(want Want) bool {
					return (want.Node == "" || want.Node == f.node.ID) && free.Fits(want.Resources)
				})
			})
			a.wakeWish(w)
		}
	}
	return err
}

// clientsOf returns a framework in some of its roles, in all when none is named.
func (a *Allocator) clientsOf(id structs.FrameworkID, roles []string) ([]*client, error) {
	f := a.frameworks[id]
	if f == nil {
		return nil, structs.Errorf(structs.NotFound, "framework "+string(id), "it is not registered for offers")
	}
	if len(roles) == 0 {
		return f.clients, nil
	}
	var out []*client
	for _, r := range roles {
		i := slices.IndexFunc(f.clients, func(c *client) bool { return c.account.path == r })
		if i < 0 {
			return nil, structs.Errorf(structs.Invalid, "framework "+string(id), "role %q is none of its roles", r)
		}
		out = append(out, f.clients[i])
	}
	return out, nil
}

// reopen lets a framework look at every node again.
func (a *Allocator) reopen(c *client) {
	for _, w := range c.wishes {
		w.todo = w.todo[:0]
		w.todo.unite(a.openTo(w))
		a.wakeWish(w)
	}
}

// shows reports whether the terms of a framework let it be offered a node.
func (c *client) shows(n *node) bool {
	if c.terms.where == nil && len(c.terms.without) == 0 {
		return true
	}
	if !c.seen.has(n.Ord) {
		c.seen.add(n.Ord)
		if c.terms.where.Met(n.Spec()) && c.terms.unwanted(n) == "" {
			c.suits.add(n.Ord)
		} else {
			c.suits.remove(n.Ord)
		}
	}
	return c.suits.has(n.Ord)
}

// unwanted returns a custom resource of a node that keeps it from being offered.
func (t *terms) unwanted(n *node) string {
	if len(t.without) == 0 {
		return ""
	}
	avail := n.Available()
	for _, name := range t.without {
		if avail.Custom[name] > 0 {
			return name
		}
	}
	return ""
}
