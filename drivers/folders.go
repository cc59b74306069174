package drivers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/proffer/proffer/structs"
)

// MakeFolders makes AllocDir, and TaskDir with local, secrets and tmp in it, which belong to the given user where this process
// may give them away. What is there stays as it is, so it may be repeated. A driver calls it before the start of a task that
// uses files, and for no other: a folder costs more than most of what else a short task needs. The errors are Exhausted (full
// disk, no more files) and Unavailable.
func (s *Spec) MakeFolders(uid, gid int) error { return MakeFolders(s.AllocDir, s.TaskDir, uid, gid) }

// MakeFolders is Spec.MakeFolders for a task without a Spec.
func MakeFolders(shared, task string, uid, gid int) error {
	err := mkdir(filepath.Dir(shared), 0o755)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.MkdirAll(filepath.Dir(shared), 0o755)
	}
	if err == nil {
		err = mkdir(shared, 0o777|fs.ModeSticky)
	}
	if err == nil { // not the task's: one without isolation could put a link in place of a folder in it
		err = mkdir(task, 0o755)
	}
	for _, own := range []struct {
		name string
		mode fs.FileMode
	}{{"local", 0o755}, {"secrets", 0o700}, {"tmp", 0o700}} {
		path := filepath.Join(task, own.name)
		if err == nil {
			err = mkdir(path, own.mode)
		}
		if err == nil && uid != 0 && os.Geteuid() == 0 {
			err = os.Lchown(path, uid, gid)
		}
	}
	if err != nil {
		return DiskError(task, err)
	}
	return nil
}

// mkdir makes one folder with exactly that mode, whatever the umask. One that is there stays as it is, unless it should be
// open to all: then it may come from an agent that was killed before it had the mode.
func mkdir(path string, mode fs.FileMode) error {
	open := mode&fs.ModeSticky != 0
	err := os.Mkdir(path, mode.Perm())
	if errors.Is(err, fs.ErrExist) {
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
		}
		if !open || info.Mode()&(fs.ModePerm|fs.ModeSticky) == mode {
			return nil
		}
		return os.Chmod(path, mode)
	}
	if err == nil && open {
		err = os.Chmod(path, mode)
	}
	return err
}

// DiskError gives an error of the disk its kind: Exhausted where something is used up, or Unavailable. Of a disk that is full it says how
// much of it is left, where the error names an absolute path.
func DiskError(object string, err error) error {
	kind, do := structs.Unavailable, ""
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		kind, do = structs.Exhausted, "free space on the disk of the node's data folder"
		if free, size, ok := room(nearest(err)); ok {
			err = fmt.Errorf("%w (%s of %s are free there)", err, free.Human(), size.Human())
		}
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		kind, do = structs.Exhausted, "raise the limit of open files of the agent"
	}
	wrapped := structs.Errorf(kind, object, "%w", err)
	wrapped.Do = do
	return wrapped
}

// nearest is the folder that is there and in which an error of the disk came up; empty: it does not say.
func nearest(err error) string {
	var at *fs.PathError
	var link *os.LinkError
	path := ""
	switch {
	case errors.As(err, &at):
		path = at.Path
	case errors.As(err, &link):
		path = link.New
	}
	if !filepath.IsAbs(path) {
		return ""
	}
	for {
		path = filepath.Dir(path)
		if _, err := os.Lstat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
	}
}

// ImageUser reads the user of a task in an image where it is a number, or two, "uid:gid"; it is 0 and 0 for names, which mean what the
// image says.
func ImageUser(user string) (uid, gid int) {
	first, second, _ := strings.Cut(user, ":")
	u, err := strconv.ParseUint(first, 10, 31)
	if err != nil {
		return 0, 0
	}
	g, _ := strconv.ParseUint(second, 10, 31)
	return int(u), int(g)
}
