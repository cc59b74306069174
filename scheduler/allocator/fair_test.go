package allocator

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

// act is one input of a random life; every allocator that it is given to gets the same.
type act func(a *Allocator) error

// life is a random life in which nodes only grow and limits only rise, so that nothing may ever be overdrawn.
type life struct {
	t      *rapid.T
	nodes  map[string]int // cores
	limits map[string]int
	asked  int
	flight []uint64
	runs   []structs.AllocID
}

func allocationOfDecision(p *Place, id structs.AllocID) *structs.Allocation {
	alloc := allocationOf(p, string(id))
	alloc.Created = structs.Time(p.ID)
	return alloc
}

// input draws the next input.
func (l *life) input(places map[uint64]*Place) act {
	t := l.t
	roles := []string{"a", "a/x", "a/y", "b", "b/z"}
	switch rapid.IntRange(0, 9).Draw(t, "input") {
	case 0, 1:
		id := fmt.Sprintf("n%d", rapid.IntRange(0, 5).Draw(t, "node"))
		l.nodes[id] += rapid.IntRange(1, 4).Draw(t, "cores")
		spec := &structs.Node{ID: structs.NodeID(id), Name: id, Status: structs.NodeReady, Eligible: true,
			PortRange: structs.Range{First: 1, Last: 100},
			Resources: structs.Resources{CPU: structs.Milli(1000 * l.nodes[id]), Memory: structs.Bytes(l.nodes[id]) << 30}}
		return func(a *Allocator) error { a.SetNode(spec); return nil }
	case 2:
		return l.role(rapid.SampledFrom(roles).Draw(t, "role"))
	case 3:
		f := rapid.SampledFrom(offerers).Draw(t, "framework")
		in := rapid.SliceOfNDistinct(rapid.SampledFrom(roles), 1, 2, rapid.ID).Draw(t, "roles")
		return func(a *Allocator) error { return a.SetFramework(&structs.Framework{ID: f, Roles: in}) }
	case 4, 5, 6:
		if len(l.flight) == 0 {
			return nil
		}
		i := rapid.IntRange(0, len(l.flight)-1).Draw(t, "decision")
		id := l.flight[i]
		l.flight = slices.Delete(l.flight, i, i+1)
		if rapid.IntRange(0, 4).Draw(t, "refuse") == 0 {
			return func(a *Allocator) error { return a.Refuse(id) }
		}
		alloc := allocationOfDecision(places[id], structs.AllocID(fmt.Sprint("x", id)))
		l.runs = append(l.runs, alloc.ID)
		return func(a *Allocator) error { return a.Confirm(id, alloc) }
	case 7:
		if len(l.runs) == 0 {
			return nil
		}
		i := rapid.IntRange(0, len(l.runs)-1).Draw(t, "allocation")
		id := l.runs[i]
		l.runs = slices.Delete(l.runs, i, i+1)
		return func(a *Allocator) error { a.RemoveAllocation(id); return nil }
	}
	l.asked++
	r := Request{ID: fmt.Sprint("r", rapid.IntRange(0, 9).Draw(t, "request")), Framework: rapid.SampledFrom(testFrameworks).Draw(t, "framework"),
		Role: rapid.SampledFrom(roles).Draw(t, "role"), Priority: structs.Priority{Band: structs.Band(rapid.IntRange(0, 3).Draw(t, "band"))},
		Seq: uint64(l.asked), Slots: slotsOf(rapid.IntRange(1, 4).Draw(t, "count"))}
	cores := rapid.IntRange(1, 3).Draw(t, "cores")
	r.Ask = placementOf(cores)
	return func(a *Allocator) error { again := r; return a.SetRequest(&again) }
}

// role raises the limit of a role, and changes the rest of it.
func (l *life) role(name string) act {
	t := l.t
	l.limits[name] += rapid.IntRange(1, 4).Draw(t, "limit")
	limit, guarantee := structs.Milli(1000*l.limits[name]), structs.Milli(500*rapid.IntRange(0, 2).Draw(t, "guarantee"))
	role := &structs.Role{Name: name, Sorter: drawSorter(t), Weight: structs.Milli(500 * rapid.IntRange(1, 4).Draw(t, "weight")),
		Quota: &structs.Quota{Limit: &structs.QuotaAmount{CPU: &limit}, Guarantee: &structs.QuotaAmount{CPU: &guarantee}}}
	return func(a *Allocator) error { return a.SetRole(role) }
}

