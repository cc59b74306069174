package allocator_test

import (
	"fmt"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// memoryOnly shares memory alone, and leaves cores to whoever comes: a policy for a region where memory is what is paid for.
// It holds nothing and asks nobody, so that the same amounts give the same order everywhere.
type memoryOnly struct{}

// Share implements allocator.Policy: used and total have cores, memory, disk and then whatever else the region has, in the
// order of Allocator.Kinds.
func (memoryOnly) Share(used, total []int64, weight structs.Milli) allocator.Share {
	const memory = 1
	s := allocator.Share{Den: 1, Weight: max(1, int64(weight))}
	if len(used) > memory && used[memory] > 0 && len(total) > memory {
		s.Num, s.Den = used[memory], total[memory]
	}
	return s
}

// A third party compiles a policy in by giving it a name. A role, or the region, chooses it by that name. In the agent the
// place for it is the map in agent/policies.go.
func ExamplePolicy() {
	a := allocator.New(allocator.Options{Policies: map[string]allocator.Policy{"memory": memoryOnly{}}})
	a.SetNode(&structs.Node{ID: "n", Name: "n", Status: structs.NodeReady, Eligible: true, Resources: structs.Resources{CPU: 8000, Memory: 8 << 30}})
	_ = a.SetRole(&structs.Role{Name: "eng", Sorter: "memory"})
	ask := func(role string, cores structs.Milli, memory structs.Bytes) {
		r := &allocator.Request{ID: role, Framework: "f", Role: role, Ask: placement.Plain(role, "g", structs.Resources{CPU: cores, Memory: memory}),
			Slots: []allocator.Slot{{Index: 0}, {Index: 1}, {Index: 2}}}
		if err := a.SetRequest(r); err != nil {
			fmt.Println(err)
		}
	}
	ask("eng/cores", 2000, 1<<30)
	ask("eng/memory", 1000, 2<<30)
	for _, d := range a.Step(1, 0) {
		fmt.Println(d.Place.Role)
	}
	// Output:
	// eng/cores
	// eng/memory
	// eng/cores
	// eng/memory
	// eng/cores
}
