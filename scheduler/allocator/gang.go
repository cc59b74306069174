package allocator

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// Gang is requests whose slots are placed in one Step, or none of them: inside one value of an attribute where their asks
// say so (Ask.Within, the same for all). In the order it is one thing with the resources of all its slots.
type Gang struct {
	ID       string     // unique among gangs; the host names it, such as the job
	Requests []*Request // of one framework, role, owner, priority and sequence number, each with an id of its own
}

// gang is a Gang. Its parts are in no queue: lead, the only request of a group with a shape of its own, stands for all.
type gang struct {
	id    string
	lead  *request
	parts []*request // by id

	// Of one that did not fit.
	tried  uint64 // Allocator.changes of that time
	epoch  uint64 // that of the allocator
	band   structs.Band
	lacks  int64 // so many more allocations must become possible before it can fit; 0: it is not known
	gained int64 // that became possible since, at most

	throttled bool         // it would have claimed room but for MostPreempted
	left      int          // so many more victims were allowed then
	short     int64        // so many of its allocations had no room then, see missing
	again     structs.Time // when it is tried again in any case
}

// landing is a node for one slot of a gang.
type landing struct {
	part  *request
	slot  Slot
	node  *node
	ports []structs.AssignedPort

	forced  bool // it fits there only when something has ended
	victims []*hold
}

// together is the decisions of one gang: when one of them is refused, all are; or its claims.
type together struct{ holds []*hold }

// SetGang makes a gang or replaces it. What is in flight of it is not asked for again, and nothing else of it is placed before
// that is answered. The caller must not change g afterwards.
func (a *Allocator) SetGang(g *Gang) error {
	object := "gang " + g.ID
	if g.ID == "" || len(g.Requests) == 0 {
		return structs.Errorf(structs.Invalid, object, "needs an id and a request")
	}
	pending := make([][]Slot, len(g.Requests))
	first, seen := g.Requests[0], map[string]bool{}
	for i, r := range g.Requests {
		var err error
		if pending[i], err = r.check(); err != nil {
			return err
		}
		old := a.requests[r.ID]
		switch {
		case r.Framework != first.Framework || orDefault(r.Role) != orDefault(first.Role) || r.Priority != first.Priority || r.Seq != first.Seq ||
			r.Owner != first.Owner || r.FrameworkScheduler != first.FrameworkScheduler:
			return structs.Errorf(structs.Invalid, object, "request %s is of another framework, role, priority, number or owner than %s", r.ID, first.ID)
		case r.Ask.Within != first.Ask.Within:
			return structs.Errorf(structs.Invalid, object, "request %s is within %q and %s within %q", r.ID, r.Ask.Within, first.ID, first.Ask.Within)
		case seen[r.ID]:
			return structs.Errorf(structs.Invalid, object, "request %s is listed twice", r.ID)
		case old != nil && (old.gang == nil || old.gang.id != g.ID):
			return structs.Errorf(structs.Conflict, object, "request %s is not one of it", r.ID)
		}
		seen[r.ID] = true
	}
	if old := a.gangs[g.ID]; old != nil && a.asks(old, g, pending) {
		return nil
	}
	c, t := a.clientOf(first.Framework, first.Role, first.Owner), tag{first.Owner, first.FrameworkScheduler}
	c.holds++ // a gang that is replaced keeps its account, and that its place
	a.RemoveGang(g.ID)
	c.holds--
	made := a.newGang(Request{ID: g.ID, Framework: first.Framework, Role: first.Role, Priority: first.Priority, Seq: first.Seq}, c, first.Priority.Band, t)
	for i, r := range g.Requests {
		part := a.newPart(made, r, a.shape(r.Ask.Among(a.work), c.view))
		part.pending = a.withoutInFlight(r.ID, pending[i])
	}
	slices.SortFunc(made.parts, func(x, y *request) int { return strings.Compare(x.ID, y.ID) })
	a.ready(made)
	return nil
}

