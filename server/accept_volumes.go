package server

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Volumes in what frameworks do with their offers. One that only one allocation may have is an item of its node's set resource, so an
// offer holds it as it holds CPU; a shared one is shown beside the offers and held by none. What is made of it here has its name, which
// no other volume has; frameworks know it by the id that they gave it, of which there is one for each role on a node.

// VolumeName is what frameworks call a volume on the node of their offers.
type VolumeName struct {
	Role        string
	Persistence string
}

// VolumeResize makes a volume larger by what is reserved as the volume is, or gives a part of it back.
type VolumeResize struct {
	VolumeName
	By structs.Bytes // negative: smaller
}

// MadeDisk is a disk that was made of a raw one, as a framework names it.
type MadeDisk struct {
	Name string
	Size structs.Bytes
}

// LaunchVolume is a volume that a launch uses, in a volume block of its group, which names it.
type LaunchVolume struct {
	VolumeName
	Block string // a volume block of the group, or a name that the Mounts of an ExternalTask have
	// Task of an executor, by its name, has it from its launch until its end. Without one the allocation has it until it ends.
	Task     string
	Own      bool // it is one of the executor itself, whichever launch says so
	ReadOnly bool
	// Outside is, in place of a name, what the storage of a plugin has: with its CSI, and the Access that it is recorded with when it is borrowed. The
	// volume of the region that is this one is used instead, if there is one, as that may be used.
	Outside *structs.Volume
	// References are secrets of Outside beside its own that variables have when the launch is taken, by their names there.
	References map[string]*structs.Secret
	fault      error // why what they refer to cannot be had
}

// String names it as frameworks do.
func (v *LaunchVolume) String() string {
	if v.Outside != nil {
		return fmt.Sprintf("%.200s of plugin %s", v.Outside.CSI.External, v.Outside.CSI.Plugin)
	}
	return v.VolumeName.String()
}

// join leaves out what an executor has that lives.
func (x *Launch) join() error {
	for _, v := range x.Volumes {
		if v.Outside != nil && !v.Own {
			return structs.Errorf(structs.Invalid, "executor "+x.External.Executor, "volume %s comes with one of its tasks, and it lives: it has those of storage plugins that it began with", v).
				Advise("launch the task with an executor of its own, or with the launch that begins this one")
		}
		if !v.Own && v.Task == "" {
			return structs.Errorf(structs.Invalid, "executor "+x.External.Executor, "volume %s comes with one of its tasks, and it lives: it has those alone that it began with, "+
				"since its container is of the type DOCKER, or its seccomp profile is not that of the node", v).
				Advise("launch the task with an executor of its own, or with the launch that begins this one")
		}
	}
	x.Volumes = slices.DeleteFunc(x.Volumes, func(v *LaunchVolume) bool { return v.Own })
	return nil
}

// stored is what an accept knows of volumes on its node, as its operations change it.
type stored struct {
	snap  *state.Snapshot
	node  *structs.Node
	role  string // of the offers
	known map[VolumeName]*storedVolume
	freed structs.Resources // by volumes that are destroyed, and not used by the operations that follow
}

type storedVolume struct {
	*structs.Volume
	takes structs.Resources // that the offers have of it; for one that the accept makes, what it takes
	gone  bool
}

// storedOn returns the volumes on a node that work of a role may use. The caller holds mu.
func (l *loop) storedOn(node *structs.Node, role string) *stored {
	s := &stored{snap: l.server.store.Snapshot(), node: node, role: role, known: map[VolumeName]*storedVolume{}}
	if len(node.Volumes) == 0 {
		return s
	}
	for _, v := range s.snap.Persistent(node, role) {
		x := &storedVolume{Volume: v}
		if v.Access == structs.AccessExclusive {
			x.takes.Sets = map[string][]string{structs.VolumeSet: {v.Name}}
		}
		s.known[VolumeName{v.Role, v.Persistence}] = x
	}
	return s
}

// named gives disks that an operation names by where they are the names that they have on the node.
func (s *stored) named(op *FrameworkOperation) *FrameworkOperation {
	if len(s.node.Disks) == 0 {
		return op
	}
	out := *op
	switch {
	case op.Reserve != nil:
		r := *op.Reserve
		r.Resources = s.disksOf(r.Resources)
		out.Reserve = &r
	case op.Unreserve != nil:
		r := *op.Unreserve
		r.Resources = s.disksOf(r.Resources)
		out.Unreserve = &r
	}
	return &out
}

func (s *stored) disksOf(r structs.Resources) structs.Resources {
	for _, name := range r.Names() {
		at, is := structs.DiskOf(name)
		if found := s.disk(at); is && found != at {
			amount := r.Custom[name]
			r = r.Sub(structs.Resources{Custom: map[string]structs.Milli{name: amount}}).
				Add(structs.Resources{Custom: map[string]structs.Milli{structs.DiskResource(found): amount}})
			delete(r.Custom, name) // a clone by now
		}
	}
	return r
}

