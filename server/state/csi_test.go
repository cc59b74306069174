package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/proffer/proffer/structs"
)

// plugged registers a node on which a storage plugin runs.
func (r *region) plugged(name string, most int64, place structs.Segments) structs.NodeID {
	return r.plug(name, &structs.NodePlugin{Vendor: "v", HasController: true,
		Node: &structs.PluginNodePart{Healthy: true, ID: "as-" + name, MaxVolumes: most, Topology: place}})
}

// plug registers a node with what it says of a storage plugin.
func (r *region) plug(name string, is *structs.NodePlugin) structs.NodeID {
	id := structs.NodeID("node-" + name)
	if !slices.Contains(r.nodes, id) {
		r.nodes = append(r.nodes, id)
	}
	r.must(&RegisterNode{Node: &structs.Node{ID: id, Name: name, Resources: structs.Resources{CPU: 64000, Memory: 1 << 40, Disk: 1 << 40, Ports: 100},
		Plugins: map[string]*structs.NodePlugin{"p": is}}})
	return id
}

func plugVolume(name string, access structs.VolumeAccess, external string) *PutVolume {
	return &PutVolume{Volume: &structs.Volume{Name: name, Size: 10 * mib, Access: access, Role: "default",
		CSI: &structs.CSIVolume{Plugin: "p", External: external, Secrets: structs.Secrets{"k": "hidden"}}}}
}

// note records what the plugin of a volume did, about a node when there is one.
func (r *region) deed(name string, did VolumeDeed, node structs.NodeID) *NoteVolume {
	n := &NoteVolume{Name: name, Did: did, Node: node, Called: true}
	if at := r.store.Snapshot().Volume(name).AttachedTo(node); at != nil {
		n.Index = at.Index
	}
	return n
}

