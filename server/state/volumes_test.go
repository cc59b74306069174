package state

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/proffer/proffer/structs"
)

// checkVolumes checks what always holds of volumes: their claims are on their node and of themselves, at most one that keeps others
// away is held, and their nodes know what they take of the disk.
func (r *region) checkVolumes(s *Snapshot, count func(Table, int)) {
	n := 0
	on := map[structs.NodeID]map[string]structs.NodeVolume{}
	attached := map[structs.NodeID]map[string]string{}
	for v := range s.Volumes() {
		n++
		if r.twin[Volumes][v.Name] != any(v) {
			r.t.Fatalf("volume %s differs from the feed", v.Name)
		}
		for node := range attachedTo(v) {
			if attached[node] == nil {
				attached[node] = map[string]string{}
			}
			attached[node][v.Name] = v.CSI.Plugin
		}
		if v.Node == "" {
			continue
		}
		if on[v.Node] == nil {
			on[v.Node] = map[string]structs.NodeVolume{}
		}
		takes := structs.NodeVolume{Size: v.Size, Disk: v.Disk, Role: v.Role}
		if v.MadeDisk() {
			takes.Pool, takes.Used = v.CSI.Raw.Pool, v.Persistence != ""
			takes.Whole = v.Persistence == "" && v.Status == structs.VolumeReady
			if o := s.Operation(v.CSI.Raw.Framework, v.CSI.Raw.Operation); v.CSI.Raw.Operation != "" && o != nil && (o.State != structs.OperationPending || o.Disk != v.Name) {
				r.t.Fatalf("disk %s is waited for by operation %s, which is %s", v.Name, o.ID, o.State)
			}
		}
		switch {
		case v.Persistence == "":
		case v.MadeDisk():
			takes.Offered = v.Status == structs.VolumeReady
		case v.Status == structs.VolumePurging:
			takes.Size = 0
		default:
			takes.Offered = v.Status == structs.VolumeReady && v.Access == structs.AccessExclusive
		}
		on[v.Node][v.Name] = takes
		if s.Node(v.Node) == nil {
			r.t.Fatalf("volume %s outlived its node", v.Name)
		}
		alone := 0
		for a := range s.Claimants(v) {
			if x := a.Claim(v.ID); x.Access.Alone(x.ReadOnly) {
				alone++
			}
			if v.Status != structs.VolumeReady {
				r.t.Fatalf("volume %s is %s and held by %s", v.Name, v.Status, a.ID)
			}
		}
		if alone > 1 {
			r.t.Fatalf("volume %s is held alone by %d allocations", v.Name, alone)
		}
	}
	count(Volumes, n)
	for a := range s.Allocs() {
		if !a.Holds() {
			continue
		}
		var alone []string
		for _, x := range a.Volumes {
			v := s.Volume(x.Name)
			if v != nil && v.CSI != nil && v.ID == x.ID && v.AttachedTo(a.Node) != nil && x.Plugin == v.CSI.Plugin && !v.MadeDisk() {
				continue
			}
			if v == nil || v.ID != x.ID || v.Node != a.Node {
				r.t.Fatalf("allocation %s on %s has volume %+v, which is %+v", a.ID, a.Node, x, v)
			}
			if x.Access.Alone(x.ReadOnly) {
				alone = append(alone, x.Name)
			}
		}
		if slices.Sort(alone); !slices.Equal(alone, a.Resources.Sets[structs.VolumeSet]) {
			r.t.Fatalf("allocation %s has alone %v and holds %v", a.ID, alone, a.Resources.Sets)
		}
	}
	for node := range s.Nodes() {
		if !maps.EqualFunc(node.Volumes, on[node.ID], func(x *structs.NodeVolume, y structs.NodeVolume) bool { return *x == y }) {
			r.t.Fatalf("node %s has volumes %v, want %v", node.ID, node.Volumes, on[node.ID])
		}
		if !maps.Equal(node.Attached, attached[node.ID]) {
			r.t.Fatalf("node %s has attached %v, want %v", node.ID, node.Attached, attached[node.ID])
		}
	}
}

func attachedTo(v *structs.Volume) map[structs.NodeID]*structs.Attachment {
	if v.CSI == nil {
		return nil
	}
	return v.CSI.Attached
}

// disks registers a node with a disk.
func (r *region) disks(name string, disk structs.Bytes) structs.NodeID {
	id := structs.NodeID("node-" + name)
	if !slices.Contains(r.nodes, id) {
		r.nodes = append(r.nodes, id)
	}
	r.must(&RegisterNode{Node: &structs.Node{ID: id, Name: name, Resources: structs.Resources{CPU: 64000, Memory: 1 << 40, Disk: disk, Ports: 100}}})
	return id
}

