package state

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/proffer/proffer/structs"
)

// PutVolume makes a volume. On a node (Node) it takes of its disk at once; without one it is made where the first work that
// uses it is placed. A name that is taken is a conflict, also by a volume that is deleted and not purged. What the servers set
// is ignored. The role is made when it does not exist. Answer: *VolumeMade.
type PutVolume struct {
	Volume *structs.Volume
	Sealed bool // as in PutReservation
}

// VolumeMade answers PutVolume.
type VolumeMade struct {
	Index uint64
	ID    structs.VolumeID
}

// ResizeVolume changes how much of the disk a volume takes. It can become smaller only while nothing uses it. Answer: *Receipt.
type ResizeVolume struct {
	Name string
	ID   structs.VolumeID // empty: any; a conflict when the volume of the name is another one
	Size structs.Bytes
}

// DeleteVolume has a volume deleted: nothing can use it from now on, and after Keep its data is removed. It is a conflict while
// an allocation holds it. Answer: *Receipt.
type DeleteVolume struct {
	Name string
	ID   structs.VolumeID // as in ResizeVolume
	Keep structs.Duration // 0: it is removed now, also when it was deleted before
	// Forget removes the record of a volume of a plugin without asking the plugin: what the storage has of it stays there.
	Forget bool
}

// UndeleteVolume makes a deleted volume usable again, as long as its data is there. Answer: *Receipt.
type UndeleteVolume struct{ Name string }

// PurgeVolumes has the data of volumes removed whose time has come; the others are left alone. Answer: *Receipt.
type PurgeVolumes struct{ Names []string }

// ForgetVolumes removes volumes whose data a node has removed. Those that are not to be purged are left alone. Answer: *Receipt.
type ForgetVolumes struct {
	Node structs.NodeID
	IDs  []structs.VolumeID
}

func (*PutVolume) Kind() string      { return "volume.put" }
func (*ResizeVolume) Kind() string   { return "volume.resize" }
func (*DeleteVolume) Kind() string   { return "volume.delete" }
func (*UndeleteVolume) Kind() string { return "volume.undelete" }
func (*PurgeVolumes) Kind() string   { return "volume.purge" }
func (*ForgetVolumes) Kind() string  { return "volume.forget" }

func init() {
	register[PutVolume, VolumeMade]()
	register[ResizeVolume, Receipt]()
	register[DeleteVolume, Receipt]()
	register[UndeleteVolume, Receipt]()
	register[PurgeVolumes, Receipt]()
	register[ForgetVolumes, Receipt]()
}

func volumeText(name string) string { return fmt.Sprintf("volume %q", name) }

// Apply makes a volume.
func (c *PutVolume) Apply(tx *Tx) (any, error) {
	if c.Volume == nil {
		return nil, structs.Errorf(structs.Invalid, "volume", "there is none")
	}
	v := *c.Volume
	if err := v.Problems().Err(); err != nil {
		return nil, structs.Errorf(structs.Invalid, volumeText(v.Name), "%w", err)
	}
	if old := get(tx.volumes, v.Name); old != nil {
		do := "choose another name"
		if old.Status != structs.VolumeReady {
			do = "undelete that one, or purge it, or choose another name"
		}
		return nil, structs.Errorf(structs.Conflict, volumeText(v.Name), "there is one, and it is %s", old.Status).Advise("%s", do)
	}
	if tx.volumes.Len() >= structs.MaxVolumes {
		return nil, structs.Errorf(structs.Exhausted, volumeText(v.Name), "there are %d volumes, and no more fit", tx.volumes.Len())
	}
	if v.Framework != "" && get(tx.frameworks, v.Framework) == nil {
		return nil, structs.Errorf(structs.NotFound, volumeText(v.Name), "there is no framework %q that could own it", v.Framework)
	}
	if err := tx.takesNew(v.Role, c.Sealed); err != nil {
		return nil, err
	}
	if v.MadeDisk() {
		return nil, structs.Errorf(structs.Invalid, volumeText(v.Name), "frameworks have disks made of raw ones")
	}
	if v.Persistence != "" && v.Node == "" {
		return nil, structs.Errorf(structs.Invalid, volumeText(v.Name), "one that frameworks are offered is on a node").Advise("name the node")
	}
	if v.CSI != nil {
		if why := tx.secondRecord(v.Name, v.CSI.Plugin, v.CSI.External); why != "" {
			return nil, structs.Errorf(structs.Conflict, volumeText(v.Name), "%s", why).Advise("use that one; if it is deleted, undelete it, or purge it first")
		}
		if key := v.CSI.Sealed.Key; key != "" && get(tx.regionKeys, key) == nil {
			return nil, structs.Errorf(structs.Conflict, volumeText(v.Name), "the key that its secrets are sealed with was removed meanwhile").Advise("try again")
		}
		csi := *v.CSI
		csi.Made, csi.Error, csi.Attached = csi.External == "", "", nil
		csi.Unchecked = !csi.Made
		if csi.Capacity = v.Size; csi.Made {
			csi.Capacity, csi.Context, csi.Topology = 0, nil, nil
		}
		v.CSI = &csi
	}
	if v.Node != "" {
		n, err := tx.present(v.Node)
		if err != nil {
			return nil, err
		}
		if v.Size, err = sizeOn(n, &v); err != nil {
			return nil, err
		}
		if err := tx.roomFor(n, &v, v.Size); err != nil {
			return nil, err
		}
		if err := tx.persistent(n, &v, v.Size); err != nil {
			return nil, err
		}
	}
	tx.makeRole(v.Role)
	v.Job = ""
	made := tx.bear(v)
	if v.Node != "" {
		tx.bindVolume(made, get(tx.nodes, v.Node))
	}
	return &VolumeMade{Index: tx.Index, ID: made.ID}, nil
}

