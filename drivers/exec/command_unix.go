//go:build unix

package exec

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Exec runs a command inside the task. Its streams are pipes, or a terminal, whose other ends the supervisor gets as
// descriptors: what flows through them does not pass the supervisor.
func (t *task) Exec(ctx context.Context, cmd drivers.Command) (drivers.Exit, error) {
	if len(cmd.Args) == 0 || cmd.Args[0] == "" {
		return drivers.Exit{}, structs.Errorf(structs.Invalid, "exec", "no command is given")
	}
	group, err := CommandGroup(ctx, t.sup)
	if err != nil {
		return drivers.Exit{}, err
	}
	return t.enter(ctx, Command{Args: cmd.Args, Arg0: cmd.Arg0, Env: cmd.Env, TTY: cmd.TTY, Group: group}, cmd)
}

func (t *task) enter(ctx context.Context, c Command, cmd drivers.Command) (drivers.Exit, error) {
	if c.TTY {
		return t.execTTY(ctx, c, cmd)
	}
	var theirs [3]*os.File
	var ours []*os.File // to be closed at the end
	closeAll := func(files []*os.File) {
		for _, f := range files {
			if f != nil {
				f.Close()
			}
		}
	}
	defer func() { closeAll(ours) }()
	var outputs sync.WaitGroup
	for i, w := range []io.Writer{nil, cmd.Stdout, cmd.Stderr} {
		if i == 0 && cmd.Stdin == nil || i > 0 && w == nil {
			null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
			if err != nil {
				closeAll(theirs[:])
				return drivers.Exit{}, err
			}
			theirs[i] = null
			continue
		}
		if i == 2 && same(w, cmd.Stdout) { // one pipe keeps the order, and nobody writes to w at the same time
			theirs[i] = theirs[1]
			continue
		}
		r, pw, err := os.Pipe()
		if err != nil {
			closeAll(theirs[:])
			return drivers.Exit{}, err
		}
		if i == 0 {
			theirs[i], ours = r, append(ours, pw)
			feed(pw, cmd.Stdin)
			continue
		}
		theirs[i], ours = pw, append(ours, r)
		outputs.Go(func() { copyOutput(w, r) })
	}
	exit, err := t.sup.Exec(ctx, t.id, c, theirs)
	closeAll(theirs[:]) // the command's copies are the only ones now: its end is the end of the pipes
	drain(ctx, ours, &outputs)
	return t.explain(cmd, exit), err
}

// same reports whether two writers are one; some types cannot be compared.
func same(a, b io.Writer) (yes bool) {
	defer func() { recover() }()
	return a == b
}

// drain waits for the output that is still in the pipes. Something that the command left running may hold them: then a
// second without output is the end.
func drain(ctx context.Context, ours []*os.File, outputs *sync.WaitGroup) {
	stop := context.AfterFunc(ctx, func() {
		for _, f := range ours {
			f.SetReadDeadline(time.Unix(1, 0))
		}
	})
	defer stop()
	for _, f := range ours {
		f.SetReadDeadline(time.Now().Add(time.Second))
	}
	outputs.Wait()
}

// feed copies stdin to the command. It does not wait: whoever owns stdin may never write to it again. It ends when the
// pipe or stdin does.
func feed(to *os.File, from io.Reader) {
	go func() {
		io.Copy(to, from)
		to.Close()
	}()
}

// explain tells the user of the command why there was none.
func (t *task) explain(cmd drivers.Command, exit drivers.Exit) drivers.Exit {
	to := cmd.Stderr
	if cmd.TTY || to == nil {
		to = cmd.Stdout
	}
	if exit.Why != "" && to != nil {
		io.WriteString(to, exit.Why+"\n")
	}
	return exit
}

// copyOutput copies until the end, or until the deadline of drain has passed and nothing is left to read. A slow writer
// loses nothing.
func copyOutput(w io.Writer, r *os.File) {
	_, err := io.Copy(w, r)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	c, err := r.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 32<<10)
	for n := 1; n > 0; {
		n = 0
		c.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), buf) })
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return
			}
		}
	}
}