func stored(name string, count int, volumes ...*structs.GroupVolume) *structs.Job {
	j := job(name, "service", count, "a")
	j.Groups[0].Volumes = volumes
	j.Canonicalize()
	return j
}

const mib = structs.Bytes(1 << 20)

func TestVolumesAreChecked(t *testing.T) {
	r := newRegion(t)
	id := r.disks("1", 100*mib)
	volume := func(change func(*structs.Volume)) *PutVolume {
		v := &structs.Volume{Name: "v", Size: 10 * mib, Access: structs.AccessExclusive, Role: "default"}
		if change != nil {
			change(v)
		}
		return &PutVolume{Volume: v}
	}
	for _, x := range []struct {
		name   string
		kind   structs.Kind
		want   string
		change func(*structs.Volume)
	}{
		{"no name", structs.Invalid, "is not the name of a volume", func(v *structs.Volume) { v.Name = "" }},
		{"path", structs.Invalid, "is not the name of a volume", func(v *structs.Volume) { v.Name = "../x" }},
		{"small", structs.Invalid, "out of range", func(v *structs.Volume) { v.Size = 1 }},
		{"negative", structs.Invalid, "out of range", func(v *structs.Volume) { v.Size = -1 }},
		{"overflow", structs.Invalid, "out of range", func(v *structs.Volume) { v.Size = 1 << 62 }},
		{"access", structs.Invalid, "all", func(v *structs.Volume) { v.Access = "all" }},
		{"role", structs.Invalid, "is not a valid role", func(v *structs.Volume) { v.Role = "a//b" }},
		{"no node", structs.NotFound, "there is no such node", func(v *structs.Volume) { v.Node = "none" }},
		{"no framework", structs.NotFound, "there is no framework", func(v *structs.Volume) { v.Framework = "none" }},
		{"no room", structs.Exhausted, "101MiB of disk are asked for and node node-1 (1) has 100MiB free", func(v *structs.Volume) { v.Node, v.Size = id, 101*mib }},
	} {
		if err := r.fails(x.kind, volume(x.change)); !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", x.name, err)
		}
	}
	first := r.must(volume(func(v *structs.Volume) { v.Node = id })).(*VolumeMade)
	r.fails(structs.Conflict, volume(nil))
	if free := r.store.Snapshot().Node(id).Available().Disk; free != 90*mib {
		t.Errorf("%s are left of the disk", free)
	}
	r.fails(structs.Exhausted, &ResizeVolume{Name: "v", Size: 101 * mib})
	r.fails(structs.Conflict, &ResizeVolume{Name: "v", ID: "another", Size: 20 * mib})
	r.must(&ResizeVolume{Name: "v", ID: first.ID, Size: 100 * mib})
	r.must(&ResizeVolume{Name: "v", Size: 20 * mib})
	if free := r.store.Snapshot().Node(id).Available().Disk; free != 80*mib {
		t.Errorf("%s are left of the disk", free)
	}
	r.refuses(`volume "v" is of it`, &DeleteRole{Name: "default"})

	// Deleted, it keeps its room and its name until it is purged and its node said so.
	r.must(&DeleteVolume{Name: "v", Keep: structs.Duration(1e9)})
	r.fails(structs.Conflict, volume(nil))
	r.must(&UndeleteVolume{Name: "v"})
	r.must(&DeleteVolume{Name: "v", Keep: structs.Duration(1e18)})
	r.must(&PurgeVolumes{Names: []string{"v", "none"}})
	if v := r.store.Snapshot().Volume("v"); v.Status != structs.VolumeDeleted {
		t.Errorf("purged before its time: %+v", v)
	}
	r.must(&ForgetVolumes{Node: id, IDs: []structs.VolumeID{first.ID}})
	r.must(&DeleteVolume{Name: "v"})
	r.fails(structs.Conflict, &UndeleteVolume{Name: "v"})
	if v := r.store.Snapshot().Volume("v"); v.Status != structs.VolumePurging {
		t.Errorf("%+v", v)
	}
	r.must(&ForgetVolumes{Node: id, IDs: []structs.VolumeID{"another"}})
	r.must(&ForgetVolumes{Node: id, IDs: []structs.VolumeID{first.ID}})
	if n := r.store.Snapshot().Node(id); r.store.Snapshot().Volume("v") != nil || n.Volumes != nil || n.Available().Disk != 100*mib {
		t.Errorf("left: %+v", n)
	}
	if again := r.must(volume(nil)).(*VolumeMade); again.ID == first.ID {
		t.Error("another volume has the id of the first")
	}
	r.must(&DeleteVolume{Name: "v", Keep: structs.Duration(1e9)}) // it is nowhere
	if r.store.Snapshot().Volume("v") != nil {
		t.Error("a volume that nothing ever used is kept")
	}
}

