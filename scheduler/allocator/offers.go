package allocator

import (
	"cmp"
	"container/list"
	"fmt"
	"slices"

	"github.com/proffer/proffer/structs"
)

// framework is a registered one.
type framework struct {
	id    structs.FrameworkID
	roles []string
}

// offer is an outstanding offer with its accounting.
type offer struct {
	structs.Offer
	seq    uint64
	client *client
	node   *node
	amount []int64
	at     int           // in byExpiry
	listed *list.Element // in the offers of the client
}

func (o *offer) expiresBefore(p *offer) bool {
	return cmp.Or(cmp.Compare(o.Expires, p.Expires), cmp.Compare(o.seq, p.seq)) < 0
}

// filter keeps a node from being offered as long as it has no more than what was refused.
type filter struct {
	client  *client
	node    *node
	refused structs.Resources
	until   structs.Time
	at      int // in byUntil
}

// maxFilters bounds the filters that a framework has on one node; the oldest is forgotten first.
const maxFilters = 8

// Filter is what a decline says: the same or less of the node is not offered to the framework and role again for Refuse.
// Zero means no filter.
type Filter struct{ Refuse structs.Duration }

// Operation uses a part of accepted offers for one allocation.
type Operation struct {
	Job, Group string // whose peers it joins, for distinct_hosts and the like; may be empty
	Priority   structs.Priority
	Resources  structs.Resources
	Ports      []structs.AssignedPort // at most Resources.Ports
}

// SetFramework registers a framework for the roles in which it wants offers. Calling it again with other roles changes
// them: offers in roles that it left are rescinded. Requests need no registration.
func (a *Allocator) SetFramework(id structs.FrameworkID, roles []string) error {
	for _, r := range roles {
		if !structs.ValidRole(r) {
			return structs.Errorf(structs.Invalid, "framework "+string(id), "role %q is not a valid name", r)
		}
	}
	old := a.frameworks[id]
	a.frameworks[id] = &framework{id, slices.Clone(roles)}
	for _, r := range roles {
		if c := a.client(id, r); !c.registered {
			c.registered = true
			c.offering = &group{client: c, band: offerPriority.Band, at: -1}
			a.offering = append(a.offering, c)
			a.reopen(c)
		}
	}
	if old != nil {
		for _, r := range old.roles {
			if !slices.Contains(roles, r) {
				a.unregister(a.client(id, r), "the framework left the role")
			}
		}
	}
	return nil
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
	if f := a.frameworks[id]; f != nil {
		delete(a.frameworks, id)
		for _, r := range f.roles {
			a.unregister(a.client(id, r), "the framework left")
		}
	}
}

func (a *Allocator) unregister(c *client, why string) {
	if !c.registered {
		return
	}
	c.registered = false
	for c.offers.Len() > 0 {
		a.rescind(c.newest(), why)
	}
	a.dequeue(c.offering)
	if c.offering.parked != nil {
		delete(c.offering.parked.parked, c.offering)
	}
	a.unfilterAll(c)
	for role := c.account.roleOf(); role != nil; role = role.parent {
		delete(role.cut, c)
	}
	c.offering, c.todo, c.cut, c.suppressed = nil, nil, nil, false
	a.offering = slices.DeleteFunc(a.offering, func(o *client) bool { return o == c })
	a.prune(c.account)
}

// Suppress stops offers to a framework in some of its roles, all when none is named. Outstanding offers stay.
func (a *Allocator) Suppress(id structs.FrameworkID, roles ...string) {
	for c := range a.clientsOf(id, roles) {
		c.suppressed = true
		c.offering.blocked = true
		a.dequeue(c.offering)
	}
}

// Revive makes offers flow again to a framework in some of its roles, all when none is named, and forgets its filters.
func (a *Allocator) Revive(id structs.FrameworkID, roles ...string) {
	for c := range a.clientsOf(id, roles) {
		c.suppressed = false
		a.unfilterAll(c)
		a.reopen(c)
	}
}

func (a *Allocator) clientsOf(id structs.FrameworkID, roles []string) func(yield func(*client) bool) {
	return func(yield func(*client) bool) {
		f := a.frameworks[id]
		if f == nil {
			return
		}
		for _, r := range f.roles {
			if (len(roles) == 0 || slices.Contains(roles, r)) && !yield(a.client(id, r)) {
				return
			}
		}
	}
}

