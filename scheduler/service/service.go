// Package service decides the next steps of a job that keeps count allocations of each group running.
package service

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/proffer/proffer/scheduler"
	"github.com/proffer/proffer/structs"
)

// Defaults of the update block.
const (
	defaultMinHealthy     = structs.Duration(1e9)
	defaultHealthyTimeout = structs.Duration(300e9)
)

// Next returns the steps that bring the job's allocations closer to what want asks for. have holds every allocation of
// the job that the state still has, in any order. It is pure: now decides what has been healthy for long enough.
//
// An index is used again only when what had it ended, but for a drain, which starts another allocation before it stops one, see drain.go.
// A change or a drain stops at most max_parallel allocations that run, less those that are not healthy for any other reason.
func Next(want scheduler.Want, have []*structs.Allocation, now structs.Time) scheduler.Steps {
	n := &next{want: want, now: now}
	byGroup := scheduler.ByGroup(have)
	for _, g := range want.Job.Groups {
		n.group(g, byGroup[g.Name])
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

	running, wanted, stopping int
	why                       []string // by weight: what a person wants to know first
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

func (n *next) wake(t structs.Time) {
	if t > n.now {
		n.steps.Wake(t)
	}
}

func (n *next) because(format string, args ...any) {
	n.why = append(n.why, fmt.Sprintf(format, args...))
}

// group decides for one group.
func (n *next) group(g *structs.Group, have []*structs.Allocation) {
	count := n.want.Record.CountOf(g)
	n.wanted += count
	if n.want.Record.Stopped {
		n.stopAll(have, "the job was stopped")
		return
	}
	v := scheduler.Look(have, count)
	update, migrate := updateOf(n.want.Job), migrateOf(n.want.Job, g)
	moving := n.moving(&v, migrate)
	for _, a := range v.Surplus {
		if moving[a.Index] != a {
			n.stop(a, surplusWhy(n.want, &v, a, count))
		}
	}
	n.stopping += v.Beyond

	outdated := scheduler.NewReplacing(n.want, g.Name)
	var old, draining []*structs.Allocation // that run and shall be replaced, by index
	unavailable, stalled := 0, ""
	for i := range v.Slots {
		s := &v.Slots[i]
		a := s.Active
		switch {
		case a == nil && s.Stopping != nil:
			unavailable++
			n.stopping++
		case a == nil:
			unavailable++
			n.missing(g, &v, i, s.Ended, outdated)
		case n.moveNow(a):
			n.stop(a, "its node drains and the deadline has passed")
			unavailable++
		case outdated.Outdated(a) && a.Status != structs.AllocRunning:
			// It does not run anyway: replacing it takes nothing away.
			n.stop(a, n.replaceWhy(a))
			unavailable++
		case n.want.Draining(a) != nil && a.Status != structs.AllocRunning:
			n.stop(a, "its node drains")
			unavailable++
		case outdated.Outdated(a):
			n.running++
			old = append(old, a)
		case n.want.Draining(a) != nil && moving[i] != nil: // one after the other
			n.running++
			unavailable++
			n.healthy(a, migrate)
		case n.want.Draining(a) != nil:
			n.running++
			draining = append(draining, a)
		default:
			if a.Version != n.want.Record.Version {
				n.steps.Update = append(n.steps.Update, scheduler.Update{Alloc: a.ID, Version: n.want.Record.Version})
			}
			if a.Status == structs.AllocRunning || moving[i] != nil {
				n.running++
			}
			if moving[i] != nil || !n.healthy(a, update) {
				unavailable++
				stalled = cmp.Or(stalled, n.late(g, a, update))
			}
		}
	}
	if len(old) > 0 && stalled != "" {
		// Never replace more while what came last is not healthy; a drain goes on.
		n.why = append([]string{fmt.Sprintf("the change of group %s has stopped: %s", g.Name, stalled)}, n.why...)
		old = nil
	} else if stalled != "" {
		n.because("%s", stalled)
	}
	if len(old) > 0 {
		n.because("group %s changes: %d of %d allocations are still old", g.Name, len(old), count)
	}
	if len(draining)+len(moving) > 0 {
		n.because("group %s moves from nodes that drain: %d of %d allocations are still there", g.Name, len(draining)+len(moving), count)
	}
	for _, a := range draining {
		if unavailable >= migrate.MaxParallel {
			break
		}
		unavailable++
		n.move(g, &v, a)
	}
	for _, a := range old {
		if unavailable >= update.MaxParallel {
			break
		}
		unavailable++
		n.running--
		n.stop(a, n.replaceWhy(a))
		if n.want.Draining(a) == nil && slices.ContainsFunc(g.Tasks, func(t *structs.Task) bool { return t.Config[structs.ImageKey] != nil }) {
			n.steps.Stop[len(n.steps.Stop)-1].By = n.want.Record.Version
		}
	}
}

func (n *next) replaceWhy(a *structs.Allocation) string {
	if a.CreateIndex < n.want.Record.Restart {
		return "the job was restarted"
	}
	return fmt.Sprintf("replaced by version %d", n.want.Record.Version)
}

// moveNow reports whether the deadline of the drain of a's node has passed.
func (n *next) moveNow(a *structs.Allocation) bool {
	d := n.want.Draining(a)
	if d == nil || d.Deadline == 0 {
		return false
	}
	n.wake(d.Deadline)
	return d.Deadline <= n.now
}

// healthy reports whether a has run for min_healthy_time.
func (n *next) healthy(a *structs.Allocation, u structs.Update) bool {
	if a.Status != structs.AllocRunning || a.Started == 0 {
		return false
	}
	at := a.Started.Add(u.MinHealthyTime)
	n.wake(at)
	return at <= n.now
}

// late says that a has not become healthy in time, or nothing; its index counts, not the single try.
func (n *next) late(g *structs.Group, a *structs.Allocation, u structs.Update) string {
	since := a.Created
	if len(a.Failures) > 0 {
		since = min(since, a.Failures[0])
	}
	deadline := since.Add(u.HealthyTimeout)
	n.wake(deadline)
	if deadline > n.now {
		return ""
	}
	why := cmp.Or(a.Why, "it is "+string(a.Status))
	return fmt.Sprintf("%s[%d] is not healthy after %s (%s)", g.Name, a.Index, u.HealthyTimeout, why)
}

// missing decides about an index that nothing has.
func (n *next) missing(g *structs.Group, v *scheduler.View, index int, last *structs.Allocation, outdated *scheduler.Replacing) {
	p := scheduler.Placement{Group: g.Name, Index: index}
	if last == nil {
		n.place(p)
		return
	}
	p.Previous = last.ID
	if last.Desired == structs.DesiredStop || outdated.Outdated(last) {
		if !outdated.Outdated(last) {
			p.Failures = last.Failures // moved, not changed
		}
		// Where its images are already, unless somebody has wishes about where it shall be.
		if last.ReplacedBy == n.want.Record.Version && len(n.want.Job.Affinities)+len(g.Affinities)+len(n.want.Job.Spreads)+len(g.Spreads) == 0 {
			p.Prefer = last.Node
		}
		n.place(p)
		return
	}
	if last.Status == structs.AllocLost { // whoever called it lost has waited for its node
		p.Failures = last.Failures
		n.place(p)
		return
	}
	// It failed, or a service ended by itself, which it should not.
	retry := scheduler.Reschedule(g.Reschedule, structs.ServiceJob, last.Failures, last.Modified)
	if retry.At > n.now {
		n.wake(retry.At)
		if retry.Used {
			n.because("%s[%d] ended %d times, its attempts are used up until %s", g.Name, index, len(retry.Failures), retry.At)
		} else {
			n.because("%s[%d] is %s and is placed again at %s", g.Name, index, last.Status, retry.At)
		}
		return
	}
	p.Failures = retry.Failures
	p.Avoid = v.FailedOn(index)
	n.place(p)
}

func (n *next) place(p scheduler.Placement) { n.steps.Place = append(n.steps.Place, p) }

func (n *next) finish() {
	s := &n.steps
	switch {
	case n.want.Record.Stopped:
		s.Status = structs.JobStopped
		if n.stopping > 0 {
			s.Why = fmt.Sprintf("%d allocations are stopping", n.stopping)
		}
		return
	case n.running > 0 || n.wanted == 0:
		s.Status = structs.JobRunning
	default:
		s.Status = structs.JobPending
	}
	if len(s.Place) > 0 {
		n.because("%d of %d allocations wait to be placed", len(s.Place), n.wanted)
	}
	if len(n.why) > 0 {
		s.Why = n.why[0]
		if more := len(n.why) - 1; more > 0 {
			s.Why += fmt.Sprintf(" (and %d more)", more)
		}
	}
}

// updateOf returns the update block with its defaults.
func updateOf(job *structs.Job) structs.Update {
	var u structs.Update
	if job.Update != nil {
		u = *job.Update
	}
	if u.MaxParallel <= 0 {
		u.MaxParallel = 1
	}
	if u.MinHealthyTime <= 0 {
		u.MinHealthyTime = defaultMinHealthy
	}
	if u.HealthyTimeout <= 0 {
		u.HealthyTimeout = defaultHealthyTimeout
	}
	return u
}