func TestClaims(t *testing.T) {
	r := newRegion(t)
	one, two := r.disks("1", 100*mib), r.disks("2", 100*mib)
	r.must(&SubmitJob{Job: stored("db", 1, &structs.GroupVolume{Name: "data", Size: 60 * mib})})
	r.must(&SubmitJob{Job: stored("copy", 1, &structs.GroupVolume{Name: "d", Source: "data", ReadOnly: true})})
	r.must(&SubmitJob{Job: stored("other", 1, &structs.GroupVolume{Name: "d", Source: "data", Access: structs.AccessShared})})
	r.refused(RefusedVolume, r.placement("copy", "a", 0, one)) // there is none yet

	a := r.place("db", "a", 0, one)
	v := r.store.Snapshot().Volume("data")
	if v == nil || v.Node != one || v.Job != "db" || a.OnLost != "fence" || len(a.Volumes) != 1 || a.Volumes[0].ID != v.ID || a.Resources.Disk != 0 {
		t.Fatalf("%+v\n%+v", v, a)
	}
	if free := r.store.Snapshot().Node(one).Available().Disk; free != 40*mib {
		t.Errorf("%s are left of the disk", free)
	}
	r.refused(RefusedVolume, r.placement("copy", "a", 0, one))  // held
	r.refused(RefusedVolume, r.placement("copy", "a", 0, two))  // elsewhere
	r.refused(RefusedVolume, r.placement("other", "a", 0, one)) // another access
	r.fails(structs.Conflict, &DeleteVolume{Name: "data"})
	r.fails(structs.Conflict, &ResizeVolume{Name: "data", Size: 10 * mib})
	r.must(&ResizeVolume{Name: "data", Size: 70 * mib})
	r.must(&StopJob{Name: "db"})
	r.refused(RefusedVolume, r.placement("copy", "a", 0, one)) // not ended yet
	r.observe(a, structs.AllocComplete, structs.TaskKilled)
	b := r.place("copy", "a", 0, one)

	// The node is lost: the claim stands until its fence ended.
	r.must(&SetNodeStatus{Node: one, Status: structs.NodeLost})
	if r.store.Snapshot().Alloc(b.ID).Ended() {
		t.Fatal("ended before its fence did") // of a reader, too: nobody writes beside it
	}
	r.fails(structs.Conflict, &DeleteVolume{Name: "data"})
	r.must(&LoseAllocs{Node: one})
	r.refuses(`volume "data" is on its disk`, &RemoveNode{Node: one})
	r.must(&Collect{Nodes: []structs.NodeID{one}, NodesBefore: 1 << 62})
	if r.store.Snapshot().Node(one) == nil {
		t.Fatal("a node with data was forgotten")
	}
	r.must(&DeleteVolume{Name: "data"})

	// It comes back with what it was given up for, and the volume is going.
	r.disks("1", 100*mib)
	if b = r.observe(b, structs.AllocRunning, structs.TaskRunning); b.Status != structs.AllocLost || b.Desired != structs.DesiredStop {
		t.Errorf("it goes on with a volume that is deleted: %s, %s", b.Status, b.Desired)
	}
	r.must(&SetNodeStatus{Node: one, Status: structs.NodeLost})
	r.must(&RemoveNode{Node: one}) // nobody wants the data
	if r.store.Snapshot().Volume("data") != nil {
		t.Error("the volume outlived its node")
	}

	// Two that are to be made do not fit beside each other.
	r.must(&SubmitJob{Job: stored("many", 2, &structs.GroupVolume{Name: "m", Size: 60 * mib, PerAlloc: true})})
	r.place("many", "a", 0, two)
	r.refused(RefusedResources, r.placement("many", "a", 1, two))
	if s := r.store.Snapshot(); s.Volume("m.0") == nil || s.Volume("m.1") != nil {
		t.Error("a refused placement made a volume")
	}
}