func TestPluggedVolume(t *testing.T) {
	r := newRegion(t)
	one, two := r.plugged("1", 0, nil), r.plugged("2", 0, nil)
	r.must(plugVolume("data", structs.AccessExclusive, ""))
	r.must(&SubmitJob{Job: stored("db", 1, &structs.GroupVolume{Name: "data"})})
	r.must(&SubmitJob{Job: stored("db2", 1, &structs.GroupVolume{Name: "data"})})
	r.refused(RefusedVolume, r.placement("db", "a", 0, one)) // it is not made
	if v := r.store.Snapshot().Volume("data"); v.Status != structs.VolumeMaking || !v.CSI.Made {
		t.Fatalf("%+v", v)
	}
	r.must(&NoteVolume{Name: "data", Did: VolumeFailed, Why: "no"})
	if v := r.store.Snapshot().Volume("data"); v.CSI.Error != "no" {
		t.Fatalf("%+v", v.CSI)
	}
	r.fails(structs.Invalid, &NoteVolume{Name: "data", Did: VolumeWasMade, External: strings.Repeat("x", 2000)})
	r.must(&NoteVolume{Name: "data", Did: VolumeWasMade, External: "x-1", Context: map[string]string{"a": "b"}, Capacity: 12 * mib})
	r.fails(structs.Conflict, &NoteVolume{Name: "data", Did: VolumeWasMade, External: "x-2"})
	v := r.store.Snapshot().Volume("data")
	if v.Status != structs.VolumeReady || v.CSI.External != "x-1" || v.CSI.Capacity != 12*mib || v.CSI.Error != "" || v.CSI.Secrets["k"] != "hidden" {
		t.Fatalf("%+v", v.CSI)
	}

	a := r.place("db", "a", 0, one)
	at := r.store.Snapshot().Volume("data").AttachedTo(one)
	if at == nil || at.State != structs.Attaching || at.PluginID != "as-1" || !at.Called || a.Volumes[0].Plugin != "p" || a.OnLost != "fence" {
		t.Fatalf("%+v, %+v", at, a)
	}
	if n := r.store.Snapshot().Node(one); n.Attached["data"] != "p" || n.Volumes != nil || n.Available().Disk != 1<<40 {
		t.Errorf("%+v", n)
	}
	if on := r.store.Snapshot().VolumesOn(r.store.Snapshot().Node(one)); len(on) != 1 {
		t.Errorf("the node is told of %d volumes", len(on))
	}
	late := r.deed("data", VolumeAttached, one)
	r.fails(structs.Conflict, r.deed("data", VolumeDetaches, one)) // it is used
	r.fails(structs.Conflict, r.deed("data", VolumeDetached, one))
	late.Context = map[string]string{"device": "d"}
	r.must(late)
	r.fails(structs.Conflict, late) // twice
	r.refused(RefusedVolume, r.placement("db2", "a", 0, one))
	r.refused(RefusedVolume, r.placement("db2", "a", 0, two))
	r.fails(structs.Conflict, &DeleteVolume{Name: "data"})
	r.fails(structs.Invalid, &ResizeVolume{Name: "data", Size: 5 * mib})
	r.must(&ResizeVolume{Name: "data", Size: 20 * mib})
	r.must(&NoteVolume{Name: "data", Did: VolumeGrew, Capacity: 20 * mib})

	// Its end leaves an attachment, and nobody has the volume until that is taken back.
	r.must(&StopJob{Name: "db"})
	r.observe(a, structs.AllocComplete, structs.TaskKilled)
	r.refused(RefusedVolume, r.placement("db2", "a", 0, two))
	if where := r.store.Snapshot().LeftBehind(r.store.Snapshot().Volume("data")); where != "it is still attached to node 1 (attached)" {
		t.Errorf("left behind on %q", where)
	}
	r.must(r.deed("data", VolumeDetaches, one))
	r.refused(RefusedVolume, r.placement("db2", "a", 0, two))
	r.must(r.deed("data", VolumeDetached, one))
	if n := r.store.Snapshot().Node(one); n.Attached != nil {
		t.Errorf("%+v", n.Attached)
	}
	b := r.place("db2", "a", 0, two)

	// The node dies and is forgotten: the attachment is still to be taken back.
	r.must(r.deed("data", VolumeAttached, two))
	r.must(&SetNodeStatus{Node: two, Status: structs.NodeLost})
	r.fails(structs.Conflict, r.deed("data", VolumeDetaches, two)) // its fence has not ended
	r.must(&LoseAllocs{Node: two})
	r.must(&RemoveNode{Node: two})
	r.nodes = slices.DeleteFunc(r.nodes, func(id structs.NodeID) bool { return id == two })
	if at := r.store.Snapshot().Volume("data").AttachedTo(two); at == nil || at.PluginID != "as-2" || !r.store.Snapshot().Alloc(b.ID).Ended() {
		t.Fatalf("%+v", at)
	}
	r.must(&DeleteVolume{Name: "data"})
	r.fails(structs.Conflict, &NoteVolume{Name: "data", Did: VolumeGone})
	r.must(r.deed("data", VolumeDetaches, two))
	r.must(r.deed("data", VolumeDetached, two))
	r.must(&NoteVolume{Name: "data", Did: VolumeGone})
	if r.store.Snapshot().Volume("data") != nil {
		t.Error("it is left")
	}
}

// A volume that is not made yet is not kept when it is deleted, and one of the storage has one record.
func TestPluggedRecords(t *testing.T) {
	r := newRegion(t)
	r.must(plugVolume("v", structs.AccessExclusive, ""))
	r.must(&DeleteVolume{Name: "v", Keep: structs.Duration(time.Hour)})
	if v := r.store.Snapshot().Volume("v"); v.Status != structs.VolumePurging {
		t.Errorf("it is %s", v.Status)
	}
	r.must(&NoteVolume{Name: "v", Did: VolumeGone})
	r.must(plugVolume("x", structs.AccessExclusive, "x-1"))
	r.fails(structs.Conflict, plugVolume("y", structs.AccessExclusive, "x-1"))
	other := plugVolume("y", structs.AccessExclusive, "x-1")
	other.Volume.CSI.Plugin = "q"
	r.must(other)
	r.must(plugVolume("z", structs.AccessExclusive, ""))
	r.fails(structs.Invalid, &NoteVolume{Name: "z", Did: VolumeWasMade, External: "x-1"})
	r.must(&NoteVolume{Name: "z", Did: VolumeWasMade, External: "x-2"})
	r.fails(structs.Conflict, plugVolume("w", structs.AccessExclusive, "x-2"))
}