// TestSameInputSameOutput: two allocators that are told the same decide the same, whatever order maps are walked in; no node
// and no limit is ever overdrawn.
func TestSameInputSameOutput(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		o.MostPreempted = 3
		a, b := New(o), New(o)
		l := &life{t: t, nodes: map[string]int{}, limits: map[string]int{}}
		for _, name := range []string{"a", "a/x", "a/y", "b", "b/z"} { // before anything runs: a first limit may be below use
			do := l.role(name)
			if err := errors.Join(do(a), do(b)); err != nil {
				t.Fatal(err)
			}
		}
		places := map[uint64]*Place{}
		for step := range rapid.IntRange(5, 60).Draw(t, "steps") {
			if do := l.input(places); do != nil {
				if err := do(a); err != nil {
					t.Fatal(err)
				}
				if err := do(b); err != nil {
					t.Fatal(err)
				}
			}
			now := structs.Time(1e9 * (step + 1))
			decisions := a.Step(now, 0)
			got, want := texts(decisions), texts(b.Step(now, 0))
			if !slices.Equal(got, want) {
				t.Fatalf("one decided\n%s\nthe other\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			// What a claim holds is still held by those that have to end, here at once; after the Steps that follow it is not.
			for ; len(decisions) > 0; decisions = a.Step(now, 0) {
				for _, d := range decisions {
					if d.Place != nil {
						places[d.Place.ID] = d.Place
						l.flight = append(l.flight, d.Place.ID)
					}
					if d.Preempt != nil {
						for _, id := range d.Preempt.Victims {
							a.RemoveAllocation(id)
							b.RemoveAllocation(id)
							l.runs = slices.DeleteFunc(l.runs, func(x structs.AllocID) bool { return x == id })
						}
					}
				}
				b.Step(now, 0)
			}
			if x, y := a.Describe(), b.Describe(); x != y {
				t.Fatalf("one is\n%s\nthe other\n%s", x, y)
			}
			for id, n := range a.nodes {
				if overdrawn(n.Free()) {
					t.Fatalf("node %s has %s left", id, n.Free())
				}
			}
			for _, r := range a.Roles() {
				for kind, limit := range r.Limit {
					if r.Used[kind] > limit {
						t.Fatalf("role %s holds %d of %d %s", r.Role, r.Used[kind], limit, kind)
					}
				}
			}
		}
	})
}

// TestNobodyStarves: who holds nothing and wants something is served before as many others as there are roles, whatever the
// others want and however much of it; and in one framework nobody overtakes who asked earlier for the same.
func TestNobodyStarves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := New(Options{})
		cores := rapid.IntRange(2, 8).Draw(t, "cores")
		a.SetNode(&structs.Node{ID: "n", Name: "n", Status: structs.NodeReady, Eligible: true,
			Resources: structs.Resources{CPU: structs.Milli(1000 * cores), Memory: structs.Bytes(cores) << 30}})
		roles := []string{"a", "b", "c", "d", "e"}[:rapid.IntRange(2, 5).Draw(t, "roles")]
		seq := uint64(0)
		ask := func(role string) string {
			seq++
			id := fmt.Sprintf("%s%06d", role, seq)
			if err := a.SetRequest(&Request{ID: id, Framework: "f", Role: role, Seq: seq, Ask: placementOf(1),
				Slots: slotsOf(rapid.IntRange(1, 20).Draw(t, "count"))}); err != nil {
				t.Fatal(err)
			}
			return id
		}
		for _, role := range roles {
			if err := a.SetRole(&structs.Role{Name: role, Weight: structs.Milli(500 * rapid.IntRange(1, 6).Draw(t, "weight"))}); err != nil {
				t.Fatal(err)
			}
		}
		running, holds, waits := []string{}, map[string]int{}, map[string]int{}
		byID := map[string]string{}
		last := map[string]string{} // the request that was served last, by role
		for range rapid.IntRange(10, 100).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "ask") || seq == 0 {
				ask(rapid.SampledFrom(roles).Draw(t, "role"))
			}
			if len(running) == cores {
				i := rapid.IntRange(0, cores-1).Draw(t, "ends")
				id := running[i]
				running = slices.Delete(running, i, i+1)
				holds[byID[id]]--
				a.RemoveAllocation(structs.AllocID(id))
			}
			for _, d := range a.Step(1, 0) {
				p := d.Place
				id := fmt.Sprint("x", p.ID)
				if err := a.Confirm(p.ID, allocationOf(p, id)); err != nil {
					t.Fatal(err)
				}
				running = append(running, id)
				byID[id] = p.Role
				holds[p.Role]++
				waits[p.Role] = 0
				if p.Request < last[p.Role] {
					t.Fatalf("%s came after %s", p.Request, last[p.Role])
				}
				last[p.Role] = p.Request
				for _, role := range roles {
					if role != p.Role && holds[role] == 0 && a.find(role) != nil && wanting(a, role) {
						if waits[role]++; waits[role] >= len(roles) {
							t.Fatalf("%s holds nothing and waited while %d others were served", role, waits[role])
						}
					}
				}
			}
		}
	})
}

func wanting(a *Allocator, role string) bool {
	for _, id := range a.Pending() {
		if a.requests[id].group.client.account.path == role {
			return true
		}
	}
	return false
}

