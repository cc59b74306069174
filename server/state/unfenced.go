package state

import (
	"fmt"
	"maps"
	"slices"

	"github.com/proffer/proffer/structs"
)

// Unfenced work. A node that is cut off ends what on_lost = "fence" says by itself, and then its claims are free. Other work, of drivers
// that cannot be fenced, may run on there: a volume on the node's own disk goes nowhere meanwhile, and one of a plugin may be taken back by
// its storage. Where nobody can do that, the attachment of the node says which allocation may still write (Attachment.Unfenced), and nobody
// else gets the volume until the end of that is known: from the node, by its being removed, or from an operator who detaches the volume.

// DetachVolume forgets that a volume of a plugin is attached to a node, without asking its storage: on the word of an operator that nothing
// there writes to it. It is a conflict while an allocation there has it, or while the node can say by itself. Answer: *Receipt.
type DetachVolume struct {
	Name string
	ID   structs.VolumeID // as in ResizeVolume
	Node structs.NodeID
}

func (*DetachVolume) Kind() string { return "volume.detach" }

func init() { register[DetachVolume, Receipt]() }

// Apply detaches.
func (c *DetachVolume) Apply(tx *Tx) (any, error) {
	old, err := tx.volume(c.Name, c.ID)
	if err != nil {
		return nil, err
	}
	at := old.AttachedTo(c.Node)
	if at == nil {
		return nil, structs.Errorf(structs.NotFound, volumeText(c.Name), "it is not attached to node %s", structs.Short(c.Node))
	}
	if a := tx.claimantOn(old, c.Node); a != nil {
		return nil, structs.Errorf(structs.Conflict, volumeText(c.Name), "allocation %s on node %s has it", structs.Short(a.ID), at.NodeName).
			Advise("stop it first; of a node that is lost it is given up when its on_lost says so")
	}
	if n := get(tx.nodes, c.Node); at.Unfenced != "" && n != nil && n.Status == structs.NodeReady {
		return nil, structs.Errorf(structs.Conflict, volumeText(c.Name), "node %s is back and has not said that allocation %s ended", at.NodeName, structs.Short(at.Unfenced)).
			Advise("wait for it: it stops what was given up, and unmounts the volume")
	}
	v, csi := *old, *old.CSI
	csi.Attached, csi.Error = maps.Clone(csi.Attached), ""
	delete(csi.Attached, c.Node)
	v.CSI = &csi
	tx.putVolume(old, v)
	return tx.receipt(), nil
}

// unfenced notes that an allocation that is lost may still write to its volumes.
func (tx *Tx) unfenced(a *structs.Allocation) {
	for _, x := range a.Volumes {
		v := get(tx.volumes, x.Name)
		if at := v.AttachedTo(a.Node); at != nil && at.State == structs.Attached && v.ID == x.ID && x.Access.Alone(x.ReadOnly) {
			tx.setUnfenced(v, a.Node, a.ID)
		}
	}
}

// fenced notes that nothing of an allocation is left on a node; without one, that nothing of any is.
func (tx *Tx) fenced(n *structs.Node, id structs.AllocID) {
	for _, name := range slices.Sorted(maps.Keys(n.Attached)) {
		v := get(tx.volumes, name)
		if at := v.AttachedTo(n.ID); at != nil && at.Unfenced != "" && (id == "" || at.Unfenced == id) {
			tx.setUnfenced(v, n.ID, "")
		}
	}
}

func (tx *Tx) setUnfenced(old *structs.Volume, node structs.NodeID, alloc structs.AllocID) {
	v, csi := *old, *old.CSI
	next := *csi.Attached[node]
	next.Unfenced = alloc
	setAttachment(&csi, node, next)
	v.CSI = &csi
	tx.putVolume(old, v)
}

// isUnfenced reports whether a volume is kept for an allocation that may still write to it.
func (t *trees) isUnfenced(a *structs.Allocation) bool {
	return a.Status == structs.AllocLost && slices.ContainsFunc(a.Volumes, func(x structs.AllocVolume) bool {
		if x.Plugin == "" {
			return false
		}
		at := get(t.volumes, x.Name).AttachedTo(a.Node)
		return at != nil && at.Unfenced == a.ID
	})
}

// hasUnfenced reports whether something on a node may still write to a volume that others wait for.
func (t *trees) hasUnfenced(n *structs.Node) bool {
	for name := range n.Attached {
		if at := get(t.volumes, name).AttachedTo(n.ID); at != nil && at.Unfenced != "" {
			return true
		}
	}
	return false
}

// stuckAt returns an attachment of a volume that nobody can take back while something may still write to it, or nil.
func stuckAt(v *structs.Volume) *structs.Attachment {
	for _, id := range slices.Sorted(maps.Keys(v.Attachments())) {
		if at := v.CSI.Attached[id]; at.Stuck() {
			return at
		}
	}
	return nil
}

// unfencedText says why a volume cannot be had, and what can be done.
func unfencedText(name string, a *structs.Attachment) string {
	return fmt.Sprintf("allocation %s on node %s, which is cut off, may still write to it, and nobody can take it back from there: it is free once the node is back "+
		"and has said that it ended, or after node purge %s, when the node is gone for good, or volume detach -force %s %s, when nothing there writes any more",
		structs.Short(a.Unfenced), a.NodeName, a.NodeName, name, a.NodeName)
}
