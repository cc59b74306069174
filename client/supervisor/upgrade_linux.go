//go:build linux && (amd64 || arm64)

package supervisor

import (
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/client/msgpack"
	"github.com/proffer/proffer/structs"
)

// handover is what a supervisor leaves to the binary that it becomes. The process stays the same, so the tasks stay its
// children; everything else is in the table.
type handover struct {
	Listener, Lock int
	Tasks          []*handedTask
	Base           string // of our cgroups
	Helpers        []int  // children that only have to be reaped: the starters
}

type handedTask struct {
	Seq             uint64
	PidFD, Out, Err int
}

func (h *handover) task(seq uint64) *handedTask {
	if h == nil {
		return nil
	}
	for _, t := range h.Tasks {
		if t.Seq == seq {
			return t
		}
	}
	return nil
}

// upgrade replaces this process by command with the given settings (nil: its own). It returns only when that fails, and then
// nothing has changed.
func (s *server) upgrade(command, settings []string) error {
	fail := func(err error) error {
		return structs.Errorf(structs.Unavailable, "supervisor", "it cannot become %q: %w", command, err)
	}
	if len(command) == 0 {
		return fail(os.ErrInvalid)
	}
	if err := unix.Access(command[0], unix.X_OK); err != nil {
		return fail(err)
	}
	s.world.Lock() // no start, no half-copied output, no half-recorded end
	defer s.world.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	var out handover
	var keep []int
	defer func() {
		for _, fd := range keep {
			unix.Close(fd)
		}
	}()
	// Duplicates are without close-on-exec; should the exec fail, they are closed and the originals go on.
	give := func(f *os.File) (fd int, err error) {
		c, err := f.SyscallConn()
		if err != nil {
			return -1, err
		}
		var inner error
		if err := c.Control(func(n uintptr) { fd, inner = unix.FcntlInt(n, unix.F_DUPFD, 10) }); err != nil {
			return -1, err
		}
		if inner == nil {
			keep = append(keep, fd)
		}
		return fd, inner
	}
	l, err := s.listener.File()
	if err != nil {
		return fail(err)
	}
	defer l.Close()
	if out.Listener, err = give(l); err != nil {
		return fail(err)
	}
	if out.Lock, err = give(s.lock); err != nil {
		return fail(err)
	}
	for _, t := range s.tasks {
		if t.proc == nil || t.rec.Exit != nil {
			continue
		}
		g := &handedTask{Seq: t.rec.Seq, Out: -1, Err: -1}
		if g.PidFD, err = give(t.proc.pidfd); err != nil {
			return fail(err)
		}
		for i, to := range []*int{&g.Out, &g.Err} {
			if t.proc.pipes[i] == nil {
				continue // the next one opens it
			}
			if *to, err = give(t.proc.pipes[i]); short(err) {
				return fail(err)
			} else if err != nil {
				*to = -1 // it ended already
			}
		}
		out.Tasks = append(out.Tasks, g)
	}
	out.Helpers = s.host.helpers()
	if s.host.cgroup != nil {
		out.Base = s.host.cgroup.Base()
	}
	fd, err := unix.MemfdCreate("proffer-handover", 0)
	if err != nil {
		return fail(err)
	}
	keep = append(keep, fd)
	b, err := msgpack.Append(nil, &out)
	if err != nil {
		return fail(err)
	}
	if _, err := unix.Write(fd, b); err != nil {
		return fail(err)
	}
	if settings == nil {
		settings = s.with.args()
	}
	args := slices.Concat(command, []string{"-dir", s.dir, "-handover", strconv.Itoa(fd)}, settings)
	s.log.Info("becoming another binary", "path", command[0])
	return fail(unix.Exec(command[0], args, os.Environ()))
}

// readHandover reads what the predecessor left in descriptor fd, and makes close-on-exec what came with it.
func readHandover(fd int) (*handover, error) {
	f := os.NewFile(uintptr(fd), "handover")
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, info.Size())
	if _, err := f.ReadAt(b, 0); err != nil {
		return nil, err
	}
	h := new(handover)
	if err := msgpack.Decode(b, h); err != nil {
		return nil, fmt.Errorf("handover: %w", err)
	}
	unix.CloseOnExec(h.Listener)
	unix.CloseOnExec(h.Lock)
	for _, t := range h.Tasks {
		unix.CloseOnExec(t.PidFD)
	}
	for _, pid := range h.Helpers {
		go unix.Wait4(pid, nil, 0, nil) // its socket closed with the exec, so it ends at once
	}
	return h, nil
}

// helpers are the children that end with the exec.
func (h *host) helpers() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	var pids []int
	for _, st := range h.starters {
		pids = append(pids, st.PID())
	}
	return pids
}