// TestWhatIsLentComesBack: the idle part of a role is lent to its siblings before its cousins. Production beyond a guarantee
// runs as batch and is reclaimed as batch by those within theirs, down to the guarantee and not below.
func TestWhatIsLentComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cores := 4 * rapid.IntRange(2, 6).Draw(t, "quarter")
		a := New(Options{MostPreempted: 1000})
		a.SetNode(&structs.Node{ID: "n", Name: "n", Status: structs.NodeReady, Eligible: true,
			Resources: structs.Resources{CPU: structs.Milli(1000 * cores), Memory: structs.Bytes(cores) << 30}})
		// Half for eng, a quarter each for two of its roles; a half for ops.
		guarantee := func(n int) *structs.Quota {
			v := structs.Milli(1000 * n)
			return &structs.Quota{Guarantee: &structs.QuotaAmount{CPU: &v}}
		}
		for name, n := range map[string]int{"eng": cores / 2, "eng/idle": cores / 4, "eng/near": cores / 4, "ops": cores / 2} {
			if err := a.SetRole(&structs.Role{Name: name, Weight: 1000, Quota: guarantee(n)}); err != nil {
				t.Fatal(err)
			}
		}
		band := structs.Priority{Band: structs.Band(rapid.IntRange(2, 3).Draw(t, "band"))}
		ask := func(role string) {
			if err := a.SetRequest(&Request{ID: role, Framework: "f", Role: role, Priority: band, Seq: 1, Ask: placementOf(1), Slots: slotsOf(cores)}); err != nil {
				t.Fatal(err)
			}
		}
		holds := map[string]int{}
		of := map[structs.AllocID]string{}
		settle := func() {
			for {
				decisions := a.Step(1, 0)
				if len(decisions) == 0 {
					return
				}
				for _, d := range decisions {
					if p := d.Place; p != nil {
						id := structs.AllocID(fmt.Sprint("x", p.ID))
						alloc := allocationOf(p, string(id))
						alloc.Created = structs.Time(p.ID)
						if err := a.Confirm(p.ID, alloc); err != nil {
							t.Fatal(err)
						}
						of[id] = p.Role
						holds[p.Role]++
					}
					if d.Preempt != nil {
						for _, id := range d.Preempt.Victims {
							a.RemoveAllocation(id)
							holds[of[id]]--
						}
					}
				}
			}
		}
		ask("eng/near")
		ask("ops")
		settle()
		// What eng/idle does not use goes to eng/near, and not to ops.
		if holds["eng/near"] != cores/2 || holds["ops"] != cores/2 {
			t.Fatalf("lent to %v of %d", holds, cores)
		}
		ask("eng/idle")
		settle()
		if holds["eng/idle"] < cores/4 && holds["eng/near"] > cores/4+cores/40+1 || holds["ops"] != cores/2 {
			t.Fatalf("%v of %d: eng/idle did not get its guarantee back from who had borrowed it", holds, cores)
		}
		if holds["eng/near"] < cores/4 {
			t.Fatalf("%v of %d: reclaimed below the guarantee", holds, cores)
		}
	})
}

// TestByChance: over many draws each child is drawn in proportion to its weight.
func TestByChance(t *testing.T) {
	weights := map[string]structs.Milli{"a": 500, "b": 1000, "c": 2500}
	a := New(Options{Sorter: SorterRandom, Seed: 42})
	const cores = 8000
	a.SetNode(&structs.Node{ID: "n", Name: "n", Status: structs.NodeReady, Eligible: true,
		Resources: structs.Resources{CPU: 1000 * cores, Memory: cores << 30}})
	for role, weight := range weights {
		if err := a.SetRole(&structs.Role{Name: role, Weight: weight}); err != nil {
			t.Fatal(err)
		}
		if err := a.SetRequest(&Request{ID: role, Framework: "f", Role: role, Ask: placementOf(1), Slots: slotsOf(cores)}); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]int{}
	for _, d := range a.Step(1, 0) {
		got[d.Place.Role]++
	}
	w, _ := a.Explain("a")
	if len(w.Shares) != 2 || w.Shares[0].Sorter != SorterRandom || w.Shares[0].Weight != 500 {
		t.Errorf("explained as %+v", w.Shares)
	}
	for role, weight := range weights {
		if want := cores * int(weight) / 4000; got[role] < want*19/20 || got[role] > want*21/20 {
			t.Errorf("%s was drawn %d times of %d, not about %d", role, got[role], cores, want)
		}
	}
}

// placementOf asks for so many cores, and a GiB for each.
func placementOf(cores int) *placement.Ask {
	return placement.Plain("j", "g", structs.Resources{CPU: structs.Milli(1000 * cores), Memory: structs.Bytes(cores) << 30})
}
