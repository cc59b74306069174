// Package store is the durable memory of a node: what it was told to run, what it started, and how that ended. It is a
// small log of keys and values with an index in memory; many records share one fsync. See DESIGN.md.
package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/proffer/proffer/structs"
)

// lazyDelay is how long records of Enqueue wait for a Commit to travel with.
const lazyDelay = 25 * time.Millisecond

// compactFloor is the size below which a segment is not compacted.
var compactFloor int64 = 4 << 20 // changed by tests only

// Op is one change: a put, or a delete. Make them with the functions of records.go.
type Op struct {
	key   string
	value []byte
	del   bool
}

// batch is what one frame carries.
type batch struct {
	frame   []byte // with room for the header
	records int
	done    chan struct{} // closed when err is known
	err     error
}

// Store holds the records of one node. Its methods may be called from any goroutine. One goroutine writes; Close waits for it.
type Store struct {
	disk Disk
	dir  string

	mu      sync.Mutex
	pending *batch        // what the next frame carries
	wake    chan struct{} // capacity 1
	closed  bool
	err     error // of the last write; nil when it went well
	timer   bool  // a timer of Enqueue runs

	// The writer's, and readers' under read.
	read    sync.RWMutex
	file    File
	index   map[string]place
	end     int64
	number  uint64
	segment uint64
	live    int64 // bytes of keys and values in index
	broken  bool  // the end of file cannot be trusted: go on in a new segment

	stop   chan struct{}
	writer sync.WaitGroup
}

// Open reads the store in a folder, or makes it. The errors are Invalid (the folder holds something else, or is damaged),
// Exhausted (disk full) and Unavailable.
func Open(disk Disk, dir string) (*Store, error) {
	s := &Store{disk: disk, dir: dir, wake: make(chan struct{}, 1), stop: make(chan struct{})}
	if err := s.open(); err != nil {
		return nil, err
	}
	s.pending = newBatch()
	s.writer.Go(s.write)
	return s, nil
}

func (s *Store) object() string { return fmt.Sprintf("node state %s", s.dir) }

func (s *Store) open() error {
	if err := s.disk.MkdirAll(s.dir); err != nil {
		return s.failure("make the folder", err)
	}
	names, err := s.disk.ReadDir(s.dir)
	if err != nil {
		return s.failure("list", err)
	}
	complete, unfinished := segments(names)
	for _, name := range unfinished {
		s.disk.Remove(filepath.Join(s.dir, name))
	}
	if len(complete) == 0 {
		s.segment = 1
		s.file, s.index, s.end, s.number, err = newSegment(s.disk, s.dir, s.segment, nil, nil)
		if err != nil {
			return s.failure("make", err)
		}
		return nil
	}
	s.segment = complete[len(complete)-1]
	name := filepath.Join(s.dir, segmentName(s.segment))
	if s.file, err = s.disk.Open(name); err != nil {
		return s.failure("open", err)
	}
	if s.index, s.end, s.number, err = scan(s.file); err != nil {
		s.file.Close()
		return structs.Errorf(structs.Invalid, s.object(), "%s: %w", filepath.Base(name), err).
			Advise("restore the file, or start the node with an empty data folder: the region then replaces its work")
	}
	for key, at := range s.index {
		s.live += int64(len(key)) + int64(at.length)
	}
	for _, n := range complete[:len(complete)-1] {
		s.disk.Remove(filepath.Join(s.dir, segmentName(n)))
	}
	// What was read may be in memory only: left there by an agent that was killed before its fsync, or after one that failed,
	// and then no later fsync writes it. So it is written again before anything relies on it. Without room for that the node
	// starts all the same, and writes nothing until there is.
	s.broken = true
	if err := s.rotate(); err != nil {
		if structs.KindOf(err) != structs.Exhausted {
			s.file.Close()
			return err
		}
		s.err = err
	}
	return nil
}

// failure explains an error of the file layer.
func (s *Store) failure(op string, err error) error {
	var e *structs.Error
	if errors.As(err, &e) {
		return e
	}
	kind, do := structs.Unavailable, "see whether the disk is healthy and the folder writable"
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		kind, do = structs.Exhausted, "free space on the disk of the data folder; running tasks go on meanwhile"
	}
	wrapped := structs.Errorf(kind, s.object(), "%w", err).Advise("%s", do)
	wrapped.Op = op
	return wrapped
}

func newBatch() *batch {
	return &batch{frame: make([]byte, frameHeader, 4096), done: make(chan struct{})}
}

// add puts ops into the next frame and returns its batch.
func (s *Store) add(ops []Op) (*batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, structs.Errorf(structs.Unavailable, s.object(), "it is closed")
	}
	b := s.pending
	for _, op := range ops {
		if op.del {
			b.frame = appendDelete(b.frame, op.key)
		} else {
			b.frame = appendPut(b.frame, op.key, op.value)
		}
		b.records++
	}
	if len(b.frame) > maxFrame {
		return nil, structs.Errorf(structs.Exhausted, s.object(), "%d bytes wait to be written", len(b.frame))
	}
	return b, nil
}