// disk returns the name of a disk that is named by its path.
func (s *stored) disk(at string) string {
	if strings.HasPrefix(at, "/") {
		for name, d := range s.node.Disks {
			if d.Path == at {
				return name
			}
		}
	}
	return at
}

// use says what an operation needs of the offers for its volumes, and fills in what the state is asked for.
func (s *stored) use(op *FrameworkOperation, asked *allocator.Operation, wish *state.Operation) error {
	switch {
	case op.Launch != nil:
		return s.launch(op.Launch, asked, wish)
	case op.Unreserve != nil:
		asked.Resources = lessFreed(asked.Resources, s.freed)
	case op.Create != nil:
		return s.create(op.Create, asked, wish)
	case op.Make != nil:
		return s.make(op.Make, asked, wish)
	case op.Unmake != nil:
		d := s.node.MadeDisk(op.Unmake.Name)
		switch {
		case d == nil:
			return structs.Errorf(structs.NotFound, "operation", "no disk %q was made of raw storage of the node", op.Unmake.Name)
		case structs.DiskAmount(d.Size) != structs.DiskAmount(op.Unmake.Size):
			return structs.Errorf(structs.Invalid, "operation", "disk %q becomes raw whole, and it has %s", op.Unmake.Name, d.Size.Human())
		}
		asked.Resources, wish.Unmake = structs.OnDisk(d.Disk, d.Size), op.Unmake.Name
	case op.Destroy != nil:
		v, err := s.find(*op.Destroy)
		if err != nil {
			return err
		}
		asked.Resources, wish.Destroy = v.takes, v.Name
		if v.gone = true; !v.MadeDisk() { // such a disk is made anew first
			s.freed = s.freed.Add(structs.OnDisk(v.Disk, v.Size))
		}
	case op.Resize != nil:
		v, err := s.find(op.Resize.VolumeName)
		if err != nil {
			return err
		}
		asked.Resources, wish.Resize = v.takes, &state.VolumeChange{Name: v.Name, By: op.Resize.By}
		if more := op.Resize.By; more > 0 {
			asked.Resources = asked.Resources.Add(structs.OnDisk(v.Disk, more))
		} else {
			s.freed = s.freed.Add(structs.OnDisk(v.Disk, -more))
		}
	}
	return nil
}

// lessFreed is an amount without what was freed, of which the offers have nothing yet.
func lessFreed(r, freed structs.Resources) structs.Resources { return r.Sub(r.Least(freed)) }

func (s *stored) find(name VolumeName) (*storedVolume, error) {
	v := s.known[name]
	if v == nil || v.gone {
		return nil, structs.Errorf(structs.Invalid, "operation", "there is no volume %q of role %q on the node", name.Persistence, name.Role)
	}
	return v, nil
}

func (s *stored) create(wish *structs.Volume, asked *allocator.Operation, op *state.Operation) error {
	v := *wish
	v.Disk = s.disk(v.Disk)
	if v.Name = NewVolumeName(v.Persistence); s.node.MadeDisk(v.Disk) != nil {
		v.Name = v.Disk // the disk is the volume
	}
	if err := v.Problems().Err(); err != nil {
		return err
	}
	key := VolumeName{v.Role, v.Persistence}
	if old := s.known[key]; old != nil && !old.gone {
		return structs.Errorf(structs.Conflict, "operation", "there is a volume %q of role %q on the node", v.Persistence, v.Role)
	}
	if !structs.RoleWithin(s.role, v.Role) {
		return structs.Errorf(structs.Invalid, "operation", "the volume is for role %q and the offers are for role %q", v.Role, s.role)
	}
	takes := structs.OnDisk(v.Disk, v.Size)
	asked.Resources, op.Create = lessFreed(takes, s.freed), &v
	s.freed = s.freed.Sub(takes.Least(s.freed))
	s.known[key] = &storedVolume{Volume: &v, takes: asked.Resources}
	return nil
}

// make asks for a disk to be made of a raw one.
func (s *stored) make(want *state.RawDisk, asked *allocator.Operation, op *state.Operation) error {
	w := *want
	if why := s.node.MakesDisks(w.Pool); why != "" {
		return structs.Errorf(structs.Invalid, "operation", "node %s: %s", s.node.Name, why)
	}
	if w.Role != "" && !structs.RoleWithin(s.role, w.Role) {
		return structs.Errorf(structs.Invalid, "operation", "the disk is reserved for role %q and the offers are for role %q", w.Role, s.role)
	}
	w.Name = NewVolumeName("disk")
	asked.Resources, op.Make = structs.OnDisk(w.Pool, w.Size), &w
	return nil
}

// NewVolumeName is what a volume of a framework is called: by its id as far as that can be, and as no other volume.
func NewVolumeName(persistence string) string {
	slug := strings.Map(func(r rune) rune {
		if structs.ValidName("a"+string(r)) && r < 0x80 {
			return r
		}
		return '-'
	}, persistence)
	slug = strings.TrimLeft(slug[:min(len(slug), 80)], "-_.")
	return strings.TrimPrefix(slug+"-"+strings.ReplaceAll(structs.NewID(), "-", "")[:12], "-")
}

