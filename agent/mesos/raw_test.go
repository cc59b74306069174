package mesos_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/client/csi"
	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/structs"
)

// shelf is the storage of a node, with its plugin in front: it knows what it has, whatever the region believes.
type shelf struct {
	rpc *rpc.Server

	mu    sync.Mutex
	room  structs.Bytes            // that it really has
	has   map[string]structs.Bytes // by name
	fault string                   // "hang": it does not answer; "late": it does its work, and dies before it says so
	calls []string
}

func (s *shelf) serve(l net.Listener, log *slog.Logger) {
	s.rpc = rpc.NewServer(rpc.Options{Logger: log})
	rpc.Handle(s.rpc, csi.Method, s.do)
	go s.rpc.Serve(l)
}

// describe has a node say that it has a raw disk of 100 MiB.
func (s *shelf) describe(n *structs.Node) {
	n.Disks = map[string]*structs.NodeDisk{"fast": {Type: structs.DiskRaw, Size: 100 << 20, Plugin: "p", Parameters: map[string]string{"kind": "ssd"}}}
	n.Resources.Custom = map[string]structs.Milli{structs.DiskResource("fast"): structs.DiskAmount(100 << 20)}
	n.Plugins = map[string]*structs.NodePlugin{"p": {Vendor: "shelves", HasController: true, Node: &structs.PluginNodePart{Healthy: true, ID: "here"},
		Controller: &structs.PluginControllerPart{Healthy: true, Makes: true}}}
}

func (s *shelf) do(ctx context.Context, o *csi.Order) (*csi.Answer, error) {
	for s.fails("hang") {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
	name := "vol-" + string(o.Volume.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, string(o.Do))
	switch _, has := s.has[name]; {
	case o.Do == csi.Remove:
		delete(s.has, o.Volume.CSI.External)
	case has: // it may be asked again
	case o.Size > s.room-s.used() || o.Volume.CSI.Parameters["kind"] != "ssd":
		return &csi.Answer{None: "the shelf is full"}, nil
	default:
		s.has[name] = o.Size
	}
	if s.fault == "late" {
		return nil, structs.Errorf(structs.Unavailable, "plugin", "it died")
	}
	return &csi.Answer{External: name, Capacity: o.Size}, nil
}

func (s *shelf) used() (sum structs.Bytes) {
	for _, size := range s.has {
		sum += size
	}
	return sum
}

func (s *shelf) fails(how string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault == how
}

func (s *shelf) set(fault string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// names are what is on it.
func (s *shelf) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.has))
}

func (s *shelf) called(deed csi.Deed) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.calls, string(deed))
}

// disks are those of an offer that have a source, as JSON without what is the same in all of them.
func disks(o wire.Offer) (out []wire.Resource) {
	for _, r := range o.Resources {
		if r.Name == "disk" && r.Disk != nil {
			out = append(out, r)
		}
	}
	return out
}

// offersDisk waits for an offer with a disk that is so; others are declined.
func (f *framework) offersDisk(what string, is func(r *wire.Resource) bool) (o wire.Offer, found wire.Resource) {
	f.r.t.Helper()
	for range 1000 {
		o = f.offer("")
		all := disks(o)
		if i := slices.IndexFunc(all, func(r wire.Resource) bool { return is(&r) }); i >= 0 {
			return o, all[i]
		}
		f.accept(o, 0)
	}
	f.r.t.Fatalf("never offered: %s", what)
	return o, found
}

func rawDisk(amount float64, reserved bool) func(r *wire.Resource) bool {
	return func(r *wire.Resource) bool {
		return r.Disk.Source != nil && r.Disk.Source.Type == wire.DiskRaw && r.Scalar.Value == amount && (len(r.Reservations) > 0) == reserved
	}
}

func createDisk(id string, source wire.Resource, amount float64) wire.Operation {
	source.Scalar = &wire.Scalar{Value: amount}
	return wire.Operation{Type: new(wire.OperationCreateDisk), ID: &wire.ID{Value: id}, CreateDisk: &wire.CreateDisk{Source: source, Target: wire.DiskMount}}
}

func destroyDisk(id string, source wire.Resource) wire.Operation {
	return wire.Operation{Type: new(wire.OperationDestroyDisk), ID: &wire.ID{Value: id}, DestroyDisk: &wire.DestroyDisk{Source: source}}
}

// A framework reserves a part of a RAW disk and has a MOUNT disk made of it, which takes a while, a leader and a plugin that dies; it has a volume on it
// and a task that uses it, and gives all of it back.
func TestRawDisks(t *testing.T) {
	for name, e := range map[string]wire.Encoding{"json": wire.JSON, "protobuf": wire.Protobuf} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 3, 0, func(r *region) { rawDisks(r, e) })
		})
	}
}

