//go:build linux && (amd64 || arm64)

package stage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

// Starter is the resident copy of the stage. Its clones are children of this process. It may be used from any goroutine.
// When this process ends, the starter does too; what it started goes on.
type Starter struct {
	mu   sync.Mutex // one request and its reply
	fd   int        // of the socket; -1 once it failed
	cmd  *exec.Cmd
	null *os.File
}

// Root describes the root that isolated tasks get.
type Root struct {
	Mount string   // an existing folder on the host; it is mounted on in the starter's namespace only
	Binds []string // host files and folders that appear read-only, with all mounts below them; absent ones are left out
	Dirs  []string // empty folders
}

// DefaultRoot has what programs of the host need.
func DefaultRoot(mount string) Root {
	return Root{
		Mount: mount,
		Binds: []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/run/systemd/resolve",
			"/run/resolvconf", "/run/current-system", "/nix/store"},
		Dirs: []string{"/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/run", "/var", "/home", "/root", "/mnt", "/local", "/secrets",
			"/alloc", "/tmp", "/.proffer", "/.proffer/folder"},
	}
}

// Spawn starts a starter. With a nil root it starts processes without isolation, and needs no rights. env is that of the
// starter itself and of no task.
func Spawn(slots *Slots, root *Root) (*Starter, error) {
	file, err := sealed()
	if err != nil {
		return nil, fmt.Errorf("put the stage into memory: %w", err)
	}
	defer file.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		null.Close()
		return nil, os.NewSyscallError("socketpair", err)
	}
	for _, fd := range pair {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 2*maxMessage)
	}
	theirs := os.NewFile(uintptr(pair[1]), "starter")
	cmd := &exec.Cmd{
		Path: fmt.Sprintf("/proc/self/fd/%d", file.Fd()), Args: []string{"proffer-starter"}, Env: []string{}, Dir: "/",
		Stdin: null, Stdout: null, Stderr: null, ExtraFiles: []*os.File{theirs, slots.f},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		unix.Close(pair[0])
		null.Close()
		return nil, fmt.Errorf("start the starter: %w", err)
	}
	s := &Starter{fd: pair[0], cmd: cmd, null: null}
	if root != nil {
		if err := s.makeRoot(root); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// sealed returns the stage as a file in memory that nobody can change, open for reading only: exec refuses one that is
// open for writing.
func sealed() (*os.File, error) {
	fd, err := unix.MemfdCreate("proffer-stage", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, err
	}
	w := os.NewFile(uintptr(fd), "proffer-stage")
	defer w.Close()
	if _, err := w.Write(program); err != nil {
		return nil, err
	}
	seals := unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(w.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, err
	}
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
}

func (s *Starter) makeRoot(root *Root) error {
	msg := binary.NativeEndian.AppendUint32(nil, opSetup)
	add := func(list ...string) {
		for _, p := range list {
			msg = append(append(msg, p...), 0)
		}
	}
	add(root.Mount)
	made := map[string]bool{".": true}
	var dir func(path string)
	dir = func(path string) {
		path = strings.TrimPrefix(filepath.Clean(path), "/")
		if made[path] || path == "" {
			return
		}
		made[path] = true
		dir(filepath.Dir(path))
		add("d", path)
	}
	for _, d := range root.Dirs {
		dir(d)
	}
	// Before the host's: below a folder of the host nothing can be made.
	add("f", ".proffer/file", "l", "/proc/self/fd", "dev/fd", "l", "/proc/self/fd/0", "dev/stdin", "l", "/proc/self/fd/1",
		"dev/stdout", "l", "/proc/self/fd/2", "dev/stderr", "l", "pts/ptmx", "dev/ptmx", "l", "../tmp", "var/tmp")
	var seen []string // what is below these is there with them
	for _, b := range slices.Compact(slices.Sorted(slices.Values(root.Binds))) {
		info, err := os.Lstat(b)
		if err != nil || slices.ContainsFunc(seen, func(dir string) bool { return strings.HasPrefix(b, dir+"/") }) {
			continue
		}
		rel := strings.TrimPrefix(b, "/")
		switch {
		case info.Mode()&os.ModeSymlink != 0:
			if to, err := os.Readlink(b); err == nil {
				dir(filepath.Dir(b))
				add("l", to, rel)
				seen = append(seen, b)
			}
		case info.IsDir():
			dir(b)
			add("b", b, rel)
			seen = append(seen, b)
		case info.Mode().IsRegular():
			dir(filepath.Dir(b))
			add("f", rel, "b", b, rel)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := unix.Sendmsg(s.fd, msg, nil, nil, 0); err != nil {
		return os.NewSyscallError("sendmsg", err)
	}
	reply := make([]byte, 1024)
	n, err := recv(s.fd, reply)
	if err != nil {
		return err
	}
	if n > 4 {
		f := parseFailure(reply[:n])
		return structs.Errorf(structs.Unavailable, "root of isolated tasks", "%w", f)
	}
	return nil
}

func recv(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0:
			return 0, errors.New("the starter ended")
		default:
			return n, nil
		}
	}
}

// Process is what was started: the stage, which lives as long as the program does.
type Process struct {
	PID   int
	PidFD int // owned by the caller; close-on-exec, non-blocking
}

// ErrStarter is wrapped by errors after which the Starter cannot be used any more.
var ErrStarter = errors.New("the starter does not answer")

// Start starts a program and returns once it runs. The error wraps a *Failure when the stage could not. When ctx ends
// first, what was started is killed.
func (s *Starter) Start(ctx context.Context, p *Plan) (*Process, error) {
	return s.run(ctx, opStart, p)
}

// Enter runs a program in the task of the stage p.PidFD.
func (s *Starter) Enter(ctx context.Context, p *Plan) (*Process, error) { return s.run(ctx, opExec, p) }

func (s *Starter) run(ctx context.Context, op uint32, p *Plan) (*Process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	plan := *p
	if plan.Stdin < 0 {
		plan.Stdin = int(s.null.Fd())
	}
	wfd := descriptor(w)
	msg, fds, err := plan.encode(op, wfd)
	if err != nil {
		w.Close()
		return nil, err
	}
	proc, err := s.request(msg, fds)
	w.Close()
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { r.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var buf [1024]byte
	n, err := io.ReadFull(r, buf[:4])
	if err == io.EOF {
		return proc, nil // the program's execve closed the pipe
	}
	m, _ := r.Read(buf[max(n, 0):])
	if p.Adopt != "" && n < 4 && Forward(proc.PidFD, 0) == nil { // it kills what the program made as well
		unix.Poll([]unix.PollFd{{Fd: int32(proc.PidFD), Events: unix.POLLIN}}, 10_000)
	}
	unix.PidfdSendSignal(proc.PidFD, unix.SIGKILL, nil, 0)
	awaitExit(proc)
	unix.Close(proc.PidFD)
	if ctx.Err() != nil && n < 4 {
		return nil, ctx.Err()
	}
	if f := parseFailure(buf[:n+m]); f != nil {
		return nil, f
	}
	return nil, fmt.Errorf("read from the stage: %w", err)
}

// descriptor returns the number without making the file blocking, as Fd did before Go 1.26.
func descriptor(f *os.File) (fd int) {
	c, err := f.SyscallConn()
	if err != nil {
		return -1
	}
	c.Control(func(n uintptr) { fd = int(n) })
	return fd
}

// awaitExit reaps a stage that is about to end.
func awaitExit(p *Process) {
	for {
		err := unix.Waitid(unix.P_PIDFD, p.PidFD, nil, unix.WEXITED, nil)
		if errors.Is(err, unix.EAGAIN) { // the descriptor does not block: poll it
			unix.Poll([]unix.PollFd{{Fd: int32(p.PidFD), Events: unix.POLLIN}}, -1)
			continue
		}
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

func (s *Starter) request(msg []byte, fds []int) (*Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return nil, ErrStarter
	}
	var err error
	for {
		if err = unix.Sendmsg(s.fd, msg, unix.UnixRights(fds...), nil, 0); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStarter, err)
	}
	var reply [8]byte
	if _, err := recv(s.fd, reply[:]); err != nil {
		unix.Close(s.fd)
		s.fd = -1
		return nil, fmt.Errorf("%w: %w", ErrStarter, err)
	}
	pid := int32(binary.NativeEndian.Uint32(reply[:]))
	if pid < 0 {
		return nil, &Failure{Step: "clone", Errno: unix.Errno(-pid)}
	}
	// It is our child and not reaped, so the number cannot mean another process.
	fd, err := unix.PidfdOpen(int(pid), unix.PIDFD_NONBLOCK)
	if err != nil {
		unix.Kill(int(pid), unix.SIGKILL)
		unix.Wait4(int(pid), nil, 0, nil)
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	return &Process{PID: int(pid), PidFD: fd}, nil
}

// PID returns the starter's own process id.
func (s *Starter) PID() int { return s.cmd.Process.Pid }

// Close ends the starter and waits for it.
func (s *Starter) Close() {
	s.mu.Lock()
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
	s.mu.Unlock()
	s.cmd.Wait()
	s.null.Close()
}

// signalCommand is SIGCOMMAND of stage.c.
const signalCommand = unix.Signal(63)

// Forward makes the stage send a signal to its program; signal 0 makes it kill everything of the task and end.
func Forward(pidfd int, signal int) error {
	info := struct {
		signo, errno, code, _ int32
		pid                   int32
		uid                   uint32
		value                 uint64
		_                     [96]byte
	}{signo: int32(signalCommand), code: -1, pid: int32(os.Getpid()), uid: uint32(os.Getuid()), value: uint64(signal)}
	return unix.PidfdSendSignal(pidfd, signalCommand, (*unix.Siginfo)(unsafe.Pointer(&info)), 0)
}

// Kept are the descriptors of a stage that lead to the reading ends of its task's pipes.
const (
	KeptStdout = 5
	KeptStderr = 6
)
