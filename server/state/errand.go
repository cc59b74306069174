package state

import (
	"maps"
	"slices"

	"github.com/proffer/proffer/structs"
)

// Errand is the next thing to be done for a volume of a plugin.
type Errand struct {
	// Did is what NoteVolume records once it is done. VolumeDetaches is recorded alone; the others are asked of the plugin.
	Did  VolumeDeed
	Node structs.NodeID // of an attachment
	At   *structs.Attachment
}

// leaving reports whether a node was marked gone and is waited for.
func (t *trees) leaving(id structs.NodeID) bool {
	n := get(t.nodes, id)
	return n != nil && n.Gone != nil
}

// NextErrand says what a volume of a plugin needs next; nil: nothing.
func (s *Snapshot) NextErrand(v *structs.Volume) *Errand {
	var attach *Errand
	for _, node := range slices.Sorted(maps.Keys(v.CSI.Attached)) {
		at := v.CSI.Attached[node]
		switch {
		case at.State == structs.Detaching:
			return &Errand{VolumeDetached, node, at}
		case at.Stuck(): // nobody can take it back from there
		case at.Unfenced != "" && s.leaving(node): // what was given up ends there just now; its storage is asked when the node said so, or its lease is over
		case s.ClaimantOn(v, node) == nil:
			return &Errand{VolumeDetaches, node, at}
		case at.State == structs.Attaching && attach == nil:
			attach = &Errand{VolumeAttached, node, at}
		}
	}
	switch c := v.CSI; {
	case c.External == "" && (v.Status == structs.VolumeMaking || v.Status == structs.VolumePurging): // one that may be half made is made, to be removed
		return &Errand{Did: VolumeWasMade}
	case v.Status == structs.VolumePurging:
		return &Errand{Did: VolumeGone}
	case v.Status == structs.VolumeReady && c.Unchecked: // before it is attached
		return &Errand{Did: VolumeChecked}
	case attach != nil:
		return attach
	case v.Status == structs.VolumeReady && c.Capacity < v.Size:
		return &Errand{Did: VolumeGrew}
	}
	return nil
}
