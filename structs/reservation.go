package structs

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Reservation is room on one node that is set aside for a role: work of the role, and of roles below it, may have it, and
// nobody else. It is immutable but for Orphaned.
type Reservation struct {
	ID          ReservationID     `json:"id"`
	Node        NodeID            `json:"node"`
	NodeName    string            `json:"node_name"`
	Role        string            `json:"role"`
	Resources   Resources         `json:"resources"`           // scalars, and ports by their numbers, see OfPorts
	Refines     string            `json:"refines,omitempty"`   // a role above, out of whose reserved room on the node it is taken
	Labels      map[string]string `json:"labels,omitempty"`    // for people and frameworks
	Principal   string            `json:"principal,omitempty"` // who made it
	Owner       FrameworkID       `json:"owner,omitempty"`     // the framework that it goes with
	From        Time              `json:"from,omitempty"`      // before, work that ends in time may have the room; zero: at once
	Until       Time              `json:"until,omitempty"`     // when it is released; zero: never
	Orphaned    Time              `json:"orphaned,omitempty"`  // when its owner went; zero: it did not
	Static      bool              `json:"static,omitempty"`    // by the configuration of the node
	Made        Time              `json:"made,omitempty"`
	CreateIndex uint64            `json:"create_index,omitempty"`
	ModifyIndex uint64            `json:"modify_index,omitempty"`
}

// Bounds of reservations.
const (
	MaxReservationLabels = 64
	MaxLabel             = 256 // bytes of a name or a value
	MaxReservedRanges    = 256 // of ports
)

// Problems returns what is wrong with r as a wish, all at once.
func (r *Reservation) Problems() (problems Problems) {
	if !ValidRole(r.Role) {
		problems.Add("role", "%.520q is not a valid role", r.Role).Advise("use up to eight names joined by slashes")
	}
	r.Resources.Problems("resources", &problems)
	reservable("resources", r.Resources, &problems)
	if r.Refines != "" && (r.Refines == r.Role || !RoleWithin(r.Role, r.Refines)) {
		problems.Add("refines", "%q is no role above %q", r.Refines, r.Role)
	}
	if r.From < 0 || r.Until < 0 || r.Until != 0 && r.Until <= r.From {
		problems.Add("until", "it ends before it begins")
	}
	checkLabels(&problems, r.Labels, r.Principal)
	return problems
}

// reservable adds what of an amount cannot be reserved.
func reservable(object string, r Resources, problems *Problems) {
	ports := r.PortRanges()
	if r.Ports != 0 || len(r.Sets) > 0 || len(r.Ranges) > 1 || len(r.Ranges) == 1 && ports == nil {
		problems.Add(object, "only cpu, memory, disk, custom scalars and ports by their numbers can be reserved")
	}
	if n := len(ports); n > MaxReservedRanges {
		problems.Add(object+".ranges.ports", "%d ranges are more than %d", n, MaxReservedRanges)
	} else if n > 0 && (ports[0].First < 1 || ports[n-1].Last > 65535) {
		problems.Add(object+".ranges.ports", "ports are from 1 to 65535")
	}
	if r.IsZero() {
		problems.Add(object, "nothing is reserved")
	}
}

// CheckStatic adds what is wrong with what a node sets aside for roles.
func CheckStatic(object string, byRole map[string]*Resources, problems *Problems) {
	var ports []Range
	for _, role := range slices.Sorted(maps.Keys(byRole)) {
		at := fmt.Sprintf("%s.%.64s", object, role)
		if !ValidRole(role) {
			problems.Add(at, "%.520q is not a valid role", role).Advise("use up to eight names joined by slashes")
		}
		if byRole[role] == nil {
			problems.Add(at, "nothing is reserved")
			continue
		}
		byRole[role].Problems(at, problems)
		reservable(at, *byRole[role], problems)
		if twice := CommonRanges(ports, byRole[role].PortRanges()); len(twice) > 0 {
			problems.Add(at, "%s are reserved for another role", OfPorts(twice))
		}
		ports = uniteRanges(ports, byRole[role].PortRanges())
	}
}

// EndMargin is what an allocation may need beyond its max_run_duration to start and to end.
const EndMargin = Duration(30e9)

// RoleWithin reports whether a role is top or below it.
func RoleWithin(role, top string) bool {
	return strings.HasPrefix(role, top) && (len(role) == len(top) || role[len(top)] == '/')
}

// ReservedRoom is what is set aside on one node for one role from one time on.
type ReservedRoom struct {
	Role     string
	From     Time
	Reserved Resources // at least zero; a port is in one room only
	Unused   Resources // what of it is not held by work of the role, see Attribute, and which ports nobody holds, see TakePorts
}

