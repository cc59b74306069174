package placement

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
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
	if rapid.IntRange(0, 2).Draw(t, "disk") > 0 {
		n.Resources.Disk = structs.Bytes(rapid.IntRange(1, 3).Draw(t, "disk")) << 30
	}
	switch rapid.IntRange(0, 5).Draw(t, "custom") {
	case 0, 1:
		n.Resources.Custom = map[string]structs.Milli{"gpus": 2000}
	case 2:
		n.Resources.Custom = map[string]structs.Milli{"gpus": 1000, "fpgas": 1000}
	case 3:
		n.Resources.Custom = map[string]structs.Milli{"gpus": 0}
	}
	if rapid.IntRange(0, 2).Draw(t, "lan") > 0 {
		n.Networks = map[string][]string{"lan": {"10.1.0.1"}}
		n.Attributes["network.bridge"] = rapid.SampledFrom([]string{"true", "no: it is not root"}).Draw(t, "bridge")
	}
	drawImages(t, n)
	if rapid.IntRange(0, 5).Draw(t, "set") == 0 {
		n.Resources.Sets = map[string][]string{"slots": {"a", "b"}}
	}
	return n
}

// drawImages gives a node other images.
func drawImages(t *rapid.T, n *structs.Node) {
	d := &structs.Driver{Healthy: n.Drivers["exec"].Healthy, Images: map[string]structs.Bytes{}}
	n.Drivers = map[string]*structs.Driver{"exec": d}
	for _, name := range []string{"web:1", "huge:1", "both:1"} {
		if rapid.IntRange(0, 3).Draw(t, "image "+name) == 0 {
			d.Images[structs.ImageName(name)] = structs.Bytes(rapid.SampledFrom([]int{0, 1, 100, 5000}).Draw(t, "size")) << 20
		}
	}
}

