package state

import (
	"maps"

	"github.com/proffer/proffer/structs"
)

// Tally counts what the state does not say: tasks that it has forgotten, what became of nodes, and what was reported and acknowledged. It is for
// counters that only grow, begins at zero when a server starts or takes over a snapshot, and is no part of the state: no command looks at it, and
// servers differ in it. It is immutable once it is published.
type Tally struct {
	Tasks map[structs.TaskStatus]int // that were forgotten, by how they ended
	Ends  map[TaskEnd]int            // of tasks of external frameworks, at most maxEnds kinds

	Registered int // nodes that were new
	Returned   int // nodes that were lost, or had left, and are back
	Lost       int // nodes that were not heard of any more
	Left       int // nodes that went for good
	Sessions   int // that nodes began
	Described  int // nodes that said of themselves what they had not said before, within a session

	Reports Heard // of allocations by their nodes; Again: that said nothing new
	Acks    Heard // of updates of tasks
	OpAcks  Heard // of what became of operations

	Operations map[structs.OperationState]int // with an id, by what became of them
}

// Heard is how many messages of a kind came.
type Heard struct{ Taken, Again, Refused int }

// All returns how many there were.
func (h Heard) All() int { return h.Taken + h.Again + h.Refused }

// TaskEnd is how and why a task ended.
type TaskEnd struct {
	State  structs.TaskStatus
	Reason string // as Mesos names it, without REASON_
	Agent  bool   // its node says so, and not what ran the task
}

// maxEnds bounds Tally.Ends: reasons come from outside.
const maxEnds = 256

// Tally returns it.
func (s *Snapshot) Tally() *Tally {
	if s.tally == nil {
		return &Tally{}
	}
	return s.tally
}

// tallied returns the tally of the entry that is applied, to be changed. It is copied once for each entry that counts something.
func (t *trees) tallied() *Tally {
	if t.tally == nil || t.tally != t.counting {
		next := Tally{Tasks: map[structs.TaskStatus]int{}, Ends: map[TaskEnd]int{}, Operations: map[structs.OperationState]int{}}
		if was := t.tally; was != nil {
			next = *was
			next.Tasks, next.Ends, next.Operations = maps.Clone(was.Tasks), maps.Clone(was.Ends), maps.Clone(was.Operations)
		}
		t.tally, t.counting = &next, &next
	}
	return t.tally
}

// countNode notes what became of a node.
func (t *trees) countNode(old, now *structs.Node) {
	is := func(n *structs.Node, status structs.NodeStatus) bool { return n != nil && n.Status == status }
	switch {
	case old == nil:
		t.tallied().Registered++
	case !is(old, structs.NodeReady) && is(now, structs.NodeReady):
		t.tallied().Returned++
	case !is(old, structs.NodeLost) && is(now, structs.NodeLost):
		t.tallied().Lost++
	case !is(old, structs.NodeLeft) && (now == nil || is(now, structs.NodeLeft)):
		t.tallied().Left++
	}
}

// countEnd notes that a task ended, as its framework is told.
func (t *trees) countEnd(u *structs.TaskUpdate) {
	if !u.State.Ended() || u.Reason == "" {
		return
	}
	end, tally := TaskEnd{u.State, u.Reason, u.Agent}, t.tallied()
	if _, known := tally.Ends[end]; known || len(tally.Ends) < maxEnds {
		tally.Ends[end]++
	}
}

// heard counts one message.
func heard(h *Heard, taken bool) {
	if taken {
		h.Taken++
	} else {
		h.Refused++
	}
}

// countForgotten notes that tasks of an allocation are forgotten: those that are not in now, or all with nil.
func (t *trees) countForgotten(a *structs.Allocation, now *structs.External) {
	tally := t.tallied()
	if a.External != nil {
		for _, x := range a.External.Tasks {
			if now.Named(x.Name) == nil {
				tally.Tasks[a.TaskIs(x, a.Tasks[x.Name])]++
			}
		}
	} else if v := t.version(a.Job, a.Version); v != nil {
		if g := v.Job.Group(a.Group); g != nil {
			for _, task := range g.Tasks {
				tally.Tasks[a.TaskIs(nil, a.Tasks[task.Name])]++
			}
		}
	}
}
