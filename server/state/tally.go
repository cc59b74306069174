package state

import (
	"maps"

	"github.com/proffer/proffer/structs"
)

// Tally counts what the state does not say: tasks that it has forgotten, and what became of nodes. It is for counters that only grow, begins at zero
// when a server starts or takes over a snapshot, and is no part of the state: no command looks at it, and servers differ in it. It is immutable.
type Tally struct {
	Tasks map[structs.TaskStatus]int // that were forgotten, by how they ended

	Registered int // nodes that were new
	Returned   int // nodes that were lost, or had left, and are back
	Lost       int // nodes that were not heard of any more
	Left       int // nodes that went for good
}

// Tally returns it.
func (s *Snapshot) Tally() *Tally {
	if s.tally == nil {
		return &Tally{}
	}
	return s.tally
}

// count changes the tally.
func (t *trees) count(change func(*Tally)) {
	next := Tally{}
	if t.tally != nil {
		next = *t.tally
	}
	change(&next)
	t.tally = &next
}

// countNode notes what became of a node.
func (t *trees) countNode(old, now *structs.Node) {
	is := func(n *structs.Node, status structs.NodeStatus) bool { return n != nil && n.Status == status }
	var of func(*Tally) *int
	switch {
	case old == nil:
		of = func(t *Tally) *int { return &t.Registered }
	case !is(old, structs.NodeReady) && is(now, structs.NodeReady):
		of = func(t *Tally) *int { return &t.Returned }
	case !is(old, structs.NodeLost) && is(now, structs.NodeLost):
		of = func(t *Tally) *int { return &t.Lost }
	case !is(old, structs.NodeLeft) && (now == nil || is(now, structs.NodeLeft)):
		of = func(t *Tally) *int { return &t.Left }
	default:
		return
	}
	t.count(func(t *Tally) { *of(t)++ })
}

// countForgotten notes that tasks of an allocation are forgotten: those that are not in now, or all with nil.
func (t *trees) countForgotten(a *structs.Allocation, now *structs.External) {
	ends := map[structs.TaskStatus]int{}
	if a.External != nil {
		for _, x := range a.External.Tasks {
			if now.Named(x.Name) == nil {
				ends[a.TaskIs(x, a.Tasks[x.Name])]++
			}
		}
	} else if v := t.version(a.Job, a.Version); v != nil {
		if g := v.Job.Group(a.Group); g != nil {
			for _, task := range g.Tasks {
				ends[a.TaskIs(nil, a.Tasks[task.Name])]++
			}
		}
	}
	t.count(func(t *Tally) {
		t.Tasks = maps.Clone(t.Tasks)
		if t.Tasks == nil {
			t.Tasks = map[structs.TaskStatus]int{}
		}
		for status, n := range ends {
			t.Tasks[status] += n
		}
	})
}
