package state

import (
	"sync"

	"github.com/proffer/proffer/structs"
)

// trying is held while a snapshot's trees are copied: a copy notes in the original that the two share nodes.
var trying sync.Mutex

// Try says what a command would answer if it came next, and changes nothing that anybody sees. now is the time of its entry.
// It may be called from any goroutine; it costs what the command touches.
func (s *Snapshot) Try(c Command, now structs.Time) (answer any, err error) {
	trying.Lock()
	copied := s.copied()
	trying.Unlock()
	tx := &Tx{Index: s.index + 1, Now: max(now, s.now), trees: &copied}
	return tx.run(c)
}

// Fork returns a store that begins with the state of a snapshot and goes its own way: nothing that is applied to it reaches
// the store that the snapshot is of. Idempotency keys are not remembered. It costs nothing to speak of.
func (s *Snapshot) Fork() *Store {
	f := New()
	trying.Lock()
	f.work = s.trees.copied()
	trying.Unlock()
	copied := *s
	copied.trees = f.work.copied()
	f.current.Store(&copied)
	return f
}
