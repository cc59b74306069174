package csi

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// mounted reports whether something is mounted at a path. What is mounted is not asked: the file system may be dead.
func mounted(path string) (bool, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT|unix.AT_STATX_DONT_SYNC, 0, &st); err != nil {
		if errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ESTALE) || errors.Is(err, unix.EIO) {
			return true, nil
		}
		return false, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// unmount undoes all that is mounted at a path.
func unmount(path string) error {
	for {
		is, err := mounted(path)
		if err != nil || !is {
			return err
		}
		if err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW); err != nil {
			return &os.PathError{Op: "unmount", Path: path, Err: err}
		}
	}
}

// spread is the mount by which a plugin's task sees the folder where it mounts, and what it mounts there is seen by the host.
func spread(object, folder string) (drivers.Mount, error) {
	is, err := mounted(folder)
	if err == nil && !is {
		err = unix.Mount(folder, folder, "", unix.MS_BIND, "")
	}
	if err == nil {
		err = unix.Mount("", folder, "", unix.MS_SHARED, "")
	}
	if err != nil {
		return drivers.Mount{}, structs.Errorf(structs.Unavailable, object, "%s cannot be shared with its task: %w", filepath.Base(folder), err)
	}
	return drivers.Mount{Source: folder, Target: folder, Propagation: structs.PropagationBidirectional}, nil
}
