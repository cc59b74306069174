// Package disk is the folder of files that lies below the log, the snapshots and the identity of a server: as few calls
// as they need, so that a twin (package faulty) can lose what was not synced.
package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/proffer/proffer/structs"
)

// Disk is one folder. The real one is made by Open.
type Disk interface {
	Names() ([]string, error)
	Create(name string) (File, error) // for reading and writing; the name must be free
	Open(name string) (File, error)   // for reading and writing
	Rename(from, to string) error
	Remove(name string) error
	Sync() error // makes names durable: what was created, renamed and removed
}

// File is an open file of a Disk. ReadAt may run beside everything else.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Reserve(size int64) error  // claims space, so that a full disk is known early; may do nothing
	Truncate(size int64) error // not durable until Sync
	Sync() error               // makes contents and size durable; after an error nothing is known of either
}

// folder is the Disk of the operating system.
type folder string

func (d folder) path(name string) string { return filepath.Join(string(d), name) }

func (d folder) Names() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (d folder) Create(name string) (File, error) {
	return d.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (d folder) Open(name string) (File, error) { return d.open(name, os.O_RDWR) }

func (d folder) open(name string, flags int) (File, error) {
	f, err := os.OpenFile(d.path(name), flags, 0o600)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (d folder) Rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }
func (d folder) Remove(name string) error     { return os.Remove(d.path(name)) }
func (d folder) Sync() error                  { return syncFolder(string(d)) }

// syncFolder makes the names in a folder durable. Windows has no such call.
func syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Open returns the folder at path. When it is not there it is made, with those above it, and each new name is made
// durable: what is synced inside of a folder is lost when the folder itself is.
func Open(path string) (Disk, error) {
	if err := makeFolder(filepath.Clean(path)); err != nil {
		return nil, err
	}
	return folder(path), nil
}

func makeFolder(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return &os.PathError{Op: "open", Path: path, Err: syscall.ENOTDIR}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := makeFolder(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

type diskFile struct{ *os.File }

func (f diskFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f diskFile) Reserve(size int64) error { return reserve(f.File, size) }
func (f diskFile) Sync() error              { return syncData(f.File) }

// Full tells whether err says that there is no room, which a later call may find.
func Full(err error) bool { return errors.Is(err, syscall.ENOSPC) || isQuota(err) }

// Describe turns an error of a disk, met by op on the file path, into one that says what to do: kind, or Exhausted when the disk
// is full. What is a structs.Error already stays.
func Describe(kind structs.Kind, op, path string, err error) error {
	var e *structs.Error
	if errors.As(err, &e) {
		return err
	}
	e = structs.Errorf(kind, path, "%w", err)
	e.Op = op
	if Full(err) {
		e.Kind = structs.Exhausted
		return e.Advise("the disk is full: free some space; nothing that was acknowledged is lost")
	}
	return e.Advise("look at the disk, then start the agent again")
}
