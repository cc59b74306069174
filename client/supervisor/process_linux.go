//go:build linux && (amd64 || arm64)

package supervisor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec/cgroup"
	"github.com/proffer/proffer/drivers/exec/stage"
	"github.com/proffer/proffer/structs"
)

// process is a stage that runs. Its methods may be called from any goroutine.
type process struct {
	h     *host
	rec   *record
	pid   int
	pidfd *os.File      // in the poller
	pipes [2]*os.File   // reading ends of stdout and stderr, owned by the pumps until they end; nil: not open. Of a terminal the first is all
	group *cgroup.Group // of a command, when it has one of its own

	leaving sync.Mutex
	left    []*cgroup.Group // of commands in this task that left something running
}

func (h *host) process(p *stage.Process, rec *record) *process {
	return &process{h: h, rec: rec, pid: p.PID, pidfd: os.NewFile(uintptr(p.PidFD), "pidfd")}
}

// control calls f with the pidfd; it fails once the process was closed.
func (p *process) control(f func(fd int) error) error {
	c, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := c.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return structs.Errorf(structs.Conflict, "task", "it has ended")
	}
	return inner
}

// close frees the descriptors after the process ended.
func (p *process) close() {
	p.pidfd.Close()
	for _, f := range p.pipes {
		if f != nil {
			f.Close()
		}
	}
}

// wait returns when the process has ended, and reaps it when it is our child.
func (p *process) wait() outcome {
	var o outcome
	c, err := p.pidfd.SyscallConn()
	if err != nil {
		return outcome{lost: true}
	}
	if err := c.Read(func(fd uintptr) bool {
		var done bool
		o, done = p.poll(int(fd))
		return done
	}); err != nil {
		return outcome{lost: true}
	}
	if p.rec.Slot == 0 {
		return o
	}
	if slot := p.h.slots.Read(p.rec.Slot); slot.Seq == p.rec.Seq && slot.State == stage.Ended {
		return slotOutcome(slot)
	}
	return o
}

func slotOutcome(slot stage.Slot) outcome {
	o := outcome{code: slot.Status.ExitStatus(), fence: slot.Flags&stage.ByFence != 0}
	if slot.Status.Signaled() {
		o.code, o.signal = 0, int(slot.Status.Signal())
	}
	return o
}

func (p *process) poll(fd int) (outcome, bool) {
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, _ := unix.Poll(ready, 0); n <= 0 {
		return outcome{}, false
	}
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PIDFD, fd, &info, unix.WEXITED|unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD): // adopted from a supervisor that died
			return exitOf(fd), true
		case err != nil:
			return outcome{lost: true}, true
		case info.Signo == 0:
			return outcome{}, false
		}
		status := int((*[8]int32)(unsafe.Pointer(&info))[6])
		if info.Code == 1 { // CLD_EXITED
			return outcome{code: status}, true
		}
		return outcome{signal: status}, true
	}
}

// exitOf asks the kernel how a process that is not our child ended: Linux 6.15 and later know.
func exitOf(fd int) outcome {
	info := [64]byte{}
	const wantExit = 1 << 3
	binary.NativeEndian.PutUint64(info[:], wantExit)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), 0xC040FF0B /* PIDFD_GET_INFO */, uintptr(unsafe.Pointer(&info)))
	if errno != 0 || binary.NativeEndian.Uint64(info[:])&wantExit == 0 {
		return outcome{lost: true}
	}
	status := unix.WaitStatus(binary.NativeEndian.Uint32(info[60:]))
	if status.Signaled() {
		return outcome{signal: int(status.Signal())}
	}
	return outcome{code: status.ExitStatus()}
}

// birth is the start time of the process, in clock ticks since boot.
func (p *process) birth() uint64 { return birthOf(p.pid) }

func birthOf(pid int) uint64 {
	f := statFields(pid)
	if len(f) < 20 {
		return 0
	}
	n, _ := strconv.ParseUint(f[19], 10, 64)
	return n
}

// statFields are those of /proc/PID/stat behind the name: [0] is the state, field 3.
func statFields(pid int) []string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(raw[strings.LastIndexByte(string(raw), ')'):]), " ")
	return strings.Fields(rest)
}

