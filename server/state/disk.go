package state

import (
	"cmp"
	"maps"
	"slices"

	"github.com/proffer/proffer/structs"
)

// Volumes on disks of nodes, and those that are made of reserved disk.

func diskText(disk string) string {
	if disk == "" {
		return "disk"
	}
	return "disk " + disk
}

// onDisk is what an amount has of a disk.
func onDisk(r structs.Resources, disk string) structs.Bytes {
	if disk == "" {
		return r.Disk
	}
	return structs.DiskSize(r.Custom[structs.DiskResource(disk)])
}

// sizeOn returns what a volume takes on a node: what it asks for, or all of a disk that is given whole. The error says why its disk
// cannot be had there.
func sizeOn(n *structs.Node, v *structs.Volume) (structs.Bytes, error) {
	if v.Disk == "" || v.MadeDisk() {
		return v.Size, nil
	}
	d := n.Disks[v.Disk]
	switch {
	case d == nil:
		return 0, structs.Errorf(structs.NotFound, volumeText(v.Name), "%s has no disk %q", nodeText(n), v.Disk).Advise("its configuration names disks")
	case d.Problem != "":
		return 0, structs.Errorf(structs.Unavailable, volumeText(v.Name), "disk %q of %s cannot be used: %s", v.Disk, nodeText(n), d.Problem)
	case d.Type == structs.DiskRaw:
		return 0, structs.Errorf(structs.Invalid, volumeText(v.Name), "disk %q of %s is raw: frameworks have disks made of it", v.Disk, nodeText(n)).
			Advise("have its plugin make the volume")
	case d.Type != structs.DiskMount:
		return v.Size, nil
	case structs.DiskAmount(v.Size) > structs.DiskAmount(d.Size):
		want, have := structs.Apart(v.Size, d.Size)
		return 0, structs.Errorf(structs.Exhausted, volumeText(v.Name), "%s are asked for and disk %q of %s has %s", want, v.Disk, nodeText(n), have)
	}
	return d.Size, nil
}

func withoutDisks(custom map[string]structs.Milli) map[string]structs.Milli {
	named := func(name string, _ structs.Milli) bool { _, is := structs.DiskOf(name); return is }
	for name := range custom {
		if named(name, 0) {
			rest := maps.Clone(custom)
			if maps.DeleteFunc(rest, named); len(rest) == 0 {
				return nil
			}
			return rest
		}
	}
	return custom
}

// persistent refuses a volume that frameworks would be offered, or what it grows by, beyond what is reserved for its role with its
// labels, and one whose id there is already.
func (tx *Tx) persistent(n *structs.Node, v *structs.Volume, size structs.Bytes) error {
	if v.Persistence == "" {
		return nil
	}
	for _, o := range tx.volumesOn(n) {
		if o.ID != v.ID && o.Persistence == v.Persistence && o.Role == v.Role && o.Status != structs.VolumePurging {
			return structs.Errorf(structs.Conflict, volumeText(v.Name), "there is a volume %q of role %q on %s, and it is %s", v.Persistence, v.Role, nodeText(n), o.Status)
		}
	}
	free := tx.setAside(n, v.Role, v.Labels).Sub(tx.volumesOf(n, v.Role, v.Labels))
	if short(free, structs.OnDisk(v.Disk, size)) {
		want, have := structs.Apart(size, max(0, onDisk(free, v.Disk)))
		return structs.Errorf(structs.Conflict, volumeText(v.Name), "%s of %s are asked for and %s are reserved on %s for role %q with its labels, beside other volumes",
			want, diskText(v.Disk), have, nodeText(n), v.Role).Advise("reserve it first")
	}
	return nil
}

// setAside adds up what is reserved on a node for a role with some labels.
func (tx *Tx) setAside(n *structs.Node, role string, labels map[string]string) (sum structs.Resources) {
	if static := n.ReservedFor[role]; static != nil && len(labels) == 0 {
		sum = *static
	}
	for _, r := range tx.reservedOn(n.ID) {
		if r.Role == role && maps.Equal(r.Labels, labels) {
			sum = sum.Add(r.Resources)
		}
	}
	return sum
}

