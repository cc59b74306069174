//go:build unix

package remove

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	mostOpen = 64   // folders at a time
	atOnce   = 1024 // names that are read at a time
)

// All removes a path and all that is below it; one that is not there is no error. Links are removed and not followed. Of a path that cannot
// be removed as a whole as much as can be is. It is os.RemoveAll with a bound for what it has open: that has each folder open that it is in,
// and a task can make more of them within each other than the agent may open files.
func All(path string) error {
	dir, err := open(unix.AT_FDCWD, path, path)
	if err != nil { // no folder, or none that may be read
		return os.RemoveAll(path)
	}
	defer dir.Close()
	r := &removal{top: dir, mark: rand.Text()}
	err = r.empty(dir, 1)
	if last := os.Remove(path); last == nil || errors.Is(last, fs.ErrNotExist) {
		return nil
	} else if err == nil {
		err = last
	}
	return err
}

type removal struct {
	top  *os.File
	mark string // of the names of what was raised
}

// open opens a folder, and nothing else.
func open(in int, name, path string) (*os.File, error) {
	for {
		fd, err := unix.Openat(in, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		return os.NewFile(uintptr(fd), path), nil
	}
}

// empty removes what is in a folder, which is the open-th. The error is the first one.
func (r *removal) empty(dir *os.File, open int) error {
	for {
		// From the beginning each time: names may be passed over when others go meanwhile, and what is raised comes to the top.
		if _, err := dir.Seek(0, io.SeekStart); err != nil {
			return err
		}
		names, err := dir.Readdirnames(atOnce)
		if len(names) == 0 {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}
		gone, first := false, error(nil)
		for _, name := range names {
			if err := r.one(dir, name, open); err == nil {
				gone = true
			} else if first == nil {
				first = err
			}
		}
		if !gone {
			return first
		}
	}
}

// one removes what is in a folder under a name, or brings it to the top, where it is removed later.
func (r *removal) one(dir *os.File, name string, opened int) error {
	in, path := int(dir.Fd()), filepath.Join(dir.Name(), name)
	err := unix.Unlinkat(in, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if opened >= mostOpen && unix.Renameat(in, name, int(r.top.Fd()), r.mark) == nil {
		r.mark = rand.Text()
		return nil
	}
	below, notFolder := open(in, name, path)
	if notFolder != nil {
		return &fs.PathError{Op: "unlink", Path: path, Err: err}
	}
	inside := r.empty(below, opened+1)
	below.Close()
	if err := unix.Unlinkat(in, name, unix.AT_REMOVEDIR); err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	} else if inside == nil {
		inside = &fs.PathError{Op: "rmdir", Path: path, Err: err}
	}
	return inside
}
