package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

// watch follows a job until its outcome is known.
type watch struct {
	env     *Environment
	client  *api.Client
	job     *structs.Job
	version uint64
	index   uint64        // of its submission
	place   time.Duration // how long nothing may be placed; 0: for ever
	timeout time.Duration // 0: none

	progress
}

// progress is what was seen so far. It decides what comes of a job and prints nothing, so that it can be tested with any
// clock.
type progress struct {
	started time.Time
	idle    time.Time                  // since when nothing of the job is on a node
	running map[structs.AllocID]steady // since when the allocation was seen to run
}

// steady is since when an allocation was seen to run, and what it said of that itself. Its clock is another one.
type steady struct {
	since   time.Time
	started structs.Time
}

// outcome is the end of watching.
type outcome struct {
	code  int
	text  string
	alloc structs.AllocID // that failed
}

const (
	defaultMinHealthy     = time.Second
	defaultHealthyTimeout = 5 * time.Minute
)

func (w *watch) minHealthy() time.Duration {
	if w.job.Update != nil && w.job.Update.MinHealthyTime > 0 {
		return w.job.Update.MinHealthyTime.Std()
	}
	return defaultMinHealthy
}

func (w *watch) healthyTimeout() time.Duration {
	if w.job.Update != nil && w.job.Update.HealthyTimeout > 0 {
		return w.job.Update.HealthyTimeout.Std()
	}
	return defaultHealthyTimeout
}

// run follows the job and returns its exit code as an error.
func (w *watch) run(ctx context.Context) error {
	w.started, w.running = time.Now(), map[structs.AllocID]steady{}
	lines := newLines(w.env)
	defer lines.end()
	query := &api.Query{}
	for {
		status, meta, err := w.client.JobStatus(ctx, w.job.Name, query)
		if structs.KindOf(err) == structs.NotFound {
			return w.report(ctx, lines, outcome{code: exitStopped, text: "the job was purged meanwhile"})
		}
		if err != nil {
			return err
		}
		now := time.Now()
		end, next := w.judge(status, now)
		lines.show(status, w.version)
		if end != nil {
			return w.report(ctx, lines, *end)
		}
		query = &api.Query{Index: max(meta.Index, w.index), Wait: max(next.Sub(now), time.Millisecond)}
		if next.IsZero() {
			query.Wait = 0
		}
	}
}

// judge returns the outcome, if it is known, or when to look again even if nothing changes (zero: no need to).
func (w *watch) judge(s *api.JobStatus, now time.Time) (*outcome, time.Time) {
	if s.Version > w.version {
		return &outcome{code: exitStopped, text: fmt.Sprintf("version %d took its place", s.Version)}, time.Time{}
	}
	if s.Stopped {
		return &outcome{code: exitStopped, text: "it was stopped meanwhile"}, time.Time{}
	}
	end := w.batchEnd(s)
	var next time.Time
	if s.Type != structs.BatchJob {
		end, next = w.serviceEnd(s, now)
	}
	if end != nil {
		return end, next
	}
	sooner := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	if waiting, alive := counts(s); waiting > 0 && alive == 0 {
		if w.idle.IsZero() {
			w.idle = now
		}
		if w.place > 0 {
			if since := now.Sub(w.idle); since >= w.place {
				return &outcome{code: exitNotPlaced, text: "nothing of it could be placed; it keeps waiting for room"}, time.Time{}
			}
			sooner(w.idle.Add(w.place))
		}
	} else {
		w.idle = time.Time{}
	}
	if w.timeout > 0 {
		if now.Sub(w.started) >= w.timeout {
			return w.late(s), time.Time{}
		}
		sooner(w.started.Add(w.timeout))
	}
	return nil, next
}

// late is the outcome when the time is over.
func (w *watch) late(s *api.JobStatus) *outcome {
	if waiting, _ := counts(s); waiting > 0 {
		return &outcome{code: exitNotPlaced, text: fmt.Sprintf("after %s %d of its allocations are not placed; they keep waiting for room", w.timeout, waiting)}
	}
	if s.Type != structs.BatchJob {
		return &outcome{code: exitUnhealthy, text: fmt.Sprintf("it is not healthy after %s", w.timeout)}
	}
	return &outcome{code: exitTimeout, text: fmt.Sprintf("it is not done after %s; it goes on", w.timeout)}
}

