package http

import (
	"context"
	"encoding/json"
	"io"
	"sync"

	"github.com/coder/websocket"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// maxExecMessage bounds a websocket message in each direction.
const maxExecMessage = 64 << 10

// exec runs a command in a task over a websocket. See api.ExecStdin for the messages.
func exec(c *call) (any, error) {
	command := c.query["command"]
	if len(command) == 0 {
		return nil, structs.Errorf(structs.Invalid, `query parameter "command"`, "it is missing").
			Advise("give it once for each argument")
	}
	alloc, node, err := c.allocNode()
	if err != nil {
		return nil, err
	}
	task, err := c.taskOf(alloc, c.r.PathValue("task"))
	if err != nil {
		return nil, err
	}
	c.s.hijacked.Add(1)
	defer c.s.hijacked.Done()
	c.deadline()
	conn, err := websocket.Accept(c.w, c.r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return nil, nil // it has answered
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxExecMessage + 1)

	// The hijacked request's context does not end with its connection: the reader below ends ctx.
	ctx, cancel := context.WithCancel(c.r.Context())
	defer cancel()
	stdin, feed := io.Pipe()
	resize := make(chan drivers.Size, 1)
	if rows, cols := c.number("rows"), c.number("cols"); rows > 0 && cols > 0 {
		resize <- drivers.Size{Rows: uint16(min(rows, 10000)), Cols: uint16(min(cols, 10000))}
	}
	var reader sync.WaitGroup
	reader.Go(func() {
		defer cancel()
		readExec(ctx, cancel, conn, feed, resize)
	})
	cmd := drivers.Command{Args: command, TTY: c.yes("tty"), Stdin: stdin, Resize: resize,
		Stdout: &execWriter{ctx, conn, api.ExecStdout}, Stderr: &execWriter{ctx, conn, api.ExecStderr}}
	exit, err := node.Exec(ctx, alloc.ID, task, cmd)
	result := api.ExecResult{Code: exit.Code, Signal: exit.Signal, Why: exit.Why}
	if err != nil {
		result = api.ExecResult{Code: -1, Err: structs.AsError(err)}
	}
	raw, _ := json.Marshal(result) // numbers and strings: it cannot fail
	(&execWriter{ctx, conn, api.ExecExit}).Write(raw)
	stdin.CloseWithError(io.ErrClosedPipe) // whatever still comes in is dropped
	closing, stop := context.WithTimeout(context.WithoutCancel(ctx), slowWrite)
	defer stop()
	context.AfterFunc(closing, func() { conn.CloseNow() })
	conn.Close(websocket.StatusNormalClosure, "")
	cancel()
	reader.Wait()
	return nil, nil
}

// readExec passes on what the client sends until the connection or ctx ends. It calls gone when the client is while the command does not
// read its input.
func readExec(ctx context.Context, gone func(), conn *websocket.Conn, stdin *io.PipeWriter, resize chan drivers.Size) {
	defer stdin.Close()
	for {
		_, message, err := conn.Read(ctx)
		if err != nil || len(message) == 0 {
			return
		}
		switch message[0] {
		case api.ExecStdin:
			if len(message) == 1 {
				stdin.Close()
				continue
			}
			api.Pass(ctx, conn, stdin, message[1:], func(error) { gone() }) // an error: the command no longer reads
		case api.ExecResize:
			var size drivers.Size
			if json.Unmarshal(message[1:], &size) != nil {
				continue
			}
			select {
			case <-resize: // only the newest size matters
			default:
			}
			select {
			case resize <- size:
			default:
			}
		}
	}
}

// execWriter sends what is written as messages.
type execWriter struct {
	ctx  context.Context
	conn *websocket.Conn
	kind byte
}

func (w *execWriter) Write(p []byte) (int, error) {
	total := len(p)
	for {
		n := min(len(p), maxExecMessage)
		ctx, cancel := context.WithTimeout(w.ctx, slowWrite)
		err := w.conn.Write(ctx, websocket.MessageBinary, append([]byte{w.kind}, p[:n]...))
		cancel()
		if err != nil {
			return 0, err
		}
		if p = p[n:]; len(p) == 0 {
			return total, nil
		}
	}
}
