package placement

import (
	"fmt"
	"testing"

	"github.com/proffer/proffer/structs"
)

// scoreNode is a node of eight cores and 32 GiB in a datacenter, with something on it already.
func scoreNode(id, datacenter string, used structs.Resources, custom map[string]structs.Milli) *Node {
	n := NewNode(structs.NodeID(id), &structs.Node{ID: structs.NodeID(id), Status: structs.NodeReady, Eligible: true, Datacenter: datacenter,
		Drivers:   map[string]*structs.Driver{DefaultDriver: {Healthy: true}},
		Resources: structs.Resources{CPU: 8000, Memory: 32 << 30, Custom: custom}})
	n.Hold(used, nil)
	return n
}

func scoreAsk(t *testing.T, job *structs.Job, r structs.TaskResources) *Ask {
	t.Helper()
	ask, err := Compile(job, &structs.Group{Name: "g", Tasks: []*structs.Task{{Name: "t", Resources: &r}}})
	if err != nil {
		t.Fatal(err)
	}
	return ask
}

// The nodes are used equally in the mean: work goes where it brings the use of CPU and of memory closer together, so that
// neither is left without the other. The fullest one is taken when it makes no difference, and the emptiest with spread.
func TestPacksWhatWouldBeStranded(t *testing.T) {
	nodes := []*Node{scoreNode("cpu-left", "", structs.Resources{CPU: 2000, Memory: 16 << 30}, nil),
		scoreNode("memory-left", "", structs.Resources{CPU: 4000, Memory: 8 << 30}, nil)}
	for want, r := range map[string]structs.TaskResources{"cpu-left": {CPU: 3000, Memory: 1 << 30}, "memory-left": {CPU: 250, Memory: 12 << 30}} {
		if n := Best(nodes, nil, scoreAsk(t, &structs.Job{Name: "j"}, r), nil); string(n.ID) != want {
			t.Errorf("%+v goes to %s, not %s", r, n.ID, want)
		}
	}
	nodes = []*Node{scoreNode("a", "", structs.Resources{CPU: 1000, Memory: 4 << 30}, nil), scoreNode("b", "", structs.Resources{CPU: 2000, Memory: 8 << 30}, nil)}
	for placement, want := range map[string]string{structs.Pack: "b", structs.SpreadApart: "a"} {
		ask := scoreAsk(t, &structs.Job{Name: "j", Placement: placement}, structs.TaskResources{CPU: 1000, Memory: 4 << 30})
		if n := Best(nodes, nil, ask, nil); string(n.ID) != want {
			t.Errorf("%s goes to %s, not %s", placement, n.ID, want)
		}
	}
}

// A node with GPUs is for work that wants them: other work goes there only when nothing else has room.
func TestKeepsGPUsForWorkWithGPUs(t *testing.T) {
	gpus := map[string]structs.Milli{"gpus": 2000}
	nodes := []*Node{scoreNode("gpus", "", structs.Resources{CPU: 6000, Memory: 24 << 30}, gpus), scoreNode("plain", "", structs.Resources{}, nil)}
	plain, with := structs.TaskResources{CPU: 1000, Memory: 4 << 30}, structs.TaskResources{CPU: 1000, Memory: 4 << 30, Custom: map[string]structs.Milli{"gpus": 1000}}
	for _, c := range []struct {
		ask  structs.TaskResources
		want string
	}{{plain, "plain"}, {with, "gpus"}} {
		if n := Best(nodes, nil, scoreAsk(t, &structs.Job{Name: "j"}, c.ask), nil); string(n.ID) != c.want {
			t.Errorf("%+v goes to %s, not %s", c.ask, n.ID, c.want)
		}
	}
	nodes[1].Hold(structs.Resources{CPU: 8000}, nil)
	if n := Best(nodes, nil, scoreAsk(t, &structs.Job{Name: "j"}, plain), nil); n.ID != "gpus" {
		t.Errorf("where nothing else has room it goes to %v", n)
	}
}

// A spread with targets gives each value its share; each of the others counts as one whose share is what is left of a hundred. One
// without targets gives all the same.
func TestSpreadHasTargets(t *testing.T) {
	for _, c := range []struct {
		targets []*structs.SpreadTarget
		want    string
	}{
		{nil, "map[dc1:4 dc2:3 dc3:3]"},
		{[]*structs.SpreadTarget{{Value: "dc1", Percent: 70}, {Value: "dc2", Percent: 30}}, "map[dc1:7 dc2:3]"},
		{[]*structs.SpreadTarget{{Value: "dc2", Percent: 60}}, "map[dc1:3 dc2:5 dc3:2]"},
	} {
		nodes := []*Node{scoreNode("a", "dc1", structs.Resources{}, nil), scoreNode("b", "dc2", structs.Resources{}, nil), scoreNode("c", "dc3", structs.Resources{}, nil)}
		ask := scoreAsk(t, &structs.Job{Name: "j", Spreads: []*structs.Spread{{Attribute: "${node.datacenter}", Targets: c.targets}}}, structs.TaskResources{CPU: 100, Memory: 1 << 28})
		peers, on := &Peers{}, map[string]int{}
		for range 10 {
			n := Best(nodes, peers, ask, nil)
			n.Hold(ask.Resources, nil)
			peers.Put(n, ask, 1)
			on[n.Spec().Datacenter]++
		}
		if got := fmt.Sprint(on); got != c.want {
			t.Errorf("%d targets: %s, not %s", len(c.targets), got, c.want)
		}
	}
}
