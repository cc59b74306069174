package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/proffer/proffer/client/checks"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/client/taskdir"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// task runs one task of an allocation: start, wait, start again. What is mutable is under alloc.mu; run is called from one
// goroutine.
type task struct {
	alloc *Alloc
	name  string
	def   *structs.Task // newest version of it
	rec   store.Task

	given    bool            // what the allocation needs was provided for its next start; only run changes it
	lent     []drivers.Mount // of what it brought, for the next start
	returned bool            // what it brought, after its end
	handle   drivers.Task    // of the newest start; nil before it and after Destroy
	lost     bool            // it was recorded as running and nobody knows it
	changed  bool            // since the last update
	over     bool            // its time is over: a sidecar whose main tasks ended
	again    string          // why it is to be started again; empty: it is not
	ending   string          // why it alone is to end; empty: it is not
	late     bool            // with ending: it ran for too long
	limit    *time.Timer     // ends it when it ran for too long; nil: it may run for ever
	wake     chan struct{}
	up       chan struct{} // closed when it was started once, or will not be
	isUp     bool
	gone     chan struct{}       // closed when it ended for good
	cancel   context.CancelFunc  // of the present wait
	checks   []*checks.Check     // of the present start
	unwell   string              // which live check failed; empty: none
	texts    []*taskdir.Text     // that its templates said last; only run uses it
	owed     []*structs.Template // those that changed and whose change nobody was told; likewise
	stale    bool                // its templates may say something else now
	splay    *time.Timer         // until stale
	asks     asks
}

func newTask(a *Alloc, def *structs.Task) *task {
	t := &task{alloc: a, name: def.Name, def: def, wake: make(chan struct{}), up: make(chan struct{}), gone: make(chan struct{})}
	t.rec.State = structs.TaskState{Status: structs.TaskStaging}
	t.event("received", "the node received the allocation")
	return t
}

func (t *task) hook() string {
	if t.def.Lifecycle == nil {
		return ""
	}
	return t.def.Lifecycle.Hook
}

func (t *task) sidecar() bool { return t.def.Lifecycle != nil && t.def.Lifecycle.Sidecar }

// interrupt makes run look again at what is wanted. The caller holds mu.
func (t *task) interrupt() {
	close(t.wake)
	t.wake = make(chan struct{})
	if t.cancel != nil {
		t.cancel()
	}
}

// restart asks for a new start. The caller holds mu.
func (t *task) restart(why string) {
	if t.rec.Done || t.rec.Start == 0 || t.hook() != "" && !t.sidecar() {
		return // it ended for good, or its turn is still to come
	}
	t.again = why
	t.interrupt()
}

// unwanted reports whether the task shall end, and whether without grace. The caller holds mu.
func (t *task) unwanted() (stop, hard bool) {
	s := &t.alloc.state
	if t.hook() == "poststop" {
		return t.over || s.Hard, s.Hard
	}
	return t.over || s.Stop != "" || t.ending != "", s.Hard
}

// event notes what happened; the slice is copied, because updates share it. The caller holds mu, or nobody else has t yet.
func (t *task) event(kind, text string) {
	old := t.rec.State.Events
	old = old[max(0, len(old)-structs.MaxTaskEvents+1):]
	events := make([]structs.TaskEvent, len(old), len(old)+1)
	copy(events, old)
	t.rec.State.Events = append(events, structs.TaskEvent{Time: now(), Type: kind, Text: text})
	t.changed = true
}

func (t *task) markUp() {
	t.alloc.mu.Lock()
	defer t.alloc.mu.Unlock()
	if !t.isUp {
		t.isUp = true
		close(t.up)
	}
}

func now() structs.Time { return structs.At(time.Now()) }

// good reports whether the end of the task is no reason for the allocation to fail.
func (t *task) good() bool {
	t.alloc.mu.Lock()
	defer t.alloc.mu.Unlock()
	switch t.rec.State.Status {
	case structs.TaskFinished, structs.TaskKilled:
		return true
	}
	return t.over
}

