package consensus

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// gate is the transport; closed, it sends nothing.
type gate struct {
	Transport
	closed atomic.Bool

	mu    sync.Mutex
	pipes map[*gatedPipeline]struct{} // that are open
	ended bool
}

// pipelinePatience is how long a pipeline may take an entry before it is closed: longer than the transport waits for an answer.
const pipelinePatience = 15 * time.Second

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
	gated := &gatedPipeline{p, g}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		p.Close()
		return nil, raft.ErrPipelineShutdown
	}
	if g.pipes == nil {
		g.pipes = make(map[*gatedPipeline]struct{})
	}
	g.pipes[gated] = struct{}{}
	return gated, nil
}

// end closes all pipelines: raft waits for what is sent into them when it is shut down.
func (g *gate) end() {
	g.mu.Lock()
	g.ended = true
	pipes := slices.Collect(maps.Keys(g.pipes))
	g.mu.Unlock()
	for _, p := range pipes {
		p.Close()
	}
}

type gatedPipeline struct {
	raft.AppendPipeline
	gate *gate
}

// AppendEntries sends without waiting for the answer. It waits while as much is under way as may be, and raft stops to take answers when
// one says no or is of a newer term: where it was just then about to send more, both waited for ever, and the follower got nothing from
// this leader any more. So a pipeline that moves nothing for long is closed, and raft begins another.
func (p *gatedPipeline) AppendEntries(in *raft.AppendEntriesRequest, out *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	if err := p.gate.check(); err != nil {
		return nil, err
	}
	stuck := time.AfterFunc(pipelinePatience, func() { p.Close() })
	defer stuck.Stop()
	return p.AppendPipeline.AppendEntries(in, out)
}

// Close ends the pipeline, and what is being sent into it.
func (p *gatedPipeline) Close() error {
	p.gate.mu.Lock()
	delete(p.gate.pipes, p)
	p.gate.mu.Unlock()
	return p.AppendPipeline.Close()
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
