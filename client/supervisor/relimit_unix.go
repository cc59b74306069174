//go:build unix

package supervisor

import (
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// limit gives a task that runs other limits, and writes them down: what is said of an end by them has to be right, whoever follows this process.
func (s *server) limit(t *task, to *drivers.Limits) error {
	object := "task " + t.rec.Launch.ID
	if to == nil {
		return structs.Errorf(structs.Invalid, object, "the limits are missing")
	}
	t.limiting.Lock()
	defer t.limiting.Unlock()
	s.world.RLock()
	defer s.world.RUnlock()
	if !t.running() || t.proc == nil {
		return structs.Errorf(structs.Conflict, object, "it has ended")
	}
	if err := s.host.relikely(t.rec, to.Revocable); err != nil && t.running() { // its limits matter more
		s.log.Warn("how soon a task goes for want of memory stays as it is", "task", t.rec.Launch.ID, "revocable", to.Revocable, "err", err)
	}
	err := s.host.limit(t.rec, *to)
	switch {
	case err != nil && !t.running():
		return structs.Errorf(structs.Conflict, object, "it has ended")
	case err != nil && structs.KindOf(err) != structs.Exhausted:
		return structs.Errorf(structs.Unavailable, object, "its limits cannot be changed: %w", err)
	}
	now := *to
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil { // its memory stays as it is
		now.Memory, now.MemoryMax = 0, t.rec.memory()
	}
	if failed := s.table.change(&change{Seq: t.rec.Seq, Limits: &now}); failed != nil {
		s.log.Error("limits could not be written down", "task", t.rec.Launch.ID, "err", failed)
	}
	if err != nil {
		return structs.Errorf(structs.Exhausted, object, "%w", err)
	}
	return nil
}
