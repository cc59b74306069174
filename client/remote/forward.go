package remote

import (
	"context"
	"io"
	"sync"

	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/structs"
)

const forwardMethod = "Node.Forward"

// forwardRequest asks for a connection. After it the stream carries raw bytes: from the node first one that says that it is
// connected, then those of the connection.
type forwardRequest struct {
	Alloc structs.AllocID
	Port  string
}

// Forward opens a connection to a port of an allocation, by its name. It ends with ctx; the caller closes it.
func (n *Node) Forward(ctx context.Context, alloc structs.AllocID, port string) (*rpc.Stream, error) {
	st, err := n.Pool.Stream(ctx, n.Address, forwardMethod, &forwardRequest{alloc, port})
	if err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(st, make([]byte, 1)); err != nil {
		st.Close()
		return nil, err
	}
	return st, nil
}

func serveForward(ctx context.Context, st *rpc.Stream, n *client.Client) error {
	var req forwardRequest
	if err := st.Request(&req); err != nil {
		return err
	}
	conn, err := n.Connect(ctx, req.Alloc, req.Port)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := st.Write([]byte{1}); err != nil {
		return err
	}
	var up sync.WaitGroup
	up.Go(func() {
		if _, err := io.Copy(conn, st); err != nil {
			conn.Close() // the other direction is of no use any more
			return
		}
		conn.CloseWrite()
	})
	if _, err = io.Copy(st, conn); err == nil {
		err = st.CloseWrite()
	}
	if err != nil {
		st.Close() // ends up
	}
	up.Wait()
	return err
}