// newGang makes a gang without parts.
func (a *Allocator) newGang(lead Request, c *client, band structs.Band, t tag) *gang {
	g := &gang{id: lead.ID}
	alone := &shape{gang: g, key: "gang " + g.id, groups: map[*group]bool{}}
	g.lead = &request{Request: lead, group: a.group(c, band, alone, t), at: -1, changeAt: -1}
	g.lead.group.members++
	a.gangs[g.id] = g
	return g
}

// newPart makes a part of a gang, of which nothing waits.
func (a *Allocator) newPart(g *gang, r *Request, s *shape) *request {
	of := g.lead.group
	part := &request{Request: *r, gang: g, at: -1, changeAt: -1,
		group: &group{client: of.client, band: of.band, shape: s, tag: of.tag, at: -1, lookAt: -1}}
	part.Slots = nil
	s.groups[part.group] = true
	a.requests[r.ID] = part
	g.parts = append(g.parts, part)
	return part
}

// asks reports whether a gang asks for what g and the slots of its requests say, or has it in flight.
func (a *Allocator) asks(old *gang, g *Gang, slots [][]Slot) bool {
	if len(old.parts) != len(g.Requests) {
		return false
	}
	for i, r := range g.Requests {
		part := a.requests[r.ID]
		if part == nil || !part.sameAs(r) || part.Priority != r.Priority || part.Seq != r.Seq {
			return false
		}
		have := slices.Clone(part.pending)
		for _, h := range a.placing[r.ID] {
			if h.wanted {
				have = append(have, h.slot)
			}
		}
		slices.SortFunc(have, compareSlots)
		same := func(x, y Slot) bool {
			return x.Index == y.Index && x.Previous == y.Previous && x.Prefer == y.Prefer && slices.Equal(x.Avoid, y.Avoid)
		}
		if !slices.EqualFunc(have, slots[i], same) {
			return false
		}
	}
	return true
}

// RemoveGang withdraws a gang. What is in flight of it stays in flight.
func (a *Allocator) RemoveGang(id string) {
	g := a.gangs[id]
	if g == nil {
		return
	}
	delete(a.gangs, id)
	delete(a.asleep, g)
	a.drop(g.lead)
	for _, r := range g.parts {
		delete(a.requests, r.ID)
		a.withoutInFlight(r.ID, nil)
		a.dropClaims(r.ID, false)
		s := r.group.shape
		delete(s.groups, r.group)
		if len(s.groups) == 0 {
			a.retire(s)
		}
	}
	a.leaveGroup(g.lead.group)
}

// ready lets a gang be served as soon as something of it waits and nothing of it is in flight.
func (a *Allocator) ready(g *gang) {
	waits := slices.ContainsFunc(g.parts, func(r *request) bool { return len(r.pending) > 0 })
	if !waits || a.inFlightOf(g) {
		a.drop(g.lead)
		return
	}
	g.lead.pending = make([]Slot, 1)
	a.add(g.lead)
}

func (a *Allocator) inFlightOf(g *gang) bool {
	return slices.ContainsFunc(g.parts, func(r *request) bool { return len(a.placing[r.ID]) > 0 })
}

// whole returns what the slots of a gang that wait take together, and how many they are.
func (g *gang) whole() (amount []int64, n int) {
	for _, r := range g.parts {
		for range r.pending {
			addTo(&amount, r.group.shape.amount, 1)
		}
		n += len(r.pending)
	}
	return amount, n
}

