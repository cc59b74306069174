package consensus

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/structs"
)

// Raft panics when it cannot save its term or read what it is about to apply. With these stores it never learns of that:
// the node fails first, see Node.fail, and a failed node sends nothing, stores nothing and applies nothing, so what raft
// believes from then on does no harm.

// guardedLogs stands between raft and the log. It knows how long a write has been under way, has the node fail when the
// log cannot be trusted any more, and mends what raft leaves behind when it is interrupted between a snapshot and the
// removal of the log before it.
type guardedLogs struct {
	raft.LogStore
	snapshots raft.SnapshotStore
	node      *Node

	since    atomic.Int64                  // unix nanoseconds at which the write under way began; 0: none
	stalled  atomic.Bool                   // set by watchDisk
	cut      atomic.Bool                   // the end was removed, and nothing was appended since
	believed atomic.Uint64                 // raft may take this for the last entry, although all of them were removed; 0: it does not
	applied  atomic.Pointer[func() uint64] // what raft applied last; nil: it is being started
}

// IsMonotonic passes on whether the store refuses gaps.
func (l *guardedLogs) IsMonotonic() bool {
	m, ok := l.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// GetLog reads one entry. What cannot be read makes the node fail, and reads as an entry without effect.
func (l *guardedLogs) GetLog(index uint64, log *raft.Log) error {
	err := l.LogStore.GetLog(index, log)
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, raft.ErrLogNotFound):
		l.node.fail("read log", err)
		*log = raft.Log{Index: index, Type: raft.LogNoop}
		return nil
	case index <= l.believed.Load():
		return l.phantom(index, log)
	}
	return err
}

// phantom answers for entries that were removed when a snapshot was installed and that raft still believes in, as it does
// when they reach beyond the snapshot: it would ask for the snapshot again, and again. They are of term 0, which is no
// leader's, so raft replaces them by what the leader sends. What the snapshot ends with is as it was.
func (l *guardedLogs) phantom(index uint64, log *raft.Log) error {
	meta, err := l.installed()
	if err != nil || meta == nil || index < meta.Index {
		return raft.ErrLogNotFound
	}
	*log = raft.Log{Index: index}
	if index == meta.Index {
		log.Term = meta.Term
	}
	return nil
}

// installed describes the snapshot with which raft's state begins, as long as no entry follows it; nil: there is none. A leader may have
// sent one that is older than one of this server's own, so it need not be the newest.
func (l *guardedLogs) installed() (*raft.SnapshotMeta, error) {
	applied := l.applied.Load()
	if applied == nil {
		return l.newest()
	}
	metas, err := l.snapshots.List()
	for _, meta := range metas {
		if meta.Index == (*applied)() {
			return meta, err
		}
	}
	return nil, err
}

// newest describes the newest snapshot; nil: there is none.
func (l *guardedLogs) newest() (*raft.SnapshotMeta, error) {
	metas, err := l.snapshots.List()
	if err != nil || len(metas) == 0 {
		return nil, err
	}
	return metas[0], nil
}

// StoreLog writes one entry.
func (l *guardedLogs) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

// StoreLogs writes entries. A full disk may have room later; after another error this server's part in Raft ends.
func (l *guardedLogs) StoreLogs(logs []*raft.Log) error {
	if l.node.failed.Load() {
		return errFailed
	}
	l.since.Store(time.Now().UnixNano())
	defer l.since.Store(0)
	err := l.bridge(logs[0].Index)
	if err == nil {
		err = l.LogStore.StoreLogs(logs)
	}
	switch {
	case err == nil:
		l.cut.Store(false)
		l.believed.Store(0)
	case structs.KindOf(err) != structs.Exhausted || l.cut.Load(): // raft forgets that it removed entries first
		l.node.fail("append", err)
	}
	return err
}

// bridge makes room for an entry that follows the newest snapshot and not the log: raft installs a snapshot first and
// removes the log before it second, and a crash or a full disk may come between.
func (l *guardedLogs) bridge(index uint64) error {
	if !l.IsMonotonic() {
		return nil
	}
	first, err := l.FirstIndex()
	if err != nil {
		return err
	}
	last, err := l.LastIndex()
	if err != nil || last > 0 && index <= last+1 || last == 0 && index == 1 {
		return err
	}
	meta, err := l.newest()
	switch {
	case err != nil:
		return err
	case meta == nil || index > meta.Index+1:
		return structs.Errorf(structs.Internal, "log", "entry %d follows neither entry %d nor a snapshot", index, last)
	case last == 0:
		return nil
	}
	return l.LogStore.DeleteRange(first, last)
}

