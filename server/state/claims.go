package state

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/proffer/proffer/structs"
)

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
