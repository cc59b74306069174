package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/proffer/proffer/structs"
)

// raws is a node with a raw disk of 100 MiB, and a framework.
type raws struct{ *executors }

func newRaws(t *testing.T) raws {
	e := raws{newExecutors(t)}
	e.registers(true)
	return e
}

// registers has the node say what it is; well: with a plugin that makes disks.
func (e raws) registers(well bool) {
	n := *e.store.Snapshot().Node(e.node)
	n.Disks = map[string]*structs.NodeDisk{"fast": {Type: structs.DiskRaw, Size: 100 * mib, Plugin: "p", FSType: "ext4", Parameters: map[string]string{"kind": "ssd"}}}
	n.Resources.Custom = map[string]structs.Milli{"disk.fast": structs.DiskAmount(100 * mib)}
	n.Plugins = map[string]*structs.NodePlugin{"p": {Vendor: "v", HasController: true, Node: &structs.PluginNodePart{Healthy: true, ID: "as-1"},
		Controller: &structs.PluginControllerPart{Healthy: well, Makes: true}}}
	e.must(&RegisterNode{Node: &n})
}

// one does one operation, with an id or without, and returns why it was refused.
func (e raws) one(id string, op *Operation) string {
	e.t.Helper()
	if id != "" {
		op.Feedback = &Feedback{ID: id, Parts: 1, Info: []byte("info of " + id)}
	}
	return e.operate(op)[0].Why
}

func (e raws) does(id string, op *Operation) {
	e.t.Helper()
	if why := e.one(id, op); why != "" {
		e.t.Fatal(why)
	}
}

func (e raws) refuses(want string, op *Operation) {
	e.t.Helper()
	if why := e.one("", op); !strings.Contains(why, want) {
		e.t.Fatalf("refused with %q, want %q", why, want)
	}
}

// room is what there is of the raw disk and of the others, as "fast 60, d 40".
func (e raws) room() string {
	var out []string
	custom := e.store.Snapshot().Node(e.node).Available().Custom
	for _, name := range (structs.Resources{Custom: custom}).Names() {
		if custom[name] != 0 {
			out = append(out, fmt.Sprintf("%s %d", strings.TrimPrefix(name, "disk."), custom[name]/1000))
		}
	}
	return strings.Join(out, ", ")
}

// reserved is what is reserved on the node.
func (e raws) reserved() string {
	var sum structs.Resources
	for _, r := range e.store.Snapshot().ReservedOn(e.node) {
		sum = sum.Add(r.Resources)
	}
	return sum.String()
}

func (e raws) disk(name string) *structs.Volume { return e.store.Snapshot().Volume(name) }

func (e raws) is(what, got, want string) {
	e.t.Helper()
	if got != want {
		e.t.Fatalf("%s is %q, want %q", what, got, want)
	}
}

func making(name string, size structs.Bytes, role string) *Operation {
	return &Operation{Make: &RawDisk{Name: name, Pool: "fast", Size: size, Role: role}}
}

func reservesDisk(id, disk string, size structs.Bytes) *Operation {
	return &Operation{Reserve: &structs.Reservation{ID: structs.ReservationID(id), Role: "eng", Resources: structs.OnDisk(disk, size)}}
}

func onMade(id, disk string, size structs.Bytes) *Operation {
	return &Operation{Create: &structs.Volume{Name: disk, Disk: disk, Persistence: id, Role: "eng", Size: size, Access: structs.AccessExclusive, ContainerPath: "data"}}
}