// DeleteRange removes entries at one end.
func (l *guardedLogs) DeleteRange(low, high uint64) error {
	if l.node.failed.Load() {
		return errFailed
	}
	first, err := l.FirstIndex()
	if err != nil {
		return err
	}
	last, err := l.LastIndex()
	if err != nil {
		return err
	}
	if err := l.LogStore.DeleteRange(low, high); err != nil {
		if structs.KindOf(err) != structs.Exhausted {
			l.node.fail("truncate", err)
		}
		return err
	}
	if last > 0 && high >= last {
		l.cut.Store(low > first)
		if low <= first {
			l.believed.Store(last)
		}
	}
	return nil
}

// keyVoteTerm and keyVote are those of raft: the term of the last vote, and for whom it was.
const (
	keyVoteTerm = "LastVoteTerm"
	keyVote     = "LastVoteCand"
)

// guardedStable stands between raft and its stable store. Raft writes a vote in two parts; a crash between them would
// leave the new term with the old name, and this server would then vote for that name without looking at its log. So the
// first part waits for the second, and both are written at once. When nothing can be written any more, the node fails.
type guardedStable struct {
	raft.StableStore
	node *Node
	vote *uint64 // the term of a vote whose name comes next; raft writes votes from one goroutine
}

// setter is a store that can write a number and a value at once.
type setter interface {
	SetBoth(number []byte, n uint64, key, value []byte) error
}

// SetUint64 stores a number. When that fails, the node does.
func (s *guardedStable) SetUint64(key []byte, value uint64) error {
	if s.node.failed.Load() {
		return nil
	}
	if _, ok := s.StableStore.(setter); ok && string(key) == keyVoteTerm {
		s.vote = &value
		return nil
	}
	if err := s.StableStore.SetUint64(key, value); err != nil {
		s.node.fail("store", err)
	}
	return nil
}

// Set stores a value.
func (s *guardedStable) Set(key, value []byte) error {
	if s.node.failed.Load() {
		return errFailed
	}
	var err error
	all, ok := s.StableStore.(setter)
	if ok && string(key) == keyVote && s.vote != nil {
		err = all.SetBoth([]byte(keyVoteTerm), *s.vote, key, value)
		s.vote = nil
	} else {
		err = s.StableStore.Set(key, value)
	}
	if err != nil {
		s.node.fail("store", err)
	}
	return err
}

// guardedSnapshots does not let raft begin with a snapshot that does not reach the log: what lies between them is lost.
type guardedSnapshots struct {
	raft.SnapshotStore
	logs raft.LogStore
	node *Node
}

// Create begins a snapshot.
func (s *guardedSnapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, trans raft.Transport) (raft.SnapshotSink, error) {
	if s.node.failed.Load() {
		return nil, errFailed
	}
	return s.SnapshotStore.Create(version, index, term, configuration, configurationIndex, trans)
}

// List returns the snapshots that the log goes on from, newest first, and fails when there should be one.
func (s *guardedSnapshots) List() ([]*raft.SnapshotMeta, error) {
	first, err := s.logs.FirstIndex()
	if err != nil {
		return nil, err
	}
	metas, err := s.SnapshotStore.List()
	if err != nil || first <= 1 {
		return metas, err
	}
	n := 0
	for n < len(metas) && metas[n].Index+1 >= first {
		n++
	}
	if n == 0 {
		return nil, structs.Errorf(structs.Internal, "snapshots", "the log begins at entry %d, and no snapshot reaches it", first).
			Advise("take this server out, remove its data folder and let it join again, or restore a snapshot")
	}
	return metas[:n], nil
}

// abandonBootstrap lets a region be made where a crash came between the two steps of that: raft writes the first term, then
// the first entry, and takes the term alone for a server that is in use. Such a server has answered nobody: the first
// election is of a later term.
func abandonBootstrap(logs raft.LogStore, stable raft.StableStore, snapshots raft.SnapshotStore) error {
	term, err := stable.GetUint64([]byte("CurrentTerm"))
	if err != nil || term != 1 { // in-memory stores have an error for what is not there
		return nil
	}
	last, err := logs.LastIndex()
	if err != nil || last > 0 {
		return err
	}
	metas, err := snapshots.List()
	if err != nil || len(metas) > 0 {
		return err
	}
	if err := stable.SetUint64([]byte("CurrentTerm"), 0); err != nil {
		return fmt.Errorf("forget the first term: %w", err)
	}
	return nil
}
