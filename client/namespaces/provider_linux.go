package namespaces

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

func able() bool { return os.Geteuid() == 0 }

// memory makes an IPC namespace at path and a file system in memory at shm, of a size at least. What tasks leave in either outlives them, and is
// not bounded by their memory any more: so segments of System V together take no more than /dev/shm, and there are fewer queues and semaphores
// than a namespace may have otherwise. The bounds are there before the file system is, or is larger.
func memory(path, shm string, size structs.Bytes) error {
	if err := Make(IPC, path); err != nil {
		return err
	}
	var st unix.Statfs_t
	mounted := isMount(shm) && unix.Statfs(shm, &st) == nil && st.Type == unix.TMPFS_MAGIC
	if mounted && int64(st.Blocks)*st.Bsize >= int64(size) {
		return nil
	}
	page := int64(os.Getpagesize())
	err := Inside(path, func() error {
		for name, value := range map[string]string{"shmall": fmt.Sprint((int64(size) + page - 1) / page), "msgmni": "1024", "sem": "32000 65536 500 4096"} {
			if err := os.WriteFile("/proc/sys/kernel/"+name, []byte(value), 0); err != nil { // those of the thread's namespace
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	options := fmt.Sprintf("mode=1777,size=%d", size)
	if mounted {
		return os.NewSyscallError("mount", unix.Mount("", shm, "", unix.MS_REMOUNT|flags, options))
	}
	if err := os.Mkdir(shm, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.NewSyscallError("mount", unix.Mount("shm", shm, "tmpfs", flags, options))
}

// isMount reports whether something is mounted right there.
func isMount(path string) bool {
	var s unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &s)
	return err == nil && s.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// keepOf mounts the PID namespace whose first process has a number.
func keepOf(pid int, path string) error {
	theirs := fmt.Sprintf("/proc/%d/ns/pid", pid)
	to, err := os.Readlink(theirs)
	if err != nil {
		return err
	}
	if own, err := os.Readlink("/proc/self/ns/pid"); err != nil || to == own {
		return errors.Join(err, fmt.Errorf("process %d is in that of the node", pid))
	}
	return Keep(theirs, path)
}

// remove takes away what is in the folder of an allocation, and that.
func remove(dir string) error {
	for _, name := range []string{"pid", "ipc"} {
		if err := Drop(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	shm := filepath.Join(dir, "shm")
	for isMount(shm) {
		if err := unix.Unmount(shm, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return &os.PathError{Op: "umount", Path: shm, Err: err}
		}
	}
	for _, path := range []string{shm, dir} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
