package rpc

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/proffer/proffer/structs"
)

// Pool keeps one connection per address and opens streams on it.
type Pool struct {
	dial    func(ctx context.Context, addr string) (net.Conn, error)
	options Options
	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	wg      sync.WaitGroup

	mu    sync.Mutex
	peers map[string]*peer
}

// peer is the connection to an address, or the attempt to make one.
type peer struct {
	ready chan struct{} // closed when dialled
	slots chan struct{} // one per stream that may be open
	c     *connection   // after ready, unless err
	err   error         // after ready
}

// NewPool makes a pool that dials with dial (cluster.Port.DialRPC).
func NewPool(dial func(ctx context.Context, addr string) (net.Conn, error), o Options) *Pool {
	p := &Pool{dial: dial, options: o.withDefaults(), peers: map[string]*peer{}}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

// Call sends req and reads the answer into resp; nil for either is allowed. The error is an *structs.Error: that of the
// method, Unavailable when the request was not fully written (it did not happen), Unknown when it was and no answer came.
func (p *Pool) Call(ctx context.Context, addr, method string, req, resp any) error {
	s, release, err := p.begin(ctx, nil, addr, method, req, flagFin)
	if err != nil {
		return err
	}
	defer release()
	raw, err := s.message()
	if err != nil {
		if err == io.EOF {
			err = structs.Errorf(structs.Internal, s.object(), "no answer: it is a stream")
		}
		s.Close()
		return structs.AsError(err)
	}
	s.Close() // the answer is here; most likely the end as well
	if resp == nil {
		return nil
	}
	return s.decode(raw, resp)
}

// Stream opens a stream to a method, with req (may be nil) as its request. It lives until the method returns, ctx ends, or
// Close; one of these must come.
func (p *Pool) Stream(ctx context.Context, addr, method string, req any) (*Stream, error) {
	s, release, err := p.begin(ctx, ctx, addr, method, req, 0)
	if err != nil {
		return nil, err
	}
	s.whenEnded(release)
	return s, nil
}

// begin opens a stream and sends the request. It tries a second time when the connection turns out to be lost before the
// request was written. The stream has a context under parent, unless that is nil. release must be called when it is over;
// it does not block.
func (p *Pool) begin(ctx, parent context.Context, addr, method string, req any, last byte) (*Stream, func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, structs.Errorf(structs.Unavailable, method+" at "+addr, "not sent: %w", err)
	}
	for try := 0; ; try++ {
		peer, err := p.connect(ctx, addr)
		if err != nil {
			return nil, nil, err
		}
		select {
		case peer.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, nil, structs.Errorf(structs.Unavailable, method+" at "+addr,
				"%d calls run on the connection already: %w", cap(peer.slots), ctx.Err())
		}
		s, err := peer.c.open(parent, method)
		if err == nil {
			unhook := context.AfterFunc(ctx, func() { s.abort(context.Cause(ctx)) })
			release := func() {
				unhook()
				<-peer.slots
			}
			if err = s.request(ctx, req, last); err == nil {
				return s, release, nil
			}
			s.Close()
			unhook()
		}
		<-peer.slots
		if try > 0 || peer.c.usable() || ctx.Err() != nil || structs.KindOf(err) != structs.Unavailable {
			return nil, nil, structs.AsError(err)
		}
	}
}

// request sends the head and the request.
func (s *Stream) request(ctx context.Context, req any, last byte) error {
	var left time.Duration
	if by, ok := ctx.Deadline(); ok {
		left = max(time.Until(by), 1)
	}
	b := buffers.Get().(*buffer)
	defer b.free()
	b.raw = appendHead(b.raw, s.method, left)
	if err := b.message(req, s.c.options.MaxMessage, s); err != nil {
		return err
	}
	if _, err := s.send(b.raw, last); err != nil {
		return err
	}
	return nil
}

// connect returns a working connection to addr, sharing the attempt to make one with other callers.
func (p *Pool) connect(ctx context.Context, addr string) (*peer, error) {
	p.mu.Lock()
	if p.ctx.Err() != nil {
		p.mu.Unlock()
		return nil, structs.Errorf(structs.Unavailable, addr, "the agent stops: %w", net.ErrClosed)
	}
	at := p.peers[addr]
	if at != nil {
		select {
		case <-at.ready:
			if at.c == nil || !at.c.usable() {
				at = nil // one that goes away serves its streams to the end
			}
		default:
		}
	}
	if at == nil {
		at = &peer{ready: make(chan struct{}), slots: make(chan struct{}, p.options.MaxStreams)}
		p.peers[addr] = at
		p.wg.Go(func() { p.keep(at, addr) })
	}
	p.mu.Unlock()
	select {
	case <-at.ready:
	case <-ctx.Done():
		return nil, structs.Errorf(structs.Unavailable, addr, "not connected in time: %w", ctx.Err())
	}
	if at.err != nil {
		return nil, at.err
	}
	return at, nil
}

const dialTime = 10 * time.Second

// keep dials and, when that works, stays until the connection is over.
func (p *Pool) keep(at *peer, addr string) {
	ctx, cancel := context.WithTimeout(p.ctx, dialTime)
	conn, err := p.dial(ctx, addr)
	cancel()
	if err != nil {
		var known *structs.Error
		if !errors.As(err, &known) {
			known = structs.Errorf(structs.Unavailable, addr, "cannot connect: %w", err)
		}
		at.err = known
		p.forget(at, addr)
		close(at.ready)
		return
	}
	at.c = newConnection(conn, p.options, nil)
	at.c.run()
	close(at.ready)
	select {
	case <-at.c.failed:
	case <-p.ctx.Done():
		at.c.fail(errors.New("the agent stops"))
	}
	at.c.wait()
	p.forget(at, addr)
}

func (p *Pool) forget(at *peer, addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.peers[addr] == at {
		delete(p.peers, addr)
	}
}

// Close ends every connection and waits for the pool's goroutines.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.stop()
	p.mu.Unlock()
	p.wg.Wait()
	return nil
}