// A disk is made of a reserved part of a raw one, is a volume and a disk again, and raw at the end. Each time the framework hears of it when
// the storage did it, and not before.
func TestDiskOfRaw(t *testing.T) {
	e := newRaws(t)
	e.does("", reservesDisk("r", "fast", 40*mib))
	e.does("make", making("d", 40*mib, "eng"))
	e.is("the operation", e.outcome("make"), "pending")
	pending := e.store.Snapshot().Operation("f", "make")
	if pending.UUID != nil || pending.Disk != "d" {
		t.Errorf("it is %+v", pending)
	}
	e.hears("make", nil) // there is nothing to be heard yet
	e.is("the operation", e.outcome("make"), "pending")
	e.is("the room", e.room(), "d 40, fast 60")
	e.is("reserved", e.reserved(), "disk.d 40MiB")
	d := e.disk("d")
	if d.Status != structs.VolumeMaking || d.Node != e.node || d.CSI.FSType != "ext4" || d.CSI.Parameters["kind"] != "ssd" || e.store.Snapshot().NextErrand(d).Did != VolumeWasMade {
		t.Fatalf("it is %+v, %+v", d, d.CSI)
	}
	e.refuses("it is making", onMade("v", "d", 40*mib))
	e.refuses("it is making", &Operation{Unmake: "d"})
	e.must(&NoteVolume{Name: "d", ID: d.ID, Did: VolumeFailed, Why: "busy"})
	e.is("the operation", e.outcome("make"), "pending")
	e.must(&NoteVolume{Name: "d", ID: d.ID, Did: VolumeWasMade, External: "x-1"})
	e.is("the operation", e.outcome("make"), "finished")
	if o := e.store.Snapshot().Operation("f", "make"); len(o.UUID) != 16 || o.Index != e.index || string(o.Info) != "info of make" {
		t.Errorf("it is %+v", o)
	}
	if n := e.store.Snapshot().Node(e.node); !n.Volumes["d"].Whole || n.OfferedVolumes("eng", map[string][]string{structs.VolumeSet: {"d"}})[structs.VolumeSet] != nil {
		t.Errorf("the node has %+v", n.Volumes["d"])
	}

	// As a configured disk that is given whole.
	e.refuses("given whole", onMade("v", "d", 30*mib))
	shared := onMade("v", "d", 40*mib)
	shared.Create.Access = structs.AccessShared
	e.refuses("no shared volume", shared)
	e.does("", onMade("v", "d", 40*mib))
	e.is("the room", e.room(), "fast 60")
	e.refuses(`volume "v" is on it`, &Operation{Unmake: "d"})
	e.refuses(`volume "v" is made of it`, &Operation{Unreserve: reservesDisk("", "d", 40*mib).Reserve})
	e.fails(structs.Invalid, &ResizeVolume{Name: "d", Size: 50 * mib})
	e.fails(structs.Conflict, &DeleteVolume{Name: "d", Forget: true})
	place := func(id string) PlaceResult {
		group := &structs.Group{Name: "g", Tasks: []*structs.Task{{Name: "t"}}, Volumes: []*structs.GroupVolume{{Name: "v", Type: structs.PersistentVolume, Source: "d", Access: structs.AccessExclusive}}}
		return e.operate(&Operation{Launch: &Placement{Job: &structs.Job{Groups: []*structs.Group{group}}, Alloc: &structs.Allocation{ID: structs.AllocID(id), Framework: "f", Role: "eng",
			Node: e.node, Group: "g", OnLost: "replace", Resources: structs.Resources{CPU: 100}, Volumes: []structs.AllocVolume{{Group: "v", Name: "d", Access: structs.AccessExclusive}},
			External: &structs.External{Info: []byte("x"), Tasks: []*structs.ExternalTask{{ID: "t-" + id, Name: "t", Resources: structs.Resources{CPU: 100}}}}}}})[0]
	}
	if r := place("a"); r.Refused != "" {
		t.Fatal(r.Why)
	}
	if a := e.alloc("a"); a.Volumes[0].Plugin != "p" || !slices.Equal(a.Resources.Sets[structs.VolumeSet], []string{"d"}) || e.disk("d").AttachedTo(e.node) == nil {
		t.Fatalf("the allocation is %+v", a)
	}
	if on := e.store.Snapshot().VolumesOn(e.store.Snapshot().Node(e.node)); len(on) != 1 {
		t.Errorf("the node is told of %d volumes", len(on))
	}
	if r := place("b"); r.Refused == "" {
		t.Error("two have the volume")
	}
	e.refuses("allocation a uses it", &Operation{Destroy: "d"})
	e.observe("a", structs.AllocComplete, map[string]*structs.TaskState{"t": {Status: structs.TaskFinished}})
	e.does("", &Operation{Destroy: "d"})

	// What was written is gone before anybody has the disk again.
	old := e.disk("d")
	e.is("the room", e.room(), "d 40, fast 60")
	if n := e.store.Snapshot().Node(e.node); n.Volumes["d"].Whole || old.Persistence != "" || old.Status != structs.VolumePurging {
		t.Fatalf("it is %+v", old)
	}
	e.must(e.deed("d", VolumeDetaches, e.node))
	e.must(e.deed("d", VolumeDetached, e.node))
	e.must(&NoteVolume{Name: "d", ID: old.ID, Did: VolumeGone})
	anew := e.disk("d")
	if anew == nil || anew.ID == old.ID || anew.Status != structs.VolumeMaking || anew.CSI.External != "" || anew.CSI.Parameters["kind"] != "ssd" {
		t.Fatalf("it is %+v", anew)
	}
	e.must(&NoteVolume{Name: "d", ID: anew.ID, Did: VolumeWasMade, External: "x-2"})
	e.is("the room", e.room(), "d 40, fast 60")

	e.does("unmake", &Operation{Unmake: "d"})
	e.is("the operation", e.outcome("unmake"), "pending")
	e.is("the room", e.room(), "d 40, fast 60")
	e.refuses("it is purging", &Operation{Unmake: "d"})
	e.must(&NoteVolume{Name: "d", ID: anew.ID, Did: VolumeGone})
	e.is("the operation", e.outcome("unmake"), "finished")
	e.is("the room", e.room(), "fast 100")
	e.is("reserved", e.reserved(), "disk.fast 40MiB")
	if e.disk("d") != nil || e.store.Snapshot().Node(e.node).Volumes != nil {
		t.Error("something is left")
	}
}

