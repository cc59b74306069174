package state

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/proffer/proffer/structs"
)

// inform adds what news say of the tasks of an external framework to what it must acknowledge: what executors said of their tasks, and
// what follows from how tasks are.
func (tx *Tx) inform(old, next *structs.Allocation, said []*structs.TaskSaid) {
	if old.External == nil {
		return
	}
	if old.External.Executor != "" && !next.Ended() {
		tx.recount(old, next)
	}
	if tx.framework(old.Framework) == nil {
		return
	}
	var changed *structs.External
	for i, x := range old.External.Tasks {
		was := x
		for _, s := range said {
			if s != nil && s.Task == x.Name && s.Seq > x.Said && !x.Over {
				u := s.Update
				if next.External.Drained || next.External.Preempted && x.Kill == nil { // an executor says the same of every task that it ends
					explained(next, x, &u)
				}
				x = with(x, next.ID, &u)
				x.Said = s.Seq
			}
		}
		if u := tx.updateOf(old, next, x); u != nil {
			if ran := ranUnseen(old.Tasks[x.Name], next.Tasks[x.Name], x); ran != nil {
				x = with(x, next.ID, ran)
			}
			explained(next, x, u)
			x = with(x, next.ID, u)
		}
		if x == was {
			continue
		}
		if changed == nil {
			copied := *old.External
			copied.Tasks = slices.Clone(copied.Tasks)
			changed = &copied
		}
		if changed.Tasks[i] = x; x.Over && !was.Over {
			tx.countEnd(x.Updates[len(x.Updates)-1])
		}
	}
	if changed != nil {
		next.External = changed
	}
}

// ranUnseen returns that a task ran when nothing was heard of it between its start and its end: schedulers wait for that of what the
// node runs itself. nil: there is no need.
func ranUnseen(was, is *structs.TaskState, x *structs.ExternalTask) *structs.TaskUpdate {
	if x.Info != nil || is == nil || !is.Status.Ended() || is.Started == 0 || was != nil && was.Status != structs.TaskStaging && was.Status != structs.TaskStarting {
		return nil
	}
	u := &structs.TaskUpdate{State: structs.TaskRunning, Time: is.Started}
	if x.Check != nil {
		u.Check = &structs.CheckAnswer{Type: x.Check.Type}
	}
	return u
}

// stoppedFor notes what an allocation of an external framework is stopped for, and returns it.
func (tx *Tx) stoppedFor(a *structs.Allocation, s *Stop) *structs.Allocation {
	if a.External == nil {
		return a
	}
	next, external := *a, *a.External
	external.Preempted, external.Drained, external.MaxGrace = s.Preempted, s.Drained, s.MaxGrace
	next.External = &external
	return tx.putAlloc(a, next)
}

// explained gives the end of a task the reason why its allocation was stopped, when that is room for other work or a node that is emptied. Who said
// that the task ends so stays the source of the latter, as in Mesos.
func explained(a *structs.Allocation, t *structs.ExternalTask, u *structs.TaskUpdate) {
	ends := u.State == structs.TaskGone || u.State == structs.TaskKilled || u.Reason == "EXECUTOR_TERMINATED"
	switch x := a.External; {
	case ends && (x.Preempted || t.TakenBack != ""):
		if u.State != structs.TaskDropped {
			u.State = structs.TaskGone
		}
		u.Reason, u.Agent, u.Message, u.Status = "CONTAINER_PREEMPTED", true, cmp.Or(a.DesiredWhy, t.TakenBack), nil
	case x.Drained && (u.State == structs.TaskKilled || u.State == structs.TaskKilling) && u.Reason == "":
		u.Reason = ReasonDraining
		if u.Message == "" {
			u.Message = a.DesiredWhy
		}
	}
}

// Reasons of ends, as Mesos has them: a node that is emptied, and limits of memory and disk.
const (
	ReasonDraining = "AGENT_DRAINING"
	ReasonMemory   = "CONTAINER_LIMITATION_MEMORY"
	ReasonDisk     = "CONTAINER_LIMITATION_DISK"
)

