package server

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/proffer/proffer/client/gossip"
	"github.com/proffer/proffer/server/consensus"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// servers returns the members of the pool that are servers of this region.
func (s *Server) servers(in ...gossip.Status) (out []gossip.Member) {
	for _, m := range s.config.Gossip.Members() {
		if m.Role == gossip.RoleServer && m.Region == s.config.Region && slices.Contains(in, m.Status) {
			out = append(out, m)
		}
	}
	return out
}

// raftMembers is what the clean-up of dead servers looks at. One that left counts as one that failed: it may be back soon.
func (s *Server) raftMembers() (out []consensus.Member) {
	for _, m := range s.servers(gossip.Alive, gossip.Failed, gossip.Left, gossip.Removed) {
		status := consensus.MemberFailed
		if m.Status == gossip.Alive {
			status = consensus.MemberAlive
		}
		out = append(out, consensus.Member{ID: m.ID, Name: m.Name, Address: m.Addr, Status: status})
	}
	return out
}

// census is what a server that waits to be bootstrapped knows.
type census struct {
	Fresh  bool
	Expect int
	IDs    []string // of the living servers that it sees, sorted
}

func (s *Server) census() (*census, error) {
	fresh, err := s.raft.Fresh()
	if err != nil {
		return nil, err
	}
	c := &census{Fresh: fresh, Expect: s.config.Expect}
	for _, m := range s.servers(gossip.Alive) {
		c.IDs = append(c.IDs, m.ID)
	}
	slices.Sort(c.IDs)
	return c, nil
}

