package operator

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/proffer/proffer/structs"
)

// body is an encoded answer. It is not changed once it is made.
type body struct {
	chunks [][]byte
	size   int
	of     version
}

// version names what an answer was made of.
type version struct {
	index  uint64 // of the state
	offers uint64 // a sum over the outstanding ones
	slacks uint64 // a sum over what is reserved on nodes and not used
}

// slackOf is what is reserved on one node and not used.
type slackOf struct {
	node structs.NodeID
	size structs.Slack
}

// shared makes one answer for all who ask for the same. One is made at a time, so that any number of tools costs one core at most; who
// asks while one is made gets the next, which is not older than the question. What was made last serves again for as long as nothing
// changed and the memory was not needed: it is held weakly.
type shared struct {
	turn chan struct{} // holds one while an answer is made
	hits atomic.Uint64 // answers that were not made anew for who asked

	mu   sync.Mutex
	next *making // nobody began it
	last weak.Pointer[body]
}

type making struct {
	done chan struct{}
	body *body
	err  error
}

func newShared() *shared { return &shared{turn: make(chan struct{}, 1)} }

// errAbandoned is the end of one that was never begun: who wanted to make it went.
var errAbandoned = errors.New("who asked went")

// get returns an answer that is not older than the call. build is given the one before, which it may return again, or nil.
func (s *shared) get(ctx context.Context, build func(context.Context, *body) (*body, error)) (*body, error) {
	for {
		s.mu.Lock()
		m, mine := s.next, false
		if m == nil {
			m, mine = &making{done: make(chan struct{})}, true
			s.next = m
		}
		s.mu.Unlock()
		if mine {
			s.run(ctx, m, build)
		}
		select {
		case <-m.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if mine || !errors.Is(m.err, errAbandoned) {
			if !mine {
				s.hits.Add(1)
			}
			return m.body, m.err
		}
	}
}

// run makes the answer when it is its turn.
func (s *shared) run(ctx context.Context, m *making, build func(context.Context, *body) (*body, error)) {
	defer close(m.done)
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		m.err = errAbandoned
	}
	s.mu.Lock()
	s.next = nil // who comes now gets another one
	last := s.last.Value()
	s.mu.Unlock()
	if m.err != nil {
		return
	}
	if m.body, m.err = build(ctx, last); m.err != nil {
		if ctx.Err() != nil {
			m.err = errAbandoned
		}
		return
	}
	if m.body == last {
		s.hits.Add(1)
	}
	s.mu.Lock()
	s.last = weak.Make(m.body)
	s.mu.Unlock()
}
