package state

import (
	"fmt"
	"reflect"

	"github.com/proffer/proffer/structs"
)

// Apply stores a fingerprint.
func (c *RegisterNode) Apply(tx *Tx) (any, error) {
	if c.Node == nil || c.Node.ID == "" {
		return nil, structs.Errorf(structs.Invalid, "node", "it has no id")
	}
	var problems structs.Problems
	structs.CheckStatic("reserved_for", c.Node.ReservedFor, &problems)
	if c.Node.DiskProblems(&problems); len(problems) > 0 {
		return nil, structs.Errorf(structs.Invalid, nodeText(c.Node), "%w", problems.Err())
	}
	if c.Node.CheckPlugins(&problems); len(problems) > 0 {
		return nil, structs.Errorf(structs.Invalid, nodeText(c.Node), "%w", problems.Err())
	}
	if len(c.Node.HostVolumes) > structs.MaxVolumesOfNode {
		return nil, structs.Errorf(structs.Invalid, nodeText(c.Node), "%d host volumes are more than %d", len(c.Node.HostVolumes), structs.MaxVolumesOfNode)
	}
	for name, d := range c.Node.Drivers {
		if d != nil && len(d.Images) > structs.MaxImages {
			return nil, structs.Errorf(structs.Invalid, nodeText(c.Node), "driver %q has %d images, which are more than %d", name, len(d.Images), structs.MaxImages)
		}
	}
	n, old := *c.Node, get(tx.nodes, c.Node.ID)
	if tx.MarkedGone(n.ID) {
		return &Registered{Index: tx.Index, Gone: true}, nil
	}
	was := structs.Node{Eligible: true} // what servers set
	if old != nil {
		was = *old
	} else {
		was.Attached = tx.attachedTo(n.ID)
		tx.isBack(n.ID)
	}
	n.Incarnation, n.Session, n.Lease = was.Incarnation, was.Session, was.Lease
	n.Status, n.Eligible, n.Drain, n.DrainIndex, n.Closed, n.Gone = was.Status, was.Eligible, was.Drain, was.DrainIndex, was.Closed, nil
	n.Untold, n.Maintenance, n.Volumes, n.Attached = was.Untold, was.Maintenance, was.Volumes, was.Attached
	n.Changed, n.Reason, n.CreateIndex, n.ModifyIndex = was.Changed, was.Reason, was.CreateIndex, was.ModifyIndex
	if err := newestSession(&n, c.Session); err != nil {
		return nil, err
	}
	if c.Open {
		n.Session = max(n.Session+1, tx.Index) // higher than any before a snapshot was restored, too
		n.Lease = max(n.Lease, c.Lease)
		tx.tallied().Sessions++
	}
	if n.Status != structs.NodeReady {
		n.Incarnation++
		n.Status, n.Changed, n.Reason, n.Untold = structs.NodeReady, tx.Now, "", old != nil || tx.hadWork(n.ID)
	}
	changed := old == nil || !reflect.DeepEqual(old, &n)
	if changed {
		tx.putNode(old, n)
		if !c.Open && old != nil {
			tx.tallied().Described++
		}
	}
	return &Registered{Index: tx.Index, Incarnation: n.Incarnation, Session: n.Session, Lease: n.Lease, Changed: changed, Untold: n.Untold}, nil
}

// hadWork reports whether a node that is not known had work: an operator forgot it while it was away, and it may still run that.
func (tx *Tx) hadWork(id structs.NodeID) bool {
	for range tx.onNode(id, true) {
		return true
	}
	return false
}

// newestSession is a conflict when session, unless it is 0, is not n's newest one.
func newestSession(n *structs.Node, session uint64) error {
	if session == 0 || session == n.Session {
		return nil
	}
	return structs.Errorf(structs.Conflict, nodeText(n), "session %d said it, and the newest one is %d", session, n.Session)
}

// Apply shortens the lease.
func (c *SetLease) Apply(tx *Tx) (any, error) {
	old, err := tx.node(c.Node)
	if err != nil {
		return nil, err
	}
	if err := newestSession(old, c.Session); err != nil {
		return nil, err
	}
	if old.Lease != c.Lease {
		n := *old
		n.Lease = c.Lease
		tx.putNode(old, n)
	}
	return tx.receipt(), nil
}

// Apply changes the status.
func (c *SetNodeStatus) Apply(tx *Tx) (any, error) {
	old, err := tx.node(c.Node)
	if err != nil {
		return nil, err
	}
	if c.Incarnation != 0 && c.Incarnation != old.Incarnation {
		return nil, structs.Errorf(structs.Conflict, "node "+string(c.Node), "it came back as incarnation %d", old.Incarnation)
	}
	if err := newestSession(old, c.Session); err != nil {
		return nil, err
	}
	switch c.Status {
	case structs.NodeReady, structs.NodeLost, structs.NodeLeft:
	default:
		return nil, structs.Errorf(structs.Invalid, "node "+string(c.Node), "%q is no status of a node", c.Status)
	}
	if old.Status == c.Status {
		return tx.receipt(), nil
	}
	if old.Gone != nil && c.Status != structs.NodeReady {
		tx.isOver(old)
		return tx.receipt(), nil
	}
	n := *old
	n.Status, n.Changed, n.Reason = c.Status, tx.Now, bounded(c.Why)
	if c.Status == structs.NodeReady {
		n.Incarnation++
	}
	tx.putNode(old, n)
	switch c.Status {
	case structs.NodeLost:
		for _, a := range tx.held(c.Node) {
			if a.OnLost == "" || a.OnLost == "replace" {
				tx.lose(a, "its node is lost")
			}
		}
	case structs.NodeLeft:
		for _, a := range tx.held(c.Node) {
			tx.lose(a, "its node left")
		}
	}
	return tx.receipt(), nil
}

