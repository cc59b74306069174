package server

import (
	"context"
	"sync"
	"time"

	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/server/consensus"
	"github.com/proffer/proffer/structs"
)

// renewals passes lease renewals on to the leader in batches.
type renewals struct {
	server *Server
	asked  chan renewal

	mu    sync.Mutex
	watch *leaseWatch // of this server's term; nil: it does not lead
}

type renewal struct {
	session *nodeSession
	seq     uint64
}

func newRenewals(s *Server) *renewals {
	return &renewals{server: s, asked: make(chan renewal, 4096)}
}

// ask queues a renewal. A full queue closes the session: its node tries another server.
func (r *renewals) ask(n *nodeSession, seq uint64) error {
	select {
	case r.asked <- renewal{n, seq}:
		return nil
	default:
		return structs.Errorf(structs.Exhausted, "lease of node "+n.name, "too many renewals wait on server %s", r.server.config.Name)
	}
}

// run sends what has gathered whenever the last batch was answered, so that one batch is on its way at a time.
func (r *renewals) run() {
	for {
		var batch []renewal
		select {
		case x := <-r.asked:
			batch = append(batch, x)
		case <-r.server.ctx.Done():
			return
		}
	more:
		for len(batch) < cap(r.asked) {
			select {
			case x := <-r.asked:
				batch = append(batch, x)
			default:
				break more
			}
		}
		nodes := make([]structs.NodeID, len(batch))
		for i, x := range batch {
			nodes[i] = x.session.node
		}
		// A third of the lease: the nodes' next renewals come then, and a server that reaches no leader for that long
		// has lost its quorum. It closes the sessions, so that the nodes look for a server that has one.
		ctx, cancel := context.WithTimeout(r.server.ctx, r.server.config.Lease/3)
		err := r.server.onLeader(ctx, func(ctx context.Context) error {
			return r.grant(ctx, nodes)
		}, func(ctx context.Context, leader string) error {
			return r.server.config.Pool.Call(ctx, leader, "Server.Renew", &nodes, &struct{}{})
		})
		cancel()
		for _, x := range batch {
			if err == nil {
				err := x.session.conn.Send(&session.FromServer{Renewed: &session.Renewed{Seq: x.seq}})
				if err != nil {
					x.session.conn.Close(structs.AsError(err))
				}
				continue
			}
			x.session.conn.Close(structs.Errorf(structs.Unavailable, "server "+r.server.config.Name,
				"no leader confirmed the lease: %v", err))
		}
	}
}

// grant renews leases on the leader, once its quorum confirmed that it leads. The leases count from before that.
func (r *renewals) grant(ctx context.Context, nodes []structs.NodeID) error {
	now := time.Now()
	if _, err := r.server.raft.ReadIndex(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	watch := r.watch
	r.mu.Unlock()
	if watch == nil {
		return asLeader(&consensus.NotLeader{}) // the term has just begun or ended
	}
	watch.renew(nodes, now)
	return nil
}
