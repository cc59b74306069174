package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/proffer/proffer/client/logs"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Commands that were detached in the tasks of an allocation. A record is durable before the driver is told, and has how the command ended before
// the driver forgets that with the task: so whoever asks is told, whatever was restarted meanwhile.

// ErrHeld is wrapped by the error of Detach when commands in a task end with whoever began them, for its driver knows no others.
var ErrHeld = errors.New("its driver cannot run commands that outlive the agent")

// startOf returns the handle of a task that runs, with the number of its start.
func (a *Alloc) startOf(name string) (h drivers.Task, start uint64, err error) {
	if h, err = a.running(name); err != nil {
		return nil, 0, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.task(name)
	if t == nil || t.handle != h {
		return nil, 0, structs.Errorf(structs.Conflict, fmt.Sprintf("task %q", name), "it is just being started again")
	}
	return h, t.rec.Start, nil
}

// Detach starts a command in a task that goes on by itself, and returns once it runs. label is what the caller calls it.
func (a *Alloc) Detach(ctx context.Context, task, label string, d *drivers.Detach) error {
	h, start, err := a.startOf(task)
	if err != nil {
		return err
	}
	in, ok := h.(drivers.Detacher)
	if !ok {
		return structs.Errorf(structs.Invalid, fmt.Sprintf("task %q", task), "%w", ErrHeld)
	}
	said := *d
	said.LogName = logs.OfCommand(task, d.Name)
	rec := &store.Detached{Task: task, Start: start, Label: label, Terminal: d.Terminal != nil, Begun: now()}
	a.mu.Lock()
	taken := a.detached[d.Name] != nil
	if !taken {
		a.keepDetached(d.Name, rec)
	}
	a.mu.Unlock()
	if taken {
		return structs.Errorf(structs.Conflict, fmt.Sprintf("task %q", task), "it has a command %q already", d.Name)
	}
	if err = a.node.Store.Commit(ctx, store.PutDetached(a.id, d.Name, rec)); err == nil {
		_, err = in.Detach(ctx, &said)
	}
	if err != nil {
		if structs.KindOf(err) == structs.Unknown || ctx.Err() != nil { // it may have begun, and nobody will be told
			after, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonTime)
			defer cancel()
			if begun, failed := in.Detached(after, d.Name); failed == nil {
				begun.Stop(after, "SIGKILL", 0)
				begun.Destroy(after)
			}
		}
		a.dropDetached(d.Name)
	}
	return err
}

// abandonTime bounds how long a command is looked for whose start was given up. One that is not found then ends with its task.
const abandonTime = 30 * time.Second

// keepDetached notes a record. The caller holds mu.
func (a *Alloc) keepDetached(name string, rec *store.Detached) {
	if a.detached == nil {
		a.detached = make(map[string]*store.Detached)
	}
	a.detached[name] = rec
}

func (a *Alloc) dropDetached(name string) {
	a.mu.Lock()
	delete(a.detached, name)
	a.mu.Unlock()
	a.node.Store.Enqueue(store.DeleteDetached(a.id, name))
}

// look returns the record of a command, with the handle of its task as long as that is of the start that the command is in. sought: that is still
// being looked for.
func (a *Alloc) look(name string) (rec *store.Detached, h drivers.Task, sought bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if rec = a.detached[name]; rec == nil {
		return nil, nil, false, structs.Errorf(structs.NotFound, "allocation "+structs.Short(a.id), "it has no command %q", name)
	}
	if t := a.task(rec.Task); t != nil && t.rec.Start == rec.Start {
		return rec, t.handle, t.handle == nil && t.rec.Running, nil
	}
	return rec, nil, false, nil
}

