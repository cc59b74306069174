package state

import (
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

func reservationOf(id string, node structs.NodeID, role string, cpu structs.Milli) *structs.Reservation {
	return &structs.Reservation{ID: structs.ReservationID(id), Node: node, Role: role, Resources: structs.Resources{CPU: cpu}}
}

func TestReservationsAreChecked(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 8000)
	put := func(x *structs.Reservation, change func(*structs.Reservation)) *PutReservation {
		if change != nil {
			change(x)
		}
		return &PutReservation{Reservation: x}
	}
	for _, x := range []struct {
		name   string
		kind   structs.Kind
		want   string
		change func(*structs.Reservation)
	}{
		{"no id", structs.Invalid, "it has no id", func(x *structs.Reservation) { x.ID = "" }},
		{"bad role", structs.Invalid, "is not a valid role", func(x *structs.Reservation) { x.Role = "eng//web" }},
		{"negative", structs.Invalid, "amounts cannot be negative", func(x *structs.Reservation) { x.Resources.CPU = -1 }},
		{"overflow", structs.Invalid, "out of range", func(x *structs.Reservation) { x.Resources.Memory = 1 << 62 }},
		{"nothing", structs.Invalid, "nothing is reserved", func(x *structs.Reservation) { x.Resources = structs.Resources{} }},
		{"ports", structs.Invalid, "only cpu, memory, disk, custom scalars and ports by their numbers", func(x *structs.Reservation) { x.Resources.Ports = 1 }},
		{"other ranges", structs.Invalid, "only cpu", func(x *structs.Reservation) {
			x.Resources.Ranges = map[string][]structs.Range{"vlans": {{First: 1, Last: 2}}}
		}},
		{"port 0", structs.Invalid, "ports are from 1 to 65535", func(x *structs.Reservation) { x.Resources = structs.OfPorts([]structs.Range{{First: 0, Last: 9}}) }},
		{"no such port", structs.Conflict, "and the node has no ports", func(x *structs.Reservation) { x.Resources = structs.OfPorts([]structs.Range{{First: 80, Last: 80}}) }},
		{"sibling", structs.Invalid, `"ops" is no role above "eng/web"`, func(x *structs.Reservation) { x.Refines = "ops" }},
		{"prefix of a name", structs.Invalid, `"en" is no role above`, func(x *structs.Reservation) { x.Refines = "en" }},
		{"backwards", structs.Invalid, "it ends before it begins", func(x *structs.Reservation) { x.From, x.Until = 9e18, 8e18 }},
		{"over already", structs.Invalid, "it ends in the past", func(x *structs.Reservation) { x.Until = 1 }},
		{"long label", structs.Invalid, "a name has 1 to 256 bytes", func(x *structs.Reservation) { x.Labels = map[string]string{"a": strings.Repeat("x", 257)} }},
		{"no node", structs.NotFound, "there is no such node", func(x *structs.Reservation) { x.Node = "none" }},
		{"no owner", structs.NotFound, `there is no framework "spark"`, func(x *structs.Reservation) { x.Owner = "spark" }},
		{"too much", structs.Conflict, "cpu 9 are asked for and 8 can be reserved", func(x *structs.Reservation) { x.Resources.CPU = 9000 }},
		{"of nothing", structs.Conflict, `cpu 1 are asked for and 0 are reserved for role "eng" there`, func(x *structs.Reservation) { x.Refines = "eng" }},
	} {
		if err := r.fails(x.kind, put(reservationOf("a", id, "eng/web", 1000), x.change)); !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", x.name, err)
		}
	}
	r.must(&PutRole{Role: &structs.Role{Name: "old", State: structs.RoleDraining}})
	r.fails(structs.Forbidden, put(reservationOf("a", id, "old", 1000), nil))
	r.must(put(reservationOf("a", id, "eng", 6000), nil))
	r.fails(structs.Conflict, put(reservationOf("a", id, "eng", 1000), nil))
	r.refuses("cpu 3 are asked for and 2 can be reserved", put(reservationOf("b", id, "ops", 3000), nil))
	if r.store.Snapshot().Role("ops") != nil || r.store.Snapshot().Role("eng") == nil {
		t.Error("a role is made on first use, and not by what is refused")
	}
	r.refuses("room is reserved for it", &DeleteRole{Name: "eng"})

	// What is refined is not reserved twice, and goes first.
	refined := reservationOf("c", id, "eng/web", 4000)
	refined.Refines = "eng"
	r.must(put(refined, nil))
	again := reservationOf("d", id, "eng/web", 3000)
	again.Refines = "eng"
	r.refuses(`cpu 3 are asked for and 2 are reserved for role "eng" there`, put(again, nil))
	rooms := r.store.Snapshot().RoomsOn(r.store.Snapshot().Node(id))
	if len(rooms) != 2 || rooms[0].Role != "eng/web" || rooms[0].Unused.CPU != 4000 || rooms[1].Unused.CPU != 2000 {
		t.Errorf("rooms %+v", rooms)
	}
	r.refuses(`reservation a: c for role "eng/web" is taken out of it`, &DeleteReservations{IDs: []structs.ReservationID{"a"}})
	r.fails(structs.NotFound, &DeleteReservations{IDs: []structs.ReservationID{"c", "none"}})
	if r.store.Snapshot().Reservation("c") == nil {
		t.Error("one of several was released")
	}
	r.must(&DeleteReservations{IDs: []structs.ReservationID{"a", "c", "none"}, Force: true})
	if list := r.store.Snapshot().ReservedOn(id); len(list) != 0 {
		t.Errorf("left: %v", list)
	}
}

