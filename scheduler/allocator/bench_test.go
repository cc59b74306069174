package allocator

import (
	"fmt"
	"testing"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

func benchNode(i int) *structs.Node {
	return &structs.Node{ID: structs.NodeID(fmt.Sprintf("%08x", uint32(i)*2654435761)), Name: fmt.Sprintf("node%d", i), Status: structs.NodeReady, Eligible: true,
		Datacenter: "dc1", Resources: structs.Resources{CPU: 16000, Memory: 64 << 30, Disk: 1 << 40},
		PortRange: structs.Range{First: 20000, Last: 32000}, Hosts: []string{"10.0.0.1"},
		Drivers: map[string]*structs.Driver{"exec": {Healthy: true}},
		Meta:    map[string]string{"rack": fmt.Sprintf("r%d", i%50)}}
}

func benchAsk(b testing.TB, name string, spread bool, ports int) *placement.Ask {
	job, group := &structs.Job{Name: name}, &structs.Group{Name: "g", Tasks: []*structs.Task{{Name: "t",
		Resources: &structs.TaskResources{CPU: 500, Memory: 256 << 20, Ports: ports}}}}
	if spread {
		job.Spreads = []*structs.Spread{{Attribute: "${meta.rack}"}}
	}
	ask, err := placement.Compile(job, group)
	if err != nil {
		b.Fatal(err)
	}
	return ask
}

func slotsOf(n int) []Slot {
	s := make([]Slot, n)
	for i := range s {
		s[i].Index = i
	}
	return s
}

// 10,000 empty nodes, 1,200 allocations of one shape: the first pass over all nodes is inside the measurement.
func benchOneShape(b *testing.B, spread bool) {
	const nodes, count = 10_000, 1_200
	for b.Loop() {
		b.StopTimer()
		a := New(Options{})
		for i := range nodes {
			a.SetNode(benchNode(i))
		}
		a.Step(1, 0)
		r := &Request{ID: "r", Framework: "batch", Role: "default", Ask: benchAsk(b, "j", spread, 0), Slots: slotsOf(count)}
		b.StartTimer()
		if err := a.SetRequest(r); err != nil {
			b.Fatal(err)
		}
		if got := len(a.Step(1, 0)); got != count {
			b.Fatal(got)
		}
	}
	b.ReportMetric(float64(count)*float64(b.N)/b.Elapsed().Seconds(), "placements/s")
}

func BenchmarkOneShape(b *testing.B)         { benchOneShape(b, false) }
func BenchmarkOneShapeSpread50(b *testing.B) { benchOneShape(b, true) }

// 10,000 empty nodes, on half of which room is reserved for a role, and 1,200 allocations of the role in one shape.
func benchReserved(b *testing.B, spread bool) {
	const nodes, count = 10_000, 1_200
	for b.Loop() {
		b.StopTimer()
		a := New(Options{})
		for i := range nodes {
			spec := benchNode(i)
			if i%2 == 0 {
				spec.ReservedFor = map[string]*structs.Resources{"eng": {CPU: 8000, Memory: 16 << 30}}
			}
			a.SetNode(spec)
		}
		a.Step(1, 0)
		r := &Request{ID: "r", Framework: "batch", Role: "eng/web", Ask: benchAsk(b, "j", spread, 0), Slots: slotsOf(count)}
		b.StartTimer()
		if err := a.SetRequest(r); err != nil {
			b.Fatal(err)
		}
		if got := len(a.Step(1, 0)); got != count {
			b.Fatal(got)
		}
	}
	b.ReportMetric(float64(count)*float64(b.N)/b.Elapsed().Seconds(), "placements/s")
}

func BenchmarkReserved(b *testing.B)         { benchReserved(b, false) }
func BenchmarkReservedSpread50(b *testing.B) { benchReserved(b, true) }

// Single-allocation jobs on one node, a Step and a Confirm each, as they come one by one.
func BenchmarkSingles(b *testing.B) {
	a := New(Options{})
	spec := benchNode(0)
	spec.Resources = structs.Resources{CPU: 1e12, Memory: 1 << 50, Disk: 1 << 50}
	spec.PortRange.Last = 65000
	a.SetNode(spec)
	asks := make([]*placement.Ask, 1000)
	for i := range asks {
		asks[i] = benchAsk(b, fmt.Sprintf("job%d", i), false, 1)
	}
	n := 0
	for b.Loop() {
		n++
		id := fmt.Sprintf("job%d", n)
		if err := a.SetRequest(&Request{ID: id, Framework: "batch", Role: "default", Seq: uint64(n), Ask: asks[n%1000], Slots: slotsOf(1)}); err != nil {
			b.Fatal(err)
		}
		d := a.Step(1, 0)
		if len(d) != 1 {
			b.Fatalf("%d decisions at %d", len(d), n)
		}
		p := d[0].Place
		alloc := &structs.Allocation{ID: structs.AllocID(id), Framework: p.Framework, Role: p.Role, Job: p.Job, Group: p.Group, Node: p.Node,
			Resources: p.Resources, Ports: p.Ports, Status: structs.AllocPending}
		if err := a.Confirm(p.ID, alloc); err != nil {
			b.Fatal(err)
		}
		a.RemoveRequest(id)
		if n > 1000 {
			a.RemoveAllocation(structs.AllocID(fmt.Sprintf("job%d", n-1000)))
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "placements/s")
}

// Nothing to do, with 200 shapes that fit nowhere and 200 frameworks that declined everything.
func BenchmarkIdle(b *testing.B) {
	a := New(Options{})
	for i := range 5_000 {
		a.SetNode(benchNode(i))
	}
	for i := range 200 {
		job := &structs.Job{Name: fmt.Sprint("j", i)}
		group := &structs.Group{Name: "g", Tasks: []*structs.Task{{Name: "t", Resources: &structs.TaskResources{CPU: structs.Milli(1e6 + i)}}}}
		ask, err := placement.Compile(job, group)
		if err != nil {
			b.Fatal(err)
		}
		if err := a.SetRequest(&Request{ID: job.Name, Framework: "batch", Ask: ask, Slots: slotsOf(10)}); err != nil {
			b.Fatal(err)
		}
	}
	a.Step(1, 0)
	for b.Loop() {
		if len(a.Step(1, 0)) != 0 {
			b.Fatal("decided")
		}
	}
}

// A full cycle of offers: all come back, all are made again. 5,000 nodes and 200 frameworks with a role each.
func BenchmarkOfferCycle(b *testing.B) {
	const nodes, frameworks = 5_000, 200
	a := New(Options{})
	for i := range nodes {
		a.SetNode(benchNode(i))
	}
	for i := range frameworks {
		if err := a.SetFramework(&structs.Framework{ID: structs.FrameworkID(fmt.Sprint("f", i)), Roles: []string{fmt.Sprint("role", i)}}); err != nil {
			b.Fatal(err)
		}
	}
	offers := a.Step(1, 0)
	for b.Loop() {
		if len(offers) != nodes {
			b.Fatal(len(offers))
		}
		for _, d := range offers {
			if err := a.Decline(d.Offer.Framework, []structs.OfferID{d.Offer.ID}, Filter{}, 1); err != nil {
				b.Fatal(err)
			}
		}
		offers = a.Step(1, 0)
	}
}

// 200 shapes interleaved on 2,000 nodes.
func BenchmarkManyShapes(b *testing.B) { benchManyShapes(b, 0, nil) }

// The same from images: of a hundred, each node has a fifth, or all but one.
func BenchmarkManyImages(b *testing.B) {
	benchManyShapes(b, 0, func(node, image int) bool { return (node*7+image)%5 == 0 })
}
func BenchmarkManyImagesEverywhere(b *testing.B) {
	benchManyShapes(b, 0, func(node, image int) bool { return node%100 != image })
}

// The same when no two nodes have the same memory: there is a tree for each.
func BenchmarkManySizes(b *testing.B) { benchManyShapes(b, 1<<20, nil) }

func benchManyShapes(b *testing.B, differ structs.Bytes, has func(node, image int) bool) {
	const nodes, shapes, each = 2_000, 200, 25
	for b.Loop() {
		b.StopTimer()
		a := New(Options{})
		for i := range nodes {
			n := benchNode(i)
			n.Resources.Memory += structs.Bytes(i) * differ
			if has != nil {
				images := map[string]structs.Bytes{}
				for k := range 100 {
					if has(i, k) {
						images[structs.ImageName(fmt.Sprint("image", k))] = structs.Bytes(k) << 24
					}
				}
				n.Drivers["exec"].Images = images
			}
			a.SetNode(n)
		}
		a.Step(1, 0)
		b.StartTimer()
		for i := range shapes {
			job := &structs.Job{Name: fmt.Sprint("j", i)}
			group := &structs.Group{Name: "g", Tasks: []*structs.Task{{Name: "t", Resources: &structs.TaskResources{CPU: structs.Milli(100 + i), Memory: 1 << 26}}}}
			if has != nil {
				group.Tasks[0].Config = map[string]any{structs.ImageKey: fmt.Sprint("image", i%100)}
			}
			ask, err := placement.Compile(job, group)
			if err != nil {
				b.Fatal(err)
			}
			if err := a.SetRequest(&Request{ID: job.Name, Framework: structs.FrameworkID(fmt.Sprint("f", i%10)), Role: fmt.Sprint("role", i%20), Ask: ask, Slots: slotsOf(each)}); err != nil {
				b.Fatal(err)
			}
		}
		if got := len(a.Step(1, 0)); got != shapes*each {
			b.Fatal(got)
		}
	}
	b.ReportMetric(float64(shapes*each)*float64(b.N)/b.Elapsed().Seconds(), "placements/s")
}
