package mesos

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"errors"
	"fmt"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// RAW disks: storage of a plugin, of which frameworks have MOUNT disks made. The profile is what the node calls it, and each disk has an id.

// seesRaw reports whether a framework is offered RAW disks and what is made of them. Older ones would take them for disk that tasks may use. No
// capability of Mesos is about these disks, but all that know them know this one.
func seesRaw(f *structs.Framework) bool { return f.Can(structs.CanRefineReservation) }

// rawSource says that a disk is of a raw one: that itself without an id. Where a disk that was made is mounted, only tasks see.
func rawSource(n *structs.Node, is wire.DiskType, pool, id string) *wire.DiskSource {
	s := &wire.DiskSource{Type: is, Profile: &pool, ID: wire.Optional(id)}
	if is == wire.DiskMount {
		s.Mount = &wire.DiskRoot{}
	}
	if d := n.Disks[pool]; d != nil && n.Plugins[d.Plugin] != nil {
		s.Vendor = wire.Optional(n.Plugins[d.Plugin].Vendor)
	}
	return s
}

// ofRaw is what CREATE_DISK and DESTROY_DISK take: a scalar of one disk, as it was offered.
func ofRaw(r *wire.Resource, is wire.DiskType) (disk string, size structs.Bytes, err error) {
	switch {
	case r.Name != "disk" || r.Type != wire.ValueScalar || r.Scalar == nil || r.Disk == nil || r.Disk.Source == nil || r.Disk.Source.Type != is:
		return "", 0, fmt.Errorf("'source' is not a %s disk resource", is)
	case r.Disk.Persistence != nil || r.Disk.Volume != nil:
		return "", 0, errors.New("'source' is a persistent volume: DESTROY it first")
	case r.Provider != nil:
		return "", 0, fmt.Errorf("there is no resource provider '%.200s': disks are of the node", r.Provider.Value)
	case r.Revocable != nil || r.Shared != nil:
		return "", 0, errors.New("'source' is revocable or shared, and no disk is offered so")
	}
	if disk, err = diskOf(r); err != nil {
		return "", 0, err
	}
	amount, err := milli(r.Scalar.Value)
	return disk, bytes(amount), err
}

// makeDisk turns CREATE_DISK into ours.
func makeDisk(f *structs.Framework, op *wire.Operation) wish {
	c := op.CreateDisk
	pool, size, err := ofRaw(&c.Source, wire.DiskRaw)
	w := &state.RawDisk{Pool: pool, Size: size}
	x, _ := reservationOf(&c.Source)
	switch profile := wire.TextOf(c.Profile); {
	case err != nil:
		return wish{fault: fmt.Errorf("Invalid CREATE_DISK operation: %w", err)}
	case c.Target != wire.DiskMount:
		return wish{fault: fmt.Errorf("Invalid CREATE_DISK operation: 'target_type' is %s, and no task could use such a disk: it is MOUNT", c.Target)}
	case profile != "" && profile != pool:
		return wish{fault: fmt.Errorf("Invalid CREATE_DISK operation: 'target_profile' is '%.200s', and 'source' has the profile '%s'", profile, pool)}
	case !seesRaw(f):
		return wish{fault: errors.New("Invalid CREATE_DISK operation: RAW disks are for frameworks with the RESERVATION_REFINEMENT capability")}
	case op.ID != nil && len(wire.Protobuf.Marshal(op)) > structs.MaxOperationInfo: // of which the outcome is made
		return wish{fault: fmt.Errorf("Invalid CREATE_DISK operation: it takes more than %d bytes", structs.MaxOperationInfo)}
	}
	if x != nil {
		w.Role, w.Labels = roleIn(wire.TextOf(x.Role)), x.Labels.Map()
	}
	return wish{op: &server.FrameworkOperation{Make: w}}
}

// unmakeDisk turns DESTROY_DISK into ours.
func unmakeDisk(op *wire.Operation) wish {
	disk, size, err := ofRaw(&op.DestroyDisk.Source, wire.DiskMount)
	switch {
	case err == nil && op.DestroyDisk.Source.Disk.Source.ID == nil:
		err = errors.New("'source' has no 'id': it was not made by CREATE_DISK")
	case err == nil && op.ID != nil && len(wire.Protobuf.Marshal(op)) > structs.MaxOperationInfo:
		err = fmt.Errorf("it takes more than %d bytes", structs.MaxOperationInfo)
	}
	if err != nil {
		return wish{fault: fmt.Errorf("Invalid DESTROY_DISK operation: %w", err)}
	}
	return wish{op: &server.FrameworkOperation{Unmake: &server.MadeDisk{Name: disk, Size: size}}}
}

// converted is what the source of an operation has become: the same amount, reserved as it was.
func converted(n *server.OperationNews) []wire.Resource {
	var op wire.Operation
	if n.Disk == "" || wire.Protobuf.Unmarshal(n.Info, &op) != nil {
		return nil
	}
	switch {
	case op.CreateDisk != nil:
		r := op.CreateDisk.Source
		s := *r.Disk.Source
		s.Type, s.ID, s.Mount = wire.DiskMount, &n.Disk, &wire.DiskRoot{}
		r.Disk = &wire.DiskInfo{Source: &s}
		return []wire.Resource{r}
	case op.DestroyDisk != nil:
		r := op.DestroyDisk.Source
		s := *r.Disk.Source
		s.Type, s.ID, s.Mount = wire.DiskRaw, nil, nil
		r.Disk = &wire.DiskInfo{Source: &s}
		return []wire.Resource{r}
	}
	return nil
}
