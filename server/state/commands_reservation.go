package state

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Bounds of reservations.
const (
	MaxReservationsOfNode = 64
	MaxReservations       = 50_000
)

// PutReservation sets room on a node aside for a role, which is made when it does not exist. Without Force it is a conflict
// when others hold the room, or when it is reserved for others; with Force the room is the role's as it becomes free. What is
// refined (Refines) is taken out of what is reserved for that role on the node. The reservation's ID is new, and what the
// servers set is ignored. Answer: *Reserved.
type PutReservation struct {
	Reservation *structs.Reservation
	Force       bool
	Sealed      bool
}

// Reserved answers PutReservation.
type Reserved struct {
	Index uint64
	ID    structs.ReservationID
}

// DeleteReservations releases the room of reservations, all or none. It is a conflict when others are taken out of one of
// them and stay, and not found when one is not there. Answer: *Receipt.
type DeleteReservations struct {
	IDs   []structs.ReservationID
	Force bool // passes over those that are not there, and releases those that others are taken out of: they stay
}

func (*PutReservation) Kind() string     { return "reservation.put" }
func (*DeleteReservations) Kind() string { return "reservation.delete" }

func init() {
	register[PutReservation, Reserved]()
	register[DeleteReservations, Receipt]()
}

// Apply reserves.
func (c *PutReservation) Apply(tx *Tx) (any, error) {
	if c.Reservation == nil || c.Reservation.ID == "" {
		return nil, structs.Errorf(structs.Invalid, "reservation", "it has no id")
	}
	r := *c.Reservation
	if err := r.Problems().Err(); err != nil {
		return nil, structs.Errorf(structs.Invalid, "reservation", "%w", err)
	}
	n, err := tx.node(r.Node)
	if err != nil {
		return nil, err
	}
	object := "reservation on " + nodeText(n)
	if get(tx.reservations, r.ID) != nil {
		return nil, structs.Errorf(structs.Conflict, object, "there is one with the id %s", r.ID)
	}
	if r.Until != 0 && r.Until <= tx.Now {
		return nil, structs.Errorf(structs.Invalid, object, "it ends in the past, at %s", r.Until)
	}
	if r.Owner != "" && tx.framework(r.Owner) == nil {
		return nil, structs.Errorf(structs.NotFound, object, "there is no framework %q that could own it", r.Owner)
	}
	if tx.reservations.Len() >= MaxReservations || len(tx.reservedOn(n.ID)) >= MaxReservationsOfNode {
		return nil, structs.Errorf(structs.Exhausted, object, "there are %d reservations on the node, of %d, and %d in the region, of %d",
			len(tx.reservedOn(n.ID)), MaxReservationsOfNode, tx.reservations.Len(), MaxReservations)
	}
	if err := tx.takesNew(r.Role, c.Sealed); err != nil {
		return nil, err
	}
	before := tx.roomsOn(n)
	if err := refinable(object, &r, before); err != nil {
		return nil, err
	}
	if err := tx.reservablePorts(n, &r, before, c.Force); err != nil {
		return nil, err
	}
	tx.makeRole(r.Role)
	r.NodeName, r.Made, r.Orphaned, r.Static = n.Name, tx.Now, 0, false
	r.CreateIndex, r.ModifyIndex = tx.Index, tx.Index
	tx.put(Reservations, nil, &r)
	answer := &Reserved{Index: tx.Index, ID: r.ID}
	if c.Force {
		return answer, nil
	}
	over := tx.overbooked(n)
	for _, resource := range slices.Sorted(maps.Keys(over)) {
		most := over[resource]
		if asked := r.Resources.Amount(resource); asked > 0 && most > 0 {
			want, could := structs.AmountsText(resource, asked, max(0, asked-most))
			return nil, structs.Errorf(structs.Conflict, object, "%s %s are asked for and %s can be reserved: the rest is in use by others, or reserved",
				resource, want, could).
				Advise("reserve less, drain the node first, or force it: the role then gets the room as it becomes free")
		}
	}
	return answer, nil
}

// refinable checks that what r is taken out of is reserved.
func refinable(object string, r *structs.Reservation, rooms []structs.ReservedRoom) error {
	if r.Refines == "" {
		return nil
	}
	var have structs.Resources
	for _, x := range rooms {
		if x.Role == r.Refines && x.From <= r.From {
			have = have.Add(x.Reserved)
		}
	}
	for _, resource := range append([]string{"cpu", "memory", "disk"}, r.Resources.Names()...) {
		if asked := r.Resources.Amount(resource); asked > have.Amount(resource) {
			want, there := structs.AmountsText(resource, asked, have.Amount(resource))
			return structs.Errorf(structs.Conflict, object, "%s %s are asked for and %s are reserved for role %q there", resource, want, there, r.Refines)
		}
	}
	if ports := structs.OfPorts(r.Resources.PortRanges()); !have.Fits(ports) {
		return structs.Errorf(structs.Conflict, object, "%s are asked for, and not reserved for role %q there", ports.Sub(structs.OfPorts(have.PortRanges())), r.Refines)
	}
	return nil
}

