// Package batch decides the next steps of a job that runs each index of its groups to completion, once.
package batch

import (
	"fmt"
	"maps"
	"slices"

	"github.com/proffer/proffer/scheduler"
	"github.com/proffer/proffer/structs"
)

// Next returns the steps that bring the job's allocations closer to completion. have holds every allocation of the job
// that the state still has, in any order. It is pure, and linear in count and len(have).
//
// An index is done when an allocation of it completed by itself, or failed for good; JobRecord remembers those whose
// allocations left the state. What was stopped, lost, or made by a version that was replaced is run again.
func Next(want scheduler.Want, have []*structs.Allocation, now structs.Time) scheduler.Steps {
	n := &next{want: want, now: now}
	byGroup := scheduler.ByGroup(have)
	if want.Job.Gang != nil && !want.Record.Stopped {
		n.gang(byGroup)
	}
	for _, g := range want.Job.Groups {
		if want.Job.Gang == nil || want.Record.Stopped {
			n.group(g, byGroup[g.Name])
		}
		delete(byGroup, g.Name)
	}
	for _, gone := range slices.Sorted(maps.Keys(byGroup)) {
		n.stopAll(byGroup[gone], fmt.Sprintf("group %s is no longer part of the job", gone))
	}
	n.finish()
	return n.steps
}

type next struct {
	want  scheduler.Want
	now   structs.Time
	steps scheduler.Steps

	running, wanted, stopping, done, failed int
	why                                     string // the first thing that a retry or a lost node waits for
}

func (n *next) stop(a *structs.Allocation, why string) {
	n.steps.Stop = append(n.steps.Stop, scheduler.Stop{Alloc: a.ID, Why: why})
	n.stopping++
}

func (n *next) stopAll(have []*structs.Allocation, why string) {
	v := scheduler.Look(have, 0)
	for _, a := range v.Surplus {
		n.stop(a, why)
	}
	n.stopping += v.Beyond
}

func (n *next) because(format string, args ...any) {
	if n.why == "" {
		n.why = fmt.Sprintf(format, args...)
	}
}

func (n *next) wake(t structs.Time) {
	if t > n.now {
		n.steps.Wake(t)
	}
}

func (n *next) group(g *structs.Group, have []*structs.Allocation) {
	if n.want.Record.Stopped {
		n.stopAll(have, "the job was stopped")
		return
	}
	v := n.look(g, have)
	outdated := scheduler.NewReplacing(n.want, g.Name)
	finished, failedFor := cursor{ranges: n.want.Record.Finished[g.Name]}, cursor{ranges: n.want.Record.FailedFor[g.Name]}
	var newDone, newFailed []structs.Range
	for i := range v.Slots {
		s := &v.Slots[i]
		isDone, isFailed := finished.has(i), failedFor.has(i)
		if isDone || isFailed {
			if s.Active != nil {
				n.stop(s.Active, "the work of its index is done")
			}
			n.count(isFailed)
			continue
		}
		switch {
		case s.Active != nil:
			n.active(s.Active, outdated)
		case s.Stopping != nil:
			n.stopping++
		case s.Ended == nil:
			n.steps.Place = append(n.steps.Place, scheduler.Placement{Group: g.Name, Index: i})
		default:
			switch n.ended(g, &v, s.Ended, outdated) {
			case structs.JobDone:
				n.count(false)
				newDone = extend(newDone, i)
			case structs.JobFailed:
				n.count(true)
				newFailed = extend(newFailed, i)
			}
		}
	}
	note(&n.steps.Finished, g.Name, newDone)
	note(&n.steps.FailedFor, g.Name, newFailed)
}

// look sorts the allocations of a group, and stops those that are too many.
func (n *next) look(g *structs.Group, have []*structs.Allocation) scheduler.View {
	count := n.want.Record.CountOf(g)
	n.wanted += count
	v := scheduler.Look(have, count)
	for _, a := range v.Surplus {
		n.stop(a, scheduler.SurplusWhy(a, count))
	}
	n.stopping += v.Beyond
	return v
}

func (n *next) count(failed bool) {
	n.done++
	if failed {
		n.failed++
	}
}

// active decides about an allocation that has not ended.
func (n *next) active(a *structs.Allocation, outdated *scheduler.Replacing) {
	if why := n.mustEnd(a, outdated); why != "" {
		n.stop(a, why)
		return
	}
	n.goesOn(a)
}

