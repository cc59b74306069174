package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/server/consensus"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// leaderWait bounds how long a call waits for a leader: longer than an election, shorter than a person's patience.
const leaderWait = 10 * time.Second

// Propose commits a command, on the leader wherever it is. The local state has it when Propose returns, so that a read
// that follows sees it. An empty key is replaced by a random one. While the leader changes, it is tried again with the same
// key, under which it happens once. See consensus.Node.Propose for the errors.
func (s *Server) Propose(ctx context.Context, key, actor string, cmd state.Command) (answer any, index uint64, err error) {
	if key == "" {
		key = state.BriefKey()
	}
	if cmd, err = s.sealVolume(ctx, cmd); err != nil {
		return nil, 0, err
	}
	sent := false // a try may have happened
	err = s.onLeader(ctx, repeatable, func(ctx context.Context) (err error) {
		if err := s.knowsSorters(cmd); err != nil {
			return err
		}
		answer, index, err = s.raft.Propose(ctx, key, actor, s.bounded(cmd))
		sent = sent || structs.KindOf(err) == structs.Unknown
		return err
	}, func(ctx context.Context, leader string) error {
		body, err := state.EncodeEnvelope(state.Envelope{Key: key, Actor: actor, Command: cmd})
		if err != nil {
			return err
		}
		var reply proposeReply
		if err := s.config.Pool.Call(ctx, leader, "Server.Propose", &body, &reply); err != nil {
			sent = sent || structs.KindOf(err) == structs.Unknown
			return err
		}
		if answer, err = state.DecodeAnswer(cmd, reply.Answer); err != nil {
			return err
		}
		index = reply.Index
		if err := s.raft.WaitApplied(ctx, index); err != nil {
			return &structs.Error{Kind: structs.Unknown, Op: "propose", Why: "it was committed, and this server does not have it yet",
				Do: "try again with the same key, or look", Err: err}
		}
		return nil
	})
	if kind := structs.KindOf(err); sent && (kind == structs.Unavailable || kind == structs.Exhausted) {
		err = &structs.Error{Kind: structs.Unknown, Op: "propose", Why: "it may have happened: " + err.Error(),
			Do: "try again with the same key, or look", Err: err}
	}
	return answer, index, err
}

// bounded gives a command the limits of the leader's configuration. It travels with them, so that every server decides alike.
func (s *Server) bounded(cmd state.Command) state.Command {
	most, sealed := int(s.maxJobs.Load()), s.shared.Load().Sealed
	switch c := cmd.(type) {
	case *state.SubmitJob:
		return altered(c, func(c *state.SubmitJob) { c.MaxJobs, c.Sealed = most, sealed })
	case *state.ScaleJob:
		return altered(c, func(c *state.ScaleJob) { c.MaxJobs = most })
	case *state.RestartJob:
		return altered(c, func(c *state.RestartJob) { c.MaxJobs = most })
	case *state.PutFramework:
		return altered(c, func(c *state.PutFramework) { c.Sealed = sealed })
	case *state.ConnectFramework:
		return altered(c, func(c *state.ConnectFramework) { c.Sealed = sealed })
	case *state.UpdateFramework:
		return altered(c, func(c *state.UpdateFramework) { c.Sealed = sealed })
	case *state.PutReservation:
		return altered(c, func(c *state.PutReservation) { c.Sealed = sealed })
	case *state.PutVolume:
		return altered(c, func(c *state.PutVolume) { c.Sealed = sealed })
	case *state.PutVariable:
		return altered(c, func(c *state.PutVariable) { c.SealedRoles = sealed })
	}
	return cmd
}

// altered returns a changed copy: a command belongs to who proposes it.
func altered[C any](c *C, change func(*C)) *C {
	copied := *c
	change(&copied)
	return &copied
}

type proposeReply struct {
	Answer []byte
	Index  uint64
}

// Whether a call may be made again when nobody knows whether it happened.
const (
	repeatable = true
	once       = false
)