// reservablePorts checks that the node has the ports that r wants, that they are reserved for nobody but the role that r refines, and, but
// with force, that others do not hold them.
func (tx *Tx) reservablePorts(n *structs.Node, r *structs.Reservation, rooms []structs.ReservedRoom, force bool) error {
	ports := r.Resources.PortRanges()
	if len(ports) == 0 {
		return nil
	}
	object := "reservation on " + nodeText(n)
	if beyond := structs.OfPorts(ports).Sub(structs.OfPorts([]structs.Range{n.PortRange})); !beyond.IsZero() {
		have := "no ports"
		if n.PortRange.Last > 0 {
			have = fmt.Sprintf("ports %d-%d", n.PortRange.First, n.PortRange.Last)
		}
		return structs.Errorf(structs.Conflict, object, "%s are asked for, and the node has %s", beyond, have)
	}
	for i := range rooms {
		x := &rooms[i]
		if twice := structs.CommonRanges(x.Reserved.PortRanges(), ports); len(twice) > 0 && x.Role != r.Refines {
			return structs.Errorf(structs.Conflict, object, "%s are reserved for role %q", structs.OfPorts(twice), x.Role).
				Advise("a port is reserved once: take other ones, or, for a role below, take them out of that with refines")
		}
	}
	if force {
		return nil
	}
	for a := range tx.onNode(n.ID, false) {
		if structs.RoleWithin(a.Role, r.Role) || endsBy(a, r.From) {
			continue
		}
		if held := structs.PortsIn(ports, a.Ports); len(held) > 0 {
			return structs.Errorf(structs.Conflict, object, "%s are held by allocation %s of role %q", structs.OfPorts(held), structs.Short(a.ID), a.Role).
				Advise("take other ones, or force it: the role then gets them as they become free")
		}
	}
	return nil
}

// endsBy reports whether an allocation has ended at a time at the latest.
func endsBy(a *structs.Allocation, at structs.Time) bool {
	return a.MaxRunDuration > 0 && a.Created.Add(a.MaxRunDuration).Add(structs.EndMargin) <= at
}

// overbooked says by how much what is held on a node and what is reserved there and unused are more than it has, at the
// worst of the times from which something is reserved: what has ended by then does not count.
func (tx *Tx) overbooked(n *structs.Node) map[string]int64 {
	over := map[string]int64{}
	all := tx.roomsOn(n)
	for _, at := range all {
		rooms := slices.DeleteFunc(slices.Clone(all), func(x structs.ReservedRoom) bool { return x.From > at.From })
		held, free := n.HeldByVolumes(rooms), n.Available()
		for a := range tx.onNode(n.ID, false) {
			if endsBy(a, at.From) {
				continue
			}
			free = free.Sub(a.Booked())
			for i := range rooms {
				if structs.RoleWithin(a.Role, rooms[i].Role) {
					held[i] = held[i].Add(a.Booked())
				}
			}
		}
		structs.Attribute(rooms, held)
		free = free.Sub(structs.UnusedOf(rooms))
		for _, resource := range append([]string{"cpu", "memory", "disk"}, free.Names()...) {
			over[resource] = max(over[resource], -free.Amount(resource))
		}
	}
	return over
}

// Apply releases.
func (c *DeleteReservations) Apply(tx *Tx) (any, error) {
	var all []*structs.Reservation
	for _, id := range c.IDs {
		switch r := get(tx.reservations, id); {
		case r != nil:
			all = append(all, r)
		case !c.Force:
			return nil, structs.Errorf(structs.NotFound, "reservation "+string(id), "there is none")
		}
	}
	for _, r := range all {
		if get(tx.reservations, r.ID) != nil {
			tx.put(Reservations, r, nil)
		}
	}
	for _, r := range all {
		n := get(tx.nodes, r.Node)
		if n == nil || c.Force {
			continue
		}
		if out := tx.brokenOut(n, r.Role); out != nil {
			return nil, structs.Errorf(structs.Conflict, "reservation "+string(r.ID), "%s for role %q is taken out of it", out.ID, out.Role).
				Advise("release that one first, or both at once")
		}
		if v := tx.uncovered(n, r.Role); v != nil {
			return nil, structs.Errorf(structs.Conflict, "reservation "+string(r.ID), "volume %q is made of it", v.Name).
				Advise("delete the volume first, or force it: the volume stays")
		}
	}
	return tx.receipt(), nil
}

// brokenOut returns a reservation on a node that is taken out of what is reserved for a role there, when that is less than
// all of them together.
func (tx *Tx) brokenOut(n *structs.Node, role string) (one *structs.Reservation) {
	var have, taken structs.Resources
	if static := n.ReservedFor[role]; static != nil {
		have = have.Add(*static)
	}
	for _, r := range tx.reservedOn(n.ID) {
		if r.Role == role {
			have = have.Add(r.Resources)
		}
		if r.Refines == role {
			taken, one = taken.Add(r.Resources), r
		}
	}
	if have.Fits(taken) {
		return nil
	}
	return one
}

