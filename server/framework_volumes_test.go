package server_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

const gib = structs.Bytes(1 << 30)

func reservesDisk(role string, size structs.Bytes) *structs.Reservation {
	return &structs.Reservation{Role: role, Resources: structs.Resources{Disk: size}}
}

func creates(role, id string, size structs.Bytes) *server.FrameworkOperation {
	return &server.FrameworkOperation{Create: &structs.Volume{Persistence: id, Role: role, Size: size, Access: structs.AccessExclusive, ContainerPath: "data"}}
}

// using has a launch use volumes.
func using(op *server.FrameworkOperation, names ...server.VolumeName) *server.FrameworkOperation {
	for _, name := range names {
		op.Launch.Group.Volumes = append(op.Launch.Group.Volumes, &structs.GroupVolume{Name: name.Persistence, Type: structs.PersistentVolume})
		op.Launch.Volumes = append(op.Launch.Volumes, &server.LaunchVolume{VolumeName: name, Block: name.Persistence})
	}
	return op
}

// with waits for an offer in which a volume is, or is not, and takes it; others are declined.
func (s *scheduler) with(id string, there bool) (o *server.FrameworkOffer, v *structs.Volume) {
	s.r.t.Helper()
	s.r.eventually("an offer with volume "+id, func() bool {
		s.mu.Lock()
		var all []*server.FrameworkOffer
		for key, x := range s.offers {
			all = append(all, x)
			delete(s.offers, key)
		}
		s.mu.Unlock()
		for _, x := range all {
			i := slices.IndexFunc(x.Volumes, func(v server.OfferedVolume) bool { return v.Persistence == id })
			if i >= 0 == there && o == nil {
				o = x
				if there {
					v = x.Volumes[i].Volume
				}
				continue
			}
			s.accept(x)
		}
		return o != nil
	})
	return o, v
}

// only returns the one volume of the region.
func (r *region) only() *structs.Volume {
	r.t.Helper()
	all := slices.Collect(r.snapshot().Volumes())
	if len(all) != 1 {
		r.t.Fatalf("the volumes are %v", all)
	}
	return all[0]
}

// A framework makes a volume of what it reserves, launches on it, and finds it in the offers that follow: until it destroys it.
func TestFrameworkVolumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 1)
		s := r.subscribe(eng("spark"))
		o := s.offer("")
		name := server.VolumeName{Role: "eng", Persistence: "an id"}
		done, err := s.accept(o, &server.FrameworkOperation{Reserve: reservesDisk("eng", 10*gib)}, creates("eng", name.Persistence, 4*gib),
			using(launches("one", 1), name))
		check(t, err)
		check(t, errors.Join(done.Faults...))
		v, a := r.only(), r.snapshot().Alloc(done.Allocs[2])
		if v.Framework != s.sub.Framework || v.Role != "eng" || v.Node != o.Node || v.Size != 4*gib || !strings.HasPrefix(v.Name, "an-id-") {
			t.Fatalf("the volume is %+v", v)
		}
		if a == nil || len(a.Volumes) != 1 || a.Volumes[0].ID != v.ID || a.Resources.Disk != 0 || !slices.Equal(a.Resources.Sets[structs.VolumeSet], []string{v.Name}) {
			t.Fatalf("the allocation is %+v", a)
		}
		// What is reserved is so still, and the rest of it is what the volume does not have.
		rest, _ := s.with(name.Persistence, false)
		if len(rest.Reserved) != 1 || rest.Reserved[0].Resources.Disk != 6*gib {
			t.Errorf("the rest is offered as %+v", rest.Reserved)
		}
		for what, bad := range map[string]*server.FrameworkOperation{
			"is reserved less":    {Unreserve: reservesDisk("eng", 7*gib)},
			"is made of nothing":  creates("eng", "other", 7*gib),
			"is of another role":  creates("ops", "other", gib),
			"is there":            creates("eng", name.Persistence, gib),
			"is destroyed in use": {Destroy: &name},
		} {
			if done, err := s.accept(rest, bad); err == nil && done.Faults[0] == nil {
				t.Errorf("what %s was done", what)
			}
			rest, _ = s.with(name.Persistence, false)
		}
		if now := r.only(); now.ModifyIndex != v.ModifyIndex {
			t.Errorf("the volume is %+v, and was %+v", now, v)
		}
		s.accept(rest)
		s.acknowledge(s.told("one", structs.TaskRunning))
		check(t, s.host.server.KillTask(context.Background(), s.sub.Framework, s.sub.Connection, server.TaskName{Task: "one"}))
		s.acknowledge(s.told("one", structs.TaskKilled))
		// It is offered again; grown, used and shrunk.
		again, shown := s.with(name.Persistence, true)
		if shown.ID != v.ID || again.Volumes[0].By == nil {
			t.Fatalf("it is offered as %+v", again.Volumes)
		}
		done, err = s.accept(again, &server.FrameworkOperation{Resize: &server.VolumeResize{VolumeName: name, By: 2 * gib}}, using(launches("two", 1), name))
		check(t, err)
		check(t, errors.Join(done.Faults...))
		if now := r.only(); now.Size != 6*gib {
			t.Errorf("it has %s", now.Size)
		}
		s.acknowledge(s.told("two", structs.TaskRunning))
		check(t, s.host.server.KillTask(context.Background(), s.sub.Framework, s.sub.Connection, server.TaskName{Task: "two"}))
		s.acknowledge(s.told("two", structs.TaskKilled))
		again, _ = s.with(name.Persistence, true)
		done, err = s.accept(again, &server.FrameworkOperation{Resize: &server.VolumeResize{VolumeName: name, By: -gib}})
		check(t, err)
		check(t, errors.Join(done.Faults...))
		// Destroyed, and what it was made of released, in one accept.
		again, _ = s.with(name.Persistence, true)
		done, err = s.accept(again, &server.FrameworkOperation{Destroy: &name}, &server.FrameworkOperation{Unreserve: reservesDisk("eng", 10*gib)})
		check(t, err)
		check(t, errors.Join(done.Faults...))
		snap := r.snapshot()
		if n := snap.Node(o.Node); n.Available().Disk != n.Resources.Disk-n.Reserved.Disk || len(slices.Collect(snap.Reservations())) != 0 {
			t.Errorf("the node has %s, reserved is %+v", n.Available(), slices.Collect(snap.Reservations()))
		}
		if now := r.only(); now.Status != structs.VolumePurging {
			t.Errorf("the volume is %s", now.Status)
		}
	})
}

