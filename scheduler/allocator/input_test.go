package allocator

import (
	"fmt"
	"testing"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

func small(job string) *placement.Ask {
	return placement.Plain(job, "g", structs.Resources{CPU: 1000, Memory: 1 << 30})
}

// TestBadInput: each gets an error of the right kind, and changes nothing.
func TestBadInput(t *testing.T) {
	a := New(Options{})
	a.SetNode(benchNode(1))
	if err := a.SetFramework(&structs.Framework{ID: "spark", Roles: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	offers := a.Step(1e9, 0)
	id := offers[0].Offer.ID
	state := a.Describe()
	good := func() *Request { return &Request{ID: "r", Framework: "f", Ask: small("j"), Slots: []Slot{{Index: 0}}} }
	wrong := func(change func(r *Request)) error {
		r := good()
		change(r)
		return a.SetRequest(r)
	}
	accept := func(op Operation) error {
		_, err := a.Accept("spark", []structs.OfferID{id}, []Operation{op}, Filter{}, 2e9)
		return err
	}
	for name, c := range map[string]struct {
		err  error
		kind structs.Kind
	}{
		"no id":          {wrong(func(r *Request) { r.ID = "" }), structs.Invalid},
		"no ask":         {wrong(func(r *Request) { r.Ask = nil }), structs.Invalid},
		"no framework":   {wrong(func(r *Request) { r.Framework = "" }), structs.Invalid},
		"bad role":       {wrong(func(r *Request) { r.Role = "a//b" }), structs.Invalid},
		"bad band":       {wrong(func(r *Request) { r.Priority.Band = 9 }), structs.Invalid},
		"twice an index": {wrong(func(r *Request) { r.Slots = []Slot{{Index: 1}, {Index: 1}} }), structs.Invalid},
		"negative index": {wrong(func(r *Request) { r.Slots = []Slot{{Index: -1}} }), structs.Invalid},
		"role name":      {a.SetRole(&structs.Role{Name: "/"}), structs.Invalid},
		"role weight":    {a.SetRole(&structs.Role{Name: "x", Weight: -1}), structs.Invalid},
		"framework role": {a.SetFramework(&structs.Framework{ID: "spark", Roles: []string{""}}), structs.Invalid},
		"reserves not":   {a.SetReservation(&structs.Reservation{Node: "n", Role: "x"}), structs.Invalid},
		"reserves where": {a.SetReservation(&structs.Reservation{ID: "v", Role: "x"}), structs.Invalid},
		"reserves for":   {a.SetReservation(&structs.Reservation{ID: "v", Node: "n", Role: "x//y"}), structs.Invalid},
		"confirm":        {a.Confirm(7, &structs.Allocation{}), structs.NotFound},
		"refuse":         {a.Refuse(7), structs.NotFound},
		"decline others": {a.Decline("storm", []structs.OfferID{id}, Filter{}, 2e9), structs.Forbidden},
		"too much":       {accept(Operation{Resources: structs.Resources{CPU: 1e9}}), structs.Invalid},
		"negative":       {accept(Operation{Resources: structs.Resources{CPU: -1}}), structs.Invalid},
		"unasked port":   {accept(Operation{Ports: []structs.AssignedPort{{Port: 80}}}), structs.Invalid},
		"no such port":   {accept(Operation{Resources: structs.Resources{Ports: 1}, Ports: []structs.AssignedPort{{Port: 70000}}}), structs.Conflict},
		"port of others": {accept(Operation{Resources: structs.Resources{Ports: 1}, Ports: []structs.AssignedPort{{Port: 80}}}), structs.Invalid},
		"no offer":       {func() error { _, err := a.Accept("spark", nil, nil, Filter{}, 2e9); return err }(), structs.Invalid},
		"past its time": {func() error {
			_, err := a.Accept("spark", []structs.OfferID{id}, nil, Filter{}, structs.Time(1e9).Add(DefaultOfferTimeout))
			return err
		}(), structs.Conflict},
	} {
		if structs.KindOf(c.err) != c.kind {
			t.Errorf("%s: %v", name, c.err)
		}
	}
	if now := a.Describe(); now != state {
		t.Errorf("changed\n%s\nto\n%s", state, now)
	}
	if got := a.WakeAt(); got != offers[0].Offer.Expires {
		t.Errorf("wakes at %s, the offer ends at %s", got, offers[0].Offer.Expires)
	}
	if _, ok := a.Explain("nothing"); ok {
		t.Error("explains what does not exist")
	}
}

// inTurns gives everybody the same share, so that they take turns, as a policy that somebody else compiled in.
type inTurns struct{}

func (inTurns) Share([]int64, []int64, structs.Milli) Share { return Share{Den: 1, Weight: 1} }

func TestOtherPolicy(t *testing.T) {
	a := New(Options{Policies: map[string]Policy{"turns": inTurns{}}, Sorter: "turns"})
	n := *benchNode(1)
	n.Resources.CPU = 4000
	a.SetNode(&n)
	for _, role := range []string{"b", "a"} {
		r := &Request{ID: role, Framework: "f", Role: role, Ask: small(role), Slots: slotsOf(3)}
		if err := a.SetRequest(r); err != nil {
			t.Fatal(err)
		}
	}
	got := ""
	for _, d := range a.Step(1, 0) {
		got += d.Place.Request
	}
	if got != "abab" {
		t.Fatal(got)
	}
}

// TestBudget: a bounded Step stops after so many decisions, and the next one goes on.
func TestBudget(t *testing.T) {
	a := New(Options{})
	a.SetNode(benchNode(1))
	if err := a.SetRequest(&Request{ID: "r", Framework: "f", Ask: small("j"), Slots: slotsOf(5)}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{2, 2, 1, 0} {
		if got := len(a.Step(1, 2)); got != want {
			t.Fatalf("%d decisions instead of %d", got, want)
		}
	}
}

// TestNothingIsLeftBehind: after all work, nodes, roles and frameworks are gone, no record of them is kept.
func TestNothingIsLeftBehind(t *testing.T) {
	a := New(Options{})
	for i := range 20 {
		a.SetNode(benchNode(i))
	}
	if err := a.SetFramework(&structs.Framework{ID: "spark", Roles: []string{"x/y"}}); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		amount := structs.Resources{CPU: 4000, Memory: 1 << 30}
		r := &structs.Reservation{ID: structs.ReservationID(fmt.Sprint("v", i)), Node: benchNode(i % 15).ID, Role: fmt.Sprintf("r%d", i%5), Resources: amount}
		if i >= 15 {
			r.Role, r.Refines, r.From = r.Role+"/s", r.Role, structs.Time(5e9)
		}
		if err := a.SetReservation(r); err != nil {
			t.Fatal(err)
		}
	}
	var places []*Place
	for i := range 50 {
		ask := benchAsk(t, fmt.Sprint("job", i), i%2 == 0, 1)
		if err := a.SetRequest(&Request{ID: fmt.Sprint("r", i), Framework: "f", Role: fmt.Sprintf("r%d/s", i%5), Ask: ask, Slots: slotsOf(3)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range a.Step(1, 0) {
		if d.Place != nil {
			places = append(places, d.Place)
		}
	}
	for i, p := range places {
		alloc := allocationOf(p, fmt.Sprint(i))
		if err := a.Confirm(p.ID, alloc); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range a.Offers() {
		if err := a.Decline(o.Framework, []structs.OfferID{o.ID}, Filter{DefaultRefuse}, 2); err != nil {
			t.Fatal(err)
		}
	}
	for i := range places {
		a.RemoveAllocation(structs.AllocID(fmt.Sprint(i)))
	}
	for i := range 50 {
		a.RemoveRequest(fmt.Sprint("r", i))
	}
	a.RemoveFramework("spark")
	for i := range 20 {
		a.RemoveNode(benchNode(i).ID)
		a.RemoveReservation(structs.ReservationID(fmt.Sprint("v", i)))
	}
	a.Step(structs.Time(10e9), 0)
	if len(a.nodes)+len(a.allocs)+len(a.decisions)+len(a.placing)+len(a.requests)+len(a.blocked)+a.work.Len()+len(a.wants)+len(a.peered)+
		len(a.reservations)+len(a.reservedIn)+len(a.views)+len(a.lenders)+len(a.frameworks)+len(a.offering)+len(a.offers)+a.byUntil.len()+len(a.root.roles) != 0 || len(a.freeOrds) != 20 || a.standing != (offerLine{}) {
		t.Fatalf("left: %s, work of %d, peered %v, roles %v, free %v", a.Describe(), a.work.Len(), a.peered, a.root.roles, a.freeOrds)
	}
	for _, used := range a.root.used {
		if used != 0 {
			t.Fatalf("accounts do not return to zero: %v", a.root.used)
		}
	}
}
