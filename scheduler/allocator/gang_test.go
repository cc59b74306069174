package allocator

import (
	"fmt"
	"testing"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

func gangOf(id string, counts ...int) *Gang {
	g := &Gang{ID: id}
	for i, n := range counts {
		ask := placement.Plain(id, fmt.Sprint("g", i), structs.Resources{CPU: structs.Milli(1000 * (1 + i)), Memory: 1 << 30})
		g.Requests = append(g.Requests, &Request{ID: fmt.Sprintf("%s/%d", id, i), Framework: "batch", Ask: ask, Slots: slotsOf(n)})
	}
	return g
}

// TestBadGangs: each gets an error of the right kind, and changes nothing.
func TestBadGangs(t *testing.T) {
	a := New(Options{})
	if err := a.SetRequest(&Request{ID: "alone", Framework: "f", Ask: small("j"), Slots: slotsOf(1)}); err != nil {
		t.Fatal(err)
	}
	if err := a.SetGang(gangOf("good", 1, 1)); err != nil {
		t.Fatal(err)
	}
	state := a.Describe()
	wrong := func(change func(g *Gang)) error {
		g := gangOf("g", 2, 1)
		change(g)
		return a.SetGang(g)
	}
	for name, c := range map[string]struct {
		err  error
		kind structs.Kind
	}{
		"no id":            {wrong(func(g *Gang) { g.ID = "" }), structs.Invalid},
		"no request":       {wrong(func(g *Gang) { g.Requests = nil }), structs.Invalid},
		"no ask":           {wrong(func(g *Gang) { g.Requests[1].Ask = nil }), structs.Invalid},
		"another role":     {wrong(func(g *Gang) { g.Requests[1].Role = "x" }), structs.Invalid},
		"another number":   {wrong(func(g *Gang) { g.Requests[1].Seq = 7 }), structs.Invalid},
		"twice a request":  {wrong(func(g *Gang) { g.Requests[1].ID = g.Requests[0].ID }), structs.Invalid},
		"twice an index":   {wrong(func(g *Gang) { g.Requests[1].Slots = []Slot{{Index: 1}, {Index: 1}} }), structs.Invalid},
		"a request's id":   {wrong(func(g *Gang) { g.Requests[1].ID = "alone" }), structs.Conflict},
		"another gang's":   {wrong(func(g *Gang) { g.Requests[1].ID = "good/0" }), structs.Conflict},
		"a gang's request": {a.SetRequest(&Request{ID: "good/0", Framework: "f", Ask: small("j")}), structs.Conflict},
	} {
		if structs.KindOf(c.err) != c.kind {
			t.Errorf("%s: %v", name, c.err)
		}
	}
	if now := a.Describe(); now != state {
		t.Errorf("changed\n%s\nto\n%s", state, now)
	}
}

// TestGangIsOneDecision: a budget does not divide a gang, one answer refuses all of it, and nothing of it is left behind.
func TestGangIsOneDecision(t *testing.T) {
	a := New(Options{})
	a.SetNode(benchNode(1))
	if err := a.SetGang(gangOf("g", 3, 2)); err != nil {
		t.Fatal(err)
	}
	out := a.Step(1, 2)
	if len(out) != 5 || out[0].Place.Gang != "g" || out[0].Place.Request != "g/1" || out[4].Place.Request != "g/0" {
		t.Fatalf("%d decisions, the larger part first: %s", len(out), texts(out))
	}
	if err := a.Refuse(out[3].Place.ID); err != nil {
		t.Fatal(err)
	}
	if err := a.Refuse(out[0].Place.ID); structs.KindOf(err) != structs.NotFound {
		t.Errorf("another one of it is in flight still: %v", err)
	}
	if out = a.Step(2, 0); len(out) != 5 {
		t.Fatalf("%d decisions after one was refused", len(out))
	}
	if more := gangOf("g", 4, 2); a.SetGang(more) != nil || len(a.Step(2, 0)) != 0 {
		t.Error("more of a gang was placed while it is in flight")
	}
	for i, d := range out {
		if err := a.Confirm(d.Place.ID, allocationOf(d.Place, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if out = a.Step(3, 0); len(out) != 1 || out[0].Place.Slot.Index != 3 {
		t.Fatalf("what is missing of it: %v", texts(out))
	}
	if err := a.Refuse(out[0].Place.ID); err != nil {
		t.Fatal(err)
	}
	if kin := a.kin[kinKey{"batch", "g"}]; len(kin.holds) != 5 || kin.staying != 5 {
		t.Errorf("%+v", kin)
	}
	a.RemoveGang("g")
	for i := range 5 {
		a.RemoveAllocation(structs.AllocID(fmt.Sprint(i)))
	}
	a.RemoveNode(benchNode(1).ID)
	a.Step(4, 0)
	if len(a.gangs)+len(a.asleep)+len(a.kin)+len(a.stirred)+len(a.requests)+len(a.placing)+len(a.decisions)+len(a.peered)+len(a.nodes)+len(a.root.roles) != 0 {
		t.Errorf("left: %s", a.Describe())
	}
}

// TestGangIsNotTriedInVain: as long as fewer of its allocations became possible than it lacks, a gang that waits is not looked at.
func TestGangIsNotTriedInVain(t *testing.T) {
	a := New(Options{})
	node := func(i int, cores structs.Milli) {
		n := *benchNode(i)
		n.Resources.CPU = cores * 1000
		a.SetNode(&n)
	}
	node(0, 4)
	if err := a.SetGang(gangOf("g", 10)); err != nil {
		t.Fatal(err)
	}
	a.Step(1, 0)
	tried := a.gangs["g"].tried
	for i := 1; i <= 5; i++ {
		node(i, 1)
		if out := a.Step(1, 0); len(out) > 0 || a.gangs["g"].tried != tried {
			t.Fatalf("tried with %d cores", 4+i)
		}
	}
	node(6, 1)
	if out := a.Step(1, 0); len(out) != 10 {
		t.Fatalf("%d decisions", len(out))
	}
}