func drawAsk(t *rapid.T, name string) *Ask {
	job, group := &structs.Job{Name: name}, &structs.Group{Name: rapid.SampledFrom([]string{"g", "h"}).Draw(t, "group")}
	task := &structs.Task{Name: "t", Resources: &structs.TaskResources{CPU: structs.Milli(250 * rapid.IntRange(0, 4).Draw(t, "cpu")),
		Memory: structs.Bytes(rapid.IntRange(0, 4).Draw(t, "memory")) << 28, Ports: rapid.IntRange(0, 1).Draw(t, "unnamed")}}
	if rapid.IntRange(0, 4).Draw(t, "gpu") == 0 {
		task.Resources.Custom = map[string]structs.Milli{"gpus": 1000}
	}
	group.Tasks = []*structs.Task{task}
	if name := rapid.SampledFrom([]string{"", "", "web:1", "huge:1"}).Draw(t, "image"); name != "" {
		task.Config = map[string]any{"image": name}
		if rapid.Bool().Draw(t, "two") {
			group.Tasks = append(group.Tasks, &structs.Task{Name: "u", Config: map[string]any{"image": "both:1"}})
		}
	}
	switch rapid.IntRange(0, 7).Draw(t, "network") {
	case 2:
		group.Network = &structs.Network{Ports: []*structs.Port{{Label: "a", Static: 53, Protocol: structs.TCP}, {Label: "b", Static: 20001, Protocol: structs.UDP},
			{Label: "c", Static: 20001, Protocol: structs.TCP}, {Label: "d"}}}
	case 3:
		group.Network = &structs.Network{Mode: structs.NetworkBridge, Ports: []*structs.Port{{Label: "a", Host: "lan"}, {Label: "b"},
			{Label: "c", Static: 80, Host: "10.1.0.0/16"}}}
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
	if rapid.IntRange(0, 2).Draw(t, "neighbours") == 0 {
		for range rapid.IntRange(1, 2).Draw(t, "rules") {
			drawNeighbour(t, job, group)
		}
	}
	if rapid.IntRange(0, 1).Draw(t, "tagged") == 0 {
		group.Tags = []string{"noisy"}
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
	if rapid.IntRange(0, 3).Draw(t, "disk") == 0 {
		group.Disk = 1 << 29
	}
	job.Placement = rapid.SampledFrom([]string{"", structs.Pack, structs.SpreadApart}).Draw(t, "placement")
	a, err := Compile(job, group)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// held is one allocation in a test.
type held struct {
	n      *Node
	job    string // empty for an offer
	group  string
	marks  *structs.Marks
	amount structs.Resources
	ports  []structs.AssignedPort
}

// life is nodes, a pool of them, and several asks of two jobs with an index each.
type life struct {
	nodes   []*Node
	pool    *Pool
	work    *Work
	asks    []*Ask
	indexes []*Index
	all     []held
	ids     int
}

func (l *life) node(t *rapid.T) *Node {
	return l.nodes[rapid.IntRange(0, len(l.nodes)-1).Draw(t, "node")]
}

// change changes a node, or what is held, at random.
func (l *life) change(t *rapid.T) {
	switch rapid.IntRange(0, 8).Draw(t, "change") {
	case 8: // it has other images
		if n := l.node(t); n.spec != nil {
			spec := *n.spec
			drawImages(t, &spec)
			n.SetSpec(&spec)
			l.pool.Changed(n)
		}
	case 0: // a node changes
		n := l.node(t)
		n.SetSpec(drawNode(t, n.Ord))
		l.pool.Changed(n)
	case 1: // one goes
		n := l.node(t)
		n.SetSpec(nil)
		l.pool.Changed(n)
	case 2: // one is forgotten, and another gets its number
		n := l.node(t)
		if slices.ContainsFunc(l.all, func(h held) bool { return h.n == n }) {
			return
		}
		n.SetSpec(nil)
		l.pool.Changed(n)
		l.ids++
		m := NewNode(structs.NodeID(fmt.Sprintf("n%04d", l.ids)), drawNode(t, n.Ord))
		m.Ord = n.Ord
		l.nodes[n.Ord] = m
		l.pool.Changed(m)
	case 3, 4: // an allocation goes
		if len(l.all) > 0 {
			i := rapid.IntRange(0, len(l.all)-1).Draw(t, "which")
			h := l.all[i]
			l.all = append(l.all[:i], l.all[i+1:]...)
			h.n.Drop(h.amount, h.ports)
			if h.job != "" {
				l.work.Add(h.n, h.job, h.group, h.marks, -1)
			}
			l.pool.Changed(h.n)
		}
	default: // an offer holds something, whether or not it fits
		n, amount := l.node(t), structs.Resources{CPU: structs.Milli(rapid.IntRange(0, 3000).Draw(t, "cpu")),
			Memory: structs.Bytes(rapid.IntRange(0, 3<<10).Draw(t, "memory")) << 20, Ports: rapid.IntRange(0, 1).Draw(t, "ports")}
		if rapid.IntRange(0, 3).Draw(t, "gpu") == 0 {
			amount.Custom = map[string]structs.Milli{"gpus": 1000}
		}
		n.Hold(amount, nil)
		l.all = append(l.all, held{n: n, amount: amount})
		l.pool.Changed(n)
	}
}

// place asks one index, of what running work leaves of its ask, and holds what it chose.
func (l *life) place(t *rapid.T, i int) {
	ask := l.asks[i].Among(l.work)
	peers := l.work.Job(ask.Job)
	if l.indexes[i].Ask().Key() != ask.Key() {
		l.indexes[i] = l.pool.Index(ask, peers)
	}
	index := l.indexes[i]
	var avoid []structs.NodeID
	for range rapid.IntRange(-3, 3).Draw(t, "avoid") {
		avoid = append(avoid, l.node(t).ID)
	}
	want, got := Best(l.nodes, peers, ask, avoid), index.Best(avoid)
	if want != got {
		t.Fatalf("index chose %v, best is %v", describe(got), describe(want))
	}
	n := l.node(t) // one that is preferred
	if fits := Fits(n, peers, ask, First).OK; index.Fits(n) != fits {
		t.Fatalf("index says fits=%v on %s", !fits, n.ID)
	}
	v := Fits(n, peers, ask, All)
	if v.OK != Fits(n, peers, ask, First).OK || v.OK != (len(v.Reasons) == 0) {
		t.Fatalf("modes disagree on %s: %v", n.ID, v)
	}
	if want == nil {
		if e := Explain(l.nodes, peers, ask); e.Fits != 0 || (e.Nodes > 0 && len(e.Reasons) == 0) {
			t.Fatalf("explanation %v", e)
		}
		return
	}
	ports, ok := want.Assign(ask)
	if !ok {
		t.Fatalf("%s fits and has no ports", want.ID)
	}
	for i, p := range ports {
		if !want.PortFree(&p) || slices.ContainsFunc(ports[:i], p.Collides) {
			t.Fatalf("port %d given twice", p.Port)
		}
	}
	// A node that shrank may be overdrawn of what is not asked for.
	free, r := want.Free(), ask.Resources
	if r.CPU > max(0, free.CPU) || r.Memory > max(0, free.Memory) || r.Custom["gpus"] > max(0, free.Custom["gpus"]) {
		t.Fatalf("%s over-committed", want.ID)
	}
	want.Hold(ask.Resources, ports)
	peers.Put(want, ask, 1)
	l.all = append(l.all, held{want, ask.Job, ask.Group, ask.Marks, ask.Resources, ports})
	l.pool.Changed(want)
}

// TestIndexEqualsBest drives several indexes of one pool and the linear definition through the same random life: they agree
// at each step, nodes are never over-committed, and ports are never given twice.
func TestIndexEqualsBest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &life{pool: NewPool(), work: NewWork()}
		count, specs := rapid.IntRange(1, 8).Draw(t, "nodes"), 8
		if rapid.IntRange(0, 3).Draw(t, "many") == 0 { // of few sizes and kinds, so that the trees have blocks
			count, specs = rapid.IntRange(40, 200).Draw(t, "nodes"), rapid.IntRange(1, 3).Draw(t, "specs")
		}
		if rapid.Bool().Draw(t, "small") { // the log is short, no view is kept, and trees are searched whenever they can be
			l.pool.slack, l.pool.few, l.pool.keep = 0, 0, 1
		}
		var drawn []*structs.Node
		pulled := rapid.Bool().Draw(t, "pulled") // nodes of one kind have different images
		for i := range count {
			if i < specs {
				drawn = append(drawn, drawNode(t, i))
			}
			spec := *drawn[i%len(drawn)]
			n := NewNode(structs.NodeID(fmt.Sprintf("n%04d", i*101%1009)), &spec)
			spec.ID, spec.Name, n.Ord = n.ID, fmt.Sprintf("node%d", i), i
			if pulled {
				drawImages(t, &spec)
			}
			l.nodes = append(l.nodes, n)
			l.pool.Changed(n)
		}
		l.ids = 1009
		for i := range rapid.IntRange(1, 4).Draw(t, "asks") {
			ask := drawAsk(t, []string{"j", "k"}[i/2])
			l.asks, l.indexes = append(l.asks, ask), append(l.indexes, l.pool.Index(ask, l.work.Job(ask.Job)))
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			for range rapid.IntRange(0, 3).Draw(t, "changes") {
				l.change(t)
			}
			l.place(t, rapid.IntRange(0, len(l.indexes)-1).Draw(t, "index"))
		}
		l.audit(t)
	})
}

