package rpc

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/proffer/proffer/structs"
)

// Server answers calls. Methods that are registered after Serve may be missed by early callers.
type Server struct {
	options  Options
	handlers sync.WaitGroup // running methods
	wg       sync.WaitGroup // connections

	lock    sync.RWMutex
	methods map[string]func(*Stream) error // guarded by lock

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]struct{}
	conns     map[*connection]struct{}
}

// NewServer makes a server without methods.
func NewServer(o Options) *Server {
	return &Server{
		options:   o.withDefaults(),
		methods:   map[string]func(*Stream) error{},
		listeners: map[net.Listener]struct{}{},
		conns:     map[*connection]struct{}{},
	}
}

// Handle registers a method that takes one request and gives one response. ctx ends when the caller gives up, at its
// deadline, and with the connection. An error reaches the caller with its kind. A nil response without an error answers
// the zero one.
func Handle[Req, Resp any](s *Server, method string, f func(ctx context.Context, req *Req) (*Resp, error)) {
	s.register(method, func(st *Stream) error {
		req := new(Req)
		if err := st.Request(req); err != nil {
			return err
		}
		st.opened = nil
		resp, err := f(st.ctx, req)
		if err != nil {
			return err
		}
		if resp == nil {
			resp = new(Resp)
		}
		return st.answer(resp)
	})
}

// answer sends the one response of a call and ends it, in one frame when it is small.
func (s *Stream) answer(resp any) error {
	b := buffers.Get().(*buffer)
	defer b.free()
	if err := b.message(resp, s.c.options.MaxMessage, s); err != nil {
		return err
	}
	_, err := s.send(b.raw, flagFin|flagDone)
	return err
}

// HandleStream registers a method that talks over a stream. The stream ends with f's return; an error reaches the caller
// after what was sent.
func (s *Server) HandleStream(method string, f func(ctx context.Context, st *Stream) error) {
	s.register(method, func(st *Stream) error { return f(st.ctx, st) })
}

func (s *Server) register(method string, f func(*Stream) error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if _, twice := s.methods[method]; twice || len(method) > maxMethod || method == "" {
		panic("rpc: method " + method + " cannot be registered")
	}
	s.methods[method] = f
}

// Serve accepts connections until l or s closes; it returns nil then. It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		} else if err != nil {
			return structs.Errorf(structs.Unavailable, "rpc listener", "cannot accept: %w", err)
		}
		s.ServeConn(conn)
	}
}

// ServeConn serves one connection, which becomes the server's. It returns at once.
func (s *Server) ServeConn(conn net.Conn) {
	c := newConnection(conn, s.options, func(st *Stream) {
		s.handlers.Go(func() { s.handle(st) })
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.wg.Go(func() {
		<-c.failed
		c.wait()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	})
	c.run()
}

// handle runs one stream from its head to its end.
func (s *Server) handle(st *Stream) {
	err := s.run(st)
	if err != nil {
		if _, ok := err.(*structs.Error); !ok && (err == io.EOF || errors.Is(err, context.Canceled)) {
			err = structs.Errorf(structs.Unknown, st.object(), "ended early: %w", err)
		}
		st.finish(structs.AsError(err))
		return
	}
	st.finish(nil)
}

func (s *Server) run(st *Stream) (err error) {
	method, left, err := st.head()
	if err != nil {
		return err
	}
	st.c.mu.Lock()
	st.method = method // the reader names it when the caller gives up
	st.c.mu.Unlock()
	s.lock.RLock()
	f := s.methods[method]
	s.lock.RUnlock()
	if f == nil {
		return structs.Errorf(structs.Invalid, "method "+method, "is not served here").
			Advise("the agents may be of different versions")
	}
	if left > 0 {
		ctx, cancel := context.WithTimeout(st.ctx, left)
		defer cancel()
		st.ctx = ctx
	}
	if st.opened, err = st.message(); err != nil {
		return err
	}
	defer func() {
		if fault := recover(); fault != nil {
			s.options.Logger.Error("a call failed badly", "method", method, "panic", fault, "stack", string(debug.Stack()))
			err = structs.Errorf(structs.Internal, "method "+method, "failed badly: %v", fault)
		}
	}()
	return f(st)
}

// Close accepts no more, cancels the running methods, waits for them, sends their last answers and ends every connection.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for l := range s.listeners {
		l.Close()
	}
	conns := make([]*connection, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.leave()
		c.mu.Lock()
		for _, st := range c.streams {
			st.stopLocked()
		}
		c.mu.Unlock()
	}
	s.handlers.Wait()
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			c.flush(time.Second)
			c.fail(errors.New("the agent stops"))
		})
	}
	wg.Wait()
	s.wg.Wait()
	return nil
}

// stopLocked cancels a running method: its context and its reads end, but it can still answer.
func (s *Stream) stopLocked() {
	err := structs.Errorf(structs.Unavailable, s.c.conn.LocalAddr().String(), "the agent stops")
	s.cancel(err)
	s.stopped = err
	s.cond.Broadcast()
	s.c.space.Broadcast()
}