// reopen lets a framework look at every node again.
func (a *Allocator) reopen(c *client) {
	c.todo = c.todo[:0]
	c.todo.unite(a.open)
	a.wakeOffering(c)
}

// wakeOffering lets a framework be offered something when there may be something for it.
func (a *Allocator) wakeOffering(c *client) {
	if c.suppressed || c.todo.firstInBoth(a.open) < 0 {
		return
	}
	c.offering.blocked = false
	a.enqueue(c.offering)
}

// offerable reports whether the rest of a node is worth an offer.
func (a *Allocator) offerable(n *node) bool {
	spec := n.Spec()
	if spec == nil || !spec.Schedulable() {
		return false
	}
	avail, used := n.Available(), n.Used()
	cpu, memory := avail.CPU-used.CPU, avail.Memory-used.Memory
	if n.room != nil { // somebody may have what is reserved
		cpu, memory = cpu+n.room.unused.CPU, memory+n.room.unused.Memory
	}
	return a.worth(cpu, memory)
}

func (a *Allocator) worth(cpu structs.Milli, memory structs.Bytes) bool {
	return cpu >= 0 && memory >= 0 && (cpu >= a.options.MinCPU || memory >= a.options.MinMemory)
}

// serveOffer offers one node to a framework whose turn it is; nil when there is none for it.
func (a *Allocator) serveOffer(c *client, now structs.Time) *structs.Offer {
	for {
		ord := c.todo.firstInBoth(a.open)
		if ord < 0 {
			c.offering.blocked = true
			a.dequeue(c.offering)
			return nil
		}
		n := a.byOrd[ord]
		free := n.freeFor(c.view)
		if n.room != nil && !a.worth(free.CPU, free.Memory) {
			c.todo.remove(ord)
			continue
		}
		free = positive(free)
		bundle, limit := a.withinLimits(c.account, free)
		if limit != nil {
			a.dequeue(c.offering)
			c.offering.parked = limit
			limit.parked[c.offering] = true
			return nil
		}
		if !a.worth(bundle.CPU, bundle.Memory) || c.refused(n, bundle, now) {
			c.todo.remove(ord)
			if !bundle.Fits(free) {
				c.cutShort(ord)
			}
			continue
		}
		return a.makeOffer(c, n, bundle, now)
	}
}

// cutShort notes that a filter covers a node only because limits cut the bundle: more room below them reopens it.
func (c *client) cutShort(ord int) {
	c.cut.add(ord)
	for role := c.account.roleOf(); role != nil; role = role.parent {
		if role.limit != nil {
			role.cut[c] = true
		}
	}
}

// reopenCut lets those look again whose bundles a limit cut.
func (a *Allocator) reopenCut(role *account) {
	for c := range role.cut {
		delete(role.cut, c)
		c.todo.unite(c.cut)
		c.cut = nil
		a.wakeOffering(c)
	}
}

func (c *client) refused(n *node, bundle structs.Resources, now structs.Time) bool {
	for _, f := range c.filters[n] {
		if f.until > now && f.refused.Fits(bundle) {
			return true
		}
	}
	return false
}

// positive cuts what is overdrawn to zero, and leaves out custom resources of which nothing is left.
func positive(r structs.Resources) structs.Resources {
	r.CPU, r.Memory, r.Disk, r.Ports = max(0, r.CPU), max(0, r.Memory), max(0, r.Disk), max(0, r.Ports)
	custom := r.Custom
	r.Custom = nil
	for name, v := range custom {
		if v > 0 {
			if r.Custom == nil {
				r.Custom = make(map[string]structs.Milli, len(custom))
			}
			r.Custom[name] = v
		}
	}
	return r
}

// withinLimits cuts a bundle to what the limits of the role leave. When they leave nothing that is worth an offer on any
// node, it returns the role whose limit it is.
func (a *Allocator) withinLimits(acc *account, r structs.Resources) (structs.Resources, *account) {
	for role := acc.roleOf(); role != nil; role = role.parent {
		if role.shut() {
			return r, role
		}
		for kind := range role.limit {
			limit, named := role.limit.at(kind)
			if !named {
				continue
			}
			left := max(0, limit-usedOf(role.used, kind))
			switch kind {
			case kindCPU:
				r.CPU = min(r.CPU, structs.Milli(left))
				if left < int64(a.options.MinCPU) {
					return r, role
				}
			case kindMemory:
				r.Memory = min(r.Memory, structs.Bytes(left))
				if left < int64(a.options.MinMemory) {
					return r, role
				}
			case kindDisk:
				r.Disk = min(r.Disk, structs.Bytes(left))
			default:
				name := a.custom[kind-firstCustom]
				if over := int64(r.Custom[name]) - left; over > 0 {
					r = r.Sub(structs.Resources{Custom: map[string]structs.Milli{name: structs.Milli(over)}})
				}
			}
		}
	}
	return r, nil
}

