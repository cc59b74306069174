//go:build unix

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	driver "github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/structs"
)

// Client is the agent's side. It reconnects, and starts a supervisor when there is none. It implements exec.Supervisor
// and may be used from any goroutine.
type Client struct {
	opts Options

	dialing sync.Mutex // one attempt to connect at a time
	mu      sync.Mutex
	conn    *link
	closed  bool
	cores   []int // that tasks have for themselves
	started int   // pid of a supervisor that this process started, until it was reaped

	keep    context.CancelFunc // ends keeping
	keeping sync.WaitGroup
}

// Connect reaches the supervisor in opts.Dir and starts it when absent. One that runs another binary, or has other settings,
// is replaced in place. Until Close or Release, one that ends is followed by another at once.
func Connect(ctx context.Context, opts Options) (*Client, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Binary == nil {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		opts.Binary = []string{self, "supervisor"}
	}
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, err
	}
	opts.Dir = dir
	c := &Client{opts: opts}
	l, err := c.link(ctx)
	if err != nil {
		return nil, err
	}
	if why := c.outdated(l); why != "" {
		opts.Logger.Info("the supervisor is replaced in place", "why", why)
		if err := c.Upgrade(ctx); err != nil {
			if l.version != Version {
				return nil, errors.Join(err, c.Close())
			}
			opts.Logger.Warn("the supervisor stays as it is", "err", err)
		}
	}
	keeping, cancel := context.WithCancel(context.Background())
	c.keep = cancel
	c.keeping.Go(func() { c.restart(keeping) })
	return c, nil
}

// outdated says why the supervisor at the other end is not what the options ask for; empty: it is.
func (c *Client) outdated(l *link) string {
	with := c.opts.settings()
	if l.version != Version {
		return fmt.Sprintf("it speaks protocol version %d, and this is %d", l.version, Version)
	}
	if !slices.Equal(l.settings, with.args()) {
		return "its settings changed"
	}
	bin, err := exec.LookPath(c.opts.Binary[0])
	if err != nil {
		return ""
	}
	// A file that was replaced is another file, also under the same name.
	ours, err1 := os.Stat(bin)
	theirs, err2 := os.Stat(fmt.Sprintf("/proc/%d/exe", l.pid))
	if err1 == nil && err2 == nil && !os.SameFile(ours, theirs) {
		return "its program changed"
	}
	return ""
}

