package state

import (
	"fmt"
	"maps"
	"slices"

	"github.com/proffer/proffer/structs"
)

// Volumes of plugins. What the storage was asked for about a node is in the record of the volume (Attached) from the placement of
// the first allocation there until the storage has taken it back. Claims are in the allocations, as with other volumes: an attachment
// is kept as long as an allocation on its node has a claim, and taken back after that, whatever became of the node.

// NoteVolume records what the plugin of a volume did. What came too late, because the volume is another one, or its attachment was
// asked for anew, is a conflict. Answer: *Receipt.
type NoteVolume struct {
	Name string
	ID   structs.VolumeID
	Did  VolumeDeed
	Why  string // of VolumeFailed
	Last bool   // likewise: its plugin can never make it

	Node    structs.NodeID // of attachments
	Index   uint64         // likewise: Attachment.Index that it relies on
	Called  bool           // of VolumeAttached: the storage was asked
	Context map[string]string

	External string // of VolumeMade
	Capacity structs.Bytes
	Topology []structs.Segments
}

// VolumeDeed is what was done with a volume of a plugin.
type VolumeDeed string

const (
	VolumeWasMade  VolumeDeed = "made"
	VolumeChecked  VolumeDeed = "checked" // its storage has it, or cannot be asked
	VolumeGrew     VolumeDeed = "grew"
	VolumeAttached VolumeDeed = "attached"
	VolumeDetaches VolumeDeed = "detaches" // it is about to be asked for: from here on nothing uses the attachment
	VolumeDetached VolumeDeed = "detached"
	VolumeGone     VolumeDeed = "gone"
	VolumeFailed   VolumeDeed = "failed"
)

func (*NoteVolume) Kind() string { return "volume.note" }

func init() { register[NoteVolume, Receipt]() }

// Apply records.
func (c *NoteVolume) Apply(tx *Tx) (any, error) {
	old, err := tx.volume(c.Name, c.ID)
	if err != nil {
		return nil, err
	}
	if old.CSI == nil {
		return nil, structs.Errorf(structs.Invalid, volumeText(c.Name), "it is of no plugin")
	}
	v := *pluggedCopy(old)
	csi := v.CSI
	at := csi.Attached[c.Node]
	switch c.Did {
	case VolumeAttached, VolumeDetaches, VolumeDetached:
		if at == nil || at.Index != c.Index {
			return nil, structs.Errorf(structs.Conflict, volumeText(c.Name), "what node %s has of it changed", structs.Short(c.Node))
		}
	}
	var problems structs.Problems
	if structs.CheckSaid(&problems, c.External, c.Context, c.Topology); len(problems) > 0 && c.Did != VolumeFailed {
		return nil, structs.Errorf(structs.Invalid, volumeText(c.Name), "what its plugin says of it cannot be kept: %w", problems[0])
	}
	if csi.Error = ""; c.Did == VolumeFailed {
		csi.Error = bounded(c.Why)
	}
	switch c.Did {
	case VolumeFailed:
		if c.Last && v.MadeDisk() && v.Status == structs.VolumeMaking {
			spoiled(&v, tx.Now)
		}
	case VolumeWasMade:
		if csi.External != "" {
			return nil, structs.Errorf(structs.Conflict, volumeText(c.Name), "it was made before")
		}
		if why := tx.secondRecord(c.Name, csi.Plugin, c.External); why != "" {
			return nil, structs.Errorf(structs.Invalid, volumeText(c.Name), "%s", why) // no Conflict: the state is not beyond it
		}
		csi.External, csi.Context, csi.Topology, csi.Capacity = c.External, c.Context, c.Topology, max(c.Capacity, v.Size)
		if v.Status == structs.VolumeMaking {
			v.Status = structs.VolumeReady
			if v.MadeDisk() {
				tx.diskMade(&v)
			}
		}
	case VolumeChecked:
		csi.Unchecked = false
	case VolumeGrew:
		csi.Capacity = max(csi.Capacity, c.Capacity)
	case VolumeAttached:
		if at.State != structs.Attaching {
			return nil, structs.Errorf(structs.Conflict, volumeText(c.Name), "it is %s", at.State)
		}
		setAttachment(csi, c.Node, structs.Attachment{NodeName: at.NodeName, PluginID: at.PluginID, State: structs.Attached, Called: c.Called,
			Context: c.Context, Since: tx.Now, Index: tx.Index})
	case VolumeDetaches:
		if a := tx.claimantOn(old, c.Node); a != nil {
			return nil, structs.Errorf(structs.Conflict, volumeText(c.Name), "allocation %s uses it", structs.Short(a.ID))
		}
		if at.Stuck() {
			return nil, structs.Errorf(structs.Conflict, volumeText(c.Name), "allocation %s may still write to it", structs.Short(at.Unfenced))
		}
		next := *at
		next.State, next.Since, next.Index = structs.Detaching, tx.Now, tx.Index
		setAttachment(csi, c.Node, next)
	case VolumeDetached:
		if at.State != structs.Detaching {
			return nil, structs.Errorf(structs.Conflict, volumeText(c.Name), "it is %s", at.State)
		}
		csi.Attached = maps.Clone(csi.Attached)
		delete(csi.Attached, c.Node)
		// Work that was placed there meanwhile, which is possible where others may use it too, begins anew.
		// What the storage calls the node stays: the plugin may not be well there just now.
		if get(tx.nodes, c.Node) != nil && tx.claimantOn(old, c.Node) != nil {
			next := *at
			next.State, next.Context, next.Since, next.Index, next.Unfenced = structs.Attaching, nil, tx.Now, tx.Index, ""
			setAttachment(csi, c.Node, next)
		}
	case VolumeGone:
		if v.Status != structs.VolumePurging || len(csi.Attached) > 0 {
			return nil, structs.Errorf(structs.Conflict, volumeText(c.Name), "it is %s and attached to %d nodes", v.Status, len(csi.Attached))
		}
		if old.MadeDisk() {
			tx.diskGone(old)
		} else {
			tx.dropVolume(old)
		}
		return tx.receipt(), nil
	default:
		return nil, structs.Errorf(structs.Invalid, volumeText(c.Name), "%q is nothing that happens to it", c.Did)
	}
	tx.putVolume(old, v)
	return tx.receipt(), nil
}

