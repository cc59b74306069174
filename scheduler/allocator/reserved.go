package allocator

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// room is what is reserved on a node for roles. What of it is unused is held on the books of the node, so that nobody has
// it; work of the role sees the books with that given back.
type room struct {
	rooms  []structs.ReservedRoom
	held   []structs.Resources // of each: by its role and those below
	unused structs.Resources   // of all
}

// view is the nodes as work of a role sees them for which room is reserved somewhere, for the role or one above. Work that
// has no view sees what is reserved for nobody. A shape belongs to one view.
type view struct {
	role  string                    // the deepest one for which room is reserved
	nodes map[*node]*placement.Node // where room is reserved for it, or for one above; as its work sees them while some is unused
	pool  *placement.Pool           // of these
	spare bool                      // it is that of what is revocable, which sees the slack of the nodes
}

func newView(role string) *view {
	return &view{role: role, nodes: map[*node]*placement.Node{}, pool: placement.NewPool()}
}

// join takes a node in when room on it is reserved for work of v, or lets it go when none is any more.
func (v *view) join(n *node) {
	reserved, mine := n.reservedFor(v), v.nodes[n]
	switch {
	case reserved && mine == nil:
		v.nodes[n] = placement.NewNode(n.ID, nil)
		n.views = append(n.views, v)
	case !reserved && mine != nil:
		v.look(n)
		v.leave(n)
	}
}

func (v *view) leave(n *node) {
	delete(v.nodes, n)
	n.views = slices.DeleteFunc(n.views, func(o *view) bool { return o == v })
}

// look takes over what changed on a node that is in v.
func (v *view) look(n *node) {
	mine := v.nodes[n]
	mine.Mirror(n.Node, n.visible(v))
	v.pool.Changed(mine)
}

// reservedFor reports whether room on n is reserved for work of a view.
func (n *node) reservedFor(v *view) bool {
	return n.room != nil && slices.ContainsFunc(n.room.rooms, func(x structs.ReservedRoom) bool { return structs.RoleWithin(v.role, x.Role) })
}

// Hold takes an amount and ports for an account, and notes what that means for reserved room.
func (n *node) Hold(acc *account, amount structs.Resources, ports []structs.AssignedPort) {
	n.Node.Hold(amount, ports)
	if n.room != nil {
		n.reckon(acc, amount, ports, true)
	}
}

// Drop gives back what Hold took.
func (n *node) Drop(acc *account, amount structs.Resources, ports []structs.AssignedPort) {
	n.Node.Drop(amount, ports)
	if n.room != nil {
		n.reckon(acc, amount, ports, false)
	}
}

func (n *node) reckon(acc *account, amount structs.Resources, ports []structs.AssignedPort, more bool) {
	x := n.room
	concerned := len(structs.PortsIn(n.reserved, ports)) > 0 // by whomever
	for i := range x.rooms {
		if !structs.RoleWithin(acc.path, x.rooms[i].Role) {
			continue
		}
		concerned = true
		if more {
			x.held[i] = x.held[i].Add(amount)
		} else {
			x.held[i] = x.held[i].Sub(amount)
		}
	}
	if concerned {
		n.Node.Drop(x.unused, nil)
		n.attribute()
		n.Node.Hold(x.unused, nil)
	}
}

func (n *node) attribute() {
	x := n.room
	structs.Attribute(x.rooms, x.held)
	if len(n.reserved) > 0 {
		structs.TakePorts(x.rooms, n.ReservedHeld())
	}
	x.unused = structs.UnusedOf(x.rooms)
}

// visible returns the unused reserved room on n that work of a view may use.
func (n *node) visible(v *view) structs.Resources {
	switch {
	case v == nil:
		return structs.Resources{}
	case v.spare:
		return n.spareBack()
	case n.room == nil:
		return structs.Resources{}
	}
	return structs.UnusedFor(v.role, n.room.rooms)
}

// freeFor returns what is left for work of a view.
func (n *node) freeFor(v *view) structs.Resources {
	free := n.Free()
	if n.room != nil && v != nil {
		free = free.Add(n.visible(v))
	}
	return free
}

