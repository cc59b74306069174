package taskdir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// secretsSize bounds the file system in memory that holds the secrets of a task.
const secretsSize = 16 << 20

// inMemory reports whether the secrets of a task are in memory, or cannot be.
func (d Dir) inMemory(task string) bool {
	if os.Geteuid() != 0 {
		return true
	}
	var st unix.Statfs_t
	return unix.Statfs(d.secrets(task), &st) == nil && st.Type == unix.TMPFS_MAGIC
}

// keepInMemory puts a file system in memory in the place of the secrets folder of a task that does not run. What was written there
// before is hidden by it: it was for another start. An agent that is not root, or may not mount, leaves the folder on the disk.
func (d Dir) keepInMemory(task string) error {
	if d.inMemory(task) {
		return nil
	}
	path := d.secrets(task)
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return failure(path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("%s is no folder", path)
	}
	options := fmt.Sprintf("mode=0%o,uid=%d,gid=%d,size=%d,nr_inodes=4096", st.Mode&0o777, st.Uid, st.Gid, secretsSize)
	err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options)
	if errors.Is(err, unix.EPERM) {
		return nil
	}
	if err != nil {
		return failure(path, err)
	}
	return nil
}

// ForgetSecrets takes the secrets of a task out of memory.
func (d Dir) ForgetSecrets(task string) { unmount(d.secrets(task)) }

// forgetSecrets is ForgetSecrets for all that is in d.
func (d Dir) forgetSecrets() {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.IsDir() && e.Name() != Shared && e.Name() != Logs {
			unmount(d.secrets(e.Name()))
		}
	}
}

// unmount takes a file system in memory away; anything else stays. A link is not followed.
func unmount(path string) {
	fd, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_NOFOLLOW|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	at := "/proc/self/fd/" + strconv.Itoa(fd) + "/" + filepath.Base(path)
	var st unix.Statfs_t
	if unix.Statfs(at, &st) == nil && st.Type == unix.TMPFS_MAGIC {
		unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) // EINVAL: all of the disk is in memory
	}
}

func (d Dir) secrets(task string) string { return filepath.Join(d.Task(task), "secrets") }
