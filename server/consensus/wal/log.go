package wal

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"

	"github.com/hashicorp/raft"
	"github.com/proffer/proffer/server/consensus/disk"
	"github.com/proffer/proffer/structs"
)

// Options of a log. The zero value is what a server uses.
type Options struct {
	SegmentBytes int64        // size of a segment file, 16 MiB if 0; rounded up to whole blocks
	CacheBytes   int          // how much of the newest entries stays in memory, 16 MiB if 0
	Logger       *slog.Logger // what was found at the start; may be nil
	Disk         disk.Disk    // instead of the folder, for tests

	inline bool // prepare the next segment in the call that finds it wanting, so that tests can repeat a run
}

// Log is a write-ahead log. Its methods may be called from any goroutine; appends run one at a time and do not block reads.
type Log struct {
	dir  string
	o    Options
	disk disk.Disk

	writing    sync.Mutex // held by whoever changes the log, over its I/O; guards the fields down to mu
	tail       *segment   // where the next frame goes; nil in a new log
	usual      bool       // tail was made by this process and has nothing behind its end
	spare      disk.File  // a file of SegmentBytes that becomes the next segment, or nil
	preparing  chan spare // gets the spare that a goroutine is making, or nil
	stableFile disk.File
	logical    []byte // scratch: a frame
	image      []byte // scratch: its sectors
	closed     bool

	mu       sync.RWMutex // guards what readers see; held for memory operations only
	segments []*segment   // oldest first; the last is tail
	first    uint64       // index of places[0], if there is one
	places   []place
	recent   []raft.Log // the newest entries, bounded by CacheBytes
	cached   int        // bytes in recent
	stable   *stable
	failed   error // why the log takes no more writes

	background sync.WaitGroup
}

type spare struct {
	file disk.File
	err  error
}

var (
	_ raft.LogStore          = (*Log)(nil)
	_ raft.StableStore       = (*Log)(nil)
	_ raft.MonotonicLogStore = (*Log)(nil)
	_ io.Closer              = (*Log)(nil)
)

// Open opens the log in dir, or makes one. It reads everything once and fails, naming file and offset, when something
// that had been acknowledged cannot be read back. The caller makes sure that no other process has it open.
func Open(dir string, o Options) (*Log, error) {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 16 << 20
	}
	o.SegmentBytes = max(2*blockSize, (o.SegmentBytes+blockSize-1)/blockSize*blockSize)
	if o.CacheBytes <= 0 {
		o.CacheBytes = 16 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Log{dir: dir, o: o, disk: o.Disk}
	if l.disk == nil {
		var err error
		if l.disk, err = disk.Open(dir); err != nil {
			return nil, l.describe("open log", "", err)
		}
	}
	if err := l.recover(); err != nil {
		return nil, errors.Join(l.describe("open log", "", err), l.release())
	}
	return l, nil
}

func (l *Log) path(name string) string { return filepath.Join(l.dir, name) }

// describe turns an error of the disk into one that says what to do.
func (l *Log) describe(op, name string, err error) error {
	return disk.Describe(structs.Unknown, op, l.path(name), err)
}

// fault reports an error of the disk while writing. A full disk is not final: what was acknowledged is untouched, and
// the next try may find room. (A restart before it may show the frame that found none, whole or not at all.) After any other error it is not known what the disk holds, so no further write is taken: the
// next process reads what is really there.
func (l *Log) fault(op, name string, err error) error {
	described := l.describe(op, name, err)
	if !disk.Full(err) {
		l.fail(described)
	}
	return described
}

func (l *Log) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = err
		l.o.Logger.Error("the log takes no more writes", "dir", l.dir, "error", err)
	}
}

// usable tells whether the log takes writes. The caller holds writing.
func (l *Log) usable(op string) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	switch {
	case l.closed:
		return &structs.Error{Kind: structs.Unavailable, Op: op, Object: l.dir, Why: "the log is closed"}
	case l.failed != nil:
		e := structs.Errorf(structs.Unavailable, l.dir, "an earlier write failed, and what the disk holds is not known: %w", l.failed)
		e.Op = op
		return e
	}
	return nil
}

// IsMonotonic tells Raft that indexes must follow each other without a gap.
func (l *Log) IsMonotonic() bool { return true }