// Apply gives allocations up.
func (c *LoseAllocs) Apply(tx *Tx) (any, error) {
	if n := get(tx.nodes, c.Node); n != nil && n.Status == structs.NodeReady {
		return nil, structs.Errorf(structs.Conflict, "node "+string(c.Node), "it is ready, so its allocations are not lost")
	}
	why := c.Why
	if why == "" {
		why = "its node is lost"
	}
	if len(c.Allocs) == 0 {
		for _, a := range tx.held(c.Node) {
			tx.lose(a, why)
		}
	}
	for _, id := range c.Allocs {
		if a := get(tx.allocs, id); a != nil && a.Node == c.Node {
			tx.lose(a, why)
		}
	}
	return tx.receipt(), nil
}

// Apply opens or closes a node for new work.
func (c *SetEligibility) Apply(tx *Tx) (any, error) {
	old, err := tx.present(c.Node)
	if err != nil {
		return nil, err
	}
	if c.Eligible && old.Drain != nil {
		return nil, structs.Errorf(structs.Conflict, "node "+string(c.Node), "it is being drained").
			Advise("end the drain first")
	}
	if old.Eligible != c.Eligible || !c.Eligible && c.Reason != "" {
		n := *old
		n.Eligible, n.DrainIndex = c.Eligible, tx.Index
		n.Closed = tx.closed(nil, c.Reason)
		tx.putNode(old, n)
	}
	return tx.receipt(), nil
}

// closed says why a node takes no new work from now on: what was said before stands unless there is something new to say. putNode drops it
// when the node is eligible.
func (tx *Tx) closed(before *structs.Closed, reason string) *structs.Closed {
	if before != nil && reason == "" {
		return before
	}
	return &structs.Closed{By: tx.Actor, Reason: bounded(reason), Since: tx.Now}
}

// Apply begins or ends a drain.
func (c *SetDrain) Apply(tx *Tx) (any, error) {
	old, err := tx.present(c.Node)
	if err != nil {
		return nil, err
	}
	if c.ExpectIndex != nil && *c.ExpectIndex != old.DrainIndex {
		return nil, structs.Errorf(structs.Conflict, nodeText(old), "its drain was set at index %d and index %d was expected",
			old.DrainIndex, *c.ExpectIndex).Advise("look at it again and pass -check %d", old.DrainIndex)
	}
	n := *old
	n.DrainIndex = tx.Index
	if c.Drain == nil {
		n.Drain, n.Eligible = nil, c.Eligible
	} else {
		d := *c.Drain
		d.Started = tx.Now
		if old.Drain != nil {
			d.Started = old.Drain.Started
		}
		n.Drain, n.Eligible, n.Closed = &d, false, tx.closed(old.Closed, c.Reason)
	}
	tx.putNode(old, n)
	return tx.receipt(), nil
}

// Apply forgets a node, or begins the end of one that is there.
func (c *RemoveNode) Apply(tx *Tx) (any, error) {
	if c.Gone && tx.MarkedGone(c.Node) {
		return &NodeRemoved{Index: tx.Index}, nil
	}
	old, err := tx.node(c.Node)
	if err != nil {
		if c.Gone && tx.Gone(c.Node) { // it was purged: now it may not come back either
			tx.goes(c.Node, true)
			return &NodeRemoved{Index: tx.Index}, nil
		}
		return nil, err
	}
	if c.ExpectIndex != nil && *c.ExpectIndex != old.DrainIndex {
		return nil, structs.Errorf(structs.Conflict, nodeText(old), "its drain was set at index %d and index %d was expected",
			old.DrainIndex, *c.ExpectIndex)
	}
	if old.Status == structs.NodeReady && !c.Gone {
		return nil, structs.Errorf(structs.Conflict, nodeText(old), "it is ready").
			Advise("stop its agent first, or pass -gone: its work is stopped, and it never comes back under this id")
	}
	lost := tx.dataOn(old)
	if len(lost) > 0 && !c.Gone {
		return nil, keepsIt(old, lost[0])
	}
	tx.goes(old.ID, c.Gone) // before its work hears of it
	if old.Status == structs.NodeReady {
		tx.leaves(old)
		return &NodeRemoved{tx.Index, lost}, nil
	}
	for _, a := range tx.held(c.Node) {
		tx.lose(a, "its node was removed")
	}
	tx.forgetNode(old)
	return &NodeRemoved{tx.Index, lost}, nil
}

// keepsIt is why a node cannot be forgotten that may come back with a volume.
func keepsIt(n *structs.Node, volume string) error {
	return structs.Errorf(structs.Conflict, nodeText(n), "volume %q is on its disk", volume).
		Advise("bring the node back; or give up the data of this volume, with volume delete -purge %s; or, when the machine is gone for good, that of all its volumes, with node purge -gone %s",
			volume, n.Name)
}

// nodeText names a node in texts.
func nodeText(n *structs.Node) string {
	return fmt.Sprintf("node %s (%s)", structs.Short(n.ID), n.Name)
}