// What cannot be made is raw again before its framework hears why; what was told stays told.
func TestDiskThatCannotBeMade(t *testing.T) {
	e := newRaws(t)
	e.refuses("are asked for and 100MiB are free", making("d", 101*mib, ""))
	e.refuses("not reserved for role", making("d", 10*mib, "eng"))
	e.refuses("no raw disk", &Operation{Make: &RawDisk{Name: "d", Pool: "slow", Size: mib}})
	e.refuses("out of range", making("d", 1000, ""))
	e.does("", reservesDisk("r", "fast", 40*mib))
	e.refuses("are free", making("d", 61*mib, "")) // the rest is reserved
	refined := reservesDisk("r2", "fast", 10*mib)
	refined.Reserve.Role, refined.Reserve.Refines = "eng/a", "eng"
	e.does("", refined)
	e.refuses("taken out of another one", making("d", 10*mib, "eng/a"))
	e.refuses("taken out of another one", making("d", 40*mib, "eng"))
	e.is("the room", e.room(), "fast 100")
	e.registers(false)
	e.refuses("is not healthy", making("d", mib, ""))
	e.registers(true)

	e.does("make", making("d", 30*mib, "eng"))
	e.is("the room", e.room(), "d 30, fast 70")
	e.must(&NoteVolume{Name: "d", Did: VolumeFailed, Why: "full", Last: true})
	e.is("the operation", e.outcome("make"), "pending")
	e.is("the room", e.room(), "d 30, fast 70")
	if v := e.disk("d"); v.Status != structs.VolumePurging || e.store.Snapshot().NextErrand(v).Did != VolumeWasMade {
		t.Errorf("it is %+v", v)
	}
	e.must(&NoteVolume{Name: "d", Did: VolumeGone})
	e.is("the operation", e.outcome("make"), "failed full")
	e.is("the room", e.room(), "fast 100")
	e.is("reserved", e.reserved(), "disk.fast 50MiB")

	// An operator gives up what hangs; an operation of a framework that went is nobody's; a node takes its disks with it.
	e.does("given up", making("d", 30*mib, ""))
	e.must(&DeleteVolume{Name: "d"})
	e.must(&NoteVolume{Name: "d", Did: VolumeGone})
	e.is("the operation", e.outcome("given up"), "failed an operator deleted the disk before it was made")
	e.does("gone", making("d", 30*mib, ""))
	e.must(&SetNodeStatus{Node: e.node, Status: structs.NodeLost})
	e.fails(structs.Conflict, &RemoveNode{Node: e.node})
	e.must(&DeleteVolume{Name: "d"})
	e.must(&Collect{Nodes: []structs.NodeID{e.node}, NodesBefore: 1 << 62})
	if e.store.Snapshot().Node(e.node) == nil {
		t.Error("what its storage has is forgotten")
	}
	e.must(&RemoveNode{Node: e.node})
	e.is("the operation", e.outcome("gone"), "gone_by_operator its node was removed")
	if e.disk("d") != nil {
		t.Error("the disk is left")
	}
}