// bootstrap makes a new region once as many servers as were asked for see each other. Only the one with the smallest id
// does it, and only when every other one, asked over RPC, is as new and sees exactly the same servers: gossip alone could
// show two overlapping sets to two servers, and each would make a region of its own.
func (s *Server) bootstrap() {
	if s.config.Expect <= 1 {
		return
	}
	events, cancel := s.config.Gossip.Subscribe()
	defer func() { cancel() }()
	for {
		fresh, err := s.raft.Fresh()
		if err != nil {
			s.log.Error("cannot tell whether this server has state", "err", err)
		}
		if err == nil && !fresh {
			s.config.Gossip.Update(func(m *gossip.Member) { m.Expect = 0 })
			return
		}
		if err == nil {
			s.tryBootstrap()
		}
		select {
		case <-s.ctx.Done():
			return
		case _, ok := <-events:
			if !ok {
				cancel()
				events, cancel = s.config.Gossip.Subscribe()
			}
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (s *Server) tryBootstrap() {
	own, err := s.census()
	if err != nil || len(own.IDs) < s.config.Expect || own.IDs[0] != s.config.ID {
		return
	}
	if len(own.IDs) > s.config.Expect {
		s.log.Warn("more servers than bootstrap_expect: the region is not made", "expect", s.config.Expect,
			"servers", len(own.IDs), "do", "stop the extra servers, or set bootstrap_expect alike on all")
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
	defer cancel()
	var peers []consensus.Peer
	for _, m := range s.servers(gossip.Alive) {
		peers = append(peers, consensus.Peer{ID: m.ID, Address: m.Addr, Voter: true})
		if m.ID == s.config.ID {
			continue
		}
		var theirs census
		if err := s.config.Pool.Call(ctx, m.Addr, "Server.Census", &struct{}{}, &theirs); err != nil {
			s.log.Info("waiting for a server to answer before the region is made", "server", m.Name, "err", err)
			return
		}
		if !theirs.Fresh {
			return // it knows a region already, whose leader will add this server
		}
		if theirs.Expect != s.config.Expect {
			s.log.Warn("servers differ in bootstrap_expect: the region is not made", "server", m.Name, "its", theirs.Expect,
				"ours", s.config.Expect, "do", "set it alike on all")
			return
		}
		if !slices.Equal(theirs.IDs, own.IDs) {
			return
		}
	}
	if err := s.raft.Bootstrap(peers); err != nil {
		s.log.Error("cannot make the region", "err", err)
		return
	}
	s.log.Info("made the region", "region", s.config.Region, "servers", len(peers))
}

// reconcileMembers keeps the Raft group like the pool says, for one term: a living server is added, or gets its new
// address; one that an operator declared gone is removed. Those that failed or left are for the clean-up of dead servers.
func (s *Server) reconcileMembers(term context.Context) {
	events, cancel := s.config.Gossip.Subscribe()
	defer func() { cancel() }()
	for {
		s.reconcileOnce(term)
		select {
		case <-term.Done():
			return
		case _, ok := <-events:
			if !ok {
				cancel()
				events, cancel = s.config.Gossip.Subscribe()
			}
		case <-time.After(10 * time.Second):
		}
	}
}

func (s *Server) reconcileOnce(term context.Context) {
	peers, err := s.raft.Peers()
	if err != nil {
		return
	}
	known := map[string]consensus.Peer{}
	for _, p := range peers {
		known[p.ID] = p
	}
	s.raiseLevel(term, known)
	for _, m := range s.servers(gossip.Alive, gossip.Removed) {
		if term.Err() != nil {
			return
		}
		peer, is := known[m.ID]
		switch {
		case m.Status == gossip.Alive && m.FeatureMax < s.store.Snapshot().Meta().FeatureLevel:
			if !is {
				s.log.Warn("a server is too old for this region and is not added", "server", m.Name, "its_level", m.FeatureMax,
					"level", s.store.Snapshot().Meta().FeatureLevel, "do", "upgrade it")
			}
		case m.Status == gossip.Alive && (!is || peer.Address != m.Addr):
			// Gossip learns late that a server is dead: one that an operator has just removed would come back.
			if err := s.answers(term, m); err != nil {
				s.log.Debug("a server is not added to the Raft group: it does not answer", "server", m.Name, "err", err)
				continue
			}
			if err := s.raft.AddPeer(term, m.ID, m.Addr); err != nil {
				s.log.Warn("cannot add a server to the Raft group", "server", m.Name, "err", err)
				continue
			}
			s.log.Info("added a server to the Raft group", "server", m.Name, "address", m.Addr)
		case m.Status == gossip.Removed && is && m.ID != s.config.ID:
			if err := s.raft.RemovePeer(term, m.ID); err != nil && structs.KindOf(err) != structs.NotFound {
				s.log.Warn("cannot remove a server that was declared gone", "server", m.Name, "err", err)
				continue
			}
			s.log.Info("removed a server that was declared gone", "server", m.Name)
		}
	}
}

// answers asks a server whether it is there.
func (s *Server) answers(ctx context.Context, m gossip.Member) error {
	if m.ID == s.config.ID {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return s.config.Pool.Call(ctx, m.Addr, "Server.Census", &struct{}{}, new(census))
}

// raiseLevel raises the region's feature level to what every server of the Raft group, this one too, says that it knows. A
// server that is not alive may be an older one, so it keeps the level where it is until it is back or removed.
func (s *Server) raiseLevel(term context.Context, peers map[string]consensus.Peer) {
	if len(peers) == 0 {
		return
	}
	level := math.MaxInt
	alive := s.servers(gossip.Alive)
	for id := range peers {
		i := slices.IndexFunc(alive, func(m gossip.Member) bool { return m.ID == id })
		if i < 0 {
			return
		}
		level = min(level, alive[i].FeatureMax)
	}
	if level <= s.store.Snapshot().Meta().FeatureLevel {
		return
	}
	if _, _, err := s.raft.Propose(term, "", "server "+s.config.Name, &state.SetFeatureLevel{Level: level}); err != nil {
		if term.Err() == nil {
			s.log.Warn("cannot raise the feature level", "level", level, "err", err)
		}
		return
	}
	s.log.Info("raised the feature level: every server knows it", "level", level)
}