// serveGang places all that waits of a gang, or puts it aside. It claims free room first, then in addition that which is kept for what starts
// after the gang has ended, then what is offered, then that of running work of lower bands.
func (a *Allocator) serveGang(lead *group) {
	g, acc := lead.shape.gang, lead.client.account
	amount, n := g.whole()
	over, ok := a.admit(lead, amount, n)
	if !ok {
		return
	}
	found := a.land(g, false)
	if found == nil && a.mayBackfill(g) {
		found = a.landBackfilled(g)
	}
	if found == nil && len(a.offers) > 0 {
		if found = a.land(g, true); found != nil {
			a.rescindUnder(found)
		}
	}
	if found == nil {
		a.claimGang(lead, over != nil)
		return
	}
	if over != nil {
		a.makeLimitRoom(acc, amount, n)
	}
	a.placeGang(g, found, lead.queued)
}

// placeGang decides that a gang goes where it was found to fit.
func (a *Allocator) placeGang(g *gang, found []landing, band structs.Band) {
	with := &together{}
	a.served(g.lead.group)
	a.drop(g.lead)
	for _, f := range found {
		h := a.takeSlot(f.part, f.node)
		h.ports, h.with, h.ganged = f.ports, with, true
		with.holds = append(with.holds, h)
		p := a.decide(h, f.part.Priority, band)
		p.Gang = g.id
		a.out = append(a.out, Decision{Place: p})
	}
}

// land finds a node for each slot of a gang that waits, or returns nil; nothing is held after it. offered says that what is
// offered counts as free. Values of the attribute are tried in order of the room that they have for the largest part, those with the
// least first, then by name; those where some part cannot fit by its amounts alone are passed over.
func (a *Allocator) land(g *gang, offered bool) []landing {
	defer a.liftSpots(g.lead.group)()
	parts := a.largestFirst(g)
	if offered {
		if len(a.valuesFor(g, parts, true)) == 0 {
			return nil
		}
		defer a.withoutOffers()() // with reservations, what is offered is not always what it gives back
	}
	values := a.valuesFor(g, parts, false)
	for _, in := range values {
		if found, ok := a.landWithin(parts, in); ok {
			return found
		}
	}
	return nil
}

// largestFirst returns the parts that have slots waiting, those first whose allocation is the largest part of what the region has, then
// by id.
func (a *Allocator) largestFirst(g *gang) []*request {
	parts := slices.DeleteFunc(slices.Clone(g.parts), func(r *request) bool { return len(r.pending) == 0 })
	size := func(r *request) Share { return DRF{}.Share(r.group.shape.amount, a.total, 1) }
	slices.SortStableFunc(parts, func(x, y *request) int {
		switch sx, sy := size(x), size(y); {
		case sy.less(sx):
			return -1
		case sx.less(sy):
			return 1
		}
		return 0
	})
	return parts
}

// valuesFor returns the values in which a gang may fit, in the order in which they are tried.
func (a *Allocator) valuesFor(g *gang, parts []*request, offered bool) (values []string) {
	var more func(*node) structs.Resources
	if offered {
		more = func(n *node) structs.Resources { return n.offered }
	}
	rooms := make([]map[string]int64, len(parts))
	for i, r := range parts {
		rooms[i] = a.roomsOf(r, more)
	}
	values = g.enough(parts, rooms)
	slices.SortFunc(values, func(x, y string) int {
		return cmp.Or(cmp.Compare(rooms[0][x], rooms[0][y]), strings.Compare(x, y))
	})
	return values
}

// roomsOf adds up how many allocations of a part the nodes take by their amounts alone, by value of the attribute, what is reserved for
// its role counted as free, and what more says of a node.
func (a *Allocator) roomsOf(r *request, more func(*node) structs.Resources) map[string]int64 {
	s := r.group.shape
	a.sync(s)
	if s.view == nil && more == nil {
		return s.index.Rooms(nil)
	}
	return s.index.Rooms(func(x *placement.Node) *structs.Resources {
		n := a.byOrd[x.Ord]
		sum := n.visible(s.view)
		if more != nil {
			sum = sum.Add(more(n))
		}
		return &sum
	})
}

