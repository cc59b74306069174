package state

import (
	"sync"
	"sync/atomic"

	"github.com/proffer/proffer/structs"
)

// Store is the state of a region on this server. Apply, ApplyEntry and Restore are called by one goroutine at a time, that
// of the Raft state machine; everything else from any.
type Store struct {
	current atomic.Pointer[Snapshot]

	// mu guards what the state machine works on: Apply and Restore hold it throughout, Image for a moment.
	mu       sync.Mutex
	work     trees
	answered answered

	watches watches
}

// New returns an empty store.
func New() *Store {
	s := &Store{work: newTrees(), answered: newAnswered()}
	s.current.Store(&Snapshot{trees: s.work.copied()})
	s.watches.init()
	return s
}

// Snapshot returns the state after the last entry.
func (s *Store) Snapshot() *Snapshot { return s.current.Load() }

// Entry is what one Raft entry carries.
type Entry struct {
	Time      structs.Time
	Envelopes []Envelope
}

// ApplyEntry decodes and applies an encoded entry. An error is of an entry that this binary does not know, and nothing was changed.
func (s *Store) ApplyEntry(index uint64, raw []byte) ([]Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := decodeEntry(raw)
	if err != nil {
		return nil, err
	}
	return s.apply(index, e), nil
}

// Apply applies an entry as one transaction and publishes what it changed as one snapshot. It returns one result for
// each envelope, in order.
func (s *Store) Apply(index uint64, e *Entry) []Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.apply(index, e)
}

func (s *Store) apply(index uint64, e *Entry) []Result {
	last := s.current.Load()
	tx := &Tx{Index: index, Now: max(e.Time, last.now), trees: &s.work, changes: make([]Change, 0, len(e.Envelopes))}
	results := make([]Result, len(e.Envelopes))
	for i := range e.Envelopes {
		env := &e.Envelopes[i]
		if env.Key != "" {
			if r, seen := s.answered.find(env.Key, env.Command.Kind()); seen {
				results[i] = r
				continue
			}
		}
		tx.Actor = env.Actor
		answer, err := tx.run(env.Command)
		results[i] = Result{Answer: answer, Err: err, Index: index}
		if env.Key != "" {
			s.answered.remember(env.Key, env.Command.Kind(), tx.Now, results[i])
		}
	}
	s.watches.publish(s, tx.publish(last), &Batch{Index: index, Time: tx.Now, Changes: tx.changes})
	return results
}
