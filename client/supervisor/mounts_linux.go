//go:build linux && (amd64 || arm64)

package supervisor

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/drivers/exec/stage"
	"github.com/proffer/proffer/structs"
)

// mountsOf makes the detached mounts of a task's volumes and file systems in memory, those above others first. The caller closes
// them, also after an error.
func mountsOf(object string, l *exec.Launch) (binds []stage.Bind, err error) {
	for _, m := range l.Mounts {
		fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
		if err != nil {
			return binds, structs.Errorf(structs.Unavailable, object, "mount %s at %s: %w", m.Source, m.Target, err)
		}
		binds = append(binds, stage.Bind{FD: fd, Target: m.Target})
		if m.ReadOnly {
			if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
				return binds, structs.Errorf(structs.Unavailable, object, "mount %s for reading only: %w", m.Target, err)
			}
		}
	}
	for _, f := range l.Tmpfs {
		fd, err := tmpfs(int64(f.Size))
		if err != nil {
			return binds, structs.Errorf(structs.Unavailable, object, "make a tmpfs for %s: %w", f.Destination, err)
		}
		binds = append(binds, stage.Bind{FD: fd, Target: f.Destination})
	}
	slices.SortStableFunc(binds, func(x, y stage.Bind) int { return strings.Compare(x.Target, y.Target) })
	return binds, nil
}

// tmpfs makes a file system in memory of a size in bytes, mounted nowhere.
func tmpfs(size int64) (fd int, err error) {
	context, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(context)
	for _, option := range [][2]string{{"size", strconv.FormatInt(size, 10)}, {"mode", "1777"}, {"source", "tmpfs"}} {
		if err := unix.FsconfigSetString(context, option[0], option[1]); err != nil {
			return -1, err
		}
	}
	if err := unix.FsconfigCreate(context); err != nil {
		return -1, err
	}
	return unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
}
