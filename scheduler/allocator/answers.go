package allocator

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/proffer/proffer/structs"
)

// Operation uses a part of accepted offers for one allocation, or changes how a part is reserved.
type Operation struct {
	Name       string // what it is, in what is said of it; empty: it is called by its place
	Job, Group string // whose peers it joins, for distinct_hosts and the like; may be empty
	Priority   structs.Priority
	Resources  structs.Resources
	Slack      structs.Slack          // what of Resources is of offers of slack; then it is best-effort
	Ports      []structs.AssignedPort // at most Resources.Ports
	MaxRun     structs.Duration       // after its start; 0: it may run for ever
	// Reserves: the host reserves Resources, or releases them, and nothing is placed. The operations that follow may use them.
	Reserves bool
}

// Decline gives offers back. Offers that ended already are passed over; an offer of another framework is an error and
// changes nothing.
func (a *Allocator) Decline(id structs.FrameworkID, offers []structs.OfferID, f Filter, now structs.Time) error {
	live, err := a.live(id, offers)
	for _, o := range live {
		o.client.of.declined++
		o.client.of.unused++
		o.client.of.ended(o, "declined", now)
		a.heard(o.client.of)
		a.unused(o.wish, o.node, o.Resources, f, now)
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

// Accept uses offers of one node for operations: each that places becomes a decision, to be answered with Confirm or Refuse.
// What the operations leave goes back with the filter; without any operation it is a Decline. All or nothing: after an
// error nothing changed.
//
// When operations reserve something that the others leave, all that is left is held, too: by one more decision, the last
// one, with Keeps set. The host answers it with Refuse once the reservations are told with SetReservation, or will not be.
func (a *Allocator) Accept(id structs.FrameworkID, offers []structs.OfferID, ops []Operation, f Filter, now structs.Time) ([]*Place, error) {
	all, err := a.acceptable(id, offers, now)
	if err != nil {
		return nil, err
	}
	if len(ops) == 0 {
		return nil, a.Decline(id, offers, f, now)
	}
	n, c := all[0].node, all[0].client
	reserved := ownPorts(all)
	left, slack, faults := a.rest(all, ops)
	for _, err := range faults {
		if err != nil {
			return nil, err
		}
	}
	for _, o := range all {
		c.of.ended(o, "used", now)
		a.endOffer(o)
	}
	c.of.accepted += uint64(len(all))
	c.of.unused = 0
	a.heard(c.of)
	for _, o := range all {
		o.wish.streaks.end(n.Ord)
	}
	var out []*Place
	var kept structs.Resources
	var named []structs.Range // by those that reserve
	for _, op := range ops {
		if op.Reserves {
			kept = kept.Add(byNumber(op.Resources, op.names(), reserved))
			named = structs.UniteRanges(named, op.names())
			continue
		}
		h := &hold{node: n, client: a.clientOf(c.framework, c.account.path, c.of.owner), tag: tag{owner: c.of.owner}, job: op.Job, group: op.Group,
			amount: a.amount(op.Resources), resources: op.Resources, ports: op.Ports, band: op.Priority.Band, maxRun: op.MaxRun, slack: op.Slack}
		out = append(out, a.decide(h, op.Priority, op.ordered()))
	}
	if kept = left.Least(kept); !kept.IsZero() {
		// All of it, so that the rest of the node is not offered in two pieces.
		h := &hold{node: n, client: c, amount: a.amount(left), resources: left, ports: n.Assigned(n.yetFree(named, ops)), band: offerPriority.Band}
		p := a.decide(h, offerPriority, structs.BatchBand)
		p.Keeps = true
		out = append(out, p)
		left = left.Sub(kept)
	}
	for _, w := range c.wishes {
		back := positive(left)
		if w.slack {
			back = structs.Resources{CPU: slack.CPU, Memory: slack.Memory}
		}
		if !back.IsZero() {
			a.refuse(w, n, back, min(f.Refuse, MaxRefuse), 0, now)
		}
	}
	return out, nil
}

// ordered is the band in which the offers were made that an operation uses.
func (op *Operation) ordered() structs.Band {
	if op.Slack.IsZero() {
		return structs.BatchBand
	}
	return structs.BestEffort
}

// Check says what Accept would say: of the offers, and of each operation, nil where it may be carried out. The other
// operations do without those that may not.
func (a *Allocator) Check(id structs.FrameworkID, offers []structs.OfferID, ops []Operation, now structs.Time) ([]error, error) {
	all, err := a.acceptable(id, offers, now)
	if err != nil {
		return nil, err
	}
	_, _, faults := a.rest(all, ops)
	return faults, nil
}

// Accepted returns the role and the node of offers that Accept would take.
func (a *Allocator) Accepted(id structs.FrameworkID, offers []structs.OfferID, now structs.Time) (role string, on *structs.Node, err error) {
	all, err := a.acceptable(id, offers, now)
	if err != nil {
		return "", nil, err
	}
	return all[0].client.account.path, all[0].node.Spec(), nil
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

// rest returns what operations leave of what offers hold, the slack apart, and what is wrong with each of them: those with a fault
// leave all.
func (a *Allocator) rest(offers []*offer, ops []Operation) (left structs.Resources, slack structs.Slack, faults []error) {
	for _, o := range offers {
		if o.wish.slack {
			slack = slack.Add(o.Resources.Slack())
		} else {
			left = left.Add(o.Resources)
		}
	}
	c, n := offers[0].client, offers[0].node
	var taken []structs.AssignedPort
	var used structs.Resources
	placed := 0
	var offered []structs.Range // once somebody names a port
	reserved := ownPorts(offers)
	faults = make([]error, len(ops))
	for i := range ops {
		op := &ops[i]
		object := cmp.Or(op.Name, fmt.Sprintf("operation %d", i))
		named := op.names()
		own := byNumber(op.booked(), named, reserved)
		faults[i] = a.fault(n, left, slack, op, own, object, taken)
		if len(named) > 0 && offered == nil {
			offered = a.portsOffered(offers)
		}
		if beyond := structs.OfPorts(named).Sub(structs.OfPorts(offered)).PortRanges(); faults[i] == nil && len(beyond) > 0 {
			faults[i] = structs.Errorf(structs.Invalid, object, "port %d of node %s is not among those of the offers", beyond[0].First, n.Name()).
				Advise("take one of the ranges of ports that they name")
		}
		if faults[i] == nil && !op.Reserves {
			faults[i] = c.account.takes(op, placed, object)
		}
		if faults[i] == nil && !op.Reserves {
			faults[i] = a.owned(c, used.Add(op.Resources), object)
		}
		if faults[i] != nil || op.Reserves {
			continue
		}
		left, slack = left.Sub(own), slack.Sub(op.Slack)
		placed, used = placed+1, used.Add(op.Resources)
		taken = append(taken, op.Ports...)
	}
	return left, slack, faults
}

// booked returns what an operation uses of the node's own room.
func (op *Operation) booked() structs.Resources {
	return op.Resources.Sub(structs.Resources{CPU: op.Slack.CPU, Memory: op.Slack.Memory})
}

// ownPorts returns the ports of offers that are reserved for their role.
func ownPorts(offers []*offer) (all []structs.Range) {
	for _, o := range offers {
		all = structs.UniteRanges(all, o.Resources.PortRanges())
	}
	return all
}

// fault says what is wrong with an operation that uses so much of the node's own room, when so much is left and these ports are taken.
func (a *Allocator) fault(n *node, left structs.Resources, slack structs.Slack, op *Operation, own structs.Resources, object string, taken []structs.AssignedPort) error {
	var problems structs.Problems
	op.Resources.Problems(object, &problems)
	if err := problems.Err(); err != nil {
		return err
	}
	if op.Priority.Band < 0 || int(op.Priority.Band) >= bands {
		return structs.Errorf(structs.Invalid, object, "%s is not a band", op.Priority.Band)
	}
	if x := op.Slack; !x.IsZero() {
		switch {
		case op.Reserves:
			return structs.Errorf(structs.Invalid, object, "what is revocable cannot be reserved, nor released")
		case op.Priority.Band != structs.BestEffort:
			return structs.Errorf(structs.Invalid, object, "uses what is revocable and is of band %s: only best-effort work may", op.Priority.Band)
		case x.CPU < 0 || x.Memory < 0 || !x.Within(op.Resources.Slack()):
			return structs.Errorf(structs.Invalid, object, "%s of it is to be revocable, and it needs %s", x, op.Resources)
		case !x.Within(slack):
			return structs.Errorf(structs.Invalid, object, "needs %s that is revocable, the offers have %s left", x, slack)
		}
	}
	if !left.Fits(own) {
		return structs.Errorf(structs.Invalid, object, "needs %s, the offers have %s left", own, left)
	}
	if ports := op.Resources.PortRanges(); !op.Reserves && len(ports) > 0 {
		return structs.Errorf(structs.Invalid, object, "names ports among its resources, where their number belongs")
	}
	if len(op.Ports) > op.Resources.Ports {
		return structs.Errorf(structs.Invalid, object, "names %d ports and has %d among its resources", len(op.Ports), op.Resources.Ports)
	}
	for i, p := range op.Ports {
		if p.Port < 1 || p.Port > 65535 || !n.PortFree(&p) || slices.ContainsFunc(taken, p.Collides) || slices.ContainsFunc(op.Ports[:i], p.Collides) {
			return structs.Errorf(structs.Conflict, object, "port %d is not free on node %s", p.Port, n.Name())
		}
	}
	return nil
}

// owned refuses operations of an accept that are more, together, than roles leave the owner of a framework.
func (a *Allocator) owned(c *client, all structs.Resources, object string) error {
	for role := c.account.roleOf(); role != nil; role = role.parent {
		if role.parts == nil {
			continue
		}
		if role.userLimit > 0 && c.of.owner == "" {
			return structs.Errorf(structs.Conflict, object, "role %s has a user_limit, and the framework has no principal", role.path)
		}
		for _, short := range a.partsShort(role, tag{owner: c.of.owner}, a.amount(all)) {
			return structs.Errorf(structs.Conflict, object, "user_limit of role %s: %s", role.path, short)
		}
	}
	return nil
}

// takes refuses an operation that is larger than the roles of a framework allow, or one too many beside others of the accept.
func (acc *account) takes(op *Operation, others int, object string) error {
	for role := acc.roleOf(); role != nil; role = role.parent {
		if role.most > 0 && role.running+others+1 > role.most {
			return structs.Errorf(structs.Conflict, "role "+role.path, "holds %d allocations of the %d that it may (max_running), and this is one more",
				role.running+others, role.most)
		}
		for resource, most := range role.maxAsk.All() {
			if asked := op.Resources.Amount(resource); asked > most {
				want, bounded := structs.AmountsText(resource, asked, most)
				return structs.Errorf(structs.Invalid, object, "asks for %s %s, and max_ask of role %s is %s",
					resource, want, role.path, bounded)
			}
		}
	}
	return nil
}
