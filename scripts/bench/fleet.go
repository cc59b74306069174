//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// fleet generates nodes and asks from a seed, the same ones each time.
type fleet struct{ rnd *rand.Rand }

func newFleet(seed uint64) *fleet { return &fleet{rand.New(rand.NewPCG(seed, 7))} }

// machineSizes are the kinds of node of a mixed region: cores, GiB of memory, and how many of ten nodes are of it.
var machineSizes = []struct {
	cores, gib int64
	often      int
}{{8, 32, 3}, {16, 64, 4}, {32, 128, 2}, {64, 384, 1}}

// even returns node i of a region of equal nodes in 50 racks.
func even(i int) *structs.Node { return node(i, 16, 64) }

// mixed returns node i of a region of several sizes.
func (f *fleet) mixed(i int) *structs.Node {
	pick := f.rnd.IntN(10)
	for _, size := range machineSizes {
		if pick -= size.often; pick < 0 {
			return node(i, size.cores, size.gib)
		}
	}
	panic("the sizes cover ten of ten")
}

func node(i int, cores, gib int64) *structs.Node {
	kernel := [...]string{"5.15.0", "6.1.0", "6.8.0"}[i%3]
	return &structs.Node{ID: structs.NodeID(fmt.Sprintf("%032x", uint64(i)*0x9e3779b97f4a7c15)), Name: fmt.Sprintf("node-%d", i),
		Status: structs.NodeReady, Eligible: true, Datacenter: fmt.Sprintf("dc%d", i%2+1),
		Resources: structs.Resources{CPU: structs.Milli(1000 * cores), Memory: structs.Bytes(gib << 30), Disk: 1 << 40},
		PortRange: structs.Range{First: 20000, Last: 32000}, Hosts: []string{"10.0.0.1"},
		Drivers:    map[string]*structs.Driver{"exec": {Healthy: true}},
		Attributes: map[string]string{"kernel.version": kernel, "cpu.arch": "amd64"},
		Meta:       map[string]string{"rack": fmt.Sprintf("r%d", i%50), "disk": [...]string{"ssd", "hdd"}[i%5/4]}}
}

// shapes returns asks of n shapes; every second one has a constraint.
func (f *fleet) shapes(n int) ([]*placement.Ask, error) {
	asks := make([]*placement.Ask, n)
	for i, job := range f.shapeJobs(n) {
		var err error
		if asks[i], err = placement.Compile(job, job.Groups[0]); err != nil {
			return nil, err
		}
	}
	return asks, nil
}

// shapeJobs returns the jobs that shapes are compiled from, of one group each.
func (f *fleet) shapeJobs(n int) []*structs.Job {
	jobs := make([]*structs.Job, n)
	for i := range jobs {
		group := &structs.Group{Name: "g", Tasks: []*structs.Task{{Name: "t", Resources: &structs.TaskResources{
			CPU: structs.Milli(100 + 50*f.rnd.IntN(40)), Memory: structs.Bytes(64+32*f.rnd.IntN(120)) << 20}}}}
		if i%2 == 1 {
			group.Constraints = f.constraints()[i/2%3 : i/2%3+1]
		}
		jobs[i] = &structs.Job{Name: fmt.Sprintf("job-%d", i), Groups: []*structs.Group{group}}
	}
	return jobs
}

// constraints returns one that four of five nodes meet, one that two of three do, and one that half of them do.
func (f *fleet) constraints() []*structs.Constraint {
	return []*structs.Constraint{{Attribute: "${meta.disk}", Operator: "=", Value: "ssd"},
		{Attribute: "${attr.kernel.version}", Operator: "version", Value: ">= 6.0"},
		{Attribute: "${node.datacenter}", Operator: "=", Value: "dc1"}}
}

// oneShape returns an ask for half a core and 256 MiB.
func oneShape(spread bool) (*placement.Ask, error) {
	job, group := &structs.Job{Name: "one"}, &structs.Group{Name: "g", Tasks: []*structs.Task{{Name: "t",
		Resources: &structs.TaskResources{CPU: 500, Memory: 256 << 20}}}}
	if spread {
		job.Spreads = []*structs.Spread{{Attribute: "${meta.rack}"}}
	}
	return placement.Compile(job, group)
}

// pieces returns amounts of different sizes that add up to about part of a node, 0 to 1.
func (f *fleet) pieces(n *structs.Node, part float64) (out []structs.Resources) {
	var held structs.Resources
	for {
		piece := structs.Resources{CPU: structs.Milli(250 * (1 + f.rnd.IntN(12))), Memory: structs.Bytes(256*(1+f.rnd.IntN(40))) << 20}
		held = held.Add(piece)
		if float64(held.CPU) > part*float64(n.Resources.CPU) || float64(held.Memory) > part*float64(n.Resources.Memory) {
			return out
		}
		out = append(out, piece)
	}
}

// fill lets allocations hold about part of a node, 0 to 1, in pieces of different sizes.
func (f *fleet) fill(a *allocator.Allocator, n *structs.Node, part float64) {
	for k, piece := range f.pieces(n, part) {
		role := f.rnd.IntN(20)
		a.SetAllocation(&structs.Allocation{ID: structs.AllocID(fmt.Sprintf("%s-%d", n.ID, k)), Framework: "batch",
			Role: fmt.Sprintf("team-%d", role), Job: fmt.Sprintf("old-%d-%d", role, f.rnd.IntN(100)), Group: "g", Node: n.ID,
			Priority: structs.DefaultPriority, Resources: piece, Status: structs.AllocRunning})
	}
}

// fillWhole lets batch allocations of a core each hold all of a node.
func (f *fleet) fillWhole(a *allocator.Allocator, n *structs.Node) {
	cores := int(n.Resources.CPU / 1000)
	for k := range cores {
		a.SetAllocation(&structs.Allocation{ID: structs.AllocID(fmt.Sprintf("%s-%d", n.ID, k)), Framework: "batch", Role: "science",
			Job: fmt.Sprintf("old-%d", f.rnd.IntN(1000)), Group: "g", Node: n.ID, Priority: structs.DefaultPriority,
			Created:   structs.Time(f.rnd.IntN(1_000_000)),
			Resources: structs.Resources{CPU: 1000, Memory: n.Resources.Memory / structs.Bytes(cores)}, Status: structs.AllocRunning})
	}
}

// slots returns n slots.
func slots(n int) []allocator.Slot {
	out := make([]allocator.Slot, n)
	for i := range out {
		out[i].Index = i
	}
	return out
}
