package state

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

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
	alloc.External, alloc.Tasks = &made, nil
	if !made.Sound() {
		return alloc.ID, RefusedInvalid, "more of its executor or of a task is revocable than that has"
	}
	if alloc.AddUp(); alloc.Revocable != nil {
		alloc.Priority = structs.Priority{Band: structs.BestEffort}
	}
	if a := tx.ExecutorOn(alloc.Node, alloc.Framework, x.Executor); a != nil {
		tx.starts++ // the next launch gets another number
		refused, why := tx.join(a, &alloc, p.Job)
		return a.ID, refused, why
	}
	if p.Job != nil && len(p.Job.Groups) > 0 && slices.ContainsFunc(p.Job.Groups[0].Persistent(), func(x *structs.GroupVolume) bool { return !claimed(&alloc, x.Name) }) {
		return alloc.ID, RefusedEnding, "its executor, which has the volumes, ended meanwhile"
	}
	placed := *p
	placed.Alloc = &alloc
	refused, why := tx.place(&placed, nil)
	return alloc.ID, refused, why
}

// claimed reports whether an allocation has, or asks for, the volume of a block.
func claimed(a *structs.Allocation, block string) bool {
	return slices.ContainsFunc(a.Volumes, func(v structs.AllocVolume) bool { return v.Group == block })
}