// pluggedCopy copies the record of a volume of a plugin, to be changed, but for its maps.
func pluggedCopy(old *structs.Volume) *structs.Volume {
	v, csi := *old, *old.CSI
	if csi.Raw != nil {
		csi.Raw = new(*csi.Raw)
	}
	v.CSI = &csi
	return &v
}

// secondRecord says why there can be no record of what a storage has; empty: there can. Who may use it at the same time would be decided in
// each of two.
func (tx *Tx) secondRecord(name, plugin, external string) (why string) {
	if v := tx.outside(plugin, external); v != nil && v.Name != name {
		return fmt.Sprintf("%.200q of plugin %q is volume %q, which is %s", external, plugin, v.Name, v.Status)
	}
	return ""
}

// borrowed returns the record of a volume that a framework's allocation names and nobody registered; nil: it is none of those. why: there cannot be
// one.
func (tx *Tx) borrowed(a *structs.Allocation, name string, borrow []*structs.Volume) (v *structs.Volume, why string) {
	i := slices.IndexFunc(borrow, func(v *structs.Volume) bool {
		return v != nil && v.Name == name && v.CSI != nil && v.CSI.External != ""
	})
	if i < 0 {
		return nil, ""
	}
	wish := borrow[i]
	c := wish.CSI
	if is := get(tx.volumes, name); is != nil { // recorded by a launch that was decided at the same time
		if is.CSI == nil || is.CSI.Plugin != c.Plugin || is.CSI.External != c.External || is.CSI.Mode != c.Mode || is.CSI.Block != c.Block {
			return nil, fmt.Sprintf("volume %q is another one, or other work has it with another access mode", name)
		}
		return nil, ""
	}
	v = &structs.Volume{Name: name, Access: wish.Access, Role: a.Role, Principal: a.Owner, CSI: &structs.CSIVolume{Plugin: c.Plugin, External: c.External,
		Block: c.Block, FSType: c.FSType, MountFlags: c.MountFlags, Context: c.Context, Mode: c.Mode, Sealed: c.Sealed, Borrowed: true, Unchecked: true}}
	if key := c.Sealed.Key; key != "" && get(tx.regionKeys, key) == nil {
		return nil, fmt.Sprintf("the key that the secrets of volume %q are sealed with was removed meanwhile", name)
	}
	if err := v.Problems().Err(); err != nil {
		return nil, err.Error()
	}
	return v, tx.secondRecord(name, c.Plugin, c.External)
}

