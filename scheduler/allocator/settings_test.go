package allocator

import (
	"testing"

	"github.com/proffer/proffer/structs"
)

// What is excluded from the shares from now on no longer keeps those from their turn who hold it.
func TestWhatIsExcludedChangesLive(t *testing.T) {
	a := New(Options{})
	node := func(id string, cores structs.Milli) {
		a.SetNode(&structs.Node{ID: structs.NodeID(id), Name: id, Status: structs.NodeReady, Eligible: true,
			Resources: structs.Resources{CPU: 1000 * cores, Memory: 4 << 30, Custom: map[string]structs.Milli{"gpus": 1000}}})
	}
	node("n1", 2)
	hold := func(id, role string, r structs.Resources) {
		a.SetAllocation(&structs.Allocation{ID: structs.AllocID(id), Framework: "service", Role: role, Job: id, Node: "n1", Resources: r, Status: structs.AllocRunning})
	}
	hold("trains", "ml", structs.Resources{CPU: 100, Custom: map[string]structs.Milli{"gpus": 1000}})
	hold("serves", "web", structs.Resources{CPU: 1900})
	for i, role := range []string{"ml", "web"} {
		r := &Request{ID: role, Framework: "service", Role: role, Seq: uint64(i), Ask: placementOf(1), Slots: slotsOf(1)}
		if err := a.SetRequest(r); err != nil {
			t.Fatal(err)
		}
	}
	if got := a.Step(1, 0); len(got) != 0 {
		t.Fatalf("%d decisions on a full node", len(got))
	}
	first := func() string { return a.Order().Turns([]string{"ml", "web"}, 10)["ml"].Ranks[0].Behind }
	if got := first(); got != "web" {
		t.Errorf("ml, which holds all gpus, is behind %q", got)
	}
	a.SetSharing(Options{Exclude: []string{"gpus"}})
	if got := first(); got != "" {
		t.Errorf("ml is behind %q though gpus do not count", got)
	}
	if share := a.find("ml").share.Milli(); share != 50 {
		t.Errorf("its share is %s", share)
	}
	a.SetSharing(Options{})
	if got := first(); got != "web" {
		t.Errorf("ml is behind %q", got)
	}
}