// skip ends a task that was never started.
func (t *task) skip(why string) {
	t.alloc.mu.Lock()
	defer t.alloc.mu.Unlock()
	t.done(structs.TaskKilled, why)
}

// done notes the last state. The caller holds mu.
func (t *task) done(status structs.TaskStatus, why string) {
	if !t.rec.Done {
		close(t.gone)
	}
	t.rec.Done, t.rec.Running = true, false
	if t.splay != nil {
		t.splay.Stop()
	}
	t.askNothing()
	t.rec.State.Status, t.rec.State.Why = status, why
	if t.rec.State.Ended == 0 || t.rec.State.Ended < t.rec.State.Started {
		t.rec.State.Ended = now()
	}
	t.changed = true
}

// run keeps the task going until it ended for good. False: ctx ended, and the task may run on.
func (t *task) run(ctx context.Context) bool {
	defer t.markUp()
	short := 0 // tries in a row for which the node was short of something
	for {
		t.alloc.mu.Lock()
		done, stop := t.rec.Done, false
		handle, lost := t.handle, t.lost
		t.lost = false
		if handle == nil && !lost {
			stop, _ = t.unwanted()
		}
		t.alloc.mu.Unlock()
		switch {
		case done:
			return true
		case ctx.Err() != nil:
			return false
		case stop:
			t.alloc.mu.Lock()
			t.done(structs.TaskKilled, t.stopWhy())
			t.alloc.mu.Unlock()
			return t.settle(ctx)
		}
		var exit drivers.Exit
		switch {
		case lost:
			exit = drivers.Exit{Code: -1, Why: "nobody knows how it ended"}
			if t.alloc.node.Rebooted {
				exit.Why = "the machine was restarted while it ran"
			}
			t.note(exit)
			t.alloc.mu.Lock()
			t.rec.State.Status = structs.TaskLost
			t.alloc.mu.Unlock()
		case handle == nil:
			var err error
			if handle, err = t.start(ctx); err != nil {
				switch {
				case ctx.Err() != nil:
					return false
				case errors.Is(err, errInterrupted):
					continue
				}
				again, wait := t.startFailed(err, &short)
				if !again {
					return t.settle(ctx)
				}
				if !t.pause(ctx, wait) {
					return false
				}
				continue
			}
			short = 0
			fallthrough
		default:
			t.markUp()
			var ok bool
			if exit, ok = t.wait(ctx, handle); !ok {
				return false
			}
			t.note(exit)
		}
		again, wait := t.ended(exit)
		if !t.settle(ctx) {
			return false
		}
		if !again {
			return true
		}
		if !t.pause(ctx, wait) {
			return false
		}
	}
}

func (t *task) stopWhy() string {
	if s := cmp.Or(t.alloc.state.Stop, t.ending); s != "" {
		return s
	}
	return "what it accompanies ended"
}

// note writes down how a start ended.
func (t *task) note(exit drivers.Exit) {
	t.alloc.mu.Lock()
	defer t.alloc.mu.Unlock()
	s := &t.rec.State
	s.ExitCode, s.Signal, s.OOM, s.Ended = exit.Code, exit.Signal, exit.OOM, now()
	t.rec.Running = false
	t.endChecks()
	t.event("ended", describe(exit))
}

func describe(exit drivers.Exit) string {
	switch {
	case exit.OOM:
		return "the kernel ended it: it needed more memory than its limit"
	case exit.Why != "":
		return exit.Why
	case exit.Signal != 0:
		return fmt.Sprintf("signal %d ended it", exit.Signal)
	}
	return fmt.Sprintf("exit code %d", exit.Code)
}