// One offer has a volume, until it is answered; frameworks of other roles never see it. One that its framework left stays.
func TestVolumesAreInOneOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1)
		s := r.subscribe(eng("spark"))
		done, err := s.accept(s.offer(""), &server.FrameworkOperation{Reserve: reservesDisk("eng", 10*gib)}, creates("eng", "v", gib))
		check(t, err)
		check(t, errors.Join(done.Faults...))
		held, v := s.with("v", true)
		if got := held.Resources.Sets[structs.VolumeSet]; !slices.Equal(got, []string{v.Name}) {
			t.Errorf("the offer holds %v", got)
		}
		node := r.snapshot().Node(v.Node)
		for role, want := range map[string]bool{"eng": true, "eng/web": true, "ops": false, "english": false} {
			if _, got := node.OfferedVolumes(role, node.Available().Sets)[structs.VolumeSet]; got != want {
				t.Errorf("role %s: %v", role, got)
			}
		}
		r.propose(&state.RemoveFramework{ID: s.sub.Framework, Why: "test"})
		if now := r.only(); now.Orphaned == 0 || now.Status != structs.VolumeReady {
			t.Errorf("the volume is %+v", now)
		}
		// Another framework of the role is offered it, and may use it.
		next := r.subscribe(eng("storm"))
		o, _ := next.with("v", true)
		done, err = next.accept(o, using(launches("one", 1), server.VolumeName{Role: "eng", Persistence: "v"}))
		check(t, err)
		check(t, errors.Join(done.Faults...))
		next.told("one", structs.TaskRunning)
	})
}

// A shared volume is in every offer, and tasks use it side by side.
func TestSharedVolumesOfFrameworks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1)
		s := r.subscribe(eng("spark"))
		shared := creates("eng", "v", gib)
		shared.Create.Access = structs.AccessShared
		name := server.VolumeName{Role: "eng", Persistence: "v"}
		done, err := s.accept(s.offer(""), &server.FrameworkOperation{Reserve: reservesDisk("eng", 10*gib)}, shared, using(launches("one", 1), name), using(launches("two", 1), name))
		check(t, err)
		check(t, errors.Join(done.Faults...))
		o, _ := s.with("v", true)
		done, err = s.accept(o, using(launches("three", 1), name))
		check(t, err)
		check(t, errors.Join(done.Faults...))
		n := 0
		for range r.snapshot().Claimants(r.only()) {
			n++
		}
		if n != 3 {
			t.Errorf("%d have it", n)
		}
		o, _ = s.with("v", true)
		if done, err := s.accept(o, &server.FrameworkOperation{Destroy: &name}); err != nil || done.Faults[0] == nil {
			t.Errorf("destroyed while it is used: %v, %v", done, err)
		}
	})
}

// Disks are given in parts or whole, and only to volumes.
func TestVolumesOnDisks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1)
		s := r.subscribe(eng("spark"))
		old := r.snapshot().Node(s.offer("").Node)
		spec := *old
		spec.Disks = map[string]*structs.NodeDisk{"whole": {Type: structs.DiskMount, Path: "/mnt/a", Size: 8 * gib}, "parts": {Type: structs.DiskPath, Path: "/mnt/b", Size: 8 * gib}}
		for name, d := range spec.Disks {
			spec.Resources = spec.Resources.Add(structs.OnDisk(name, d.Size))
		}
		r.propose(&state.RegisterNode{Node: &spec})
		on := func(disk, id string, size structs.Bytes) []*server.FrameworkOperation {
			op := creates("eng", id, size)
			op.Create.Disk = disk
			return []*server.FrameworkOperation{{Reserve: &structs.Reservation{Role: "eng", Resources: structs.OnDisk(disk, size)}}, op}
		}
		disked := func() (o *server.FrameworkOffer) {
			r.eventually("an offer with disks", func() bool {
				o = s.offer("")
				if len(o.Resources.Custom) == 2 {
					return true
				}
				s.accept(o)
				return false
			})
			return o
		}
		done, err := s.accept(disked(), append(on("/mnt/b", "part", 3*gib), on("/mnt/a", "all", 8*gib)...)...)
		check(t, err)
		check(t, errors.Join(done.Faults...))
		n := r.snapshot().Node(old.ID)
		if free := n.Available(); free.Custom["disk.whole"] != 0 || free.Custom["disk.parts"] != structs.DiskAmount(5*gib) || free.Disk != old.Available().Disk {
			t.Errorf("free are %s", free)
		}
		for what, bad := range map[string][]*server.FrameworkOperation{"more than there is": on("parts", "x", 6*gib), "what is taken": on("whole", "x", 8*gib), "no such disk": on("/mnt/c", "x", gib)} {
			done, err := s.accept(s.offer(""), bad...)
			if err != nil || done.Faults[1] == nil {
				t.Errorf("%s: %v, %v", what, done, err)
			}
		}
	})
}
