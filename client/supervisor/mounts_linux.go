//go:build linux && (amd64 || arm64)

package supervisor

import (
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/drivers/exec/stage"
	"github.com/proffer/proffer/structs"
)

// mountsOf makes the detached mounts of a task's volumes and file systems in memory, those above others first. The caller closes
// them, also after an error.
func mountsOf(object string, l *exec.Launch) (binds []stage.Bind, err error) {
	for _, m := range l.Mounts {
		var attr unix.MountAttr
		deep := uint(0) // with what is mounted below it
		if m.Propagation.Shares() {
			deep, attr.Propagation = unix.AT_RECURSIVE, unix.MS_SLAVE
			if m.Propagation == structs.PropagationBidirectional {
				attr.Propagation = unix.MS_SHARED
			}
		}
		if m.ReadOnly {
			attr.Attr_set = unix.MOUNT_ATTR_RDONLY
		}
		fd, err := copyOf(&m, deep)
		if err != nil {
			kind := structs.Unavailable
			if m.Below != "" && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ENOTDIR)) {
				kind = structs.Invalid // it does not become better by waiting
			}
			return binds, structs.Errorf(kind, object, "mount %s at %s: %w", m.Source, m.Target, err)
		}
		binds = append(binds, stage.Bind{FD: fd, Target: m.Target, Spread: deep != 0})
		if attr != (unix.MountAttr{}) {
			if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|deep, &attr); err != nil {
				return binds, structs.Errorf(structs.Unavailable, object, "mount %s as it asks for: %w", m.Target, err)
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

// copyOf makes a detached mount of the source of m.
func copyOf(m *drivers.Mount, deep uint) (fd int, err error) {
	const flags = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC
	if m.Below == "" {
		return unix.OpenTree(unix.AT_FDCWD, m.Source, flags|unix.AT_SYMLINK_NOFOLLOW|deep)
	}
	rest, err := filepath.Rel(m.Below, m.Source)
	if err != nil {
		return -1, err
	}
	top, err := unix.Open(m.Below, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(top)
	at, err := unix.Openat2(top, rest, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
	if err != nil {
		return -1, err
	}
	defer unix.Close(at)
	return unix.OpenTree(at, "", flags|unix.AT_EMPTY_PATH|deep)
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