// join adds the tasks of an allocation, which is not stored, to that of their executor, with the volumes that they bring. Tasks of that one that
// ended, as its framework knows, are forgotten.
func (tx *Tx) join(a, with *structs.Allocation, job *structs.Job) (Refusal, string) {
	if a.Desired != structs.DesiredRun {
		return RefusedEnding, "its executor is being stopped"
	}
	if a.External.Custom != with.External.Custom || !bytes.Equal(a.External.Info, with.External.Info) {
		return RefusedExecutor, fmt.Sprintf("ExecutorInfo is not compatible with existing ExecutorInfo of executor %q", a.External.Executor)
	}
	if slices.ContainsFunc(with.Volumes, func(v structs.AllocVolume) bool { return v.Task == "" }) {
		return RefusedExecutor, fmt.Sprintf("executor %q began meanwhile, and its own volumes come with the launch that begins it", a.External.Executor)
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
	tasks.Own, tasks.OwnPorts, tasks.OwnRevocable = structs.Resources{}, nil, nil
	more.External = &tasks
	more.AddUp()
	claims, refused, why := tx.claim(n, &more, nil)
	if refused != "" {
		return refused, why
	}
	if refused, why := tx.fits(n, &more); refused != "" {
		return refused, why
	}
	external := *a.External
	external.Tasks = slices.DeleteFunc(slices.Clone(external.Tasks), func(t *structs.ExternalTask) bool {
		s := a.Tasks[t.Name]
		if len(t.Updates) > 0 || s == nil || !s.Status.Ended() {
			return false
		}
		external.Numbered = max(external.Numbered, numberOf(t.Name))
		return true
	})
	if len(external.Tasks)+len(with.External.Tasks) > structs.MaxExternalTasks {
		return RefusedInvalid, fmt.Sprintf("its executor has %d tasks, and %d are taken", len(external.Tasks), structs.MaxExternalTasks)
	}
	if len(a.Volumes)+len(more.Volumes) > structs.MaxGroupVolumes {
		return RefusedInvalid, fmt.Sprintf("its executor and the tasks of that have %d volumes, and %d are taken", len(a.Volumes), structs.MaxGroupVolumes)
	}
	if refused, why := apart(a, with.External); refused != "" {
		return refused, why
	}
	renamed := make(map[string]string, len(with.External.Tasks)+len(more.Volumes))
	for _, t := range with.External.Tasks {
		joined := *t
		joined.Name = nameFor(&external, t.Name)
		external.Made++
		renamed[t.Name] = joined.Name
		external.Tasks = append(external.Tasks, &joined)
	}
	blocks := make(map[string]string, len(more.Volumes)) // numbered as no other ones of the allocation
	for i := range more.Volumes {
		v := &more.Volumes[i]
		name := fmt.Sprintf("volume-%d-%d", external.Made, i)
		blocks[v.Group] = name
		v.Group, v.Task = name, renamed[v.Task]
	}
	for _, t := range external.Tasks[len(external.Tasks)-len(with.External.Tasks):] {
		t.Mounts = renameMounts(t.Mounts, blocks)
	}
	claims.settle(tx, &more)
	next := *a
	next.External, next.WantIndex = &external, tx.Index
	next.Tasks = maps.Clone(a.Tasks)
	maps.DeleteFunc(next.Tasks, func(name string, _ *structs.TaskState) bool {
		return a.External.Named(name) != nil && external.Named(name) == nil
	})
	if len(more.Volumes) > 0 {
		next.Volumes = slices.Concat(a.Volumes, more.Volumes)
		next.Resources = a.Resources.Add(structs.Resources{Sets: more.Resources.Sets})
	}
	tx.recount(a, &next)
	if !external.Custom {
		next.Version = tx.addTasks(&next, job, renamed, blocks)
	}
	tx.putAlloc(a, next)
	claims.bind(tx, n)
	return "", ""
}

// recount has an allocation with an executor hold what is there of it and its tasks. As long as any of that is revocable it is best-effort
// work, as a whole: what takes that back stops all of it.
func (tx *Tx) recount(old, next *structs.Allocation) {
	next.Recount()
	switch {
	case next.Revocable != nil:
		next.Priority = structs.Priority{Band: structs.BestEffort}
	case old.Revocable != nil:
		next.Priority = tx.PriorityIn(next.Role)
	}
}

// nameFor returns what a task that joins is called in the allocation: as no other one ever was. A node may have missed that a task was
// forgotten, and would take one of its name for it. So names stay as they are until the first task is forgotten, and have a number then.
func nameFor(x *structs.External, name string) string {
	if x.Made == uint64(len(x.Tasks)) && x.Named(name) == nil {
		return name
	}
	for _, t := range x.Tasks {
		x.Numbered = max(x.Numbered, numberOf(t.Name))
	}
	x.Numbered++
	return fmt.Sprintf("%.100s-%d", name, x.Numbered)
}

// numberOf is the number that a name ends with, behind a dash; 0: none that nameFor gives.
func numberOf(name string) uint64 {
	n, err := strconv.ParseUint(name[strings.LastIndexByte(name, '-')+1:], 10, 64)
	if err != nil || n > 1<<62 {
		return 0
	}
	return n
}

// apart refuses tasks whose volumes the process of a custom executor would see where it sees those of others that did not end, or below.
func apart(a *structs.Allocation, with *structs.External) (Refusal, string) {
	for _, t := range with.Tasks {
		for _, m := range t.Mounts {
			for _, o := range a.External.Tasks {
				if s := a.Tasks[o.Name]; s != nil && s.Status.Ended() {
					continue
				}
				for _, taken := range o.Mounts {
					if structs.PathsMeet(m.Destination, taken.Destination) {
						return RefusedVolume, fmt.Sprintf("task %q of the executor has a volume at %s, and %s is not apart from it", o.ID, taken.Destination, m.Destination)
					}
				}
			}
		}
	}
	return "", ""
}

// renameMounts returns mounts with other names of volume blocks, where they have one.
func renameMounts(mounts []*structs.VolumeMount, names map[string]string) []*structs.VolumeMount {
	if len(names) == 0 || len(mounts) == 0 {
		return mounts
	}
	out := make([]*structs.VolumeMount, len(mounts))
	for i, m := range mounts {
		copied := *m
		if name, has := names[m.Volume]; has {
			copied.Volume = name
		}
		out[i] = &copied
	}
	return out
}

// addTasks replaces the nameless job of an allocation by one with more tasks and volumes, and without those that were forgotten.
func (tx *Tx) addTasks(a *structs.Allocation, job *structs.Job, renamed, blocks map[string]string) (version uint64) {
	old := tx.version("", a.Version)
	next := job.Clone()
	group := next.Groups[0]
	for _, t := range group.Tasks {
		t.Name, t.VolumeMounts = renamed[t.Name], renameMounts(t.VolumeMounts, blocks)
	}
	if old != nil {
		brought := group.Volumes
		group.Volumes = nil
		for _, t := range slices.Backward(old.Job.Groups[0].Tasks) {
			if a.External.Named(t.Name) != nil {
				group.Tasks = slices.Insert(group.Tasks, 0, t)
			}
		}
		for _, x := range old.Job.Groups[0].Volumes { // those of the executor, which are among its claims, and of tasks that are not forgotten
			seen := func(m *structs.VolumeMount) bool { return m.Volume == x.Name }
			if claimed(a, x.Name) || slices.ContainsFunc(group.Tasks, func(t *structs.Task) bool { return slices.ContainsFunc(t.VolumeMounts, seen) }) {
				group.Volumes = append(group.Volumes, x)
			}
		}
		for _, x := range brought {
			if name, has := blocks[x.Name]; has {
				x.Name = name
				group.Volumes = append(group.Volumes, x)
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
