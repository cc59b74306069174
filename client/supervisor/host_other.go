//go:build unix && !(linux && (amd64 || arm64))

package supervisor

import (
	"context"
	"errors"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/structs"
)

// host starts tasks as plain children in sessions of their own, for development on systems without namespaces. When this
// supervisor dies, nobody can take its tasks over.
type host struct {
	s     *server
	mu    sync.Mutex
	until time.Duration
	timer *time.Timer
}

// handover is what a predecessor left: nothing, here.
type handover struct{ Listener, Lock int }

func readHandover(int) (*handover, error) { return nil, errors.ErrUnsupported }

func (s *server) upgrade(_, _ []string) error {
	return structs.Errorf(structs.Unavailable, "supervisor", "it cannot be replaced in place on this system").
		Advise("stop the tasks, then restart the agent")
}

func openHost(s *server, _ bool, _ *handover) (*host, error) { return &host{s: s}, nil }

func (h *host) features() *exec.Features {
	return &exec.Features{Why: "isolation needs Linux", Root: os.Geteuid() == 0, Lacks: "cgroups need Linux", Detached: true, Named: true}
}

func (h *host) killRest(*record) {}

func (h *host) cgroupPath(uint64) string                  { return "" }
func (h *host) oomKills(*record) int                      { return 0 }
func (h *host) clean(*record) error                       { return nil }
func (h *host) sweep(map[uint64]*record)                  {}
func (h *host) pin([]*record, []int)                      {}
func (h *host) mount(t *task, _ *drivers.Mount) error     { return noMounts(t) }
func (h *host) unmount(t *task, _ *drivers.Mount) error   { return noMounts(t) }
func (h *host) limit(*record, drivers.Limits) error       { return nil }
func (h *host) relikely(*record, bool) error              { return nil }
func (h *host) give(string, []structs.AssignedPort) error { return nil }
func (h *host) close()                                    {}

// process is a child and its process group.
type process struct {
	pid    int
	cmd    *osexec.Cmd
	pipes  [2]*os.File // reading ends of stdout and stderr
	done   chan struct{}
	result outcome
}

// open is for tasks that are taken over, which there are not.
func (p *process) open(int) (*os.File, error) { return nil, errors.ErrUnsupported }

func (p *process) birth() uint64 { return 0 }

func (p *process) close() {
	for _, f := range p.pipes {
		if f != nil {
			f.Close()
		}
	}
}

func (p *process) wait() outcome {
	<-p.done
	return p.result
}

// reap waits for the child, then kills what is left of its group.
func (p *process) reap() {
	p.cmd.Wait()
	unix.Kill(-p.pid, unix.SIGKILL)
	if st, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && st.Signaled() {
		p.result = outcome{signal: int(st.Signal())}
	} else {
		p.result = outcome{code: p.cmd.ProcessState.ExitCode()}
	}
	close(p.done)
}

func (h *host) launch(l *exec.Launch, c exec.Command, stdio [3]*os.File) (*process, error) {
	program, env := c.Args[0], drivers.Overlay(l.Env, c.Env)
	path := program
	if filepath.Base(path) == path {
		path = lookPath(program, env)
	}
	cmd := &osexec.Cmd{Path: path, Args: slices.Clone(c.Args), Env: env, Dir: filepath.Join(l.TaskDir, "local"),
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Setctty: c.TTY}}
	if c.Arg0 != nil {
		cmd.Args[0] = *c.Arg0
	}
	if stdio[0] != nil {
		cmd.Stdin = stdio[0]
	}
	cmd.Stdout, cmd.Stderr = stdio[1], stdio[2]
	if os.Geteuid() == 0 && l.UID != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: l.UID, Gid: l.GID, Groups: l.Groups}
	}
	if err := cmd.Start(); err != nil {
		missing := &drivers.NoProgram{Code: 126, Err: structs.Errorf(structs.Invalid, "task "+l.ID, "program %q cannot be started: %w", program, err)}
		if errors.Is(err, os.ErrNotExist) {
			missing.Code, missing.Err = 127, structs.Errorf(structs.Invalid, "task "+l.ID, "program %q not found on this host", program)
		} else if errors.Is(err, os.ErrPermission) {
			missing.Err = structs.Errorf(structs.Invalid, "task "+l.ID, "program %q may not be executed by uid %d", program, l.UID)
		}
		return nil, missing
	}
	p := &process{pid: cmd.Process.Pid, cmd: cmd, done: make(chan struct{})}
	h.s.work.Go(p.reap)
	return p, nil
}

// lookPath looks a name up in the task's own PATH.
func lookPath(name string, env []string) string {
	for i := len(env) - 1; i >= 0; i-- {
		list, ok := cutPrefix(env[i], "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(list) {
			if path := filepath.Join(dir, name); unix.Access(path, unix.X_OK) == nil {
				return path
			}
		}
		break
	}
	return "/nonexistent/" + name
}