// enough returns the values that may have room for all parts, and notes what the gang lacks when there is none.
func (g *gang) enough(parts []*request, rooms []map[string]int64) (values []string) {
	least := int64(len(parts[0].pending)) // in a value that no node has yet
	for value := range rooms[0] {
		lacks := int64(0)
		for i, r := range parts {
			lacks = max(lacks, int64(len(r.pending))-rooms[i][value])
		}
		if least = min(least, lacks); lacks <= 0 {
			values = append(values, value)
		}
	}
	g.lacks = max(0, least)
	return values
}

// landWithin gives each slot the best node that is left inside one value, and reports whether all have one. Nothing is
// held after it.
func (a *Allocator) landWithin(parts []*request, in string) (found []landing, ok bool) {
	defer func() { a.unland(found) }()
	for _, r := range parts {
		for _, slot := range r.pending {
			f, ok := a.landing(r, slot, in)
			if !ok {
				return found, false
			}
			found = append(found, f)
		}
	}
	return found, true
}

// landing holds the best node for one slot for the time of a try.
func (a *Allocator) landing(r *request, slot Slot, in string) (f landing, ok bool) {
	f = landing{part: r, slot: slot, node: a.chooseWithin(r.group.shape, slot, &in)}
	if f.node == nil {
		return f, false
	}
	if f.ports, ok = f.node.Assign(r.group.shape.ask); !ok {
		return f, false
	}
	a.try(&f)
	return f, true
}

// try holds what a slot of a gang takes of a node, for the time until unland.
func (a *Allocator) try(f *landing) {
	f.node.Hold(f.part.group.client.account, f.part.Ask.Resources, f.ports)
	a.countPeer(f.node, f.part.Ask.Job, f.part.Ask.Group, f.part.Ask.Marks, 1)
	a.look(f.node)
}

func (a *Allocator) unland(found []landing) {
	for i := range found {
		f := &found[i]
		f.node.Drop(f.part.group.client.account, f.part.Ask.Resources, f.ports)
		a.countPeer(f.node, f.part.Ask.Job, f.part.Ask.Group, f.part.Ask.Marks, -1)
		a.look(f.node)
	}
}

// rescindUnder takes the offers back that are on nodes of a gang, the oldest first.
func (a *Allocator) rescindUnder(found []landing) {
	var offers []*offer
	seen := map[*node]bool{}
	for _, f := range found {
		if !seen[f.node] {
			seen[f.node] = true
			offers = append(offers, f.node.offers...)
		}
	}
	slices.SortFunc(offers, func(x, y *offer) int { return cmp.Compare(x.seq, y.seq) })
	for _, o := range offers {
		a.rescind(o, "a gang needs the room")
	}
}

// sleep puts a gang aside that did not fit in a band, or that may not have as many victims as it needs.
func (a *Allocator) sleep(g *gang, band structs.Band, throttled bool) {
	g.tried, g.epoch, g.band, g.gained, g.throttled = a.changes, a.epoch, band, 0, throttled
	if throttled {
		g.left, g.short, g.again, g.lacks = a.mostPreempted()-a.preempted, a.missing(g), a.now.Add(ClaimCheck), 1
	}
	a.asleep[g] = true
	a.dequeue(g.lead.group)
	g.lead.group.shape.blocked |= upTo(band)
}

// rouse lets the gangs try again that may fit since something changed, and reports whether there are any. It is called when a Step
// begins and when nothing else can be served.
func (a *Allocator) rouse() (some bool) {
	for g := range a.asleep {
		if g.throttled && !a.eased(g) ||
			!g.throttled && g.epoch == a.epoch && (g.tried == a.changes || g.gained < g.lacks && !a.mayBackfill(g)) {
			continue
		}
		delete(a.asleep, g)
		g.lead.group.shape.blocked = 0
		a.enqueue(g.lead.group)
		some = true
	}
	return some
}

