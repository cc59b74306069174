package consensus

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// fsm puts committed entries into the store. Raft calls it from one goroutine.
type fsm struct {
	store *state.Store
	node  *Node

	bytes   atomic.Int64  // of entries since the last snapshot
	entries atomic.Uint64 // since the last snapshot
	saved   atomic.Int64  // bytes of the last snapshot
}

// Apply returns []state.Result. When the node has failed nothing is applied, so that the state stays what it
// was up to some entry.
func (f *fsm) Apply(l *raft.Log) any {
	if f.node.failed.Load() {
		return errFailed
	}
	results, err := f.store.ApplyEntry(l.Index, l.Data)
	if err != nil {
		f.node.fail("apply", fmt.Errorf("entry %d cannot be read, and a server that skips one has a wrong state: %w", l.Index, err))
		return errFailed
	}
	for i := range results {
		if err := results[i].Err; err != nil && structs.KindOf(err) == structs.Internal && !results[i].Again {
			f.node.log.Error("a command failed through a fault of Proffer; it changed nothing", "index", l.Index, "err", err, "cause", errors.Unwrap(err))
		}
	}
	f.bytes.Add(int64(len(l.Data)))
	f.entries.Add(1)
	return results
}

// Snapshot takes an image, which costs nothing; it is written while further entries are applied.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	return &fsmSnapshot{fsm: f, image: f.store.Image(), bytes: f.bytes.Load(), entries: f.entries.Load()}, nil
}

// Restore replaces the state, at start and when the leader or an operator sends a snapshot.
func (f *fsm) Restore(from io.ReadCloser) error {
	defer from.Close()
	f.bytes.Store(0)
	f.entries.Store(0)
	return f.store.Restore(from)
}

type fsmSnapshot struct {
	fsm     *fsm
	image   *state.Image
	bytes   int64
	entries uint64
}

// Persist writes the image to sink.
func (s *fsmSnapshot) Persist(sink raft.SnapshotSink) error {
	w := &countingWriter{w: sink}
	if err := s.image.Persist(w); err != nil {
		return fmt.Errorf("write snapshot: %w", joinErrors(err, sink.Cancel()))
	}
	if err := sink.Close(); err != nil {
		return err
	}
	s.fsm.saved.Store(w.n)
	s.fsm.bytes.Add(-s.bytes)
	s.fsm.entries.Add(-s.entries)
	return nil
}

// Release has nothing to let go of: the image is garbage afterwards.
func (s *fsmSnapshot) Release() {}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
