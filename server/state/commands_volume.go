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
		csi := *v.CSI
		csi.Made, csi.Error, csi.Attached = csi.External == "", "", nil
		csi.Unchecked = !csi.Made
		if csi.Capacity = v.Size; csi.Made {
			csi.Capacity, csi.Context, csi.Topology = 0, nil, nil
		}
		v.CSI = &csi
	}
	if v.Node != "" {
		n, err := tx.node(v.Node)
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

// keepsData names a volume on a node whose data nobody has given up.
func (t *trees) keepsData(n *structs.Node) (name string, kept bool) {
	for _, v := range t.volumesOn(n) {
		if v.Node == n.ID && v.Status != structs.VolumePurging {
			return v.Name, true
		}
	}
	return "", false
}

// claimant returns an allocation that holds a volume, or nil.
func (t *trees) claimant(v *structs.Volume) *structs.Allocation {
	for a := range t.claimants(v) {
		return a
	}
	return nil
}

// claimants yields the allocations that hold a volume, by id.
func (t *trees) claimants(v *structs.Volume) iter.Seq[*structs.Allocation] {
	return func(yield func(*structs.Allocation) bool) {
		nodes := []structs.NodeID{v.Node}
		if v.CSI != nil {
			nodes = slices.Sorted(maps.Keys(v.CSI.Attached))
		} else if v.Node == "" {
			return
		}
		for _, node := range nodes {
			for a := range t.onNode(node, false) {
				if a.Claim(v.ID) != nil && !yield(a) {
					return
				}
			}
		}
	}
}

// claims are the volumes that an allocation is about to have.
type claims struct {
	wants bool              // there are any
	bound []*structs.Volume // of them, those that it binds to its node; one without an ID is to be made
	takes structs.Resources // of disks, by bound
	alone []string          // of bound, those that it holds alone

	attach []*structs.Volume // those of plugins; one without an ID is to be made
}

// claim looks whether an allocation may have the volumes that it asks for, and writes them into it. Until settle, its resources have
// what those take that are not bound to a node yet, so that fits counts it. Of a framework, it may have volumes that are recorded for it.
func (tx *Tx) claim(n *structs.Node, a *structs.Allocation, borrow []*structs.Volume) (c claims, refused Refusal, why string) {
	asked := a.Volumes // of a framework
	var made map[string]*structs.GroupVolume
	if a.Job != "" {
		v := tx.version(a.Job, a.Version)
		g := v.Job.Group(a.Group) // wanted found both
		asked = nil
		for _, x := range g.Persistent() {
			name := x.VolumeName(a.Index)
			asked = append(asked, structs.AllocVolume{Group: x.Name, Name: name, Access: x.Access, ReadOnly: x.ReadOnly})
			if made == nil {
				made = map[string]*structs.GroupVolume{}
			}
			made[name] = x
		}
		if len(asked) > 0 {
			a.Resources.Disk, a.Resources.Custom = g.Ask().Disk, withoutDisks(a.Resources.Custom)
		}
	}
	a.Volumes = nil
	if len(asked) == 0 {
		return c, "", ""
	}
	c.wants = true
	var alone []string
	beside := map[string][]string{} // volumes of a, by plugin
	for _, x := range asked {
		v := get(tx.volumes, x.Name)
		var borrowed *structs.Volume
		if a.Job == "" {
			if borrowed, why = tx.borrowed(a, x.Name, borrow); why != "" {
				return c, RefusedVolume, why
			}
		}
		far := ""
		switch {
		case borrowed != nil:
			far = structs.Unreachable(n, x.Name, borrowed.CSI.Plugin, nil, beside[borrowed.CSI.Plugin])
		case v != nil && v.CSI != nil:
			far = structs.Unreachable(n, v.Name, v.CSI.Plugin, v.CSI.Topology, beside[v.CSI.Plugin])
		case v == nil && made[x.Name] != nil && made[x.Name].Plugin != "": // its plugin is told to make it where the node is
			far = structs.Unreachable(n, x.Name, made[x.Name].Plugin, nil, beside[made[x.Name].Plugin])
		}
		switch {
		case borrowed != nil && far != "":
			return c, RefusedVolume, fmt.Sprintf("%.200q: %s", borrowed.CSI.External, far)
		case borrowed != nil && tx.volumes.Len()+len(c.bound)+len(c.attach) >= structs.MaxVolumes:
			return c, RefusedVolume, fmt.Sprintf("there are %d volumes, and no more fit", tx.volumes.Len())
		case borrowed != nil:
			v = borrowed
		case v == nil && (made[x.Name] == nil || made[x.Name].Size == 0):
			return c, RefusedVolume, fmt.Sprintf("there is no volume %q", x.Name)
		case v == nil && far != "":
			return c, RefusedVolume, fmt.Sprintf("volume %q: %s", x.Name, far)
		case v == nil && made[x.Name].Plugin == "" && len(n.Volumes)+len(c.bound) >= structs.MaxVolumesOfNode:
			return c, RefusedVolume, fmt.Sprintf("%s has %d volumes, and no more fit", nodeText(n), len(n.Volumes))
		case v == nil && tx.volumes.Len()+len(c.bound)+len(c.attach) >= structs.MaxVolumes:
			return c, RefusedVolume, fmt.Sprintf("there are %d volumes, and no more fit", tx.volumes.Len())
		case v == nil:
			v = &structs.Volume{Name: x.Name, Size: made[x.Name].Size, Disk: made[x.Name].Disk, Access: x.Access, Role: a.Role, Job: a.Job, Principal: a.Owner,
				CSI: made[x.Name].Plugged()}
		case v.Status != structs.VolumeReady:
			return c, RefusedVolume, fmt.Sprintf("volume %q is %s", x.Name, v.Status)
		case v.Node != "" && v.Node != n.ID:
			return c, RefusedVolume, fmt.Sprintf("volume %q is on node %s", x.Name, v.NodeName)
		case v.MadeDisk() && v.Persistence == "":
			return c, RefusedVolume, fmt.Sprintf("%q is a disk, and no volume has it", x.Name)
		case !structs.RoleWithin(a.Role, v.Role):
			return c, RefusedVolume, fmt.Sprintf("volume %q is of role %q", x.Name, v.Role)
		case x.Access != v.Access:
			return c, RefusedVolume, fmt.Sprintf("volume %q has access %s, not %s", x.Name, v.Access, x.Access)
		case made[x.Name] != nil && made[x.Name].Block() != (v.CSI.AccessType() == structs.AccessBlock):
			return c, RefusedVolume, fmt.Sprintf("volume %q has access_type %s", x.Name, v.CSI.AccessType())
		case far != "":
			return c, RefusedVolume, fmt.Sprintf("volume %q: %s", x.Name, far)
		}
		exclusive := v.Access.Alone(x.ReadOnly)
		if exclusive {
			for other := range tx.claimants(v) {
				if held := other.Claim(v.ID); held.Access.Alone(held.ReadOnly) {
					return c, RefusedVolume, fmt.Sprintf("volume %q is held by allocation %s", x.Name, structs.Short(other.ID))
				}
			}
		}
		if v.CSI != nil {
			if why := tx.leftBehind(v, n.ID); exclusive && why != "" {
				return c, RefusedVolume, fmt.Sprintf("volume %q: %s", x.Name, why)
			}
			c.attach, beside[v.CSI.Plugin] = append(c.attach, v), append(beside[v.CSI.Plugin], v.Name)
			x.ID, x.Size, x.Plugin = v.ID, v.Size, v.CSI.Plugin
			if v.MadeDisk() && exclusive {
				alone = append(alone, v.Name)
			}
			a.Volumes = append(a.Volumes, x)
			continue
		}
		x.Size = v.Size
		if v.Node == "" {
			size, err := sizeOn(n, v)
			if err != nil {
				return c, RefusedVolume, err.Error()
			}
			x.Size = size
			c.bound, c.takes = append(c.bound, v), c.takes.Add(structs.OnDisk(v.Disk, size))
		}
		switch {
		case exclusive && v.Node == "":
			c.alone = append(c.alone, v.Name)
		case exclusive:
			alone = append(alone, v.Name)
		}
		x.ID, x.Disk = v.ID, v.Disk
		a.Volumes = append(a.Volumes, x)
	}
	a.Resources = a.Resources.Add(c.takes)
	a.Resources.Sets = maps.Clone(a.Resources.Sets)
	delete(a.Resources.Sets, structs.VolumeSet)
	if len(alone) > 0 {
		a.Resources = a.Resources.Add(structs.Resources{Sets: map[string][]string{structs.VolumeSet: alone}})
	}
	return c, "", ""
}

// claimsStand reports whether the volumes of a lost allocation are still there for it. That nobody else holds them alone is
// for fits to say.
func (tx *Tx) claimsStand(a *structs.Allocation) bool {
	return !slices.ContainsFunc(a.Volumes, func(x structs.AllocVolume) bool {
		v := get(tx.volumes, x.Name)
		if v == nil || v.ID != x.ID || v.Status != structs.VolumeReady {
			return true
		}
		at := v.AttachedTo(a.Node)
		fenced := x.Access.Alone(x.ReadOnly) && (at == nil || at.Unfenced != a.ID)
		return v.CSI != nil && (at == nil || at.State == structs.Detaching || fenced)
	})
}

// settle makes what is to be made, and gives a its resources as they are once its volumes are bound: the volumes take the disk then.
func (c *claims) settle(tx *Tx, a *structs.Allocation) {
	if !c.wants {
		return
	}
	for _, list := range [][]*structs.Volume{c.bound, c.attach} {
		for i, v := range list {
			if v.ID != "" {
				continue
			}
			made := tx.bear(*v)
			list[i] = made
			for k := range a.Volumes {
				if a.Volumes[k].Name == made.Name {
					a.Volumes[k].ID = made.ID
				}
			}
		}
	}
	a.Resources = positive(a.Resources.Sub(c.takes))
	if len(c.alone) > 0 {
		a.Resources = a.Resources.Add(structs.Resources{Sets: map[string][]string{structs.VolumeSet: c.alone}})
	}
	if len(a.Resources.Sets) == 0 {
		a.Resources.Sets = nil
	}
}

// bind puts on the node what was nowhere.
func (c *claims) bind(tx *Tx, n *structs.Node) {
	for _, v := range c.bound {
		tx.bindVolume(v, n)
	}
	for _, v := range c.attach {
		tx.attach(get(tx.volumes, v.Name), n)
	}
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