// A volume that is in its storage already is attached when its plugin has said that it is.
func TestPluggedIsChecked(t *testing.T) {
	r := newRegion(t)
	one := r.plugged("1", 0, nil)
	r.must(plugVolume("data", structs.AccessExclusive, "x-1"))
	r.must(&SubmitJob{Job: stored("db", 1, &structs.GroupVolume{Name: "data"})})
	r.place("db", "a", 0, one)
	next := func() *Errand { return r.store.Snapshot().NextErrand(r.store.Snapshot().Volume("data")) }
	if e := next(); e == nil || e.Did != VolumeChecked {
		t.Fatalf("%+v", e)
	}
	r.must(&NoteVolume{Name: "data", Did: VolumeFailed, Why: "there is none"})
	if v := r.store.Snapshot().Volume("data"); !v.CSI.Unchecked || v.CSI.Error != "there is none" {
		t.Errorf("%+v", v.CSI)
	}
	r.must(&NoteVolume{Name: "data", Did: VolumeChecked})
	if v := r.store.Snapshot().Volume("data"); v.CSI.Unchecked || v.CSI.Error != "" {
		t.Errorf("%+v", v.CSI)
	}
	if e := next(); e == nil || e.Did != VolumeAttached || e.Node != one {
		t.Fatalf("%+v", e)
	}
}

// A group has a plugin make its volumes where its first allocation goes, once, and they are there for those that come after.
func TestPluggedByAGroup(t *testing.T) {
	r := newRegion(t)
	one, two := r.plugged("1", 0, structs.Segments{"zone": "east"}), r.plugged("2", 1, structs.Segments{"zone": "west"})
	r.disks("3", 1<<40)
	made := &structs.GroupVolume{Name: "data", Size: 10 * mib, Plugin: "p", PerAlloc: true, Parameters: map[string]string{"tier": "fast"}, FSType: "ext4", MountFlags: []string{"noatime"}}
	r.must(&SubmitJob{Job: stored("db", 3, made)})
	r.refused(RefusedVolume, r.placement("db", "a", 0, "node-3")) // no plugin
	a := r.place("db", "a", 0, one)
	v := r.store.Snapshot().Volume("data.0")
	if v == nil || v.Status != structs.VolumeMaking || v.Job != "db" || v.Node != "" || a.Volumes[0].ID != v.ID || a.Volumes[0].Plugin != "p" || a.Resources.Disk != 0 {
		t.Fatalf("%+v, %+v", v, a.Volumes)
	}
	if c := v.CSI; !c.Made || c.Parameters["tier"] != "fast" || c.FSType != "ext4" || c.MountFlags[0] != "noatime" || c.Unchecked || v.AttachedTo(one) == nil {
		t.Errorf("%+v", c)
	}
	if e := r.store.Snapshot().NextErrand(v); e == nil || e.Did != VolumeWasMade {
		t.Fatalf("%+v", e)
	}
	r.must(&NoteVolume{Name: "data.0", Did: VolumeWasMade, External: "x-0", Topology: []structs.Segments{{"zone": "east"}}})
	if e := r.store.Snapshot().NextErrand(r.store.Snapshot().Volume("data.0")); e == nil || e.Did != VolumeAttached || e.Node != one {
		t.Fatalf("%+v", e)
	}
	r.must(r.deed("data.0", VolumeAttached, one))

	// Its work ends, and comes back to it; where it cannot be reached it does not go.
	r.observe(a, structs.AllocFailed, structs.TaskFailed)
	r.must(r.deed("data.0", VolumeDetaches, one))
	r.must(r.deed("data.0", VolumeDetached, one))
	r.refused(RefusedVolume, r.placement("db", "a", 0, two))
	if again := r.place("db", "a", 0, one); again.Volumes[0].ID != v.ID {
		t.Errorf("%+v", again.Volumes)
	}

	// As many fit on a node as its plugin says, whether they are there or are to be made.
	b := r.place("db", "a", 1, two)
	r.refused(RefusedVolume, r.placement("db", "a", 2, two))

	// Work that goes before its volume is made leaves nothing that is asked for: it was never attached.
	r.observe(b, structs.AllocFailed, structs.TaskFailed)
	var did []VolumeDeed
	for range 3 {
		s := r.store.Snapshot()
		e := s.NextErrand(s.Volume("data.1"))
		did = append(did, e.Did)
		if n := r.deed("data.1", e.Did, e.Node); e.Did != VolumeWasMade {
			r.must(n)
		}
	}
	if fmt.Sprint(did) != "[detaches detached made]" {
		t.Errorf("%v", did)
	}
}

