package frameworktest

import (
	"context"
	"errors"
	"time"

	"github.com/proffer/proffer/agent/framework"
	"github.com/proffer/proffer/structs"
)

// Running is a scheduler that runs.
type Running struct {
	Driver *framework.Driver
	end    context.CancelCauseFunc
	done   chan struct{}
	err    error // once done is closed
}

var errStopped = errors.New("the test stopped it")

// Configure fills in what a scheduler needs to reach the region: servers, token, transport and pauses without chance.
func (r *Region) Configure(c framework.Config) framework.Config {
	for _, s := range r.servers {
		c.Servers = append(c.Servers, s.address())
	}
	c.Token, c.Transport, c.Log = token, r.net, logger("scheduler "+c.Name)
	c.Jitter = func(max time.Duration) time.Duration { return max / 2 }
	return c
}

// Run runs a scheduler, which build returns for its driver, until Stop, until it ends by itself, or until the test ends.
func (r *Region) Run(c framework.Config, build func(*framework.Driver) framework.Scheduler) *Running {
	r.t.Helper()
	d, err := framework.New(r.Configure(c))
	r.check(err)
	s := build(d)
	run := &Running{Driver: d, done: make(chan struct{})}
	var ctx context.Context
	ctx, run.end = context.WithCancelCause(r.ctx)
	r.work.Go(func() {
		defer close(run.done)
		run.err = d.Run(ctx, s)
	})
	return run
}

// Stop ends the process of the scheduler, as kill -9 does: the region finds out when its connection ends. Its framework lives on.
func (x *Running) Stop() {
	x.end(errStopped)
	<-x.done
}

// Ended reports whether the scheduler ended.
func (x *Running) Ended() bool {
	select {
	case <-x.done:
		return true
	default:
		return false
	}
}

// Wait waits for its end, and returns the error of Driver.Run.
func (x *Running) Wait() error {
	<-x.done
	return x.err
}

// MemoryID keeps the id of a framework for several schedulers of a test, one after the other.
type MemoryID struct{ id string }

// Load returns the id.
func (m *MemoryID) Load(context.Context) (string, error) { return m.id, nil }

// Save keeps it.
func (m *MemoryID) Save(_ context.Context, id string) error {
	if m.id != "" && m.id != id {
		return structs.Errorf(structs.Conflict, "framework "+m.id, "it has an id already")
	}
	m.id = id
	return nil
}