// launch gives the volume blocks of a launch their volumes.
func (s *stored) launch(x *Launch, asked *allocator.Operation, wish *state.Operation) error {
	if len(x.Volumes) == 0 {
		return nil
	}
	alloc, group := wish.Launch.Alloc, wish.Launch.Job.Groups[0]
	var used []*storedVolume
	for _, want := range x.Volumes {
		if want.Outside != nil {
			if err := s.outside(want, alloc, wish.Launch); err != nil {
				return err
			}
			continue
		}
		v, err := s.find(want.VolumeName)
		if err != nil {
			return err
		}
		if slices.Contains(used, v) && v.Access != structs.AccessShared {
			return structs.Errorf(structs.Invalid, "operation", "it names volume %s twice, which is not shared", want.VolumeName)
		}
		if !slices.Contains(used, v) {
			used = append(used, v)
			asked.Resources = asked.Resources.Add(v.takes)
		}
		if block := ownBlock(group, want.Block); block != nil {
			block.Source, block.Access = v.Name, v.Access
		}
		alloc.Volumes = append(alloc.Volumes, structs.AllocVolume{Group: want.Block, Name: v.Name, Access: v.Access, ReadOnly: want.ReadOnly, Task: want.Task})
	}
	return nil
}

// ownBlock puts a copy in the place of a volume block of a group, to be filled in; nil: the group has no such block.
func ownBlock(group *structs.Group, name string) *structs.GroupVolume {
	i := slices.IndexFunc(group.Volumes, func(g *structs.GroupVolume) bool { return g.Name == name })
	if i < 0 {
		return nil
	}
	block := *group.Volumes[i]
	group.Volumes[i] = &block
	return &block
}

// outsideName is what a borrowed volume is called: the same for all launches that name it, which may be in one entry.
func outsideName(c *structs.CSIVolume) string {
	sum := sha256.Sum256([]byte(c.Plugin + "/" + c.External))
	return "outside-" + hex.EncodeToString(sum[:8])
}

// outside gives a volume block of a launch what the storage of a plugin has. Apply checks the same again, and what else may forbid it.
func (s *stored) outside(want *LaunchVolume, alloc *structs.Allocation, placement *state.Placement) error {
	wish := *want.Outside
	object := fmt.Sprintf("volume %.200q of plugin %q", wish.CSI.External, wish.CSI.Plugin)
	if want.fault != nil {
		return structs.Errorf(structs.KindOf(want.fault), object, "its secrets: %w", want.fault)
	}
	is := s.snap.Outside(wish.CSI.Plugin, wish.CSI.External)
	switch {
	case is == nil:
		wish.Name, is = outsideName(wish.CSI), &wish
		placement.Borrow = append(placement.Borrow, &wish)
	case is.CSI.Block != wish.CSI.Block:
		return structs.Errorf(structs.Conflict, object, "it is volume %q of the region, with access_type %s", is.Name, is.CSI.AccessType())
	case is.CSI.Borrowed && (is.Access != wish.Access || is.CSI.Mode != wish.CSI.Mode):
		return structs.Errorf(structs.Conflict, object, "other work has it with another access mode, as long as it lasts").
			Advise("ask for the same, or register the volume with the access that all of it needs")
	}
	block := ownBlock(placement.Job.Groups[0], want.Block)
	if block == nil {
		return structs.Errorf(structs.Internal, "operation", "its group has no volume block %q", want.Block)
	}
	if block.Source, block.Access = is.Name, is.Access; is.CSI.Block {
		block.AccessType = structs.AccessBlock
	}
	alloc.Volumes = append(alloc.Volumes, structs.AllocVolume{Group: want.Block, Name: is.Name, Access: is.Access, ReadOnly: block.ReadOnly})
	return nil
}

// OfferedVolume is a volume in an offer.
type OfferedVolume struct {
	*structs.Volume
	By *structs.Reservation // that it is made of, or one like it; nil: the configuration of the node
}

// volumesIn returns the volumes that an offer shows.
func volumesIn(snap *state.Snapshot, o *FrameworkOffer) (out []OfferedVolume) {
	if o.On == nil || len(o.On.Volumes) == 0 {
		return nil
	}
	items := o.Resources.Sets[structs.VolumeSet]
	for _, v := range snap.Persistent(o.On, o.Role) {
		if v.Access != structs.AccessExclusive || slices.Contains(items, v.Name) {
			x := OfferedVolume{Volume: v}
			for _, r := range snap.ReservedOn(o.Node) {
				if x.By == nil && r.Role == v.Role && maps.Equal(r.Labels, v.Labels) {
					x.By = r
				}
			}
			out = append(out, x)
		}
	}
	return out
}

// String names a volume as frameworks do.
func (v VolumeName) String() string { return fmt.Sprintf("%s of role %s", v.Persistence, v.Role) }
