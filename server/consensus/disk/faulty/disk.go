// Package faulty is a disk in memory that fails as disks do. A crash drops or keeps each sector and each name that was
// not synced, one by one. A sync that fails leaves the page cache clean and the disk in an unknown state. Any
// call can be made to fail, and the file system can be full.
package faulty

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"

	"github.com/proffer/proffer/server/consensus/disk"
)

// ErrCrash stops the disk when Fail returns it: this call and all later ones fail until Restart.
var ErrCrash = errors.New("the machine crashed")

const sectorSize = 512

// Call is one call to the disk.
type Call struct {
	Number int    // from 1, over the life of the Disk
	Op     string // "names", "create", "open", "rename", "remove", "sync folder", "read", "write", "sync", "reserve", "truncate", "size"
	Name   string // the file; where it is renamed from
}

// Disk is a folder that survives Restart. Its methods may be called from any goroutine.
type Disk struct {
	// Fail is asked before each call; an error makes the call fail with it, after a part of its work was done.
	Fail func(Call) error
	// Ignore is asked before each sync, of a file or of the folder; true makes it do nothing and report success, as where
	// a sync was forgotten.
	Ignore func(Call) bool

	mu      sync.Mutex
	random  *rand.Rand
	odds    int // quarters
	calls   int
	crashed bool
	boots   int               // handles from before a restart are dead
	names   map[string]*inode // as processes see them
	durable map[string]*inode // as the disk has them
	pending []rename          // what turns durable into names
}

// rename is a change of names that was not synced: node gets the name to, and from is gone. Either may be absent.
type rename struct {
	from, to string
	node     *inode
}

type inode struct {
	cache   []byte // as processes see it
	durable []byte // as the disk has it
	dirty   map[int]struct{}
}

var _ disk.Disk = (*Disk)(nil)

// New returns an empty disk. The seed decides what crashes and faults leave behind.
func New(seed uint64) *Disk {
	return &Disk{
		random: rand.New(rand.NewPCG(seed, 1)), odds: 2, names: map[string]*inode{}, durable: map[string]*inode{},
	}
}

// Clone returns a copy that behaves as this one would from now on, with other chances.
func (d *Disk) Clone(seed uint64) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	copies := map[*inode]*inode{}
	of := func(n *inode) *inode {
		if n == nil {
			return nil
		}
		if copies[n] == nil {
			copies[n] = &inode{slices.Clone(n.cache), slices.Clone(n.durable), maps.Clone(n.dirty)}
		}
		return copies[n]
	}
	c := New(seed)
	for name, n := range d.names {
		c.names[name] = of(n)
	}
	for name, n := range d.durable {
		c.durable[name] = of(n)
	}
	for _, p := range d.pending {
		c.pending = append(c.pending, rename{p.from, p.to, of(p.node)})
	}
	return c
}

// Calls is how many calls there were.
func (d *Disk) Calls() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls
}

// Restart ends the process that used the disk. With power, the machine lost its power as well: what was not synced is
// kept or lost by chance; sometimes all of it is kept or lost.
func (d *Disk) Restart(power bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crashed = false
	d.boots++
	if !power {
		return
	}
	d.odds = d.random.IntN(5)
	for _, p := range d.pending {
		if d.chance() {
			p.apply(d.durable)
		}
	}
	d.pending = nil
	d.names = maps.Clone(d.durable)
	for _, n := range d.names {
		d.settle(n)
		n.cache = slices.Clone(n.durable)
	}
}

// chance tells whether something that was not synced is kept.
func (d *Disk) chance() bool { return d.random.IntN(4) < d.odds }

func (p rename) apply(names map[string]*inode) {
	if p.to != "" {
		names[p.to] = p.node
	}
	if p.from != "" {
		delete(names, p.from)
	}
}

// settle writes some of the dirty sectors of a file and forgets that the others are dirty.
func (d *Disk) settle(n *inode) {
	if len(n.cache) != len(n.durable) && d.chance() {
		n.durable = resize(n.durable, len(n.cache))
	}
	for _, i := range slices.Sorted(maps.Keys(n.dirty)) {
		if d.chance() {
			n.write(i)
		}
	}
	clear(n.dirty)
}

// write brings a sector from the cache to the disk, as far as both have it.
func (n *inode) write(i int) {
	if from := i * sectorSize; from < len(n.durable) && from < len(n.cache) {
		copy(n.durable[from:min(from+sectorSize, len(n.durable))], n.cache[from:min(from+sectorSize, len(n.cache))])
	}
}

func resize(b []byte, size int) []byte {
	if size <= len(b) {
		return b[:size]
	}
	return append(b, make([]byte, size-len(b))...)
}