// A size that a plugin did not give a volume can be taken back.
func TestPluggedSize(t *testing.T) {
	r := newRegion(t)
	r.must(plugVolume("v", structs.AccessExclusive, "x"))
	r.must(&NoteVolume{Name: "v", Did: VolumeChecked})
	r.must(&ResizeVolume{Name: "v", Size: 20 * mib})
	r.must(&NoteVolume{Name: "v", Did: VolumeFailed, Why: "it cannot"})
	r.fails(structs.Invalid, &ResizeVolume{Name: "v", Size: 9 * mib})
	r.must(&ResizeVolume{Name: "v", Size: 10 * mib})
	s := r.store.Snapshot()
	if v := s.Volume("v"); s.NextErrand(v) != nil || v.CSI.Error != "" {
		t.Errorf("%+v", v.CSI)
	}
}

// What the plugin on a node says of it counts: how many volumes it may have, and from where they can be reached.
func TestPluggedPlaces(t *testing.T) {
	r := newRegion(t)
	east, west := r.plugged("1", 1, structs.Segments{"zone": "east"}), r.plugged("2", 0, structs.Segments{"zone": "west", "rack": "1"})
	r.disks("3", 1<<40)
	for _, name := range []string{"v", "w"} {
		put := plugVolume(name, structs.AccessShared, "x-"+name)
		put.Volume.CSI.Topology = []structs.Segments{{"zone": "east"}, {"zone": "west", "rack": "1"}}
		r.must(put)
		r.must(&SubmitJob{Job: stored("of-"+name, 3, &structs.GroupVolume{Name: name, Access: structs.AccessShared})})
	}
	both := []*structs.GroupVolume{{Name: "v", Access: structs.AccessShared}, {Name: "w", Access: structs.AccessShared}}
	r.must(&SubmitJob{Job: stored("of-both", 1, both...)})
	r.refused(RefusedVolume, r.placement("of-both", "a", 0, east)) // one of them fits
	r.place("of-both", "a", 0, west)
	r.place("of-v", "a", 0, east)
	r.refused(RefusedVolume, r.placement("of-w", "a", 0, east)) // it has one
	r.place("of-v", "a", 1, east)                               // the same
	r.place("of-w", "a", 0, west)
	r.refused(RefusedVolume, r.placement("of-v", "a", 2, "node-3")) // no plugin
	put := plugVolume("far", structs.AccessShared, "x-far")
	put.Volume.CSI.Topology = []structs.Segments{{"zone": "north"}}
	r.must(put)
	r.must(&SubmitJob{Job: stored("of-far", 1, &structs.GroupVolume{Name: "far", Access: structs.AccessShared})})
	r.refused(RefusedVolume, r.placement("of-far", "a", 0, west))
	r.plugged("2", 0, structs.Segments{"zone": "north"})
	r.place("of-far", "a", 0, west)
}