// signal sends a signal to the program.
func (h *host) signal(p *process, sig int) error {
	err := p.control(func(fd int) error { return stage.Forward(fd, sig) })
	if errors.Is(err, unix.ESRCH) {
		return structs.Errorf(structs.Conflict, "task "+p.rec.Launch.ID, "it has ended")
	}
	return err
}

func (h *host) killCommand(p *process) { p.control(func(fd int) error { return stage.Forward(fd, 0) }) }

// kill ends everything of a task.
func (h *host) kill(t *task) {
	sigkill := func(fd int) error { return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) }
	if t.rec.Launch.Full && t.rec.Within == 0 && !t.rec.Launch.SharedPID { // the kernel kills its PID namespace
		t.proc.control(sigkill)
		return
	}
	t.proc.control(func(fd int) error { return stage.Forward(fd, 0) })
	timer := time.NewTimer(3 * time.Second)
	defer timer.Stop()
	select {
	case <-t.ended:
	case <-timer.C: // the stage is stopped, or fights a fork bomb
		if g := h.commandOf(t.rec); g != nil {
			g.Kill()
		} else if t.rec.Cgroup != "" {
			h.cgroup.Open(t.rec.Cgroup).Kill()
		}
		t.proc.control(sigkill)
	}
}

// open opens the reading end of stdout (0) or stderr (1) once more: the stage of a task keeps them for this. Of a terminal it is the master,
// of which only a duplicate leads to the same one.
func (p *process) open(pipe int) (*os.File, error) {
	if p.rec.Launch.Terminal != nil {
		var fd int
		err := p.control(func(pidfd int) (err error) {
			fd, err = unix.PidfdGetfd(pidfd, stage.KeptStdout, 0) // close-on-exec
			return err
		})
		if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EBADF) {
			err = fs.ErrNotExist // the stage has ended
		}
		if err != nil {
			return nil, err
		}
		unix.SetNonblock(fd, true)
		return os.NewFile(uintptr(fd), "terminal"), nil
	}
	path := fmt.Sprintf("/proc/%d/fd/%d", p.pid, [2]int{stage.KeptStdout, stage.KeptStderr}[pipe])
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "output"), nil
}

// adopt finds the process of a record, or says how it ended. An error: it could not look.
func (h *host) adopt(rec *record, given *handover) (p *process, exit drivers.Exit, err error) {
	slot := h.slots.Read(rec.Slot)
	if slot.Seq != rec.Seq {
		slot = stage.Slot{}
	}
	gone := drivers.Exit{Code: -1, Why: "it ended while no supervisor ran, and nothing wrote down how"}
	if slot.State == stage.Ended {
		o := slotOutcome(slot)
		gone = o.exit()
		if o.fence {
			gone.Why = "the node's lease ended, and the task may only run under one"
		}
	}
	if g := given.task(rec.Seq); g != nil {
		p = h.process(&stage.Process{PID: rec.PID, PidFD: g.PidFD}, rec)
		p.pipes = [2]*os.File{handed(g.Out), handed(g.Err)}
		return p, exit, nil
	}
	if rec.PID == 0 {
		// It died between our intent and the answer. Nobody was told that the task runs, so it must not.
		if (!rec.Launch.Full || rec.Launch.SharedPID || rec.Within != 0) && slot.State == stage.Running {
			if fd, err := unix.PidfdOpen(int(slot.PID), 0); err == nil {
				if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", slot.PID)); string(name) == "proffer-task\n" {
					stage.Forward(fd, 0)
				}
				unix.Close(fd)
			}
		}
		if rec.Cgroup != "" && h.cgroup != nil {
			h.cgroup.Open(rec.Cgroup).Kill()
		}
		return nil, drivers.Exit{Code: -1, Why: "the supervisor ended while it started this task"}, nil
	}
	fd, err := unix.PidfdOpen(rec.PID, unix.PIDFD_NONBLOCK)
	if short(err) {
		return nil, exit, err
	}
	if err != nil {
		return nil, gone, nil
	}
	if birthOf(rec.PID) != rec.Birth {
		unix.Close(fd)
		return nil, gone, nil
	}
	return h.process(&stage.Process{PID: rec.PID, PidFD: fd}, rec), exit, nil
}

// handed makes a file of a descriptor that came through an exec.
func handed(fd int) *os.File {
	if fd < 0 {
		return nil
	}
	unix.CloseOnExec(fd)
	unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), "output")
}
