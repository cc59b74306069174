package structs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// NodeDisk is a disk of a node beside the one of its data folder: a place for volumes, and for nothing else. It is shared as a custom
// scalar (DiskResource) in MiB, so that it is offered, reserved and accounted for as all others are.
type NodeDisk struct {
	Type    DiskType `json:"type"`
	Path    string   `json:"path,omitempty"`    // of its folder, or where it is mounted
	Size    Bytes    `json:"size"`              //
	Problem string   `json:"problem,omitempty"` // why no volume on it can be used now

	// Of a raw one: the storage plugin that makes disks of it, and what it makes them with.
	Plugin     string            `json:"plugin,omitempty"`
	FSType     string            `json:"fs_type,omitempty"`
	Parameters map[string]string `json:"parameters,omitempty"`
}

// Equal reports whether two disks are the same, in all that is said of them.
func (d *NodeDisk) Equal(o *NodeDisk) bool {
	return d.Type == o.Type && d.Path == o.Path && d.Size == o.Size && d.Problem == o.Problem && d.Plugin == o.Plugin && d.FSType == o.FSType &&
		maps.Equal(d.Parameters, o.Parameters)
}

// DiskType says how a disk is given.
type DiskType string

const (
	DiskMount DiskType = "mount" // a file system of its own: whole, to one volume
	DiskPath  DiskType = "path"  // a folder: in parts
	DiskRaw   DiskType = "raw"   // storage of a plugin, of which disks are made that are given whole
)

// Bounds of disks.
const (
	MaxDisks    = 64 // of a node
	MaxDiskName = 60 // bytes
)

const diskPrefix = "disk."

// DiskResource is the custom scalar that a disk of that name is shared as.
func DiskResource(name string) string { return diskPrefix + name }

// DiskOf returns the disk that a custom scalar is.
func DiskOf(resource string) (name string, is bool) { return strings.CutPrefix(resource, diskPrefix) }

// DiskAmount is a size as an amount of DiskResource: MiB, with what is a part of a thousandth rounded up.
func DiskAmount(size Bytes) Milli {
	whole, rest := size>>20, size&(1<<20-1)
	return Milli(whole*1000 + (rest*1000+1<<20-1)>>20)
}

// DiskSize is the size of an amount of DiskResource.
func DiskSize(amount Milli) Bytes {
	return Bytes(amount/1000)<<20 + Bytes(amount%1000)<<20/1000
}

// ValidDiskName reports whether a disk may be called so.
func ValidDiskName(name string) bool { return ValidName(name) && len(name) <= MaxDiskName }

// OnDisk is a size as resources: of a disk by its name, of the node's own without one.
func OnDisk(disk string, size Bytes) Resources {
	if disk == "" {
		return Resources{Disk: size}
	}
	return Resources{Custom: map[string]Milli{DiskResource(disk): DiskAmount(size)}}
}

// NodeVolume is what a volume on a node takes.
type NodeVolume struct {
	Size Bytes  `json:"size"`           // 0: its data is being removed, and it takes nothing any more
	Disk string `json:"disk,omitempty"` // by its name; empty: the node's own
	Role string `json:"role"`           // that holds it
	// Offered: it is in the offers of the node to frameworks of the role, and of those below, as an item of VolumeSet.
	Offered bool `json:"offered,omitempty"`
	// Pool is the raw disk that Disk was made of; empty: of none. Then the volume is that disk, and takes it only once it is Used.
	Pool string `json:"pool,omitempty"`
	Used bool   `json:"used,omitempty"`
	// Whole: it can be given as a disk now: its storage has it, and it is not Used.
	Whole bool `json:"whole,omitempty"`
}

// Takes is what a volume takes of its node.
func (v *NodeVolume) Takes() Resources {
	if v.Pool != "" && !v.Used {
		return Resources{}
	}
	return OnDisk(v.Disk, v.Size)
}

// MadeOf is what a disk that was made takes of the raw one.
func (v *NodeVolume) MadeOf() Resources {
	if v.Pool == "" {
		return Resources{}
	}
	return OnDisk(v.Pool, v.Size)
}

// MadeDisk returns a disk of the node that was made of a raw one, by its name, or nil.
func (n *Node) MadeDisk(name string) *NodeVolume {
	if v := n.Volumes[name]; v != nil && v.Pool != "" {
		return v
	}
	return nil
}

// MakesDisks says why nothing can be made of a raw disk of the node now; empty: it can.
func (n *Node) MakesDisks(pool string) string {
	d := n.Disks[pool]
	switch {
	case d == nil || d.Type != DiskRaw:
		return fmt.Sprintf("it has no raw disk %q", pool)
	case d.Problem != "":
		return fmt.Sprintf("disk %q cannot be used: %s", pool, d.Problem)
	}
	p := n.Plugins[d.Plugin]
	switch {
	case p == nil || p.Node == nil || p.Controller == nil:
		return fmt.Sprintf("plugin %q does not run there with both its parts", d.Plugin)
	case !p.Node.Healthy:
		return fmt.Sprintf("plugin %q is not healthy: %s", d.Plugin, p.Node.Why)
	case !p.Controller.Healthy:
		return fmt.Sprintf("the controller of plugin %q is not healthy: %s", d.Plugin, p.Controller.Why)
	case !p.Controller.Makes:
		return fmt.Sprintf("plugin %q cannot make or remove volumes", d.Plugin)
	}
	return ""
}

// HeldByVolumes begins to count what roles hold of rooms on a node, with the volumes on it: for Attribute.
func (n *Node) HeldByVolumes(rooms []ReservedRoom) []Resources {
	held := make([]Resources, len(rooms))
	if n == nil || len(rooms) == 0 {
		return held
	}
	for _, v := range n.Volumes {
		for i := range rooms {
			if RoleWithin(v.Role, rooms[i].Role) {
				held[i] = held[i].Add(v.Takes())
			}
		}
	}
	return held
}

// OfferedVolumes leaves of set resources those volumes that frameworks of a role are offered.
func (n *Node) OfferedVolumes(role string, sets map[string][]string) map[string][]string {
	names, has := sets[VolumeSet]
	if !has {
		return sets
	}
	rest := maps.Clone(sets)
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		v := n.Volumes[name]
		return v == nil || !v.Offered || !RoleWithin(role, v.Role)
	})
	if len(names) == 0 {
		delete(rest, VolumeSet)
		return rest
	}
	rest[VolumeSet] = names
	return rest
}

// DiskProblems adds what is wrong with the disks of a node.
func (n *Node) DiskProblems(p *Problems) {
	if len(n.Disks) > MaxDisks {
		p.Add("disks", "%d are more than %d", len(n.Disks), MaxDisks)
	}
	for _, name := range slices.Sorted(maps.Keys(n.Disks)) {
		d := n.Disks[name]
		switch {
		case !ValidDiskName(name) || d == nil:
			p.Add("disks", "%.200q is not the name of a disk", name)
		case d.Type != DiskMount && d.Type != DiskPath && d.Type != DiskRaw:
			p.Add("disks."+name, "%q is no type: mount, path or raw", d.Type)
		case d.Size < 0 || d.Size > 1<<58:
			p.Add("disks."+name, "%s is out of range", d.Size)
		case d.Type == DiskRaw:
			d.RawProblems(p, "disks."+name)
		}
	}
}

// RawProblems adds what is wrong with what a raw disk says of its plugin.
func (d *NodeDisk) RawProblems(p *Problems, at string) {
	(&Volume{CSI: &CSIVolume{Plugin: d.Plugin, FSType: d.FSType, Parameters: d.Parameters}}).csiProblems(p, at)
}
