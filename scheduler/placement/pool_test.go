package placement

import (
	"fmt"
	"testing"

	"github.com/proffer/proffer/structs"
)

func poolNode(i, ord int) *Node {
	spec := testNode()
	spec.ID, spec.Name, spec.Resources = structs.NodeID(fmt.Sprintf("n%06d", i)), fmt.Sprint("n", i), structs.Resources{CPU: 4000, Memory: 4 << 30}
	n := NewNode(spec.ID, spec)
	n.Ord = ord
	return n
}

func poolAsk(t *testing.T, change func(*structs.Group)) *Ask {
	g := &structs.Group{Name: "g", Tasks: []*structs.Task{{Name: "t", Resources: &structs.TaskResources{CPU: 1000, Memory: 1 << 30}}}}
	change(g)
	a, err := Compile(&structs.Job{Name: "j"}, g)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestValuesOfNodesThatAreGone: a spread over names, through nodes that come and go, keeps what the nodes need that are
// there, and still finds the best one.
func TestValuesOfNodesThatAreGone(t *testing.T) {
	const at, all = 20, 4000
	for _, attribute := range []string{"${node.name}", "${meta.serial}"} { // a bucket a node; a bucket a class
		p, nodes, work := NewPool(), make([]*Node, at), NewWork()
		x := p.Index(poolAsk(t, func(g *structs.Group) { g.Spreads = []*structs.Spread{{Attribute: attribute}} }), work.Job("j"))
		for i := range all {
			ord := i % at
			if old := nodes[ord]; old != nil {
				if k := work.Job("j").on(old.ID, ofGroup, "g"); k > 0 {
					work.Add(old, "j", "g", nil, -k)
				}
				old.SetSpec(nil)
				p.Changed(old)
			}
			n := poolNode(i, ord)
			n.spec.Meta = map[string]string{"serial": n.spec.Name}
			n.class = classOf(n.spec)
			nodes[ord] = n
			p.Changed(n)
			if i < at-1 {
				continue
			}
			best := x.Best(nil)
			if want := Best(nodes, work.Job("j"), x.ask, nil); best != want {
				t.Fatalf("%s: %s instead of %s", attribute, describe(best), describe(want))
			}
			work.Add(best, "j", "g", nil, 1)
			p.Changed(best)
		}
		if n := len(x.view.buckets); n > 10*at {
			t.Errorf("%s: %d buckets for %d nodes", attribute, n, at)
		}
		if n := len(x.counts[0]); n > 10*at {
			t.Errorf("%s: %d values are counted for %d nodes", attribute, n, at)
		}
	}
}

// TestViewsAreBounded: asks for one node each, by name, do not make the pool know of each of them every node for ever.
func TestViewsAreBounded(t *testing.T) {
	const nodes, asks = 100, 200
	p := NewPool()
	p.keepSuits = 1000
	for i := range nodes {
		p.Changed(poolNode(i, i))
	}
	for i := range asks {
		x := p.Index(poolAsk(t, func(g *structs.Group) {
			g.Constraints = []*structs.Constraint{{Attribute: "${node.name}", Value: fmt.Sprint("n", i)}}
		}), nil)
		if best := x.Best(nil); (best != nil) != (i < nodes) {
			t.Fatalf("n%d: %s", i, describe(best))
		}
		if x.Size() < suitSize*nodes {
			t.Fatalf("an index that knows %d nodes is said to have %d bytes", nodes, x.Size())
		}
	}
	if n := p.suits(); n > 1000+nodes {
		t.Errorf("the views know of %d nodes", n)
	}
}

// Nodes of a class do not differ in what a view looks at: only some have a host volume.
func TestHostVolumesInAPool(t *testing.T) {
	p, work := NewPool(), NewWork()
	x := p.Index(poolAsk(t, func(g *structs.Group) {
		g.Volumes = []*structs.GroupVolume{{Name: "v", Type: structs.HostVolume, Source: "shelf"}}
	}), work.Job("j"))
	var with *Node
	for i := range 3 {
		n := poolNode(i, i)
		if i == 1 {
			spec := *n.spec
			spec.HostVolumes = map[string]*structs.NodeHostVolume{"shelf": {}}
			n.SetSpec(&spec)
			with = n
		}
		p.Changed(n)
	}
	if best := x.Best(nil); best != with {
		t.Errorf("%s is taken", describe(best))
	}
	spec := *with.spec
	spec.HostVolumes = nil
	with.SetSpec(&spec)
	p.Changed(with)
	if best := x.Best(nil); best != nil {
		t.Errorf("%s is taken, and nobody has the volume", describe(best))
	}
}