// Whatever happens to nodes, jobs, leaders and calls, the storage is never asked to attach a volume with one writer to a second node while
// the first has it, and what it attached is taken back when nothing uses it any more.
func TestNeverTwoNodes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRegion(t)
		nodes := []structs.NodeID{r.plugged("1", 0, nil), r.plugged("2", 0, nil), r.plugged("3", 0, nil)}
		r.must(plugVolume("v", structs.AccessExclusive, "x"))
		for _, job := range []string{"x", "y"} {
			r.must(&SubmitJob{Job: stored(job, 1, &structs.GroupVolume{Name: "v"})})
		}
		storage := map[structs.NodeID]bool{} // what it has attached
		var stale []*NoteVolume              // of leaders that are gone
		node, jobName := rapid.SampledFrom(nodes), rapid.SampledFrom([]string{"x", "y"})
		// lead does what a leader does for the volume next, and may die at any step of that.
		lead := func() bool {
			s := r.store.Snapshot()
			e := s.NextErrand(s.Volume("v"))
			if e == nil {
				return false
			}
			n := r.deed("v", e.Did, e.Node)
			if n.Called = e.At != nil && e.At.Called; e.Did == VolumeChecked && len(storage) > 0 {
				t.Fatalf("it is attached to %v before the storage was asked for it", storage)
			}
			switch {
			case e.Did == VolumeDetached && n.Called:
				if name := "as-" + strings.TrimPrefix(string(e.Node), "node-"); e.At.PluginID != name {
					t.Fatalf("it is to be taken back from %q, not %q", e.At.PluginID, name)
				}
				delete(storage, e.Node)
			case e.Did == VolumeAttached && n.Called:
				for other := range storage {
					if other != e.Node {
						t.Fatalf("it is attached to %s and asked for on %s", other, e.Node)
					}
				}
				storage[e.Node] = true
			}
			if rapid.IntRange(0, 3).Draw(t, "dies") == 0 {
				stale = append(stale, n)
				return true
			}
			r.must(n)
			return true
		}
		for range rapid.IntRange(10, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1:
				r.commit(Envelope{Command: &Place{Placements: []*Placement{r.placement(jobName.Draw(t, "job"), "a", 0, node.Draw(t, "node"))}}})
			case 2, 3, 4:
				lead()
			case 5:
				for a := range r.store.Snapshot().Allocs() {
					if n := r.store.Snapshot().Node(a.Node); !a.Ended() && n.Status == structs.NodeReady {
						r.observe(a, structs.AllocComplete, structs.TaskKilled)
						break
					}
				}
			case 6:
				id := node.Draw(t, "node")
				r.must(&SetNodeStatus{Node: id, Status: structs.NodeLost})
				r.must(&LoseAllocs{Node: id})
			case 7:
				r.plugged(strings.TrimPrefix(string(node.Draw(t, "node")), "node-"), 0, nil)
			case 8:
				if len(stale) > 0 {
					r.commit(Envelope{Command: rapid.SampledFrom(stale).Draw(t, "stale")})
				}
			case 9: // the plugin cannot be asked what it is
				id := node.Draw(t, "node")
				r.plug(strings.TrimPrefix(string(id), "node-"), &structs.NodePlugin{Node: &structs.PluginNodePart{Why: "it is starting"}})
			}
			r.check()
			for id, at := range r.store.Snapshot().Volume("v").CSI.Attached {
				if at.State == structs.Attached && !storage[id] {
					t.Fatalf("it is attached to %s, and the storage does not know", id)
				}
			}
		}
		for _, id := range nodes {
			r.must(&SetNodeStatus{Node: id, Status: structs.NodeLost})
			r.must(&LoseAllocs{Node: id})
		}
		for n := 0; lead(); n++ {
			if n > 1000 {
				t.Fatal("it is never done")
			}
		}
		if len(storage) > 0 {
			t.Fatalf("it is left attached to %v", fmt.Sprint(storage))
		}
	})
}