// restart follows a supervisor that ends, with pauses between those that end soon: without tasks nobody else would notice.
func (c *Client) restart(ctx context.Context) {
	const first, longest, settled = 100 * time.Millisecond, 30 * time.Second, time.Minute
	pause := first
	for {
		began := time.Now()
		l, err := c.link(ctx)
		if err == nil {
			select {
			case <-l.done:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil && time.Since(began) > settled {
			pause = first
			continue
		}
		if err != nil {
			c.opts.Logger.Error("there is no supervisor", "err", err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		pause = min(2*pause, longest)
	}
}

// Close ends the connection; tasks and the supervisor go on.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	l := c.conn
	c.conn = nil
	c.mu.Unlock()
	if c.keep != nil {
		c.keep()
	}
	if l != nil {
		l.conn.Close()
		<-l.done
	}
	c.keeping.Wait()
	c.reap()
	return nil
}

// reap collects a supervisor that this process started and that has ended.
func (c *Client) reap() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started == 0 {
		return
	}
	if pid, err := unix.Wait4(c.started, nil, unix.WNOHANG, nil); pid == c.started || errors.Is(err, unix.ECHILD) {
		c.started = 0
	}
}

// spawn starts a supervisor and returns when it serves. That one serves already is no error.
func (c *Client) spawn(ctx context.Context) error {
	c.reap()
	fail := func(err error) error {
		return structs.Errorf(structs.Unavailable, "supervisor", "it cannot be started: %w", err).
			Advise("see %s", filepath.Join(c.opts.Dir, "supervisor.log"))
	}
	if err := os.MkdirAll(c.opts.Dir, 0o700); err != nil {
		return fail(err)
	}
	path := filepath.Join(c.opts.Dir, "supervisor.log")
	if info, err := os.Stat(path); err == nil && info.Size() > 10<<20 {
		os.Rename(path, path+".old")
	}
	log, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fail(err)
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	defer r.Close()
	with := c.opts.settings()
	args := slices.Concat(c.opts.Binary, []string{"-dir", c.opts.Dir, "-ready", "3"}, with.args())
	bin, err := exec.LookPath(args[0])
	if err != nil {
		w.Close()
		return fail(err)
	}
	cmd := &exec.Cmd{Path: bin, Args: args, Dir: "/", Stdout: log, Stderr: log, ExtraFiles: []*os.File{w},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return fail(err)
	}
	c.mu.Lock()
	c.started = cmd.Process.Pid
	c.mu.Unlock()
	cmd.Process.Release() // it outlives us; reap collects it when it does not
	stop := context.AfterFunc(ctx, func() { r.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	word, err := io.ReadAll(io.LimitReader(r, 4096))
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fail(err)
	case string(word) == readyWord || string(word) == errRuns.Error():
		return nil
	case len(word) == 0:
		return fail(errors.New("it ended at once"))
	}
	return fail(errors.New(string(word)))
}

// Release tells the supervisor that the agent stops for good: it ends at once when it has no tasks, and with the last
// one otherwise. Close follows.
func (c *Client) Release(ctx context.Context) error {
	c.keep()
	c.keeping.Wait()
	l, err := c.link(ctx)
	if err != nil {
		return err
	}
	resp, err := l.call(ctx, &request{Op: opRelease}, nil)
	if errors.Is(err, errLost) {
		return nil
	}
	return failure(resp, err)
}

// Renew moves the end of the node's lease to until, in CLOCK_BOOTTIME (see Now). Fenced tasks are killed when it passes.
func (c *Client) Renew(ctx context.Context, until time.Duration) error {
	_, err := c.do(ctx, &request{Op: opRenew, Until: until})
	return err
}

// Upgrade makes the supervisor replace itself in place by opts.Binary and our settings; tasks notice nothing. It returns when the new one
// answers.
func (c *Client) Upgrade(ctx context.Context) error {
	bin, err := exec.LookPath(c.opts.Binary[0])
	if err != nil {
		return err
	}
	l, err := c.link(ctx)
	if err != nil {
		return err
	}
	with := c.opts.settings()
	resp, err := l.call(ctx, &request{Op: opUpgrade, Args: append([]string{bin}, c.opts.Binary[1:]...), Settings: with.args()}, nil)
	if !errors.Is(err, errLost) {
		return failure(resp, err)
	}
	<-l.done
	_, err = c.link(ctx)
	return err
}

// PID returns the supervisor's process id, for messages and tests.
func (c *Client) PID(ctx context.Context) (int, error) {
	l, err := c.link(ctx)
	if err != nil {
		return 0, err
	}
	return l.pid, nil
}

// Version returns the protocol version of the supervisor that runs. When it is not Version, Upgrade it.
func (c *Client) Version(ctx context.Context) (int, error) {
	l, err := c.link(ctx)
	if err != nil {
		return 0, err
	}
	return l.version, nil
}

// Features says what the host lets the supervisor do.
func (c *Client) Features(ctx context.Context) (*driver.Features, error) {
	resp, err := c.do(ctx, &request{Op: opFeatures})
	if err != nil {
		return nil, err
	}
	return resp.Features, nil
}

// List returns all tasks that the supervisor knows, ended ones that were not forgotten included.
func (c *Client) List(ctx context.Context) ([]*driver.Status, error) {
	resp, err := c.do(ctx, &request{Op: opList})
	if err != nil {
		return nil, err
	}
	return resp.Tasks, nil
}

// Start starts a task and returns once its program runs. When the connection is lost in between, it finds out whether
// the task was started.
func (c *Client) Start(ctx context.Context, launch *driver.Launch) (*driver.Status, error) {
	if err := c.named(ctx, "task "+launch.ID, launch.Arg0, nil); err != nil {
		return nil, err
	}
	for again := false; ; again = true {
		l, err := c.link(ctx)
		if err != nil {
			return nil, err
		}
		resp, err := l.call(ctx, &request{Op: opStart, Launch: launch}, nil)
		if errors.Is(err, errLost) {
			<-l.done
			continue
		}
		err = failure(resp, err)
		if again && structs.KindOf(err) == structs.Conflict {
			return c.Status(ctx, launch.ID) // the first attempt did it
		}
		if err != nil {
			return nil, err
		}
		return one(resp)
	}
}

// named refuses what an older supervisor would leave out: another name for a program, and variables of a command.
func (c *Client) named(ctx context.Context, object string, arg0 *string, env []string) error {
	if arg0 == nil && len(env) == 0 {
		return nil
	}
	if f, err := c.Features(ctx); err != nil || f.Named {
		return err
	}
	return structs.Errorf(structs.Unavailable, object, "the supervisor that runs is older than the agent and calls every program by its own name").
		Advise("restart the agent, which replaces it; the log of the agent says why it could not")
}

func one(resp *response) (*driver.Status, error) {
	if len(resp.Tasks) != 1 {
		return nil, structs.Errorf(structs.Internal, "supervisor", "it answered with %d tasks", len(resp.Tasks))
	}
	return resp.Tasks[0], nil
}

// Status returns what is known of a task.
func (c *Client) Status(ctx context.Context, id string) (*driver.Status, error) {
	resp, err := c.do(ctx, &request{Op: opStatus, Task: id})
	if err != nil {
		return nil, err
	}
	return one(resp)
}

// Wait returns when the task ended.
func (c *Client) Wait(ctx context.Context, id string) (drivers.Exit, error) {
	resp, err := c.do(ctx, &request{Op: opWait, Task: id})
	if err != nil {
		return drivers.Exit{}, err
	}
	return *resp.Exit, nil
}

// Signal sends a signal to the task's program.
func (c *Client) Signal(ctx context.Context, id string, signal int) error {
	_, err := c.do(ctx, &request{Op: opSignal, Task: id, Signal: signal})
	return err
}

// Stop sends signal, waits grace, kills what is left, and returns when nothing is left. The supervisor goes on with it
// when ctx ends.
func (c *Client) Stop(ctx context.Context, id string, signal int, grace time.Duration) error {
	_, err := c.do(ctx, &request{Op: opStop, Task: id, Signal: signal, Grace: grace})
	return err
}

// Exec runs a command in the task with the given descriptors as stdin, stdout and stderr; the caller keeps its own. With a terminal
// they are one socket, see exec.Supervisor. The command is killed when ctx or the connection ends.
func (c *Client) Exec(ctx context.Context, id string, cmd driver.Command, stdio [3]*os.File) (drivers.Exit, error) {
	if err := c.named(ctx, "task "+id, cmd.Arg0, cmd.Env); err != nil {
		return drivers.Exit{}, err
	}
	l, err := c.link(ctx)
	if err != nil {
		return drivers.Exit{}, err
	}
	resp, err := l.call(ctx, &request{Op: opExec, Task: id, Args: cmd.Args, Arg0: cmd.Arg0, Env: cmd.Env, TTY: cmd.TTY, Group: cmd.Group, PidFile: cmd.PidFile}, stdio[:])
	if errors.Is(err, errLost) {
		return drivers.Exit{}, structs.Errorf(structs.Unknown, "exec", "%w while the command ran", err)
	}
	if err = failure(resp, err); err != nil {
		return drivers.Exit{}, err
	}
	return *resp.Exit, nil
}

// Terminal has the master of a task's terminal sent over a socket; the caller keeps its own.
func (c *Client) Terminal(ctx context.Context, id string, over *os.File) error {
	l, err := c.link(ctx)
	if err != nil {
		return err
	}
	resp, err := l.call(ctx, &request{Op: opTerminal, Task: id}, []*os.File{over})
	if errors.Is(err, errLost) {
		return structs.Errorf(structs.Unavailable, "terminal", "%w", err)
	}
	return failure(resp, err)
}

// Mount mounts a folder of the host in a task.
func (c *Client) Mount(ctx context.Context, id string, m drivers.Mount) error {
	_, err := c.do(ctx, &request{Op: opMount, Task: id, Mount: &m})
	return err
}

// Unmount takes one away.
func (c *Client) Unmount(ctx context.Context, id string, m drivers.Mount) error {
	_, err := c.do(ctx, &request{Op: opUnmount, Task: id, Mount: &m})
	return err
}

// Limit gives a task other limits.
func (c *Client) Limit(ctx context.Context, id string, to drivers.Limits) error {
	_, err := c.do(ctx, &request{Op: opLimit, Task: id, Limits: &to})
	return err
}

// Stats says what the task uses; CPU is left for the caller to derive from CPUTime.
func (c *Client) Stats(ctx context.Context, id string) (*drivers.Stats, error) {
	resp, err := c.do(ctx, &request{Op: opStats, Task: id})
	if err != nil {
		return nil, err
	}
	return resp.Stats, nil
}

// Forget removes an ended task's cgroups and record. Unknown tasks are no error.
func (c *Client) Forget(ctx context.Context, id string) error {
	_, err := c.do(ctx, &request{Op: opForget, Task: id})
	return err
}

var _ driver.Supervisor = (*Client)(nil)
