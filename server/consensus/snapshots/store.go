package snapshots

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/server/consensus/disk"
	"github.com/proffer/proffer/structs"
)

// keep is how many snapshots stay: the newest, and one that may be on its way to another server.
const keep = 2

// Store is a raft.SnapshotStore. Its methods may be called from any goroutine.
type Store struct {
	dir  string
	disk disk.Disk
	log  *slog.Logger

	mu     sync.Mutex
	images []*image // newest first
	next   uint64   // number of the next file
	failed error    // why no further snapshot is taken
}

var _ raft.SnapshotStore = (*Store)(nil)

// Open opens the snapshots in a folder; dir names it in errors. The newest one is read in full: when it is damaged this
// fails, with the file. The caller makes sure that no other process has the folder open.
func Open(d disk.Disk, dir string, log *slog.Logger) (*Store, error) {
	s := &Store{dir: dir, disk: d, log: cmp.Or(log, slog.New(slog.DiscardHandler)), next: 1}
	if err := s.load(); err != nil {
		return nil, s.describe("open snapshots", "", err)
	}
	return s, nil
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

func (s *Store) describe(op, name string, err error) error {
	return disk.Describe(structs.Unavailable, op, s.path(name), err)
}

func (s *Store) load() error {
	if err := s.disk.Sync(); err != nil { // a process before us may have failed to
		return err
	}
	names, err := s.disk.Names()
	if err != nil {
		return err
	}
	var numbers []uint64
	for _, name := range names {
		if number, ok := numberOf(name, suffix); ok {
			numbers = append(numbers, number)
		} else if _, ok := numberOf(name, newSuffix); ok {
			if err := s.disk.Remove(name); err != nil {
				return err
			}
		}
	}
	slices.Sort(numbers)
	for n, number := range slices.Backward(numbers) {
		s.next = max(s.next, number+1)
		i, err := s.read(number, n == len(numbers)-1)
		if err != nil && n == len(numbers)-1 {
			return err
		}
		if err != nil {
			s.log.Error("an older snapshot is left out", "error", err)
			continue
		}
		s.images = append(s.images, i)
	}
	s.sort()
	return nil
}

// read reads a file's description, and all of it when verify is set.
func (s *Store) read(number uint64, verify bool) (*image, error) {
	name := fileName(number) + suffix
	f, err := s.disk.Open(name)
	if err != nil {
		return nil, err
	}
	i, err := readImage(f, s.path(name), number)
	if err == nil && verify {
		err = i.verify(f, s.path(name))
	}
	return i, errors.Join(err, f.Close())
}

// sort puts the newest first and removes those beyond the bound. All of them are durable.
func (s *Store) sort() {
	slices.SortFunc(s.images, func(a, b *image) int {
		return cmp.Or(cmp.Compare(b.meta.Term, a.meta.Term), cmp.Compare(b.meta.Index, a.meta.Index), cmp.Compare(b.number, a.number))
	})
	for len(s.images) > keep {
		old := s.images[len(s.images)-1]
		s.images = s.images[:len(s.images)-1]
		if err := s.disk.Remove(fileName(old.number) + suffix); err != nil {
			s.log.Warn("an old snapshot stays", "file", s.path(fileName(old.number)+suffix), "error", err)
		}
	}
}

// List returns what there is, newest first.
func (s *Store) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var metas []*raft.SnapshotMeta
	for _, i := range s.images {
		meta := i.meta
		metas = append(metas, &meta)
	}
	return metas, nil
}

// Open returns a snapshot and its state, which was verified.
func (s *Store) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.images, func(i *image) bool { return i.meta.ID == id })
	if at < 0 {
		return nil, nil, structs.Errorf(structs.NotFound, "snapshot "+id, "there is no such snapshot")
	}
	i, name := s.images[at], id+suffix
	f, err := s.disk.Open(name)
	if err != nil {
		return nil, nil, s.describe("open snapshot", name, err)
	}
	if err := i.verify(f, s.path(name)); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	meta := i.meta
	return &meta, &reader{bufio.NewReaderSize(io.NewSectionReader(f, 0, meta.Size), 1<<16), f}, nil
}

