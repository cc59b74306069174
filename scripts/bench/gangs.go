//go:build linux

package main

import (
	"fmt"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// placeGangs has gangs placed on nodes that are 70% full: anywhere, inside one of 50 racks, and one that fits nowhere, which is looked at
// again after each change of a node.
func placeGangs(b *bench) error {
	const nodes = 10_000
	f, a := newFleet(5), allocator.New(allocator.Options{})
	for i := range nodes {
		n := f.mixed(i)
		a.SetNode(n)
		f.fill(a, n, 0.7)
	}
	a.Step(1, 0)
	for _, run := range []struct {
		what, within string
		count        int
		cores        structs.Milli
	}{{"a gang of 512", "", 512, 2000}, {"a gang of 512 of two shapes", "", 512, 1500}, {"a gang of 128 in one of 50 racks", "${meta.rack}", 128, 2000}} {
		g := &allocator.Gang{ID: run.what}
		job := &structs.Job{Name: run.what, Gang: &structs.Gang{Within: run.within}}
		parts := 1
		if run.cores == 1500 {
			parts = 2
		}
		for i := range parts {
			ask, err := placement.Compile(job, &structs.Group{Name: fmt.Sprint("g", i), Tasks: []*structs.Task{{Name: "t",
				Resources: &structs.TaskResources{CPU: run.cores * structs.Milli(i+1), Memory: 2 << 30, Ports: 1}}}})
			if err != nil {
				return err
			}
			g.Requests = append(g.Requests, &allocator.Request{ID: fmt.Sprintf("%s/%d", run.what, i), Framework: "batch",
				Priority: structs.DefaultPriority, Ask: ask, Slots: slots(run.count / parts)})
		}
		var out []allocator.Decision
		var err error
		took := spent(func() {
			if err = a.SetGang(g); err == nil {
				out = a.Step(2, 0)
			}
		})
		if err == nil {
			err = decided(out, run.count)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", run.what, err)
		}
		b.add(figure{What: run.what + " on 10,000 mixed nodes 70% full", Unit: "ms", Got: ms(took), Must: 250, Aim: 50,
			Note: "the first look of the shapes included"})
	}
	ask, err := placement.Compile(&structs.Job{Name: "large", Gang: &structs.Gang{Within: "${meta.rack}"}}, &structs.Group{Name: "g",
		Tasks: []*structs.Task{{Name: "t", Resources: &structs.TaskResources{CPU: 8000, Memory: 2 << 30}}}})
	if err != nil {
		return err
	}
	if err := a.SetGang(&allocator.Gang{ID: "large", Requests: []*allocator.Request{{ID: "large/g", Framework: "batch",
		Priority: structs.DefaultPriority, Ask: ask, Slots: slots(512)}}}); err != nil {
		return err
	}
	a.Step(3, 0)
	const changes = 200
	took := spent(func() {
		for i := range changes {
			n := *even(i)
			n.Name += "-again"
			a.SetNode(&n)
			if out := a.Step(3, 0); len(out) > 0 {
				err = fmt.Errorf("a gang that fits nowhere was placed: %d decisions", len(out))
			}
		}
	})
	b.add(figure{What: "a gang of 512 that fits in no rack, a node changes", Unit: "ms", Got: ms(took) / changes, Must: 10, Aim: 0.1})
	return err
}
