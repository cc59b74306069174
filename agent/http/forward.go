package http

import (
	"context"

	"github.com/coder/websocket"

	"github.com/proffer/proffer/agent/api"
)

// forward connects a websocket to a port of an allocation. See api.Splice for the messages.
func forward(c *call) (any, error) {
	alloc, node, err := c.allocNode()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(c.r.Context())
	defer cancel()
	conn, err := node.Forward(ctx, alloc.ID, c.r.PathValue("port"))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	c.s.hijacked.Add(1)
	defer c.s.hijacked.Done()
	c.deadline()
	ws, err := websocket.Accept(c.w, c.r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return nil, nil // it has answered
	}
	if err := api.Splice(ctx, ws, conn); err != nil {
		c.s.Log.Debug("a forwarded connection broke", "alloc", alloc.ID, "err", err)
	}
	return nil, nil
}