type reader struct {
	*bufio.Reader
	file disk.File
}

func (r *reader) Close() error { return r.file.Close() }

// Create begins a snapshot.
func (s *Store) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return nil, structs.Errorf(structs.Unavailable, s.dir, "an earlier snapshot failed, and what the disk holds is not known: %w", s.failed)
	}
	number := s.next
	name := fileName(number)
	f, err := s.disk.Create(name + newSuffix)
	if err != nil {
		return nil, s.describe("create snapshot", name+newSuffix, err)
	}
	s.next++
	k := &sink{store: s, file: f, sum: crc32.New(castagnoli), image: image{number: number, meta: raft.SnapshotMeta{
		Version: version, ID: name, Index: index, Term: term, Configuration: configuration, ConfigurationIndex: configurationIndex}}}
	k.buffer = bufio.NewWriterSize(&k.tail, 1<<18)
	k.tail.file = f
	return k, nil
}

// take makes a file that is durable one of the snapshots.
func (s *Store) take(i *image) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := fileName(i.number)
	if err := s.disk.Rename(name+newSuffix, name+suffix); err != nil {
		return errors.Join(s.describe("finish snapshot", name+newSuffix, err), s.disk.Remove(name+newSuffix))
	}
	if err := s.disk.Sync(); err != nil {
		// The file has its name here, and the disk may never have it: the log must not be cut on its account, now or when
		// a later sync says that all is well.
		s.failed = fmt.Errorf("sync folder: %w", err)
		return s.describe("finish snapshot", "", s.failed)
	}
	s.images = append(s.images, i)
	s.sort()
	return nil
}

// sink is a snapshot being written. Raft uses it from one goroutine.
type sink struct {
	store  *Store
	image  image
	file   disk.File
	buffer *bufio.Writer
	tail   appender
	sum    interface {
		io.Writer
		Sum32() uint32
	}
	closed bool
}

// flushEvery is how many bytes are written before they are flushed: one big flush would stand in the way of those of
// the log.
const flushEvery = 8 << 20

type appender struct {
	file         disk.File
	end, flushed int64
}

func (a *appender) Write(p []byte) (int, error) {
	n, err := a.file.WriteAt(p, a.end)
	a.end += int64(n)
	if err == nil && a.end-a.flushed >= flushEvery {
		a.flushed = a.end
		err = a.file.Sync()
	}
	return n, err
}

// ID is the name to open it by.
func (k *sink) ID() string { return k.image.meta.ID }

// Write appends to the state.
func (k *sink) Write(p []byte) (int, error) {
	n, err := k.buffer.Write(p)
	k.sum.Write(p[:n])
	k.image.meta.Size += int64(n)
	if err != nil {
		err = k.store.describe("write snapshot", k.ID()+newSuffix, err)
	}
	return n, err
}

// Close makes the snapshot durable, or removes it.
func (k *sink) Close() error {
	if k.closed {
		return nil
	}
	k.closed = true
	if err := k.finish(); err != nil {
		return errors.Join(k.store.describe("write snapshot", k.ID()+newSuffix, err), k.remove())
	}
	return k.store.take(&k.image)
}

func (k *sink) finish() error {
	k.image.sum, k.image.verified = k.sum.Sum32(), false
	end, err := k.image.seal()
	if err != nil {
		return errors.Join(err, k.file.Close())
	}
	_, err = k.buffer.Write(end)
	if err == nil {
		err = k.buffer.Flush()
	}
	if err == nil {
		err = k.file.Sync()
	}
	return errors.Join(err, k.file.Close())
}

// Cancel removes what was written.
func (k *sink) Cancel() error {
	if k.closed {
		return nil
	}
	k.closed = true
	return errors.Join(k.file.Close(), k.remove())
}

func (k *sink) remove() error { return k.store.disk.Remove(k.ID() + newSuffix) }