// bear stores a new volume that is nowhere yet.
func (tx *Tx) bear(v structs.Volume) *structs.Volume {
	tx.born++
	v.ID = structs.VolumeID(fmt.Sprintf("%012x%04x", tx.Index, tx.born))
	v.Node, v.NodeName, v.Status, v.Deleted, v.Purge, v.Orphaned, v.Made = "", "", structs.VolumeReady, 0, 0, 0, tx.Now
	if v.CSI != nil && v.CSI.Made {
		v.Status = structs.VolumeMaking
	}
	v.CreateIndex, v.ModifyIndex = tx.Index, tx.Index
	tx.put(Volumes, nil, &v)
	return &v
}

// bindVolume puts a volume on a node.
func (tx *Tx) bindVolume(old *structs.Volume, n *structs.Node) {
	v := *old
	v.Node, v.NodeName = n.ID, n.Name
	if size, err := sizeOn(n, old); err == nil {
		v.Size = size
	}
	tx.putVolume(old, v)
}

// putVolume stores a changed volume, and what it takes of its node. A borrowed one goes when no node has it any more.
func (tx *Tx) putVolume(old *structs.Volume, v structs.Volume) {
	if v.CSI != nil && v.CSI.Borrowed && len(v.CSI.Attached) == 0 {
		tx.dropVolume(old)
		return
	}
	v.ModifyIndex = tx.Index
	tx.put(Volumes, old, &v)
	if v.Node != "" && (old.Node != v.Node || old.Size != v.Size || old.Status != v.Status || old.Persistence != v.Persistence) {
		takes := &structs.NodeVolume{Size: v.Size, Disk: v.Disk, Role: v.Role,
			Offered: v.Persistence != "" && v.Access == structs.AccessExclusive && v.Status == structs.VolumeReady}
		switch {
		case v.MadeDisk():
			takes.Pool, takes.Used = v.CSI.Raw.Pool, v.Persistence != ""
			takes.Whole = !takes.Used && v.Status == structs.VolumeReady
		case v.Persistence != "" && v.Status == structs.VolumePurging:
			takes.Size = 0 // its framework has the disk back
		}
		tx.noteVolume(v.Node, v.Name, takes)
	}
	tx.noteAttached(old, &v)
}

// dropVolume forgets a volume and gives its disk back.
func (tx *Tx) dropVolume(v *structs.Volume) {
	tx.put(Volumes, v, nil)
	if v.Node != "" {
		tx.noteVolume(v.Node, v.Name, nil)
	}
	tx.noteAttached(v, nil)
}

// noteVolume notes on a node what a volume takes of it; nil: it is gone.
func (tx *Tx) noteVolume(id structs.NodeID, name string, takes *structs.NodeVolume) {
	old := get(tx.nodes, id)
	if old == nil || takes != nil && old.Volumes[name] != nil && *old.Volumes[name] == *takes {
		return
	}
	n := *old
	n.Volumes = maps.Clone(old.Volumes)
	switch {
	case takes == nil:
		if delete(n.Volumes, name); len(n.Volumes) == 0 {
			n.Volumes = nil
		}
	case n.Volumes == nil:
		n.Volumes = map[string]*structs.NodeVolume{name: takes}
	default:
		n.Volumes[name] = takes
	}
	tx.putNode(old, n)
}

