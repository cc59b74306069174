package runner

import (
	"context"
	"fmt"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// recover looks for the tasks that are recorded as running. It closes ready after the first look; a driver that cannot be
// asked is asked again until ctx ends.
func (a *Alloc) recover(ctx context.Context) {
	pending := a.asRunning()
	for try := 0; ; try++ {
		var left []*task
		for _, t := range pending {
			if !t.recover(ctx, try) {
				left = append(left, t)
			}
		}
		if try == 0 {
			close(a.ready)
		}
		if pending = left; len(pending) == 0 || !sleep(ctx, nodeBackOff(try), nil) {
			return
		}
	}
}

func (a *Alloc) asRunning() (tasks []*task) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.tasks {
		if t.rec.Running {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

// recover looks for one. False: the driver could not tell.
func (t *task) recover(ctx context.Context, try int) bool {
	a := t.alloc
	var found drivers.Task
	driver, err := t.driver()
	if err != nil {
		err = structs.Errorf(structs.Unavailable, fmt.Sprintf("task %q", t.name), "%w", err)
	}
	if err == nil {
		spec, scope, specErr := t.spec(ctx, driver, t.rec.Start)
		if err = specErr; err == nil {
			found, err = driver.Recover(ctx, spec, t.rec.Handle)
		}
		if err == nil && (len(spec.Task.Templates) > 0 || namesLogin(spec.Task)) {
			// As they were written, but for what the node changed meanwhile. With items they are compared with the files, once those come.
			t.texts, _ = ask(t, scope, scope.Texts, false)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err == nil:
		t.handle = found
		if t.rec.State.Status != structs.TaskRunning {
			t.rec.State.Status = structs.TaskRunning
		}
		if t.rec.State.Started == 0 {
			t.rec.State.Started = now()
		}
		t.beginChecks(found)
		if a.pod != nil {
			a.pod.limit(t)
		}
		t.event("recovered", "the agent was restarted and found the task")
		if a.status == structs.AllocPending && a.mainsUp() {
			a.status = structs.AllocRunning
			a.state.Started = t.rec.State.Started
		}
		return true
	case structs.KindOf(err) == structs.NotFound && t.rec.Handle == nil:
		// The intent was recorded; that the start happened was not, and the driver does not know it.
		t.rec.Running = false
		t.event("recovered", "the agent was restarted before the task was started")
		return true
	case structs.KindOf(err) == structs.NotFound:
		t.lost = true
		return true
	}
	if ctx.Err() != nil {
		return true
	}
	if try == 0 {
		a.log.Warn("a task cannot be looked for now", "task", t.name, "err", err)
		t.rec.State.Why = err.Error()
		t.event("waiting", err.Error())
	}
	return false
}
