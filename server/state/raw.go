package state

import (
	"crypto/sha256"
	"fmt"
	"maps"

	"github.com/proffer/proffer/structs"
)

// Disks that frameworks have made of raw ones. Such a disk is a volume of a plugin that is bound to a node: in the entry that wants it, its size
// goes from the raw disk of the node to a disk of its own, also in what is reserved, and comes back only in the entry that says that the storage
// has it no more. So the raw disk is never given twice, whatever becomes of leaders, nodes and plugins in between. The operation of the
// framework is pending from the first of these entries to the last.

// RawDisk is a disk that is to be made of a raw one.
type RawDisk struct {
	Name   string            // that it gets; nothing else in the region has it
	Pool   string            // the raw disk
	Size   structs.Bytes     //
	Role   string            // for which that much of the raw disk is reserved, with Labels; empty: it is reserved for nobody
	Labels map[string]string //
}

// makeDisk is a part of an accept, and no command of its own, as those that follow.
type makeDisk struct {
	framework structs.FrameworkID
	node      structs.NodeID
	want      *RawDisk
	operation string // that waits for it; empty: none does
}

func (*makeDisk) Kind() string { return "make_disk" }

// Apply has a disk made.
func (c *makeDisk) Apply(tx *Tx) (any, error) {
	n, err := tx.node(c.node)
	if err != nil {
		return nil, err
	}
	object, w := fmt.Sprintf("disk %q of %s", c.want.Pool, nodeText(n)), c.want
	if why := n.MakesDisks(w.Pool); why != "" {
		return nil, structs.Errorf(structs.Unavailable, object, "%s", why)
	}
	d := n.Disks[w.Pool]
	v := structs.Volume{Name: w.Name, Size: w.Size, Disk: w.Name, Access: structs.AccessExclusive, Role: structs.DefaultRole, CSI: &structs.CSIVolume{
		Plugin: d.Plugin, Made: true, FSType: d.FSType, Parameters: d.Parameters, Raw: &structs.RawVolume{Pool: w.Pool, Operation: c.operation}}}
	if c.operation != "" {
		v.CSI.Raw.Framework = c.framework
	}
	if err := v.Problems().Err(); err != nil {
		return nil, structs.Errorf(structs.Invalid, object, "%w", err)
	}
	switch {
	case get(tx.volumes, w.Name) != nil || n.Disks[w.Name] != nil:
		return nil, structs.Errorf(structs.Conflict, object, "there is a volume or a disk %q", w.Name)
	case tx.volumes.Len() >= structs.MaxVolumes:
		return nil, structs.Errorf(structs.Exhausted, object, "there are %d volumes, and no more fit", tx.volumes.Len())
	case len(n.Volumes) >= structs.MaxVolumesOfNode:
		return nil, structs.Errorf(structs.Exhausted, object, "the node has %d volumes, and no more fit", len(n.Volumes))
	}
	if free := tx.rawFree(n, w); w.Size > free {
		want, have := structs.Apart(w.Size, free)
		return nil, structs.Errorf(structs.Exhausted, object, "%s are asked for and %s are free", want, have)
	}
	if w.Role != "" {
		if err := tx.takeReserved(n, w, object); err != nil {
			return nil, err
		}
	}
	tx.makeRole(v.Role)
	tx.bindVolume(tx.bear(v), n)
	return nil, nil
}

// rawFree is what is free of a raw disk for one that is to be made: what nobody has, and, where it is to be reserved for nobody, what is not reserved
// either.
func (tx *Tx) rawFree(n *structs.Node, w *RawDisk) structs.Bytes {
	free := n.Available()
	if u := get(tx.usage, n.ID); u != nil {
		free = free.Sub(u.Resources)
	}
	if rooms := tx.roomsOn(n); rooms != nil && w.Role == "" {
		free = free.Sub(structs.UnusedOf(rooms))
	}
	return max(0, onDisk(free, w.Pool))
}

// takeReserved makes what is reserved of a raw disk the disk that is to be made. What others are taken out of stays raw: they would have a part of
// something that is given whole.
func (tx *Tx) takeReserved(n *structs.Node, w *RawDisk, object string) error {
	of := func(r *structs.Reservation) bool { return r.Role == w.Role && maps.Equal(r.Labels, w.Labels) }
	if left := tx.convert(n.ID, of, w.Pool, w.Name, w.Size); left > 0 {
		return structs.Errorf(structs.Conflict, object, "%s are asked for, and %s of them are not reserved for role %q with these labels, beside what the configuration of the node reserves",
			w.Size.Human(), left.Human(), w.Role).Advise("reserve that much of the raw disk first, or make a disk of what is not reserved")
	}
	for _, r := range tx.reservedOn(n.ID) {
		for _, role := range []string{r.Role, r.Refines} {
			if out := tx.brokenOut(n, role); of(r) && role != "" && out != nil {
				return structs.Errorf(structs.Conflict, object, "reservation %s for role %q is taken out of another one: of such storage no disk is made", out.ID, out.Role).
					Advise("make the disk before its reservation is refined")
			}
		}
	}
	return nil
}