// File returns a copy of what processes see in a file, nil if there is none.
func (d *Disk) File(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.names[name]; n != nil {
		return slices.Clone(n.cache)
	}
	return nil
}

// SetFile replaces a file, durably. Nil removes it.
func (d *Disk) SetFile(name string, b []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b == nil {
		delete(d.names, name)
		delete(d.durable, name)
		return
	}
	n := &inode{slices.Clone(b), slices.Clone(b), map[int]struct{}{}}
	d.names[name], d.durable[name] = n, n
}

// call counts a call and returns the error it is to fail with. The caller holds mu.
func (d *Disk) call(op, name string) error {
	if d.crashed {
		return ErrCrash
	}
	d.calls++
	if d.Fail == nil {
		return nil
	}
	err := d.Fail(Call{d.calls, op, name})
	if errors.Is(err, ErrCrash) {
		d.crashed = true
	}
	return err
}

func (d *Disk) ignored(op, name string) bool {
	return d.Ignore != nil && d.Ignore(Call{d.calls, op, name})
}

func (d *Disk) Names() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("names", ""); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(d.names)), nil
}

func (d *Disk) Create(name string) (disk.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("create", name); err != nil {
		return nil, err
	}
	if d.names[name] != nil {
		return nil, fmt.Errorf("create %s: %w", name, fs.ErrExist)
	}
	n := &inode{dirty: map[int]struct{}{}}
	d.change(rename{to: name, node: n})
	return &file{d, n, name, d.boots}, nil
}

func (d *Disk) Open(name string) (disk.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("open", name); err != nil {
		return nil, err
	}
	n := d.names[name]
	if n == nil {
		return nil, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
	}
	return &file{d, n, name, d.boots}, nil
}

// change changes a name for processes, and keeps it pending for the disk. The caller holds mu.
func (d *Disk) change(p rename) {
	p.apply(d.names)
	d.pending = append(d.pending, p)
}

func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("rename", from); err != nil {
		return err
	}
	n := d.names[from]
	if n == nil {
		return fmt.Errorf("rename %s: %w", from, fs.ErrNotExist)
	}
	d.change(rename{from: from, to: to, node: n})
	return nil
}

func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("remove", name); err != nil {
		return err
	}
	if d.names[name] == nil {
		return fmt.Errorf("remove %s: %w", name, fs.ErrNotExist)
	}
	d.change(rename{from: name})
	return nil
}

func (d *Disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("sync folder", ""); err != nil || d.ignored("sync folder", "") {
		return err
	}
	for _, p := range d.pending {
		p.apply(d.durable)
	}
	d.pending = nil
	return nil
}

// file is an open file of one process.
type file struct {
	disk *Disk
	node *inode
	name string
	boot int
}

// call is as that of Disk, for a handle that may be dead. The caller holds mu of the disk.
func (f *file) call(op string) error {
	if f.boot != f.disk.boots {
		return os.ErrClosed
	}
	return f.disk.call(op, f.name)
}

func (f *file) ReadAt(b []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.call("read"); err != nil {
		return 0, err
	}
	if off >= int64(len(f.node.cache)) {
		return 0, io.EOF
	}
	n := copy(b, f.node.cache[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes to the cache; when it fails, only the first few sectors' worth.
func (f *file) WriteAt(b []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	dead := f.disk.crashed || f.boot != f.disk.boots
	err := f.call("write")
	if dead {
		return 0, err
	}
	if err != nil {
		b = b[:f.disk.random.IntN(len(b)/sectorSize+1)*sectorSize]
	}
	if end := int(off) + len(b); end > len(f.node.cache) {
		f.node.cache = resize(f.node.cache, end)
	}
	copy(f.node.cache[off:], b)
	for i := int(off) / sectorSize; i*sectorSize < int(off)+len(b); i++ {
		f.node.dirty[i] = struct{}{}
	}
	return len(b), err
}

func (f *file) Size() (int64, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return int64(len(f.node.cache)), f.call("size")
}

func (f *file) Reserve(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.call("reserve"); err != nil {
		return err
	}
	f.node.cache = resize(f.node.cache, max(int(size), len(f.node.cache)))
	return nil
}

func (f *file) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.call("truncate"); err != nil {
		return err
	}
	f.node.cache = resize(f.node.cache, int(size))
	return nil
}

func (f *file) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	switch err := f.call("sync"); {
	case errors.Is(err, ErrCrash), errors.Is(err, os.ErrClosed):
		return err
	case err != nil:
		f.disk.settle(f.node)
		return err
	case f.disk.ignored("sync", f.name):
		return nil
	}
	n := f.node
	n.durable = resize(n.durable, len(n.cache))
	for i := range n.dirty {
		n.write(i)
	}
	clear(n.dirty)
	return nil
}

func (f *file) Close() error { return nil }