// What a volume needs next follows from its record alone.
func TestNextErrand(t *testing.T) {
	for name, x := range map[string]struct {
		status                   structs.VolumeStatus
		external                 string
		size, capacity, attached int
		want                     VolumeDeed
	}{
		"making":                  {structs.VolumeMaking, "", 10, 0, 0, VolumeWasMade},
		"ready":                   {structs.VolumeReady, "x", 10, 12, 0, ""},
		"larger":                  {structs.VolumeReady, "x", 10, 9, 0, VolumeGrew},
		"larger than nobody said": {structs.VolumeReady, "x", 10, 0, 0, VolumeGrew},
		"of no size":              {structs.VolumeReady, "x", 0, 0, 0, ""},
		"larger and left behind":  {structs.VolumeReady, "x", 10, 9, 1, VolumeDetaches},
		"deleted":                 {structs.VolumeDeleted, "x", 10, 9, 0, ""},
		"purged while making":     {structs.VolumePurging, "", 10, 0, 0, VolumeWasMade},
		"purged":                  {structs.VolumePurging, "x", 10, 9, 0, VolumeGone},
		"purged and left behind":  {structs.VolumePurging, "x", 10, 9, 1, VolumeDetaches},
	} {
		v := &structs.Volume{Name: "v", ID: "v", Status: x.status, Size: structs.Bytes(x.size),
			CSI: &structs.CSIVolume{External: x.external, Capacity: structs.Bytes(x.capacity), Attached: map[structs.NodeID]*structs.Attachment{}}}
		if x.attached > 0 {
			v.CSI.Attached["n"] = &structs.Attachment{State: structs.Attached}
		}
		var did VolumeDeed
		if e := newRegion(t).store.Snapshot().NextErrand(v); e != nil {
			did = e.Did
		}
		if did != x.want {
			t.Errorf("%s: %q, not %q", name, did, x.want)
		}
	}
}