func (s *Store) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Commit makes ops durable, all or none of them, and after what was given to Enqueue before. Nil: they are on the disk.
// When ctx ends first the error is Unknown. Otherwise the error says that they are not there: Exhausted for a full disk.
func (s *Store) Commit(ctx context.Context, ops ...Op) error {
	b, err := s.add(ops)
	if err != nil {
		return err
	}
	s.nudge()
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return structs.Errorf(structs.Unknown, s.object(), "gave up waiting for the disk: %w", context.Cause(ctx))
	}
}

// Enqueue makes ops durable soon, with the next Commit or after 25 ms. They are lost when the write fails or the machine
// crashes before.
func (s *Store) Enqueue(ops ...Op) {
	if _, err := s.add(ops); err == nil {
		s.nudgeLazily()
	}
}

func (s *Store) nudgeLazily() {
	s.mu.Lock()
	idle := !s.timer
	s.timer = true
	s.mu.Unlock()
	if idle {
		time.AfterFunc(lazyDelay, func() {
			s.mu.Lock()
			s.timer = false
			s.mu.Unlock()
			s.nudge()
		})
	}
}

// write is the writer: it takes what is pending, makes it durable and says so.
func (s *Store) write() {
	for {
		select {
		case <-s.wake:
		case <-s.stop:
			s.flush()
			return
		}
		s.flush()
	}
}

func (s *Store) flush() {
	s.mu.Lock()
	b := s.pending
	if b.records == 0 {
		s.mu.Unlock()
		return
	}
	s.pending = newBatch()
	s.mu.Unlock()

	b.err = s.writeFrame(b.frame)
	s.mu.Lock()
	s.err = b.err
	s.mu.Unlock()
	close(b.done)

	if b.err == nil && s.end > compactFloor && s.end > 4*s.live {
		s.rotate() // best effort; the segment that there is stays good
	}
}

// writeFrame appends one frame, syncs it, and only then shows its records to readers.
func (s *Store) writeFrame(frame []byte) error {
	if s.broken {
		if err := s.rotate(); err != nil {
			return err
		}
	}
	sealFrame(frame, s.number+1)
	if _, err := s.file.WriteAt(frame, s.end); err != nil {
		// Nothing of it was acknowledged: the next frame overwrites it.
		s.file.Truncate(s.end)
		return s.failure("write", err)
	}
	if err := s.file.Sync(); err != nil {
		// What the kernel kept of it is not known, and the next fsync of this file would not tell.
		s.broken = true
		return s.failure("sync", err)
	}
	s.read.Lock()
	defer s.read.Unlock()
	err := eachRecord(frame[frameHeader:], s.end+frameHeader, func(key string, offset int64, length int) {
		if old, ok := s.index[key]; ok {
			s.live -= int64(len(key)) + int64(old.length)
		}
		if length < 0 {
			delete(s.index, key)
			return
		}
		s.index[key] = place{offset, uint32(length)}
		s.live += int64(len(key)) + int64(length)
	})
	s.end += int64(len(frame))
	s.number++
	return err
}

// rotate goes on in a new segment with the live records.
func (s *Store) rotate() error {
	f, index, end, number, err := newSegment(s.disk, s.dir, s.segment+1, s.file, s.index)
	if err != nil {
		s.broken = s.broken || errors.As(err, new(errNamed))
		return s.failure("begin a new segment", err)
	}
	old := s.file
	s.read.Lock()
	s.file, s.index, s.end, s.number = f, index, end, number
	s.segment++
	s.broken = false
	s.read.Unlock()
	old.Close()
	s.disk.Remove(filepath.Join(s.dir, segmentName(s.segment-1)))
	return nil
}

// get returns the durable value of a key; nil when there is none.
func (s *Store) get(key string) ([]byte, error) {
	s.read.RLock()
	defer s.read.RUnlock()
	at, ok := s.index[key]
	if !ok {
		return nil, nil
	}
	value := make([]byte, at.length)
	if _, err := s.file.ReadAt(value, at.offset); err != nil {
		return nil, s.failure("read", err)
	}
	return value, nil
}

// keys yields the durable keys with a prefix, sorted, without it.
func (s *Store) keys(prefix string) iter.Seq[string] {
	s.read.RLock()
	var keys []string
	for key := range s.index {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			keys = append(keys, rest)
		}
	}
	s.read.RUnlock()
	slices.Sort(keys)
	return slices.Values(keys)
}

// Err returns why the last write failed; nil when it did not.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close writes what is pending and closes the file.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	s.writer.Wait()
	s.read.Lock()
	defer s.read.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.file.Close(); err != nil && s.err == nil {
		return s.failure("close", err)
	}
	return s.err
}
