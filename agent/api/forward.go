package api

import (
	"context"
	"io"
	"net/http"
	"sync"

	"github.com/coder/websocket"

	"github.com/proffer/proffer/structs"
)

// Duplex is a connection whose two directions end one by one, such as a *net.TCPConn.
type Duplex interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// Forward connects local to a port of a running allocation, by the name of the port, and copies both ways until both ended. It
// closes local. An error before the first byte is that of the allocation or its node.
func (c *Client) Forward(ctx context.Context, alloc, port string, local Duplex) error {
	defer local.Close()
	header := http.Header{}
	c.identify(header)
	u := c.base.String() + allocPath(alloc, "forward", port)
	conn, response, err := websocket.Dial(ctx, u, &websocket.DialOptions{HTTPClient: c.exec, HTTPHeader: header})
	if err != nil {
		if response != nil && response.StatusCode != http.StatusSwitchingProtocols {
			return errorOf(response)
		}
		return c.unreached(ctx, err, false)
	}
	return Splice(ctx, conn, local)
}

// Splice copies between a websocket and another connection until both directions ended, and closes both. Each message is a piece
// of the stream; an empty one is the end of its direction.
func Splice(ctx context.Context, ws *websocket.Conn, other Duplex) error {
	defer ws.CloseNow()
	ws.SetReadLimit(maxMessage)
	defer other.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	context.AfterFunc(ctx, func() { other.Close() }) // whoever reads from it is to stop
	var copies sync.WaitGroup
	for _, direction := range []func(context.Context, *websocket.Conn, Duplex, func(error)) error{fromSocket, toSocket} {
		copies.Go(func() {
			if err := direction(ctx, ws, other, cancel); err != nil {
				cancel(err) // the first one is the reason
			}
		})
	}
	copies.Wait()
	if err := context.Cause(ctx); err != nil {
		return structs.Errorf(structs.Unavailable, "forwarded connection", "it broke: %w", err)
	}
	ws.Close(websocket.StatusNormalClosure, "")
	return nil
}

func fromSocket(ctx context.Context, ws *websocket.Conn, to Duplex, gone func(error)) error {
	for {
		_, piece, err := ws.Read(ctx)
		if err != nil {
			return err
		}
		if len(piece) == 0 {
			return to.CloseWrite()
		}
		if err := Pass(ctx, ws, to, piece, gone); err != nil {
			return err
		}
	}
}

func toSocket(ctx context.Context, ws *websocket.Conn, from Duplex, _ func(error)) error {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if err := ws.Write(ctx, websocket.MessageBinary, buffer[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return ws.Write(ctx, websocket.MessageBinary, nil)
		}
		if err != nil {
			return err
		}
	}
}