func (a *Allocator) makeOffer(c *client, n *node, bundle structs.Resources, now structs.Time) *structs.Offer {
	a.lastOffer++
	a.turns++
	a.tookTurn(c.account)
	o := &offer{seq: a.lastOffer, client: c, node: n, amount: a.amount(bundle), at: -1, Offer: structs.Offer{
		ID:        structs.OfferID(fmt.Sprintf("%016x%016x", a.options.Term, a.lastOffer)),
		Framework: c.framework, Role: c.account.path, Node: n.ID, NodeName: n.Name(), Resources: bundle, Reserved: n.parts(c.view, bundle),
		Made: now, Expires: now.Add(a.options.OfferTimeout)}}
	a.offers[o.ID] = o
	a.byExpiry.push(o)
	o.listed = c.offers.PushBack(o)
	addTo(&c.offered, o.amount, 1)
	n.offers = append(n.offers, o)
	n.offered = n.offered.Add(bundle)
	n.Hold(c.account, bundle, nil)
	a.touch(n, false)
	a.lastServed[structs.BatchBand] = a.now
	a.charge(c.account, o.amount, false, false, 1)
	made := o.Offer
	return &made
}

// endOffer gives back what an offer holds.
func (a *Allocator) endOffer(o *offer) {
	is := func(p *offer) bool { return p == o }
	delete(a.offers, o.ID)
	a.byExpiry.remove(o)
	o.client.offers.Remove(o.listed)
	addTo(&o.client.offered, o.amount, -1)
	o.node.offers = slices.DeleteFunc(o.node.offers, is)
	o.node.offered = o.node.offered.Sub(o.Resources)
	o.node.Drop(o.client.account, o.Resources, nil)
	a.touch(o.node, true)
	a.charge(o.client.account, o.amount, false, false, -1)
}

func (c *client) newest() *offer { return c.offers.Back().Value.(*offer) }

// rescind takes an offer back.
func (a *Allocator) rescind(o *offer, why string) {
	a.endOffer(o)
	a.out = append(a.out, Decision{Rescind: &Rescind{Offer: o.ID, Framework: o.Framework, Why: why}})
}

// Decline gives offers back. Offers that ended already are passed over; an offer of another framework is an error and
// changes nothing.
func (a *Allocator) Decline(id structs.FrameworkID, offers []structs.OfferID, f Filter, now structs.Time) error {
	for _, name := range offers {
		if o := a.offers[name]; o != nil && o.Framework != id {
			return structs.Errorf(structs.Forbidden, "offer "+string(name), "was made to another framework")
		}
	}
	for _, name := range offers {
		if o := a.offers[name]; o != nil {
			a.refuse(o.client, o.node, o.Resources, f, now)
			a.endOffer(o)
		}
	}
	return nil
}

// refuse makes a filter.
func (a *Allocator) refuse(c *client, n *node, what structs.Resources, f Filter, now structs.Time) {
	if f.Refuse <= 0 {
		return
	}
	if c.filters == nil {
		c.filters = map[*node][]*filter{}
	}
	made := &filter{client: c, node: n, refused: what, until: now.Add(min(f.Refuse, MaxRefuse)), at: -1}
	for i, g := range slices.Clone(c.filters[n]) {
		// A filter that the new one covers says nothing.
		if g.until <= made.until && what.Fits(g.refused) || i == 0 && len(c.filters[n]) >= maxFilters {
			a.endFilter(g)
		}
	}
	c.filters[n] = append(c.filters[n], made)
	a.byUntil.push(made)
}

func (a *Allocator) endFilter(f *filter) {
	a.byUntil.remove(f)
	list := slices.DeleteFunc(f.client.filters[f.node], func(g *filter) bool { return g == f })
	if len(list) == 0 {
		delete(f.client.filters, f.node)
		return
	}
	f.client.filters[f.node] = list
}