// roomFor refuses a volume, or what it grows by, that a node has no room for.
func (tx *Tx) roomFor(n *structs.Node, v *structs.Volume, size structs.Bytes) error {
	if _, has := n.Volumes[v.Name]; !has && len(n.Volumes) >= structs.MaxVolumesOfNode {
		return structs.Errorf(structs.Exhausted, volumeText(v.Name), "%s has %d volumes, and no more fit", nodeText(n), len(n.Volumes))
	}
	free := n.Available()
	if u := get(tx.usage, n.ID); u != nil {
		free = free.Sub(u.Resources)
	}
	if rooms := tx.roomsOn(n); rooms != nil {
		free = free.Add(structs.UnusedFor(v.Role, rooms)).Sub(structs.UnusedOf(rooms))
	}
	if short(free, structs.OnDisk(v.Disk, size)) {
		want, have := structs.Apart(size, max(0, onDisk(free, v.Disk)))
		return structs.Errorf(structs.Exhausted, volumeText(v.Name), "%s of %s are asked for and %s has %s free", want, diskText(v.Disk), nodeText(n), have).
			Advise("choose another node or a smaller size")
	}
	return nil
}

func (tx *Tx) volume(name string, id structs.VolumeID) (*structs.Volume, error) {
	v := get(tx.volumes, name)
	switch {
	case v == nil:
		return nil, structs.Errorf(structs.NotFound, volumeText(name), "there is none")
	case id != "" && id != v.ID:
		return nil, structs.Errorf(structs.Conflict, volumeText(name), "it is another one now: %s", v.ID)
	}
	return v, nil
}

// Apply resizes.
func (c *ResizeVolume) Apply(tx *Tx) (any, error) {
	old, err := tx.volume(c.Name, c.ID)
	if err != nil {
		return nil, err
	}
	v := *old
	v.Size = c.Size
	if err := v.Problems().Err(); err != nil {
		return nil, structs.Errorf(structs.Invalid, volumeText(v.Name), "%w", err)
	}
	if v.Status != structs.VolumeReady {
		return nil, structs.Errorf(structs.Conflict, volumeText(v.Name), "it is %s", v.Status)
	}
	if v.MadeDisk() && v.Size != old.Size {
		return nil, structs.Errorf(structs.Invalid, volumeText(v.Name), "it was made of raw disk %q, and has what it has", v.CSI.Raw.Pool)
	}
	if v.CSI != nil && v.Size < old.Size && v.Size < v.CSI.Capacity {
		return nil, structs.Errorf(structs.Invalid, volumeText(v.Name), "a volume of a plugin cannot become smaller, and it has %s", v.CSI.Capacity.Human()).
			Advise("a size that it did not get yet can be taken back")
	}
	if v.CSI != nil && v.Size != old.Size {
		csi := *v.CSI
		csi.Error, v.CSI = "", &csi // of what is not asked for any more
	}
	if v.CSI == nil && v.Size < old.Size {
		if a := tx.claimant(old); a != nil {
			return nil, structs.Errorf(structs.Conflict, volumeText(v.Name), "allocation %s uses it, and it can become smaller only while nothing does", structs.Short(a.ID)).
				Advise("stop job %q first", a.Job)
		}
	}
	if n := get(tx.nodes, v.Node); n != nil && v.Size != old.Size {
		if d := n.Disks[v.Disk]; d != nil && d.Type == structs.DiskMount {
			return nil, structs.Errorf(structs.Invalid, volumeText(v.Name), "it has all of disk %q, which is given whole", v.Disk)
		}
		if err := tx.roomFor(n, &v, v.Size-old.Size); v.Size > old.Size && err != nil {
			return nil, err
		}
		if err := tx.persistent(n, &v, v.Size-old.Size); v.Size > old.Size && err != nil {
			return nil, err
		}
	}
	if v.Size != old.Size {
		tx.putVolume(old, v)
	}
	return tx.receipt(), nil
}