// command finds one with its driver.
func (a *Alloc) command(ctx context.Context, name string) (drivers.Detached, error) {
	select {
	case <-a.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	rec, h, sought, err := a.look(name)
	if err != nil {
		return nil, err
	}
	if sought {
		return nil, structs.Errorf(structs.Unavailable, fmt.Sprintf("task %q", rec.Task), "the agent was restarted and still looks for it")
	}
	in, ok := h.(drivers.Detacher)
	if rec.Exit != nil || !ok {
		return nil, structs.Errorf(structs.Conflict, fmt.Sprintf("task %q", rec.Task), "its command %q has ended", name)
	}
	return in.Detached(ctx, name)
}

// AwaitDetached returns how a command ended, once it did. The record is not to be changed.
func (a *Alloc) AwaitDetached(ctx context.Context, name string) (*store.Detached, error) {
	select {
	case <-a.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for try := 0; ; try++ {
		rec, h, sought, err := a.look(name)
		if err != nil || rec.Exit != nil {
			return rec, err
		}
		if !sought {
			exit, d, err := ended(ctx, h, name)
			if err == nil {
				err = a.noteDetached(ctx, name, exit)
			}
			if err == nil {
				if d != nil {
					d.Destroy(ctx) // an error: it goes with its task
				}
				continue // it is noted, by us or by who was first
			}
			if ctx.Err() == nil {
				a.log.Warn("a command in a task cannot be watched now", "task", rec.Task, "command", name, "err", err)
			}
		}
		if !sleep(ctx, nodeBackOff(try), nil) {
			return nil, ctx.Err()
		}
	}
}

// ended waits for the end of a command in a task; h is nil when nobody knows that any more. d is what its driver has of it, as long as it has.
func ended(ctx context.Context, h drivers.Task, name string) (exit drivers.Exit, d drivers.Detached, err error) {
	unknown := drivers.Exit{Code: -1, Why: "nobody knows how it ended"}
	in, ok := h.(drivers.Detacher)
	if !ok {
		return unknown, nil, nil
	}
	if d, err = in.Detached(ctx, name); err == nil {
		exit, err = d.Wait(ctx)
	}
	if structs.KindOf(err) == structs.NotFound {
		return unknown, nil, nil
	}
	return exit, d, err
}

// noteDetached makes durable how a command ended, unless that is known already: what was found before the task was forgotten is right.
func (a *Alloc) noteDetached(ctx context.Context, name string, exit drivers.Exit) error {
	return a.changeDetached(ctx, name, func(rec *store.Detached) bool {
		if rec.Exit != nil {
			return false
		}
		rec.Exit = &exit
		return true
	})
}

// changeDetached changes a record, durably. One that is gone is no error.
func (a *Alloc) changeDetached(ctx context.Context, name string, change func(*store.Detached) bool) error {
	a.mu.Lock()
	old := a.detached[name]
	if old == nil {
		a.mu.Unlock()
		return nil
	}
	rec := *old
	if !change(&rec) {
		a.mu.Unlock()
		return nil
	}
	a.detached[name] = &rec
	a.mu.Unlock()
	err := a.node.Store.Commit(ctx, store.PutDetached(a.id, name, &rec))
	if err != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.detached[name] == &rec {
			a.detached[name] = old
		}
	}
	return err
}

// collect notes how the commands of a task's start ended that is over, before its driver is told to forget it. False: ctx ended.
func (t *task) collect(ctx context.Context) bool {
	a := t.alloc
	a.mu.Lock()
	h, start := t.handle, t.rec.Start
	all := maps.Clone(a.detached)
	a.mu.Unlock()
	for name, rec := range all {
		if rec.Task != t.name || rec.Start != start || rec.Exit != nil {
			continue
		}
		for try := 0; ; try++ {
			exit, _, err := ended(ctx, h, name)
			if err == nil {
				err = a.noteDetached(ctx, name, exit)
			}
			if err == nil {
				break
			}
			if !sleep(ctx, nodeBackOff(try), nil) {
				return false
			}
		}
	}
	return true
}

// SignalDetached sends a signal to a command; with SIGKILL all that it began ends, too. kill notes that somebody wants its end.
func (a *Alloc) SignalDetached(ctx context.Context, name, signal string, kill bool) error {
	d, err := a.command(ctx, name)
	if err != nil {
		return err
	}
	if kill {
		err = a.changeDetached(ctx, name, func(rec *store.Detached) bool {
			was := rec.Killed
			rec.Killed = true
			return !was
		})
	}
	switch {
	case err != nil:
		return err
	case signal == "SIGKILL":
		return d.Stop(ctx, signal, 0)
	}
	return d.Signal(ctx, signal)
}

// DetachedTerminal opens the terminal that a command runs on.
func (a *Alloc) DetachedTerminal(ctx context.Context, name string) (drivers.Terminal, error) {
	d, err := a.command(ctx, name)
	if err != nil {
		return nil, err
	}
	t, ok := d.(drivers.Typist)
	if !ok {
		return nil, structs.Errorf(structs.Conflict, "command "+name, "it has no terminal")
	}
	return t.Terminal(ctx)
}

// ForgetDetached removes what is known of a command that has ended.
func (a *Alloc) ForgetDetached(ctx context.Context, name string) error {
	rec, h, _, err := a.look(name)
	if err != nil {
		return err
	}
	if rec.Exit == nil {
		return structs.Errorf(structs.Conflict, fmt.Sprintf("task %q", rec.Task), "its command %q runs", name)
	}
	if in, ok := h.(drivers.Detacher); ok {
		d, err := in.Detached(ctx, name)
		if err == nil {
			err = d.Destroy(ctx)
		}
		if err != nil && structs.KindOf(err) != structs.NotFound {
			return err
		}
	}
	a.dropDetached(name)
	return nil
}