// seen returns the books of n as work of a view sees them; when asked for, with what offers hold, or what is kept for a
// group, given back. n is not changed.
func (n *node) seen(v *view, offers, kept bool) *placement.Node {
	offers, kept = offers && len(n.offers) > 0, kept && n.kept != nil
	if n.room == nil {
		switch {
		case offers && kept:
			return n.With(n.offered.Add(n.kept.room))
		case offers:
			return n.With(n.offered)
		case kept:
			return n.With(n.kept.room)
		}
		return n.Node
	}
	if offers {
		n.liftOffers()
	}
	if kept {
		n.liftKept()
	}
	books := n.With(n.visible(v))
	if kept {
		n.putKept()
	}
	if offers {
		n.putOffers()
	}
	return books
}

// liftOffers takes what offers hold off the books, for the time of a computation that ends with putOffers.
func (n *node) liftOffers() {
	if n.room == nil {
		n.Node.Drop(n.offered, nil)
		return
	}
	for _, o := range n.offers {
		o.drop()
	}
}

func (n *node) putOffers() {
	if n.room == nil {
		n.Node.Hold(n.offered, nil)
		return
	}
	for _, o := range n.offers {
		o.hold()
	}
}

// liftKept takes what is kept off the books, for the time of a computation that ends with putKept.
func (n *node) liftKept() { n.Drop(n.kept.group.client.account, n.kept.room, nil) }

func (n *node) putKept() { n.Hold(n.kept.group.client.account, n.kept.room, nil) }

// SetReservation sets room on a node aside for a role. The caller has checked it and must not change r afterwards.
func (a *Allocator) SetReservation(r *structs.Reservation) error {
	if r.ID == "" || r.Node == "" || !structs.ValidRole(r.Role) {
		return structs.Errorf(structs.Invalid, "reservation "+string(r.ID), "needs an id, a node and a role")
	}
	if old := a.reservations[r.ID]; old != nil && old.Node != r.Node {
		a.release(old)
	}
	a.reservations[r.ID] = r
	n := a.node(r.Node)
	n.reservations = slices.DeleteFunc(n.reservations, func(o *structs.Reservation) bool { return o.ID == r.ID })
	n.reservations = append(n.reservations, r)
	slices.SortFunc(n.reservations, func(x, y *structs.Reservation) int { return strings.Compare(string(x.ID), string(y.ID)) })
	a.rebook(n)
	return nil
}

// RemoveReservation releases the room of a reservation.
func (a *Allocator) RemoveReservation(id structs.ReservationID) {
	r := a.reservations[id]
	if r == nil {
		return
	}
	delete(a.reservations, id)
	a.release(r)
}

// release takes a reservation off its node.
func (a *Allocator) release(r *structs.Reservation) {
	n := a.nodes[r.Node]
	n.reservations = slices.DeleteFunc(n.reservations, func(o *structs.Reservation) bool { return o.ID == r.ID })
	a.rebook(n)
	a.bury(n)
}

// rebook computes the reserved room on a node anew after its reservations changed. Offers that are in the way of it are
// rescinded.
func (a *Allocator) rebook(n *node) {
	var static map[string]*structs.Resources
	if spec := n.Spec(); spec != nil {
		static = spec.ReservedFor
	}
	before := map[string]bool{}
	if n.lends() {
		a.lenders = slices.DeleteFunc(a.lenders, func(o *node) bool { return o == n })
	}
	if n.room != nil {
		n.Node.Drop(n.room.unused, nil)
		for i := range n.room.rooms {
			before[n.room.rooms[i].Role] = true
		}
		n.room = nil
	}
	had := n.reserved
	n.reserved = nil
	after := map[string]bool{}
	if rooms := structs.ReservedRooms(n.reservations, static); len(rooms) > 0 {
		n.room = &room{rooms: rooms, held: n.Spec().HeldByVolumes(rooms)}
		n.reserved = structs.ReservedPorts(rooms)
		for i := range rooms {
			after[rooms[i].Role] = true
		}
		a.eachHeld(n, func(acc *account, amount structs.Resources) {
			for i := range rooms {
				if structs.RoleWithin(acc.path, rooms[i].Role) {
					n.room.held[i] = n.room.held[i].Add(amount)
				}
			}
		})
	}
	if len(had) > 0 || len(n.reserved) > 0 {
		n.SetReserved(n.reserved, nil)
	}
	if n.room != nil {
		n.attribute()
		n.Node.Hold(n.room.unused, nil)
	}
	if n.lends() {
		a.lenders = append(a.lenders, n)
	}
	for _, role := range slices.Sorted(maps.Keys(before)) {
		if !after[role] {
			a.reserveIn(role, -1)
		}
	}
	for _, role := range slices.Sorted(maps.Keys(after)) {
		if !before[role] {
			a.reserveIn(role, 1)
		}
	}
	for _, v := range a.views {
		v.join(n)
	}
	a.settle(n)
	a.ripen(n)
	a.touch(n, true)
}

