//go:build unix

package supervisor

import (
	"context"
	"time"

	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/structs"
)

// How a task, or a command that is detached in one, begins: the intent is written down before there is a process.

// start starts a task. It returns once the program runs.
func (s *server) start(ctx context.Context, l *exec.Launch) (*exec.Status, error) {
	if l == nil || l.ID == "" || !l.Hold && (l.Program == "" || l.LogDir == "" || l.LogName == "") || (l.Container == "") != (l.PidFile == "") {
		return nil, structs.Errorf(structs.Invalid, "task", "id, program, or log folder is missing")
	}
	return s.begin(ctx, func() (*task, error) { return s.reserve(l) }, func(t *task) (*process, error) { return s.host.start(ctx, t.rec) })
}

// begin gives a task its place in the table, then its process.
func (s *server) begin(ctx context.Context, reserve func() (*task, error), start func(*task) (*process, error)) (*exec.Status, error) {
	select {
	case s.lanes <- struct{}{}:
		defer func() { <-s.lanes }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.world.RLock()
	defer s.world.RUnlock()
	t, err := reserve()
	if err != nil {
		return nil, err
	}
	l := t.rec.Launch
	if len(l.Cores) > 0 {
		s.pin()
	}
	proc, err := start(t)
	s.mu.Lock()
	if err != nil {
		s.drop(t)
		close(t.started)
		s.mu.Unlock()
		if len(l.Cores) > 0 {
			s.pin()
		}
		return nil, err
	}
	t.proc = proc
	change := &change{Seq: t.rec.Seq, PID: proc.pid, Birth: proc.birth(), Started: structs.At(time.Now())}
	if err := s.table.change(change); err != nil {
		s.log.Error("a start could not be written down", "task", l.ID, "err", err)
	}
	status := t.rec.status()
	close(t.started)
	s.mu.Unlock()
	if l.Container != "" && len(l.Cores) == 0 {
		s.pin()
	}
	s.hold(t)
	return status, nil
}

// reserve gives a new task its number and writes the intent down.
func (s *server) reserve(l *exec.Launch) (*task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec := &record{Launch: l, Cgroup: s.host.cgroupPath(s.seq + 1)}
	if l.Container != "" {
		rec.Cgroup = l.Container
	}
	return s.enlist(rec)
}

// enlist is for reserve: the number, the slot and the intent of a record. s.mu is held.
func (s *server) enlist(rec *record) (*task, error) {
	l := rec.Launch
	if s.tasks[l.ID] != nil {
		return nil, structs.Errorf(structs.Conflict, "task "+l.ID, "it was started already")
	}
	if l.Fenced && s.host.lease() <= Now() {
		return nil, structs.Errorf(structs.Unavailable, "task "+l.ID, "the node has no lease, and the task may only run under one").
			Advise("it starts when the node reaches a server")
	}
	s.seq++
	rec.Seq = s.seq
	if n := len(s.slots); n > 0 {
		rec.Slot, s.slots = s.slots[n-1], s.slots[:n-1]
	} else {
		s.topSlot++
		rec.Slot = s.topSlot
	}
	t := newTask(rec)
	if err := s.table.put(rec); err != nil {
		s.slots = append(s.slots, rec.Slot)
		return nil, err
	}
	s.tasks[l.ID] = t
	return t, nil
}

// drop removes a task that has no process, and no commands. s.mu is held.
func (s *server) drop(t *task) {
	delete(s.tasks, t.rec.Launch.ID)
	s.slots = append(s.slots, t.rec.Slot)
	if err := s.table.delete(t.rec.Seq); err != nil {
		s.log.Error("a removal could not be written down", "task", t.rec.Launch.ID, "err", err)
	}
	s.poke()
}