// counts returns how many allocations are not placed, and how many are and have not ended.
func counts(s *api.JobStatus) (waiting, alive int) {
	for _, g := range s.Groups {
		waiting, alive = waiting+g.Waiting, alive+g.Pending+g.Running
	}
	return waiting, alive
}

func (w *watch) batchEnd(s *api.JobStatus) *outcome {
	if s.Type != structs.BatchJob {
		return nil
	}
	switch s.Status {
	case structs.JobDone:
		return &outcome{code: exitOK, text: "done"}
	case structs.JobFailed:
		code, why, alloc := failure(s)
		return &outcome{code, joinNonEmpty(": ", "it failed", why), alloc}
	}
	return nil
}

// failure returns the exit code of the first task that failed for good, and what is known of it.
func failure(s *api.JobStatus) (code int, why string, alloc structs.AllocID) {
	for _, a := range slices.Backward(s.Allocations) { // oldest first
		if a.Status != structs.AllocFailed || a.Version != s.Version || a.Next != "" {
			continue
		}
		for _, name := range sortedKeys(a.Tasks) {
			if t := a.Tasks[name]; t.ExitCode > 0 {
				return t.ExitCode, fmt.Sprintf("task %q of allocation %s: %s", name, structs.Short(a.ID), taskEnd(t)), a.ID
			}
		}
		return exitUnhealthy, fmt.Sprintf("allocation %s: %s", structs.Short(a.ID), orDash(a.Why)), a.ID
	}
	return exitUnhealthy, s.Why, ""
}

// taskEnd says how a task ended.
func taskEnd(t *structs.TaskState) string {
	text := fmt.Sprintf("exit code %d", t.ExitCode)
	switch {
	case t.OOM:
		text = "out of memory"
	case t.Signal > 0:
		text = fmt.Sprintf("signal %d", t.Signal)
	case t.ExitCode < 0:
		text = "its exit code is not known"
	}
	if strings.HasPrefix(t.Why, text) {
		return t.Why
	}
	return joinNonEmpty(", ", text, t.Why)
}

// failuresOfOne is how often the allocations of one index may fail before a service counts as unhealthy.
const failuresOfOne = 2

func (w *watch) serviceEnd(s *api.JobStatus, now time.Time) (*outcome, time.Time) {
	type slot struct {
		group string
		index int
	}
	failures := map[slot]int{}
	healthy := map[string]int{}
	old := 0
	var next time.Time
	seen := map[structs.AllocID]steady{}
	for _, a := range s.Allocations {
		if a.Version != w.version {
			if !a.Ended() {
				old++
			}
			continue
		}
		if a.Status == structs.AllocFailed && a.CreateIndex >= w.index {
			at := slot{a.Group, a.Index}
			if failures[at]++; failures[at] >= failuresOfOne {
				return &outcome{exitUnhealthy, fmt.Sprintf("%s[%d] failed %d times, the last time: %s", a.Group, a.Index, failures[at],
					joinNonEmpty(": ", "allocation "+structs.Short(a.ID), a.Why)), a.ID}, next
			}
		}
		if a.Status != structs.AllocRunning || a.Desired != structs.DesiredRun || a.Started.IsZero() {
			continue
		}
		run, ok := w.running[a.ID]
		if !ok || run.started != a.Started {
			run = steady{now, a.Started}
		}
		seen[a.ID] = run
		if at := run.since.Add(w.minHealthy()); now.Before(at) {
			if next.IsZero() || at.Before(next) {
				next = at
			}
			continue
		}
		healthy[a.Group]++
	}
	w.running = seen
	if old > 0 {
		return nil, next
	}
	for _, g := range s.Groups {
		if healthy[g.Group] < g.Wanted {
			return nil, next
		}
	}
	return &outcome{code: exitOK, text: "healthy"}, next
}

