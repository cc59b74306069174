package allocator

import (
	"fmt"
	"slices"

	"github.com/proffer/proffer/structs"
)

// Operation uses a part of accepted offers for one allocation.
type Operation struct {
	Job, Group string // whose peers it joins, for distinct_hosts and the like; may be empty
	Priority   structs.Priority
	Resources  structs.Resources
	Ports      []structs.AssignedPort // at most Resources.Ports
}

// Decline gives offers back. Offers that ended already are passed over; an offer of another framework is an error and
// changes nothing.
func (a *Allocator) Decline(id structs.FrameworkID, offers []structs.OfferID, f Filter, now structs.Time) error {
	live, err := a.live(id, offers)
	for _, o := range live {
		o.client.of.declined++
		o.client.of.unused++
		a.heard(o.client.of)
		a.unused(o.client, o.node, o.Resources, f, now)
		a.endOffer(o)
	}
	return err
}

// Return gives offers back without any consequence, as those of an accept that was refused. Otherwise it is as Decline.
func (a *Allocator) Return(id structs.FrameworkID, offers []structs.OfferID) error {
	live, err := a.live(id, offers)
	for _, o := range live {
		a.heard(o.client.of)
		a.endOffer(o)
	}
	return err
}

// live returns those of some offers that have not ended, each once; an error when one was made to another framework.
func (a *Allocator) live(id structs.FrameworkID, offers []structs.OfferID) (out []*offer, err error) {
	for i, name := range offers {
		o := a.offers[name]
		if o == nil || slices.Contains(offers[:i], name) {
			continue
		}
		if o.Framework != id {
			return nil, structs.Errorf(structs.Forbidden, "offer "+string(name), "was made to another framework")
		}
		out = append(out, o)
	}
	return out, nil
}

// Accept uses offers of one node for operations: each becomes a decision, to be answered with Confirm or Refuse. What the
// operations leave goes back with the filter; without any operation it is a Decline. All or nothing: after an error
// nothing changed.
func (a *Allocator) Accept(id structs.FrameworkID, offers []structs.OfferID, ops []Operation, f Filter, now structs.Time) ([]*Place, error) {
	all, err := a.acceptable(id, offers, now)
	if err != nil {
		return nil, err
	}
	if len(ops) == 0 {
		return nil, a.Decline(id, offers, f, now)
	}
	var left structs.Resources
	for _, o := range all {
		left = left.Add(o.Resources)
	}
	n, c := all[0].node, all[0].client
	if left, err = a.rest(c, n, left, ops); err != nil {
		return nil, err
	}
	for _, o := range all {
		a.endOffer(o)
	}
	c.of.accepted += uint64(len(all))
	c.of.unused = 0
	a.heard(c.of)
	c.streaks.end(n.Ord)
	var out []*Place
	for _, op := range ops {
		h := &hold{node: n, client: c, job: op.Job, group: op.Group, amount: a.amount(op.Resources), resources: op.Resources,
			ports: op.Ports, band: op.Priority.Band}
		p := a.decide(h, op.Priority, structs.BatchBand)
		out = append(out, p)
	}
	if !left.IsZero() {
		a.refuse(c, n, left, min(f.Refuse, MaxRefuse), 0, now)
	}
	return out, nil
}

// acceptable returns the offers that an accept names: at least one, each once, all of one framework, role and node, none
// past its time.
func (a *Allocator) acceptable(id structs.FrameworkID, offers []structs.OfferID, now structs.Time) (all []*offer, err error) {
	if len(offers) == 0 {
		return nil, structs.Errorf(structs.Invalid, "accept", "names no offer")
	}
	first := a.offers[offers[0]]
	for i, name := range offers {
		o := a.offers[name]
		object := "offer " + string(name)
		switch {
		case o == nil || o.Expires <= now:
			return nil, structs.Errorf(structs.Conflict, object, "is no longer valid: accepted, declined, rescinded or past its time")
		case o.Framework != id:
			return nil, structs.Errorf(structs.Forbidden, object, "was made to another framework")
		case slices.Contains(offers[:i], name):
			return nil, structs.Errorf(structs.Invalid, object, "is named twice")
		case o.node != first.node:
			return nil, structs.Errorf(structs.Invalid, object, "is of another node than the first")
		case o.client != first.client:
			return nil, structs.Errorf(structs.Invalid, object, "is for another role than the first")
		}
		all = append(all, o)
	}
	return all, nil
}

// rest returns what operations leave of what offers of a node hold, or what is wrong with them.
func (a *Allocator) rest(c *client, n *node, left structs.Resources, ops []Operation) (structs.Resources, error) {
	if err := c.account.takes(ops); err != nil {
		return left, err
	}
	var taken []structs.AssignedPort
	for i, op := range ops {
		object := fmt.Sprintf("operation %d", i)
		var problems structs.Problems
		op.Resources.Problems(object, &problems)
		if err := problems.Err(); err != nil {
			return left, err
		}
		if op.Priority.Band < 0 || int(op.Priority.Band) >= bands {
			return left, structs.Errorf(structs.Invalid, object, "%s is not a band", op.Priority.Band)
		}
		if !left.Fits(op.Resources) {
			return left, structs.Errorf(structs.Invalid, object, "needs %s, the offers have %s left", op.Resources, left)
		}
		if len(op.Ports) > op.Resources.Ports {
			return left, structs.Errorf(structs.Invalid, object, "names %d ports and has %d among its resources", len(op.Ports), op.Resources.Ports)
		}
		for _, p := range op.Ports {
			if p.Port < 1 || p.Port > 65535 || !n.PortFree(&p) || slices.ContainsFunc(taken, p.Collides) {
				return left, structs.Errorf(structs.Conflict, object, "port %d is not free on node %s", p.Port, n.Name())
			}
			taken = append(taken, p)
		}
		left = left.Sub(op.Resources)
	}
	return left, nil
}

// takes refuses operations that are more, or one of them larger, than the roles of a framework allow.
func (acc *account) takes(ops []Operation) error {
	for role := acc.roleOf(); role != nil; role = role.parent {
		if role.most > 0 && len(ops) > 0 && role.running+len(ops) > role.most {
			return structs.Errorf(structs.Conflict, "role "+role.path, "holds %d allocations of the %d that it may (max_running), and this is %d more",
				role.running, role.most, len(ops))
		}
		for i, op := range ops {
			for resource, most := range role.maxAsk.All() {
				if asked := op.Resources.Amount(resource); asked > most {
					want, bounded := structs.AmountsText(resource, asked, most)
					return structs.Errorf(structs.Invalid, fmt.Sprintf("operation %d", i), "asks for %s %s, and max_ask of role %s is %s",
						resource, want, role.path, bounded)
				}
			}
		}
	}
	return nil
}