// Reading beside one writer.
func TestSingleWriter(t *testing.T) {
	r := newRegion(t)
	id := r.disks("1", 100*mib)
	r.must(&SubmitJob{Job: stored("w", 1, &structs.GroupVolume{Name: "v", Size: mib, Access: structs.AccessSingleWriter})})
	r.must(&SubmitJob{Job: stored("w2", 1, &structs.GroupVolume{Name: "v", Size: mib, Access: structs.AccessSingleWriter})})
	r.must(&SubmitJob{Job: stored("r", 3, &structs.GroupVolume{Name: "v", Access: structs.AccessSingleWriter, ReadOnly: true})})
	r.place("w", "a", 0, id)
	r.place("r", "a", 0, id)
	r.place("r", "a", 1, id)
	r.refused(RefusedVolume, r.placement("w2", "a", 0, id))
	if n := len(slices.Collect(r.store.Snapshot().Claimants(r.store.Snapshot().Volume("v")))); n != 3 {
		t.Errorf("%d claims", n)
	}
}

// Whatever happens to nodes, jobs and volumes, no volume with one writer ever has two that really run: an allocation runs from its
// placement until its node says that it ended, or until the lease of its node is over when it is fenced; a node that is given up with
// on_lost "replace" lets it run.
func TestNeverTwoWriters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRegion(t)
		var nodes []structs.NodeID
		for i := range 2 {
			nodes = append(nodes, r.disks(fmt.Sprint(i+1), 100*mib))
		}
		runs := map[structs.AllocID]*structs.Allocation{} // really
		jobs, names := []string{"x", "y"}, []string{"v", "w", "v.0", "v.1"}
		name, node, jobName := rapid.SampledFrom(names), rapid.SampledFrom(nodes), rapid.SampledFrom(jobs)
		some := func() *structs.Allocation {
			all := slices.Collect(r.store.Snapshot().Allocs())
			if len(all) == 0 {
				return nil
			}
			return rapid.SampledFrom(all).Draw(t, "alloc")
		}
		report := func(a *structs.Allocation, status structs.AllocStatus) {
			if n := r.store.Snapshot().Node(a.Node); n != nil && n.Status == structs.NodeReady {
				r.observe(a, status, structs.TaskRunning)
			}
		}
		for range rapid.IntRange(10, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 12).Draw(t, "step") {
			case 0, 1:
				x := &structs.GroupVolume{Name: "d", Source: rapid.SampledFrom(names[:2]).Draw(t, "source"), PerAlloc: rapid.Bool().Draw(t, "per alloc"),
					Access:   rapid.SampledFrom([]structs.VolumeAccess{structs.AccessExclusive, structs.AccessSingleWriter, structs.AccessShared}).Draw(t, "access"),
					ReadOnly: rapid.Bool().Draw(t, "read only")}
				if !x.ReadOnly {
					x.Size = mib * structs.Bytes(rapid.IntRange(1, 60).Draw(t, "size"))
				}
				count := 1
				if x.PerAlloc || !x.Access.Alone(x.ReadOnly) {
					count = 2
				}
				r.must(&SubmitJob{Job: stored(jobName.Draw(t, "job"), count, x)})
			case 2, 3, 4, 5:
				p := r.placement(jobName.Draw(t, "job"), "a", rapid.IntRange(0, 1).Draw(t, "index"), node.Draw(t, "node"))
				if got := r.must(&Place{Placements: []*Placement{p}}).(*Placed); got.Placements[0].Refused == "" {
					runs[p.Alloc.ID] = r.store.Snapshot().Alloc(p.Alloc.ID)
				}
			case 6:
				if a := some(); a != nil && runs[a.ID] != nil && r.store.Snapshot().Node(a.Node).Status == structs.NodeReady {
					delete(runs, a.ID) // the node ends it first, and tells then
					report(a, structs.AllocComplete)
				}
			case 7:
				if a := some(); a != nil && runs[a.ID] != nil {
					report(a, structs.AllocRunning)
				}
			case 8:
				r.commit(Envelope{Command: &StopJob{Name: jobName.Draw(t, "job")}})
			case 9:
				id := node.Draw(t, "node")
				for _, a := range runs {
					if a.Node == id && a.OnLost == "fence" {
						delete(runs, a.ID)
					}
				}
				r.must(&SetNodeStatus{Node: id, Status: structs.NodeLost})
				r.must(&LoseAllocs{Node: id})
			case 10:
				id := node.Draw(t, "node")
				r.disks(strings.TrimPrefix(string(id), "node-"), 100*mib)
				for _, a := range runs { // it says first what it has
					if a.Node == id {
						report(a, structs.AllocRunning)
					}
				}
			case 11:
				r.commit(Envelope{Command: &DeleteVolume{Name: name.Draw(t, "name"), Keep: structs.Duration(rapid.IntRange(0, 1).Draw(t, "keep"))}})
			case 12:
				for v := range r.store.Snapshot().Volumes() {
					if v.Status == structs.VolumePurging {
						r.must(&ForgetVolumes{Node: v.Node, IDs: []structs.VolumeID{v.ID}})
						break
					}
				}
			}
			r.check()
			writers := map[structs.VolumeID]structs.AllocID{}
			for _, a := range runs {
				for _, x := range a.Volumes {
					if !x.Access.Alone(x.ReadOnly) {
						continue
					}
					if other, two := writers[x.ID]; two {
						t.Fatalf("%s and %s both run with volume %s", other, a.ID, x.Name)
					}
					writers[x.ID] = a.ID
				}
			}
		}
	})
}

