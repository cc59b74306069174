package placement

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

var (
	racks   = []string{"r1", "r2", "r3", ""}
	kernels = []string{"6.1.0-13-amd64", "5.10.0", "6.8", ""}
)

// drawNode makes a node with few distinct values, so that classes and ties are common.
func drawNode(t *rapid.T, id int) *structs.Node {
	pick := func(list []string, label string) string { return rapid.SampledFrom(list).Draw(t, label) }
	n := &structs.Node{ID: structs.NodeID(fmt.Sprintf("n%02d", id)), Name: fmt.Sprintf("node%d", id), Status: structs.NodeReady,
		Datacenter: pick([]string{"dc1", "dc2"}, "dc"), Eligible: rapid.IntRange(0, 9).Draw(t, "eligible") > 0,
		Resources: structs.Resources{CPU: structs.Milli(1000 * rapid.IntRange(1, 4).Draw(t, "cpu")),
			Memory: structs.Bytes(rapid.IntRange(1, 4).Draw(t, "memory")) << 30},
		PortRange: structs.Range{First: 20000, Last: 20000 + int64(rapid.IntRange(0, 5).Draw(t, "ports"))},
		Hosts:     []string{"10.0.0.1"},
		Drivers:   map[string]*structs.Driver{"exec": {Healthy: rapid.IntRange(0, 9).Draw(t, "healthy") > 0}},
		Meta:      map[string]string{}, Attributes: map[string]string{}}
	if r := pick(racks, "rack"); r != "" {
		n.Meta["rack"] = r
	}
	if k := pick(kernels, "kernel"); k != "" {
		n.Attributes["kernel.version"] = k
	}
	if rapid.Bool().Draw(t, "gpu") {
		n.Resources.Custom = map[string]structs.Milli{"gpus": 2000}
	}
	return n
}