// FirstIndex is the index of the oldest entry, 0 if there is none.
func (l *Log) FirstIndex() (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.places) == 0 {
		return 0, nil
	}
	return l.first, nil
}

// LastIndex is the index of the newest entry, 0 if there is none.
func (l *Log) LastIndex() (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.places) == 0 {
		return 0, nil
	}
	return l.first + uint64(len(l.places)) - 1, nil
}

// GetLog reads one entry: a recent one from memory, another from its file. The data is shared and must not be changed.
func (l *Log) GetLog(index uint64, log *raft.Log) error {
	l.mu.RLock()
	i := index - l.first
	if index < l.first || i >= uint64(len(l.places)) {
		l.mu.RUnlock()
		return raft.ErrLogNotFound
	}
	if back := uint64(len(l.places)) - i; back <= uint64(len(l.recent)) {
		*log = l.recent[uint64(len(l.recent))-back]
		l.mu.RUnlock()
		return nil
	}
	p := l.places[i]
	l.mu.RUnlock()
	return p.read(index, log)
}

// StoreLog appends one entry.
func (l *Log) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

// StoreLogs appends entries with one write and one sync: all or none of them. Indexes must follow each other and
// the log, which may start anywhere when it is empty. The log keeps the data slices, which must not be changed.
func (l *Log) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.usable("append"); err != nil {
		return err
	}
	want := logs[0].Index
	if n := len(l.places); n > 0 {
		want = l.first + uint64(n)
	}
	length := 0
	for i, entry := range logs {
		if entry.Index != want+uint64(i) || entry.Index == 0 {
			return structs.Errorf(structs.Invalid, l.dir, "entry %d cannot follow entry %d", entry.Index, int64(want)+int64(i)-1)
		}
		if length += entrySize(entry); length > maxFrame || len(entry.Data) > maxFrame {
			return structs.Errorf(structs.Exhausted, l.dir, "one call may append at most %d bytes", maxFrame)
		}
	}
	f := frame{kind: entries, count: uint32(len(logs)), index: want}
	at, err := l.commit(f, length, func(b []byte) []byte {
		for _, entry := range logs {
			b = appendEntry(b, entry)
		}
		return b
	})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	pos := uint32(frameHeader)
	for _, entry := range logs {
		n := uint32(entrySize(entry))
		l.put(entry.Index, place{seg: l.tail, off: at, pos: pos, n: n})
		pos += n
		l.remember(entry)
	}
	return nil
}

// put adds the place of the entry that follows the log. The caller holds mu.
func (l *Log) put(index uint64, p place) {
	if len(l.places) == 0 {
		l.first = index
	}
	l.places = append(l.places, p)
	p.seg.live++
}

// remember keeps an entry in memory and forgets the oldest beyond the bound. The caller holds mu.
func (l *Log) remember(entry *raft.Log) {
	l.recent = append(l.recent, *entry)
	l.cached += entrySize(entry)
	drop := 0
	for l.cached > l.o.CacheBytes && drop < len(l.recent) {
		l.cached -= entrySize(&l.recent[drop])
		l.recent[drop] = raft.Log{}
		drop++
	}
	l.recent = l.recent[drop:]
}

// DeleteRange removes entries at the front or at the back of the log, or all of it.
func (l *Log) DeleteRange(low, high uint64) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.usable("truncate"); err != nil {
		return err
	}
	count := uint64(len(l.places))
	if count == 0 {
		return nil
	}
	first, last := l.first, l.first+count-1
	low, high = max(low, first), min(high, last)
	var f frame
	switch {
	case low > high:
		return nil
	case high == last:
		f = frame{kind: dropTail, index: low}
	case low == first:
		f = frame{kind: dropHead, index: high + 1}
	default:
		return structs.Errorf(structs.Invalid, l.dir, "entries %d to %d lie inside of %d to %d: a log has no holes", low, high, first, last)
	}
	if _, err := l.commit(f, 0, nil); err != nil {
		return err
	}
	l.mu.Lock()
	l.drop(f)
	l.mu.Unlock()
	l.dropSegments()
	return nil
}