// eased reports whether a gang that was throttled is tried again: more may be stopped than then, fewer of its allocations are without
// room, or it waited long enough, since fewer victims may do.
func (a *Allocator) eased(g *gang) bool {
	switch {
	case a.mostPreempted()-a.preempted > g.left || a.now >= g.again:
		return true
	case g.tried == a.changes || g.gained < g.lacks:
		return false // no node grew that may take one of it
	}
	g.tried, g.gained = a.changes, 0
	return a.missing(g) < g.short
}

// missing returns how many allocations of a gang have no room by their amounts alone, at least, where that is fewest; what is offered
// counts as free.
func (a *Allocator) missing(g *gang) int64 {
	if len(a.offers) > 0 {
		defer a.withoutOffers()()
	}
	defer a.liftSpots(g.lead.group)()
	parts := a.largestFirst(g)
	if len(parts) == 0 {
		return 0 // it was placed meanwhile, where room was kept for it
	}
	lacks := g.lacks
	a.valuesFor(g, parts, false)
	lacks, g.lacks = g.lacks, lacks
	return lacks
}

// gain counts for the gangs that wait how many of their allocations nodes that grew may take.
func (a *Allocator) gain(grown []*node) {
	for g := range a.asleep {
		for _, n := range grown {
			if g.gained >= g.lacks {
				break
			}
			most, more := int64(0), a.mayGo(n, g.band).Add(n.offered)
			if n.kept != nil && n.kept.group == g.lead.group {
				more = more.Add(n.kept.room)
			}
			more = more.Add(n.visible(g.lead.group.client.view))
			for _, r := range g.parts {
				most = max(most, placement.Times(n.Node, r.Ask, &more))
			}
			g.gained += most
		}
	}
}

// refuseAll takes all decisions back that were made together and are not answered yet.
func (a *Allocator) refuseAll(with *together) {
	open := slices.DeleteFunc(slices.Clone(with.holds), func(h *hold) bool { return a.decisions[h.decision] != h })
	for _, h := range open {
		a.settled(h)
		a.give(h)
	}
	for _, h := range open {
		if h.wanted {
			a.again(h.request, h.slot)
		}
	}
}

// withoutOffers takes all offers off the books and off their nodes, for the time until the function that it returns is called.
func (a *Allocator) withoutOffers() (back func()) {
	type lifted struct {
		node    *node
		offers  []*offer
		offered structs.Resources
	}
	var all []lifted
	for _, n := range a.byOrd {
		if len(n.offers) > 0 {
			all = append(all, lifted{n, n.offers, n.offered})
			n.liftOffers()
			n.offers, n.offered = nil, structs.Resources{}
			a.look(n)
		}
	}
	return func() {
		for _, x := range all {
			x.node.offers, x.node.offered = x.offers, x.offered
			x.node.putOffers()
			a.look(x.node)
		}
	}
}

// reshape has a part of a gang ask for what running work lets it ask for now.
func (a *Allocator) reshape(part *request, s *shape) {
	old := part.group.shape
	delete(old.groups, part.group)
	part.group.shape = s
	s.groups[part.group] = true
	if len(old.groups) == 0 {
		a.retire(old)
	}
	if k := part.gang.lead.group.kept; k != nil {
		for _, x := range k.spots {
			a.touch(x.node, false)
		}
	}
	if g := part.gang; a.asleep[g] {
		g.tried, g.lacks, g.gained = math.MaxUint64, 0, 0
	}
}

// rehomeGangs moves the gangs of a role to where they belong when owners begin or cease to matter in it.
func (a *Allocator) rehomeGangs(role *account) {
	for _, g := range a.gangs {
		old := g.lead.group
		if old.client.account.path != role.path {
			continue
		}
		a.drop(g.lead)
		r := g.parts[0]
		c := a.clientOf(r.Framework, r.Role, r.Owner)
		g.lead.group = a.group(c, old.band, old.shape, old.tag)
		g.lead.group.members++
		g.lead.group.waitsAs(old)
		for _, part := range g.parts {
			part.group.client = c
		}
		a.leaveGroup(old)
		a.ready(g)
	}
}
