//go:build linux

package main

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
	"time"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// measureAllocator runs the allocator alone, on one core. Times are processor time of the whole process, collection of
// garbage included: on one idle core that is the time which passes, and other programs do not change it.
func measureAllocator(ctx context.Context, b *bench) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	b.endDev()
	for _, part := range []func(*bench) error{placeOneShape, placeBeside, placeShapes, placeGangs, offerCycles, declinedCycle, manyRoles, registerAll, preemptFull,
		fillRegion, packing, largestRegion} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := part(b); err != nil {
			return err
		}
		runtime.GC()
	}
	return nil
}

// spent returns the processor time that f takes. Garbage of before is not part of it.
func spent(f func()) time.Duration {
	runtime.GC()
	before := processorTime()
	f()
	return processorTime() - before
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// liveHeap returns the bytes of live objects.
func liveHeap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

func decided(decisions []allocator.Decision, want int) error {
	if len(decisions) != want {
		return fmt.Errorf("%d decisions instead of %d", len(decisions), want)
	}
	return nil
}

func placeOneShape(b *bench) error {
	const nodes, count = 10_000, 1_200
	for _, run := range []struct {
		what      string
		spread    bool
		must, aim float64
	}{{"no spread", false, 20_000, 100_000}, {"spread over 50 racks", true, 10_000, 50_000}} {
		a := allocator.New(allocator.Options{})
		for i := range nodes {
			a.SetNode(even(i))
		}
		a.Step(1, 0)
		ask, err := oneShape(run.spread)
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
		b.add(figure{What: "10,000 empty nodes, 1,200 of one shape, " + run.what, Unit: "placements/s", Must: run.must, Aim: run.aim,
			Got: count / took.Seconds(), More: true, Note: fmt.Sprintf("%.1f ms, the first look of the shape included", ms(took))})
	}
	return nil
}

func placeShapes(b *bench) error {
	const nodes, count, kinds = 10_000, 5_000, 200
	f, a := newFleet(1), allocator.New(allocator.Options{})
	for i := range nodes {
		n := f.mixed(i)
		a.SetNode(n)
		f.fill(a, n, 0.7)
	}
	a.Step(1, 0)
	asks, err := f.shapes(kinds)
	if err != nil {
		return err
	}
	var out []allocator.Decision
	took := spent(func() {
		if err = requestAll(a, "r", asks, count/kinds); err == nil {
			out = a.Step(1, 0)
		}
	})
	if err == nil {
		err = decided(out, count)
	}
	if err != nil {
		return err
	}
	b.add(figure{What: "10,000 mixed nodes 70% full, 5,000 of 200 shapes", Unit: "placements/s", Must: 10_000, Aim: 50_000,
		Got: count / took.Seconds(), More: true, Note: fmt.Sprintf("%.0f ms; in memory", ms(took))})
	// The indexes are there now; what comes next is the steady state.
	took = spent(func() {
		if err = requestAll(a, "again", asks, count/kinds); err == nil {
			out = a.Step(2, 0)
		}
	})
	if err != nil {
		return err
	}
	b.add(figure{What: "the same again, the shapes are known", Unit: "placements/s", Got: float64(len(out)) / took.Seconds(), More: true})
	return nil
}

func requestAll(a *allocator.Allocator, name string, asks []*placement.Ask, each int) error {
	for i, ask := range asks {
		if err := a.SetRequest(&allocator.Request{ID: fmt.Sprintf("%s%d", name, i), Framework: structs.FrameworkID(fmt.Sprintf("f%d", i%2)),
			Role: fmt.Sprintf("team-%d", i%20), Seq: uint64(i), Priority: structs.DefaultPriority, Ask: ask, Slots: slots(each)}); err != nil {
			return err
		}
	}
	return nil
}

// offering returns a region where every node is offered to one of the frameworks, which have a role each.
func offering(nodes, frameworks int) (*allocator.Allocator, []*structs.Offer, error) {
	a := allocator.New(allocator.Options{OfferTimeout: structs.Duration(1 << 60)})
	f := newFleet(2)
	for i := range nodes {
		a.SetNode(f.mixed(i))
	}
	for i := range frameworks {
		if err := a.SetFramework(&structs.Framework{ID: structs.FrameworkID(fmt.Sprintf("framework-%d", i)), Roles: []string{fmt.Sprintf("role-%d", i)}}); err != nil {
			return nil, nil, err
		}
	}
	offers := offersOf(a.Step(1, 0))
	if len(offers) != nodes {
		return nil, nil, fmt.Errorf("%d offers for %d nodes", len(offers), nodes)
	}
	return a, offers, nil
}

func offersOf(decisions []allocator.Decision) (out []*structs.Offer) {
	for _, d := range decisions {
		if d.Offer != nil {
			out = append(out, d.Offer)
		}
	}
	return out
}

func offerCycles(b *bench) error {
	for _, run := range []struct {
		nodes, frameworks                  int
		must, aim, changedMust, changedAim float64 // ms
	}{{20_000, 200, 400, 60, 30, 2}, {50_000, 200, 1500, 200, 80, 5}, {20_000, 2_000, 1000, 150, 0, 0}} {
		a, offers, err := offering(run.nodes, run.frameworks)
		if err != nil {
			return err
		}
		give := func(offers []*structs.Offer) {
			for _, o := range offers {
				if e := a.Decline(o.Framework, []structs.OfferID{o.ID}, allocator.Filter{}, 2); e != nil {
					err = e
				}
			}
		}
		what := fmt.Sprintf("%d,000 nodes × %d frameworks", run.nodes/1000, run.frameworks)
		var again []*structs.Offer
		took := spent(func() { give(offers); again = offersOf(a.Step(2, 0)) })
		if err != nil || len(again) != run.nodes {
			return fmt.Errorf("%d offers again: %w", len(again), err)
		}
		b.add(figure{What: "full offer cycle, " + what, Unit: "ms", Must: run.must, Aim: run.aim, Got: ms(took), Note: "all come back, all are made again"})
		if run.changedMust > 0 {
			some := again[:run.nodes/100]
			took = spent(func() { give(some); again = offersOf(a.Step(3, 0)) })
			if err != nil || len(again) != len(some) {
				return fmt.Errorf("%d offers after a change: %w", len(again), err)
			}
			b.add(figure{What: "cycle after 1% changed, " + what, Unit: "ms", Must: run.changedMust, Aim: run.changedAim, Got: ms(took)})
		}
		const idle = 1000
		took = spent(func() {
			for range idle {
				a.Step(3, 0)
			}
		})
		b.add(figure{What: "nothing to do, " + what, Unit: "ms", Must: 1, Aim: 0.001, Got: ms(took) / idle})
	}
	return nil
}

func declinedCycle(b *bench) error {
	const nodes, frameworks = 10_000, 50
	a, offers, err := offering(nodes, frameworks)
	if err != nil {
		return err
	}
	// Every framework declines every node, each with a filter.
	now := structs.Time(2)
	for len(offers) > 0 {
		for _, o := range offers {
			if err := a.Decline(o.Framework, []structs.OfferID{o.ID}, allocator.Filter{Refuse: structs.Duration(1 << 60)}, now); err != nil {
				return err
			}
		}
		offers = offersOf(a.Step(now, 0))
	}
	// A node comes, so that there is a cycle at all.
	took := spent(func() { a.SetNode(even(nodes)); offers = offersOf(a.Step(now, 0)) })
	if len(offers) != 1 {
		return fmt.Errorf("%d offers of a new node", len(offers))
	}
	b.add(figure{What: "all declined with filters, 10,000 × 50, next cycle", Unit: "ms", Must: 200, Aim: 5, Got: ms(took),
		Note: "with a new node, else there is none"})
	return nil
}

func manyRoles(b *bench) error {
	const nodes, roles = 3_000, 3_000
	a := allocator.New(allocator.Options{OfferTimeout: structs.Duration(1 << 60)})
	cpu, memory := structs.Milli(64_000), structs.Bytes(256<<30)
	for i := range nodes {
		a.SetNode(even(i))
	}
	for i := range roles {
		name := fmt.Sprintf("role-%d", i)
		if err := a.SetRole(&structs.Role{Name: name, Quota: &structs.Quota{Limit: &structs.QuotaAmount{CPU: &cpu, Memory: &memory}}}); err != nil {
			return err
		}
		if err := a.SetFramework(&structs.Framework{ID: structs.FrameworkID("framework-" + name), Roles: []string{name}}); err != nil {
			return err
		}
	}
	offers := offersOf(a.Step(1, 0))
	if len(offers) != nodes {
		return fmt.Errorf("%d offers", len(offers))
	}
	var err error
	took := spent(func() {
		for _, o := range offers {
			if e := a.Decline(o.Framework, []structs.OfferID{o.ID}, allocator.Filter{}, 2); e != nil {
				err = e
			}
		}
		offers = offersOf(a.Step(2, 0))
	})
	if err != nil || len(offers) != nodes {
		return fmt.Errorf("%d offers again: %w", len(offers), err)
	}
	b.add(figure{What: "3,000 nodes × 3,000 roles with quota, cycle", Unit: "ms", Must: 500, Aim: 50, Got: ms(took)})
	return nil
}

func registerAll(b *bench) error {
	before := liveHeap()
	var a *allocator.Allocator
	var offers []*structs.Offer
	var err error
	took := spent(func() { a, offers, err = offering(20_000, 200) })
	if err != nil {
		return err
	}
	b.add(figure{What: "20,000 nodes and 200 frameworks come, first cycle", Unit: "ms", Must: 2000, Aim: 500, Got: ms(took), Note: "making the nodes included"})
	b.add(figure{What: "memory of these", Unit: "MB", Must: 1000, Aim: 300, Got: (liveHeap() - before) / 1e6, Note: "live heap"})
	runtime.KeepAlive(a)
	runtime.KeepAlive(offers)
	return nil
}

// preemptFull has production placed where batch work runs: claims, the ends of the victims, and the placements.
func preemptFull(b *bench) error {
	const nodes, count, kinds = 5_000, 5_000, 200
	f, a := newFleet(4), allocator.New(allocator.Options{MostPreempted: 1 << 30})
	guarantee := structs.Milli(1 << 40)
	if err := a.SetRole(&structs.Role{Name: "web", Quota: &structs.Quota{Guarantee: &structs.QuotaAmount{CPU: &guarantee}}}); err != nil {
		return err
	}
	for i := range nodes {
		n := f.mixed(i)
		a.SetNode(n)
		f.fillWhole(a, n)
	}
	a.Step(1, 0)
	asks, err := f.shapes(kinds)
	if err != nil {
		return err
	}
	placed, stopped := 0, 0
	took := spent(func() {
		for i, ask := range asks {
			if err = a.SetRequest(&allocator.Request{ID: fmt.Sprintf("p%d", i), Framework: "service", Role: "web", Seq: uint64(i),
				Priority: structs.Priority{Band: structs.Production}, Ask: ask, Slots: slots(count / kinds)}); err != nil {
				return
			}
		}
		for more := true; more; {
			more = false
			for _, d := range a.Step(1, 512) {
				more = true
				switch {
				case d.Place != nil:
					placed++
				case d.Preempt != nil:
					for _, id := range d.Preempt.Victims {
						a.RemoveAllocation(id)
						stopped++
					}
				}
			}
		}
	})
	if err != nil || placed != count {
		return fmt.Errorf("%d of %d placed: %w", placed, count, err)
	}
	b.add(figure{What: "preemption on 5,000 full nodes", Unit: "placements/s", Must: 2_000, Aim: 10_000, Got: count / took.Seconds(), More: true,
		Note: fmt.Sprintf("200 shapes, %d stopped", stopped)})
	return nil
}

func fillRegion(b *bench) error {
	const nodes, count, kinds = 10_000, 500_000, 200
	f, a := newFleet(3), allocator.New(allocator.Options{})
	for i := range nodes {
		a.SetNode(node(i, 64, 384))
	}
	a.Step(1, 0)
	asks, err := f.shapes(kinds)
	if err != nil {
		return err
	}
	placed := 0
	before := liveHeap()
	took := spent(func() {
		if err = requestAll(a, "r", asks, count/kinds); err != nil {
			return
		}
		for {
			out := a.Step(1, 512)
			if len(out) == 0 {
				break
			}
			placed += len(out)
			for _, d := range out {
				p := d.Place
				if err = a.Confirm(p.ID, &structs.Allocation{ID: structs.AllocID(fmt.Sprintf("%032x", p.ID)), Framework: p.Framework, Role: p.Role,
					Priority: p.Priority, Job: p.Job, Group: p.Group, Node: p.Node, Resources: p.Resources, Ports: p.Ports,
					Status: structs.AllocPending}); err != nil {
					return
				}
			}
		}
	})
	if err != nil || placed != count {
		return fmt.Errorf("%d of %d placed: %w", placed, count, err)
	}
	b.add(figure{What: "an empty region of 10,000 filled with 500,000", Unit: "s", Must: 30, Aim: 10, Got: took.Seconds(),
		Note: fmt.Sprintf("200 shapes, each decision confirmed; %.0f bytes an allocation", (liveHeap()-before)/count)})
	runtime.KeepAlive(a)
	return nil
}