// ended decides what follows the end of a start.
func (t *task) ended(exit drivers.Exit) (again bool, wait time.Duration) {
	a := t.alloc
	a.mu.Lock()
	defer a.mu.Unlock()
	asked, unwell := t.again, t.unwell
	t.again, t.unwell = "", ""
	if stop, _ := t.unwanted(); stop {
		status := structs.TaskKilled
		if exit.Code == 0 && exit.Signal == 0 {
			status = structs.TaskFinished
		}
		if reason := a.state.Reason; reason != "" && t.hook() != "poststop" {
			status, t.rec.State.Reason = structs.TaskFailed, reason
		} else if t.late {
			status, t.rec.State.Reason = structs.TaskFailed, "MAX_COMPLETION_TIME_REACHED"
		}
		t.done(status, t.stopWhy())
		return false, 0
	}
	if asked != "" {
		t.rec.State.Restarts++
		t.rec.State.Status, t.rec.State.Why = structs.TaskStarting, asked
		t.event("restarting", asked)
		return true, 0
	}
	policy := PolicyOf(a.job.Job.Type, a.group.Restart)
	if unwell != "" {
		return t.apply(policy, unwell, structs.TaskFailed)
	}
	always := policy.Always && (t.hook() == "") || t.sidecar()
	if exit.Code == 0 && exit.Signal == 0 && !exit.OOM && !always {
		t.done(structs.TaskFinished, "")
		return false, 0
	}
	status := structs.TaskFailed
	if t.rec.State.Status == structs.TaskLost {
		status = structs.TaskLost
	}
	return t.apply(policy, describe(exit), status)
}

// apply asks the restart policy. The caller holds mu.
func (t *task) apply(policy Policy, what string, status structs.TaskStatus) (again bool, wait time.Duration) {
	v := policy.Next(t.rec.Failures, now())
	t.rec.Failures = v.Failures
	if !v.Restart && t.alloc.alloc.External != nil { // whose framework knows of no policy
		t.done(status, what)
		t.event("failed", what)
		return false, 0
	}
	if !v.Restart {
		t.done(status, what+"; "+v.Why)
		t.event("failed", v.Why)
		return false, 0
	}
	t.rec.State.Restarts++
	t.rec.State.Status, t.rec.State.Why = structs.TaskStarting, what
	t.event("restarting", what+"; "+v.Why)
	t.alloc.report()
	return true, v.After
}

// settle makes the end of a start durable and lets the driver forget it. When it is the last thing of the allocation, both
// are left to the end of that. False: ctx ended.
func (t *task) settle(ctx context.Context) bool {
	if !t.collect(ctx) {
		return false
	}
	a := t.alloc
	a.mu.Lock()
	last := t.rec.Done && a.pod == nil // more may come to a pod
	for _, other := range a.tasks {
		last = last && other.rec.Done
	}
	rec := t.rec
	rec.Handle = nil
	a.mu.Unlock()
	if last {
		return true
	}
	if !t.commit(ctx, &rec) {
		return false
	}
	t.destroy(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	if t.rec.Done {
		t.yield()
	}
	if t.changed {
		a.report()
	}
	return true
}

// commit writes the record, however long the disk is full. False: ctx ended.
func (t *task) commit(ctx context.Context, rec *store.Task) bool {
	for try := 0; ; try++ {
		err := t.alloc.node.Store.Commit(ctx, store.PutTask(t.alloc.id, t.name, rec))
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		t.alloc.log.Error("the state of a task cannot be recorded", "task", t.name, "err", err)
		if !sleep(ctx, nodeBackOff(try), nil) {
			return false
		}
	}
}

// destroy lets the driver forget the newest start.
func (t *task) destroy(ctx context.Context) {
	t.alloc.mu.Lock()
	handle, mounted := t.handle, t.mounted()
	t.alloc.mu.Unlock()
	if handle == nil {
		return
	}
	switch err := handle.Destroy(ctx); {
	case err == nil:
		t.unmountImages(mounted)
	case ctx.Err() == nil:
		t.alloc.log.Warn("what is left of a task cannot be removed now; the driver tries again", "task", t.name, "err", err)
	}
	t.alloc.mu.Lock()
	t.handle = nil // from here on nobody knows the start: what is left of it may go
	t.alloc.mu.Unlock()
}

// pause waits before the next start; it ends early when something else is wanted. False: ctx ended.
func (t *task) pause(ctx context.Context, d time.Duration) bool {
	until := time.Now().Add(d)
	for {
		t.alloc.mu.Lock()
		stop, _ := t.unwanted()
		asked := t.again != "" || t.asks.news
		t.again, t.asks.news = "", false
		wake := t.wake
		t.alloc.mu.Unlock()
		left := time.Until(until)
		if stop || asked || left <= 0 {
			return ctx.Err() == nil
		}
		if !sleep(ctx, left, wake) {
			return false
		}
	}
}

// sleep waits for d or wake. False: ctx ended.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
		return false
	}
	return true
}