// A placement never takes what is reserved for others, whatever the decider knew.
func TestPlacementsLeaveWhatIsReserved(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 8000)
	for _, role := range []string{"eng/web", "ops"} {
		j := job(strings.ReplaceAll(role, "/", "-"), "service", 9, "a")
		j.Role = role
		r.must(&SubmitJob{Job: j})
	}
	one := r.place("ops", "a", 0, id).Resources.CPU
	r.refuses("can be reserved: the rest is in use", &PutReservation{Reservation: reservationOf("a", id, "eng", 8000)})
	r.must(&PutReservation{Reservation: reservationOf("a", id, "eng", 8000), Force: true})
	r.refused(RefusedResources, r.placement("ops", "a", 1, id))
	placed := 0
	for i := range 9 {
		p := r.placement("eng-web", "a", i, id)
		if r.must(&Place{Placements: []*Placement{p}}).(*Placed).Placements[0].Refused == "" {
			placed++
		}
	}
	if want := int((8000 - one) / one); placed != want {
		t.Errorf("%d were placed in reserved room, %d fit", placed, want)
	}
	r.must(&DeleteReservations{IDs: []structs.ReservationID{"a"}})
}

// A port is reserved once, for those of the node's range that others do not hold, and is given to the role and those below alone.
func TestPortsAreReserved(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 80000)
	r.must(&RegisterNode{Node: &structs.Node{ID: id, Name: "1", PortRange: structs.Range{First: 31000, Last: 31099},
		Resources: structs.Resources{CPU: 80000, Memory: 1 << 30, Ports: 100}}})
	for _, role := range []string{"eng/web", "ops"} {
		j := job(strings.ReplaceAll(role, "/", "-"), "service", 9, "a")
		j.Role, j.Groups[0].MaxRunDuration = role, structs.Duration(600e9)
		r.must(&SubmitJob{Job: j})
	}
	with := func(job string, index int, port int, maxRun structs.Duration) *Placement {
		p := r.placement(job, "a", index, id)
		p.Alloc.Resources.Ports, p.Alloc.Ports, p.Alloc.MaxRunDuration = 1, []structs.AssignedPort{{Label: "http", Port: port}}, maxRun
		return p
	}
	placed := func(p *Placement) {
		t.Helper()
		if res := r.must(&Place{Placements: []*Placement{p}}).(*Placed).Placements[0]; res.Refused != "" {
			t.Fatal(res)
		}
	}
	ports := func(name, role string, first, last int64, change ...func(*PutReservation)) *PutReservation {
		c := &PutReservation{Reservation: &structs.Reservation{ID: structs.ReservationID(name), Node: id, Role: role,
			Resources: structs.OfPorts([]structs.Range{{First: first, Last: last}})}}
		for _, f := range change {
			f(c)
		}
		return c
	}
	refines := func(c *PutReservation) { c.Reservation.Refines = "eng" }
	force := func(c *PutReservation) { c.Force = true }

	placed(with("ops", 0, 31005, 0))
	r.refuses("ports [31100-31100] are asked for, and the node has ports 31000-31099", ports("a", "eng", 31090, 31100))
	r.refuses("ports [31005-31005] are held by allocation", ports("a", "eng", 31000, 31009))
	r.must(ports("a", "eng", 31000, 31009, force))
	for _, again := range []*PutReservation{ports("b", "eng", 31009, 31010), ports("b", "eng/web", 31000, 31000), ports("b", "ops", 31005, 31005, force)} {
		r.refuses(`are reserved for role "eng"`, again)
	}
	r.refuses(`ports [31010-31010] are asked for, and not reserved for role "eng" there`, ports("b", "eng/web", 31009, 31010, refines))
	r.must(ports("b", "eng/web", 31000, 31001, refines))
	r.refuses("is taken out of it", &DeleteReservations{IDs: []structs.ReservationID{"a"}})
	for _, x := range r.store.Snapshot().RoomsOn(r.store.Snapshot().Node(id)) {
		want := map[string]string{"eng": "ports [31002-31004,31006-31009]", "eng/web": "ports [31000-31001]"}[x.Role]
		if got := x.Unused.String(); got != want {
			t.Errorf("of %s %s are unused, want %s", x.Role, got, want)
		}
	}

	bad := r.must(&Place{Placements: []*Placement{with("ops", 1, 31001, 0)}}).(*Placed).Placements[0]
	if want := `port 31001 of node node-1 (1) is reserved for role "eng/web"`; bad.Refused != RefusedPorts || bad.Why != want {
		t.Errorf("got %+v, want %s", bad, want)
	}
	r.refused(RefusedPorts, with("ops", 1, 31009, structs.Duration(600e9)))
	placed(with("eng-web", 0, 31001, 0))
	placed(with("eng-web", 1, 31009, 0))
	placed(with("ops", 1, 31010, 0))

	// From a time on: who has ended by then may have them.
	late := ports("c", "lab", 31020, 31020)
	late.Reservation.From = r.store.Snapshot().Time().Add(3600e9)
	r.must(late)
	r.refused(RefusedPorts, with("ops", 2, 31020, 0))
	placed(with("ops", 2, 31020, structs.Duration(600e9)))
	r.must(&DeleteReservations{IDs: []structs.ReservationID{"a", "b", "c"}})
	placed(with("ops", 3, 31000, 0))
}

