//go:build linux

package cgroup

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// UnifiedBase makes the folder of version 2 that the groups of tasks are in, where it is not there; empty: version 2 is not mounted.
func (l *Layout) UnifiedBase() (string, error) {
	if l.unified == "" {
		return "", nil
	}
	dir := filepath.Join(l.unified, l.base)
	return dir, os.MkdirAll(dir, 0o755)
}

// Unified is the folder of a group in version 2, whether there is one or not; empty: version 2 is not mounted.
func (l *Layout) Unified(path string) string {
	if l.unified == "" {
		return ""
	}
	return l.unified + "/" + path
}

// MakeUnified makes the group in version 2 alone, for a container whose runtime makes the others and finds this one. Beside version 1 not
// every runtime goes there (runc does since 1.1): what does with EntryUnified, and all that it begins, is in it.
func (l *Layout) MakeUnified(path string) error {
	dir := l.Unified(path)
	if dir == "" {
		return nil
	}
	if err := unix.Mkdir(dir, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	return nil
}

// EntryUnified is that of such a group, of none where the runtime goes there itself, or it is not there.
func (l *Layout) EntryUnified(path string) (Entry, error) {
	e := Entry{Dir: -1}
	if l.unified == "" || l.Version == 2 {
		return e, nil
	}
	fd, err := unix.Open(l.Unified(path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return e, nil
	}
	if err != nil {
		return e, &os.PathError{Op: "open", Path: l.Unified(path), Err: err}
	}
	e.Dir = fd
	return e, nil
}