// wait returns when the task ended, by itself or because it was to. False: ctx ended.
func (t *task) wait(ctx context.Context, handle drivers.Task) (drivers.Exit, bool) {
	a := t.alloc
	for try := 0; ; {
		a.mu.Lock()
		stop, hard := t.unwanted()
		again := cmp.Or(t.again, t.unwell)
		stale := t.stale && !stop && again == ""
		t.stale = t.stale && !stale
		waiting, cancel := context.WithCancel(ctx)
		t.cancel = cancel
		a.mu.Unlock()
		if stale {
			t.refresh(waiting, handle)
			cancel()
			t.uncancel()
			if ctx.Err() != nil {
				return drivers.Exit{}, false
			}
			continue
		}
		var exit drivers.Exit
		var err error
		if stop || again != "" {
			err = t.kill(waiting, handle, hard, again)
			if err == nil {
				exit, err = handle.Wait(waiting)
			}
		} else {
			exit, err = handle.Wait(waiting)
		}
		interrupted := waiting.Err() != nil
		cancel()
		t.uncancel()
		switch {
		case err == nil:
			return exit, true
		case ctx.Err() != nil:
			return exit, false
		case structs.KindOf(err) == structs.NotFound:
			a.mu.Lock()
			t.rec.State.Status = structs.TaskLost
			a.mu.Unlock()
			return drivers.Exit{Code: -1, Why: "nobody knows how it ended: " + err.Error()}, true
		case interrupted:
			continue
		}
		a.log.Warn("a task cannot be watched now", "task", t.name, "err", err)
		a.mu.Lock()
		wake := t.wake
		a.mu.Unlock()
		if !sleep(ctx, nodeBackOff(try), wake) {
			return exit, false
		}
		try++
	}
}

// kill asks the task to end and, after its grace, ends it. An interruption of ctx makes wait look again whether it became
// urgent.
func (t *task) kill(ctx context.Context, handle drivers.Task, hard bool, again string) error {
	a := t.alloc
	a.mu.Lock()
	signal, grace := t.def.KillSignal, t.def.KillTimeout.Std()
	if x := a.alloc.External.Named(t.name); x != nil && x.Kill != nil && x.Kill.Grace != nil {
		grace = max(x.Kill.Grace.Std(), time.Millisecond)
	}
	if grace == 0 {
		grace = 5 * time.Second
	}
	if x := a.alloc.External; x != nil && x.MaxGrace != nil {
		grace = min(grace, max(x.MaxGrace.Std(), time.Millisecond))
	}
	why := again
	if why == "" {
		why = t.stopWhy()
	}
	if t.rec.State.Status != structs.TaskKilling {
		t.rec.State.Status, t.rec.State.Why = structs.TaskKilling, why
		t.event("killing", why)
		a.report()
	}
	a.mu.Unlock()
	if signal == "" {
		signal = "SIGTERM"
	}
	if a.exec != nil && !hard && again == "" && a.exec.shutdown(ctx, handle, grace) {
		hard = true
	}
	if hard {
		signal, grace = "SIGKILL", 0
	}
	return handle.Stop(ctx, signal, grace)
}
