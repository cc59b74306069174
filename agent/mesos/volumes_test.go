package mesos

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/structs"
)

func volume(change func(*wire.Resource)) wire.Resource {
	r := wire.Resource{Name: "disk", Type: wire.ValueScalar, Scalar: &wire.Scalar{Value: 64}, Role: new("eng"), Reservation: &wire.Reservation{},
		Disk: &wire.DiskInfo{Persistence: &wire.Persistence{ID: "v"}, Volume: &wire.Volume{ContainerPath: "data", Mode: wire.VolumeRW}}}
	change(&r)
	return r
}

// What CREATE refuses, before anybody is asked.
func TestBadVolumes(t *testing.T) {
	for want, change := range map[string]func(*wire.Resource){
		"unreserved":    func(r *wire.Resource) { r.Role, r.Reservation = nil, nil },
		"'persistence'": func(r *wire.Resource) { r.Disk.Persistence = nil },
		"'volume'":      func(r *wire.Resource) { r.Disk.Volume = nil },
		"host_path":     func(r *wire.Resource) { r.Disk.Volume.HostPath = new("/etc") },
		"Read-only":     func(r *wire.Resource) { r.Disk.Volume.Mode = wire.VolumeRO },
		"SHARED":        func(r *wire.Resource) { r.Shared = &wire.Shared{} },
		"RAW":           func(r *wire.Resource) { r.Disk.Source = &wire.DiskSource{Type: wire.DiskRaw} },
		"without a root": func(r *wire.Resource) {
			r.Disk.Source = &wire.DiskSource{Type: wire.DiskMount, Path: &wire.DiskRoot{Root: new("/a")}}
		},
		"revocable":      func(r *wire.Resource) { r.Revocable = &wire.Revocable{} },
		"Container path": func(r *wire.Resource) { r.Disk.Volume.ContainerPath = "../../etc" },
		"scalars":        func(r *wire.Resource) { r.Name = "mem" },
	} {
		op := &wire.Operation{Create: &wire.Volumes{Volumes: []wire.Resource{volume(change)}}}
		if out := volumeOperations(&structs.Framework{}, op, wire.OperationCreate); len(out) != 1 || out[0].fault == nil || !strings.Contains(out[0].fault.Error(), want) {
			t.Errorf("%s: %+v", want, out)
		}
	}
	for at, want := range map[string]string{"data": "/local/data", "a/../b": "/local/b", "/var/data": "/var/data", "/proc/x": "", "/local/x": "", ".": "", "..": "", "": "", "/": "", "a:b": ""} {
		if got, err := containerPath(at); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q (%v), want %q", at, got, err, want)
		}
	}
}

