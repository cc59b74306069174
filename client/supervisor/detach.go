//go:build unix

package supervisor

import (
	"context"
	"errors"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/structs"
)

// Commands that are detached. One is a task of the table: it has a slot, pipes that its stage keeps, and is taken over by the next supervisor.
// What differs is where it runs, and that it ends with the task that it is in.

// detach starts a command in a task that goes on by itself.
func (s *server) detach(ctx context.Context, t *task, d *exec.Detach) error {
	if d == nil || len(d.Args) == 0 || d.Args[0] == "" || !drivers.ValidDetached(d.Name) || d.LogName == "" || d.TTY != (d.Terminal != nil) {
		return structs.Errorf(structs.Invalid, "exec", "command, name, or log name is missing")
	}
	_, err := s.begin(ctx, func() (*task, error) { return s.reserveWithin(t, d) },
		func(c *task) (*process, error) { return s.host.detach(ctx, t, c.rec, d) })
	return err
}

// detachedLaunch is what the record of a detached command has: what its end and its output need, and nothing of its program.
func detachedLaunch(of *exec.Launch, d *exec.Detach) *exec.Launch {
	return &exec.Launch{ID: exec.DetachedID(of.ID, d.Name), Full: of.Full, SharedPID: of.SharedPID, Fenced: of.Fenced, LogDir: of.LogDir, LogName: d.LogName, LogFiles: d.LogFiles,
		LogFileSize: d.LogFileSize, Terminal: d.Terminal, Console: d.Console}
}

// reserveWithin is reserve for a command in a task.
func (s *server) reserveWithin(t *task, d *exec.Detach) (*task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	object := "task " + t.rec.Launch.ID
	switch {
	case t.rec.Within != 0:
		return nil, structs.Errorf(structs.Invalid, object, "it is a command, and none can be detached in it")
	case t.proc == nil || t.rec.Exit != nil:
		return nil, structs.Errorf(structs.Conflict, object, "it has ended")
	case len(s.detached(t)) >= drivers.MaxDetached:
		return nil, structs.Errorf(structs.Exhausted, object, "it has %d detached commands, and no more may be", drivers.MaxDetached).
			Advise("remove some that have ended")
	}
	return s.enlist(&record{Launch: detachedLaunch(t.rec.Launch, d), Within: t.rec.Seq, Command: d.Group})
}

// detached lists the commands of a task. s.mu is held.
func (s *server) detached(of *task) (all []*task) {
	if of.rec.Within != 0 {
		return nil
	}
	for _, t := range s.tasks {
		if t.rec.Within == of.rec.Seq {
			all = append(all, t)
		}
	}
	return all
}

// endDetached ends the commands of a task that has ended: from then on none begins. s.world is not held, since each that ends needs it.
func (s *server) endDetached(of *task) {
	s.mu.Lock()
	all := s.detached(of)
	s.mu.Unlock()
	for _, c := range all {
		s.work.Go(func() {
			if <-c.started; c.proc != nil && c.running() {
				s.mu.Lock()
				c.killed = true
				s.mu.Unlock()
				s.host.kill(c)
			}
		})
	}
	for _, c := range all {
		if <-c.started; c.proc != nil || !c.running() { // otherwise its start failed
			<-c.cleaned
		}
	}
}

// taskOf is the task that a command is in; nil: it is a task itself, or there is none any more. s.mu is not held.
func (s *server) taskOf(rec *record) *task {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tasks {
		if rec.Within != 0 && t.rec.Seq == rec.Within {
			return t
		}
	}
	return nil
}

// Detach starts a command in a task that goes on by itself, and returns once it runs. When the connection is lost in between, it finds out
// whether the command was started.
func (c *Client) Detach(ctx context.Context, id string, d *exec.Detach) error {
	f, err := c.Features(ctx)
	if err != nil {
		return err
	}
	if !f.Detached {
		return structs.Errorf(structs.Unavailable, "task "+id, "the supervisor that runs is older than the agent and knows no commands that outlive it").
			Advise("restart the agent, which replaces it; the log of the agent says why it could not")
	}
	if err := c.named(ctx, "task "+id, d.Arg0, d.Env); err != nil {
		return err
	}
	for again := false; ; again = true {
		l, err := c.link(ctx)
		if err != nil {
			return err
		}
		resp, err := l.call(ctx, &request{Op: opDetach, Task: id, Detach: d}, nil)
		if errors.Is(err, errLost) {
			<-l.done
			continue
		}
		err = failure(resp, err)
		if again && structs.KindOf(err) == structs.Conflict {
			if _, found := c.Status(ctx, exec.DetachedID(id, d.Name)); found == nil {
				return nil // the first attempt did it
			}
		}
		return err
	}
}
