//go:build linux && (amd64 || arm64)

package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/structs"
)

// Mounts in tasks that run. A thread of its own enters the mount namespace of the task and works there with descriptors and single names, for
// the task can move whatever is above a mount, and put links in its place: the kernel keeps it only from moving the mount itself. A mount is
// known by the folder that it shows.

// mount mounts a folder of the host in a task.
func (h *host) mount(t *task, m *drivers.Mount) error {
	l := t.rec.Launch
	if !l.Full && l.Container == "" {
		return noMounts(t)
	}
	object := "task " + l.ID
	binds, err := mountsOf(object, &exec.Launch{Mounts: []drivers.Mount{*m}})
	for _, b := range binds {
		defer unix.Close(b.FD)
	}
	if err != nil {
		return err
	}
	tree := binds[0].FD
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return structs.Errorf(structs.Unavailable, object, "mount %s: %w", m.Target, err)
	}
	return t.proc.inside(func(io.ReaderAt) error {
		at, err := reach(m.Target)
		if err != nil {
			kind := structs.Unavailable
			if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EROFS) {
				kind = structs.Invalid // the task put something else there, and it does not become better by waiting
			}
			return structs.Errorf(kind, object, "mount at %s: %w", m.Target, err)
		}
		defer unix.Close(at)
		here, top, err := folderAt(at, "")
		if err != nil {
			return structs.Errorf(structs.Unavailable, object, "look at %s: %w", m.Target, err)
		}
		want, _, err := folderAt(tree, "")
		switch {
		case err != nil:
			return structs.Errorf(structs.Unavailable, object, "look at %s: %w", m.Source, err)
		case here == want:
			return nil
		case top:
			return structs.Errorf(structs.Invalid, object, "something else is mounted at %s", m.Target)
		}
		if err := unix.MoveMount(tree, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
			return structs.Errorf(structs.Unavailable, object, "mount at %s: %w", m.Target, err)
		}
		return nil
	})
}

// unmount takes it away.
func (h *host) unmount(t *task, m *drivers.Mount) error {
	l := t.rec.Launch
	if !l.Full && l.Container == "" {
		return noMounts(t)
	}
	object := "task " + l.ID
	source, err := unix.Open(m.Source, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return structs.Errorf(structs.Unavailable, object, "look for %s: %w", m.Source, err)
	}
	defer unix.Close(source)
	shown, _, err := folderAt(source, "")
	if err != nil {
		return structs.Errorf(structs.Unavailable, object, "look for %s: %w", m.Source, err)
	}
	return t.proc.inside(func(list io.ReaderAt) error {
		for range 4 {
			points, err := below(list, m.Target)
			if err != nil {
				return structs.Errorf(structs.Unavailable, object, "list its mounts: %w", err)
			}
			found, moved := false, false
			for _, point := range points {
				is, err := shows(point, shown)
				moved = moved || err != nil
				if !is {
					continue
				}
				found = true
				if err := detach(point); err == nil {
					return nil
				} else if errors.Is(err, unix.EBUSY) {
					return structs.Errorf(structs.Unavailable, object, "it uses what is mounted at %s", point)
				} else if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
					return structs.Errorf(structs.Unavailable, object, "unmount %s: %w", point, err)
				}
			}
			if !found && !moved {
				return nil
			}
		}
		return structs.Errorf(structs.Unavailable, object, "it moves what is above %s, so that it could not be looked for", m.Target)
	})
}

// inside calls do on a thread in the mount namespace of the task. The thread ends with it. mounts reads mountinfo(5) of the task.
func (p *process) inside(do func(mounts io.ReaderAt) error) error {
	return onThread(func() error {
		return p.control(func(fd int) error {
			pid, failed := p.pid, func(err error) error {
				return structs.Errorf(structs.Unavailable, "task "+p.rec.Launch.ID, "enter its view of the files: %w", err)
			}
			if p.rec.Launch.Container != "" { // the process is one that watches the container's
				var err error
				if pid, fd, err = p.contained(); err != nil {
					return failed(err)
				}
				defer unix.Close(fd)
			}
			mounts, err := os.Open(fmt.Sprintf("/proc/%d/mountinfo", pid)) // read in there, too, it is the task's
			if err != nil {
				return failed(err)
			}
			defer mounts.Close()
			err = unix.PidfdSendSignal(fd, 0, nil, 0) // it is there, so the number was no other's meanwhile
			if err == nil {
				err = unix.Unshare(unix.CLONE_FS) // a thread that shares its root and working directory with others may not enter
			}
			if err == nil {
				err = unix.Setns(fd, unix.CLONE_NEWNS)
			}
			if err != nil {
				return failed(err)
			}
			return do(mounts)
		})
	})
}