// audit checks the trees: every node that takes work is in its leaf, blocks are in order, and their bounds are exact.
func (l *life) audit(t *rapid.T) {
	seen := 0
	var walk func(z *size, b *block, low, high uint32)
	walk = func(z *size, b *block, low, high uint32) {
		box := b.box
		box.custom = slices.Clone(box.custom)
		b.box.first = nil
		z.compute(b, nil)
		if !reflect.DeepEqual(box, b.box) {
			t.Fatalf("bounds %+v should be %+v", box, b.box)
		}
		if len(b.all) > leafMost || len(b.kids) > fanMost || b.up != nil && len(b.all)+len(b.kids) == 0 {
			t.Fatalf("a block of %d nodes and %d blocks", len(b.all), len(b.kids))
		}
		for _, e := range b.all {
			seen++
			if e.node.block != b || e.node.size != z || e != seatOf(e.node) || e.key < low || e.key > high {
				t.Fatalf("%s is in the wrong place", e.node.ID)
			}
		}
		for i, k := range b.kids {
			to := high
			if i+1 < len(b.kids) {
				to = b.kids[i+1].low
			}
			if k.up != b {
				t.Fatal("a block does not know what it is in")
			}
			walk(z, k, max(low, k.low), to)
		}
	}
	l.pool.flush()
	for _, z := range l.pool.sizes {
		if z.root.up != nil {
			t.Fatal("the root is in another block")
		}
		walk(z, z.root, 0, math.MaxUint32)
	}
	for _, x := range l.indexes {
		x.sync()
		sizes := make([]int, len(x.view.buckets))
		for _, n := range l.nodes {
			if b := x.view.of(n); b >= 0 {
				sizes[b]++
			}
		}
		for i, b := range x.view.buckets {
			looks := 0
			x.view.each(l.pool, b, func(*Node) { looks++ })
			if x.view.size(l.pool, b) != sizes[i] || looks != sizes[i] {
				t.Fatalf("bucket %d has %d nodes, is said to have %d, and %d are looked at", i, sizes[i], x.view.size(l.pool, b), looks)
			}
		}
	}
	want := 0
	for _, n := range l.nodes {
		if n.spec != nil && n.spec.Schedulable() {
			want++
		}
	}
	if seen != want || l.pool.nodes != want {
		t.Fatalf("%d nodes in trees, %d in kinds, %d take work", seen, l.pool.nodes, want)
	}
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
		before, ports := n.Free().String(), n.ports.free("10.0.0.1")
		a := drawAsk(t, "j")
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
		if after := n.Free().String(); after != before || n.ports.free("10.0.0.1") != ports {
			t.Fatalf("%s became %s", before, after)
		}
	})
}
