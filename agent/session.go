package agent

import (
	"context"
	"slices"

	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/client/session"
)

// sessionMessage bounds one message to a node: all that it runs, with the jobs.
const sessionMessage = 64 << 20

// connect makes the node's session: with this agent's own server first, then with those that gossip knows.
func (a *Agent) connect(node session.Node) client.Uplink {
	return session.New(session.Config{
		Node:   node,
		Logger: a.log.With("part", "session"),
		Servers: func() []string {
			servers := a.gossip.Servers()
			if a.server != nil {
				own := a.port.Addr()
				servers = slices.DeleteFunc(servers, func(addr string) bool { return addr == own })
				servers = slices.Insert(servers, 0, own)
			}
			return servers
		},
		Dial: func(ctx context.Context, addr string) (session.Stream, error) {
			stream, err := a.pool.Stream(ctx, addr, session.Method, nil)
			if err != nil {
				return nil, err
			}
			stream.SetLimit(sessionMessage)
			return stream, nil
		},
	})
}
