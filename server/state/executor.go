package state

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/proffer/proffer/structs"
)

// Executors of external frameworks: allocations to which tasks are added.

// ExecutorOn returns the allocation of an executor that a framework has on a node and that is to run, or nil.
func (t *trees) ExecutorOn(node structs.NodeID, framework structs.FrameworkID, executor string) *structs.Allocation {
	for a := range t.onNode(node, false) {
		if x := a.External; x != nil && x.Executor == executor && a.Framework == framework && executor != "" {
			return a
		}
	}
	return nil
}

// launch makes an allocation, or adds the tasks to that of their executor.
func (tx *Tx) launch(p *Placement) (structs.AllocID, Refusal, string) {
	x := p.Alloc.External
	if x.Executor == "" {
		refused, why := tx.place(p, nil)
		return p.Alloc.ID, refused, why
	}
	if tx.starts >= 0xfff0 {
		return p.Alloc.ID, RefusedInvalid, "one entry cannot make more than 65,535 allocations"
	}
	made := *x
	made.Tasks = slices.Clone(x.Tasks)
	for i, t := range made.Tasks {
		if t == nil {
			return p.Alloc.ID, RefusedInvalid, "a task is missing"
		}
		copied := *t
		copied.Launch = tx.Index<<16 | tx.starts
		made.Tasks[i] = &copied
	}
	made.Made = uint64(len(made.Tasks))
	alloc := *p.Alloc
	alloc.External = &made
	alloc.Resources, alloc.Ports = made.Holds(nil)
	if a := tx.ExecutorOn(alloc.Node, alloc.Framework, x.Executor); a != nil {
		tx.starts++ // the next launch gets another number
		refused, why := tx.join(a, &alloc, p.Job)
		return a.ID, refused, why
	}
	if p.Job != nil && len(p.Job.Groups) > 0 && len(alloc.Volumes) < len(p.Job.Groups[0].Persistent()) {
		return alloc.ID, RefusedEnding, "its executor, which has the volumes, ended meanwhile"
	}
	placed := *p
	placed.Alloc = &alloc
	refused, why := tx.place(&placed, nil)
	return alloc.ID, refused, why
}

// join adds the tasks of an allocation, which is not stored, to that of their executor. Tasks of that one that ended, as its framework
// knows, are forgotten.
func (tx *Tx) join(a, with *structs.Allocation, job *structs.Job) (Refusal, string) {
	if a.Desired != structs.DesiredRun {
		return RefusedEnding, "its executor is being stopped"
	}
	if a.External.Custom != with.External.Custom || !bytes.Equal(a.External.Info, with.External.Info) {
		return RefusedExecutor, fmt.Sprintf("ExecutorInfo is not compatible with existing ExecutorInfo of executor %q", a.External.Executor)
	}
	if len(with.Volumes) > 0 {
		return RefusedExecutor, fmt.Sprintf("executor %q began meanwhile, and volumes come with the launch that begins it", a.External.Executor)
	}
	if refused, why := tx.known(with); refused != "" {
		return refused, why
	}
	n, err := tx.node(a.Node)
	if err != nil {
		return RefusedNode, err.Error()
	}
	more := *with
	tasks := *with.External
	tasks.Own, tasks.OwnPorts = structs.Resources{}, nil
	more.Resources, more.Ports = tasks.Holds(nil)
	if refused, why := tx.fits(n, &more); refused != "" {
		return refused, why
	}
	external := *a.External
	external.Tasks = slices.DeleteFunc(slices.Clone(external.Tasks), func(t *structs.ExternalTask) bool {
		s := a.Tasks[t.Name]
		return len(t.Updates) == 0 && s != nil && s.Status.Ended()
	})
	if len(external.Tasks)+len(with.External.Tasks) > structs.MaxExternalTasks {
		return RefusedInvalid, fmt.Sprintf("its executor has %d tasks, and %d are taken", len(external.Tasks), structs.MaxExternalTasks)
	}
	renamed := make(map[string]string, len(with.External.Tasks))
	for _, t := range with.External.Tasks {
		joined := *t
		external.Made++
		if external.Named(t.Name) != nil || a.External.Named(t.Name) != nil {
			joined.Name = fmt.Sprintf("%.100s-%d", t.Name, external.Made)
		}
		renamed[t.Name] = joined.Name
		external.Tasks = append(external.Tasks, &joined)
	}
	next := *a
	next.External, next.WantIndex = &external, tx.Index
	next.Tasks = maps.Clone(a.Tasks)
	maps.DeleteFunc(next.Tasks, func(name string, _ *structs.TaskState) bool {
		return a.External.Named(name) != nil && external.Named(name) == nil
	})
	next.Resources, next.Ports = a.HoldsWith(&external, next.Tasks)
	if !external.Custom {
		next.Version = tx.addTasks(a, &external, job, renamed)
	}
	tx.putAlloc(a, next)
	return "", ""
}

// addTasks replaces the nameless job of an allocation by one with more tasks, and without those that were forgotten.
func (tx *Tx) addTasks(a *structs.Allocation, now *structs.External, job *structs.Job, renamed map[string]string) (version uint64) {
	old := tx.version("", a.Version)
	next := job.Clone()
	group := next.Groups[0]
	for _, t := range group.Tasks {
		t.Name = renamed[t.Name]
	}
	if old != nil {
		group.Volumes = old.Job.Groups[0].Volumes // those that the executor has
		for _, t := range slices.Backward(old.Job.Groups[0].Tasks) {
			if now.Named(t.Name) != nil {
				group.Tasks = slices.Insert(group.Tasks, 0, t)
			}
		}
		tx.put(Versions, old, nil)
	}
	version = tx.Index<<16 | tx.starts
	tx.starts++
	tx.put(Versions, nil, &structs.JobVersion{Job: next, Version: version, Time: tx.Now, Actor: tx.Actor, Index: tx.Index})
	return version
}

// Apply has a task killed.
func (c *KillTask) Apply(tx *Tx) (any, error) {
	a, err := tx.alloc(c.Alloc)
	if err != nil {
		return nil, err
	}
	x := a.External.Task(c.Task)
	if x == nil {
		return nil, structs.Errorf(structs.NotFound, "allocation "+structs.Short(c.Alloc), "it has no task %q", c.Task)
	}
	lost := a.Status == structs.AllocLost // it may still run: the wish waits for its node
	if s := a.Tasks[x.Name]; a.Ended() && !lost || s != nil && s.Status.Ended() {
		return nil, structs.Errorf(structs.Conflict, fmt.Sprintf("task %q", c.Task), "it ended")
	}
	killed := *x
	killed.Kill = &c.Kill
	external := *a.External
	external.Tasks = slices.Clone(external.Tasks)
	external.Tasks[slices.Index(external.Tasks, x)] = &killed
	next := *a
	next.External, next.WantIndex = &external, tx.Index
	const why = "its framework killed it"
	if lost && external.Executor == "" {
		next.Desired, next.DesiredWhy = structs.DesiredStop, why
	}
	tx.putAlloc(a, next)
	if external.Executor == "" {
		tx.stop(get(tx.allocs, a.ID), why)
	}
	return tx.receipt(), nil
}

// ExecutorsOn returns the executors that a framework has on a node and that are to run, sorted.
func (s *Snapshot) ExecutorsOn(node structs.NodeID, framework structs.FrameworkID) (out []string) {
	for a := range s.onNode(node, false) {
		if x := a.External; x != nil && x.Executor != "" && a.Framework == framework && a.Desired == structs.DesiredRun {
			out = append(out, x.Executor)
		}
	}
	slices.Sort(out)
	return out
}
