//go:build linux && system

package system

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// TestMesosRawDisk: a framework has a disk made by a plugin whose storage hangs while the whole region is killed, has a volume on it that its
// tasks write to, and makes it raw again: the storage has one disk at a time, each volume is empty at first, and nothing is left.
func TestMesosRawDisk(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	a := r.agent("a", "-server", "-client", "-bootstrap-expect", "1")
	a.inClient = "  disk \"fast\" {\n    type = \"raw\"\n    plugin = \"folders\"\n    size = \"100MiB\"\n  }\n"
	r.more = "server {\n  offers {\n    timeout = \"10s\"\n  }\n}\n" // those without what is waited for are not answered
	p := newShelves(r)
	r.startAll()
	r.nodes(structs.NodeReady, 1)
	r.submit(p.job(1, ""))
	s := &scheduler{t: t, r: r, at: a, encoding: wire.JSON, info: wire.FrameworkInfo{User: "root", Name: "store", Role: new("eng"), FailoverTimeout: new(600.0),
		Capabilities: []wire.Capability{{Type: new(wire.CapabilityReservationRefinement)}}}}
	await(t, "the scheduler is subscribed", s.alive)
	do := func(good func(o *wire.Offer) *wire.Resource, id string, ops func(found wire.Resource) []wire.Operation) {
		t.Helper()
		o := s.awaitOffer(func(o *wire.Offer) bool { return good(o) != nil })
		all := ops(*good(o))
		all[0].ID = &wire.ID{Value: id}
		s.call(&wire.Call{Type: new(wire.CallAccept), Accept: &wire.Accept{OfferIDs: []wire.ID{o.ID}, Operations: all, Filters: &wire.Filters{RefuseSeconds: new(0.0)}}})
	}
	finished := func(id string) (out wire.OperationStatus) {
		t.Helper()
		await(t, "operation "+id+" is finished", func() error {
			if err := s.alive(); err != nil {
				return err
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, out = range s.operations {
				if out.ID.Value == id && out.State == wire.OperationFinished {
					return nil
				}
			}
			return fmt.Errorf("of %d operations, not of this one", len(s.operations))
		})
		return out
	}
	onShelf := func() []string {
		at, _ := filepath.Glob(filepath.Join(p.root, "volumes", "*", "data"))
		return at
	}
	raw := func(o *wire.Offer) *wire.Resource { return has(o, "", wire.DiskRaw) }
	disk := func(o *wire.Offer) *wire.Resource { return has(o, "", wire.DiskMount) }

	// The storage has made the disk when the region is killed, and nobody has heard of it.
	p.fault("CreateVolume", "hang")
	do(raw, "make", func(x wire.Resource) []wire.Operation {
		x.Scalar = &wire.Scalar{Value: 40}
		x.Reservations = []wire.Reservation{{Type: new(wire.ReservationDynamic), Role: new("eng")}}
		return []wire.Operation{{Type: new(wire.OperationReserve), Reserve: &wire.Reserve{Resources: []wire.Resource{x}}},
			{Type: new(wire.OperationCreateDisk), ID: &wire.ID{Value: "make disk"}, CreateDisk: &wire.CreateDisk{Source: x, Target: wire.DiskMount}}}
	})
	p.held("CreateVolume")
	a.kill()
	p.fault("CreateVolume", "")
	a.start()
	made := finished("make disk")
	if len(made.Converted) != 1 || len(onShelf()) != 1 {
		t.Fatalf("it is told %s, the storage has %v", wire.JSON.Marshal(&made), onShelf())
	}

	var mine wire.Resource
	known := func(o *wire.Offer) bool { x := disk(o); return x != nil && x.Disk.Source.Vendor != nil } // the node that is back has its plugin again
	s.launch("one", wire.TaskFinished, known, func(o *wire.Offer) []wire.Operation {
		if x := disk(o); string(wire.JSON.Marshal(x)) != string(wire.JSON.Marshal(&made.Converted[0])) {
			t.Errorf("it is offered as %s, and was told as %s", wire.JSON.Marshal(x), wire.JSON.Marshal(&made.Converted[0]))
		}
		mine = made.Converted[0]
		mine.Disk = &wire.DiskInfo{Source: mine.Disk.Source, Persistence: &wire.Persistence{ID: "db"}, Volume: &wire.Volume{ContainerPath: "data", Mode: wire.VolumeRW}}
		return []wire.Operation{{Type: new(wire.OperationCreate), Create: &wire.Volumes{Volumes: []wire.Resource{mine}}},
			launch(o.AgentID, "one", "echo of one >data/log", scalar("cpus", 0.1, ""), scalar("mem", 32, ""), mine)}
	})
	first := onShelf()
	if text, err := os.ReadFile(filepath.Join(first[0], "log")); err != nil || string(text) != "of one\n" {
		t.Errorf("the storage has %q, %v", text, err)
	}
	if out := a.must("node", "status", r.node(a).Name); !strings.Contains(out, "raw") {
		t.Errorf("node status says\n%s", out)
	}
	do(func(o *wire.Offer) *wire.Resource { return has(o, "db", 0) }, "destroy", func(x wire.Resource) []wire.Operation {
		return []wire.Operation{{Type: new(wire.OperationDestroy), Destroy: &wire.Volumes{Volumes: []wire.Resource{x}}}}
	})
	finished("destroy")
	do(disk, "unmake", func(x wire.Resource) []wire.Operation {
		if now := onShelf(); len(now) != 1 || slices.Equal(now, first) {
			t.Errorf("the disk that is offered again is %v, and was %v", now, first)
		}
		return []wire.Operation{{Type: new(wire.OperationDestroyDisk), DestroyDisk: &wire.DestroyDisk{Source: x}}}
	})
	finished("unmake")

	// What the storage has and nobody registered is mounted for a task, and recorded as long as that has it.
	// Its plugin is given the secrets of its framework, each with the call that it is for.
	shelf := p.there("shelf-1")
	for call, secret := range map[string]string{"stage": "hunter2", "publish": "hunter3"} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(shelf), call+"-secret"), []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a.must("var", "put", "-secret", "eng/store", "key=@"+r.file("key", "hunter3"))
	s.launch("two", wire.TaskFinished, func(o *wire.Offer) bool { return true }, func(o *wire.Offer) []wire.Operation {
		op := launch(o.AgentID, "two", "echo of two >data/log", scalar("cpus", 0.1, ""), scalar("mem", 32, ""))
		folder := "shelf-1"
		op.Launch.Tasks[0].Container = &wire.ContainerInfo{Type: wire.ContainerMesos, Volumes: []wire.Volume{{ContainerPath: "data", Mode: wire.VolumeRW,
			Source: &wire.VolumeSource{Type: new(wire.SourceCSIVolume), CSI: &wire.CSIVolume{Plugin: "folders", Static: &wire.CSIStaticProvisioning{VolumeID: "shelf-1",
				StageSecrets:   map[string]*wire.Secret{"key": {Type: new(wire.SecretByValue), Value: &wire.SecretValue{Data: []byte("hunter2")}}},
				PublishSecrets: map[string]*wire.Secret{"key": {Type: new(wire.SecretByReference), Reference: &wire.SecretReference{Name: "store", Key: new("key")}}},
				Context:        map[string]*string{"folder": &folder}, Capability: wire.CSICapability{Mount: &wire.CSIMount{}, Access: wire.CSIAccessMode{Mode: wire.CSISingleNodeWriter}}}}}}}}
		return []wire.Operation{op}
	})
	if text, err := os.ReadFile(filepath.Join(shelf, "log")); err != nil || string(text) != "of two\n" {
		t.Errorf("the storage has %q, %v", text, err)
	}
	await(t, "it is recorded no more", func() error {
		if out := a.must("volume", "list"); !strings.Contains(out, "no volumes") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	for _, at := range []string{filepath.Join(a.dir, "server"), filepath.Join(a.dir, "client"), a.log} {
		if found := holding(t, at, "hunter"); len(found) > 0 {
			t.Errorf("a secret is on the disk: %v", found)
		}
	}
	if err := os.RemoveAll(filepath.Dir(shelf)); err != nil {
		t.Error(err)
	}
	if out := a.must("volume", "list"); len(onShelf()) > 0 || !strings.Contains(out, "no volumes") || len(p.mounts("/mounts/folders/")) > 0 {
		t.Errorf("left are %v, %v: %s", onShelf(), p.mounts("/mounts/folders/"), out)
	}
}
