package consensus

import (
	"context"
	"sync"

	"github.com/proffer/proffer/structs"
)

// reads joins callers that ask at the same time into one round of heartbeats.
type reads struct {
	mu      sync.Mutex
	next    *round
	running bool
}

type round struct {
	done chan struct{}
	err  error
}

// ReadIndex returns once this server was the leader after the call began, so that its store has everything that was
// acknowledged before: a leader acknowledges what its store has, and what earlier leaders acknowledged came with the
// barrier of its term. The index is what another server's store must have reached to be as good: see WaitApplied.
func (n *Node) ReadIndex(ctx context.Context) (uint64, error) {
	term := n.lead.term()
	if term == nil || n.closed.Load() {
		return 0, n.notLeader("read")
	}
	r := n.reads.join(n)
	select {
	case <-r.done:
	case <-ctx.Done():
		return 0, &structs.Error{Kind: structs.Unavailable, Op: "read", Why: "the quorum did not confirm this leader in time",
			Err: context.Cause(ctx)}
	}
	if r.err != nil || n.lead.term() != term {
		return 0, n.notLeader("read")
	}
	return n.store.Snapshot().Index(), nil
}

// join returns the round that has not begun yet.
func (rs *reads) join(n *Node) *round {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.next == nil {
		rs.next = &round{done: make(chan struct{})}
	}
	r := rs.next
	if !rs.running {
		rs.running = true
		n.calls.Go(func() { rs.run(n) })
	}
	return r
}

func (rs *reads) run(n *Node) {
	for {
		rs.mu.Lock()
		r := rs.next
		rs.next = nil
		rs.running = r != nil
		rs.mu.Unlock()
		if r == nil {
			return
		}
		r.err = n.raft.VerifyLeader().Error()
		close(r.done)
	}
}

// WaitApplied returns once this server's store has reached index.
func (n *Node) WaitApplied(ctx context.Context, index uint64) error {
	_, err := n.store.WaitIndex(ctx, index)
	return err
}
