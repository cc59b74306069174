package operator

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/proffer/proffer/structs"
)

// body is an encoded answer, which may be sent while it is written: what is in it does not change.
type body struct {
	of version

	mu     sync.Mutex
	grown  sync.Cond // with mu
	chunks [][]byte
	whole  bool // nothing more comes
	cut    bool // likewise, and some is missing
}

func newBody() *body {
	b := &body{}
	b.grown.L = &b.mu
	return b
}

// add appends a chunk, which is the body's from then on.
func (b *body) add(chunk []byte) {
	b.mu.Lock()
	b.chunks = append(b.chunks, chunk)
	b.mu.Unlock()
	b.grown.Broadcast()
}

// end says that nothing comes any more but rest, and whether that is all that should have come. What is whole stays so.
func (b *body) end(all bool, rest ...[]byte) {
	b.mu.Lock()
	b.chunks = append(b.chunks, rest...)
	b.whole, b.cut = b.whole || all, !b.whole && !all
	b.mu.Unlock()
	b.grown.Broadcast()
}

// from returns the chunks from the nth, and whether more come: it waits until there is one or the other. errCut: it was cut off.
func (b *body) from(n int) (chunks [][]byte, more bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.chunks) == n && !b.whole && !b.cut {
		b.grown.Wait()
	}
	if b.cut {
		return nil, false, errCut
	}
	return b.chunks[n:len(b.chunks):len(b.chunks)], !b.whole, nil
}

func sizeOf(chunks [][]byte) (n int) {
	for _, c := range chunks {
		n += len(c)
	}
	return n
}

// errCut is the end of an answer that was sent in part when what wrote it failed.
var errCut = errors.New("the answer was not written to its end")

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
// asks while one is made gets the next, which is not older than the question. It is sent while it is made. What was made last serves again
// for as long as nothing changed and the memory was not needed: it is held weakly.
type shared struct {
	turn chan struct{} // holds one while an answer is made
	hits atomic.Uint64 // answers that were not made anew for who asked

	mu   sync.Mutex
	next *making // nobody began it
	last weak.Pointer[body]
}

type making struct {
	done chan struct{} // closed when the others are there
	body *body
	err  error
}

func newShared() *shared { return &shared{turn: make(chan struct{}, 1)} }

// errAbandoned is the end of one that was never begun: who wanted to make it went.
var errAbandoned = errors.New("who asked went")

// builder begins an answer: it is given the one before, which it may return again, or nil. fill writes the rest of it, which is sent
// meanwhile; nil: it is whole.
type builder func(ctx context.Context, last *body) (b *body, fill func(), err error)

// get has an answer sent that is not older than the call. send is called once at most, and has returned when get does.
func (s *shared) get(ctx context.Context, build builder, send func(*body) error) error {
	for {
		s.mu.Lock()
		m, mine := s.next, false
		if m == nil {
			m, mine = &making{done: make(chan struct{}), err: errAbandoned}, true
			s.next = m
		}
		s.mu.Unlock()
		if mine {
			return s.run(ctx, m, build, send)
		}
		select {
		case <-m.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		switch {
		case m.err == nil:
			s.hits.Add(1)
			return send(m.body)
		case !errors.Is(m.err, errAbandoned):
			return m.err
		}
	}
}

// run makes the answer when it is its turn, and has it sent.
func (s *shared) run(ctx context.Context, m *making, build builder, send func(*body) error) (err error) {
	fill, err := s.begin(ctx, m, build)
	switch {
	case err != nil:
		return err
	case fill == nil:
		return send(m.body)
	}
	sent, whole := make(chan error, 1), false
	go func() { sent <- send(m.body) }()
	defer func() {
		m.body.end(whole)
		<-s.turn
		err = <-sent
	}()
	fill()
	whole = true
	s.keep(m.body)
	return nil
}

// begin waits for its turn and tells all who wait what they get. The turn is over with it, unless something is to be filled in.
func (s *shared) begin(ctx context.Context, m *making, build builder) (fill func(), err error) {
	defer close(m.done)
	select {
	case s.turn <- struct{}{}:
		defer func() {
			if fill == nil {
				<-s.turn
			}
		}()
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.mu.Lock()
	s.next = nil // who comes now gets another one
	last := s.last.Value()
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	m.body, fill, err = build(ctx, last)
	if err == nil || ctx.Err() == nil { // else who asked went
		m.err = err
	}
	switch {
	case err != nil:
		return nil, err
	case m.body == last:
		s.hits.Add(1)
	case fill == nil:
		s.keep(m.body)
	}
	return fill, nil
}

// keep has the answer serve again for as long as the memory is not needed.
func (s *shared) keep(b *body) {
	s.mu.Lock()
	s.last = weak.Make(b)
	s.mu.Unlock()
}
