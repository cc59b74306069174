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
	slack   *structs.Slack
}

func (x renewal) ask() leaseAsk {
	ask := leaseAsk{Node: x.session.node, Session: x.session.number}
	if x.slack != nil {
		ask.Said, ask.Slack = true, *x.slack
	}
	return ask
}

func newRenewals(s *Server) *renewals {
	return &renewals{server: s, asked: make(chan renewal, 4096)}
}

// ask queues a renewal. A full queue closes the session: its node tries another server.
func (r *renewals) ask(n *nodeSession, m *session.Renew) error {
	select {
	case r.asked <- renewal{n, m.Seq, m.Slack}:
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
		r.pass(batch)
	}
}

// pass asks the leader and answers the sessions. Those that get no lease are closed: their nodes look for another server,
// or register again.
func (r *renewals) pass(batch []renewal) {
	s := r.server
	asks := make([]leaseAsk, len(batch))
	for i, x := range batch {
		asks[i] = x.ask()
	}
	// A third of the lease: the nodes' next renewals come then, and a server that reaches no leader for that long has lost
	// its quorum.
	ctx, cancel := context.WithTimeout(s.ctx, s.config.Lease/3)
	defer cancel()
	var refused []leaseAsk
	err := s.onLeader(ctx, repeatable, func(ctx context.Context) (err error) {
		refused, err = r.grant(ctx, asks)
		return err
	}, func(ctx context.Context, leader string) error {
		var reply renewReply
		err := s.config.Pool.Call(ctx, leader, "Server.Renew", &asks, &reply)
		refused = reply.Refused
		return err
	})
	r.answer(batch, refused, err)
}

// answer grants the leases that a batch asked for, but for those that were refused, or none when err says why.
func (r *renewals) answer(batch []renewal, refused []leaseAsk, err error) {
	none := make(map[leaseAsk]bool, len(refused))
	for _, ask := range refused {
		none[ask] = true
	}
	var closing sync.WaitGroup // together: a session whose node takes nothing needs a second
	defer closing.Wait()
	for _, x := range batch {
		var why *structs.Error
		switch {
		case err != nil:
			why = structs.Errorf(structs.Unavailable, "server "+r.server.config.Name, "no leader confirmed the lease: %v", err)
		case none[x.ask()]:
			why = structs.Errorf(structs.Conflict, "node "+x.session.name, "its lease ended and the region gives it up, or it opened another session").
				Advise("it connects again")
		default:
			if err := x.session.conn.Send(&session.FromServer{Renewed: &session.Renewed{Seq: x.seq}}); err == nil {
				continue
			}
			why = nil // it is over already
		}
		closing.Go(func() { x.session.conn.Close(why) })
	}
}

// leaseAsk asks for the lease of a node in a session, and says what is reserved there and not used.
type leaseAsk struct {
	Node    structs.NodeID
	Session uint64
	Said    bool // of Slack
	Slack   structs.Slack
}

// renewReply answers Server.Renew.
type renewReply struct{ Refused []leaseAsk }

// grant renews leases on the leader, once its quorum confirmed that it leads. The leases count from before that. It
// returns those that get none.
func (r *renewals) grant(ctx context.Context, asks []leaseAsk) (refused []leaseAsk, err error) {
	now := time.Now()
	if _, err := r.server.raft.ReadIndex(ctx); err != nil {
		return nil, err
	}
	r.mu.Lock()
	watch := r.watch
	r.mu.Unlock()
	if watch == nil {
		return nil, asLeader(&consensus.NotLeader{}) // the term has just begun or ended
	}
	refused = watch.renew(r.server.store.Snapshot(), asks, now)
	r.server.loop.hear(asks, refused)
	return refused, nil
}
