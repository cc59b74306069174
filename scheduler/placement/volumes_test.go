package placement

import (
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

func TestVolumes(t *testing.T) {
	exec := map[string]*structs.Driver{"exec": {Healthy: true, Attributes: map[string]string{"isolation.full": "true"}}}
	spec := func(id string, change func(*structs.Node)) *Node {
		n := &structs.Node{ID: structs.NodeID(id), Name: id, Drivers: exec, Status: structs.NodeReady, Eligible: true,
			Resources: structs.Resources{CPU: 4000, Memory: 1 << 30, Disk: 100}}
		if change != nil {
			change(n)
		}
		return NewNode(n.ID, n)
	}
	plain := spec("a", nil)
	with := spec("b", func(n *structs.Node) {
		n.Volumes = map[string]*structs.NodeVolume{"data": {Size: 60}}
		n.HostVolumes = map[string]*structs.NodeHostVolume{"ro": {ReadOnly: true}, "rw": {}, "live": {Propagation: structs.PropagationHostToTask}}
	})
	bare := spec("c", func(n *structs.Node) { n.Drivers = map[string]*structs.Driver{"exec": {Healthy: true}} })
	held := spec("b", func(n *structs.Node) { n.Volumes = map[string]*structs.NodeVolume{"data": {Size: 60}} })
	held.Hold(structs.Resources{Sets: map[string][]string{structs.VolumeSet: {"data"}}}, nil)

	group := func(list ...*structs.GroupVolume) *structs.Group {
		return &structs.Group{Name: "g", Volumes: list, Tasks: []*structs.Task{{Name: "t", VolumeMounts: []*structs.VolumeMount{{Volume: "v", Destination: "/v"}}}}}
	}
	data := &structs.GroupVolume{Name: "v", Type: structs.PersistentVolume, Source: "data"}
	host := func(name string, readOnly bool) *structs.GroupVolume {
		return &structs.GroupVolume{Name: "v", Type: structs.HostVolume, Source: name, ReadOnly: readOnly}
	}
	spread := func(name string, x structs.Propagation) *structs.Group {
		g := group(host(name, false))
		g.Tasks[0].VolumeMounts[0].Propagation = x
		return g
	}
	plugged := func(has ...string) *Node {
		return spec("p", func(n *structs.Node) {
			n.Plugins = map[string]*structs.NodePlugin{"p": {Node: &structs.PluginNodePart{Healthy: true, MaxVolumes: 2}}}
			n.Attached = map[string]string{}
			for _, name := range has {
				n.Attached[name] = "p"
			}
		})
	}
	raw := spec("r", func(n *structs.Node) {
		n.Disks = map[string]*structs.NodeDisk{"fast": {Type: structs.DiskRaw, Size: 1 << 30}}
		n.Resources.Custom = map[string]structs.Milli{"disk.fast": 1024000}
		n.Volumes = map[string]*structs.NodeVolume{"made": {Size: 1 << 29, Disk: "made", Pool: "fast", Whole: true}}
	})
	two := []Volume{{Name: "x", Plugin: "p"}, {Name: "y", Plugin: "p"}}
	there := Volume{Name: "data", Node: "b", NodeName: "b", Alone: true}
	for name, x := range map[string]struct {
		node  *Node
		group *structs.Group
		is    []Volume
		want  string // a part of the only reason; empty: it fits
	}{
		"on a raw disk":   {raw, group(data), []Volume{{Name: "data", Takes: 1 << 20, Disk: "fast"}}, `disk "fast" that is not raw`},
		"on one made":     {raw, group(data), []Volume{{Name: "data", Takes: 1 << 20, Disk: "made"}}, `disk "made" that is not raw`},
		"where it is":     {with, group(data), []Volume{there}, ""},
		"elsewhere":       {plain, group(data), []Volume{there}, `volume "data" is on node b`},
		"held":            {held, group(data), []Volume{there}, `volume "data" is held by another allocation`},
		"shared":          {held, group(data), []Volume{{Name: "data", Node: "b", NodeName: "b"}}, ""},
		"to be made":      {plain, group(data), []Volume{{Name: "data", Takes: 100}}, ""},
		"no room":         {with, group(data), []Volume{{Name: "more", Takes: 41}}, "disk: 41B asked, 40B free"},
		"missing":         {plain, group(data), []Volume{{Name: "data", Missing: "it is deleted"}}, `volume "data": it is deleted`},
		"host":            {with, group(host("rw", false)), nil, ""},
		"read only":       {with, group(host("ro", true)), nil, ""},
		"not for writing": {with, group(host("ro", false)), nil, `host volume "ro" that may be written to`},
		"no host volume":  {plain, group(host("rw", true)), nil, `host volume "rw"`},
		"private":         {with, spread("rw", structs.PropagationPrivate), nil, ""},
		"host to task":    {with, spread("live", structs.PropagationHostToTask), nil, ""},
		"not that far":    {with, spread("live", structs.PropagationBidirectional), nil, `host volume "live" that may be written to, bidirectional`},
		"not at all":      {with, spread("rw", structs.PropagationHostToTask), nil, `host volume "rw" that may be written to, host-to-task`},
		"two fit":         {plugged(), group(data), two, ""},
		"one fits":        {plugged("z"), group(data), two, `volume "y" of plugin "p"`},
		"one is there":    {plugged("x"), group(data), two, ""},
		"no isolation":    {bare, group(data), []Volume{{Name: "data", Takes: 1}}, "exec with isolation, to mount"},
	} {
		ask, err := Compile(&structs.Job{Name: "j"}, x.group, x.is...)
		if err != nil {
			t.Fatal(err)
		}
		v := Fits(x.node, nil, ask, All)
		if v.OK != (x.want == "") || !v.OK && (len(v.Reasons) != 1 || !strings.Contains(v.Reasons[0].String(), x.want)) {
			t.Errorf("%s: %+v", name, v)
		}
		if again := Fits(x.node, nil, ask, First); again.OK != v.OK {
			t.Errorf("%s: %v in a hurry", name, again.OK)
		}
	}
	first, _ := Compile(&structs.Job{Name: "j"}, group(data), there)
	second, _ := Compile(&structs.Job{Name: "k"}, group(data), Volume{Name: "data", Node: "c", NodeName: "c", Alone: true})
	if first.Key() == second.Key() || !first.Bound() {
		t.Errorf("asks for volumes on different nodes are one class: %s", first.Key())
	}
}
