package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/coder/websocket"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// ExecRequest asks for a command in a running task.
type ExecRequest struct {
	Alloc   string // id, or the beginning of it
	Task    string
	Command []string
	TTY     bool
	Size    drivers.Size        // of the terminal, with TTY
	Stdin   io.Reader           // nil: none
	Stdout  io.Writer           //
	Stderr  io.Writer           // unused with TTY
	Resize  <-chan drivers.Size // with TTY; nil: never
}

// maxMessage bounds a websocket message.
const maxMessage = 64 << 10

// Exec runs a command in a task and returns when it ended. When the connection breaks, the command is killed. A read of
// Stdin may still be under way when Exec returns.
func (c *Client) Exec(ctx context.Context, req *ExecRequest) (*ExecResult, error) {
	v := url.Values{"command": req.Command}
	if req.TTY {
		v.Set("tty", "true")
		if req.Size.Rows > 0 {
			v.Set("rows", strconv.Itoa(int(req.Size.Rows)))
			v.Set("cols", strconv.Itoa(int(req.Size.Cols)))
		}
	}
	path := allocPath(req.Alloc, "exec", req.Task)
	u := c.base.String() + path + "?" + v.Encode()
	header := http.Header{}
	c.identify(header)
	conn, response, err := websocket.Dial(ctx, u, &websocket.DialOptions{HTTPClient: c.exec, HTTPHeader: header})
	if err != nil {
		if response != nil && response.StatusCode != http.StatusSwitchingProtocols {
			return nil, errorOf(response)
		}
		return nil, c.unreached(ctx, err, false)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxMessage + 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go sendInput(ctx, conn, req.Stdin)
	if req.Resize != nil {
		go sendSizes(ctx, conn, req.Resize)
	}
	for {
		_, message, err := conn.Read(ctx)
		if err != nil {
			return nil, broken(ctx, call{path: path}, err)
		}
		if len(message) == 0 {
			continue
		}
		out := io.Writer(nil)
		switch message[0] {
		case ExecStdout:
			out = req.Stdout
		case ExecStderr:
			out = req.Stderr
		case ExecExit:
			result := &ExecResult{}
			if err := json.Unmarshal(message[1:], result); err != nil {
				return nil, structs.Errorf(structs.Internal, path, "the result is not what this client expects: %w", err)
			}
			conn.Close(websocket.StatusNormalClosure, "")
			if result.Err != nil {
				return nil, result.Err
			}
			return result, nil
		}
		if out != nil {
			if _, err := out.Write(message[1:]); err != nil {
				return nil, structs.Errorf(structs.Unknown, "output", "it cannot be written: %w", err)
			}
		}
	}
}

func sendInput(ctx context.Context, conn *websocket.Conn, stdin io.Reader) {
	buffer := make([]byte, 1+32<<10)
	buffer[0] = ExecStdin
	for stdin != nil {
		n, err := stdin.Read(buffer[1:])
		if n > 0 && conn.Write(ctx, websocket.MessageBinary, buffer[:1+n]) != nil {
			return
		}
		if err != nil {
			break
		}
	}
	conn.Write(ctx, websocket.MessageBinary, buffer[:1])
}

func sendSizes(ctx context.Context, conn *websocket.Conn, sizes <-chan drivers.Size) {
	for {
		select {
		case size, ok := <-sizes:
			if !ok {
				return
			}
			raw, _ := json.Marshal(size)
			if conn.Write(ctx, websocket.MessageBinary, append([]byte{ExecResize}, raw...)) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