func rawDisks(r *region, e wire.Encoding) {
	s := &shelf{room: 100 << 20, has: map[string]structs.Bytes{}}
	n := &node{region: r, ip: "10.0.1.1", name: "node1", id: structs.NodeID(fmt.Sprintf("%032x", 0xa0)), allocs: map[structs.AllocID]*work{}, shelf: s}
	r.nodes = append(r.nodes, n)
	n.start()
	f := r.framework(home, e, inEng, can(wire.CapabilityReservationRefinement)).begin()
	o, raw := f.offersDisk("all of the raw disk", rawDisk(100, false))
	if got := string(wire.JSON.Marshal(raw.Disk)); got != `{"source":{"type":"RAW","profile":"fast","vendor":"shelves"}}` {
		r.t.Errorf("it is offered as %s", got)
	}
	mine := raw
	mine.Scalar = &wire.Scalar{Value: 60}
	mine.Reservations = []wire.Reservation{{Type: new(wire.ReservationDynamic), Role: new("eng")}}
	f.accept(o, 0, reserve("reserve", mine))
	f.hears(f.outcome("reserve", wire.OperationFinished, true))

	// It hangs, and the leader goes; it dies after it did its work; and the framework hears of it once it is done.
	s.set("hang")
	o, mine = f.offersDisk("the reserved part", rawDisk(60, true))
	f.accept(o, 0, createDisk("make", mine, 40))
	r.eventually("the operation is known", func() bool { return r.snapshot().Operation(structs.FrameworkID(f.info.ID.Value), "make") != nil })
	f.call(reconcileOperations("make"))
	if x := f.outcome("make", wire.OperationPending, false); x.AgentID.Value != string(n.id) {
		r.t.Errorf("it is told %s", wire.JSON.Marshal(x))
	}
	f.at.crash()
	<-f.done
	f.begin()
	_, rest := f.offersDisk("the rest of the reserved part", rawDisk(20, true))
	if len(s.names()) != 0 || rest.Scalar.Value != 20 {
		r.t.Errorf("the shelf has %v", s.names())
	}
	f.none(wire.EventUpdateOperationStatus)
	s.set("late")
	r.eventually("the storage made it", func() bool { return len(s.names()) == 1 })
	r.pass(5 * time.Second)
	f.none(wire.EventUpdateOperationStatus)
	s.set("")
	done := f.outcome("make", wire.OperationFinished, true)
	if len(done.Converted) != 1 || len(s.names()) != 1 {
		r.t.Fatalf("it is told %s, the shelf has %v", wire.JSON.Marshal(done), s.names())
	}
	f.hears(done)
	made := done.Converted[0]
	o, shown := f.offersDisk("the disk", func(r *wire.Resource) bool { return r.Disk.Source.Type == wire.DiskMount && r.Disk.Persistence == nil })
	if got, want := string(wire.JSON.Marshal(&shown)), string(wire.JSON.Marshal(&made)); got != want || made.Scalar.Value != 40 || wire.TextOf(made.Disk.Source.ID) == "" {
		r.t.Fatalf("it became %s and is offered as %s", want, got)
	}

	// A volume on it, as on any other MOUNT disk.
	volume := made
	volume.Disk = &wire.DiskInfo{Source: made.Disk.Source, Persistence: &wire.Persistence{ID: "db"}, Volume: &wire.Volume{ContainerPath: "data", Mode: wire.VolumeRW}}
	x := task(o, "one")
	x.Resources = append(x.Resources, volume)
	f.accept(o, 0, wire.Operation{Type: new(wire.OperationCreate), Create: &wire.Volumes{Volumes: []wire.Resource{volume}}}, launch(x))
	f.told("one", wire.TaskRunning)
	a := n.work(func(w *work) bool { return len(w.alloc.Volumes) == 1 && w.alloc.Volumes[0].Plugin == "p" })
	if a == nil {
		r.t.Fatal("the task does not have the volume")
	}
	n.finish(structs.FrameworkID(f.info.ID.Value), "one")
	f.told("one", wire.TaskFinished)
	isVolume := func(r *wire.Resource) bool { return r.Disk.Persistence != nil }
	o, shown = f.offersDisk("the volume", isVolume)
	if got, want := string(wire.JSON.Marshal(&shown)), string(wire.JSON.Marshal(&volume)); got != want {
		r.t.Errorf("it is offered as %s, want %s", got, want)
	}
	f.accept(o, 0, destroyDisk("too early", made))
	f.outcome("too early", wire.OperationError, false)
	before := s.names()
	o, shown = f.offersDisk("the volume", isVolume)
	f.accept(o, 0, wire.Operation{Type: new(wire.OperationDestroy), Destroy: &wire.Volumes{Volumes: []wire.Resource{shown}}})
	o, shown = f.offersDisk("the disk, empty", func(r *wire.Resource) bool { return r.Disk.Source.Type == wire.DiskMount && r.Disk.Persistence == nil })
	if now := s.names(); len(now) != 1 || slices.Equal(now, before) {
		r.t.Errorf("what was written is still there: %v", now)
	}

	// What the shelf does not have.
	s.mu.Lock()
	s.room = 50 << 20
	s.mu.Unlock()
	f.accept(o, 0, createDisk("full", rest, 20))
	full := f.outcome("full", wire.OperationFailed, true)
	if !strings.Contains(wire.TextOf(full.Message), "the shelf is full") || full.Converted != nil {
		r.t.Errorf("it is told %s", wire.JSON.Marshal(full))
	}
	f.hears(full)

	// An old one is shown none of it, and may not ask for it.
	old := r.framework("10.0.2.9", e, inEng).begin()
	f.call(&wire.Call{Type: new(wire.CallSuppress)})
	seen := old.offer("")
	if all := disks(seen); len(all) != 0 {
		r.t.Errorf("it is offered %s", wire.JSON.Marshal(&seen))
	}
	old.accept(seen, 0, createDisk("old", raw, 10))
	old.outcome("old", wire.OperationError, false)
	old.call(&wire.Call{Type: new(wire.CallTeardown)})
	f.call(&wire.Call{Type: new(wire.CallRevive)})

	isMade := func(r *wire.Resource) bool { return r.Disk.Source.Type == wire.DiskMount }
	o, shown = f.offersDisk("the disk", isMade)
	part := shown
	part.Scalar = &wire.Scalar{Value: 10}
	f.accept(o, 0, destroyDisk("a part", part))
	f.outcome("a part", wire.OperationError, false)
	o, shown = f.offersDisk("the disk", isMade)
	f.accept(o, 0, destroyDisk("unmake", shown))
	gone := f.outcome("unmake", wire.OperationFinished, true)
	o, shown = f.offersDisk("the reserved part", rawDisk(60, true))
	if len(s.names()) != 0 || len(gone.Converted) != 1 || gone.Converted[0].Scalar.Value != 40 || string(wire.JSON.Marshal(gone.Converted[0].Disk)) != string(wire.JSON.Marshal(shown.Disk)) {
		r.t.Errorf("it is told %s, the shelf has %v", wire.JSON.Marshal(gone), s.names())
	}
	f.hears(gone)
	f.accept(o, 0, unreserve("unreserve", shown))
	f.hears(f.outcome("unreserve", wire.OperationFinished, true))
	f.offersDisk("all of the raw disk", rawDisk(100, false))
	if vs := slices.Collect(r.snapshot().Volumes()); len(vs) != 0 || s.called(csi.Attach) {
		r.t.Errorf("left are %+v", vs)
	}
}

