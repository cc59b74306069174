//go:build unix

package exec

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// execTTY runs a command on a terminal, which is made where the command runs. Its master comes over a socket.
func (t *task) execTTY(ctx context.Context, c Command, cmd drivers.Command) (drivers.Exit, error) {
	ours, theirs, err := socketpair()
	if err != nil {
		return drivers.Exit{}, structs.Errorf(structs.Unavailable, "exec", "make a socket for the terminal: %w", err)
	}
	defer ours.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { ours.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var ptmx *os.File
	var receiving, outputs, resizes sync.WaitGroup
	receiving.Go(func() {
		var err error
		if ptmx, err = receiveFile(ours); err != nil {
			return // there is no command
		}
		size := drivers.Size{Rows: 24, Cols: 80}
		select { // before the command looks at it, when it is known
		case s, ok := <-cmd.Resize:
			if ok {
				size = s
			}
		default:
		}
		pty.Setsize(ptmx, &pty.Winsize{Rows: size.Rows, Cols: size.Cols})
		resizes.Go(func() { resize(ctx, ptmx, cmd.Resize) })
		if cmd.Stdin != nil {
			go io.Copy(ptmx, cmd.Stdin) // ends with ptmx, or with the caller's stdin
		}
		if cmd.Stdout != nil {
			outputs.Go(func() { copyOutput(cmd.Stdout, ptmx) }) // ends with EIO when the last user of the terminal is gone
		}
		ours.Write([]byte{0})
	})
	exit, err := t.sup.Exec(ctx, t.id, c, [3]*os.File{theirs, theirs, theirs})
	theirs.Close()
	receiving.Wait()
	if ptmx != nil {
		drain(ctx, []*os.File{ptmx}, &outputs)
		cancel()
		resizes.Wait()
		ptmx.Close()
	}
	return t.explain(cmd, exit), err
}

// Terminal opens the terminal that the task runs on.
func (t *task) Terminal(ctx context.Context) (drivers.Terminal, error) {
	ours, theirs, err := socketpair()
	if err != nil {
		return nil, structs.Errorf(structs.Unavailable, "task "+t.id, "make a socket for its terminal: %w", err)
	}
	defer ours.Close()
	defer theirs.Close()
	if err := t.sup.Terminal(ctx, t.id, theirs); err != nil {
		return nil, err
	}
	master, err := receiveFile(ours) // it is there
	if err != nil {
		return nil, structs.Errorf(structs.Unavailable, "task "+t.id, "take over its terminal: %w", err)
	}
	return terminal{master}, nil
}

// terminal is the master of one.
type terminal struct{ *os.File }

func (t terminal) Resize(size drivers.Size) error {
	return pty.Setsize(t.File, &pty.Winsize{Rows: size.Rows, Cols: size.Cols})
}

// resize passes sizes on until ctx ends or there are no more.
func resize(ctx context.Context, ptmx *os.File, sizes <-chan drivers.Size) {
	for {
		select {
		case size, ok := <-sizes:
			if !ok {
				return
			}
			pty.Setsize(ptmx, &pty.Winsize{Rows: size.Rows, Cols: size.Cols})
		case <-ctx.Done():
			return
		}
	}
}

// socketpair makes two ends, one to keep and one to send away.
func socketpair() (ours *net.UnixConn, theirs *os.File, err error) {
	syscall.ForkLock.RLock()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(pair[0])
		unix.CloseOnExec(pair[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	f := os.NewFile(uintptr(pair[0]), "terminal")
	defer f.Close()
	theirs = os.NewFile(uintptr(pair[1]), "terminal")
	conn, err := net.FileConn(f)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}

// receiveFile takes the one descriptor that comes with a byte.
func receiveFile(from *net.UnixConn) (*os.File, error) {
	oob := make([]byte, syscall.CmsgSpace(4))
	n, oobn, _, _, err := from.ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	messages, err := syscall.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(err, errors.New("no descriptor came"))
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.Join(err, errors.New("no descriptor came"))
	}
	unix.CloseOnExec(fds[0])
	unix.SetNonblock(fds[0], true)
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}