// drop applies a dropHead or dropTail whose index lies in the log. The caller holds mu.
func (l *Log) drop(f frame) {
	var gone []place
	if f.kind == dropHead {
		n := int(f.index - l.first)
		gone, l.places, l.first = l.places[:n], l.places[n:], f.index
	} else {
		n := int(f.index - l.first)
		gone, l.places = l.places[n:], l.places[:n]
		n = max(0, len(l.recent)-len(gone))
		for _, entry := range l.recent[n:] {
			l.cached -= entrySize(&entry)
		}
		clear(l.recent[n:])
		l.recent = l.recent[:n]
	}
	for _, p := range gone {
		p.seg.live--
	}
	clear(gone)
	if n := max(0, len(l.recent)-len(l.places)); n > 0 {
		for _, entry := range l.recent[:n] {
			l.cached -= entrySize(&entry)
		}
		clear(l.recent[:n])
		l.recent = l.recent[n:]
	}
	if cap(l.places) > 4*len(l.places) {
		l.places = slices.Clip(slices.Clone(l.places))
	}
}

// dropSegments removes the oldest segments as long as nothing in them is needed, and keeps one as a spare. Only the
// oldest may go, as markers in one speak about those before it. The caller holds writing.
func (l *Log) dropSegments() {
	l.mu.Lock()
	n := 0
	for n < len(l.segments)-1 && l.segments[n].live == 0 {
		n++
	}
	gone := slices.Clone(l.segments[:n])
	l.segments = slices.Delete(l.segments, 0, n)
	l.mu.Unlock()
	if n == 0 {
		return
	}
	for _, s := range gone {
		s.inUse.Lock()
		f := s.file
		s.file = nil
		s.inUse.Unlock()
		if size, err := f.Size(); err == nil && size == l.o.SegmentBytes && l.spare == nil && l.preparing == nil {
			if err := l.disk.Rename(s.name, spareName); err == nil {
				l.spare = f
				continue
			}
		}
		if err := errors.Join(f.Close(), l.disk.Remove(s.name)); err != nil {
			l.o.Logger.Warn("cannot remove an old segment", "file", l.path(s.name), "error", err)
		}
	}
	if err := l.disk.Sync(); err != nil {
		// The entries are gone for good, but the spare may still have its old name on the disk: writing to it would
		// destroy that segment.
		l.final("truncate", "", fmt.Errorf("sync folder: %w", err))
	}
}

// commit makes a frame durable and returns where in the tail it lies. The caller holds writing.
func (l *Log) commit(f frame, length int, fill func([]byte) []byte) (int64, error) {
	chain := uint32(0)
	if l.tail != nil {
		chain = l.tail.chain
	}
	l.logical = appendHeader(l.logical[:0], f, length, chain)
	if fill != nil {
		l.logical = fill(l.logical)
	}
	defer l.shrink()
	if l.tail == nil || !l.usual || l.tail.end+blocks(sectors(len(l.logical))) > l.tail.size {
		return blockSize, l.roll(new(segment), l.first, uint64(len(l.places)))
	}
	t := l.tail
	l.image = spread(l.image[:0], l.logical, t.life, t.frames+1, t.end)
	if _, err := t.file.WriteAt(l.image, t.end); err != nil {
		l.usual = false // part of it may be there: what comes next goes to a new segment
		return 0, l.fault("append", t.name, err)
	}
	if err := t.file.Sync(); err != nil {
		l.usual = false
		return 0, l.final("append", t.name, err)
	}
	at := t.end
	t.accept(l.logical)
	l.prepare()
	return at, nil
}

// final reports an error after which it is unknown what the disk holds, even if it says that it is full.
func (l *Log) final(op, name string, err error) error {
	e := structs.Errorf(structs.Unknown, l.path(name), "%w", err)
	e.Op = op
	l.fail(e.Advise("look at the disk, then start the agent again"))
	return e
}

// shrink lets go of scratch that one large append left behind.
func (l *Log) shrink() {
	if cap(l.logical) > 4<<20 {
		l.logical, l.image = nil, nil
	}
}

// prepare has the next segment made before it is needed.
func (l *Log) prepare() {
	if l.spare != nil || l.preparing != nil || l.tail.end < l.tail.size/2 {
		return
	}
	result := make(chan spare, 1)
	l.preparing = result
	work := func() {
		f, err := makeSpare(l.disk, l.o.SegmentBytes)
		result <- spare{f, err}
	}
	if l.o.inline {
		work()
		return
	}
	l.background.Go(work)
}

