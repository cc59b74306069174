package mock

import (
	"context"
	"strings"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Detach plays a command as Exec does: it says exec_stdout, or its arguments, and ends after exec_run_for with exec_exit_code, or with its task.
func (t *task) Detach(_ context.Context, d *drivers.Detach) (drivers.Detached, error) {
	if !drivers.ValidDetached(d.Name) || d.LogName == "" || len(d.Args) == 0 {
		return nil, structs.Errorf(structs.Invalid, "task "+t.id, "no command, no name that can be one, or none for its output is given")
	}
	now := time.Now()
	t.machine.mu.Lock()
	defer t.machine.mu.Unlock()
	switch {
	case t.ended(now):
		return nil, structs.Errorf(structs.Conflict, "task "+t.id, "it does not run")
	case t.detached[d.Name] != nil:
		return nil, structs.Errorf(structs.Conflict, "task "+t.id, "it has a command %q already", d.Name)
	case len(t.detached) >= drivers.MaxDetached:
		return nil, structs.Errorf(structs.Exhausted, "task "+t.id, "it has %d detached commands, and no more may be", drivers.MaxDetached)
	}
	text := t.config.ExecStdout
	if text == "" {
		text = strings.Join(d.Args, " ") + "\n"
	}
	if err := write(t.id, t.logs, d.LogName, map[string]string{"stdout": text}); err != nil {
		return nil, err
	}
	p := newProcess(t.machine, t.id+"/"+d.Name, &Config{RunFor: t.config.ExecRunFor, ExitCode: t.config.ExecExitCode}, 1, now, drivers.Limits{})
	if !t.ends.IsZero() && p.ends.After(t.ends) {
		p.end(t.ends, drivers.Exit{Code: 137, Signal: 9})
	}
	if t.detached == nil {
		t.detached = map[string]*process{}
	}
	t.detached[d.Name] = p
	return &command{task{p}, t.process, d.Name}, nil
}

// Detached finds one by its name.
func (t *task) Detached(_ context.Context, name string) (drivers.Detached, error) {
	t.machine.mu.Lock()
	defer t.machine.mu.Unlock()
	p := t.detached[name]
	if p == nil || t.machine.tasks[t.id] != t.process {
		return nil, structs.Errorf(structs.NotFound, "task "+t.id, "it has no command %q", name)
	}
	return &command{task{p}, t.process, name}, nil
}

// command is a view of one that was detached.
type command struct {
	task
	of   *process
	name string
}

// Destroy forgets it.
func (c *command) Destroy(context.Context) error {
	c.machine.mu.Lock()
	defer c.machine.mu.Unlock()
	if !c.ended(time.Now()) {
		return structs.Errorf(structs.Conflict, "task "+c.id, "it still runs")
	}
	delete(c.of.detached, c.name)
	return nil
}
