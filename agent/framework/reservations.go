package framework

import (
	"cmp"
	"maps"
	"math"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// Reservation is resources of a node that are set aside for a role. What runs for the role uses them by itself, before what is free: a
// Task does not name them.
type Reservation struct {
	Role      string // empty: that of the offer
	Principal string // who reserved it; empty: the framework's
	Labels    map[string]string
	Static    bool // by the configuration of the node: it cannot be released
	Resources structs.Resources
	refines   string // the role from whose reservation this one was taken; empty: none
}

// Volume is a persistent volume on a node: it is made of disk that is reserved, and outlives the tasks that use it.
type Volume struct {
	ID        string // of the framework's choice; one of its kind on the node and for the role
	Role      string // empty: that of the offer
	Size      structs.Bytes
	Path      string // where tasks see it that do not say otherwise: absolute, or below the folder of the task
	Principal string // who made it; empty: the framework's
	Labels    map[string]string
	Disk      string // path of the root of the disk that it is on; empty: that of the node's data folder
	Whole     bool   // of Disk: it is given whole
	Shared    bool   // several tasks may use it at a time: see the capability SHARED_RESOURCES
}

// VolumeMount has a task see a volume of its offer.
type VolumeMount struct {
	Volume   Volume
	Path     string // empty: Volume.Path
	ReadOnly bool
}

// Operations on what a node has. Those with an ID have OperationWatcher told what became of them. What they set free or make comes with the
// next offers.
type (
	// Reserve sets resources of the offer aside for a role: that of the offer, or one below it.
	Reserve struct {
		ID string
		Reservation
	}
	// Unreserve releases what was reserved: one of Offer.Reserved, or a part of it.
	Unreserve struct {
		ID string
		Reservation
	}
	// Create makes volumes of disk that is reserved.
	Create struct {
		ID      string
		Volumes []Volume
	}
	// Destroy removes volumes with their data.
	Destroy struct {
		ID      string
		Volumes []Volume
	}
	// Grow makes a volume larger, by reserved disk of the offer.
	Grow struct {
		ID     string
		Volume Volume
		By     structs.Bytes
	}
	// Shrink makes a volume smaller.
	Shrink struct {
		ID     string
		Volume Volume
		By     structs.Bytes
	}
)

// wire lists what is reserved, each kind for itself.
func (r *Reservation) wire(on *Offer) []wire.Resource {
	out := resources(r.Resources, nil, false)
	for i := range out {
		out[i].Reservations = stack(r.refines, cmp.Or(r.Role, on.Role), r.Principal, r.Labels, r.Static)
	}
	return out
}

// stack says how something is reserved.
func stack(refines, role, principal string, labels map[string]string, static bool) (out []wire.Reservation) {
	kind := wire.ReservationDynamic
	if static {
		kind = wire.ReservationStatic
	}
	if refines != "" {
		out = append(out, wire.Reservation{Type: new(wire.ReservationDynamic), Role: &refines})
	}
	return append(out, wire.Reservation{Type: &kind, Role: &role, Principal: wire.Optional(principal), Labels: wire.LabelsOf(labels)})
}

func scalarOf(name string, n structs.Bytes) wire.Resource {
	return wire.Resource{Name: name, Type: wire.ValueScalar, Scalar: &wire.Scalar{Value: math.Ceil(float64(n)/mib*1000) / 1000}}
}

// wire is a volume, as a task sees it at path.
func (v *Volume) wire(on *Offer, at string, readOnly bool) wire.Resource {
	mode := wire.VolumeRW
	if readOnly {
		mode = wire.VolumeRO
	}
	r := scalarOf("disk", v.Size)
	r.Reservations = stack("", cmp.Or(v.Role, on.Role), "", v.Labels, false)
	r.Disk = &wire.DiskInfo{Persistence: &wire.Persistence{ID: v.ID, Principal: wire.Optional(v.Principal)},
		Volume: &wire.Volume{ContainerPath: cmp.Or(at, v.Path), Mode: mode}, Source: v.source()}
	if v.Shared {
		r.Shared = &wire.Shared{}
	}
	return r
}

// source names the disk that a volume is on.
func (v *Volume) source() *wire.DiskSource {
	switch {
	case v.Disk == "":
		return nil
	case v.Whole:
		return &wire.DiskSource{Type: wire.DiskMount, Mount: &wire.DiskRoot{Root: &v.Disk}}
	}
	return &wire.DiskSource{Type: wire.DiskPath, Path: &wire.DiskRoot{Root: &v.Disk}}
}

func volumes(all []Volume, on *Offer) *wire.Volumes {
	out := &wire.Volumes{}
	for i := range all {
		out.Volumes = append(out.Volumes, all[i].wire(on, "", false))
	}
	return out
}

// named is an operation of a type, of which the framework wants to hear when it has an id.
func named(id string, kind wire.OperationType) wire.Operation {
	out := wire.Operation{Type: &kind}
	if id != "" {
		out.ID = &wire.ID{Value: id}
	}
	return out
}

func (r Reserve) operation(on *Offer) (wire.Operation, []*Task) {
	out := named(r.ID, wire.OperationReserve)
	out.Reserve = &wire.Reserve{Resources: r.wire(on)}
	return out, nil
}

func (r Unreserve) operation(on *Offer) (wire.Operation, []*Task) {
	out := named(r.ID, wire.OperationUnreserve)
	out.Unreserve = &wire.Unreserve{Resources: r.wire(on)}
	return out, nil
}

func (c Create) operation(on *Offer) (wire.Operation, []*Task) {
	out := named(c.ID, wire.OperationCreate)
	out.Create = volumes(c.Volumes, on)
	return out, nil
}

func (c Destroy) operation(on *Offer) (wire.Operation, []*Task) {
	out := named(c.ID, wire.OperationDestroy)
	out.Destroy = volumes(c.Volumes, on)
	return out, nil
}

func (g Grow) operation(on *Offer) (wire.Operation, []*Task) {
	out := named(g.ID, wire.OperationGrowVolume)
	more := scalarOf("disk", g.By)
	volume := g.Volume.wire(on, "", false)
	more.Reservations = volume.Reservations
	if volume.Disk.Source != nil {
		more.Disk = &wire.DiskInfo{Source: volume.Disk.Source}
	}
	out.Grow = &wire.GrowVolume{Volume: volume, Addition: more}
	return out, nil
}

func (s Shrink) operation(on *Offer) (wire.Operation, []*Task) {
	out := named(s.ID, wire.OperationShrinkVolume)
	out.Shrink = &wire.ShrinkVolume{Volume: s.Volume.wire(on, "", false), Subtract: *scalarOf("disk", s.By).Scalar}
	return out, nil
}

// reserved adds up what of an offer is reserved in the same way.
func (o *Offer) reserved(r *wire.Resource) {
	n := len(r.Reservations)
	if n == 0 {
		return
	}
	last, one := &r.Reservations[n-1], Reservation{Resources: amountOf(r)}
	one.Role, one.Principal, one.Labels = wire.TextOf(last.Role), wire.TextOf(last.Principal), last.Labels.Map()
	one.Static = last.Type != nil && *last.Type == wire.ReservationStatic
	if n > 1 {
		one.refines = wire.TextOf(r.Reservations[n-2].Role)
	}
	for i := range o.Reserved {
		if x := &o.Reserved[i]; x.Role == one.Role && x.Principal == one.Principal && x.Static == one.Static && x.refines == one.refines && maps.Equal(x.Labels, one.Labels) {
			x.Resources = x.Resources.Add(one.Resources)
			return
		}
	}
	o.Reserved = append(o.Reserved, one)
}

// volumeOf reads a volume of an offer.
func volumeOf(r *wire.Resource) Volume {
	v := Volume{ID: r.Disk.Persistence.ID, Principal: wire.TextOf(r.Disk.Persistence.Principal), Shared: r.Shared != nil}
	if r.Scalar != nil && r.Scalar.Value > 0 && r.Scalar.Value < 1e15 {
		v.Size = structs.Bytes(math.Round(r.Scalar.Value*1000) / 1000 * mib)
	}
	if n := len(r.Reservations); n > 0 {
		v.Role, v.Labels = wire.TextOf(r.Reservations[n-1].Role), r.Reservations[n-1].Labels.Map()
	}
	if r.Disk.Volume != nil {
		v.Path = r.Disk.Volume.ContainerPath
	}
	if s := r.Disk.Source; s != nil {
		root := s.Path
		if v.Whole = s.Type == wire.DiskMount; v.Whole {
			root = s.Mount
		}
		if root != nil {
			v.Disk = wire.TextOf(root.Root)
		}
	}
	return v
}