// reservedOn returns the reservations on a node by id, without static ones.
func (t *trees) reservedOn(id structs.NodeID) []*structs.Reservation {
	if list := get(t.byReserved, id); list != nil {
		return list.all
	}
	return nil
}

// reservations on one node, by id. It is immutable.
type nodeReservations struct{ all []*structs.Reservation }

func (t *trees) indexReservation(old, new any) dirty {
	change := func(id structs.NodeID, with func([]*structs.Reservation) []*structs.Reservation) {
		if list := with(slices.Clone(t.reservedOn(id))); len(list) > 0 {
			t.byReserved.Set(id, &nodeReservations{list})
		} else {
			t.byReserved.Delete(id)
		}
	}
	if r, ok := old.(*structs.Reservation); ok {
		change(r.Node, func(list []*structs.Reservation) []*structs.Reservation {
			return slices.DeleteFunc(list, func(o *structs.Reservation) bool { return o.ID == r.ID })
		})
	}
	if r, ok := new.(*structs.Reservation); ok {
		change(r.Node, func(list []*structs.Reservation) []*structs.Reservation {
			list = append(list, r)
			slices.SortFunc(list, func(x, y *structs.Reservation) int { return strings.Compare(string(x.ID), string(y.ID)) })
			return list
		})
	}
	return dirtyReserved
}

// roomsOn returns what is reserved on a node, and what of it is unused.
func (t *trees) roomsOn(n *structs.Node) []structs.ReservedRoom {
	list := t.reservedOn(n.ID)
	if len(list) == 0 && len(n.ReservedFor) == 0 {
		return nil
	}
	rooms := structs.ReservedRooms(list, n.ReservedFor)
	held, reserved := n.HeldByVolumes(rooms), structs.ReservedPorts(rooms)
	var ports []structs.Range // of these, what is held
	for a := range t.onNode(n.ID, false) {
		ports = append(ports, structs.PortsIn(reserved, a.Ports)...)
		for i := range rooms {
			if structs.RoleWithin(a.Role, rooms[i].Role) {
				held[i] = held[i].Add(a.Booked())
			}
		}
	}
	structs.Attribute(rooms, held)
	structs.TakePorts(rooms, ports)
	return rooms
}

// short reports whether an amount of which something is asked for is not free. More may be reserved than a node has.
func short(free, ask structs.Resources) bool {
	for _, resource := range append([]string{"cpu", "memory", "disk"}, ask.Names()...) {
		if asked := ask.Amount(resource); asked > 0 && asked > free.Amount(resource) {
			return true
		}
	}
	return false
}

// orphan notes that a framework went, or came back, with what it owns.
func (tx *Tx) orphan(owner structs.FrameworkID, since structs.Time) {
	var owned []*structs.Reservation
	for r := range from(tx.reservations, "") {
		if r.Owner == owner && r.Orphaned != since {
			owned = append(owned, r)
		}
	}
	for _, old := range owned {
		r := *old
		r.Orphaned, r.ModifyIndex = since, tx.Index
		tx.put(Reservations, old, &r)
	}
	tx.orphanVolumes(owner, since)
}

// forgetNode removes a node with what is reserved on it.
func (tx *Tx) forgetNode(n *structs.Node) {
	for _, r := range tx.reservedOn(n.ID) {
		tx.put(Reservations, r, nil)
	}
	for _, v := range tx.volumesOn(n) {
		if v.Node == n.ID {
			tx.put(Volumes, v, nil)
			if v.MadeDisk() {
				tx.outcome(v, structs.OperationGoneByOperator, "its node was removed")
			}
		}
	}
	tx.fenced(n, "")
	tx.put(Nodes, n, nil)
}

// Reservation returns a reservation, or nil.
func (s *Snapshot) Reservation(id structs.ReservationID) *structs.Reservation {
	return get(s.reservations, id)
}

// Reservations yields all reservations by id, without static ones.
func (s *Snapshot) Reservations() iter.Seq[*structs.Reservation] { return from(s.reservations, "") }

// ReservationsFrom yields the reservations whose id is at least id.
func (s *Snapshot) ReservationsFrom(id structs.ReservationID) iter.Seq[*structs.Reservation] {
	return from(s.reservations, id)
}

// ReservedOn returns the reservations on a node by id, without static ones. The slice must not be changed.
func (s *Snapshot) ReservedOn(id structs.NodeID) []*structs.Reservation { return s.reservedOn(id) }

// RoomsOn returns what is reserved on a node, and what of it is unused.
func (s *Snapshot) RoomsOn(n *structs.Node) []structs.ReservedRoom { return s.roomsOn(n) }

// AllReservations yields those of ReservedOn and, behind them, static ones, whose id says so: static:NODE:ROLE.
func (s *Snapshot) AllReservations() iter.Seq[*structs.Reservation] {
	return func(yield func(*structs.Reservation) bool) {
		for r := range s.Reservations() {
			if !yield(r) {
				return
			}
		}
		for n := range s.Nodes() {
			for _, r := range n.StaticReservations() {
				if !yield(r) {
					return
				}
			}
		}
	}
}