// volumesOf adds up what volumes are made of that.
func (tx *Tx) volumesOf(n *structs.Node, role string, labels map[string]string) (sum structs.Resources) {
	for _, v := range tx.volumesOn(n) {
		if v.Persistence != "" && v.Status != structs.VolumePurging && v.Role == role && maps.Equal(v.Labels, labels) {
			sum = sum.Add(structs.OnDisk(v.Disk, v.Size))
		}
	}
	return sum
}

// uncovered returns a volume on a node that is made of what is reserved for a role, when less is reserved than such volumes have.
func (tx *Tx) uncovered(n *structs.Node, role string) *structs.Volume {
	for _, v := range tx.volumesOn(n) {
		if v.Persistence == "" || v.Status == structs.VolumePurging || v.Role != role {
			continue
		}
		if short(tx.setAside(n, role, v.Labels), tx.volumesOf(n, role, v.Labels)) {
			return v
		}
	}
	return nil
}

// orphanVolumes notes that a framework went, or came back, with the volumes that it made.
func (tx *Tx) orphanVolumes(owner structs.FrameworkID, since structs.Time) {
	var owned []*structs.Volume
	for v := range from(tx.volumes, "") {
		if v.Framework == owner && v.Framework != "" && v.Orphaned != since {
			owned = append(owned, v)
		}
	}
	for _, old := range owned {
		v := *old
		v.Orphaned = since
		tx.putVolume(old, v)
	}
}

// VolumeChange makes a volume larger, or smaller.
type VolumeChange struct {
	Name string
	By   structs.Bytes // negative: smaller
}

// ofVolume carries out what a framework does with a volume.
func (tx *Tx) ofVolume(c *Accept, op *Operation) error {
	if op.Create != nil {
		v := *op.Create
		v.Node, v.Framework = c.Node, c.Framework
		if v.Persistence == "" {
			return structs.Errorf(structs.Invalid, volumeText(v.Name), "it has no persistence id")
		}
		if get(tx.nodes, c.Node).MadeDisk(v.Disk) != nil {
			_, err := tx.run(&useDisk{c.Framework, c.Node, &v})
			return err
		}
		if d := get(tx.nodes, c.Node).Disks[v.Disk]; d != nil && d.Type == structs.DiskMount && structs.DiskAmount(d.Size) != structs.DiskAmount(v.Size) {
			return structs.Errorf(structs.Invalid, volumeText(v.Name), "disk %q is given whole, and it has %s", v.Disk, d.Size.Human())
		}
		_, err := tx.run(&PutVolume{Volume: &v})
		return err
	}
	name := op.Destroy
	if op.Resize != nil {
		name = op.Resize.Name
	}
	v, err := tx.volume(name, "")
	switch {
	case err != nil:
		return err
	case v.Node != c.Node || v.Persistence == "" || v.Status != structs.VolumeReady:
		return structs.Errorf(structs.NotFound, volumeText(name), "frameworks are not offered it on the node")
	case op.Resize != nil:
		_, err = tx.run(&ResizeVolume{Name: name, ID: v.ID, Size: v.Size + op.Resize.By})
	case v.MadeDisk():
		_, err = tx.run(&freeDisk{v})
	default:
		_, err = tx.run(&DeleteVolume{Name: name, ID: v.ID})
	}
	return err
}

// Persistent returns the volumes on a node that frameworks of a role are offered, by their ids.
func (s *Snapshot) Persistent(n *structs.Node, role string) (out []*structs.Volume) {
	for _, v := range s.volumesOn(n) {
		if v.Persistence != "" && v.Status == structs.VolumeReady && structs.RoleWithin(role, v.Role) {
			out = append(out, v)
		}
	}
	slices.SortStableFunc(out, func(x, y *structs.Volume) int { return cmp.Compare(x.Persistence, y.Persistence) })
	return out
}
