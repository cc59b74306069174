//go:build unix

package supervisor

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/proffer/proffer/client/logs"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// What a task writes, and how it ends: by itself, or because somebody stops it.

// outcome is how a process ended, as the host learned it.
type outcome struct {
	code, signal int
	fence        bool // its stage ended it because the lease passed
	lost         bool // nobody knows
}

func (o outcome) exit() drivers.Exit {
	switch {
	case o.lost:
		return drivers.Exit{Code: -1, Why: "it ended while no supervisor ran, and nothing wrote down how"}
	case o.signal != 0:
		return drivers.Exit{Code: 128 + o.signal, Signal: o.signal}
	}
	return drivers.Exit{Code: o.code}
}

// hold watches a running task from now on: its output and its end. A pipe that did not come with the process is opened.
func (s *server) hold(t *task) {
	var pumps sync.WaitGroup
	over := make(chan struct{}) // closed when the process has ended
	for i, to := range []*logs.Writer{t.out, t.err} {
		if t.rec.Launch.Hold {
			break // nothing writes anything
		}
		move := to.FromPipe
		if t.rec.Launch.Terminal != nil {
			if i > 0 {
				continue // a terminal has one stream
			}
			move = to.FromTerminal
		}
		pumps.Add(1)
		s.work.Go(func() {
			defer pumps.Done()
			from := t.proc.pipes[i]
			if from == nil {
				if from = s.reopen(t.rec.Launch.ID, func() (*os.File, error) { return t.proc.open(i) }, over); from == nil {
					return
				}
				s.mu.Lock()
				t.proc.pipes[i] = from
				s.mu.Unlock()
				select {
				case <-over:
					from.SetReadDeadline(time.Now().Add(lastWords))
				default:
				}
			}
			s.pump(from, move)
		})
	}
	s.work.Go(func() {
		o := t.proc.wait()
		close(over)
		// What it left running goes with it, and does not hold its pipes: of other tasks, the stage has seen to that. clean below says what went wrong.
		if s.world.RLock(); t.rec.Within != 0 {
			s.host.clean(t.rec)
		} else if t.rec.Launch.SharedPID {
			s.host.killRest(t.rec)
		}
		s.world.RUnlock()
		// What the task wrote is in the pipes, and nobody writes any more. A descriptor that it passed to somebody outside
		// does not hold us: once a pipe is empty for a second, that is all.
		s.mu.Lock()
		pipes := t.proc.pipes
		s.mu.Unlock()
		for _, f := range pipes {
			if f != nil {
				f.SetReadDeadline(time.Now().Add(lastWords))
			}
		}
		pumps.Wait()
		s.world.RLock()
		exit := o.exit()
		if exit.Code != 0 {
			s.explain(t, o, &exit)
		}
		s.finish(t, exit)
		s.world.RUnlock()
		s.clean(t)
	})
}

// lastWords is how long a pipe is read after the end of its task when somebody else has it open.
const lastWords = time.Second

// explain adds what the status alone does not say.
func (s *server) explain(t *task, o outcome, exit *drivers.Exit) {
	s.mu.Lock()
	fenced, killed, limit := t.fenced || o.fence, t.killed, t.rec.memory()
	s.mu.Unlock()
	kills := s.host.oomKills(t.rec)
	switch {
	case fenced:
		exit.Why = "the node's lease ended, and the task may only run under one"
	case kills > 0 && !killed && (exit.Code == 137 || exit.Signal == 9):
		exit.OOM = true
		exit.Why = fmt.Sprintf("the kernel killed it for using more than its memory limit of %v", limit)
	case kills > 0:
		exit.Why = fmt.Sprintf("the kernel killed %d of its processes for using more than its memory limit of %v", kills, limit)
	}
}

// finish records the end.
func (s *server) finish(t *task, exit drivers.Exit) {
	t.out.Close()
	t.err.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.table.change(&change{Seq: t.rec.Seq, Ended: structs.At(time.Now()), Exit: &exit}); err != nil {
		s.log.Error("an end could not be written down", "task", t.rec.Launch.ID, "err", err)
	}
	close(t.ended)
	s.poke()
}

// clean ends the commands that were detached in an ended task, and removes what it left on the host.
func (s *server) clean(t *task) {
	s.endDetached(t)
	s.world.RLock()
	defer s.world.RUnlock()
	if err := s.host.clean(t.rec); err != nil {
		s.log.Error("an ended task left something behind", "task", t.rec.Launch.ID, "err", err)
	}
	if len(t.rec.Launch.Cores) > 0 {
		s.pin()
	}
	if t.proc != nil {
		t.proc.close()
		s.roomier()
	}
	close(t.cleaned)
}

// stop ends a task. It goes on when whoever asked for it is gone.
func (s *server) stop(t *task, signal int, grace time.Duration) {
	if t.running() && t.proc != nil {
		if grace > 0 {
			s.host.signal(t.proc, signal)
			timer := time.NewTimer(grace)
			select {
			case <-t.ended:
			case <-timer.C:
			}
			timer.Stop()
		}
		if t.running() {
			s.mu.Lock()
			t.killed = true
			s.mu.Unlock()
			s.host.kill(t)
		}
	}
	<-t.ended
	<-t.cleaned
}

func (s *server) forget(ctx context.Context, id string) error {
	t, err := s.find(ctx, id)
	if structs.KindOf(err) == structs.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	if t.running() {
		return structs.Errorf(structs.Conflict, "task "+id, "it runs").Advise("stop it first")
	}
	select {
	case <-t.cleaned:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tasks[id] == t {
		for _, c := range s.detached(t) {
			s.drop(c)
		}
		s.drop(t)
	}
	return nil
}
