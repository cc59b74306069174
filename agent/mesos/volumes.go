package mesos

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/structs"
)

// Persistent volumes and disks. A resource `disk` with a source and no persistence is an amount of the custom resource of that disk,
// named by its path until the region knows the node.

// diskOf returns the disk that a resource is of: by the path of its root, by its id where it was made of a raw one, and a raw one by its profile;
// empty for that of the node's data folder.
func diskOf(r *wire.Resource) (string, error) {
	if r.Disk == nil || r.Disk.Source == nil {
		return "", nil
	}
	s := r.Disk.Source
	root := s.Path
	switch id, profile := wire.TextOf(s.ID), wire.TextOf(s.Profile); {
	case s.Type == wire.DiskRaw && id == "" && structs.ValidDiskName(profile):
		return profile, nil
	case s.Type == wire.DiskMount && structs.ValidDiskName(id):
		return id, nil
	case s.Type == wire.DiskMount:
		root = s.Mount
	}
	if s.Type != wire.DiskPath && s.Type != wire.DiskMount || root == nil || !strings.HasPrefix(wire.TextOf(root.Root), "/") {
		return "", fmt.Errorf("a disk of type %s without a root is not served", s.Type)
	}
	return *root.Root, nil
}

// onDisk moves an amount of disk to the disk that it is of.
func onDisk(r *wire.Resource, amount structs.Resources) (structs.Resources, error) {
	if r.Disk == nil {
		return amount, nil
	}
	disk, err := diskOf(r)
	switch {
	case err != nil:
		return amount, err
	case r.Name != "disk":
		return amount, errors.New("only 'disk' has 'DiskInfo'")
	case r.Disk.Persistence == nil && r.Disk.Volume != nil:
		return amount, errors.New("Non-persistent volume not supported")
	case disk == "":
		return amount, nil
	}
	return structs.OnDisk(disk, amount.Disk), nil
}

// persistent reports whether a resource is a volume.
func persistent(r *wire.Resource) bool { return r.Disk != nil && r.Disk.Persistence != nil }

// nameOf returns which volume a resource is.
func nameOf(r *wire.Resource) server.VolumeName {
	out := server.VolumeName{Role: structs.DefaultRole, Persistence: r.Disk.Persistence.ID}
	if x, _ := reservationOf(r); x != nil {
		out.Role = roleIn(wire.TextOf(x.Role))
	}
	return out
}

// taskVolume is a volume that a task uses.
type taskVolume struct {
	server.VolumeName
	at       string // where the task sees it
	readOnly bool
	shared   bool
}

func taskVolumeOf(r *wire.Resource) (v taskVolume, err error) {
	v.VolumeName = nameOf(r)
	if r.Disk.Volume == nil {
		return v, errors.New("Persistent volume has no 'volume'")
	}
	v.readOnly, v.shared = r.Disk.Volume.Mode == wire.VolumeRO, r.Shared != nil
	v.at, err = containerPath(r.Disk.Volume.ContainerPath)
	return v, err
}

// containerPath is where a task sees what a framework wants at a path: those that are not absolute are below its own folder.
func containerPath(p string) (string, error) {
	bad := func(why string) (string, error) {
		return "", fmt.Errorf("Container path '%.200s' is not supported: %s", p, why)
	}
	if path.IsAbs(p) {
		if clean := path.Clean(p); structs.BadMountTarget(clean) != "" {
			return bad(structs.BadMountTarget(clean))
		}
		return path.Clean(p), nil
	}
	clean := path.Join("/local", p)
	if !strings.HasPrefix(clean, "/local/") || strings.ContainsAny(p, "\x00:,\\") || len(p) > 512 {
		return bad("it is no path below the folder of the task")
	}
	return clean, nil
}

// hold adds a volume to what a launch uses. of says whose it is. One that is shared may be several tasks'.
func hold(l *server.Launch, v taskVolume, of server.LaunchVolume) (*server.LaunchVolume, error) {
	if slices.ContainsFunc(l.Volumes, func(o *server.LaunchVolume) bool {
		return o.VolumeName == v.VolumeName && (!v.shared || of.Task == "" || o.Task == of.Task || o.Task == "")
	}) {
		return nil, fmt.Errorf("Persistence ID '%.200s' is used twice", v.Persistence)
	}
	if len(l.Volumes) >= structs.MaxGroupVolumes {
		return nil, fmt.Errorf("more than %d persistent volumes", structs.MaxGroupVolumes)
	}
	of.VolumeName, of.Block, of.ReadOnly = v.VolumeName, fmt.Sprintf("volume-%d", len(l.Volumes)), v.readOnly
	l.Volumes = append(l.Volumes, &of)
	return &of, nil
}

// inGroup is hold for a volume that the group of the launch has.
func inGroup(l *server.Launch, v taskVolume, of server.LaunchVolume) (block string, err error) {
	held, err := hold(l, v, of)
	if err != nil {
		return "", err
	}
	l.Group.Volumes = append(l.Group.Volumes, &structs.GroupVolume{Name: held.Block, Type: structs.PersistentVolume, ReadOnly: v.readOnly})
	return held.Block, nil
}