// setAttachment replaces the attachment of a node in what is a copy already, except for its map.
func setAttachment(c *structs.CSIVolume, node structs.NodeID, a structs.Attachment) {
	if c.Attached = maps.Clone(c.Attached); c.Attached == nil {
		c.Attached = map[structs.NodeID]*structs.Attachment{}
	}
	c.Attached[node] = &a
}

// attachment is what is to be asked of the storage for a node.
func attachment(tx *Tx, n *structs.Node, plugin string) structs.Attachment {
	a := structs.Attachment{NodeName: n.Name, State: structs.Attaching, Since: tx.Now, Index: tx.Index}
	if p := n.Plugins[plugin]; p != nil && p.Node != nil {
		a.PluginID, a.Called = p.Node.ID, p.HasController
	}
	return a
}

// attach wants a volume on a node. What is being taken back there is asked for anew once that is done.
func (tx *Tx) attach(old *structs.Volume, n *structs.Node) {
	if old.AttachedTo(n.ID) != nil {
		return
	}
	v := pluggedCopy(old)
	setAttachment(v.CSI, n.ID, attachment(tx, n, v.CSI.Plugin))
	tx.putVolume(old, *v)
}

// noteAttached keeps the records of nodes as those of volumes are; v may be nil.
func (tx *Tx) noteAttached(old, v *structs.Volume) {
	note := func(id structs.NodeID, name, plugin string) {
		was := get(tx.nodes, id)
		if was == nil {
			return
		}
		n := *was
		if n.Attached = maps.Clone(was.Attached); n.Attached == nil {
			n.Attached = map[string]string{}
		}
		if n.Attached[name] = plugin; plugin == "" {
			delete(n.Attached, name)
		}
		if len(n.Attached) == 0 {
			n.Attached = nil
		}
		tx.putNode(was, n)
	}
	if old.CSI != nil {
		for _, id := range slices.Sorted(maps.Keys(old.CSI.Attached)) {
			if v == nil || v.AttachedTo(id) == nil {
				note(id, old.Name, "")
			}
		}
	}
	if v == nil || v.CSI == nil {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(v.CSI.Attached)) {
		if old.AttachedTo(id) == nil {
			note(id, v.Name, v.CSI.Plugin)
		}
	}
}

// attachedTo returns the volumes that storages have not taken back from a node that was forgotten, with their plugins: it may come back.
func (t *trees) attachedTo(id structs.NodeID) (out map[string]string) {
	for v := range from(t.volumes, "") {
		if v.AttachedTo(id) != nil {
			if out == nil {
				out = map[string]string{}
			}
			out[v.Name] = v.CSI.Plugin
		}
	}
	return out
}

// claimantOn returns an allocation on a node that holds a volume, or nil.
func (t *trees) claimantOn(v *structs.Volume, node structs.NodeID) *structs.Allocation {
	for a := range t.onNode(node, false) {
		if a.Claim(v.ID) != nil {
			return a
		}
	}
	return nil
}

// leftBehind says where a volume is attached so that nobody else may write to it alone; empty: nowhere. That is a node, other than but, whose
// attachment has outlived its claims, since what wrote there may not have been taken back, and any node where something unfenced may run.
func (t *trees) leftBehind(v *structs.Volume, but structs.NodeID) string {
	if v.CSI == nil {
		return ""
	}
	for _, id := range slices.Sorted(maps.Keys(v.CSI.Attached)) {
		switch a := v.CSI.Attached[id]; {
		case a.Stuck():
			return unfencedText(v.Name, a)
		case a.Unfenced != "":
			return fmt.Sprintf("allocation %s on node %s may still write to it until its storage has taken it back from there", structs.Short(a.Unfenced), a.NodeName)
		case id != but && (a.State == structs.Detaching || t.claimantOn(v, id) == nil):
			return fmt.Sprintf("it is still attached to node %s (%s)", a.NodeName, a.State)
		}
	}
	return ""
}

// LeftBehind says why a volume cannot be written to alone although no claim keeps others away; empty: it can.
func (s *Snapshot) LeftBehind(v *structs.Volume) string { return s.leftBehind(v, "") }

// ClaimantOn returns an allocation on a node that holds a volume, or nil.
func (s *Snapshot) ClaimantOn(v *structs.Volume, node structs.NodeID) *structs.Allocation {
	return s.claimantOn(v, node)
}
