//go:build linux && (amd64 || arm64)

package stage

import (
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

// Bounds of one start: the message to the starter, the strings in it, and groups of the user.
const (
	maxMessage = 160 << 10
	maxStrings = 8000
	maxGroups  = 1024
)

const (
	opSetup = 1 + iota
	opStart
	opExec
)

const (
	flagFull = 1 << iota
	flagNetwork
	flagFenced
	flagSetIDs
	flagTTY
	flagAdopt
	flagSharedPID
	flagSharedIPC
	flagHold
)

// Plan is one process to start. Descriptors stay the caller's. Nil files are absent.
type Plan struct {
	Full    bool // own namespaces and root
	Network bool // with Full: own network namespace
	// SharedPID and SharedIPC, with Full: instead of namespaces of its own the program is in those of Pidns and Ipcns. What of it leaves the
	// program's session does not end with it: the caller ends that by its cgroup.
	SharedPID, SharedIPC bool
	// Hold, with Full, makes a PID namespace and nothing else: there is no program, and what others start in it is reaped. It ends with the stage.
	Hold   bool
	Fenced bool // ends when the time in slot 0 has passed
	SetIDs bool // change to UID, GID, Groups
	// TTY gives the process a controlling terminal; Stdin, Stdout and Stderr are not its own then. For Enter Stdin is a socket: the
	// terminal's master comes over it, and one byte back lets the program begin. For Start the stage keeps the master as KeptStdout, in the
	// place of KeepOut, and the terminal is of Rows and Columns; with Adopt KeepOut is a listening socket, to which the program sends the
	// master of a terminal that it makes.
	TTY           bool
	Rows, Columns uint16

	// Adopt is for a program that makes a process and ends, such as an OCI runtime: the start has succeeded once it ended with 0,
	// and the process whose number it wrote into this file is the program from then on. Without Full; of a task, the pipes must be kept.
	Adopt string

	UID, GID uint32
	Groups   []uint32
	Caps     uint64 // kept capabilities, as a bit set; with Full
	Rlimits  []Rlimit
	Filter   []unix.SockFilter // for system calls of the program, loaded right before it; with Full. nil: none
	Seq      uint64            // written to the slot
	Slot     uint32            // 0: none

	Dir    string // working folder, in the task's root
	Host   string
	Args   []string // Args[0] is looked up in PATH of Env unless it has a slash
	Arg0   *string  // what the program is called, in the place of Args[0]; nil: that
	Env    []string
	Covers []string // paths in the root that are hidden behind something empty

	Stdin, Stdout, Stderr int
	KeepOut, KeepErr      int   // reading ends that the stage keeps open; -1: none
	Cgroup                int   // folder of a cgroup v2, or -1
	Joins                 []int // `tasks` files of cgroups v1
	Binds                 []Bind
	PidFD                 int // of the stage whose task is entered (Enter), or -1
	Netns                 int // the network namespace to join, or -1; without Network
	Pidns, Ipcns          int // namespaces to join, or -1: those of the host; with SharedPID and SharedIPC
}

// Bind is a detached mount (open_tree) and where it goes. The first one may go to "/": it becomes the root, which has empty folders proc and
// dev, and those that other binds go to. Nothing of the starter's root is left then but /dev.
type Bind struct {
	FD     int
	Target string
	Spread bool // it and what is mounted below it keep their propagation; others are private, and alone
}

// Rlimit is one limit of setrlimit(2).
type Rlimit struct{ Resource, Soft, Hard uint64 }

// encode lays a plan out as struct head of stage.c, and lists the descriptors to send.
func (p *Plan) encode(op uint32, report int) (msg []byte, fds []int, err error) {
	if !p.Hold && (len(p.Args) == 0 || p.Args[0] == "") {
		return nil, nil, structs.Errorf(structs.Invalid, "", "no program is given")
	}
	if n := len(p.Args) + len(p.Env) + len(p.Covers) + len(p.Binds); n > maxStrings || len(p.Groups) > maxGroups {
		return nil, nil, structs.Errorf(structs.Exhausted, "", "%d arguments and variables, %d groups: more than %d and %d",
			n, len(p.Groups), maxStrings, maxGroups)
	}
	index := func(fd int) uint32 {
		if fd < 0 {
			return ^uint32(0)
		}
		fds = append(fds, fd)
		return uint32(len(fds) - 1)
	}
	var flags uint32
	for bit, on := range map[uint32]bool{flagFull: p.Full, flagNetwork: p.Network, flagFenced: p.Fenced, flagSetIDs: p.SetIDs, flagTTY: p.TTY,
		flagAdopt: p.Adopt != "", flagSharedPID: p.SharedPID, flagSharedIPC: p.SharedIPC, flagHold: p.Hold} {
		if on {
			flags |= bit
		}
	}
	b := make([]byte, 0, 4096)
	u32 := func(vs ...uint32) {
		for _, v := range vs {
			b = binary.NativeEndian.AppendUint32(b, v)
		}
	}
	u64 := func(vs ...uint64) {
		for _, v := range vs {
			b = binary.NativeEndian.AppendUint64(b, v)
		}
	}
	u32(op, flags, p.Slot, p.UID)
	u64(p.Seq, p.Caps)
	u32(p.GID, uint32(len(p.Groups)), uint32(len(p.Rlimits)), uint32(len(p.Args)), uint32(len(p.Env)),
		uint32(len(p.Covers)), uint32(len(p.Binds)), uint32(len(p.Joins)))
	u32(index(p.Stdin), index(p.Stdout), index(p.Stderr), index(p.KeepOut), index(p.KeepErr), index(report),
		index(p.Cgroup), index(p.PidFD))
	netns, pidns, ipcns := index(p.Netns), ^uint32(0), ^uint32(0)
	if p.SharedPID {
		pidns = index(p.Pidns)
	}
	if p.SharedIPC {
		ipcns = index(p.Ipcns)
	}
	u32(uint32(len(fds)), uint32(len(fds)+len(p.Binds)))
	u32(uint32(len(p.Filter)), netns, uint32(p.Rows), uint32(p.Columns))
	var spread uint64
	for i, m := range p.Binds {
		fds = append(fds, m.FD)
		if m.Spread {
			spread |= 1 << i
		}
	}
	u64(spread)
	u32(pidns, ipcns)
	fds = append(fds, p.Joins...)
	for _, r := range p.Rlimits {
		u64(r.Resource, r.Soft, r.Hard)
	}
	for _, f := range p.Filter {
		b = append(binary.NativeEndian.AppendUint16(b, f.Code), f.Jt, f.Jf)
		u32(f.K)
	}
	u32(p.Groups...)
	var split error // a NUL ends a string: what follows would be taken for the next one
	add := func(list ...string) {
		for _, s := range list {
			if strings.IndexByte(s, 0) >= 0 {
				split = structs.Errorf(structs.Invalid, "", "an argument, a variable or a path has a NUL, which no program can be given")
			}
			b = append(append(b, s...), 0)
		}
	}
	if p.Adopt != "" {
		add(p.Dir, p.Adopt)
	} else {
		add(p.Dir, p.Host)
	}
	if len(p.Args) == 0 { // of Hold: no file, and no arguments
		add("")
	} else {
		called := p.Args[0]
		if p.Arg0 != nil {
			called = *p.Arg0
		}
		add(p.Args[0], called)
		add(p.Args[1:]...)
	}
	add(p.Env...)
	add(p.Covers...)
	for _, m := range p.Binds {
		add(m.Target)
	}
	if split != nil {
		return nil, nil, split
	}
	if len(b) > maxMessage {
		return nil, nil, structs.Errorf(structs.Exhausted, "", "arguments and environment take %d bytes, more than %d",
			len(b), maxMessage)
	}
	return b, fds, nil
}

// Failure is why the stage could not start a program.
type Failure struct {
	Step  string // "exec", "pivot_root"
	What  string // the path or name that it was about; may be empty
	Errno unix.Errno
}

func (f *Failure) Error() string {
	if f.What == "" {
		return fmt.Sprintf("%s: %v", f.Step, f.Errno)
	}
	return fmt.Sprintf("%s %s: %v", f.Step, f.What, f.Errno)
}

// Unwrap gives the errno.
func (f *Failure) Unwrap() error { return f.Errno }

// parseFailure reads what die of stage.c wrote; nil for nothing.
func parseFailure(b []byte) *Failure {
	if len(b) < 4 {
		return nil
	}
	f := &Failure{Errno: unix.Errno(binary.NativeEndian.Uint32(b))}
	for i, c := range b[4:] {
		if c == 0 {
			f.Step, f.What = string(b[4:4+i]), string(b[4+i+1:])
			break
		}
	}
	return f
}