// What a framework owns is orphaned when it is removed, and its again when it comes back.
func TestReservationsOutliveTheirOwner(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 8000)
	r.must(&PutFramework{Framework: &structs.Framework{ID: "spark", Name: "spark"}})
	x := reservationOf("a", id, "eng", 1000)
	x.Owner = "spark"
	r.must(&PutReservation{Reservation: x})
	r.must(&RemoveFramework{ID: "spark"})
	if got := r.store.Snapshot().Reservation("a"); got.Orphaned.IsZero() {
		t.Errorf("%+v is no orphan", got)
	}
	r.must(&PutFramework{Framework: &structs.Framework{ID: "spark", Name: "spark"}})
	if got := r.store.Snapshot().Reservation("a"); !got.Orphaned.IsZero() {
		t.Errorf("%+v is an orphan", got)
	}
	r.must(&SetNodeStatus{Node: id, Status: structs.NodeLeft})
	r.must(&RemoveNode{Node: id})
	if got := r.store.Snapshot().Reservation("a"); got != nil {
		t.Errorf("%+v outlived its node", got)
	}
}

// Room that is needed later is not in the way of what has ended by then.
func TestReservationsForLater(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 8000)
	j := job("night", "batch", 2, "a")
	j.Groups[0].MaxRunDuration = structs.Duration(600e9)
	r.must(&SubmitJob{Job: j})
	p := r.placement("night", "a", 0, id)
	p.Alloc.MaxRunDuration = structs.Duration(600e9)
	if res := r.must(&Place{Placements: []*Placement{p}}).(*Placed).Placements[0]; res.Refused != "" {
		t.Fatal(res)
	}
	soon, late := reservationOf("a", id, "lab", 8000), reservationOf("b", id, "lab", 8000)
	soon.From, late.From = r.store.Snapshot().Time().Add(600e9), r.store.Snapshot().Time().Add(3600e9)
	r.refuses("can be reserved", &PutReservation{Reservation: soon})
	r.must(&PutReservation{Reservation: late})
	p = r.placement("night", "a", 1, id)
	r.refused(RefusedResources, p)
	p = r.placement("night", "a", 1, id)
	p.Alloc.MaxRunDuration = structs.Duration(600e9)
	if res := r.must(&Place{Placements: []*Placement{p}}).(*Placed).Placements[0]; res.Refused != "" {
		t.Error(res)
	}
}