// A node whose storage does not answer holds up no other one, however many disks are asked for there.
func TestARawDiskThatHangsHoldsUpNoOther(t *testing.T) {
	bubble(t, 1, 0, func(r *region) {
		shelves := map[string]*shelf{}
		for i := range 2 {
			s := &shelf{room: 100 << 20, has: map[string]structs.Bytes{}}
			n := &node{region: r, ip: fmt.Sprintf("10.0.1.%d", i+1), name: fmt.Sprint("node", i+1), id: structs.NodeID(fmt.Sprintf("%032x", 0xa0+i)), allocs: map[structs.AllocID]*work{}, shelf: s}
			r.nodes, shelves[string(n.id)] = append(r.nodes, n), s
			n.start()
		}
		f := r.framework(home, wire.JSON, inEng, can(wire.CapabilityReservationRefinement)).begin()
		o, raw := f.offersDisk("a raw disk", rawDisk(100, false))
		silent := o.AgentID.Value
		shelves[silent].set("hang")
		var many []wire.Operation
		for i := range 20 {
			many = append(many, createDisk(fmt.Sprint("silent-", i), raw, 1))
		}
		f.accept(o, 0, many...)
		r.eventually("the storage is asked", func() bool { return r.snapshot().Operation(structs.FrameworkID(f.info.ID.Value), "silent-19") != nil })
		for range 100 {
			if o, raw = f.offersDisk("the other raw disk", rawDisk(100, false)); o.AgentID.Value != silent {
				break
			}
			f.accept(o, 0)
		}
		began := time.Now()
		f.accept(o, 0, createDisk("make", raw, 40))
		f.outcome("make", wire.OperationFinished, true)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
		shelves[silent].set("")
	})
}

// work waits for an allocation on the node that is so.
func (n *node) work(is func(w *work) bool) (found *work) {
	n.region.eventually("work on "+n.name, func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, w := range n.allocs {
			if is(w) {
				found = w
			}
		}
		return found != nil
	})
	return found
}