// mustEnd returns why an allocation that has not ended must be stopped; empty: it goes on. A drain lets it finish until the deadline.
func (n *next) mustEnd(a *structs.Allocation, outdated *scheduler.Replacing) string {
	drain := n.want.Draining(a)
	switch {
	case a.CreateIndex < n.want.Record.Restart:
		return "the job was restarted"
	case outdated.Outdated(a):
		return fmt.Sprintf("replaced by version %d", n.want.Record.Version)
	case drain != nil && (a.Status != structs.AllocRunning || drain.Deadline != 0 && drain.Deadline <= n.now):
		return "its node drains"
	case drain != nil && drain.Deadline != 0:
		n.wake(drain.Deadline)
	}
	return ""
}

func (n *next) goesOn(a *structs.Allocation) {
	if a.Version != n.want.Record.Version {
		n.steps.Update = append(n.steps.Update, scheduler.Update{Alloc: a.ID, Version: n.want.Record.Version})
	}
	if a.Status == structs.AllocRunning {
		n.running++
	}
}

// ended decides about an index whose newest allocation ended: done, failed for good, or to be placed again, now or later.
func (n *next) ended(g *structs.Group, v *scheduler.View, a *structs.Allocation, outdated *scheduler.Replacing) structs.JobStatus {
	p := scheduler.Placement{Group: g.Name, Index: a.Index, Previous: a.ID}
	switch {
	case outdated.Outdated(a):
	case a.Status == structs.AllocComplete && (a.Desired != structs.DesiredStop || completed(g, a)):
		return structs.JobDone
	case a.Desired == structs.DesiredStop:
		p.Failures = a.Failures
	case a.Status == structs.AllocLost: // whoever called it lost has waited for its node
		p.Failures = a.Failures
	default:
		retry := scheduler.Reschedule(g.Reschedule, structs.BatchJob, a.Failures, a.Modified)
		if retry.Used {
			return structs.JobFailed
		}
		if retry.At > n.now {
			n.wake(retry.At)
			n.because("%s[%d] failed and is placed again at %s", g.Name, a.Index, retry.At)
			return ""
		}
		p.Failures = retry.Failures
		p.Avoid = v.FailedOn(a.Index)
	}
	n.steps.Place = append(n.steps.Place, p)
	return ""
}

// completed reports whether every main task of a stopped allocation had ended well before it was stopped.
func completed(g *structs.Group, a *structs.Allocation) bool {
	main := 0
	for _, t := range g.Tasks {
		if t.Lifecycle != nil {
			continue
		}
		main++
		if s := a.Tasks[t.Name]; s == nil || s.Status != structs.TaskFinished {
			return false
		}
	}
	return main > 0
}

func (n *next) finish() {
	s := &n.steps
	switch {
	case n.want.Record.Stopped:
		s.Status = structs.JobStopped
		if was := n.want.Record.Status; was == structs.JobDone || was == structs.JobFailed {
			s.Status, s.Why = was, n.want.Record.Why
		} else if n.stopping > 0 {
			s.Why = fmt.Sprintf("%d allocations are stopping", n.stopping)
		}
	case n.want.Record.Parameterized:
		s.Status, s.Why = structs.JobPending, "it is parameterized: each dispatch of it is a job of its own"
	case n.done == n.wanted && n.stopping == 0 && n.failed > 0:
		s.Status = structs.JobFailed
		s.Why = fmt.Sprintf("%d of %d allocations failed for good", n.failed, n.wanted)
	case n.done == n.wanted && n.stopping == 0:
		s.Status = structs.JobDone
	case n.running > 0 || n.done > 0:
		s.Status, s.Why = structs.JobRunning, n.progress()
	default:
		s.Status, s.Why = structs.JobPending, n.progress()
	}
}

func (n *next) progress() string {
	switch {
	case n.why != "":
		return n.why
	case len(n.steps.Place) > 0:
		return fmt.Sprintf("%d of %d allocations wait to be placed", len(n.steps.Place), n.wanted)
	}
	return ""
}

// cursor answers whether ascending numbers are in ascending ranges, at the cost of one pass over them.
type cursor struct{ ranges []structs.Range }

func (c *cursor) has(i int) bool {
	for len(c.ranges) > 0 && c.ranges[0].Last < int64(i) {
		c.ranges = c.ranges[1:]
	}
	return len(c.ranges) > 0 && c.ranges[0].First <= int64(i)
}

// extend adds a number that is larger than all others.
func extend(ranges []structs.Range, i int) []structs.Range {
	if last := len(ranges) - 1; last >= 0 && ranges[last].Last == int64(i)-1 {
		ranges[last].Last++
		return ranges
	}
	return append(ranges, structs.Range{First: int64(i), Last: int64(i)})
}

func note(into *map[string][]structs.Range, group string, ranges []structs.Range) {
	if len(ranges) == 0 {
		return
	}
	if *into == nil {
		*into = map[string][]structs.Range{}
	}
	(*into)[group] = ranges
}
