package taskdir

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/proffer/proffer/structs"
)

// MakeBelow makes a folder below top, with those above it, for a task to write to. What is there stays as it is, a file too; a link in the
// way is refused, which a task may have left there.
func MakeBelow(top, rel string, owner Owner, mode fs.FileMode) error {
	root, err := os.OpenRoot(top)
	if err != nil {
		return failure(top, err)
	}
	defer root.Close()
	return makeBelow(root, top, rel, owner, mode)
}

func makeBelow(root *os.Root, top, rel string, owner Owner, mode fs.FileMode) error {
	object := "folder " + strconv.Quote(rel)
	part := ""
	for name := range strings.SplitSeq(path.Clean(rel), "/") {
		part = path.Join(part, name)
		info, err := root.Lstat(part)
		if errors.Is(err, fs.ErrNotExist) {
			if err = root.Mkdir(part, mode&0o777); errors.Is(err, fs.ErrExist) {
				err = nil // another task of the allocation was faster
			}
			if err == nil {
				err = root.Chmod(part, mode)
			}
			if err == nil && owner.UID != 0 && os.Geteuid() == 0 {
				err = root.Lchown(part, owner.UID, owner.GID)
			}
			if err != nil {
				return failure(filepath.Join(top, part), err)
			}
			continue
		}
		if err != nil {
			return failure(filepath.Join(top, part), err)
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			return structs.Errorf(structs.Forbidden, object, "%s is a link", part).Advise("take it away; links are not followed")
		}
		if !info.IsDir() && part != path.Clean(rel) {
			return structs.Errorf(structs.Invalid, object, "%s is no folder", part)
		}
	}
	return nil
}

// Landing makes what is mounted over in the working folder of a task: a folder, or an empty file when source is one.
func (d Dir) Landing(task, rel, source string, owner Owner) error {
	top := filepath.Join(d.Task(task), "local")
	root, err := os.OpenRoot(top)
	if err != nil {
		return failure(top, err)
	}
	defer root.Close()
	info, err := os.Lstat(source)
	if err != nil {
		return failure(source, err)
	}
	if info.IsDir() {
		return makeBelow(root, top, rel, owner, 0o755)
	}
	if dir := path.Dir(rel); dir != "." {
		if err := makeBelow(root, top, dir, owner, 0o755); err != nil {
			return err
		}
	}
	f, err := root.OpenFile(rel, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil // whatever it is, the task has it by that path
	}
	if err != nil {
		return failure(filepath.Join(top, rel), err)
	}
	if owner.UID != 0 && os.Geteuid() == 0 {
		err = f.Chown(owner.UID, owner.GID)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return failure(filepath.Join(top, rel), err)
	}
	return nil
}