func cutPrefix(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || s[:len(prefix)] != prefix {
		return s, false
	}
	return s[len(prefix):], true
}

func (h *host) start(_ context.Context, rec *record) (p *process, err error) {
	if rec.Launch.Full {
		return nil, structs.Errorf(structs.Unavailable, "isolation", "it is not possible here: it needs Linux")
	}
	return h.piped(rec, rec.Launch, exec.Command{Args: append([]string{rec.Launch.Program}, rec.Launch.Args...), Arg0: rec.Launch.Arg0})
}

func (h *host) detach(_ context.Context, t *task, rec *record, d *exec.Detach) (*process, error) {
	return h.piped(rec, t.rec.Launch, d.Command)
}

// piped starts the program of a record with pipes for its output, in what a task has.
func (h *host) piped(rec *record, l *exec.Launch, c exec.Command) (p *process, err error) {
	if rec.Launch.Terminal != nil {
		return nil, structs.Errorf(structs.Invalid, "task "+rec.Launch.ID, "terminals of tasks need Linux")
	}
	var stdio [3]*os.File
	var pipes [2]*os.File
	defer func() {
		for _, f := range stdio {
			if f != nil {
				f.Close()
			}
		}
		for _, f := range pipes {
			if err != nil && f != nil {
				f.Close()
			}
		}
	}()
	for i := range pipes {
		if pipes[i], stdio[1+i], err = os.Pipe(); err != nil {
			return nil, err
		}
	}
	if p, err = h.launch(l, c, stdio); err != nil {
		return nil, err
	}
	p.pipes = pipes
	return p, nil
}

func (h *host) endCommand(*task, *process, bool) {}

func (h *host) enter(_ context.Context, t *task, c exec.Command, files []*os.File) (*process, error) {
	if len(c.Args) == 0 {
		return nil, structs.Errorf(structs.Invalid, "exec", "no command is given")
	}
	stdio := [3]*os.File{files[0], files[1], files[2]}
	if c.TTY {
		slave, err := openTerminal(files[0])
		if err != nil {
			return nil, structs.Errorf(structs.Unavailable, "exec", "open a terminal: %w", err)
		}
		defer slave.Close()
		stdio = [3]*os.File{slave, slave, slave}
	}
	return h.launch(t.rec.Launch, c, stdio)
}

// openTerminal sends the master of a new terminal over a socket and waits for the byte that says that it has its size.
func openTerminal(socket *os.File) (slave *os.File, err error) {
	ptmx, slave, err := pty.Open()
	if err != nil {
		return nil, err
	}
	defer ptmx.Close()
	fd := int(socket.Fd())
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 60})
	if err = unix.Sendmsg(fd, []byte{0}, unix.UnixRights(int(ptmx.Fd())), nil, 0); err == nil {
		var n int
		if n, err = unix.Read(fd, make([]byte, 1)); n == 0 && err == nil {
			err = errors.New("nobody wants it")
		}
	}
	if err != nil {
		slave.Close()
		return nil, err
	}
	return slave, nil
}

func (h *host) signal(p *process, sig int) error {
	if err := unix.Kill(p.pid, unix.Signal(sig)); err != nil {
		return structs.Errorf(structs.Conflict, "task", "it has ended")
	}
	return nil
}

func (h *host) kill(t *task)           { unix.Kill(-t.proc.pid, unix.SIGKILL) }
func (h *host) killCommand(p *process) { unix.Kill(-p.pid, unix.SIGKILL) }

func (h *host) adopt(rec *record, _ *handover) (*process, drivers.Exit, error) {
	return nil, drivers.Exit{Code: -1, Why: "its supervisor ended, and this system cannot take tasks over"}, nil
}

func (h *host) stats(rec *record) (*drivers.Stats, error) {
	return &drivers.Stats{Time: structs.At(time.Now())}, nil
}

func (h *host) lease() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.until
}

func (h *host) renew(until time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until = until
	if h.timer != nil {
		h.timer.Reset(max(until-Now(), 0))
	}
	return nil
}

func (h *host) watchLease(ended func()) (stop func()) {
	timer := time.NewTimer(time.Hour)
	h.mu.Lock()
	h.timer = timer
	h.mu.Unlock()
	over := make(chan struct{})
	var w sync.WaitGroup
	w.Go(func() {
		for {
			select {
			case <-timer.C:
				ended()
			case <-over:
				return
			}
		}
	})
	return func() {
		close(over)
		w.Wait()
	}
}

var began = time.Now()

// bootID is new with each process: nothing of an earlier supervisor can be taken over.
func bootID() (string, error) { return structs.NewID(), nil }

// Now returns a clock for Renew. This system's does not count while it is suspended.
func Now() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return time.Since(began)
	}
	return time.Duration(ts.Nano())
}
