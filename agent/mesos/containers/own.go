package containers

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/pause"
	"github.com/proffer/proffer/structs"
)

// Containers that are no sessions. Each is a command that the node keeps by itself: it outlives this agent, what it says is in files, and how it
// ended is known until it is removed. Where a driver knows no such commands, they are held as sessions are, and end with the agent.

// launchOwn begins one, and returns once it runs.
func (c *Containers) launchOwn(ctx context.Context, p place, cmd drivers.Command, size *drivers.Size) (*container, error) {
	own := &client.Detached{Alloc: p.alloc, Name: structs.NewID()}
	own.Task = p.task
	c.mu.Lock()
	x, err := c.enter(p)
	if err == nil {
		x.tty, x.own = cmd.TTY, own
	}
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	d := &drivers.Detach{Name: x.own.Name, Args: cmd.Args, Arg0: cmd.Arg0, Env: cmd.Env, LogFiles: keptFiles, LogFileSize: keptSize}
	if cmd.TTY {
		if d.Terminal = size; size == nil {
			d.Terminal = &drivers.Size{}
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience) // whoever asked may go: the container is there or not
	defer cancel()
	err = c.node.Detach(ctx, p.alloc, p.task, p.key, d)
	if missing := (*drivers.NoProgram)(nil); errors.As(err, &missing) { // as Mesos has it, that is how the container ended
		x.cancel()
		c.over(x, drivers.Exit{Code: missing.Code, Why: missing.Error()}, nil)
		return x, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil: // whoever waits for it already is told, and it is known no more
		x.err = err
		delete(c.all, x.key)
		c.running--
		x.cancel()
		close(x.done)
		return nil, err
	case c.closed: // it goes on, and is found again
		c.running--
		x.cancel()
		close(x.done)
	default:
		c.work.Go(func() { c.watch(x) })
	}
	return x, nil
}

// watch waits for the end of a container that goes on by itself, and ends it when it is to end. It returns when the agent ends.
func (c *Containers) watch(x *container) {
	defer x.cancel()
	var ending sync.WaitGroup
	defer ending.Wait()
	waiting, cancel := context.WithCancel(c.ctx)
	defer cancel()
	ending.Go(func() {
		select {
		case <-x.ctx.Done():
		case <-waiting.Done():
		}
		for c.ctx.Err() == nil && waiting.Err() == nil { // without the first what is within others would end with the agent
			err := c.node.SignalDetached(waiting, x.alloc, x.own.Name, "SIGKILL", true)
			if err == nil || over(err) || !pause.For(waiting, killAgain) {
				return
			}
			c.log.Warn("a container within a task cannot be ended now, and is told so again", "container", x.key, "err", err)
		}
	})
	end, err := c.node.AwaitDetached(c.ctx, x.alloc, x.own.Name)
	if c.ctx.Err() != nil {
		return // it goes on, and is found again
	}
	exit := drivers.Exit{Code: -1}
	if err == nil && end.Exit != nil {
		exit = *end.Exit
	}
	if end.Killed {
		c.mu.Lock()
		x.killed = true
		c.mu.Unlock()
	}
	c.over(x, exit, err)
}

// killAgain is after how long one is told again to end that could not be.
const killAgain = time.Second

// over reports whether an error says that there is nothing to end any more.
func over(err error) bool {
	kind := structs.KindOf(err)
	return kind == structs.Conflict || kind == structs.NotFound
}

// remember makes the table of what the node knows. Who was within a container that is not there any more, as sessions are not after a restart,
// ends.
func (c *Containers) remember() {
	all := c.node.Detached()
	slices.SortFunc(all, func(a, b client.Detached) int {
		return cmp.Or(cmp.Compare(strings.Count(a.Label, "/"), strings.Count(b.Label, "/")), cmp.Compare(a.Begun, b.Begun))
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range all {
		x := &container{place: place{alloc: d.Alloc, task: d.Task, inner: true, key: d.Label, above: aboveOf(d)}, tty: d.Terminal, own: &d, done: make(chan struct{}),
			killed: d.Killed}
		above, orphan := context.Background(), false
		if old := c.all[x.key]; old != nil { // it could not be forgotten when it gave way to another one of its id
			if old.over() {
				c.forget(x.key)
				c.work.Go(func() { c.forgetOwn(c.ctx, old) })
			} else {
				continue
			}
		}
		if x.above != "" {
			parent := c.all[x.above]
			if orphan = parent == nil || parent.over(); !orphan {
				above = parent.ctx
			}
		}
		x.ctx, x.cancel = context.WithCancel(above)
		c.all[x.key] = x
		if d.Exit != nil {
			x.exit = *d.Exit
			x.cancel()
			close(x.done)
			c.keep(x)
			continue
		}
		if orphan {
			x.cancel()
		}
		c.running++
		c.work.Go(func() { c.watch(x) })
	}
}

// aboveOf is the key of the container that one is within; empty: that is its task.
func aboveOf(d client.Detached) string {
	parts := strings.Split(d.Label, "/")
	inner := parts[1:]
	if len(inner) > 0 && strings.HasPrefix(inner[0], parts[0]+".") {
		inner = inner[1:]
	}
	if len(inner) < 2 {
		return ""
	}
	return strings.Join(parts[:len(parts)-1], "/")
}

// forgetOwn has the node forget one that ended.
func (c *Containers) forgetOwn(ctx context.Context, x *container) error {
	err := c.node.ForgetDetached(ctx, x.alloc, x.own.Name)
	if err != nil && ctx.Err() == nil {
		c.log.Warn("what is left of a container within a task goes with its task", "container", x.key, "err", err)
	}
	return err
}

// signal sends a signal to a container that goes on by itself.
func (c *Containers) signal(ctx context.Context, x *container, number int32) error {
	if number == sigkill {
		c.kill(x)
		return nil
	}
	err := c.node.SignalDetached(ctx, x.alloc, x.own.Name, strconv.Itoa(int(number)), number == sigterm)
	switch {
	case err == nil, over(err): // as with one that is killed after its end
		return nil
	case structs.KindOf(err) == structs.Invalid:
		return mesos.Refuse(http.StatusBadRequest, "%v", err)
	}
	return err
}

// held reports whether a launch has to be held here.
func held(err error) bool { return errors.Is(err, client.ErrHeld) }
