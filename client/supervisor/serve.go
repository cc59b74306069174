//go:build unix

package supervisor

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/structs"
)

// serve answers one connection until it ends. Each request has its goroutine, so a long wait delays nothing.
func (s *server) serve(ctx context.Context, c *net.UnixConn) {
	if err := allowed(c); err != nil {
		s.log.Warn("a connection was refused", "err", err)
		return
	}
	files := &fileReader{conn: c}
	in := bufio.NewReader(files)
	defer files.close()
	var theirs hello
	if err := decode(in, maxRequest, &theirs); err != nil {
		return
	}
	var writing sync.Mutex
	send := func(v any) {
		frame, err := encode(v)
		if err != nil {
			s.log.Error("an answer cannot be encoded", "err", err)
			c.Close()
			return
		}
		writing.Lock()
		defer writing.Unlock()
		if _, err := c.Write(frame); err != nil {
			c.Close()
		}
	}
	send(hello{Version: Version, PID: os.Getpid(), Settings: s.with.args()})
	s.mu.Lock()
	s.released = false // an agent is back
	s.mu.Unlock()

	ctx, cancel := context.WithCancel(ctx)
	var requests sync.WaitGroup
	defer requests.Wait()
	defer cancel()
	var mu sync.Mutex
	pending := map[uint64]context.CancelFunc{}
	for {
		req := new(request)
		if err := decode(in, maxRequest, req); err != nil {
			return
		}
		if req.Op == opCancel {
			mu.Lock()
			if cancel := pending[req.ID]; cancel != nil {
				cancel()
			}
			mu.Unlock()
			continue
		}
		var stdio []*os.File
		switch req.Op {
		case opExec:
			stdio = files.take(3)
		case opTerminal:
			stdio = files.take(1)
		}
		refuse := func(kind structs.Kind, format string, args ...any) {
			closeAll(stdio)
			send(response{ID: req.ID, Err: structs.Errorf(kind, "supervisor", format, args...)})
		}
		if theirs.Version != Version && req.Op != opUpgrade {
			refuse(structs.Unavailable, "it speaks protocol version %d, and the agent %d", Version, theirs.Version)
			continue
		}
		mu.Lock()
		full := len(pending) >= maxPending
		reqCtx, done := context.WithCancel(ctx)
		if !full {
			pending[req.ID] = done
		}
		mu.Unlock()
		if full {
			done()
			refuse(structs.Exhausted, "%d requests are under way", maxPending)
			continue
		}
		requests.Go(func() {
			resp := &response{ID: req.ID}
			if err := s.answer(reqCtx, c, req, stdio, resp); err != nil {
				resp.Err = structs.AsError(err)
			}
			closeAll(stdio)
			done()
			mu.Lock()
			delete(pending, req.ID)
			mu.Unlock()
			send(resp)
		})
	}
}

