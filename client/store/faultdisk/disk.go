// Package faultdisk is a file system in memory for tests, which forgets what was not synced, fails on demand and gets full.
package faultdisk

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/proffer/proffer/client/store"
)

// Disk is a flat file system: folders exist as prefixes of names. Its methods may be called from any goroutine.
type Disk struct {
	mu      sync.Mutex
	names   map[string]*inode // as programs see it
	durable map[string]*inode // as a crash leaves it, at least
	changes []change          // of names, since the last SyncDir
	dead    bool
	used    int64

	fail func(op, name string) error
	// Capacity is how many bytes fit; 0: any number. A write that does not fit writes what does.
	Capacity int64
	// Syncs counts the fsyncs of files that went well.
	Syncs int
}

type inode struct {
	data    []byte
	durable []byte
	writes  []write // since the last sync
}

type write struct {
	offset   int64
	data     []byte
	truncate bool // to offset
}

type change struct {
	op       string
	from, to string
	node     *inode
}

// New returns an empty disk.
func New() *Disk {
	return &Disk{names: make(map[string]*inode), durable: make(map[string]*inode)}
}

// Fail sets who is asked before each change; its error is the operation's. Operations are create, write, sync, truncate,
// rename, remove and syncdir. f is called by one goroutine at a time; nil: nothing fails.
func (d *Disk) Fail(f func(op, name string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = f
}

// Crash ends this disk: every later call fails. It returns what a machine finds after it was cut off now: all that was
// synced, and of the rest what random decides, in pieces, and a prefix of the changes of names.
func (d *Disk) Crash(random *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
	names := make(map[string]*inode)
	for name, n := range d.durable {
		names[name] = n
	}
	kept := 0
	if len(d.changes) > 0 {
		kept = random.IntN(len(d.changes) + 1)
	}
	for _, c := range d.changes[:kept] {
		c.apply(names)
	}
	next := New()
	done := make(map[*inode]*inode)
	for _, name := range slices.Sorted(keys(names)) {
		old := names[name]
		if done[old] == nil {
			data := slices.Clone(old.durable)
			for _, w := range old.writes {
				switch random.IntN(4) {
				case 0:
					continue // lost
				case 1: // a part of it
					part := w
					if len(part.data) > 0 {
						part.data = part.data[:random.IntN(len(part.data))]
					}
					data = part.apply(data)
				default:
					data = w.apply(data)
				}
			}
			done[old] = &inode{data: data, durable: slices.Clone(data)}
		}
		next.names[name], next.durable[name] = done[old], done[old]
	}
	return next
}

// Kill ends this disk as Crash does, for a process that was killed: the machine goes on, and so nothing is lost, but what was
// not synced still is not.
func (d *Disk) Kill() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
	return &Disk{names: d.names, durable: d.durable, changes: d.changes, used: d.used, Capacity: d.Capacity}
}

// Corrupt changes one byte of a file.
func (d *Disk) Corrupt(name string, offset int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.names[name]
	n.data[offset] ^= 0xff
	n.durable = slices.Clone(n.data)
	n.writes = nil
}

// Size returns the length of a file, 0 when there is none.
func (d *Disk) Size(name string) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.names[name]; n != nil {
		return int64(len(n.data))
	}
	return 0
}

func keys(m map[string]*inode) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (c change) apply(names map[string]*inode) {
	switch c.op {
	case "create":
		names[c.to] = c.node
	case "rename":
		names[c.to] = c.node
		delete(names, c.from)
	case "remove":
		delete(names, c.from)
	}
}

func (w write) apply(data []byte) []byte {
	if w.truncate {
		return append(data[:min(int64(len(data)), w.offset)], make([]byte, max(0, w.offset-int64(len(data))))...)
	}
	if need := w.offset + int64(len(w.data)); need > int64(len(data)) {
		data = append(data, make([]byte, need-int64(len(data)))...)
	}
	copy(data[w.offset:], w.data)
	return data
}

func (d *Disk) check(op, name string) error {
	if d.dead {
		return syscall.EIO
	}
	if d.fail != nil {
		return d.fail(op, name)
	}
	return nil
}

func (d *Disk) change(c change) {
	c.apply(d.names)
	d.changes = append(d.changes, c)
}

// MkdirAll does nothing: folders need not exist.
func (d *Disk) MkdirAll(string) error { return nil }

// Create makes or empties a file.
func (d *Disk) Create(name string) (store.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("create", name); err != nil {
		return nil, err
	}
	n := &inode{}
	d.change(change{op: "create", to: name, node: n})
	return &file{d, n, name}, nil
}

// Open opens a file.
func (d *Disk) Open(name string) (store.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return nil, syscall.EIO
	}
	n := d.names[name]
	if n == nil {
		return nil, fs.ErrNotExist
	}
	return &file{d, n, name}, nil
}

// ReadDir lists a folder.
func (d *Disk) ReadDir(dir string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return nil, syscall.EIO
	}
	var names []string
	for name := range d.names {
		if filepath.Dir(name) == filepath.Clean(dir) {
			names = append(names, filepath.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// Rename moves a file.
func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("rename", to); err != nil {
		return err
	}
	n := d.names[from]
	if n == nil {
		return fs.ErrNotExist
	}
	d.change(change{op: "rename", from: from, to: to, node: n})
	return nil
}

// Remove removes a file.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("remove", name); err != nil {
		return err
	}
	n := d.names[name]
	if n == nil {
		return fs.ErrNotExist
	}
	d.used -= int64(len(n.data))
	d.change(change{op: "remove", from: name})
	return nil
}

// SyncDir makes all changes of names durable.
func (d *Disk) SyncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("syncdir", dir); err != nil {
		return err
	}
	for _, c := range d.changes {
		c.apply(d.durable)
	}
	d.changes = nil
	return nil
}

type file struct {
	disk *Disk
	node *inode
	name string
}

func (f *file) ReadAt(into []byte, offset int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.dead {
		return 0, syscall.EIO
	}
	if offset >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(into, f.node.data[offset:])
	if n < len(into) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(data []byte, offset int64) (int, error) {
	d := f.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("write", f.name); err != nil {
		return 0, err
	}
	var full error
	if grow := offset + int64(len(data)) - int64(len(f.node.data)); d.Capacity > 0 && grow > 0 && d.used+grow > d.Capacity {
		fits := max(0, int64(len(data))-(d.used+grow-d.Capacity))
		data, full = data[:fits], syscall.ENOSPC
	}
	before := len(f.node.data)
	w := write{offset: offset, data: slices.Clone(data)}
	f.node.data = w.apply(f.node.data)
	f.node.writes = append(f.node.writes, w)
	d.used += int64(len(f.node.data) - before)
	return len(data), full
}

func (f *file) Size() (int64, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return int64(len(f.node.data)), nil
}

func (f *file) Truncate(size int64) error {
	d := f.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("truncate", f.name); err != nil {
		return err
	}
	w := write{offset: size, truncate: true}
	d.used += size - int64(len(f.node.data))
	f.node.data = w.apply(f.node.data)
	f.node.writes = append(f.node.writes, w)
	return nil
}

func (f *file) Sync() error {
	d := f.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("sync", f.name); err != nil {
		// As kernels do: the pages count as clean now and are never written, whatever a later sync says.
		f.node.writes = nil
		return err
	}
	for _, w := range f.node.writes {
		f.node.durable = w.apply(f.node.durable)
	}
	f.node.writes = nil
	d.Syncs++
	return nil
}

func (f *file) Close() error { return nil }