// ReservedRooms adds up what reservations of one node set aside, with what the node itself does: deeper roles first, then
// by name, then what is needed earlier. What is refined is the deeper role's.
func ReservedRooms(reservations []*Reservation, static map[string]*Resources) (rooms []ReservedRoom) {
	add := func(role string, from Time, amount Resources) {
		for i := range rooms {
			if x := &rooms[i]; x.Role == role && x.From == from {
				x.Reserved = x.Reserved.Add(amount)
				return
			}
		}
		rooms = append(rooms, ReservedRoom{Role: role, From: from, Reserved: amount})
	}
	for role, amount := range static {
		if amount != nil {
			add(role, 0, reservedOf(*amount))
		}
	}
	for _, r := range reservations {
		add(r.Role, r.From, reservedOf(r.Resources))
	}
	slices.SortFunc(rooms, func(x, y ReservedRoom) int {
		return cmp.Or(cmp.Compare(strings.Count(y.Role, "/"), strings.Count(x.Role, "/")), cmp.Compare(x.Role, y.Role), cmp.Compare(x.From, y.From))
	})
	// What was taken out of the room of a role above. That may have less by now: static ones shrink.
	for _, r := range reservations {
		left := reservedOf(r.Resources)
		for i := range rooms {
			if x := &rooms[i]; r.Refines != "" && x.Role == r.Refines && x.From <= r.From {
				taken := left.Least(x.Reserved)
				x.Reserved, left = x.Reserved.Sub(taken), left.Sub(taken)
			}
		}
	}
	for i := range rooms {
		for j := range rooms[:i] {
			rooms[i].Reserved = rooms[i].Reserved.Sub(OfPorts(rooms[j].Reserved.PortRanges()))
		}
	}
	return slices.DeleteFunc(rooms, func(x ReservedRoom) bool { return x.Reserved.IsZero() })
}

// TakePorts notes which ports are held on the node, by whomever: of a port it counts alone whether somebody has it. Attribute comes before.
func TakePorts(rooms []ReservedRoom, held []Range) {
	if len(held) == 0 {
		return
	}
	for i := range rooms {
		rooms[i].Unused = rooms[i].Unused.Sub(OfPorts(held))
	}
}

// ReservedPorts returns the ports of rooms.
func ReservedPorts(rooms []ReservedRoom) []Range {
	var all []Range
	for i := range rooms {
		if ports := rooms[i].Reserved.PortRanges(); len(ports) > 0 {
			all = uniteRanges(all, ports)
		}
	}
	return all
}

// Attribute computes what of rooms is unused. held has, for each room, what its role and those below hold on the node. What
// they hold is taken out of the room of the deepest role first, then out of what is needed earlier.
func Attribute(rooms []ReservedRoom, held []Resources) {
	for i := range rooms {
		x, rest := &rooms[i], held[i]
		for j := range rooms[:i] {
			if y := &rooms[j]; RoleWithin(y.Role, x.Role) {
				rest = rest.Sub(y.Reserved.Sub(y.Unused))
			}
		}
		x.Unused = x.Reserved.Sub(x.Reserved.Least(rest))
	}
}

// UnusedFor adds up what of rooms work of a role may use.
func UnusedFor(role string, rooms []ReservedRoom) (sum Resources) {
	for i := range rooms {
		if RoleWithin(role, rooms[i].Role) {
			sum = sum.Add(rooms[i].Unused)
		}
	}
	return sum
}

// LentTo adds up what of rooms work of another role may use that has ended at the given time: what is needed later only.
func LentTo(role string, rooms []ReservedRoom, end Time) (sum Resources) {
	for i := range rooms {
		if x := &rooms[i]; x.From >= end && !RoleWithin(role, x.Role) {
			sum = sum.Add(x.Unused)
		}
	}
	return sum
}

// UnusedOf adds up what of rooms is unused.
func UnusedOf(rooms []ReservedRoom) (sum Resources) {
	for i := range rooms {
		sum = sum.Add(rooms[i].Unused)
	}
	return sum
}

// ReservedPart is what of an offer is reserved room of one reservation.
type ReservedPart struct {
	Reservation ReservationID `json:"reservation"`
	Role        string        `json:"role"`
	Resources   Resources     `json:"resources"`
}

// StaticReservations returns what the configuration of n sets aside, by role. Their ids say so: static:NODE:ROLE.
func (n *Node) StaticReservations() (out []*Reservation) {
	for _, role := range slices.Sorted(maps.Keys(n.ReservedFor)) {
		out = append(out, &Reservation{ID: ReservationID(fmt.Sprintf("static:%s:%s", n.ID, role)), Node: n.ID, NodeName: n.Name,
			Role: role, Resources: *n.ReservedFor[role], Static: true})
	}
	return out
}

// reservedOf returns what of an amount counts as reserved.
func reservedOf(r Resources) Resources {
	return Resources{CPU: r.CPU, Memory: r.Memory, Disk: r.Disk, Custom: r.Custom}.Add(OfPorts(r.PortRanges()))
}

// Least returns the smaller of the scalars of r and of o, and zero where o is negative, and what is in ranges of both.
func (r Resources) Least(o Resources) Resources {
	out := Resources{CPU: max(0, min(r.CPU, o.CPU)), Memory: max(0, min(r.Memory, o.Memory)), Disk: max(0, min(r.Disk, o.Disk)),
		Ports: max(0, min(r.Ports, o.Ports))}
	for name, v := range r.Ranges {
		if both := CommonRanges(v, o.Ranges[name]); len(both) > 0 {
			if out.Ranges == nil {
				out.Ranges = make(map[string][]Range, len(r.Ranges))
			}
			out.Ranges[name] = both
		}
	}
	for name, v := range r.Custom {
		if m := max(0, min(v, o.Custom[name])); m > 0 {
			if out.Custom == nil {
				out.Custom = make(map[string]Milli, len(r.Custom))
			}
			out.Custom[name] = m
		}
	}
	return out
}
