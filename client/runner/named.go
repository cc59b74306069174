package runner

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// What is asked of the tasks of an allocation by their names.

// Restart starts a task again, all main tasks and sidecars when name is empty.
func (a *Alloc) Restart(name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if name != "" && a.task(name) == nil {
		return a.unknownTask(name)
	}
	if a.state.Stop != "" || a.status.Ended() {
		return structs.Errorf(structs.Conflict, "allocation "+structs.Short(a.id), "it is ending or ended: %s", a.why)
	}
	for _, t := range a.tasks {
		if name == "" || name == t.name {
			t.restart("a restart was asked for")
		}
	}
	return nil
}

// Needs reports whether a start of a task is the newest one and not over: nothing else of it is worth keeping.
func (a *Alloc) Needs(name string, start uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.task(name)
	return t != nil && start >= t.rec.Start && (t.rec.Running || t.handle != nil || start > t.rec.Start)
}

func (a *Alloc) task(name string) *task {
	for _, t := range a.tasks {
		if t.name == name {
			return t
		}
	}
	return nil
}

func (a *Alloc) unknownTask(name string) error {
	var names []string
	for _, t := range a.tasks {
		names = append(names, t.name)
	}
	return structs.Errorf(structs.NotFound, "allocation "+structs.Short(a.id), "it has no task %q", name).Advise("it has %v", names)
}

// Tasks returns the names of its tasks.
func (a *Alloc) Tasks() (names []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.tasks {
		names = append(names, t.name)
	}
	return names
}

// running returns the handle of a task that runs. An empty name means the only task.
func (a *Alloc) running(name string) (drivers.Task, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if name == "" {
		if len(a.tasks) != 1 {
			return nil, structs.Errorf(structs.Invalid, "allocation "+structs.Short(a.id), "it has several tasks: say which")
		}
		name = a.tasks[0].def.Name
	}
	t := a.task(name)
	if t == nil {
		return nil, a.unknownTask(name)
	}
	if t.handle == nil || t.rec.State.Status.Ended() {
		return nil, structs.Errorf(structs.Conflict, fmt.Sprintf("task %q", name), "it does not run (%s)", t.rec.State.Status)
	}
	return t.handle, nil
}

// Running returns why nothing can be done in a task now; nil: it runs.
func (a *Alloc) Running(name string) error {
	_, err := a.running(name)
	return err
}

// Gone returns a channel that is closed when a task has ended for good.
func (a *Alloc) Gone(name string) (<-chan struct{}, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.task(name)
	if t == nil {
		return nil, a.unknownTask(name)
	}
	return t.gone, nil
}

// TaskState returns how a task is.
func (a *Alloc) TaskState(name string) (structs.TaskState, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.task(name)
	if t == nil {
		return structs.TaskState{}, a.unknownTask(name)
	}
	return t.rec.State, nil
}

// Exec runs a command in a task; an empty name is the only task.
func (a *Alloc) Exec(ctx context.Context, name string, cmd drivers.Command) (drivers.Exit, error) {
	h, err := a.running(name)
	if err != nil {
		return drivers.Exit{}, err
	}
	return h.Exec(ctx, cmd)
}

// Terminal opens the terminal that a task runs on; an empty name is the only task.
func (a *Alloc) Terminal(ctx context.Context, name string) (drivers.Terminal, error) {
	h, err := a.running(name)
	if err != nil {
		return nil, err
	}
	t, ok := h.(drivers.Typist)
	if !ok {
		return nil, structs.Errorf(structs.Conflict, fmt.Sprintf("task %q", name), "it has no terminal")
	}
	return t.Terminal(ctx)
}

// Signal sends a signal to a task, to all running ones when name is empty.
func (a *Alloc) Signal(ctx context.Context, name, signal string) error {
	if name != "" {
		h, err := a.running(name)
		if err != nil {
			return err
		}
		return h.Signal(ctx, signal)
	}
	handles := a.handles()
	if len(handles) == 0 {
		return structs.Errorf(structs.Conflict, "allocation "+structs.Short(a.id), "none of its tasks runs")
	}
	for _, name := range slices.Sorted(maps.Keys(handles)) {
		if err := handles[name].Signal(ctx, signal); err != nil {
			return err
		}
	}
	return nil
}

// handles returns the running tasks.
func (a *Alloc) handles() map[string]drivers.Task {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make(map[string]drivers.Task, len(a.tasks))
	for _, t := range a.tasks {
		if t.handle != nil && !t.rec.State.Status.Ended() {
			out[t.name] = t.handle
		}
	}
	return out
}

// Light says what each running task uses, without what takes a look at files or asks a tool.
func (a *Alloc) Light(ctx context.Context) (map[string]*drivers.Stats, error) {
	out := make(map[string]*drivers.Stats)
	for name, h := range a.handles() {
		s, err := h.Stats(ctx)
		switch structs.KindOf(err) {
		case "":
			out[name] = s
		case structs.Conflict, structs.NotFound:
		default:
			return nil, err
		}
	}
	return out, nil
}
