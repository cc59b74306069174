package server

import (
	"errors"
	"time"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// What the loop takes of what commits: all of it once, and then the changes, for its allocator and for the frameworks that are subscribed.

// load feeds the allocator with all that is committed.
func (l *loop) load(snap *state.Snapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := feed(l.allocator, snap); err != nil {
		l.log.Error("a stored role cannot be used", "err", err)
	}
	for f := range snap.Frameworks() {
		l.takeFramework(nil, f)
	}
	for j := range snap.Jobs() {
		l.dirty[j.Name] = struct{}{}
	}
}

// feed gives an allocator all that is committed. The error names the roles that it refuses; the rest is there.
func feed(a *allocator.Allocator, snap *state.Snapshot) (err error) {
	for r := range snap.Roles() {
		err = errors.Join(err, a.SetRole(r))
	}
	for n := range snap.Nodes() {
		a.SetNode(n)
	}
	for r := range snap.Reservations() {
		err = errors.Join(err, a.SetReservation(r))
	}
	for alloc := range snap.Allocs() {
		if alloc.Holds() {
			a.SetAllocation(alloc)
		}
	}
	return err
}

// take brings one batch of committed changes in.
func (l *loop) take(b arrival) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changed = true
	l.subs.taken = b.Index
	if l.since.IsZero() {
		l.since = b.at
	}
	defer l.tellHeard()
	l.letGo() // first: nobody is offered what is free in between, and no offer is taken back for what is held twice
	for _, c := range b.Changes {
		switch c.Table {
		case state.Allocs:
			l.takeAlloc(c)
		case state.Jobs:
			old, _ := c.Old.(*structs.JobRecord)
			now, _ := c.New.(*structs.JobRecord)
			if now == nil {
				l.dirty[old.Name] = struct{}{}
			} else if old == nil || wantsOtherwise(old, now) {
				l.dirty[now.Name] = struct{}{}
				if j := l.jobs[now.Name]; j != nil && j.refused != "" {
					j.refusals, j.refused, j.quiet = 0, "", time.Time{} // it is another wish
				}
			}
		case state.Nodes:
			l.takeNode(c)
		case state.Frameworks:
			old, _ := c.Old.(*structs.Framework)
			now, _ := c.New.(*structs.Framework)
			l.takeFramework(old, now)
		case state.Roles:
			l.takePlacement(c)
			if r, _ := c.New.(*structs.Role); r != nil {
				if err := l.allocator.SetRole(r); err != nil {
					l.log.Error("a stored role cannot be used", "role", r.Name, "err", err)
				}
			} else if old, _ := c.Old.(*structs.Role); old != nil {
				l.allocator.RemoveRole(old.Name)
			}
		case state.Reservations:
			l.takeReservation(c)
		case state.Volumes:
			l.takeVolume(c)
		case state.Operations:
			old, _ := c.Old.(*structs.Operation)
			now, _ := c.New.(*structs.Operation)
			l.takeOperation(old, now)
		}
	}
}

// wantsOtherwise reports whether a job's record changed in what it asks for, and not only in how it looks.
func wantsOtherwise(old, now *structs.JobRecord) bool {
	if old.Version != now.Version || old.Stopped != now.Stopped || old.Restart != now.Restart ||
		old.Priority != now.Priority || old.Role != now.Role || len(old.Counts) != len(now.Counts) {
		return true
	}
	for group, n := range now.Counts {
		if m, ok := old.Counts[group]; !ok || m != n {
			return true
		}
	}
	for group, ranges := range now.FailedFor {
		if structs.CountIndexes(ranges) != structs.CountIndexes(old.FailedFor[group]) {
			return true
		}
	}
	return false
}

func (l *loop) takeAlloc(c state.Change) {
	a, _ := c.New.(*structs.Allocation)
	old, _ := c.Old.(*structs.Allocation)
	if a == nil {
		l.allocator.RemoveAllocation(old.ID)
		if old.External != nil {
			for _, x := range old.External.Tasks {
				l.owe(old.Framework, subject{old.ID, x.ID}, false)
			}
		}
		return
	}
	if a.External != nil && a.External.Executor != "" {
		l.takeJoins(old, a)
	}
	if decision, ok := l.placing[a.ID]; ok {
		delete(l.placing, a.ID)
		if err := l.allocator.Confirm(decision, a); err != nil {
			l.log.Error("a placement that nobody decided was committed", "alloc", a.ID, "err", err)
		}
	} else if old == nil || old.Holds() != a.Holds() || old.Node != a.Node || old.Desired != a.Desired || old.Priority != a.Priority ||
		old.Owner != a.Owner || old.FrameworkScheduler != a.FrameworkScheduler || a.External != nil && a.External != old.External && !a.HoldsAs(old) {
		l.allocator.SetAllocation(a)
	}
	if a.External != nil {
		l.takeTasks(old, a)
		return
	}
	if old == nil || old.Status != a.Status || old.Desired != a.Desired || old.Version != a.Version || old.Started != a.Started {
		l.dirty[a.Job] = struct{}{}
	}
}

func (l *loop) takeNode(c state.Change) {
	n, _ := c.New.(*structs.Node)
	was, _ := c.Old.(*structs.Node)
	l.takeLostNode(was, n)
	if n == nil {
		id := c.Old.(*structs.Node).ID
		if was.Gone == nil { // otherwise they were told when it was marked
			l.takeGoneNode(id)
		}
		l.allocator.RemoveNode(id)
		l.slack.forget(id)
		return
	}
	l.allocator.SetNode(n)
	l.slack.again(n.ID) // it may have been said before the node was known
	if n.Drain != nil && (was == nil || was.Drain == nil || len(was.Attached) > 0 && len(n.Attached) == 0) {
		for a := range l.server.store.Snapshot().HeldOnNode(n.ID) {
			l.dirty[a.Job] = struct{}{}
		}
	}
}