// eachHeld calls yield with all that holds something on a node.
func (a *Allocator) eachHeld(n *node, yield func(acc *account, amount structs.Resources)) {
	for _, h := range n.allocs {
		yield(h.client.account, h.booked())
	}
	for _, h := range n.claims {
		yield(h.client.account, h.booked())
	}
	if n.undecided() {
		for _, h := range a.decisions {
			if h.node == n {
				yield(h.client.account, h.booked())
			}
		}
	}
	for _, o := range n.offers {
		yield(o.client.account, o.Resources)
	}
	if n.kept != nil {
		yield(n.kept.group.client.account, n.kept.room)
	}
}

// reserveIn notes that room for a role is reserved on one node more or less. With the first one, or without the last, work
// of the role and of those below it sees the nodes differently.
func (a *Allocator) reserveIn(role string, by int) {
	was := a.reservedIn[role]
	a.reservedIn[role] += by
	switch {
	case was == 0:
		v := newView(role)
		a.views[role] = v
		for _, n := range a.byOrd {
			if v.join(n); v.nodes[n] != nil {
				v.look(n)
			}
		}
	case was+by == 0:
		delete(a.reservedIn, role)
		for n := range a.views[role].nodes {
			a.views[role].leave(n)
		}
		delete(a.views, role)
	default:
		return
	}
	if acc := a.find(role); acc != nil {
		a.regroupBelow(acc)
	}
}

// viewOf returns how work of a role sees the nodes: with the room that is reserved for the deepest role at or above it, and
// for those above that one. Nil when there is none.
func (a *Allocator) viewOf(role string) *view {
	if len(a.views) == 0 {
		return nil
	}
	for role != "" {
		if v := a.views[role]; v != nil {
			return v
		}
		role = role[:max(0, strings.LastIndexByte(role, '/'))]
	}
	return nil
}

// regroupBelow has all frameworks below an account see the nodes as they do now.
func (a *Allocator) regroupBelow(acc *account) {
	if acc.client != nil {
		a.regroup(acc.client)
		return
	}
	for child := range acc.children() {
		a.regroupBelow(child)
	}
}

func (a *Allocator) regroup(c *client) {
	c.view = a.viewOf(c.account.path)
	for k, g := range maps.Clone(c.groups) {
		if g.shape.gang != nil {
			for _, part := range g.shape.gang.parts {
				a.askAnew(part)
			}
			continue
		}
		old, s := g.shape, a.shape(g.shape.ask, c.view)
		if s == old {
			continue
		}
		a.dequeue(g)
		delete(c.groups, k)
		delete(old.groups, g)
		g.shape = s
		s.groups[g] = true
		c.groups[groupKey{g.band, s, g.tag}] = g
		if len(old.groups) == 0 {
			a.retire(old)
		}
		if g.kept != nil {
			a.touch(g.kept.spots[0].node, true)
		}
		a.enqueue(g)
	}
	a.reopen(c)
}

// reserved returns the index over the nodes with unused room that is reserved for a shape, or nil.
func (a *Allocator) reserved(s *shape) *placement.Index {
	if s.view == nil {
		return nil
	}
	if s.mine == nil || !s.mine.IsBeside(s.index) {
		s.mine = s.view.pool.Beside(s.index, func(ord int) *placement.Node { return s.view.nodes[a.byOrd[ord]] })
	}
	return s.mine
}

