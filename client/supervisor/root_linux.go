//go:build linux && (amd64 || arm64)

package supervisor

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/structs"
)

// mountPoints are folders that a root must have: something is mounted there.
var mountPoints = []string{"proc", "dev", "alloc", "local", "secrets", "tmp"}

// openRoot opens the folder that is to be a task's root as a detached mount, and makes the mount points that it lacks. No link leads out
// of the task folder, and none is a mount point.
func openRoot(object string, l *exec.Launch) (fd int, err error) {
	task, err := os.OpenRoot(l.TaskDir)
	if err != nil {
		return -1, structs.Errorf(structs.Unavailable, object, "its folder: %w", err)
	}
	defer task.Close()
	root, err := task.OpenRoot(l.Root)
	if err != nil {
		return -1, structs.Errorf(structs.Invalid, object, "its root %s cannot be used: %w", l.Root, errors.Unwrap(err)).Advise("an artifact has to bring it")
	}
	defer root.Close()
	for _, name := range mountPoints {
		err := root.Mkdir(name, 0o755)
		if errors.Is(err, fs.ErrExist) {
			var info fs.FileInfo
			if info, err = root.Lstat(name); err == nil && !info.IsDir() {
				return -1, structs.Errorf(structs.Invalid, object, "/%s of its root is not a folder", name).Advise("something is mounted there: make it one, or leave it out")
			}
		}
		if err != nil {
			return -1, structs.Errorf(structs.Unavailable, object, "make /%s in its root: %w", name, err)
		}
	}
	f, err := root.Open(".")
	if err != nil {
		return -1, structs.Errorf(structs.Unavailable, object, "its root: %w", err)
	}
	defer f.Close()
	if fd, err = unix.OpenTree(int(f.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH); err != nil {
		return -1, structs.Errorf(structs.Unavailable, object, "mount its root: %w", err)
	}
	return fd, nil
}
