package consensus

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Bounds of the group commit.
const (
	// While an entry is in flight, what arrives waits to travel together; a further entry is sent beside it when this
	// share of EntryCommands or EntryBytes has gathered, or when the oldest command has waited pipelineDelay, which a fast
	// disk never reaches.
	pipelineShare = 4
	pipelineDelay = 3 * time.Millisecond
	// enqueueTimeout is how long raft may take to accept an entry.
	enqueueTimeout = 15 * time.Second
)

// proposal is a command on its way. Whoever moves its state from waiting decides what becomes of it.
type proposal struct {
	raw   []byte
	since time.Time
	state atomic.Int32 // waiting, taken or abandoned
	done  chan outcome // buffered
}

const (
	waiting int32 = iota
	taken
	abandoned
)

type outcome struct {
	result state.Result
	err    error
}

// queue holds proposals that wait for an entry.
type queue struct {
	cfg  *Config
	wake chan struct{} // a token when commit shall look

	mu       sync.Mutex
	waiting  []*proposal
	bytes    int
	inFlight int
	closed   bool
}

func (q *queue) init(cfg *Config) {
	q.cfg = cfg
	q.wake = make(chan struct{}, 1)
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) depth() (queued, inFlight int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting), q.inFlight
}

func (q *queue) add(p *proposal) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return &structs.Error{Kind: structs.Unavailable, Op: "propose", Why: "this server is stopping"}
	case len(p.raw) > q.cfg.EntryBytes:
		return structs.Errorf(structs.Invalid, "command", "%d bytes are more than an entry takes (%d)", len(p.raw), q.cfg.EntryBytes)
	case q.bytes+len(p.raw) > q.cfg.QueueBytes:
		return structs.Errorf(structs.Exhausted, "command queue", "%d commands (%d bytes) wait already", len(q.waiting), q.bytes).
			Advise("try again later")
	}
	q.bytes += len(p.raw)
	q.waiting = append(q.waiting, p)
	if len(q.waiting) == 1 || q.inFlight < q.cfg.InFlight {
		q.signal()
	}
	return nil
}

// take removes what shall travel in the next entry. It returns nothing, and how long to wait at most before asking
// again (0: until a signal), when now is not the time for one.
func (q *queue) take(now time.Time) (batch []*proposal, size int, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 || q.inFlight >= q.cfg.InFlight {
		return nil, 0, 0
	}
	if q.inFlight > 0 && len(q.waiting) < q.cfg.EntryCommands/pipelineShare && q.bytes < q.cfg.EntryBytes/pipelineShare {
		if age := now.Sub(q.waiting[0].since); age < pipelineDelay {
			return nil, 0, pipelineDelay - age
		}
	}
	n := 0
	for n < len(q.waiting) && n < q.cfg.EntryCommands && (n == 0 || size+len(q.waiting[n].raw) <= q.cfg.EntryBytes) {
		size += len(q.waiting[n].raw)
		n++
	}
	q.bytes -= size
	batch = make([]*proposal, 0, n)
	for i, p := range q.waiting[:n] {
		if p.state.CompareAndSwap(waiting, taken) {
			batch = append(batch, p)
		} else {
			size -= len(p.raw)
		}
		q.waiting[i] = nil
	}
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil
	}
	if len(batch) > 0 {
		q.inFlight++
	}
	return batch, size, 0
}

func (q *queue) landed() {
	q.mu.Lock()
	q.inFlight--
	q.mu.Unlock()
	q.signal()
}

// close refuses what comes and answers what waits.
func (q *queue) close() {
	q.mu.Lock()
	left := q.waiting
	q.waiting, q.bytes, q.closed = nil, 0, true
	q.mu.Unlock()
	for _, p := range left {
		if p.state.CompareAndSwap(waiting, taken) {
			p.done <- outcome{err: &structs.Error{Kind: structs.Unavailable, Op: "propose", Why: "this server is stopping"}}
		}
	}
}

// Propose commits cmd and returns its answer and the Raft index of the change. Errors of the command come as it gave
// them. Other kinds: Unavailable (it did not happen; *NotLeader inside when another server leads), Unknown (it may have
// happened: ask again with the same key), Exhausted (the queue is full), Invalid (it is too large).
func (n *Node) Propose(ctx context.Context, key, actor string, cmd state.Command) (answer any, index uint64, err error) {
	if n.raft.State() != raft.Leader || !n.able() {
		return nil, 0, n.notLeader("propose")
	}
	raw, err := state.EncodeEnvelope(state.Envelope{Key: key, Actor: actor, Command: cmd})
	if err != nil {
		return nil, 0, err
	}
	p := &proposal{raw: raw, since: time.Now(), done: make(chan outcome, 1)}
	if err := n.queue.add(p); err != nil {
		return nil, 0, err
	}
	select {
	case o := <-p.done:
		return o.result.Answer, o.result.Index, o.err
	case <-ctx.Done():
	}
	cause := context.Cause(ctx)
	if p.state.CompareAndSwap(waiting, abandoned) {
		return nil, 0, &structs.Error{Kind: structs.Unavailable, Op: "propose", Why: "it waited too long to be committed", Err: cause}
	}
	return nil, 0, &structs.Error{Kind: structs.Unknown, Op: "propose", Why: "it may have happened: the caller stopped waiting",
		Do: "try again with the same key, or look", Err: cause}
}

// commit sends entries until the node stops.
func (n *Node) commit() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		batch, size, wait := n.queue.take(time.Now())
		if len(batch) > 0 {
			n.send(batch, size)
			continue
		}
		if wait == 0 {
			wait = time.Hour
		}
		timer.Reset(wait)
		select {
		case <-n.queue.wake:
		case <-timer.C:
		case <-n.ctx.Done():
			n.queue.close()
			return
		}
	}
}

// send joins proposals into one entry and gives it to raft. Their answers are handed out by a goroutine of calls, of
// which there are at most InFlight.
func (n *Node) send(batch []*proposal, size int) {
	entry := state.AppendHeader(make([]byte, 0, size+16), structs.At(time.Now()))
	for _, p := range batch {
		entry = append(entry, p.raw...)
		p.raw = nil
	}
	begun := time.Now()
	future := n.raft.Apply(entry, enqueueTimeout)
	n.calls.Go(func() {
		err := future.Error()
		if err == nil {
			n.commits.Since(begun)
		}
		n.queue.landed()
		results, ok := future.Response().([]state.Result)
		if err == nil && (!ok || len(results) != len(batch)) {
			err = errors.New("the state machine gave no answers")
		}
		if err != nil {
			err = n.fault("propose", err)
			for _, p := range batch {
				p.done <- outcome{err: err}
			}
			return
		}
		for i, p := range batch {
			p.done <- outcome{result: results[i], err: results[i].Err}
		}
	})
}