// unheard reports whether executors said what is not known yet.
func unheard(a *structs.Allocation, said []*structs.TaskSaid) bool {
	return slices.ContainsFunc(said, func(s *structs.TaskSaid) bool {
		if s == nil {
			return false
		}
		x := a.External.Named(s.Task)
		return x != nil && s.Seq > x.Said && !x.Over
	})
}

// updateOf returns what is new of one task; nil when its framework need not hear it, or heard it from what runs the task.
func (tx *Tx) updateOf(old, next *structs.Allocation, x *structs.ExternalTask) *structs.TaskUpdate {
	was, is := old.Tasks[x.Name], next.Tasks[x.Name]
	if x.Over || was != nil && was.Status.Ended() {
		return nil
	}
	u := &structs.TaskUpdate{Time: tx.Now}
	if is == nil || !is.Status.Ended() && next.Ended() {
		if !next.Ended() {
			return nil
		}
		// It ended before it began, on the node or by its refusal.
		u.State, u.Reason, u.Agent, u.Message = structs.TaskFailed, "CONTAINER_LAUNCH_FAILED", true, next.Why
		switch {
		case next.Desired == structs.DesiredStop:
			u.State, u.Reason = structs.TaskKilled, "TASK_KILLED_DURING_LAUNCH"
		case x.Launch>>16 > old.CreateIndex: // it joined, and its executor ended meanwhile
			u.State, u.Reason = structs.TaskDropped, "EXECUTOR_TERMINATED"
		}
		return u
	}
	if x.Info != nil && !is.Status.Ended() {
		return nil
	}
	u.Healthy = is.Healthy()
	if x.Check != nil {
		u.Check = answerOf(x.Check, is)
	}
	if was != nil && was.Status == is.Status {
		u.State = is.Status
		before := was.Healthy()
		switch {
		case is.Status != structs.TaskRunning:
			return nil
		case u.Healthy != nil && (before == nil || *before != *u.Healthy):
			u.Reason = "TASK_HEALTH_CHECK_STATUS_UPDATED"
		case x.Check != nil && !u.Check.Equal(answerOf(x.Check, was)):
			u.Reason = "TASK_CHECK_STATUS_UPDATED"
		default:
			return nil
		}
		return u
	}
	u.State, u.Message = next.Told(x, is.Status), is.Why
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
			u.Reason, u.Agent = ReasonMemory, true
		}
	case structs.TaskError:
		u.Reason, u.Agent = "CONTAINER_LAUNCH_FAILED", true
	case structs.TaskKilled:
		if u.State == structs.TaskFailed {
			u.Reason, u.Agent = "MAX_COMPLETION_TIME_REACHED", true
		} else if was == nil || was.Started == 0 && is.Started == 0 {
			u.Reason, u.Agent = "TASK_KILLED_DURING_LAUNCH", true
		}
	}
	if is.Reason != "" {
		u.Reason, u.Agent = is.Reason, true
	}
	return u
}

// answerOf is what a check of a task said last, of which nothing may have been heard.
func answerOf(c *structs.Check, t *structs.TaskState) *structs.CheckAnswer {
	if t.Answer == nil {
		return &structs.CheckAnswer{Type: c.Type}
	}
	return t.Answer
}

// with returns the task with one more update, named by what it is the update of: the same on every server.
func with(x *structs.ExternalTask, alloc structs.AllocID, u *structs.TaskUpdate) *structs.ExternalTask {
	next := *x
	next.Made++
	if len(u.UUID) != 16 { // otherwise the executor named it
		sum := sha256.Sum256(fmt.Appendf(nil, "%s/%s/%d", alloc, x.Name, next.Made))
		u.UUID = sum[:16]
	}
	next.Over = u.State.Ended()
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
		known := a != nil && (ack.Node == "" || ack.Node == a.Node)
		if known {
			u := x.Outstanding()
			known = u != nil && bytes.Equal(u.UUID, ack.UUID)
		}
		if heard(&tx.tallied().Acks, known); !known {
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
