package runner

import (
	"github.com/proffer/proffer/structs"
)

// maxAbout bounds what is remembered of how a framework described one thing, in bytes.
const maxAbout = 4 << 10

// Now returns the allocation as the node knows it: with the states of its tasks, and for an external framework with the tasks that the node
// has, of which the region was perhaps not told yet. The value is the caller's; what it points to is not to be changed. tasks are those that
// the node runs itself.
func (a *Alloc) Now() (out *structs.Allocation, tasks []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := *a.alloc
	now.Status, now.Why = a.status, a.why
	now.Tasks = make(map[string]*structs.TaskState, len(a.tasks))
	for _, t := range a.tasks {
		state := t.rec.State // its parts are never changed in place
		now.Tasks[t.name] = &state
		tasks = append(tasks, t.name)
	}
	x := now.External
	if x == nil {
		return &now, tasks
	}
	external := *x
	external.Tasks = make([]*structs.ExternalTask, 0, len(x.Tasks))
	for _, one := range x.Tasks {
		own := *one
		own.Updates = nil // the states say it, and say what is newer
		external.Tasks = append(external.Tasks, &own)
	}
	if a.exec != nil {
		for _, g := range a.exec.guests {
			state := g.rec.State
			now.Tasks[g.x.Name] = &state
		}
	}
	now.External = &external
	return &now, tasks
}

// remembered is what is kept of an allocation when it ended, beside how it ended: whose it was. Long descriptions are left out.
func remembered(a *structs.Allocation) *structs.Allocation {
	out := &structs.Allocation{Framework: a.Framework, Role: a.Role, Version: a.Version, Resources: a.Resources, Revocable: a.Revocable, Ports: a.Ports, Created: a.Created}
	x := a.External
	if x == nil {
		return out
	}
	out.External = &structs.External{Executor: x.Executor, Custom: x.Custom, Own: x.Own, OwnRevocable: x.OwnRevocable}
	if len(x.Framework) <= maxAbout {
		out.External.Framework = x.Framework
	}
	for _, t := range x.Tasks {
		one := &structs.ExternalTask{ID: t.ID, Name: t.Name, Resources: t.Resources, Revocable: t.Revocable, Ports: t.Ports}
		if len(t.About) <= maxAbout {
			one.About = t.About
		}
		out.External.Tasks = append(out.External.Tasks, one)
	}
	return out
}
