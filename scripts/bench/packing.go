//go:build linux

package main

import (
	"fmt"
	"math"
	"sort"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// A load is what is placed, in this order, and the nodes on which it may be, of which the first ones are used.
type load struct {
	asks  []*placement.Ask
	order []int // of asks
	nodes []*structs.Node
}

// packingLoad generates 3,000 allocations of 200 shapes in random order, and more nodes than they need. The shapes want
// 1/8 to 16 cores and 1 to 16 GiB for each core, every doubling equally often, at most 48 GiB; the nodes have 4 to 6 GiB for
// each core. Half of the shapes have a constraint. With gpus, every tenth node has eight, and every twentieth shape wants
// one to four of them and at least two cores.
func packingLoad(seed uint64, gpus, mixed bool) (*load, error) {
	const shapes, each = 200, 15
	f, l := newFleet(seed), &load{}
	constraints := f.constraints()
	cores := 0.0
	for i := range shapes {
		cpu := math.Exp2(f.rnd.Float64()*7 - 3)
		gib := min(cpu*math.Exp2(f.rnd.Float64()*4), 48)
		r := &structs.TaskResources{}
		if gpus && i%20 == 0 {
			cpu = max(cpu, 2)
			r.Custom = map[string]structs.Milli{"gpus": structs.Milli(1000 * (1 + f.rnd.IntN(4)))}
		}
		r.CPU, r.Memory = structs.Milli(cpu*1000), structs.Bytes(gib*1024)<<20
		group := &structs.Group{Name: "g", Tasks: []*structs.Task{{Name: "t", Resources: r}}}
		if i%2 == 1 {
			group.Constraints = constraints[i/2%3 : i/2%3+1]
		}
		ask, err := placement.Compile(&structs.Job{Name: fmt.Sprintf("job-%d", i)}, group)
		if err != nil {
			return nil, err
		}
		l.asks = append(l.asks, ask)
		for range each {
			l.order = append(l.order, i)
			cores += cpu
		}
	}
	f.rnd.Shuffle(len(l.order), func(i, j int) { l.order[i], l.order[j] = l.order[j], l.order[i] })
	for i := 0; cores > -20_000; i++ { // far more than enough
		n := even(i)
		if mixed {
			n = f.mixed(i)
		}
		cores -= float64(n.Resources.CPU) / 1000
		if gpus && f.rnd.IntN(10) == 0 {
			n.Resources.Custom = map[string]structs.Milli{"gpus": 8000}
		}
		l.nodes = append(l.nodes, n)
	}
	return l, nil
}

// packs reports whether everything has room on the first count nodes when each allocation is put, in order, on the node that
// choose says; nil is none.
func (l *load) packs(count int, choose func(pool *placement.Pool, nodes []*placement.Node, ask *placement.Ask) *placement.Node) bool {
	pool, nodes := placement.NewPool(), make([]*placement.Node, count)
	for i := range nodes {
		nodes[i] = placement.NewNode(l.nodes[i].ID, l.nodes[i])
		nodes[i].Ord = i
		pool.Changed(nodes[i])
	}
	for _, i := range l.order {
		n := choose(pool, nodes, l.asks[i])
		if n == nil {
			return false
		}
		n.Hold(l.asks[i].Resources, nil)
		pool.Changed(n)
	}
	return true
}

// needs returns the smallest number of nodes on which everything has room, found by bisection.
func (l *load) needs(choose func(pool *placement.Pool, nodes []*placement.Node, ask *placement.Ask) *placement.Node) int {
	return sort.Search(len(l.nodes), func(count int) bool { return l.packs(count, choose) })
}

// bound returns a number of nodes of which fewer have no room for everything, whoever chooses: so many have, together, as much
// of each resource as is asked for.
func (l *load) bound() (count int) {
	amounts := func(r *structs.Resources) [3]int64 {
		return [...]int64{int64(r.CPU), int64(r.Memory), int64(r.Custom["gpus"])}
	}
	var missing [3]int64
	for _, i := range l.order {
		for d, v := range amounts(&l.asks[i].Resources) {
			missing[d] += v
		}
	}
	for max(missing[0], missing[1], missing[2]) > 0 && count < len(l.nodes) {
		for d, v := range amounts(&l.nodes[count].Resources) {
			missing[d] -= v
		}
		count++
	}
	return count
}

// bestFit chooses the node on which it fits where the used parts of CPU and memory are largest afterwards, by looking at all.
func (l *load) bestFit() func(*placement.Pool, []*placement.Node, *placement.Ask) *placement.Node {
	suits := map[*placement.Ask][]bool{} // constraints, by node
	for _, ask := range l.asks {
		list := make([]bool, len(l.nodes))
		for i, spec := range l.nodes {
			list[i] = placement.Fits(placement.NewNode(spec.ID, spec), nil, ask, placement.First).OK
		}
		suits[ask] = list
	}
	return func(_ *placement.Pool, nodes []*placement.Node, ask *placement.Ask) (best *placement.Node) {
		most, r, ok := 0.0, &ask.Resources, suits[ask]
		gpus := r.Custom["gpus"]
		for i, n := range nodes {
			if !ok[i] {
				continue
			}
			have, used := n.Available(), n.Used()
			cpu, memory := used.CPU+r.CPU, used.Memory+r.Memory
			if cpu > have.CPU || memory > have.Memory || gpus > 0 && used.Custom["gpus"]+gpus > have.Custom["gpus"] {
				continue
			}
			if part := float64(cpu)/float64(have.CPU) + float64(memory)/float64(have.Memory); part > most {
				best, most = n, part
			}
		}
		return best
	}
}

// ours chooses as the allocator does.
func ours() func(*placement.Pool, []*placement.Node, *placement.Ask) *placement.Node {
	var of *placement.Pool
	var indexes map[*placement.Ask]*placement.Index
	return func(pool *placement.Pool, _ []*placement.Node, ask *placement.Ask) *placement.Node {
		if of != pool {
			of, indexes = pool, map[*placement.Ask]*placement.Index{}
		}
		if indexes[ask] == nil {
			indexes[ask] = pool.Index(ask, nil)
		}
		return indexes[ask].Best(nil)
	}
}

// packing compares how many nodes are needed with what best fit needs: each is given the first nodes of the same list, from
// the start and all at once, and the number is the smallest that suffices. Ten seeds; the worst is what counts. Beside it stands
// what could be saved at most, if no room were left anywhere.
func packing(b *bench) error {
	const seeds = 10
	for _, run := range []struct {
		what        string
		gpus, mixed bool
		must, aim   float64
	}{{"mixed nodes, 1 in 10 with GPUs", true, true, 2, 5}, {"without GPUs", false, true, 2, 5}, {"equal nodes", false, false, 2, 5}} {
		worst, sum, most, fewest := math.Inf(1), 0.0, 0, math.MaxInt
		least, largest := math.Inf(1), 0.0 // that could be saved
		for seed := range uint64(seeds) {
			l, err := packingLoad(100+seed, run.gpus, run.mixed)
			if err != nil {
				return err
			}
			best, got := l.needs(l.bestFit()), l.needs(ours())
			if best >= len(l.nodes) || got >= len(l.nodes) {
				return fmt.Errorf("packing: %d nodes are not enough", len(l.nodes))
			}
			saved := 100 * (1 - float64(got)/float64(best))
			worst, sum = min(worst, saved), sum+saved
			most, fewest = max(most, best), min(fewest, best)
			possible := 100 * (1 - float64(l.bound())/float64(best))
			least, largest = min(least, possible), max(largest, possible)
		}
		b.add(figure{What: "packing: fewer nodes than best fit, " + run.what, Unit: "%", Must: run.must, Aim: run.aim, Got: worst, More: true,
			Note: fmt.Sprintf("the worst of %d seeds, %.1f%% in the mean; best fit needs %d to %d nodes, and if no room were left %.1f to %.1f%% fewer would do",
				seeds, sum/seeds, fewest, most, least, largest)})
	}
	return nil
}
