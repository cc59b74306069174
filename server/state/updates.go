package state

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/proffer/proffer/structs"
)

// inform adds what news say of the tasks of an external framework to what it must acknowledge.
func (tx *Tx) inform(old, next *structs.Allocation) {
	if old.External == nil || tx.framework(old.Framework) == nil {
		return
	}
	var changed *structs.External
	for i, x := range old.External.Tasks {
		u := tx.updateOf(old, next, x)
		if u == nil {
			continue
		}
		if changed == nil {
			copied := *old.External
			copied.Tasks = slices.Clone(copied.Tasks)
			changed = &copied
		}
		changed.Tasks[i] = with(x, next.ID, u)
	}
	if changed != nil {
		next.External = changed
	}
}

// updateOf returns what is new of one task; nil when its framework need not hear it.
func (tx *Tx) updateOf(old, next *structs.Allocation, x *structs.ExternalTask) *structs.TaskUpdate {
	was, is := old.Tasks[x.Name], next.Tasks[x.Name]
	if was != nil && was.Status.Ended() {
		return nil
	}
	u := &structs.TaskUpdate{Time: tx.Now}
	if is == nil || !is.Status.Ended() && next.Ended() {
		if !next.Ended() {
			return nil
		}
		// It ended before it began, on the node or by its refusal.
		u.State, u.Reason, u.Agent, u.Message = structs.TaskFailed, "CONTAINER_LAUNCH_FAILED", true, next.Why
		if next.Desired == structs.DesiredStop {
			u.State, u.Reason = structs.TaskKilled, "TASK_KILLED_DURING_LAUNCH"
		}
		return u
	}
	if was != nil && was.Status == is.Status {
		return nil
	}
	u.State, u.Message = is.Status, is.Why
	switch is.Status {
	case structs.TaskStaging:
		return nil
	case structs.TaskKilling:
		if !tx.framework(next.Framework).Can(structs.CanSeeKilling) {
			return nil
		}
	case structs.TaskFailed:
		u.Reason = "COMMAND_EXECUTOR_FAILED"
		if is.OOM {
			u.Reason, u.Agent = "CONTAINER_LIMITATION_MEMORY", true
		}
	case structs.TaskError:
		u.State, u.Reason, u.Agent = structs.TaskFailed, "CONTAINER_LAUNCH_FAILED", true
	case structs.TaskKilled:
		if next.Desired == structs.DesiredRun && next.MaxRunDuration > 0 {
			u.State, u.Reason, u.Agent = structs.TaskFailed, "MAX_COMPLETION_TIME_REACHED", true
		} else if was == nil || was.Started == 0 && is.Started == 0 {
			u.Reason, u.Agent = "TASK_KILLED_DURING_LAUNCH", true
		}
	}
	return u
}

// with returns the task with one more update, named by what it is the update of: the same on every server.
func with(x *structs.ExternalTask, alloc structs.AllocID, u *structs.TaskUpdate) *structs.ExternalTask {
	next := *x
	next.Made++
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%s/%d", alloc, x.Name, next.Made))
	u.UUID = sum[:16]
	next.Updates = append(slices.Clone(x.Updates), u)
	if n := len(next.Updates); n > structs.MaxUpdates {
		next.Updates = slices.Delete(next.Updates, n-2, n-1)
	}
	return &next
}

// Apply records what a framework has heard of.
func (c *AcknowledgeUpdates) Apply(tx *Tx) (any, error) {
	for _, ack := range c.Updates {
		a, x := tx.taskOf(c.Framework, ack.Task)
		if a == nil || ack.Node != "" && ack.Node != a.Node {
			continue
		}
		if u := x.Outstanding(); u == nil || !bytes.Equal(u.UUID, ack.UUID) {
			continue
		}
		told := *x
		told.Updates = slices.Clone(x.Updates[1:])
		external := *a.External
		external.Tasks = slices.Clone(external.Tasks)
		external.Tasks[slices.Index(external.Tasks, x)] = &told
		next := *a
		next.External, next.ModifyIndex = &external, tx.Index
		tx.putAlloc(a, next)
	}
	return tx.receipt(), nil
}