// What CREATE_DISK and DESTROY_DISK refuse before anybody is asked: it is told once, and nothing is done.
func TestBadDisks(t *testing.T) {
	raw := volume(func(r *wire.Resource) {
		r.Disk = &wire.DiskInfo{Source: &wire.DiskSource{Type: wire.DiskRaw, Profile: new("fast")}}
	})
	made := volume(func(r *wire.Resource) {
		r.Disk = &wire.DiskInfo{Source: &wire.DiskSource{Type: wire.DiskMount, ID: new("disk-1"), Mount: &wire.DiskRoot{}}}
	})
	with := func(r wire.Resource, change func(*wire.Resource)) wire.Resource {
		disk, source := *r.Disk, *r.Disk.Source
		r.Disk, disk.Source = &disk, &source
		change(&r)
		return r
	}
	create := func(r wire.Resource) *wire.Operation {
		return &wire.Operation{CreateDisk: &wire.CreateDisk{Source: r, Target: wire.DiskMount}}
	}
	block, profile := create(raw), create(raw)
	block.CreateDisk.Target, profile.CreateDisk.Profile = wire.DiskBlock, new("slow")
	destroy := func(r wire.Resource) *wire.Operation {
		return &wire.Operation{DestroyDisk: &wire.DestroyDisk{Source: r}}
	}
	f := &structs.Framework{Capabilities: []string{structs.CanRefineReservation}}
	for _, x := range []struct {
		f    *structs.Framework
		op   *wire.Operation
		kind wire.OperationType
		want string
	}{
		{f, create(made), wire.OperationCreateDisk, "is not a RAW disk resource"},
		{f, create(with(raw, func(r *wire.Resource) { r.Disk.Source.Profile = nil })), wire.OperationCreateDisk, "RAW without a root is not served"},
		{f, create(with(raw, func(r *wire.Resource) { r.Disk.Source.ID = new("x") })), wire.OperationCreateDisk, "RAW without a root is not served"},
		{f, create(with(raw, func(r *wire.Resource) { r.Provider = &wire.ID{Value: "rp-1"} })), wire.OperationCreateDisk, "there is no resource provider 'rp-1'"},
		{f, create(with(raw, func(r *wire.Resource) { r.Name = "mem" })), wire.OperationCreateDisk, "is not a RAW disk resource"},
		{f, create(with(raw, func(r *wire.Resource) { r.Shared = &wire.Shared{} })), wire.OperationCreateDisk, "revocable or shared"},
		{f, create(with(raw, func(r *wire.Resource) {
			r.Disk.Source.Metadata = &wire.Labels{Labels: []wire.Label{{Key: "k", Value: new(strings.Repeat("x", 2048))}}}
		})),
			wire.OperationCreateDisk, "takes more than 2048 bytes"},
		{f, block, wire.OperationCreateDisk, "'target_type' is BLOCK"},
		{f, profile, wire.OperationCreateDisk, "'target_profile' is 'slow'"},
		{&structs.Framework{}, create(raw), wire.OperationCreateDisk, "RESERVATION_REFINEMENT"},
		{f, destroy(raw), wire.OperationDestroyDisk, "is not a MOUNT disk resource"},
		{f, destroy(with(made, func(r *wire.Resource) { r.Disk.Persistence = &wire.Persistence{ID: "v"} })), wire.OperationDestroyDisk, "DESTROY it first"},
		{f, destroy(with(made, func(r *wire.Resource) { r.Disk.Source.ID, r.Disk.Source.Mount = nil, &wire.DiskRoot{Root: new("/mnt")} })), wire.OperationDestroyDisk, "has no 'id'"},
		{f, &wire.Operation{}, wire.OperationCreateDisk, "Operation CREATE_DISK is not known, or has no payload"},
	} {
		x.op.Type, x.op.ID = &x.kind, &wire.ID{Value: "op"}
		out := volumeOperations(x.f, x.op, x.kind)
		if len(out) != 1 || out[0].op != nil || out[0].fault == nil || !strings.Contains(out[0].fault.Error(), x.want) {
			t.Fatalf("%s, want %q: %+v", x.kind, x.want, out)
		}
		b := &feedback{operations: []wire.Operation{*x.op}}
		if told := b.fault(0, out[0].fault); !told {
			t.Errorf("%s: nobody is told", x.kind)
		}
		if news := b.news("n", nil); len(news) != 1 || news[0].State != structs.OperationError || !strings.Contains(news[0].Message, x.want) {
			t.Errorf("%s: %+v", x.kind, news[0])
		}
	}
}

// A volume is offered in the form that a framework asks for, and named by a task as it was offered; what is left of a disk that is given
// whole is not offered.
func TestOfferedVolumes(t *testing.T) {
	node := &structs.Node{ID: "n", Disks: map[string]*structs.NodeDisk{"w": {Type: structs.DiskMount, Path: "/mnt/w", Size: 1 << 30}, "p": {Type: structs.DiskPath, Path: "/srv/p", Size: 1 << 30}}}
	by := &structs.Reservation{Role: "eng", Principal: "ann"}
	o := &server.FrameworkOffer{On: node, Offer: structs.Offer{Role: "eng", Resources: structs.Resources{CPU: 1000, Sets: map[string][]string{structs.VolumeSet: {"v-1"}},
		Custom: map[string]structs.Milli{"disk.w": structs.DiskAmount(1 << 29), "disk.p": structs.DiskAmount(1 << 29)}}},
		Volumes: []server.OfferedVolume{{Volume: &structs.Volume{Persistence: "v", Role: "eng", Size: 64 << 20, Disk: "w", Access: structs.AccessExclusive, ContainerPath: "data"}, By: by},
			{Volume: &structs.Volume{Persistence: "s", Role: "eng", Size: 64 << 20, Access: structs.AccessShared, ContainerPath: "data"}}}}
	plain := offerOf(&structs.Framework{}, o)
	if len(plain.Resources) != 3 {
		t.Fatalf("%s", wire.JSON.Marshal(&plain))
	}
	for _, want := range []string{`"source":{"type":"PATH","path":{"root":"/srv/p"}}`, `"persistence":{"id":"v"}`, `"source":{"type":"MOUNT","mount":{"root":"/mnt/w"}}`} {
		if got := string(wire.JSON.Marshal(&plain)); !strings.Contains(got, want) || strings.Contains(got, "SET") {
			t.Errorf("%s lacks %s", got, want)
		}
	}
	f := &structs.Framework{Capabilities: []string{structs.CanShare, structs.CanRefineReservation, structs.CanHaveRoles}}
	all := offerOf(f, o).Resources
	if len(all) != 4 || all[3].Shared == nil || all[2].Role != nil || len(all[2].Reservations) != 1 || *all[2].Reservations[0].Principal != "ann" {
		t.Fatalf("%+v", all)
	}
	used, err := take(all[2:])
	if err != nil || len(used.volumes) != 2 || !used.amount.IsZero() || used.volumes[0] != (taskVolume{server.VolumeName{Role: "eng", Persistence: "v"}, "/local/data", false, false}) {
		t.Errorf("%+v, %v", used, err)
	}
	if err := holdAll(&server.Launch{Group: &structs.Group{}}, &structs.Task{}, used.volumes, server.LaunchVolume{}); err == nil {
		t.Error("two volumes at one path are taken")
	}
	if _, err := take(all[1:2]); err == nil {
		t.Error("a task has a disk without a volume")
	}
}

