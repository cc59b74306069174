package client

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/proffer/proffer/client/logs"
	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/client/taskdir"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// ErrHeld is wrapped by the error of Detach in a task whose driver knows no commands that outlive the agent.
var ErrHeld = runner.ErrHeld

// Detached is a command in a task that nobody holds.
type Detached struct {
	Alloc structs.AllocID
	Name  string
	store.Detached
}

// Detach starts a command in a task that goes on by itself, and returns once it runs. label is what the caller calls it; LogName is the node's.
func (c *Client) Detach(ctx context.Context, alloc structs.AllocID, task, label string, d *drivers.Detach) error {
	run, err := c.run(alloc)
	if err != nil {
		return err
	}
	return run.Detach(ctx, task, label, d)
}

// Detached returns all that were not forgotten. Those of allocations that nobody knows any more are forgotten with that.
func (c *Client) Detached() (out []Detached) {
	c.store.EachDetached(func(id structs.AllocID, name string, d *store.Detached) {
		if _, _, err := c.tasksOf(id); structs.KindOf(err) == structs.NotFound {
			c.store.Enqueue(store.DeleteDetached(id, name))
			return
		}
		out = append(out, Detached{id, name, *d})
	})
	return out
}

// AwaitDetached returns how a command ended, once it did.
func (c *Client) AwaitDetached(ctx context.Context, alloc structs.AllocID, name string) (Detached, error) {
	var rec *store.Detached
	run, err := c.run(alloc)
	if err == nil {
		rec, err = run.AwaitDetached(ctx, name)
	} else if rec, err = c.store.Detached(alloc, name); err == nil && rec.Exit == nil {
		rec.Exit = &drivers.Exit{Code: -1, Why: "nobody knows how it ended"}
	}
	if err != nil {
		return Detached{}, err
	}
	return Detached{alloc, name, *rec}, nil
}

// SignalDetached sends a signal to a command; with SIGKILL all that it began ends, too. kill says that it is to end of it.
func (c *Client) SignalDetached(ctx context.Context, alloc structs.AllocID, name, signal string, kill bool) error {
	run, err := c.run(alloc)
	if err != nil {
		return err
	}
	return run.SignalDetached(ctx, name, signal, kill)
}

// DetachedTerminal opens the terminal that a command runs on.
func (c *Client) DetachedTerminal(ctx context.Context, alloc structs.AllocID, name string) (drivers.Terminal, error) {
	run, err := c.run(alloc)
	if err != nil {
		return nil, err
	}
	return run.DetachedTerminal(ctx, name)
}

// ForgetDetached removes what is known of a command that has ended, with its output. One that is not known is no error.
func (c *Client) ForgetDetached(ctx context.Context, alloc structs.AllocID, name string) error {
	rec, err := c.store.Detached(alloc, name)
	if err == nil {
		var run *runner.Alloc
		if run, err = c.run(alloc); err == nil {
			err = run.ForgetDetached(ctx, name)
		} else {
			c.store.Enqueue(store.DeleteDetached(alloc, name))
			err = nil
		}
		if err == nil {
			err = logs.Remove(taskdir.At(c.allocRoot(), alloc).Logs(), logs.OfCommand(rec.Task, name))
		}
	}
	if structs.KindOf(err) == structs.NotFound {
		return nil
	}
	return err
}

// DetachedLogs writes what a command said to a stream to w, from the last so many bytes on, until ended is closed and all was written. It can be
// read until the folder of the allocation is removed.
func (c *Client) DetachedLogs(ctx context.Context, d Detached, stream logs.Stream, tail int64, ended <-chan struct{}, w io.Writer) error {
	dir, err := c.dirOf(d.Alloc)
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir.Logs()); errors.Is(err, fs.ErrNotExist) { // what is watched must be there
		if err := os.MkdirAll(dir.Logs(), 0o755); err != nil {
			return fileError(taskdir.Logs, err)
		}
	}
	reader, err := logs.Open(dir.Logs(), logs.OfCommand(d.Task, d.Name), stream)
	if err != nil {
		return err
	}
	defer reader.Close()
	first, end, err := reader.Bounds()
	if err != nil {
		return err
	}
	_, err = reader.Follow(ctx, w, max(first, end-tail), ended)
	return err
}
