package consensus

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"
)

// cleanUp removes dead servers for as long as ctx lasts, and returns when that is over.
func (n *Node) cleanUp(ctx context.Context) {
	d := &delegate{node: n, ctx: ctx, failedAt: make(map[raft.ServerID]time.Time)}
	pilot := autopilot.New(n.raft, d, autopilot.WithLogger(newRaftLogger(n.log.With("component", "autopilot"))))
	pilot.Start(ctx)
	<-ctx.Done()
	<-pilot.Stop()
	d.removals.Wait()
}

// delegate tells autopilot about the servers. Gossip is a hint: a server that gossip does not know counts as failed only
// after DeadAfter, like one that gossip calls failed, and none counts while raft hears from it.
type delegate struct {
	node     *Node
	ctx      context.Context
	removals sync.WaitGroup

	mu       sync.Mutex
	failedAt map[raft.ServerID]time.Time // when this leader saw first that it does not answer
}

// AutopilotConfig returns the limits.
func (d *delegate) AutopilotConfig() *autopilot.Config {
	return &autopilot.Config{
		CleanupDeadServers:      true,
		LastContactThreshold:    time.Second,
		MaxTrailingLogs:         1000,
		MinQuorum:               uint(d.node.cfg.MinPeers),
		ServerStabilizationTime: time.Second,
	}
}

// NotifyState is of no interest.
func (d *delegate) NotifyState(*autopilot.State) {}

// FetchServerStats says of every server that it keeps up: servers are voters from the start and are not promoted.
func (d *delegate) FetchServerStats(_ context.Context, servers map[raft.ServerID]*autopilot.Server) map[raft.ServerID]*autopilot.ServerStats {
	last := number(d.node.raft.Stats()["last_log_term"])
	stats := make(map[raft.ServerID]*autopilot.ServerStats, len(servers))
	for id := range servers {
		stats[id] = &autopilot.ServerStats{LastTerm: last, LastIndex: d.node.raft.LastIndex()}
	}
	return stats
}

// KnownServers returns every member of the Raft group with what is believed of it.
func (d *delegate) KnownServers() map[raft.ServerID]*autopilot.Server {
	c, err := d.node.configuration()
	if err != nil {
		return nil
	}
	members := make(map[string]Member)
	for _, m := range d.node.cfg.Members() {
		members[m.ID] = m
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	known := make(map[raft.ServerID]*autopilot.Server, len(c.Servers))
	for _, s := range c.Servers {
		m := members[string(s.ID)]
		one := &autopilot.Server{ID: s.ID, Name: m.Name, Address: s.Address, Version: m.Version, RaftVersion: 3,
			NodeStatus: autopilot.NodeAlive, NodeType: autopilot.NodeVoter, IsLeader: string(s.ID) == d.node.cfg.ID}
		known[s.ID] = one
		switch {
		case one.IsLeader || m.Status == MemberAlive:
			delete(d.failedAt, s.ID)
		default:
			since, seen := d.failedAt[s.ID]
			if !seen {
				since = now
				d.failedAt[s.ID] = now
			}
			if now.Sub(since) >= d.node.cfg.DeadAfter {
				one.NodeStatus = autopilot.NodeFailed
			}
		}
	}
	return known
}

// RemoveFailedServer removes a server; it must not block.
func (d *delegate) RemoveFailedServer(s *autopilot.Server) {
	d.removals.Go(func() {
		ctx, cancel := context.WithTimeout(d.ctx, peerTimeout)
		defer cancel()
		if err := d.node.RemovePeer(ctx, string(s.ID)); err != nil {
			d.node.log.Warn("a dead server was not removed", "server", s.ID, "error", err)
			return
		}
		d.node.log.Warn("a dead server was removed", "server", s.ID, "address", s.Address, "status", s.NodeStatus)
	})
}