func drawAsk(t *rapid.T) *Ask {
	job, group := &structs.Job{Name: "j"}, &structs.Group{Name: rapid.SampledFrom([]string{"g", "h"}).Draw(t, "group")}
	task := &structs.Task{Name: "t", Resources: &structs.TaskResources{CPU: structs.Milli(250 * rapid.IntRange(0, 4).Draw(t, "cpu")),
		Memory: structs.Bytes(rapid.IntRange(0, 4).Draw(t, "memory")) << 28, Ports: rapid.IntRange(0, 1).Draw(t, "unnamed")}}
	if rapid.IntRange(0, 4).Draw(t, "gpu") == 0 {
		task.Resources.Custom = map[string]structs.Milli{"gpus": 1000}
	}
	group.Tasks = []*structs.Task{task}
	switch rapid.IntRange(0, 5).Draw(t, "network") {
	case 0:
		group.Network = &structs.Network{Ports: []*structs.Port{{Label: "a"}, {Label: "b", Static: 20001}}}
	case 1:
		group.Network = &structs.Network{Ports: []*structs.Port{{Label: "s", Static: 80}}}
	}
	if rapid.IntRange(0, 3).Draw(t, "dc") == 0 {
		job.Datacenters = []string{"dc1"}
	}
	for _, c := range []*structs.Constraint{{Operator: "distinct_hosts"}, {Operator: "distinct_property", Attribute: "${meta.rack}", Value: "2"},
		{Attribute: "${attr.kernel.version}", Operator: "version", Value: ">= 6"}, {Attribute: "${meta.rack}", Operator: "!=", Value: "r1"},
		{Attribute: "${node.name}", Operator: "regexp", Value: "[02468]$"}} {
		if rapid.IntRange(0, 4).Draw(t, "constraint "+c.Operator) == 0 {
			if rapid.Bool().Draw(t, "of job") {
				job.Constraints = append(job.Constraints, c)
			} else {
				group.Constraints = append(group.Constraints, c)
			}
		}
	}
	if rapid.IntRange(0, 2).Draw(t, "affinity") == 0 {
		job.Affinities = []*structs.Affinity{{Attribute: "${meta.rack}", Value: "r2", Weight: rapid.SampledFrom([]int{-80, 0, 30}).Draw(t, "weight")}}
	}
	switch rapid.IntRange(0, 3).Draw(t, "spread") {
	case 0:
		job.Spreads = []*structs.Spread{{Attribute: "${meta.rack}"}}
	case 1:
		job.Spreads = []*structs.Spread{{Attribute: "${node.datacenter}", Targets: []*structs.SpreadTarget{{Value: "dc1", Percent: 70}}},
			{Attribute: "${meta.rack}", Weight: 20}}
	}
	a, err := Compile(job, group)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// held is one allocation in a test.
type held struct {
	n      *Node
	group  string
	amount structs.Resources
	ports  []structs.AssignedPort
}

// TestIndexEqualsBest drives an index and the linear definition through the same random life: they agree at each step,
// nodes are never over-committed, and ports are never given twice.
func TestIndexEqualsBest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var nodes []*Node
		for i := range rapid.IntRange(1, 8).Draw(t, "nodes") {
			n := NewNode(structs.NodeID(fmt.Sprintf("n%02d", i)), drawNode(t, i))
			n.Ord = i
			nodes = append(nodes, n)
		}
		peers, ask := &Peers{}, drawAsk(t)
		index := NewIndex(ask, peers, nodes)
		var all []held
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0: // a node changes
				n := nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "node")]
				n.SetSpec(drawNode(t, n.Ord))
				index.Update(n)
			case 1: // a node goes
				n := nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "node")]
				n.SetSpec(nil)
				index.Update(n)
			case 2, 3: // an allocation goes
				if len(all) > 0 {
					i := rapid.IntRange(0, len(all)-1).Draw(t, "which")
					h := all[i]
					all = append(all[:i], all[i+1:]...)
					h.n.Drop(h.amount, h.ports)
					peers.Add(h.n, h.group, -1)
					index.Update(h.n)
				}
			default:
				var avoid []structs.NodeID
				if rapid.IntRange(0, 3).Draw(t, "avoid") == 0 {
					avoid = []structs.NodeID{nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "avoided")].ID}
				}
				want, got := Best(nodes, peers, ask, avoid), index.Best(avoid)
				if want != got {
					t.Fatalf("index chose %v, best is %v", describe(got), describe(want))
				}
				for _, n := range nodes {
					if index.Fits(n) != Fits(n, peers, ask, First).OK {
						t.Fatalf("index says fits=%v on %s", index.Fits(n), n.ID)
					}
					v := Fits(n, peers, ask, All)
					if v.OK != Fits(n, peers, ask, First).OK || v.OK != (len(v.Reasons) == 0) {
						t.Fatalf("modes disagree on %s: %v", n.ID, v)
					}
				}
				if want == nil {
					if e := Explain(nodes, peers, ask); e.Fits != 0 || (e.Nodes > 0 && len(e.Reasons) == 0) {
						t.Fatalf("explanation %v", e)
					}
					continue
				}
				ports, ok := want.Assign(ask)
				if !ok {
					t.Fatalf("%s fits and has no ports", want.ID)
				}
				for _, p := range ports {
					if !want.PortFree(p.Host, p.Port) {
						t.Fatalf("port %d given twice", p.Port)
					}
				}
				// A node that shrank may be overdrawn of what is not asked for.
				free, r := want.Free(), ask.Resources
				if r.CPU > max(0, free.CPU) || r.Memory > max(0, free.Memory) || r.Custom["gpus"] > max(0, free.Custom["gpus"]) {
					t.Fatalf("%s over-committed", want.ID)
				}
				want.Hold(ask.Resources, ports)
				peers.Add(want, ask.Group, 1)
				all = append(all, held{want, ask.Group, ask.Resources, ports})
				index.Update(want)
			}
		}
	})
}

func describe(n *Node) string {
	if n == nil {
		return "none"
	}
	return string(n.ID)
}

// TestBooksBalance: what is held and given back in any order leaves a node as it was.
func TestBooksBalance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := drawNode(t, 1)
		n := NewNode(spec.ID, spec)
		before, ports := n.Free().String(), n.ports.free(n.host())
		a := drawAsk(t)
		var all [][]structs.AssignedPort
		for Fits(n, nil, a, First).OK && len(all) < 20 {
			p, _ := n.Assign(a)
			n.Hold(a.Resources, p)
			all = append(all, p)
		}
		r := rand.New(rand.NewPCG(uint64(rapid.Uint32().Draw(t, "seed")), 1))
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, p := range all {
			n.Drop(a.Resources, p)
		}
		if after := n.Free().String(); after != before || n.ports.free(n.host()) != ports {
			t.Fatalf("%s became %s", before, after)
		}
	})
}
