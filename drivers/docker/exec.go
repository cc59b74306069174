package docker

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"path"
	"sync"
	"time"

	"github.com/moby/moby/client"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/pause"
	"github.com/proffer/proffer/structs"
)

// Exec runs a command in the container. The engine has no way to end a command. What a caller gives up is killed where the engine's processes
// are those of this machine; elsewhere it runs on until it notices that its input and output are gone.
func (t *task) Exec(ctx context.Context, cmd drivers.Command) (drivers.Exit, error) {
	if cmd.Arg0 != nil && *cmd.Arg0 != cmd.Args[0] { // an engine runs what the first argument says
		return drivers.Exit{}, structs.Errorf(structs.Invalid, t.object(), "an engine of Docker cannot call %s by another name, such as %q", cmd.Args[0], *cmd.Arg0).
			Advise(`leave the name out, or have a shell do it: ["bash", "-c", "exec -a NAME PROGRAM"]`)
	}
	var id string
	err := t.d.engine.look(ctx, t.object(), "make a command in it", func(ctx context.Context, api *client.Client) error {
		r, err := api.ExecCreate(ctx, t.id, client.ExecCreateOptions{TTY: cmd.TTY, AttachStdin: cmd.Stdin != nil, AttachStdout: true,
			AttachStderr: !cmd.TTY, Cmd: cmd.Args, Env: cmd.Env})
		id = r.ID
		return err
	})
	if err != nil {
		return drivers.Exit{}, err
	}
	defer func() {
		if ctx.Err() != nil {
			t.killCommand(context.WithoutCancel(ctx), id) // not longer than a call to the engine may take
		}
	}()
	if err := t.attach(ctx, id, cmd); err != nil {
		return drivers.Exit{}, err
	}
	exit, began, err := t.execEnd(ctx, id)
	if err == nil && !began { // the engine calls it 126 whatever the reason, and tells stdout
		if exit.Code = 127; t.has(ctx, cmd.Args[0]) {
			exit.Code = 126
		}
		exit.Why = cmd.Args[0] + ": it cannot be run"
		if cmd.Stderr != nil && !cmd.TTY {
			io.WriteString(cmd.Stderr, exit.Why+"\n")
		}
	}
	return exit, err
}

// has reports whether a path is there in the container.
func (t *task) has(ctx context.Context, file string) bool {
	if !path.IsAbs(file) {
		return false // it was looked for in PATH
	}
	return nil == t.d.engine.look(ctx, t.object(), "look for "+file, func(ctx context.Context, api *client.Client) error {
		_, err := api.ContainerStatPath(ctx, t.id, client.ContainerStatPathOptions{Path: file})
		return err
	})
}

// killCommand kills a command that its caller gave up, and what it began. The engine says which process of the machine it is; what is not in
// the container's control groups is one of another machine.
func (t *task) killCommand(ctx context.Context, id string) {
	var r client.ExecInspectResult
	err := t.d.engine.look(ctx, t.object(), "look at a command", func(ctx context.Context, api *client.Client) (err error) {
		r, err = api.ExecInspect(ctx, id, client.ExecInspectOptions{})
		return err
	})
	if err == nil && r.Running {
		drivers.KillSession(r.PID, t.id)
	}
}

// execEnd asks for the exit code, which the engine notes some time after the end of the output, and whether there was a process.
func (t *task) execEnd(ctx context.Context, id string) (exit drivers.Exit, began bool, err error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 250*time.Millisecond) {
		var r client.ExecInspectResult
		err := t.d.engine.look(ctx, t.object(), "ask how a command ended", func(ctx context.Context, api *client.Client) (err error) {
			r, err = api.ExecInspect(ctx, id, client.ExecInspectOptions{})
			return err
		})
		if err != nil {
			return exit, false, err
		}
		if !r.Running {
			exit.Code = r.ExitCode
			if exit.Code > 128 && exit.Code < 128+32 {
				exit.Signal = exit.Code - 128
			}
			return exit, r.PID != 0, nil
		}
		if !pause.For(ctx, wait) {
			return exit, false, context.Cause(ctx)
		}
	}
}

// attach starts the command and copies until its output ends.
func (t *task) attach(ctx context.Context, id string, cmd drivers.Command) error {
	var conn client.ExecAttachResult
	err := t.d.engine.look(ctx, t.object(), "start a command in it", func(ctx context.Context, api *client.Client) (err error) {
		conn, err = api.ExecAttach(ctx, id, client.ExecAttachOptions{TTY: cmd.TTY})
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	var copies sync.WaitGroup
	defer copies.Wait()
	inside, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(inside, func() { conn.Close() })
	defer stop()
	if cmd.Stdin != nil {
		go func() { // whoever owns stdin may never write to it again: nobody waits for this
			io.Copy(conn.Conn, cmd.Stdin)
			conn.CloseWrite()
		}()
	}
	if cmd.TTY && cmd.Resize != nil {
		copies.Go(func() { t.resize(inside, id, cmd.Resize) })
	}
	if cmd.TTY {
		_, err = io.Copy(orNone(cmd.Stdout), conn.Reader)
	} else {
		err = demultiplex(conn.Reader, orNone(cmd.Stdout), orNone(cmd.Stderr))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return structs.Errorf(structs.Unavailable, t.object(), "the output of a command: %w", err)
	}
	return nil
}

func orNone(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// demultiplex copies the two streams of a connection.
func demultiplex(r *bufio.Reader, stdout, stderr io.Writer) error {
	for {
		var header [8]byte
		if _, err := io.ReadFull(r, header[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		w := stdout
		if header[0] == 2 {
			w = stderr
		}
		if _, err := io.CopyN(w, r, int64(binary.BigEndian.Uint32(header[4:]))); err != nil {
			return err
		}
	}
}

// resize passes sizes on until ctx ends. One that the engine does not take is tried again: the command may not have begun.
func (t *task) resize(ctx context.Context, id string, sizes <-chan drivers.Size) {
	for {
		var size drivers.Size
		var ok bool
		select {
		case size, ok = <-sizes:
		case <-ctx.Done():
		}
		if !ok {
			return
		}
		for range 50 {
			err := t.d.engine.look(ctx, t.object(), "resize a terminal", func(ctx context.Context, api *client.Client) error {
				_, err := api.ExecResize(ctx, id, client.ExecResizeOptions{Height: uint(size.Rows), Width: uint(size.Cols)})
				return err
			})
			if err == nil || !pause.For(ctx, 20*time.Millisecond) {
				break
			}
		}
	}
}