// convert moves what is reserved on a node, in the reservations that are so, from one disk to another, and returns how much more was asked for than
// there is.
func (tx *Tx) convert(node structs.NodeID, of func(*structs.Reservation) bool, from, to string, size structs.Bytes) (left structs.Bytes) {
	rest := tx.takeOut(node, of, structs.OnDisk(from, size), func(taken structs.Resources) structs.Resources {
		return structs.Resources{Custom: map[string]structs.Milli{structs.DiskResource(to): taken.Custom[structs.DiskResource(from)]}}
	})
	return onDisk(rest, from)
}

// unmakeDisk is a part of an accept.
type unmakeDisk struct {
	framework structs.FrameworkID
	node      structs.NodeID
	name      string
	operation string // as in makeDisk
}

func (*unmakeDisk) Kind() string { return "unmake_disk" }

// Apply has the storage of a disk removed: then it is raw again.
func (c *unmakeDisk) Apply(tx *Tx) (any, error) {
	old, err := tx.madeDisk(c.name, c.node)
	if err != nil {
		return nil, err
	}
	next := pluggedCopy(old)
	raw := next.CSI.Raw
	raw.Unmade = true
	if raw.Operation = c.operation; c.operation != "" {
		raw.Framework = c.framework
	}
	tx.removeDisk(old, next)
	return nil, nil
}

// madeDisk returns a disk of a node that was made of a raw one and that nothing has.
func (tx *Tx) madeDisk(name string, node structs.NodeID) (*structs.Volume, error) {
	v := get(tx.volumes, name)
	switch {
	case v == nil || !v.MadeDisk() || v.Node != node:
		return nil, structs.Errorf(structs.NotFound, fmt.Sprintf("disk %q", name), "no such disk was made of raw storage of the node")
	case v.Persistence != "":
		return nil, structs.Errorf(structs.Conflict, fmt.Sprintf("disk %q", name), "volume %q is on it", v.Persistence).Advise("destroy the volume first")
	case v.Status != structs.VolumeReady:
		return nil, structs.Errorf(structs.Conflict, fmt.Sprintf("disk %q", name), "it is %s", v.Status)
	}
	return v, nil
}

// removeDisk begins to remove what the storage has of a disk.
func (tx *Tx) removeDisk(old, next *structs.Volume) {
	next.Status, next.Deleted, next.Purge = structs.VolumePurging, tx.Now, tx.Now
	tx.putVolume(old, *next)
}

// useDisk is a part of an accept: a persistent volume that has a disk whole.
type useDisk struct {
	framework structs.FrameworkID
	node      structs.NodeID
	want      *structs.Volume
}

func (*useDisk) Kind() string { return "use_disk" }

// Apply makes a disk a volume of a framework.
func (c *useDisk) Apply(tx *Tx) (any, error) {
	old, err := tx.madeDisk(c.want.Disk, c.node)
	if err != nil {
		return nil, err
	}
	n, err := tx.node(c.node)
	if err != nil {
		return nil, err
	}
	w := c.want
	next := *old
	next.Persistence, next.Role, next.Labels, next.ContainerPath, next.Principal, next.Framework = w.Persistence, w.Role, w.Labels, w.ContainerPath, w.Principal, c.framework
	switch {
	case structs.DiskAmount(w.Size) != structs.DiskAmount(old.Size):
		return nil, structs.Errorf(structs.Invalid, volumeText(w.Persistence), "disk %q is given whole, and it has %s", old.Name, old.Size.Human())
	case w.Access != structs.AccessExclusive:
		return nil, structs.Errorf(structs.Invalid, volumeText(w.Persistence), "disk %q was made for one at a time: no shared volume is on it", old.Name)
	case w.Persistence == "":
		return nil, structs.Errorf(structs.Invalid, volumeText(w.Name), "it has no persistence id")
	}
	if err := next.Problems().Err(); err != nil {
		return nil, structs.Errorf(structs.Invalid, volumeText(w.Persistence), "%w", err)
	}
	if err := tx.takesNew(next.Role, false); err != nil {
		return nil, err
	}
	if err := tx.roomFor(n, &next, next.Size); err != nil {
		return nil, err
	}
	if err := tx.persistent(n, &next, next.Size); err != nil {
		return nil, err
	}
	tx.makeRole(next.Role)
	tx.putVolume(old, next)
	return nil, nil
}