// mounts draws which volumes a launch has, and where its tasks see them.
func mounts(l *server.Launch, err error) string {
	if err != nil {
		return "refused: " + err.Error()
	}
	var b strings.Builder
	for _, v := range l.Volumes {
		fmt.Fprintf(&b, "%s=%s", v.Block, v.Persistence)
		if v.Own {
			b.WriteString(" own")
		}
		if v.Task != "" {
			b.WriteString(" of " + v.Task)
		}
		lent := l.External.Custom && v.Task != ""
		if at := slices.IndexFunc(l.Group.Volumes, func(g *structs.GroupVolume) bool { return g.Name == v.Block && g.Type == structs.PersistentVolume }); at < 0 != lent {
			fmt.Fprintf(&b, " is %d of the group", at)
		}
		b.WriteString("; ")
	}
	for _, t := range l.Group.Tasks {
		b.WriteString(t.Name)
		for _, m := range t.VolumeMounts {
			fmt.Fprintf(&b, " %s:%s", m.Volume, m.Destination)
			if m.ReadOnly {
				b.WriteString(":ro")
			}
		}
		b.WriteString("; ")
	}
	for _, t := range l.External.Tasks {
		for _, m := range t.Mounts {
			fmt.Fprintf(&b, "%s %s:%s; ", t.Name, m.Volume, m.Destination)
		}
	}
	return b.String()
}

