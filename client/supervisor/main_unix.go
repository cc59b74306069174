//go:build unix

package supervisor

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// list is a flag that may be repeated.
type list []string

func (l *list) String() string     { return fmt.Sprint(*l) }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// Main runs the supervisor with the arguments that follow the command's name; the result is the exit code. It returns
// when the supervisor ended: it had no task left, and no agent for a while or one that released it.
func Main(args []string) int {
	flags := flag.NewFlagSet("supervisor", flag.ContinueOnError)
	dir := flags.String("dir", "", "folder of the socket, the table and the log")
	ready := flags.Int("ready", 0, "descriptor to report on once it serves")
	given := flags.Int("handover", 0, "descriptor with what the predecessor left")
	var with settings
	flags.DurationVar(&with.linger, "linger", time.Minute, "how long to stay without tasks and agent")
	flags.StringVar(&with.parent, "cgroup-parent", defaultParent, "cgroup below which those of tasks are")
	flags.Func("ports", "ports that tasks bind only when they were given them, as first-last", with.setPorts)
	flags.Var((*list)(&with.hide), "hide", "path that tasks must not see (repeated)")
	flags.Var((*list)(&with.hostPaths), "host-path", "path of the host that tasks see (repeated)")
	if err := flags.Parse(args); err != nil || *dir == "" {
		return 2
	}
	report := func(string) {}
	if *ready > 0 {
		unix.CloseOnExec(*ready)
		f := os.NewFile(uintptr(*ready), "ready")
		report = func(s string) {
			f.WriteString(s)
			f.Close()
		}
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(*dir, with, *given, log, report); err != nil {
		log.Error("the supervisor ends", "err", err)
		report(err.Error())
		return 1
	}
	return 0
}

var errRuns = errors.New("another supervisor serves this folder")

const readyWord = "ready"

func run(dir string, with settings, given int, log *slog.Logger, report func(string)) error {
	// Signals meant for the agent's process group or session are not for us; SIGTERM ends the supervisor and no task.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	var h *handover
	var lock *os.File
	if given > 0 {
		if h, err = readHandover(given); err != nil {
			return err
		}
		lock = os.NewFile(uintptr(h.Lock), "lock")
	} else if lock, err = acquire(dir); err != nil {
		return err
	}
	defer lock.Close()
	s, err := open(dir, with, log, h)
	if err != nil {
		return err
	}
	s.lock = lock
	l, err := listen(dir, h)
	if err != nil {
		return err
	}
	log.Info("serving", "dir", dir, "pid", os.Getpid(), "tasks", len(s.tasks))
	report(readyWord)
	s.run(ctx, l)
	if ctx.Err() != nil {
		// Tasks go on; whoever comes next takes them over. So do not wait for what waits for them.
		os.Remove(filepath.Join(dir, socketName))
		return nil
	}
	os.Remove(filepath.Join(dir, socketName))
	s.close()
	log.Info("nothing left to do")
	return nil
}

// acquire takes the lock of a folder. A predecessor that is about to end gets a moment.
func acquire(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, err
		}
		if c, err := dialSocket(dir); err == nil {
			c.Close()
			f.Close()
			return nil, errRuns
		}
		if time.Now().After(until) {
			f.Close()
			return nil, fmt.Errorf("%s is locked by a supervisor that does not answer", dir)
		}
	}
}

// listen makes the socket, or takes over the predecessor's.
func listen(dir string, h *handover) (*net.UnixListener, error) {
	if h != nil {
		f := os.NewFile(uintptr(h.Listener), "listener")
		defer f.Close()
		l, err := net.FileListener(f)
		if err != nil {
			return nil, err
		}
		return l.(*net.UnixListener), nil
	}
	path, done, err := socketPath(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := os.Remove(filepath.Join(dir, socketName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	old := unix.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	unix.Umask(old)
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	return l, nil
}