// Whatever comes in whatever order, the raw disk and what was made of it are together what the node has, all that is reserved is there, and nothing is pending
// without a disk.
func TestRawDisksAtRandom(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e := newRaws(t)
		names := []string{"d1", "d2", "d3"}
		for i := range rapid.IntRange(5, 30).Draw(rt, "steps") {
			name := rapid.SampledFrom(names).Draw(rt, "disk")
			size := structs.Bytes(rapid.IntRange(1, 5).Draw(rt, "size")) * 10 * mib
			role := rapid.SampledFrom([]string{"", "eng"}).Draw(rt, "role")
			id := fmt.Sprintf("op%d", i)
			v := e.disk(name)
			if v != nil {
				size = v.Size
			}
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			case 0, 1:
				e.one(id, making(name, size, role))
			case 2:
				e.one(id, reservesDisk(id, rapid.SampledFrom(append(names, "fast")).Draw(rt, "of"), size))
			case 3:
				e.one(id, &Operation{Unreserve: reservesDisk("", rapid.SampledFrom(append(names, "fast")).Draw(rt, "of"), size).Reserve})
			case 4:
				e.one(id, onMade("v"+name, name, size))
			case 5:
				e.one(id, &Operation{Destroy: name})
			case 6:
				e.one(id, &Operation{Unmake: name})
			case 7:
				e.commit(Envelope{Command: &NoteVolume{Name: name, Did: VolumeFailed, Why: "no", Last: true}})
			default:
				if v == nil {
					continue
				}
				if next := e.store.Snapshot().NextErrand(v); next != nil {
					e.must(&NoteVolume{Name: name, Did: next.Did, External: "x" + id})
				}
			}
			n, sum := e.store.Snapshot().Node(e.node), structs.Bytes(0)
			available := n.Available().Custom
			for _, name := range append(names, "fast") {
				sum += structs.DiskSize(available[structs.DiskResource(name)])
				if v := e.disk(name); v != nil && v.Persistence != "" {
					sum += v.Size
				}
			}
			if sum != 100*mib {
				rt.Fatalf("together they are %s: %s", sum, e.room())
			}
			if over := e.overbooked(); over != "" {
				rt.Fatalf("more is reserved than there is: %s", over)
			}
			for o := range e.store.Snapshot().Operations() {
				d := e.disk(o.Disk)
				if o.State == structs.OperationPending && (d == nil || d.CSI.Raw.Operation != o.ID) {
					rt.Fatalf("operation %s is pending for nothing", o.ID)
				}
			}
		}
	})
}

// overbooked says of what more is reserved and used than there is.
func (e raws) overbooked() string {
	snap := e.store.Snapshot()
	n := snap.Node(e.node)
	have := n.Available()
	for _, v := range n.Volumes {
		have = have.Add(v.Takes())
	}
	var want structs.Resources
	for _, r := range snap.ReservedOn(e.node) {
		want = want.Add(r.Resources)
	}
	for _, name := range want.Names() {
		if want.Custom[name] > have.Custom[name] {
			return name
		}
	}
	return ""
}
