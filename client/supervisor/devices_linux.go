//go:build linux && (amd64 || arm64)

package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
)

// devFolder makes a /dev of its own for a task with devices: a file system in memory, mounted nowhere yet, with what every task has
// there and nodes of the same numbers as those of the host. No other task sees it, and without CAP_MKNOD, which no task has, nobody can
// make another node; every other mount in a task is nodev.
func devFolder(devices []drivers.Device) (fd int, err error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fs)
	for _, option := range [][2]string{{"source", "proffer"}, {"mode", "0755"}, {"size", "64k"}, {"nr_inodes", "1k"}} {
		if err := unix.FsconfigSetString(fs, option[0], option[1]); err != nil {
			return -1, os.NewSyscallError("fsconfig "+option[0], err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, os.NewSyscallError("fsconfig", err)
	}
	dir, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("fsmount", err)
	}
	defer func() {
		if err != nil {
			unix.Close(dir)
		}
	}()
	for _, name := range []string{"pts", "shm"} {
		if err := unix.Mkdirat(dir, name, 0o755); err != nil {
			return -1, os.NewSyscallError("mkdir "+name, err)
		}
	}
	for _, l := range [][2]string{{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"}} {
		if err := unix.Symlinkat(l[0], dir, l[1]); err != nil {
			return -1, os.NewSyscallError("symlink "+l[1], err)
		}
	}
	node := func(name string, kind, mode uint32, number uint64) error {
		if err := unix.Mknodat(dir, name, kind|mode, int(number)); err != nil {
			return os.NewSyscallError("mknod "+name, err)
		}
		return os.NewSyscallError("chmod "+name, unix.Fchmodat(dir, name, mode, 0)) // whatever the umask is
	}
	for name, number := range map[string]uint64{"null": unix.Mkdev(1, 3), "zero": unix.Mkdev(1, 5), "full": unix.Mkdev(1, 7),
		"random": unix.Mkdev(1, 8), "urandom": unix.Mkdev(1, 9), "tty": unix.Mkdev(5, 0)} {
		if err := node(name, unix.S_IFCHR, 0o666, number); err != nil {
			return -1, err
		}
	}
	for _, d := range devices {
		name, below := strings.CutPrefix(path.Clean(d.Path), "/dev/")
		if !below {
			return -1, fmt.Errorf("%s is not below /dev", d.Path)
		}
		var st unix.Stat_t
		if err := unix.Stat(d.Host, &st); err != nil {
			return -1, &os.PathError{Op: "stat", Path: d.Host, Err: err}
		}
		kind := st.Mode & unix.S_IFMT
		if kind != unix.S_IFCHR && (kind != unix.S_IFBLK || d.Volume == "") {
			return -1, fmt.Errorf("%s is not a device that a task may have", d.Host)
		}
		for i, c := range name {
			if c != '/' {
				continue
			}
			if err := unix.Mkdirat(dir, name[:i], 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
				return -1, os.NewSyscallError("mkdir "+name[:i], err)
			}
		}
		var mode uint32 // for whoever the task runs as: nobody else sees the node
		if strings.Contains(d.Perms, "r") {
			mode |= 0o444
		}
		if strings.Contains(d.Perms, "w") {
			mode |= 0o222
		}
		if err := node(name, kind, mode, st.Rdev); err != nil {
			return -1, err
		}
	}
	return dir, nil
}