// lends reports whether room on n is reserved from a time on.
func (n *node) lends() bool {
	return n.room != nil && slices.ContainsFunc(n.room.rooms, func(x structs.ReservedRoom) bool { return x.From != 0 })
}

// lent returns the books of n with what is reserved for others from a time on at which s has ended, when it is placed now;
// nil when that is nothing.
func (a *Allocator) lent(n *node, s *shape) *placement.Node {
	if n.room == nil || s.ask.MaxRun <= 0 {
		return nil
	}
	role := ""
	if s.view != nil {
		role = s.view.role
	}
	back := structs.LentTo(role, n.room.rooms, a.now.Add(s.ask.MaxRun).Add(EndMargin))
	if back.IsZero() {
		return nil
	}
	return n.With(back.Add(n.visible(s.view)))
}

// borrow returns the node for a slot of work that has ended when reserved room is needed, or nil.
func (a *Allocator) borrow(s *shape, slot Slot) *node {
	if s.ask.MaxRun <= 0 {
		return nil
	}
	var nodes []*placement.Node
	for _, n := range a.lenders {
		if books := a.lent(n, s); books != nil {
			nodes = append(nodes, books)
		}
	}
	return a.bestOf(nodes, s, slot)
}

// parts tells of a bundle that is about to be offered which reservations it is from: what is reserved for the deepest role
// first, then older ones.
func (n *node) parts(v *view, bundle structs.Resources) (out []*structs.ReservedPart) {
	if n.room == nil || v == nil {
		return nil
	}
	var static []*structs.Reservation
	if spec := n.Spec(); spec != nil {
		static = spec.StaticReservations()
	}
	for _, x := range n.room.rooms {
		if !structs.RoleWithin(v.role, x.Role) {
			continue
		}
		part := x.Unused.Least(bundle)
		bundle = bundle.Sub(part)
		for _, r := range slices.Concat(static, n.reservations) {
			if own := r.Resources.Least(part); r.Role == x.Role && r.From == x.From && !own.IsZero() {
				out = append(out, &structs.ReservedPart{Reservation: r.ID, Role: r.Role, Resources: own})
				part = part.Sub(own)
			}
		}
	}
	return out
}

// fitsOn reports whether s fits on a node now.
func (a *Allocator) fitsOn(n *node, s *shape) bool {
	if n.room == nil || s.view == nil {
		return s.index.Fits(n.Node)
	}
	return placement.Fits(n.seen(s.view, false, false), a.peersFor(s), s.ask, placement.First).OK
}

// ReservedRoom is room on a node that is reserved for others.
type ReservedRoom struct {
	Node   structs.NodeID    `json:"node"`
	Name   string            `json:"node_name"`
	Role   string            `json:"role"`
	Unused structs.Resources `json:"unused"`
}

// mostReservedRooms bounds what an explanation lists.
const mostReservedRooms = 8

// reservedForOthers returns where a request would fit but for room that is reserved for others, by node, not all of it when
// it is much.
func (a *Allocator) reservedForOthers(s *shape) (out []ReservedRoom) {
	for _, n := range a.byOrd {
		if n.room == nil || len(out) >= mostReservedRooms {
			continue
		}
		peers, books := a.peersFor(s), n.seen(s.view, true, false)
		if placement.Fits(books, peers, s.ask, placement.First).OK {
			continue
		}
		if !placement.Fits(books.With(n.room.unused.Sub(n.visible(s.view))), peers, s.ask, placement.First).OK {
			continue
		}
		for _, x := range n.room.rooms {
			if !x.Unused.IsZero() && (s.view == nil || !structs.RoleWithin(s.view.role, x.Role)) {
				out = append(out, ReservedRoom{n.ID, n.Name(), x.Role, x.Unused})
			}
		}
	}
	slices.SortStableFunc(out, func(x, y ReservedRoom) int { return strings.Compare(string(x.Node), string(y.Node)) })
	return out
}

// ReservedText tells whose reserved room it might otherwise have.
func (w *Waiting) ReservedText() (lines []string) {
	for _, x := range w.Reserved {
		lines = append(lines, fmt.Sprintf("room on %s is reserved for %s: %s unused", x.Name, x.Role, x.Unused))
	}
	return lines
}
