package server

import (
	"errors"
	"strings"
	"time"

	"github.com/proffer/proffer/scheduler"
	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/scheduler/batch"
	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/scheduler/service"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// jobLoop is what the loop keeps of a job that wants something.
type jobLoop struct {
	version   uint64
	index     uint64                    // of the version: a job that was purged and submitted again begins with version 1 again
	asks      map[string]*placement.Ask // compiled, by group; with persistent volumes, see askOf
	stored    map[string]*placement.Ask // likewise, by group and what its volumes are
	requests  map[string]struct{}       // ids of those that the allocator has
	placement string                    // that they were compiled for
	job       *structs.Job              // the text of that version
	wants     map[string][]scheduler.Placement
	indexes   map[string]map[int]int // of wants, built when a group has decisions
	quiet     time.Time              // not looked at before: it takes long, or was refused

	refusals int    // commands in a row in which nothing of it was accepted
	refused  string // why; empty: it is not held back
	because  string // why it waits, as its record says
}

// slot returns what the job wants for an index of a group.
func (j *jobLoop) slot(group string, index int) (scheduler.Placement, bool) {
	if j == nil {
		return scheduler.Placement{}, false
	}
	at := j.indexes[group]
	if at == nil {
		at = make(map[int]int, len(j.wants[group]))
		for i, p := range j.wants[group] {
			at[p.Index] = i
		}
		j.indexes[group] = at
	}
	i, ok := at[index]
	if !ok {
		return scheduler.Placement{}, false
	}
	return j.wants[group][i], true
}

// backOff keeps a job from being looked at for a while, and its requests from being served, since the state refused what
// was decided for it.
func (l *loop) backOff(name, why string) {
	j := l.jobs[name]
	if j == nil {
		return
	}
	l.forget(j)
	j.quiet = time.Now().Add(min(refusedPause<<min(j.refusals, 10), refusedLongest))
	j.refusals++
	j.refused = why
	l.dirty[name] = struct{}{}
}

// forget takes a job's requests back.
func (l *loop) forget(j *jobLoop) {
	for id := range j.requests {
		l.allocator.RemoveRequest(id)
	}
	clear(j.requests)
	clear(j.wants)
	clear(j.indexes)
}

// lookAtJobs computes the next steps of each job that changed.
func (l *loop) lookAtJobs(now time.Time) {
	if len(l.dirty) == 0 {
		return
	}
	snap := l.server.store.Snapshot()
	for name := range l.dirty {
		delete(l.dirty, name)
		if j := l.jobs[name]; j != nil && now.Before(j.quiet) {
			l.wakes.set(structs.NodeID(name), j.quiet)
			continue
		}
		l.lookAt(snap, name, now)
	}
}

func (l *loop) lookAt(snap *state.Snapshot, name string, now time.Time) {
	j := l.jobs[name]
	record := snap.Job(name)
	if record == nil {
		if j != nil {
			l.forget(j)
			l.drop(name)
		}
		l.wakes.drop(structs.NodeID(name))
		return
	}
	version := snap.Version(name, record.Version)
	if version == nil {
		l.log.Error("a job's version is missing", "job", name, "version", record.Version)
		return
	}
	if j == nil {
		j = &jobLoop{wants: map[string][]scheduler.Placement{}, indexes: map[string]map[int]int{}, requests: map[string]struct{}{}}
		l.jobs[name] = j
	}
	job := placedAs(snap, version.Job)
	if j.index != version.Index || j.placement != job.Placement {
		l.forget(j)
		j.version, j.index = record.Version, version.Index
		j.placement, j.job = job.Placement, version.Job
		var err error
		if j.asks, err = asksOf(snap, job, record.Role); err != nil {
			l.log.Error("a stored job cannot be placed", "job", name, "err", err)
		}
		l.noteStored(name, j)
	}
	var have []*structs.Allocation
	for a := range snap.AllocsOfJob(name) {
		have = append(have, a)
	}
	start := time.Now()
	steps := nextSteps(snap, record, version.Job, have, l.server.config.Replaces, structs.At(now))
	// A job with very many allocations is looked at less often, so that it takes no more than some tenth of the time.
	if took := time.Since(start); took > 500*time.Microsecond {
		j.quiet = time.Now().Add(min(10*took, time.Second))
	}
	l.carryOut(snap, name, j, record, steps)
	switch {
	case steps.WakeAt != 0:
		l.wakes.set(structs.NodeID(name), steps.WakeAt.Std())
	case len(j.wants) == 0 && len(have) == 0:
		l.drop(name)
		fallthrough
	default:
		l.wakes.drop(structs.NodeID(name))
	}
}

// asksOf compiles what the groups of a job of a role ask for, with the volumes of the first allocation; the error names those that are left
// out.
func asksOf(snap *state.Snapshot, job *structs.Job, role string) (asks map[string]*placement.Ask, err error) {
	asks = make(map[string]*placement.Ask, len(job.Groups))
	for _, g := range job.Groups {
		ask, fault := placement.Compile(job, g, volumesOf(snap, g, role, 0)...)
		if fault != nil {
			err = errors.Join(err, structs.Errorf(structs.KindOf(fault), "group "+g.Name, "%w", fault))
			continue
		}
		asks[g.Name] = ask
	}
	return asks, err
}

// nextSteps returns what a job needs next, with have, of its allocations.
func nextSteps(snap *state.Snapshot, record *structs.JobRecord, job *structs.Job, have []*structs.Allocation,
	replaces func(old, new *structs.Job, group string) bool, now structs.Time) scheduler.Steps {
	next := service.Next
	if record.Type == structs.BatchJob {
		next = batch.Next
	}
	return next(scheduler.Want{
		Job: job, Record: record, Node: drains(job, snap.Node),
		Replaces: func(group string, from, to uint64) bool {
			a, b := snap.Version(record.Name, from), snap.Version(record.Name, to)
			return a == nil || b == nil || replaces(a.Job, b.Job, group)
		},
	}, have, now)
}

// requestOf returns the request for what a job wants of a group.
func requestOf(record *structs.JobRecord, job *structs.Job, group string, ask *placement.Ask, places []scheduler.Placement) allocator.Request {
	slots := make([]allocator.Slot, len(places))
	for i, p := range places {
		slots[i] = allocator.Slot{Index: p.Index, Previous: p.Previous, Avoid: p.Avoid, Prefer: p.Prefer}
	}
	return allocator.Request{ID: record.Name + "/" + group, Framework: structs.FrameworkID(record.Type), Role: record.Role,
		Priority: record.Priority, Seq: record.CreateIndex, Ask: ask, Slots: slots, Owner: job.Owner, FrameworkScheduler: job.FrameworkScheduler}
}

// carryOut hands a job's steps to the allocator and to the next command.
func (l *loop) carryOut(snap *state.Snapshot, name string, j *jobLoop, record *structs.JobRecord, steps scheduler.Steps) {
	wants := make(map[string][]scheduler.Placement, len(j.wants))
	for _, p := range steps.Place {
		wants[p.Group] = append(wants[p.Group], p)
	}
	j.wants = wants
	clear(j.indexes)
	gang := allocator.Gang{ID: name}
	requests := make(map[string]struct{}, len(wants))
	for group, places := range wants {
		for _, r := range l.requestsOf(snap, j, record, group, places) {
			requests[r.ID] = struct{}{}
			if j.job.Gang != nil {
				gang.Requests = append(gang.Requests, r)
			} else if err := l.allocator.SetRequest(r); err != nil {
				l.log.Error("a request cannot be served", "job", name, "group", group, "err", err)
			}
		}
	}
	for id := range j.requests {
		if _, still := requests[id]; !still {
			l.allocator.RemoveRequest(id)
		}
	}
	j.requests = requests
	if len(gang.Requests) > 0 {
		if err := l.allocator.SetGang(&gang); err != nil {
			l.log.Error("a gang cannot be served", "job", name, "err", err)
		}
	}
	for _, s := range steps.Stop {
		l.out.replace(s.Alloc, s.Why, s.By)
	}
	for _, u := range steps.Update {
		l.out.update(u.Alloc, u.Version)
	}
	for group, ranges := range steps.FailedFor {
		for _, r := range ranges {
			for i := r.First; i <= r.Last; i++ {
				l.out.giveUp(&state.GiveUp{Job: name, Version: record.Version, Group: group,
					Index: int(i), Why: "it failed and its reschedule attempts are used up"})
			}
		}
	}
	why := steps.Why
	if j.because != "" && len(steps.Place) > 0 {
		why = strings.TrimPrefix(why+"; "+j.because, "; ")
	}
	if steps.Status != record.Status || why != record.Why {
		l.out.status(&state.SetJobStatus{Name: name, Version: record.Version, Status: steps.Status, Why: why})
	}
}