// onLeader calls local when this server leads, and remote with the leader's address otherwise. While no leader is known
// it waits for one, up to leaderWait. It looks for the leader again after an error that says that nothing happened because
// of who was asked. What is repeatable it tries again after every failure of servers and network, and it does not wait for
// a leader that is none any more.
func (s *Server) onLeader(ctx context.Context, repeat bool, local func(context.Context) error,
	remote func(context.Context, string) error) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	waited := time.Now()
	for {
		leader, changed := s.raft.LeaderChanged()
		var err error
		switch {
		case leader.Self:
			err = local(ctx)
		case leader.Address == "" || leader.Address == s.config.Address:
			err = &structs.Error{Kind: structs.Unavailable, Why: "the region has no leader",
				Err: &consensus.NotLeader{}, Do: "check with 'proffer server members' that most servers are alive"}
		case repeat:
			err = until(ctx, changed, func(ctx context.Context) error { return remote(ctx, leader.Address) })
		default:
			err = remote(ctx, leader.Address)
		}
		if err == nil || !tryAgain(err, repeat) || ctx.Err() != nil || time.Since(waited) > leaderWait {
			return err
		}
		select {
		case <-changed:
		case <-time.After(50 * time.Millisecond): // the news of a change may have come before we asked
		case <-ctx.Done():
			return err
		}
	}
}

// until calls f with a context that ends when over is closed.
func until(ctx context.Context, over <-chan struct{}, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() {
		select {
		case <-over:
			cancel()
		case <-ctx.Done():
		}
	})
	return f(ctx)
}

func tryAgain(err error, repeat bool) bool {
	var e *structs.Error
	if errors.As(err, &e) && e.Op == opKeep {
		return false
	}
	kind := structs.KindOf(err)
	if repeat {
		return kind == structs.Unavailable || kind == structs.Unknown
	}
	var notLeader *consensus.NotLeader
	if errors.As(err, &notLeader) {
		return true
	}
	return e != nil && e.Kind == structs.Unavailable && (e.Op == opNotLeader || e.Op == "")
}

// opNotLeader marks, across RPC, the error of a server that was asked as the leader and is none.
const opNotLeader = "not leader"

// asLeader gives the error of a call that only the leader serves its mark.
func asLeader(err error) error {
	var notLeader *consensus.NotLeader
	if errors.As(err, &notLeader) {
		return &structs.Error{Kind: structs.Unavailable, Op: opNotLeader, Why: notLeader.Error()}
	}
	return err
}

// Read returns the state. Unless stale is set it has everything that was acknowledged before the call.
func (s *Server) Read(ctx context.Context, stale bool) (*state.Snapshot, error) {
	if stale {
		return s.store.Snapshot(), nil
	}
	err := s.onLeader(ctx, repeatable, func(ctx context.Context) error {
		_, err := s.raft.ReadIndex(ctx)
		return err
	}, func(ctx context.Context, leader string) error {
		var index uint64
		if err := s.config.Pool.Call(ctx, leader, "Server.ReadIndex", &struct{}{}, &index); err != nil {
			return err
		}
		if err := s.raft.WaitApplied(ctx, index); err != nil {
			return &structs.Error{Kind: structs.Unavailable, Op: "read", Why: "this server is behind the leader and did not catch up in time", Err: err}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.store.Snapshot(), nil
}

// serveRPC registers what other servers and nodes may call.
func (s *Server) serveRPC() {
	rpc.Handle(s.config.RPC, "Server.Propose", func(ctx context.Context, req *[]byte) (*proposeReply, error) {
		e, err := state.DecodeEnvelope(*req)
		if err != nil {
			return nil, err
		}
		if err := s.knowsSorters(e.Command); err != nil {
			return nil, err
		}
		answer, index, err := s.raft.Propose(ctx, e.Key, e.Actor, s.bounded(e.Command))
		if err != nil {
			return nil, asLeader(err)
		}
		body, err := state.EncodeAnswer(answer)
		return &proposeReply{body, index}, err
	})
	rpc.Handle(s.config.RPC, "Server.ReadIndex", func(ctx context.Context, _ *struct{}) (*uint64, error) {
		index, err := s.raft.ReadIndex(ctx)
		return &index, asLeader(err)
	})
	rpc.Handle(s.config.RPC, "Server.Renew", func(ctx context.Context, asks *[]leaseAsk) (*renewReply, error) {
		refused, err := s.renewals.grant(ctx, *asks)
		return &renewReply{refused}, asLeader(err)
	})
	rpc.Handle(s.config.RPC, "Server.Census", func(context.Context, *struct{}) (*census, error) {
		return s.census()
	})
	rpc.Handle(s.config.RPC, "Server.HTTP", func(context.Context, *struct{}) (*string, error) { return &s.config.HTTP, nil })
	s.config.RPC.HandleStream(sessionMethod, s.serveSession)
	s.serveMessages()
	s.serveLeaderRPC()
	s.serveKeys()
}