// What a framework's work has of a storage and nobody registered is recorded as long as a node has it, and kept from others as any volume is.
func TestBorrowedVolumes(t *testing.T) {
	r := newRegion(t)
	one := r.plugged("1", 0, nil)
	bare := structs.NodeID("node-bare")
	r.must(&RegisterNode{Node: &structs.Node{ID: bare, Name: "bare", Resources: structs.Resources{CPU: 8000}}})
	r.nodes = append(r.nodes, bare)
	r.must(&ConnectFramework{Framework: &structs.Framework{ID: "f", Name: "f", User: "root", Roles: []string{"eng"}, Connection: "c1"}})
	launch := func(id string, node structs.NodeID, name string, wish *structs.Volume) PlaceResult {
		t.Helper()
		n := r.store.Snapshot().Node(node)
		block := &structs.GroupVolume{Name: "volume-0", Type: structs.PersistentVolume, Source: name}
		p := &Placement{Job: &structs.Job{Groups: []*structs.Group{{Name: "g", Tasks: []*structs.Task{{Name: "t"}}, Volumes: []*structs.GroupVolume{block}}}},
			Alloc: &structs.Allocation{ID: structs.AllocID(id), Framework: "f", Role: "eng", Node: node, Group: "g", OnLost: "replace", Resources: structs.Resources{CPU: 100},
				External: &structs.External{Tasks: []*structs.ExternalTask{{ID: id, Name: "t"}}},
				Volumes:  []structs.AllocVolume{{Group: "volume-0", Name: name, Access: structs.AccessExclusive}}}}
		if wish != nil {
			named := *wish
			named.Name = name
			p.Borrow = []*structs.Volume{&named}
		}
		answer := r.must(&Place{Accepts: []*Accept{{Framework: "f", Node: node, NodeIncarnation: n.Incarnation, Operations: []*Operation{{Launch: p}}}}})
		r.check()
		return answer.(*Placed).Accepts[0][0]
	}
	refused := func(got PlaceResult, why string) {
		t.Helper()
		if got.Refused != RefusedVolume || !strings.Contains(got.Why, why) {
			t.Errorf("%s: %s, want %q", got.Refused, got.Why, why)
		}
	}
	wish := &structs.Volume{Access: structs.AccessExclusive, CSI: &structs.CSIVolume{Plugin: "p", External: "x-1", Mode: 1, Context: map[string]string{"a": "b"},
		Secrets: structs.Secrets{"k": "v"}, Made: true}}
	refused(launch("a", one, "outside-1", nil), `there is no volume "outside-1"`)
	refused(launch("a", bare, "outside-1", wish), `plugin "p" does not run there`)
	long := *wish
	long.CSI = &structs.CSIVolume{Plugin: "p", External: strings.Repeat("x", 2000)}
	refused(launch("a", one, "outside-1", &long), "more than 1024")
	if got := launch("a", one, "outside-1", wish); got.Refused != "" {
		t.Fatal(got.Why)
	}
	snap := r.store.Snapshot()
	v, a := snap.Outside("p", "x-1"), snap.Alloc("a")
	if v == nil || v.Name != "outside-1" || v.Role != "eng" || !v.CSI.Borrowed || v.CSI.Made || !v.CSI.Unchecked || v.CSI.Secrets != nil || v.Status != structs.VolumeReady ||
		v.AttachedTo(one) == nil || a.Claim(v.ID) == nil || a.Volumes[0].Plugin != "p" {
		t.Fatalf("%+v, claimed by %+v", v, a)
	}
	refused(launch("b", one, "outside-2", wish), `is volume "outside-1"`)
	refused(launch("b", one, "outside-1", wish), "held by allocation a")
	other := *wish
	other.CSI = &structs.CSIVolume{Plugin: "p", External: "x-1", Mode: 5}
	refused(launch("b", one, "outside-1", &other), "another access mode")
	other.CSI = &structs.CSIVolume{Plugin: "p", External: "x-2", Mode: 1}
	refused(launch("b", one, "outside-1", &other), "is another one")
	r.fails(structs.Conflict, plugVolume("mine", structs.AccessExclusive, "x-1"))

	r.observe(a, structs.AllocComplete, structs.TaskFinished)
	if e := r.store.Snapshot().NextErrand(r.store.Snapshot().Volume("outside-1")); e == nil || e.Did != VolumeDetaches {
		t.Fatalf("after its end: %+v", e)
	}
	r.must(r.deed("outside-1", VolumeDetaches, one))
	if got := launch("c", one, "outside-1", wish); got.Refused != "" { // it is attached anew once that is done
		t.Fatal(got.Why)
	}
	r.must(r.deed("outside-1", VolumeDetached, one))
	if at := r.store.Snapshot().Volume("outside-1").AttachedTo(one); at == nil || at.State != structs.Attaching {
		t.Fatalf("with another claim: %+v", at)
	}
	r.observe(r.store.Snapshot().Alloc("c"), structs.AllocComplete, structs.TaskFinished)
	r.must(r.deed("outside-1", VolumeDetaches, one))
	r.must(r.deed("outside-1", VolumeDetached, one))
	if snap := r.store.Snapshot(); snap.Volume("outside-1") != nil || snap.Node(one).Attached != nil {
		t.Errorf("left are %+v, %v", snap.Volume("outside-1"), snap.Node(one).Attached)
	}
	r.check()

	// Its node is marked gone while it is there: the task is given up at once, and ends there before the storage is asked.
	if got := launch("d", one, "outside-1", wish); got.Refused != "" {
		t.Fatal(got.Why)
	}
	r.settleVolume("outside-1", true)
	r.must(&RemoveNode{Node: one, Gone: true})
	snap = r.store.Snapshot()
	if a, e := snap.Alloc("d"), snap.NextErrand(snap.Volume("outside-1")); a.Status != structs.AllocLost || e != nil {
		t.Errorf("while it leaves: %s, %+v", a.Status, e)
	}
	r.must(&SetNodeStatus{Node: one, Status: structs.NodeLost})
	r.must(&LoseAllocs{Node: one})
	if did := r.settleVolume("outside-1", true); !slices.Equal(did, []VolumeDeed{VolumeDetaches, VolumeDetached}) || r.store.Snapshot().Volume("outside-1") != nil {
		t.Errorf("afterwards the storage is asked for %v", did)
	}
	r.check()
	r.must(plugVolume("mine", structs.AccessExclusive, "x-1"))
}
