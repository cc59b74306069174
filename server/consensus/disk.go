package consensus

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Bounds of the cache of recent entries, from which followers and the state machine are served without the disk.
const (
	cacheEntries = 1024
	cacheBytes   = 8 << 20
)

// timedLogs is a log store that knows how long a write has been under way, and remembers the newest entries.
type timedLogs struct {
	raft.LogStore
	since   atomic.Int64 // unix nanoseconds at which the write under way began; 0: none
	stalled atomic.Bool  // set by watchDisk

	mu    sync.Mutex
	cache [cacheEntries]*raft.Log // by index modulo its length
	first uint64                  // oldest index that is remembered
	next  uint64                  // behind the newest one; first == next: nothing
	bytes int
}

func newTimedLogs(inner raft.LogStore) *timedLogs { return &timedLogs{LogStore: inner} }

// IsMonotonic passes on whether the store refuses gaps.
func (l *timedLogs) IsMonotonic() bool {
	m, ok := l.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// GetLog reads an entry.
func (l *timedLogs) GetLog(index uint64, into *raft.Log) error {
	l.mu.Lock()
	if index >= l.first && index < l.next {
		*into = *l.cache[index%cacheEntries]
		l.mu.Unlock()
		return nil
	}
	l.mu.Unlock()
	return l.LogStore.GetLog(index, into)
}

// StoreLog writes one entry.
func (l *timedLogs) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

// StoreLogs writes entries.
func (l *timedLogs) StoreLogs(logs []*raft.Log) error {
	l.since.Store(time.Now().UnixNano())
	err := l.LogStore.StoreLogs(logs)
	l.since.Store(0)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.forget()
		return err
	}
	for _, log := range logs {
		l.remember(log)
	}
	return nil
}

// DeleteRange removes entries.
func (l *timedLogs) DeleteRange(first, last uint64) error {
	l.mu.Lock()
	if first < l.next && last >= l.first {
		l.forget()
	}
	l.mu.Unlock()
	return l.LogStore.DeleteRange(first, last)
}

func (l *timedLogs) forget() {
	clear(l.cache[:])
	l.first, l.next, l.bytes = 0, 0, 0
}

func (l *timedLogs) remember(log *raft.Log) {
	if l.first == l.next || log.Index != l.next {
		l.forget()
		l.first, l.next = log.Index, log.Index
	}
	for l.first < l.next && (l.next-l.first == cacheEntries || l.bytes+len(log.Data) > cacheBytes) {
		slot := &l.cache[l.first%cacheEntries]
		l.bytes -= len((*slot).Data)
		*slot = nil
		l.first++
	}
	l.cache[log.Index%cacheEntries] = log
	l.bytes += len(log.Data)
	l.next++
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