// answer does what a request that came over a connection asks for.
func (s *server) answer(ctx context.Context, c *net.UnixConn, req *request, files []*os.File, resp *response) error {
	switch req.Op {
	case opFeatures:
		resp.Features = s.host.features()
		return nil
	case opList:
		resp.Tasks = s.list()
		return nil
	case opStart:
		status, err := s.start(ctx, req.Launch)
		var missing *drivers.NoProgram
		if errors.As(err, &missing) {
			resp.Exit = &drivers.Exit{Code: missing.Code}
		}
		if err == nil {
			resp.Tasks = []*exec.Status{status}
		}
		return err
	case opForget:
		return s.forget(ctx, req.Task)
	case opRenew:
		return s.renew(req.Until)
	case opKeepOff:
		s.mu.Lock()
		s.others = req.Cores
		s.mu.Unlock()
		s.pin()
		return nil
	case opPorts:
		return s.givePorts(req.Alloc, req.Ports)
	case opRelease:
		s.mu.Lock()
		s.released = true
		s.mu.Unlock()
		s.poke()
		return nil
	case opUpgrade:
		return s.upgrade(req.Args, req.Settings)
	}
	t, err := s.find(ctx, req.Task)
	if err != nil {
		return err
	}
	if t.rec.Within != 0 && (req.Op == opLimit || req.Op == opStats || req.Op == opExec) {
		return structs.Errorf(structs.Invalid, "task "+req.Task, "it is a command, which has what its task has")
	}
	switch req.Op {
	case opStatus:
		s.mu.Lock()
		resp.Tasks = []*exec.Status{t.rec.status()}
		s.mu.Unlock()
		return nil
	case opWait:
		select {
		case <-t.ended:
			resp.Exit = t.rec.Exit
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	case opSignal:
		if !t.running() || t.proc == nil {
			return structs.Errorf(structs.Conflict, "task "+req.Task, "it has ended")
		}
		return s.host.signal(t.proc, req.Signal)
	case opStop:
		stopped := make(chan struct{})
		s.work.Go(func() {
			defer close(stopped)
			s.stop(t, req.Signal, req.Grace)
		})
		select {
		case <-stopped:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	case opDetach:
		err := s.detach(ctx, t, req.Detach)
		var missing *drivers.NoProgram
		if errors.As(err, &missing) {
			resp.Exit = &drivers.Exit{Code: missing.Code}
		}
		return err
	case opMount:
		return s.mount(t, req.Mount, s.host.mount)
	case opUnmount:
		return s.mount(t, req.Mount, s.host.unmount)
	case opLimit:
		return s.limit(t, req.Limits)
	case opStats:
		resp.Stats, err = s.host.stats(t.rec)
		return err
	case opTerminal:
		if len(files) != 1 {
			return structs.Errorf(structs.Invalid, "terminal", "one descriptor must come along")
		}
		return s.passTerminal(t, files[0])
	case opExec:
		if len(files) != 3 {
			return structs.Errorf(structs.Invalid, "exec", "three descriptors must come along")
		}
		if !t.running() || t.proc == nil {
			return structs.Errorf(structs.Conflict, "task "+req.Task, "it has ended")
		}
		exit, err := s.enter(ctx, c, t, req, files)
		if err == nil {
			resp.Exit = &exit
		}
		return err
	}
	return structs.Errorf(structs.Invalid, "supervisor", "it does not know the operation %q", req.Op)
}

// passTerminal sends the master of a task's terminal over a socket. It is a duplicate: what becomes of it does not touch the task.
func (s *server) passTerminal(t *task, socket *os.File) error {
	object := "task " + t.rec.Launch.ID
	if t.rec.Launch.Terminal == nil {
		return structs.Errorf(structs.Conflict, object, "it has no terminal")
	}
	if !t.running() || t.proc == nil {
		return structs.Errorf(structs.Conflict, object, "it has ended")
	}
	master, err := t.proc.open(0)
	if err != nil {
		return structs.Errorf(structs.Unavailable, object, "take over its terminal: %w", err)
	}
	defer master.Close()
	if err := sendFile(socket, master); err != nil {
		return structs.Errorf(structs.Unavailable, object, "pass its terminal on: %w", err)
	}
	return nil
}

// sendFile sends a descriptor, with one byte, over a socket that is not to block.
func sendFile(socket, f *os.File) error {
	to, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	from, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var closed, sent error
	err = to.Control(func(sock uintptr) {
		closed = from.Control(func(fd uintptr) {
			sent = unix.Sendmsg(int(sock), []byte{0}, unix.UnixRights(int(fd)), nil, unix.MSG_DONTWAIT)
		})
	})
	return errors.Join(err, closed, sent)
}

// enter runs a command in a task until it ends. When ctx ends first, the command is killed, with all that is in its control group.
func (s *server) enter(ctx context.Context, c *net.UnixConn, t *task, req *request, files []*os.File) (drivers.Exit, error) {
	s.world.RLock()
	proc, err := s.host.enter(ctx, t, exec.Command{Args: req.Args, Arg0: req.Arg0, Env: req.Env, TTY: req.TTY, Group: req.Group, PidFile: req.PidFile}, files)
	s.world.RUnlock()
	for i := range files { // so that the other ends see the end of the command
		files[i].Close()
	}
	if err != nil {
		var missing *drivers.NoProgram
		if errors.As(err, &missing) {
			return drivers.Exit{Code: missing.Code, Why: missing.Error()}, nil
		}
		return drivers.Exit{}, err
	}
	defer proc.close()
	stop := context.AfterFunc(ctx, func() { s.host.killCommand(proc) })
	defer stop()
	o := proc.wait()
	s.host.endCommand(t, proc, ctx.Err() != nil || hungUp(c))
	if ctx.Err() != nil {
		return drivers.Exit{}, ctx.Err()
	}
	return o.exit(), nil
}

// hungUp reports whether the other end of a connection is gone. An agent that dies closes it and the streams of its commands at once, and a
// command may end of that before the connection is read to its end.
func hungUp(c *net.UnixConn) (yes bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	err = raw.Control(func(fd uintptr) {
		peer := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(peer, 0)
		yes = err == nil && n > 0 && peer[0].Revents&unix.POLLHUP != 0
	})
	return yes || err != nil
}

// fileReader reads a connection and keeps the descriptors that come with the bytes, in their order.
type fileReader struct {
	conn  *net.UnixConn
	files []*os.File
}

const maxFiles = 64 // that a peer may send without asking for anything with them

func (r *fileReader) Read(p []byte) (int, error) {
	oob := make([]byte, syscall.CmsgSpace(4*8))
	n, oobn, flags, _, err := r.conn.ReadMsgUnix(p, oob)
	n = max(n, 0)
	if oobn > 0 {
		msgs, perr := syscall.ParseSocketControlMessage(oob[:oobn])
		if perr == nil {
			for _, m := range msgs {
				fds, _ := syscall.ParseUnixRights(&m)
				for _, fd := range fds {
					unix.CloseOnExec(fd)
					r.files = append(r.files, os.NewFile(uintptr(fd), "stdio"))
				}
			}
		}
		if len(r.files) > maxFiles || flags&unix.MSG_CTRUNC != 0 {
			return 0, errors.New("too many descriptors")
		}
	}
	if n == 0 && err == nil && len(p) > 0 {
		return 0, net.ErrClosed
	}
	return n, err
}

func (r *fileReader) take(n int) []*os.File {
	n = min(n, len(r.files))
	files := r.files[:n:n]
	r.files = r.files[n:]
	return files
}

func (r *fileReader) close() { closeAll(r.files) }

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