// A disk that is given whole has one volume, of all its size; one that is given in parts has as many as fit. The disk of the node is
// another one, and jobs make volumes there, too.
func TestVolumesOnDisks(t *testing.T) {
	r := newRegion(t)
	id := structs.NodeID("node-one")
	r.nodes = append(r.nodes, id)
	spec := &structs.Node{ID: id, Name: "one", Resources: structs.Resources{CPU: 64000, Memory: 1 << 40, Disk: 100 * mib, Ports: 100},
		Disks: map[string]*structs.NodeDisk{"whole": {Type: structs.DiskMount, Path: "/a", Size: 50 * mib}, "parts": {Type: structs.DiskPath, Path: "/b", Size: 50 * mib},
			"away": {Type: structs.DiskPath, Path: "/c", Problem: "nothing is mounted there"}}}
	for _, name := range []string{"whole", "parts"} {
		spec.Resources = spec.Resources.Add(structs.OnDisk(name, 50*mib))
	}
	r.must(&RegisterNode{Node: spec})
	put := func(name, disk string, size structs.Bytes) Command {
		return &PutVolume{Volume: &structs.Volume{Name: name, Node: id, Disk: disk, Size: size, Access: structs.AccessExclusive, Role: "default"}}
	}
	free := func(disk string) structs.Bytes { return onDisk(r.store.Snapshot().Node(id).Available(), disk) }
	r.must(put("w", "whole", 10*mib))
	r.must(put("p", "parts", 10*mib))
	if v := r.store.Snapshot().Volume("w"); v.Size != 50*mib || free("whole") != 0 || free("parts") != 40*mib || free("") != 100*mib {
		t.Errorf("%+v; free are %s, %s, %s", v, free("whole"), free("parts"), free(""))
	}
	r.fails(structs.Exhausted, put("x", "whole", mib))
	r.fails(structs.Exhausted, put("x", "parts", 41*mib))
	r.fails(structs.Unavailable, put("x", "away", mib))
	r.fails(structs.NotFound, put("x", "none", mib))
	r.fails(structs.Invalid, &ResizeVolume{Name: "w", Size: 40 * mib})
	r.must(&ResizeVolume{Name: "p", Size: 20 * mib})
	r.fails(structs.Exhausted, &ResizeVolume{Name: "p", Size: 51 * mib})
	if free("parts") != 30*mib {
		t.Errorf("free are %s", free("parts"))
	}
	r.must(&SubmitJob{Job: stored("db", 1, &structs.GroupVolume{Name: "d", Disk: "parts", Size: 30 * mib})})
	a := r.place("db", "a", 0, id)
	if v := r.store.Snapshot().Volume("d"); v.Disk != "parts" || free("parts") != 0 || a.Resources.Custom != nil || a.Volumes[0].Disk != "parts" {
		t.Errorf("%+v of %+v; free are %s", v, a, free("parts"))
	}
	// The disk is away, and comes back: what is on it is neither more nor less.
	gone := *spec
	gone.Resources = structs.Resources{CPU: 64000, Memory: 1 << 40, Disk: 100 * mib, Ports: 100}
	gone.Disks = map[string]*structs.NodeDisk{"parts": {Type: structs.DiskPath, Path: "/b", Problem: "it is gone"}}
	r.must(&RegisterNode{Node: &gone})
	if now := r.store.Snapshot().Alloc(a.ID); now.Desired != structs.DesiredRun || free("parts") != 0 {
		t.Errorf("%+v; free are %s", now, free("parts"))
	}
}