// Volumes of executors are the allocation's, and those of tasks are theirs: they are mounted in the process of a custom one while they run, where
// that can be. A task of a pod sees its own, those of the executor at absolute paths, and others by a path of the executor's sandbox.
func TestVolumesOfExecutors(t *testing.T) {
	at := func(id, path string) wire.Resource {
		r := wire.Resource{Name: "disk", Type: wire.ValueScalar, Scalar: &wire.Scalar{Value: 32}, Role: new("eng")}
		r.Disk = &wire.DiskInfo{Persistence: &wire.Persistence{ID: id}, Volume: &wire.Volume{ContainerPath: path, Mode: wire.VolumeRW}}
		return r
	}
	shared := func(id, path string) wire.Resource {
		r := at(id, path)
		r.Shared = &wire.Shared{}
		return r
	}
	in := func(c *wire.ContainerInfo, e wire.ExecutorInfo) wire.ExecutorInfo {
		e.Container = c
		return e
	}
	docker := &wire.ContainerInfo{Type: wire.ContainerDocker, Docker: &wire.DockerInfo{Image: "debian"}}
	unconfined := &wire.ContainerInfo{Type: wire.ContainerMesos, Linux: &wire.LinuxInfo{Seccomp: &wire.SeccompInfo{Unconfined: new(true)}}}
	of := func(kind wire.ExecutorType, volumes ...wire.Resource) wire.ExecutorInfo {
		e := wire.ExecutorInfo{ExecutorID: wire.ID{Value: "x"}, Type: &kind, Resources: append(scalars(0.1, 32), volumes...)}
		if kind == wire.ExecutorCustom {
			e.Command = &wire.CommandInfo{Value: new("./run")}
		}
		return e
	}
	task := func(id string, c *wire.ContainerInfo, volumes ...wire.Resource) wire.TaskInfo {
		return *taskInfo(id, func(t *wire.TaskInfo) { t.Container, t.Resources = c, append(t.Resources, volumes...) })
	}
	parent := func(path, at string, mode wire.VolumeMode) *wire.ContainerInfo {
		return &wire.ContainerInfo{Type: wire.ContainerMesos, Volumes: []wire.Volume{{ContainerPath: at, Mode: mode,
			Source: &wire.VolumeSource{Type: new(wire.SourceSandboxPath), SandboxPath: &wire.SandboxPath{Type: new(wire.SandboxParent), Path: path}}}}}
	}
	image := &wire.ContainerInfo{Type: wire.ContainerMesos, Mesos: &wire.MesosInfo{Image: &wire.Image{Type: wire.ImageDocker, Docker: &wire.DockerImage{Name: "debian"}}}}
	for _, c := range []struct {
		name     string
		executor wire.ExecutorInfo
		tasks    []wire.TaskInfo
		want     string
	}{
		{"a custom executor", of(wire.ExecutorCustom, at("a", "data")), []wire.TaskInfo{task("one", nil, at("b", "log"))},
			"volume-0=a own; volume-1=b of one; executor volume-0:/local/data; one volume-1:/local/log; "},
		{"a custom executor of the engine", in(docker, of(wire.ExecutorCustom, at("a", "data"))), []wire.TaskInfo{task("one", nil, at("b", "log"))},
			"volume-0=a own; volume-1=b; executor volume-0:/local/data volume-1:/local/log; "},
		{"one that could mount", in(unconfined, of(wire.ExecutorCustom)), []wire.TaskInfo{task("one", nil, at("b", "log"))},
			"volume-0=b; executor volume-0:/local/log; "},
		{"an absolute path", of(wire.ExecutorCustom), []wire.TaskInfo{task("one", nil, at("b", "/srv/b"))},
			"refused: Container path '/srv/b' is not supported: a task of a custom executor has its volumes below the sandbox of that, by a path that is not absolute"},
		{"one below another", of(wire.ExecutorCustom, at("a", "data")), []wire.TaskInfo{task("one", nil, at("b", "data/deeper"))},
			"refused: Container path '/local/data/deeper' is used twice, or one is below the other"},
		{"shared by two", of(wire.ExecutorDefault), []wire.TaskInfo{task("one", nil, shared("b", "log")), task("two", nil, shared("b", "/srv/log"))},
			"volume-0=b of one; volume-1=b of two; one volume-0:/local/log; two volume-1:/srv/log; "},
		{"of two that is not shared", of(wire.ExecutorDefault), []wire.TaskInfo{task("one", nil, at("b", "log")), task("two", nil, at("b", "log"))},
			"refused: Persistence ID 'b' is used twice"},
		{"a pod", of(wire.ExecutorDefault, at("a", "data"), at("c", "/srv/c")), []wire.TaskInfo{task("one", parent("data", "mine", wire.VolumeRO), at("b", "log")), task("two", image)},
			"volume-0=a own; volume-1=c own; volume-2=b of one; one volume-1:/srv/c volume-0:/local/mine:ro volume-2:/local/log; two; "},
		{"a volume twice", of(wire.ExecutorDefault, at("a", "data")), []wire.TaskInfo{task("one", nil, at("a", "log"))},
			"refused: Persistence ID 'a' is used twice"},
		{"a place twice", of(wire.ExecutorDefault, at("a", "/srv/c")), []wire.TaskInfo{task("one", nil, at("b", "/srv/c"))},
			"refused: Container path '/srv/c' is used twice"},
		{"a place twice in a custom one", of(wire.ExecutorCustom), []wire.TaskInfo{task("one", nil, at("b", "log")), task("two", nil, at("c", "log"))},
			"refused: Container path '/local/log' is used twice, or one is below the other"},
		{"below a volume", of(wire.ExecutorDefault, at("a", "data")), []wire.TaskInfo{task("one", parent("data/deeper", "mine", wire.VolumeRW))},
			"refused: the volume at 'mine': 'data/deeper' is below the volume 'data' of the executor: name that"},
	} {
		if got := mounts(groupOf(spark, &wire.LaunchGroup{Executor: c.executor, Tasks: wire.TaskGroupInfo{Tasks: c.tasks}})); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}
