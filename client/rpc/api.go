// Package rpc carries calls and streams between agents: many streams over one cluster connection, msgpack inside. See
// DESIGN.md.
package rpc

import (
	"context"
	"io"
	"log/slog"
	"net"
	"time"
)

// Options are the bounds of a server or pool; zero fields take the default.
type Options struct {
	MaxMessage int           // bytes of one message; 4 MiB
	MaxStreams int           // open at once on one connection; 4,096
	IdleClose  time.Duration // a pool closes a connection without a stream after this; 5 minutes
	KeepAlive  time.Duration // between probes of a silent connection; 10 s; cut off when one is not answered within it
	Logger     *slog.Logger
}

// Server answers calls. Register the methods, then Serve.
type Server struct{}

func NewServer(o Options) *Server { panic("soon") }

// Handle registers a method that takes one request and gives one response. ctx ends when the caller's does, at its deadline,
// or when the connection is lost. An error reaches the caller with its kind.
func Handle[Req, Resp any](s *Server, method string, f func(ctx context.Context, req *Req) (*Resp, error)) {
}

// HandleStream registers a method that talks over a stream. The stream ends with f's return; an error reaches the caller.
func (s *Server) HandleStream(method string, f func(ctx context.Context, st *Stream) error) {}

// Serve accepts connections until l or s closes. It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error { panic("soon") }

// Close ends every connection, cancels the running handlers and waits for them.
func (s *Server) Close() error { panic("soon") }

// Pool keeps one connection per address and opens streams on it.
type Pool struct{}

// NewPool makes a pool that dials with dial (cluster.Port.DialRPC).
func NewPool(dial func(ctx context.Context, addr string) (net.Conn, error), o Options) *Pool {
	panic("soon")
}

// Call sends req and reads the answer into resp. The error is an *structs.Error: that of the handler, Unavailable when the
// request was not fully written, Unknown when it was and no answer came.
func (p *Pool) Call(ctx context.Context, addr, method string, req, resp any) error { panic("soon") }

// Stream opens a stream to a method and sends req (may be nil) as its request. It lives until both ends are done, ctx ends
// or Close.
func (p *Pool) Stream(ctx context.Context, addr, method string, req any) (*Stream, error) {
	panic("soon")
}

// Close ends every connection and waits for the pool's goroutines.
func (p *Pool) Close() error { panic("soon") }

// Stream is one conversation. Either Send and Recv, or Read and Write are used in a direction: messages and raw bytes do not
// mix. One goroutine may send while another receives.
type Stream struct{}

var _ io.ReadWriteCloser = (*Stream)(nil)

func (s *Stream) Context() context.Context           { panic("soon") } // ends with the stream
func (s *Stream) Remote() string                     { panic("soon") } // address of the other end, for messages
func (s *Stream) Request(into any) error             { panic("soon") } // server side: the request that opened it
func (s *Stream) SetLimit(bytes int)                 { panic("soon") } // bound of one received message
func (s *Stream) Send(v any) error                   { panic("soon") }
func (s *Stream) Recv(into any) error                { panic("soon") } // io.EOF when the other end is done without error
func (s *Stream) Read(b []byte) (int, error)         { panic("soon") }
func (s *Stream) Write(b []byte) (int, error)        { panic("soon") }
func (s *Stream) CloseWrite() error                  { panic("soon") } // nothing more is sent; the other end reads io.EOF
func (s *Stream) Close() error                       { panic("soon") } // gives up what is left; the other end is cancelled
func (s *Stream) SetDeadline(t time.Time) error      { panic("soon") }
func (s *Stream) SetReadDeadline(t time.Time) error  { panic("soon") }
func (s *Stream) SetWriteDeadline(t time.Time) error { panic("soon") }
