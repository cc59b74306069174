//go:build linux

package main

import (
	"fmt"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// placeBeside places one shape with rules about other work, of which there is some on each third node: what must not be on
// the node, what should be in the rack, and what should not be on the node.
func placeBeside(b *bench) error {
	const nodes, count = 10_000, 1_200
	a := allocator.New(allocator.Options{})
	for i := range nodes {
		n := even(i)
		a.SetNode(n)
		if i%3 == 0 {
			a.SetAllocation(&structs.Allocation{ID: structs.AllocID(n.ID), Framework: "batch", Role: "old", Job: fmt.Sprint("old-", i%100), Group: "g",
				Node: n.ID, Priority: structs.DefaultPriority, Resources: structs.Resources{CPU: 500, Memory: 1 << 30}, Status: structs.AllocRunning,
				Marks: &structs.Marks{Tags: []string{[]string{"noisy", "cache", "front"}[i/3%3]}}})
		}
	}
	a.Step(1, 0)
	job := &structs.Job{Name: "one", Tags: []string{"front"}}
	group := &structs.Group{Name: "g", Tasks: []*structs.Task{{Name: "t", Resources: &structs.TaskResources{CPU: 500, Memory: 256 << 20}}},
		Constraints: []*structs.Constraint{{Operator: "not_beside", Value: "tag=noisy"}},
		Affinities: []*structs.Affinity{{Attribute: "${meta.rack}", Operator: "beside", Value: "tag=cache"},
			{Operator: "not_beside", Value: "tag=front", Weight: 80}}}
	ask, err := placement.Compile(job, group)
	if err != nil {
		return err
	}
	var out []allocator.Decision
	took := spent(func() {
		if err = a.SetRequest(&allocator.Request{ID: "r", Framework: "batch", Ask: ask, Slots: slots(count)}); err == nil {
			out = a.Step(1, 0)
		}
	})
	if err == nil {
		err = decided(out, count)
	}
	if err != nil {
		return err
	}
	b.add(figure{What: "10,000 nodes, 1,200 of one shape, beside and not beside other work", Unit: "placements/s", Must: 10_000, Aim: 50_000,
		Got: count / took.Seconds(), More: true, Note: fmt.Sprintf("%.1f ms, the first look of the shape included", ms(took))})
	return nil
}