// freeDisk is a part of an accept: the volume that has a disk goes, and the disk is made anew.
type freeDisk struct{ volume *structs.Volume }

func (*freeDisk) Kind() string { return "free_disk" }

// Apply takes a disk back from a volume. What the storage has of it is removed, and only then made anew.
func (c *freeDisk) Apply(tx *Tx) (any, error) {
	old := c.volume
	if a := tx.claimant(old); a != nil {
		return nil, structs.Errorf(structs.Conflict, volumeText(old.Persistence), "allocation %s uses it", structs.Short(a.ID))
	}
	if at := stuckAt(old); at != nil {
		return nil, structs.Errorf(structs.Conflict, volumeText(old.Persistence), "%s", unfencedText(old.Name, at))
	}
	next := pluggedCopy(old)
	next.CSI.Raw.Anew = true
	next.Persistence, next.Role, next.Labels, next.ContainerPath, next.Principal, next.Framework, next.Orphaned = "", structs.DefaultRole, nil, "", "", "", 0
	tx.removeDisk(old, next)
	return nil, nil
}

// spoiled notes that a disk cannot be made: what there may be of it is removed, and it is raw again. What v points to is a copy.
func spoiled(v *structs.Volume, now structs.Time) {
	v.CSI.Raw.Fault = v.CSI.Error
	v.Status, v.Deleted, v.Purge = structs.VolumePurging, now, now
}

// diskMade tells whoever waits for a disk that it is there. What v points to is a copy.
func (tx *Tx) diskMade(v *structs.Volume) {
	tx.outcome(v, structs.OperationFinished, "")
	v.CSI.Raw.Framework, v.CSI.Raw.Operation = "", ""
}

// diskGone is after the storage has removed a disk: it is made anew, or is raw again.
func (tx *Tx) diskGone(v *structs.Volume) {
	n := get(tx.nodes, v.Node)
	tx.dropVolume(v)
	raw := v.CSI.Raw
	if raw.Anew && n != nil {
		next := structs.Volume{Name: v.Name, Size: v.Size, Disk: v.Disk, Access: v.Access, Role: v.Role, CSI: &structs.CSIVolume{Plugin: v.CSI.Plugin, Made: true,
			FSType: v.CSI.FSType, Parameters: v.CSI.Parameters, Raw: &structs.RawVolume{Pool: raw.Pool}}}
		tx.bindVolume(tx.bear(next), n)
		return
	}
	tx.convert(v.Node, func(*structs.Reservation) bool { return true }, v.Name, raw.Pool, 1<<62)
	switch {
	case raw.Unmade:
		tx.outcome(v, structs.OperationFinished, "")
	case raw.Fault != "":
		tx.outcome(v, structs.OperationFailed, raw.Fault)
	default:
		tx.outcome(v, structs.OperationFailed, "an operator deleted the disk before it was made")
	}
}

// outcome tells the framework whose operation waits for a disk what became of it.
func (tx *Tx) outcome(v *structs.Volume, is structs.OperationState, why string) {
	raw := v.CSI.Raw
	if raw.Operation == "" {
		return
	}
	old := get(tx.operations, (&structs.Operation{Framework: raw.Framework, ID: raw.Operation}).Key())
	if old == nil || old.State != structs.OperationPending || old.Disk != v.Name {
		return // its framework went, and what has the name now is another one
	}
	next := *old
	next.State, next.Message, next.Time, next.Index, next.UUID = is, bounded(why), tx.Now, tx.Index, tx.outcomeID(old)
	tx.put(Operations, old, &next)
	tx.tallied().Operations[is]++
}

// outcomeID names an outcome: the same on every server, and another one for each.
func (tx *Tx) outcomeID(o *structs.Operation) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "operation %s at %d.%d", o.Key(), tx.Index, len(tx.changes)))
	return sum[:16]
}

// hasMadeDisks reports whether the storage of a node has, or had, disks that were made of its raw ones.
func hasMadeDisks(n *structs.Node) bool {
	for _, v := range n.Volumes {
		if v.Pool != "" {
			return true
		}
	}
	return false
}