func (a *Allocator) unfilter(c *client, n *node) {
	for _, f := range slices.Clone(c.filters[n]) {
		a.endFilter(f)
	}
}

func (a *Allocator) unfilterAll(c *client) {
	for n := range c.filters {
		a.unfilter(c, n)
	}
}

// Accept uses offers of one node for operations: each becomes a decision, to be answered with Confirm or Refuse. What the
// operations leave goes back with the filter. All or nothing: after an error nothing changed.
func (a *Allocator) Accept(id structs.FrameworkID, offers []structs.OfferID, ops []Operation, f Filter, now structs.Time) ([]*Place, error) {
	if len(offers) == 0 {
		return nil, structs.Errorf(structs.Invalid, "accept", "names no offer")
	}
	first := a.offers[offers[0]]
	var all []*offer
	var sum structs.Resources
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
		sum = sum.Add(o.Resources)
	}
	n, c, left := all[0].node, all[0].client, sum
	if err := c.account.takes(ops); err != nil {
		return nil, err
	}
	taken := map[structs.AssignedPort]bool{}
	for i, op := range ops {
		object := fmt.Sprintf("operation %d", i)
		var problems structs.Problems
		op.Resources.Problems(object, &problems)
		if err := problems.Err(); err != nil {
			return nil, err
		}
		if op.Priority.Band < 0 || int(op.Priority.Band) >= bands {
			return nil, structs.Errorf(structs.Invalid, object, "%s is not a band", op.Priority.Band)
		}
		if !left.Fits(op.Resources) {
			return nil, structs.Errorf(structs.Invalid, object, "needs %s, the offers have %s left", op.Resources, left)
		}
		if len(op.Ports) > op.Resources.Ports {
			return nil, structs.Errorf(structs.Invalid, object, "names %d ports and has %d among its resources", len(op.Ports), op.Resources.Ports)
		}
		for _, p := range op.Ports {
			key := structs.AssignedPort{Host: p.Host, Port: p.Port}
			if p.Port < 1 || p.Port > 65535 || taken[key] || !n.PortFree(p.Host, p.Port) {
				return nil, structs.Errorf(structs.Conflict, object, "port %d is not free on node %s", p.Port, n.Name())
			}
			taken[key] = true
		}
		left = left.Sub(op.Resources)
	}
	for _, o := range all {
		a.endOffer(o)
	}
	var out []*Place
	for _, op := range ops {
		h := &hold{node: n, client: c, job: op.Job, group: op.Group, amount: a.amount(op.Resources), resources: op.Resources,
			ports: op.Ports, band: op.Priority.Band}
		p := a.decide(h, op.Priority, structs.BatchBand)
		out = append(out, p)
	}
	if !left.IsZero() {
		a.refuse(c, n, left, f, now)
	}
	return out, nil
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

// expire ends offers and filters whose time has come.
func (a *Allocator) expire(now structs.Time) {
	for a.byExpiry.len() > 0 && a.byExpiry.top().Expires <= now {
		o := a.byExpiry.top()
		// Who does not answer would be the first to be offered the node again, and nobody else would ever see it.
		a.refuse(o.client, o.node, o.Resources, Filter{DefaultRefuse}, now)
		a.rescind(o, "expired")
	}
	for a.byUntil.len() > 0 && a.byUntil.top().until <= now {
		f := a.byUntil.top()
		a.endFilter(f)
		f.client.todo.add(f.node.Ord)
		a.wakeOffering(f.client)
	}
	a.checkClaims(now)
}

// WakeAt returns when Step must be called again although nothing changed, because an offer or a filter ends, a claim is
// looked at, or a constraint relaxes or hardens; zero for never.
func (a *Allocator) WakeAt() (at structs.Time) {
	if a.byExpiry.len() > 0 {
		at = a.byExpiry.top().Expires
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
	if a.byLook.len() > 0 && (at == 0 || a.byLook.top().look < at) {
		at = a.byLook.top().look
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
	all := make([]*offer, 0, len(a.offers))
	for _, o := range a.offers {
		all = append(all, o)
	}
	slices.SortFunc(all, func(x, y *offer) int { return cmp.Compare(x.seq, y.seq) })
	out := make([]structs.Offer, len(all))
	for i, o := range all {
		out[i] = o.Offer
	}
	return out
}