// takeSpare returns a file of at least size bytes with nothing of this life in it, and its size.
func (l *Log) takeSpare(size int64) (disk.File, int64, error) {
	if l.preparing != nil {
		made := <-l.preparing
		l.preparing = nil
		if made.err != nil {
			l.o.Logger.Warn("cannot prepare the next segment", "dir", l.dir, "error", made.err)
		}
		l.spare = made.file
	}
	f := l.spare
	l.spare = nil
	if f != nil && size <= l.o.SegmentBytes {
		return f, l.o.SegmentBytes, nil
	}
	if f != nil {
		if err := f.Close(); err != nil {
			return nil, 0, err
		}
	}
	size = max(size, l.o.SegmentBytes)
	f, err := makeSpare(l.disk, size)
	return f, size, err
}

// roll makes s the next segment, with the frame in l.logical as its first. Before that frame, the log has count
// entries from first on. Everything is durable before the file gets its name, so a segment with a name is whole.
func (l *Log) roll(s *segment, first, count uint64) error {
	h := header{life: 1, first: first, count: count}
	old := l.tail
	if old != nil {
		h.life, h.prevLife, h.prevEnd, h.prevChain = old.life+1, old.life, old.end, old.chain
	}
	name := segmentName(h.life)
	f, size, err := l.takeSpare(blockSize + blocks(sectors(len(l.logical))))
	if err != nil {
		return l.fault("append", spareName, err)
	}
	h.size = size
	l.image = spread(l.image[:0], h.encode(), h.life, 0, 0)
	l.image = spread(l.image, l.logical, h.life, 1, blockSize)
	_, err = f.WriteAt(l.image, 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = l.disk.Rename(spareName, name)
	}
	if err != nil {
		return errors.Join(l.fault("append", spareName, err), discard(l.disk, f))
	}
	if err := l.disk.Sync(); err != nil {
		return errors.Join(l.final("append", "", err), f.Close())
	}
	s.header, s.name, s.file, s.end, s.chain = h, name, f, blockSize, h.prevChain
	s.accept(l.logical)
	mark := &stable{seq: l.stable.seq + 1, mark: watermark{s.life, s.end, s.chain}, values: l.stable.values}
	if err := mark.writeSlots(l.stableFile, [2]int{0, 1}); err != nil {
		return errors.Join(l.final("append", stableName, err), f.Close())
	}
	if old != nil && !l.usual {
		// Behind its end is what was never acknowledged; nobody looks there again. This is for the space only.
		if err := old.file.Truncate(old.end); err != nil {
			l.o.Logger.Warn("cannot shorten a segment", "file", l.path(old.name), "error", err)
		}
	}
	l.tail, l.usual = s, true
	l.mu.Lock()
	l.stable = mark
	l.segments = append(l.segments, s)
	l.mu.Unlock()
	return nil
}

// Close notes how far the log goes and closes its files. The log must not be in use.
func (l *Log) Close() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.closed {
		return nil
	}
	var err error
	if l.usable("close") == nil && l.tail != nil {
		if mark := (watermark{l.tail.life, l.tail.end, l.tail.chain}); mark != l.stable.mark {
			err = l.saveStable(&stable{seq: l.stable.seq + 1, mark: mark, values: l.stable.values})
		}
	}
	return errors.Join(err, l.release())
}

// release closes all files and waits for the goroutine that prepares a segment.
func (l *Log) release() error {
	l.closed = true
	l.background.Wait()
	var errs []error
	if l.preparing != nil {
		l.spare = (<-l.preparing).file
		l.preparing = nil
	}
	if l.spare != nil {
		errs = append(errs, discard(l.disk, l.spare))
		l.spare = nil
	}
	for _, s := range l.segments {
		s.inUse.Lock()
		if s.file != nil {
			errs = append(errs, s.file.Close())
			s.file = nil
		}
		s.inUse.Unlock()
	}
	if l.stableFile != nil {
		errs = append(errs, l.stableFile.Close())
	}
	return errors.Join(errs...)
}