// Apply deletes.
func (c *DeleteVolume) Apply(tx *Tx) (any, error) {
	old, err := tx.volume(c.Name, c.ID)
	if err != nil {
		return nil, err
	}
	if a := tx.claimant(old); a != nil {
		return nil, structs.Errorf(structs.Conflict, volumeText(old.Name), "allocation %s of job %q uses it", structs.Short(a.ID), a.Job).
			Advise("stop the job first")
	}
	if at := stuckAt(old); at != nil {
		return nil, structs.Errorf(structs.Conflict, volumeText(old.Name), "%s", unfencedText(old.Name, at))
	}
	if c.Forget && old.MadeDisk() {
		return nil, structs.Errorf(structs.Conflict, volumeText(old.Name), "what its storage has of it would be taken for free: it is a part of raw disk %q", old.CSI.Raw.Pool).
			Advise("delete it without -forget, when its plugin is well again; what is on a node that is gone for good goes with node purge")
	}
	switch {
	case c.Forget && old.CSI != nil, old.CSI == nil && (old.Node == "" || get(tx.nodes, old.Node) == nil): // nothing was ever written to it, or nobody can remove it
		tx.dropVolume(old)
	case old.Status == structs.VolumePurging:
	case c.Keep <= 0, old.Status == structs.VolumeMaking: // there is nothing in it to keep
		tx.purge(old)
	case old.Status == structs.VolumeReady:
		v := *old
		v.Status, v.Deleted, v.Purge = structs.VolumeDeleted, tx.Now, tx.Now.Add(c.Keep)
		tx.putVolume(old, v)
	}
	return tx.receipt(), nil
}

func (tx *Tx) purge(old *structs.Volume) {
	v := *old
	v.Status, v.Purge = structs.VolumePurging, tx.Now
	if v.Deleted == 0 {
		v.Deleted = tx.Now
	}
	tx.putVolume(old, v)
}

// Apply undeletes.
func (c *UndeleteVolume) Apply(tx *Tx) (any, error) {
	old, err := tx.volume(c.Name, "")
	if err != nil {
		return nil, err
	}
	switch old.Status {
	case structs.VolumePurging:
		return nil, structs.Errorf(structs.Conflict, volumeText(old.Name), "its data is being removed")
	case structs.VolumeDeleted:
		v := *old
		v.Status, v.Deleted, v.Purge = structs.VolumeReady, 0, 0
		tx.putVolume(old, v)
	}
	return tx.receipt(), nil
}

// Apply begins to remove the data of deleted volumes.
func (c *PurgeVolumes) Apply(tx *Tx) (any, error) {
	for _, name := range c.Names {
		if v := get(tx.volumes, name); v != nil && v.Status == structs.VolumeDeleted && v.Purge <= tx.Now {
			tx.purge(v)
		}
	}
	return tx.receipt(), nil
}

// Apply forgets volumes that are gone from a node.
func (c *ForgetVolumes) Apply(tx *Tx) (any, error) {
	n, err := tx.node(c.Node)
	if err != nil {
		return nil, err
	}
	for _, v := range tx.volumesOn(n) {
		if v.CSI == nil && v.Status == structs.VolumePurging && slices.Contains(c.IDs, v.ID) {
			tx.dropVolume(v)
		}
	}
	return tx.receipt(), nil
}

// volumesOn returns the volumes on a node by name, and then those of plugins that it may use.
func (t *trees) volumesOn(n *structs.Node) (out []*structs.Volume) {
	for _, name := range slices.Sorted(maps.Keys(n.Volumes)) {
		if v := get(t.volumes, name); v != nil && v.Node == n.ID {
			out = append(out, v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(n.Attached)) {
		if v := get(t.volumes, name); v.AttachedTo(n.ID) != nil && v.Node != n.ID {
			out = append(out, v)
		}
	}
	return out
}

// dataOn names the volumes on a node whose data nobody has given up.
func (t *trees) dataOn(n *structs.Node) (names []string) {
	for _, v := range t.volumesOn(n) {
		if v.Node == n.ID && v.Status != structs.VolumePurging {
			names = append(names, v.Name)
		}
	}
	return names
}

// Volume returns a volume by name, or nil.
func (s *Snapshot) Volume(name string) *structs.Volume { return get(s.volumes, name) }

// Volumes yields all volumes by name.
func (s *Snapshot) Volumes() iter.Seq[*structs.Volume] { return from(s.volumes, "") }

// VolumesFrom yields the volumes whose name is at least name.
func (s *Snapshot) VolumesFrom(name string) iter.Seq[*structs.Volume] { return from(s.volumes, name) }

// VolumesOn returns the volumes on a node by name.
func (s *Snapshot) VolumesOn(n *structs.Node) []*structs.Volume { return s.volumesOn(n) }

// Claimants yields the allocations that hold a volume, by id.
func (s *Snapshot) Claimants(v *structs.Volume) iter.Seq[*structs.Allocation] { return s.claimants(v) }
