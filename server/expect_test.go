package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// What ends, and by when, is what is being stopped or has a max_run_duration.
func TestEndings(t *testing.T) {
	x := &tryout{store: state.New()}
	x.node(0, 4, 16)
	j := tryJob("j", "", "", "service", 3, 1)
	j.Groups[0].MaxRunDuration = structs.Duration(3600e9)
	if _, err := x.apply(&state.SubmitJob{Job: j}); err != nil {
		t.Fatal(err)
	}
	cmd := &state.Place{}
	for i, most := range []structs.Duration{0, 3600e9, 0} {
		cmd.Placements = append(cmd.Placements, &state.Placement{NodeIncarnation: 1, Alloc: &structs.Allocation{ID: structs.AllocID(fmt.Sprint("a", i)), Framework: "service", Role: "default",
			Job: "j", Version: 1, Group: "g", Index: i, Node: structs.NodeID(fmt.Sprintf("%032d", 0)), Resources: j.Groups[0].Ask(), MaxRunDuration: most}})
	}
	if _, err := x.apply(cmd); err != nil {
		t.Fatal(err)
	}
	if _, err := x.apply(&state.Place{Stops: []*state.Stop{{ID: "a2"}}}); err != nil {
		t.Fatal(err)
	}
	const now = structs.Time(5e9)
	ends := endings(x.store.Snapshot(), now)[structs.NodeID(fmt.Sprintf("%032d", 0))]
	if len(ends) != 2 || ends[0].At != x.store.Snapshot().Alloc("a1").Created.Add(3600e9).Add(allocator.EndMargin) || ends[1].At != now.Add(allocator.EndMargin) {
		t.Errorf("%+v", ends)
	}
}

// When it is expected is what is known, and otherwise why it is not.
func TestExpect(t *testing.T) {
	x := &tryout{store: state.New()}
	x.node(0, 4, 16)
	x.node(1, 4, 16)
	snap := x.store.Snapshot()
	ask, err := placement.Compile(tryJob("new", "", "", "service", 1, 3), tryJob("new", "", "", "service", 1, 3).Groups[0])
	if err != nil {
		t.Fatal(err)
	}
	var held []*structs.Allocation
	ends := map[structs.NodeID][]placement.Ending{}
	for i := range 4 {
		node := structs.NodeID(fmt.Sprintf("%032d", i/2))
		held = append(held, &structs.Allocation{ID: structs.AllocID(fmt.Sprint(i)), Node: node, Resources: structs.Resources{CPU: 2000}, Status: structs.AllocRunning})
		if i > 0 { // n0 has room at 100, n1 at 300
			ends[node] = append(ends[node], placement.Ending{At: structs.Time(i * 100), Resources: held[i].Resources})
		}
	}
	var specs []*structs.Node
	for n := range snap.Nodes() {
		specs = append(specs, n)
	}
	for _, c := range []struct {
		name    string
		ends    map[structs.NodeID][]placement.Ending
		waiting *allocator.Waiting
		fits    int
		want    string
	}{
		{"known", ends, &allocator.Waiting{Because: allocator.OfNoNode, Turn: &structs.Turn{At: 18}}, 0, "by 1970-01-01 00:00:00 on node n1: what runs there has reached its max_run_duration by then; 17 come before it"},
		{"nothing ends", nil, nil, 0, "unknown: nothing that runs has a max_run_duration"},
		{"not enough ends", map[structs.NodeID][]placement.Ending{specs[0].ID: ends[specs[0].ID]}, nil, 0, "unknown: on no node would"},
		{"closed", ends, &allocator.Waiting{Because: allocator.OfClosed, Closed: "eng"}, 0, "unknown: role eng is closed"},
		{"quota", ends, &allocator.Waiting{Because: allocator.OfQuota, Quota: []allocator.QuotaShort{{Role: "eng"}}}, 0, "unknown: it depends on when work of role eng ends"},
		{"never", ends, &allocator.Waiting{Because: allocator.OfQuota, Quota: []allocator.QuotaShort{{Role: "eng", Bound: 3, Asked: 4}}}, 0, "unknown: it asks for more than it may ever have"},
		{"kept", ends, &allocator.Waiting{Because: allocator.OfNoNode, Kept: &allocator.KeptRoom{Name: "n0", Known: true, In: 3600e9}}, 0, "by 1970-01-01 01:00:00 on node n0: room is kept for it there"},
		{"claims", ends, &allocator.Waiting{Claims: []allocator.Claim{{}}}, 0, "unknown: it depends on when what is being stopped"},
		{"room", ends, nil, 1, "unknown: there is room"},
	} {
		b := &books{asks: map[string]*placement.Ask{"g": ask}}
		b.nodes, b.peers = placement.Books(specs, held, tryJob("new", "", "", "service", 1, 3))
		g := &GroupExplanation{Group: "g", Waiting: 1, Standing: c.waiting, Fit: placement.Explanation{Fits: c.fits}}
		b.expect(g, func() map[structs.NodeID][]placement.Ending { return c.ends }, 10)
		if got := g.Expected.String(); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, not %q", c.name, got, c.want)
		}
	}
}

// Production that no guarantee covers does not preempt batch: whoever wonders why it waits for room is told.
func TestBeyondAGuaranteeIsTold(t *testing.T) {
	up := allocator.Waiting{Priority: structs.Priority{Band: structs.Production}, Ordered: structs.BatchBand, Because: allocator.OfNoNode}
	beyond := up
	beyond.Guarantee = []allocator.QuotaShort{{Role: "ops", Resource: "cpu", Bound: 2000, Used: 2000, Asked: 1000}}
	within := up
	within.Ordered = structs.Production
	turn := up
	turn.Because = allocator.ItsTurn
	for want, w := range map[string]allocator.Waiting{
		"no node takes it; it is served as batch: no guarantee covers it":                                             up,
		"no node takes it; it is served as batch, since the guarantee is used up: role ops: cpu 1 asked, 2 of 2 used": beyond,
		"no node takes it": within,
		"it is served as batch: no guarantee covers it": turn,
	} {
		if got := OrderText(&w); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}
