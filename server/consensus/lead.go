package consensus

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/drivers/pause"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// rerunPause is the least time between two runs of serve in one term.
const rerunPause = time.Second

// barrierPause is the least time between two tries of a term's barrier.
const barrierPause = 20 * time.Millisecond

// term is a time during which this server leads and has passed its barrier.
type term struct {
	number uint64
	ctx    context.Context // ends with it
}

// leadership is what this server knows of who leads.
type leadership struct {
	mu      sync.Mutex
	current *term
	leader  Leader
	changed chan struct{} // closed at each change
}

func (l *leadership) init() { l.changed = make(chan struct{}) }

func (l *leadership) term() *term {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current
}

func (l *leadership) get() (*term, Leader, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current, l.leader, l.changed
}

func (l *leadership) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was, wasTerm := l.leader, l.current
	change()
	l.leader.Self = l.current != nil
	if l.leader != was || l.current != wasTerm {
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

// Leader returns who leads.
func (n *Node) Leader() Leader {
	_, l, _ := n.lead.get()
	return l
}

// LeaderChanged returns who leads and a channel that is closed when that changes.
func (n *Node) LeaderChanged() (Leader, <-chan struct{}) {
	_, l, changed := n.lead.get()
	return l, changed
}

// watchLeadership follows raft's transitions of this server: each leadership is one goroutine that passes the barrier.
func (n *Node) watchLeadership(notify <-chan bool) {
	end := func() {}
	defer func() { end() }()
	for {
		select {
		case leads := <-notify:
			end()
			end = func() {}
			if leads {
				end = n.begin()
			}
		case <-n.again:
			end()
			end = func() {}
			if n.able() && n.raft.State() == raft.Leader {
				end = n.begin()
			}
		case <-n.ctx.Done():
			return
		}
	}
}

// begin starts a term and returns what ends it.
func (n *Node) begin() (end func()) {
	ctx, cancel := context.WithCancel(n.ctx)
	var running sync.WaitGroup
	running.Go(func() {
		if err := n.establish(ctx); err != nil {
			n.log.Warn("leadership ended before its barrier", "error", err)
			return
		}
		t := &term{number: n.raft.CurrentTerm(), ctx: ctx}
		n.lead.set(func() {
			if ctx.Err() == nil {
				n.lead.current = t
				n.lead.leader = Leader{ID: n.cfg.ID, Address: string(n.gate.LocalAddr())}
			}
		})
		n.log.Info("this server leads", "term", t.number)
		if n.cfg.Members != nil {
			n.cleanUp(ctx)
		}
		<-ctx.Done()
	})
	return func() {
		cancel()
		n.lead.set(func() { n.lead.current = nil })
		running.Wait()
	}
}

// establish waits until everything that earlier leaders committed is in the store, and names a new region.
func (n *Node) establish(ctx context.Context) error {
	for {
		err := n.await(ctx, n.raft.Barrier(enqueueTimeout))
		if err == nil {
			break
		}
		if ctx.Err() != nil || n.raft.State() != raft.Leader || errors.Is(err, raft.ErrRaftShutdown) {
			return err
		}
		pause.For(ctx, barrierPause) // leadership is being handed on, or the disk is slow
	}
	m := n.store.Snapshot().Meta()
	if m.Region != "" && n.cfg.Region != "" && m.Region != n.cfg.Region {
		n.log.Error("the state is of another region", "state", m.Region, "configured", n.cfg.Region)
	}
	if m.Generation != "" {
		return nil
	}
	raw, err := state.EncodeEnvelope(state.Envelope{Command: &state.Initialize{Region: n.cfg.Region, Generation: structs.NewID(),
		Level: state.FirstFeatureLevel}})
	if err != nil {
		return err
	}
	entry := append(state.AppendHeader(nil, structs.At(time.Now())), raw...)
	return n.await(ctx, n.raft.Apply(entry, enqueueTimeout))
}

// await waits for a future of raft. When ctx ends first, a goroutine of calls waits on.
func (n *Node) await(ctx context.Context, f raft.Future) error {
	done := make(chan error, 1)
	n.calls.Go(func() { done <- f.Error() })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// watchLeader follows who leads.
func (n *Node) watchLeader() {
	seen := make(chan raft.Observation, 64)
	observer := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	n.raft.RegisterObserver(observer)
	defer n.raft.DeregisterObserver(observer)
	for {
		n.lead.set(func() {
			address, id := n.raft.LeaderWithID()
			n.lead.leader = Leader{ID: string(id), Address: string(address)}
		})
		select {
		case <-seen:
		case <-n.ctx.Done():
			return
		}
	}
}

// Lead runs serve once for each term in which this server leads, after a barrier, so that the store has all that earlier
// leaders acknowledged. The term's context ends with it, and Lead waits for serve to return before the next term. A serve
// that returns early is run again after another barrier, at most once a second. Lead returns when ctx ends or the node is
// closed.
func (n *Node) Lead(ctx context.Context, serve func(term context.Context, number uint64)) {
	for ctx.Err() == nil && n.ctx.Err() == nil {
		t, _, changed := n.lead.get()
		if t == nil {
			select {
			case <-changed:
			case <-ctx.Done():
			case <-n.ctx.Done():
			}
			continue
		}
		inTerm, cancel := context.WithCancel(ctx)
		stop := context.AfterFunc(t.ctx, cancel)
		began := time.Now()
		serve(inTerm, t.number)
		if inTerm.Err() == nil {
			pause.For(inTerm, rerunPause-time.Since(began))
			if err := n.await(inTerm, n.raft.Barrier(enqueueTimeout)); err != nil {
				n.log.Debug("no barrier", "error", err)
			}
		}
		stop()
		cancel()
	}
}