// mount has a task see a volume of its group.
func mount(task *structs.Task, block, at string, readOnly bool) error {
	if err := untaken(task, at); err != nil {
		return err
	}
	task.VolumeMounts = append(task.VolumeMounts, &structs.VolumeMount{Volume: block, Destination: at, ReadOnly: readOnly})
	return nil
}

// holdAll has a task see volumes of its launch.
func holdAll(l *server.Launch, task *structs.Task, used []taskVolume, of server.LaunchVolume) error {
	for _, v := range used {
		block, err := inGroup(l, v, of)
		if err == nil {
			err = mount(task, block, v.at, v.readOnly)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// staying reports whether what the process of a custom executor has mounted stays with it until it ends: nothing can be mounted in a container
// of the engine that runs, and one who may make mounts himself could keep them.
func staying(process *structs.Task) bool {
	return process.Driver == "docker" || process.Config["seccomp"] != nil
}

// lend has the process of a custom executor see the volumes of a task, as long as that runs.
func lend(l *server.Launch, process *structs.Task, x *structs.ExternalTask, used []taskVolume) error {
	for _, v := range used {
		if !strings.HasPrefix(v.at, "/local/") {
			return fmt.Errorf("Container path '%.200s' is not supported: a task of a custom executor has its volumes below the sandbox of that, by a path that is not absolute", v.at)
		}
		taken := func(at string) bool { return structs.PathsMeet(v.at, at) }
		lent := func(m *structs.VolumeMount) bool { return taken(m.Destination) }
		if slices.ContainsFunc(process.VolumeMounts, lent) || slices.ContainsFunc(process.Binds, func(b *structs.Bind) bool { return taken(b.Destination) }) ||
			slices.ContainsFunc(l.External.Tasks, func(o *structs.ExternalTask) bool { return slices.ContainsFunc(o.Mounts, lent) }) {
			return fmt.Errorf("Container path '%.200s' is used twice, or one is below the other", v.at)
		}
		held, err := hold(l, v, server.LaunchVolume{Task: x.Name})
		if err != nil {
			return err
		}
		x.Mounts = append(x.Mounts, &structs.VolumeMount{Volume: held.Block, Destination: v.at, ReadOnly: v.readOnly})
	}
	return nil
}

// volumeOf returns the volume that CREATE asks for.
func volumeOf(r *wire.Resource) (*structs.Volume, error) {
	x, _ := reservationOf(r)
	switch {
	case r.Name != "disk" || r.Type != wire.ValueScalar || r.Scalar == nil:
		return nil, errors.New("'persistence' is for scalars of 'disk'")
	case r.Disk == nil || r.Disk.Persistence == nil:
		return nil, errors.New("Resource does not have 'persistence'")
	case x == nil:
		return nil, errors.New("Persistent volumes cannot be created from unreserved resources")
	case r.Disk.Volume == nil:
		return nil, errors.New("Expecting 'volume' to be set for persistent volume")
	case r.Disk.Volume.HostPath != nil:
		return nil, errors.New("Expecting 'host_path' to be unset for persistent volume")
	case r.Disk.Volume.Mode != wire.VolumeRW:
		return nil, errors.New("Read-only persistent volume not supported")
	case r.Disk.Source != nil && r.Disk.Source.Type == wire.DiskRaw:
		return nil, errors.New("Persistent volumes cannot be created from RAW disks: CREATE_DISK makes a MOUNT disk of one")
	case r.Revocable != nil || r.Provider != nil:
		return nil, errors.New("Persistent volumes cannot be created from revocable resources, nor from those of providers")
	}
	if _, err := containerPath(r.Disk.Volume.ContainerPath); err != nil {
		return nil, err
	}
	amount, err := milli(r.Scalar.Value)
	if err != nil {
		return nil, err
	}
	v := &structs.Volume{Persistence: r.Disk.Persistence.ID, Role: roleIn(wire.TextOf(x.Role)), Size: bytes(amount), Access: structs.AccessExclusive,
		Principal: wire.TextOf(r.Disk.Persistence.Principal), Labels: x.Labels.Map(), ContainerPath: r.Disk.Volume.ContainerPath}
	if r.Shared != nil {
		v.Access = structs.AccessShared
	}
	v.Disk, err = diskOf(r)
	return v, err
}

// volumeOperations turns an operation on volumes into ours, one for each volume.
func volumeOperations(f *structs.Framework, op *wire.Operation, kind wire.OperationType) (out []wish) {
	fault := func(format string, args ...any) []wish { return []wish{{fault: fmt.Errorf(format, args...)}} }
	switch {
	case kind == wire.OperationCreate && op.Create != nil:
		for i := range op.Create.Volumes {
			v, err := volumeOf(&op.Create.Volumes[i])
			if err == nil && v.Access == structs.AccessShared && !f.Can(structs.CanShare) {
				err = errors.New("shared volumes are for frameworks with the SHARED_RESOURCES capability")
			}
			if err != nil {
				return fault("%w", err)
			}
			out = append(out, wish{op: &server.FrameworkOperation{Create: v}})
		}
	case kind == wire.OperationDestroy && op.Destroy != nil:
		for i := range op.Destroy.Volumes {
			r := &op.Destroy.Volumes[i]
			if !persistent(r) {
				return fault("Resource does not have 'persistence'")
			}
			out = append(out, wish{op: &server.FrameworkOperation{Destroy: new(nameOf(r))}})
		}
	case kind == wire.OperationGrowVolume && op.Grow != nil:
		r, more := &op.Grow.Volume, &op.Grow.Addition
		if !persistent(r) || persistent(more) || more.Name != "disk" || more.Scalar == nil {
			return fault("GROW_VOLUME takes a volume and an addition of disk")
		}
		return resize(r, more.Scalar.Value, 1)
	case kind == wire.OperationShrinkVolume && op.Shrink != nil:
		if !persistent(&op.Shrink.Volume) {
			return fault("Resource does not have 'persistence'")
		}
		return resize(&op.Shrink.Volume, op.Shrink.Subtract.Value, -1)
	case kind == wire.OperationCreateDisk && op.CreateDisk != nil:
		return []wish{makeDisk(f, op)}
	case kind == wire.OperationDestroyDisk && op.DestroyDisk != nil:
		return []wish{unmakeDisk(op)}
	default:
		return fault("Operation %s is not known, or has no payload", kind)
	}
	if len(out) == 0 {
		return fault("no volumes are named")
	}
	return out
}

func resize(r *wire.Resource, by float64, sign structs.Bytes) []wish {
	amount, err := milli(by)
	switch {
	case err != nil || amount == 0:
		return []wish{{fault: fmt.Errorf("%v is no amount", by)}}
	case r.Shared != nil:
		return []wish{{fault: errors.New("Shared persistent volumes cannot be resized")}}
	case r.Disk.Source != nil && r.Disk.Source.Type == wire.DiskMount:
		return []wish{{fault: errors.New("Volumes on MOUNT disks cannot be resized")}}
	}
	return []wish{{op: &server.FrameworkOperation{Resize: &server.VolumeResize{VolumeName: nameOf(r), By: sign * bytes(amount)}}}}
}

// offered lists the volumes of an offer in the shape that a framework asks for.
func offered(f *structs.Framework, o *server.FrameworkOffer) (out []wire.Resource) {
	for _, v := range o.Volumes {
		if v.Access != structs.AccessExclusive && !f.Can(structs.CanShare) || v.MadeDisk() && !seesRaw(f) {
			continue
		}
		r := wire.Resource{Name: "disk", Type: wire.ValueScalar, Scalar: &wire.Scalar{Value: megabytes(v.Size)},
			Disk: &wire.DiskInfo{Persistence: &wire.Persistence{ID: v.Persistence, Principal: wire.Optional(v.Principal)},
				Volume: &wire.Volume{ContainerPath: v.ContainerPath, Mode: wire.VolumeRW}, Source: sourceOf(o.On, v.Disk)}}
		if v.Access != structs.AccessExclusive {
			r.Shared = &wire.Shared{}
		}
		out = append(out, marked(f, o.Role, &structs.ReservedPart{Role: v.Role}, v.By, r))
	}
	return out
}

// sourceOf says which disk of a node something is on; nil for that of its data folder.
func sourceOf(n *structs.Node, disk string) *wire.DiskSource {
	if made := n.MadeDisk(disk); made != nil {
		return rawSource(n, wire.DiskMount, made.Pool, disk)
	}
	d := n.Disks[disk]
	if d == nil {
		return nil
	}
	switch d.Type {
	case structs.DiskRaw:
		return rawSource(n, wire.DiskRaw, disk, "")
	case structs.DiskMount:
		return &wire.DiskSource{Type: wire.DiskMount, Mount: &wire.DiskRoot{Root: &d.Path}}
	}
	return &wire.DiskSource{Type: wire.DiskPath, Path: &wire.DiskRoot{Root: &d.Path}}
}

// diskSources says of amounts of disks which ones they are. What is left of one that is given whole is not shown, nor what a framework does not
// know.
func diskSources(f *structs.Framework, n *structs.Node, all []wire.Resource) []wire.Resource {
	out := all[:0]
	for _, r := range all {
		if disk, is := structs.DiskOf(r.Name); is && r.Type == wire.ValueScalar {
			if !shown(f, n, disk, r.Scalar.Value) {
				continue
			}
			r.Name, r.Disk = "disk", &wire.DiskInfo{Source: sourceOf(n, disk)}
		}
		out = append(out, r)
	}
	return out
}

// shown reports whether a framework is offered so much of a disk.
func shown(f *structs.Framework, n *structs.Node, disk string, amount float64) bool {
	d, made := n.Disks[disk], n.MadeDisk(disk)
	switch {
	case made != nil:
		return made.Whole && seesRaw(f) && amount >= number(structs.DiskAmount(made.Size))
	case d == nil:
		return false
	case d.Type == structs.DiskRaw:
		return seesRaw(f) && n.MakesDisks(disk) == ""
	}
	return d.Type != structs.DiskMount || amount >= number(structs.DiskAmount(d.Size))
}