// report prints the outcome and, when something is not placed, why.
func (w *watch) report(ctx context.Context, lines *lines, o outcome) error {
	lines.end()
	out := w.env.Out
	if o.code != exitOK {
		out = w.env.Err
	}
	fmt.Fprintf(out, "Job %q: %s\n", w.job.Name, clean(o.text))
	if o.code == exitNotPlaced {
		w.env.explain(ctx, w.client, w.job.Name)
	}
	if o.code == exitOK {
		return nil
	}
	if o.alloc != "" {
		fmt.Fprintf(w.env.Err, "Hint: proffer alloc logs %s shows what it wrote\n", structs.Short(o.alloc))
		return exitCode(o.code)
	}
	if o.code != exitStopped {
		fmt.Fprintf(w.env.Err, "Hint: proffer job status %s says more\n", w.job.Name)
	}
	return exitCode(o.code)
}

// explain prints to Err why groups of a job wait, as far as an agent can say.
func (e *Environment) explain(ctx context.Context, client *api.Client, job string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	x, err := client.ExplainJob(ctx, job, "")
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			fmt.Fprintf(e.Err, "The reasons could not be found: %v\n", clean(err.Error()))
		}
		return
	}
	var b bytes.Buffer
	for _, g := range x.Groups {
		if g.Waiting > 0 {
			fmt.Fprintf(&b, "Group %q: %d of %d wait; each asks %s\n", cell(g.Group), g.Waiting, g.Count, cell(g.Ask.String()))
			writeReasons(&b, g)
		}
	}
	e.Err.Write(b.Bytes())
}

// lines shows progress: in a terminal a line for each group that is rewritten in place, otherwise a line for each change.
type lines struct {
	env   *Environment
	drawn int               // lines that are rewritten next time
	last  map[string]string // by group
	told  map[structs.AllocID]string
}

func newLines(e *Environment) *lines {
	return &lines{env: e, last: map[string]string{}, told: map[structs.AllocID]string{}}
}

func (l *lines) show(s *api.JobStatus, version uint64) {
	if !l.env.Terminal {
		l.events(l.env.Out.Write, s, version)
		for _, g := range s.Groups {
			if text := groupLine(g, s.Type); text != l.last[g.Group] {
				l.last[g.Group] = text
				fmt.Fprintln(l.env.Out, text)
			}
		}
		return
	}
	var b bytes.Buffer
	if l.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", l.drawn) // up, and clear what is below
	}
	l.events(b.Write, s, version)
	for _, g := range s.Groups {
		b.WriteString(groupLine(g, s.Type) + "\n")
	}
	l.drawn = len(s.Groups)
	l.env.Out.Write(b.Bytes())
}

// events tells of allocations of this version that failed or were lost, could not be started yet, or run and are not ready.
func (l *lines) events(write func([]byte) (int, error), s *api.JobStatus, version uint64) {
	for _, a := range slices.Backward(s.Allocations) {
		if a.Version != version {
			continue
		}
		status, why := string(a.Status), a.Why
		switch a.Status {
		case structs.AllocFailed, structs.AllocLost:
		case structs.AllocPending:
			status, why = "not started yet", a.RefusedStart()
			if why == "" {
				continue
			}
		case structs.AllocRunning:
			if status = ""; !a.Started.IsZero() || a.Why == "" {
				continue // it is ready
			}
		default:
			continue
		}
		text := joinNonEmpty(": ", strings.TrimRight(fmt.Sprintf("  %s[%d] %s", a.Group, a.Index, status), " ")+" on "+a.NodeName, why)
		if l.told[a.ID] != text {
			l.told[a.ID] = text
			write([]byte(cell(text) + "\n"))
		}
	}
}

func groupLine(g *api.GroupCounts, kind string) string {
	part := func(n int, what string) string {
		if n == 0 {
			return ""
		}
		return fmt.Sprintf("%d %s", n, what)
	}
	head := fmt.Sprintf("  %s: %d/%d running", cell(g.Group), g.Running, g.Wanted)
	if kind == structs.BatchJob {
		head = fmt.Sprintf("  %s: %d/%d complete", cell(g.Group), g.Complete, g.Wanted)
		return joinNonEmpty(", ", head, part(g.Running, "running"), part(g.Pending, "starting"), part(g.Waiting, "waiting"), part(g.Failed, "failed"), part(g.Lost, "lost"))
	}
	return joinNonEmpty(", ", head, part(g.Pending, "starting"), part(g.Waiting, "waiting"), part(g.Failed, "failed"), part(g.Lost, "lost"))
}

// end leaves the lines as they are.
func (l *lines) end() { l.drawn = 0 }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
