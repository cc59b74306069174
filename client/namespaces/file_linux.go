package namespaces

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// nsfsMagic is the type of file system that a namespace's file is of.
const nsfsMagic = 0x6e736673

// A Kind is one of namespaces, by its name in /proc/PID/ns.
type Kind string

// Kinds of namespaces that are kept by a file.
const (
	Net Kind = "net"
	IPC Kind = "ipc"
	PID Kind = "pid"
)

var flags = map[Kind]int{Net: unix.CLONE_NEWNET, IPC: unix.CLONE_NEWIPC}

// Kept reports whether a namespace is mounted at path. After the machine was started anew, none is.
func Kept(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == nsfsMagic
}

// Apart runs f on a thread that ends with it, so that nothing else ever runs in the namespace which f enters. The process's first
// thread cannot end and stands for the whole process in /proc: it is not taken.
func Apart(f func() error) error {
	done := make(chan error, 1)
	var begin func()
	begin = func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			started := make(chan struct{})
			go func() { begin(); close(started) }()
			<-started
			runtime.UnlockOSThread()
			return
		}
		done <- f()
	}
	go begin()
	return <-done
}

// Inside runs f in the namespace at path, of whatever kind, on a thread of its own. What f opens there stays there.
func Inside(path string, f func() error) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	return Apart(func() error {
		if err := unix.Setns(fd, 0); err != nil {
			return fmt.Errorf("enter the namespace %s: %w", path, err)
		}
		return f()
	})
}

// Make makes a namespace and mounts it at path, which keeps it without any process. One that is there already stays.
func Make(kind Kind, path string) error {
	if Kept(path) {
		return nil
	}
	if err := touch(path); err != nil {
		return err
	}
	return Apart(func() error {
		if err := unix.Unshare(flags[kind]); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		return os.NewSyscallError("mount", unix.Mount("/proc/thread-self/ns/"+string(kind), path, "", unix.MS_BIND, ""))
	})
}

// Keep mounts a namespace that others made, at from, at path. One that is there already stays.
func Keep(from, path string) error {
	if Kept(path) {
		return nil
	}
	if err := touch(path); err != nil {
		return err
	}
	return os.NewSyscallError("mount", unix.Mount(from, path, "", unix.MS_BIND, ""))
}

func touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	return f.Close()
}

// Drop ends what Make and Keep did: with the last process in it, the namespace goes.
func Drop(path string) error {
	for Kept(path) { // an agent that was killed may have mounted it twice
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return &os.PathError{Op: "umount", Path: path, Err: err}
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
