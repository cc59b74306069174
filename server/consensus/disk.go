package consensus

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// timedLogs is a log store that knows how long a write has been under way.
type timedLogs struct {
	raft.LogStore
	since   atomic.Int64 // unix nanoseconds at which the write under way began; 0: none
	stalled atomic.Bool  // set by watchDisk
}

// IsMonotonic passes on whether the store refuses gaps.
func (l *timedLogs) IsMonotonic() bool {
	m, ok := l.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// StoreLog writes one entry.
func (l *timedLogs) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

// StoreLogs writes entries.
func (l *timedLogs) StoreLogs(logs []*raft.Log) error {
	l.since.Store(time.Now().UnixNano())
	defer l.since.Store(0)
	return l.LogStore.StoreLogs(logs)
}

// watchDisk closes the gate while a write hangs. Raft's leader loop waits for its disk and its heartbeats go on without
// it, so a leader with a dead disk would rule for ever; with its gate closed the others elect another one.
func (n *Node) watchDisk() {
	tick := time.NewTicker(n.cfg.DiskTimeout / 10)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		}
		since := n.logs.since.Load()
		hangs := since != 0 && time.Now().UnixNano()-since >= int64(n.cfg.DiskTimeout)
		if hangs == n.logs.stalled.Load() {
			continue
		}
		n.logs.stalled.Store(hangs)
		n.gate.closed.Store(hangs)
		select {
		case n.again <- struct{}{}:
		default:
		}
		if !hangs {
			n.log.Warn("the disk answers again")
			continue
		}
		n.log.Error("the disk does not answer: this server gives up leadership",
			"write_under_way_for", time.Duration(time.Now().UnixNano()-since).Round(time.Millisecond), "limit", n.cfg.DiskTimeout)
	}
}

// gate is the transport; closed, it sends nothing.
type gate struct {
	Transport
	closed atomic.Bool
}

var errGateClosed = errors.New("this server's disk does not answer")

func (g *gate) check() error {
	if g.closed.Load() {
		return errGateClosed
	}
	return nil
}

// AppendEntries also carries heartbeats.
func (g *gate) AppendEntries(id raft.ServerID, to raft.ServerAddress, in *raft.AppendEntriesRequest, out *raft.AppendEntriesResponse) error {
	if err := g.check(); err != nil {
		return err
	}
	return g.Transport.AppendEntries(id, to, in, out)
}

// AppendEntriesPipeline returns a pipeline behind the gate.
func (g *gate) AppendEntriesPipeline(id raft.ServerID, to raft.ServerAddress) (raft.AppendPipeline, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	p, err := g.Transport.AppendEntriesPipeline(id, to)
	if err != nil {
		return nil, err
	}
	return &gatedPipeline{p, g}, nil
}

type gatedPipeline struct {
	raft.AppendPipeline
	gate *gate
}

// AppendEntries sends without waiting for the answer.
func (p *gatedPipeline) AppendEntries(in *raft.AppendEntriesRequest, out *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	if err := p.gate.check(); err != nil {
		return nil, err
	}
	return p.AppendPipeline.AppendEntries(in, out)
}

// RequestVote asks for a vote.
func (g *gate) RequestVote(id raft.ServerID, to raft.ServerAddress, in *raft.RequestVoteRequest, out *raft.RequestVoteResponse) error {
	if err := g.check(); err != nil {
		return err
	}
	return g.Transport.RequestVote(id, to, in, out)
}

// RequestPreVote asks whether a vote would be given.
func (g *gate) RequestPreVote(id raft.ServerID, to raft.ServerAddress, in *raft.RequestPreVoteRequest, out *raft.RequestPreVoteResponse) error {
	if err := g.check(); err != nil {
		return err
	}
	return g.Transport.RequestPreVote(id, to, in, out)
}
