package allocator

import (
	"cmp"
	"container/list"
	"math"
	"math/bits"
	"slices"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// client is one framework in one role.
type client struct {
	account    *account
	framework  structs.FrameworkID
	registered bool // by SetFramework for this role
	holds      int  // allocations, decisions and offers
	view       *view
	groups     map[groupKey]*group
	queue      [bands]heap[*group] // groups that may be served now

	// Of one that wants offers.
	of         *framework
	terms      terms
	wishes     []*wish // of what is free, and of slack; none when it wants no offers in this role
	suppressed bool
	offers     list.List // of *offer, oldest first
	offered    []int64   // what they hold
	seen       bitset    // nodes that were compared with the terms
	suits      bitset    // of these, the ones that they let it see
}

type groupKey struct {
	band  structs.Band
	shape *shape
	tag   tag
}

// group is the requests of one framework, band, shape and tag: an equivalence class. What keeps one of them waiting keeps all
// of them waiting, so they wait and wake together. A group without shape stands for a wish to be offered something.
type group struct {
	client   *client
	band     structs.Band // as asked
	shape    *shape
	wish     *wish // of one without shape
	tag      tag
	requests heap[*request]
	members  int // requests, also those with nothing pending
	at       int // position in the queue of its client, -1

	queued  structs.Band // the band of that queue
	blocked bool         // it fits on no node
	parked  *account     // the role whose limit it would exceed
	demoted *account     // the role beyond whose guarantee it is

	since  structs.Time // that it got something, or wants something; zero until the next Step sees it
	retry  structs.Time // no room is kept for it before
	look   structs.Time // see byLook
	lookAt int          // in byLook
	fresh  bool         // in Allocator.fresh
	kept   *kept        // room that is kept for it
}

// request is a Request with what is left of it.
type request struct {
	Request
	group   *group
	pending []Slot // by index
	gang    *gang  // that it is a part of
	at      int    // position in its group, -1

	since    structs.Time // when its clock began to run; 0: it does not, see inForce
	change   structs.Time // when what it asks for changes next
	changeAt int          // position in Allocator.byChange, -1
}

// shape is what is the same for all requests with an equal ask that see the nodes in one way.
type shape struct {
	ask      *placement.Ask
	view     *view // nil for those for whom nothing is reserved
	key      string
	amount   []int64
	groups   map[*group]bool
	index    *placement.Index // nil until it is needed
	mine     *placement.Index // of the nodes with room that is reserved for the view; nil until it is needed
	spare    *placement.Index // of the nodes with slack; nil until it is needed
	used     uint64           // tick of its last use
	blocked  bandSet          // groups served in these bands fit nowhere, whatever they may claim
	gang     *gang            // that the shape stands for; then it has no ask
	reclaims [bands]*reclaim
}

// client returns a framework in a role, for what has no owner.
func (a *Allocator) client(framework structs.FrameworkID, role string) *client {
	return a.clientOf(framework, role, "")
}

func (a *Allocator) newClient(acc *account, framework structs.FrameworkID) *client {
	c := &client{account: acc, framework: framework, view: a.viewOf(acc.path), groups: map[groupKey]*group{}}
	for b := range c.queue {
		c.queue[b] = heap[*group]{less: func(x, y *group) bool { return x.before(y) }, at: func(g *group) *int { return &g.at }}
	}
	return c
}

// level and seq of a wish for offers: that of the default priority, behind all requests of that level.
var (
	offerPriority = structs.DefaultPriority
	offerSeq      = uint64(math.MaxUint64)
)

func (g *group) head() (level int8, seq uint64, id string) {
	if g.shape == nil {
		return offerPriority.Level, offerSeq, ""
	}
	r := g.requests.top()
	return r.Priority.Level, r.Seq, r.ID
}

// before orders the groups of a framework: the higher level, then the older request.
func (g *group) before(o *group) bool {
	gl, gs, gid := g.head()
	ol, os, oid := o.head()
	return cmp.Or(cmp.Compare(ol, gl), cmp.Compare(gs, os), cmp.Compare(gid, oid)) < 0
}

func (r *request) before(o *request) bool {
	return cmp.Or(cmp.Compare(o.Priority.Level, r.Priority.Level), cmp.Compare(r.Seq, o.Seq), cmp.Compare(r.ID, o.ID)) < 0
}

// enqueue lets g be served, unless something keeps it waiting.
func (a *Allocator) enqueue(g *group) {
	if g.at >= 0 || g.blocked || g.parked != nil || g.shape != nil && g.requests.len() == 0 {
		return
	}
	band := g.band
	if g.demoted != nil {
		band = structs.BatchBand
	}
	if g.shape != nil && g.shape.blocked.has(band) {
		return
	}
	g.queued = band
	g.client.queue[g.queued].push(g)
	g.client.account.activate(g.queued)
	g.client.account.reage(g.queued)
}

func (a *Allocator) dequeue(g *group) {
	if g.at < 0 {
		return
	}
	q := &g.client.queue[g.queued]
	q.remove(g)
	if q.len() == 0 {
		g.client.account.deactivate(g.queued)
	}
	g.client.account.reage(g.queued)
}

// reorder restores the order after the head of g changed.
func (g *group) reorder() {
	if g.at >= 0 {
		g.client.queue[g.queued].fix(g)
		g.client.account.reage(g.queued)
	}
}

// bandSet is a set of bands.
type bandSet uint8

func (s bandSet) has(b structs.Band) bool { return s&(1<<b) != 0 }

// upTo has a band and all below it.
func upTo(b structs.Band) bandSet { return 1<<(b+1) - 1 }

// highest returns the highest band in s; s must not be empty.
func (s bandSet) highest() structs.Band { return structs.Band(bits.Len8(uint8(s)) - 1) }

// block makes what of a shape is served in some bands wait until a node changes.
func (a *Allocator) block(s *shape, in bandSet) {
	all := s.blocked | in
	throttled := a.throttled[s]
	a.unblocked(s)
	if throttled {
		a.throttled[s] = true
	}
	s.blocked = all
	a.blocked[s] = true
	a.blockedBands[all.highest()]++
	for g := range s.groups {
		if g.at >= 0 && all.has(g.queued) {
			a.dequeue(g)
		}
	}
}

// unblocked takes a shape out of those that wait.
func (a *Allocator) unblocked(s *shape) {
	if s.blocked == 0 {
		return
	}
	a.blockedBands[s.blocked.highest()]--
	s.blocked = 0
	delete(a.blocked, s)
	delete(a.throttled, s)
}

func (a *Allocator) unblock(s *shape) {
	a.unblocked(s)
	for g := range s.groups {
		a.enqueue(g)
	}
}

// add puts a request with pending slots into its group.
func (a *Allocator) add(r *request) {
	g := r.group
	if r.gang != nil {
		a.ready(r.gang)
		return
	}
	if r.at >= 0 || len(r.pending) == 0 {
		return
	}
	if g.requests.len() == 0 {
		a.seeWaiting(g)
	}
	g.requests.push(r)
	g.reorder()
	a.enqueue(g)
}

// drop takes a request out of its group.
func (a *Allocator) drop(r *request) {
	g := r.group
	if r.at < 0 {
		return
	}
	if g.requests.len() == 1 {
		a.dequeue(g)
		a.seeWaiting(g)
	}
	g.requests.remove(r)
	g.reorder()
}

func (a *Allocator) group(c *client, band structs.Band, s *shape, t tag) *group {
	k := groupKey{band, s, t}
	g := c.groups[k]
	if g == nil {
		g = &group{client: c, band: band, shape: s, tag: t, at: -1, lookAt: -1}
		g.requests = heap[*request]{less: func(x, y *request) bool { return x.before(y) }, at: func(r *request) *int { return &r.at }}
		c.groups[k] = g
		s.groups[g] = true
	}
	return g
}

// leaveGroup notes that a request is no longer of a group, and forgets the group with the last one.
func (a *Allocator) leaveGroup(g *group) {
	if g.members--; g.members > 0 {
		return
	}
	a.dequeue(g)
	a.lookNoMore(g)
	if g.kept != nil {
		a.unkeep(g.kept)
	}
	if g.parked != nil {
		delete(g.parked.parked, g)
	}
	if g.demoted != nil {
		delete(g.demoted.demoted, g)
	}
	delete(g.client.groups, groupKey{g.band, g.shape, g.tag})
	delete(g.shape.groups, g)
	if len(g.shape.groups) == 0 {
		a.retire(g.shape)
	}
	a.prune(g.client.account)
}

// SetRequest makes a request or replaces it. Slots that are in flight are not asked for again; when their placement is
// refused they wait again if this call still listed them. The caller must not change r afterwards.
func (a *Allocator) SetRequest(r *Request) error {
	pending, err := r.check()
	if err != nil {
		return err
	}
	old := a.requests[r.ID]
	if old != nil && old.gang != nil {
		return structs.Errorf(structs.Conflict, "request "+r.ID, "is one of gang %s", old.gang.id)
	}
	if old != nil && !old.sameAs(r) {
		a.dropClaims(r.ID, false)
	}
	pending = a.withoutInFlight(r.ID, pending)
	a.dropClaims(r.ID, true)
	if old != nil {
		a.drop(old)
	}
	c := a.clientOf(r.Framework, r.Role, r.Owner)
	next := &request{Request: *r, pending: pending, at: -1, changeAt: -1}
	next.Slots = nil
	if old != nil {
		a.offClock(old)
		if old.sameAs(r) && len(pending) > 0 {
			next.since = old.since
		}
	}
	g := a.group(c, r.Priority.Band, a.shape(a.inForce(next), c.view), tag{r.Owner, r.FrameworkScheduler})
	g.members++
	next.group = g
	a.requests[r.ID] = next
	if next.since != 0 {
		a.setClock(next)
	}
	a.begin(next)
	a.add(next)
	if old != nil {
		a.leaveGroup(old.group)
	}
	return nil
}

// check returns the slots of a request by index.
func (r *Request) check() ([]Slot, error) {
	object := "request " + r.ID
	switch {
	case r.ID == "" || r.Ask == nil || r.Framework == "":
		return nil, structs.Errorf(structs.Invalid, object, "needs an id, a framework and an ask")
	case !structs.ValidRole(orDefault(r.Role)):
		return nil, structs.Errorf(structs.Invalid, object, "role %q is not a valid name", r.Role)
	case r.Priority.Band < 0 || int(r.Priority.Band) >= bands:
		return nil, structs.Errorf(structs.Invalid, object, "%s is not a band", r.Priority.Band)
	}
	pending := slices.Clone(r.Slots)
	if !slices.IsSortedFunc(pending, compareSlots) {
		slices.SortFunc(pending, compareSlots)
	}
	for i := range pending {
		if pending[i].Index < 0 || i > 0 && pending[i].Index == pending[i-1].Index {
			return nil, structs.Errorf(structs.Invalid, object, "index %d is negative or listed twice", pending[i].Index)
		}
	}
	return pending, nil
}

// sameAs reports whether r asks for the same in the same name, perhaps for other slots.
func (old *request) sameAs(r *Request) bool {
	c := old.group.client
	return c.framework == r.Framework && c.account.path == orDefault(r.Role) && old.group.band == r.Priority.Band &&
		old.Ask.Key() == r.Ask.Key() && old.group.tag == tag{r.Owner, r.FrameworkScheduler}
}

// RemoveRequest withdraws a request. What is in flight of it stays in flight.
func (a *Allocator) RemoveRequest(id string) {
	r := a.requests[id]
	if r == nil {
		return
	}
	if r.gang != nil {
		a.RemoveGang(r.gang.id)
		return
	}
	a.drop(r)
	a.offClock(r)
	delete(a.requests, id)
	a.withoutInFlight(id, nil)
	a.dropClaims(id, false)
	a.leaveGroup(r.group)
}

func compareSlots(x, y Slot) int { return cmp.Compare(x.Index, y.Index) }

func orDefault(role string) string {
	if role == "" {
		return structs.DefaultRole
	}
	return role
}

// withoutInFlight takes the slots that are in flight out of a sorted list, and notes which of them are still wanted.
func (a *Allocator) withoutInFlight(id string, slots []Slot) []Slot {
	placing := a.placing[id]
	if len(placing) == 0 {
		return slots
	}
	for _, h := range placing {
		h.wanted = false
	}
	return slices.DeleteFunc(slots, func(s Slot) bool {
		h := placing[s.Index]
		if h == nil {
			return false
		}
		h.slot, h.wanted = s, true
		return true
	})
}

// again puts a slot back whose placement was refused.
func (a *Allocator) again(id string, s Slot) {
	r := a.requests[id]
	if r == nil {
		return
	}
	i, found := slices.BinarySearchFunc(r.pending, s, compareSlots)
	if found {
		return
	}
	r.pending = slices.Insert(r.pending, i, s)
	a.begin(r)
	a.add(r)
}
