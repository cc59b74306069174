//go:build linux && system

package faults

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// changes are the system calls before which an agent may be killed. openat counts with O_CREAT.
var changes = []uint32{unix.SYS_MKDIRAT, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_UNLINKAT, unix.SYS_LINKAT, unix.SYS_SYMLINKAT,
	unix.SYS_MKNODAT, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSYNC, unix.SYS_FDATASYNC,
	unix.SYS_SYNCFS, unix.SYS_FTRUNCATE, unix.SYS_PWRITE64, unix.SYS_CONNECT, unix.SYS_SENDMSG, unix.SYS_FCHOWNAT, unix.SYS_FCHMODAT,
	unix.SYS_SENDTO, unix.SYS_UNSHARE, unix.SYS_OPENAT}

const (
	retNotify = 0x7fc00000
	retAllow  = 0x7fff0000
)

// setTrap makes the kernel ask whoever has the descriptor before each change that a thread of this process makes, and those that it
// starts.
func setTrap() (fd int, err error) {
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	ret := func(what uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: what}
	}
	program := []unix.SockFilter{load(0)}
	n := len(changes)
	for i, nr := range changes {
		// Behind the jumps: allow, notify, and what looks at the flags of openat.
		to := uint8(n - i)
		if nr == unix.SYS_OPENAT {
			to = uint8(n - i + 1)
		}
		program = append(program, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jt: to})
	}
	program = append(program, ret(retAllow), ret(retNotify),
		load(16+8*2), unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: unix.O_CREAT, Jt: 1}, ret(retAllow), ret(retNotify))
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	const tsync, listener, tsyncESRCH = 1, 8, 16
	r, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, tsync|listener|tsyncESRCH, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return -1, os.NewSyscallError("seccomp", errno)
	}
	return int(r), nil
}

// trap is the other end.
type trap struct {
	fd   int
	pid  int
	at   int64 // the change before which the process is killed; 0: none
	seen atomic.Int64
	done chan struct{}
}

// takeTrap gets the descriptor of a process that has set one.
func takeTrap(pid, theirs int, at int64) (*trap, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, theirs, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_getfd", err)
	}
	return &trap{fd: fd, pid: pid, at: at, done: make(chan struct{})}, nil
}

// watch lets changes happen until the process ends, or kills it.
func (t *trap) watch() error {
	defer close(t.done)
	defer unix.Close(t.fd)
	killed := false
	for {
		wait := []unix.PollFd{{Fd: int32(t.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(wait, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if wait[0].Revents&unix.POLLIN == 0 {
			if wait[0].Revents != 0 {
				return nil // nobody is left that it is set for
			}
			continue
		}
		var ask struct {
			ID         uint64
			PID, Flags uint32
			NR         int32
			Arch       uint32
			IP         uint64
			Args       [6]uint64
		}
		var answer struct {
			ID    uint64
			Val   int64
			Error int32
			Flags uint32
		}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(t.fd), 0xC0502100, uintptr(unsafe.Pointer(&ask))); errno != 0 {
			if errno == unix.EINTR || errno == unix.ENOENT {
				continue // whoever asked was killed
			}
			return fmt.Errorf("receive: %w", errno)
		}
		// What an agent started, such as the plugin of a network, outlives it.
		its := threadOf(int(ask.PID), t.pid)
		if its && killed {
			continue
		}
		if n := t.seen.Add(1); n == t.at {
			unix.Kill(t.pid, unix.SIGKILL)
			if killed = true; its {
				continue
			}
		}
		answer.ID, answer.Flags = ask.ID, 1 // go on
		unix.Syscall(unix.SYS_IOCTL, uintptr(t.fd), 0xC0182101, uintptr(unsafe.Pointer(&answer)))
	}
}

// threadOf reports whether a thread is one of a process.
func threadOf(tid, pid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d/task/%d", pid, tid))
	return err == nil
}