// contained opens the first process of a container, which is a child of the one that watches it.
func (p *process) contained() (pid, fd int, err error) {
	raw, err := os.ReadFile(p.rec.Launch.PidFile)
	if err == nil {
		pid, err = strconv.Atoi(strings.TrimSpace(string(raw)))
	}
	if err == nil {
		fd, err = unix.PidfdOpen(pid, 0)
	}
	if err != nil {
		return 0, -1, err
	}
	if f := statFields(pid); len(f) < 2 || f[1] != strconv.Itoa(p.pid) {
		unix.Close(fd)
		return 0, -1, unix.ESRCH
	}
	return pid, fd, nil
}

// onThread calls do on a thread that ends with it.
func onThread(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			// What others see of this process is what its first thread sees, and that one does not end.
			err := onThread(do)
			runtime.UnlockOSThread()
			done <- err
			return
		}
		done <- do()
	}()
	return <-done
}

// reach opens a folder, and makes what is missing below its first one: it belongs to whoever has what is above. Nothing on the way is a link.
func reach(target string) (fd int, err error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	how := &unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_NO_SYMLINKS}
	if fd, err = unix.Open("/", flags, 0); err != nil {
		return -1, err
	}
	for i, name := range strings.Split(target[1:], "/") {
		next, err := unix.Openat2(fd, name, how)
		if errors.Is(err, unix.ENOENT) && i > 0 {
			next, err = enter(fd, name, how)
		}
		unix.Close(fd)
		if err != nil {
			return -1, err
		}
		fd = next
	}
	return fd, nil
}

// enter makes a folder in another one and opens it.
func enter(dir int, name string, how *unix.OpenHow) (fd int, err error) {
	var above unix.Stat_t
	if err := unix.Fstat(dir, &above); err != nil {
		return -1, err
	}
	if err := unix.Mkdirat(dir, name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	if fd, err = unix.Openat2(dir, name, how); err != nil {
		return -1, err
	}
	if err := unix.Fchownat(fd, "", int(above.Uid), int(above.Gid), unix.AT_EMPTY_PATH); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// folder is which one it is on the host, wherever it is mounted.
type folder struct {
	major, minor uint32
	inode        uint64
}

// folderAt looks at a folder, without following a link, and whether something is mounted right there.
func folderAt(dir int, name string) (f folder, top bool, err error) {
	var s unix.Statx_t
	if err := unix.Statx(dir, name, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_INO, &s); err != nil {
		return f, false, err
	}
	return folder{s.Dev_major, s.Dev_minor, s.Ino}, s.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// openAbove opens the folder in which something is.
func openAbove(point string) (fd int, err error) {
	return unix.Openat2(unix.AT_FDCWD, path.Dir(point), &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS})
}

// shows reports whether the mount at a path shows a folder.
func shows(point string, f folder) (bool, error) {
	dir, err := openAbove(point)
	if err != nil {
		return false, err
	}
	defer unix.Close(dir)
	is, top, err := folderAt(dir, path.Base(point))
	return top && is == f, err
}

// detach unmounts what nobody uses, and removes the folder below, if that is empty. The thread is in the folder above afterwards: so the kernel
// gets one name, and no path that the task could change.
func detach(point string) error {
	dir, err := openAbove(point)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := unix.Fchdir(dir); err != nil {
		return err
	}
	if err := unix.Unmount(path.Base(point), unix.UMOUNT_NOFOLLOW); err != nil {
		return err
	}
	unix.Unlinkat(dir, path.Base(point), unix.AT_REMOVEDIR)
	return nil
}

// below reads mountinfo(5) anew: where something is mounted below the first folder of a path, that path first.
func below(list io.ReaderAt, target string) (points []string, err error) {
	raw, err := io.ReadAll(io.NewSectionReader(list, 0, 1<<24))
	if err != nil {
		return nil, err
	}
	first, _, _ := strings.Cut(target[1:], "/")
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		switch point := unescaped(fields[4]); {
		case point == target:
			points = append([]string{point}, points...)
		case strings.HasPrefix(point, "/"+first+"/"):
			points = append(points, point)
		}
	}
	return points, nil
}

// unescaped undoes how mountinfo writes blanks and the like: as three octal digits behind a backslash.
func unescaped(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
