package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/client/cluster"
	"github.com/proffer/proffer/structs"
)

type ping struct {
	Text string
	N    int
	Raw  []byte
}

// region is one server and one pool on a mesh.
type region struct {
	mesh   *cluster.Mesh
	server *Server
	pool   *Pool
	addr   string
	l      net.Listener
}

func newRegion(t *testing.T, o Options) *region {
	t.Helper()
	m := cluster.NewMesh()
	l, err := m.Host("10.0.0.1").Listen("10.0.0.1:5052")
	if err != nil {
		t.Fatal(err)
	}
	r := &region{mesh: m, server: NewServer(o), addr: "10.0.0.1:5052", l: l}
	r.pool = NewPool(m.Host("10.0.0.2").Dial, o)
	return r
}

func (r *region) serve(t *testing.T) {
	done := make(chan error, 1)
	go func() { done <- r.server.Serve(r.l) }()
	t.Cleanup(func() {
		r.pool.Close()
		r.server.Close()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

func echo(s *Server) {
	Handle(s, "Echo", func(_ context.Context, req *ping) (*ping, error) { return req, nil })
}

func bubble(t *testing.T, o Options, methods func(*Server), f func(t *testing.T, r *region)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, o)
		methods(r.server)
		r.serve(t)
		f(t, r)
	})
}

func TestACallAnswers(t *testing.T) {
	bubble(t, Options{}, echo, func(t *testing.T, r *region) {
		for _, size := range []int{0, 1, maxFrame - 100, maxFrame, 3 * window, 4<<20 - 1000} {
			in, out := ping{Text: "hello", N: size, Raw: bytes.Repeat([]byte{7}, size)}, ping{}
			if err := r.pool.Call(t.Context(), r.addr, "Echo", &in, &out); err != nil {
				t.Fatalf("%d: %v", size, err)
			}
			if out.Text != in.Text || out.N != in.N || !bytes.Equal(out.Raw, in.Raw) {
				t.Fatalf("%d bytes: answer differs", size)
			}
		}
		if err := r.pool.Call(t.Context(), r.addr, "Echo", nil, nil); err != nil {
			t.Fatalf("nothing asked, nothing wanted: %v", err)
		}
	})
}

func TestAThousandCallsAtOnce(t *testing.T) {
	bubble(t, Options{MaxStreams: 200}, echo, func(t *testing.T, r *region) {
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				in, out := ping{N: i, Raw: make([]byte, i*10)}, ping{}
				if err := r.pool.Call(t.Context(), r.addr, "Echo", &in, &out); err != nil || out.N != i || len(out.Raw) != i*10 {
					t.Errorf("call %d: %d, %v", i, out.N, err)
				}
			})
		}
		wg.Wait()
	})
}

func TestErrorsKeepTheirKind(t *testing.T) {
	kinds := []structs.Kind{structs.NotFound, structs.Invalid, structs.Conflict, structs.Forbidden, structs.Unavailable,
		structs.Unknown, structs.Exhausted, structs.Internal}
	methods := func(s *Server) {
		Handle(s, "Fail", func(_ context.Context, req *ping) (*ping, error) {
			return nil, &structs.Error{Kind: kinds[req.N], Op: "op", Object: "object", Why: "why", Do: "do"}
		})
		Handle(s, "Plain", func(context.Context, *ping) (*ping, error) { return nil, errors.New("plain") })
		Handle(s, "Panic", func(context.Context, *ping) (*ping, error) { panic("oh") })
		Handle(s, "Long", func(context.Context, *ping) (*ping, error) {
			return nil, errors.New(strings.Repeat("x", 1<<20))
		})
		Handle(s, "Nil", func(context.Context, *ping) (*ping, error) { return nil, nil })
	}
	bubble(t, Options{}, methods, func(t *testing.T, r *region) {
		for i, kind := range kinds {
			err := r.pool.Call(t.Context(), r.addr, "Fail", &ping{N: i}, nil)
			var e *structs.Error
			if !errors.As(err, &e) || e.Kind != kind || e.Op != "op" || e.Object != "object" || e.Why != "why" || e.Do != "do" {
				t.Errorf("%s arrived as %#v", kind, err)
			}
		}
		for method, kind := range map[string]structs.Kind{"Plain": structs.Internal, "Panic": structs.Internal,
			"Missing": structs.Invalid, "Long": structs.Internal, "Nil": ""} {
			if err := r.pool.Call(t.Context(), r.addr, method, &ping{}, &ping{}); structs.KindOf(err) != kind {
				t.Errorf("%s: %v", method, err)
			}
		}
	})
}

func TestMessagesAreBounded(t *testing.T) {
	methods := func(s *Server) {
		echo(s)
		Handle(s, "Big", func(_ context.Context, req *ping) (*ping, error) {
			return &ping{Raw: make([]byte, req.N)}, nil
		})
	}
	bubble(t, Options{MaxMessage: 10_000}, methods, func(t *testing.T, r *region) {
		err := r.pool.Call(t.Context(), r.addr, "Echo", &ping{Raw: make([]byte, 10_001)}, nil)
		if structs.KindOf(err) != structs.Exhausted {
			t.Errorf("too large a request: %v", err)
		}
		err = r.pool.Call(t.Context(), r.addr, "Big", &ping{N: 10_001}, nil)
		if structs.KindOf(err) != structs.Exhausted {
			t.Errorf("too large a response: %v", err)
		}
		liar := NewPool(r.mesh.Host("10.0.0.3").Dial, Options{MaxMessage: 1 << 20})
		defer liar.Close()
		err = liar.Call(t.Context(), r.addr, "Echo", &ping{Raw: make([]byte, 100_000)}, nil)
		if structs.KindOf(err) != structs.Exhausted {
			t.Errorf("too large a request from one who does not care: %v", err)
		}
		if err := r.pool.Call(t.Context(), r.addr, "Echo", &ping{Raw: make([]byte, 9_000)}, nil); err != nil {
			t.Errorf("the connection did not survive: %v", err)
		}
	})
}

func TestCancellationTravels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started, ended := make(chan struct{}), make(chan error)
		r := newRegion(t, Options{})
		Handle(r.server, "Wait", func(ctx context.Context, _ *ping) (*ping, error) {
			started <- struct{}{}
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		})
		r.serve(t)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-started; cancel() }()
		err := r.pool.Call(ctx, r.addr, "Wait", &ping{}, nil)
		if structs.KindOf(err) != structs.Unknown || !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		if err := <-ended; err == nil {
			t.Error("the method was not cancelled")
		}

		ctx, cancel = context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begin := time.Now()
		go func() { <-started }()
		err = r.pool.Call(ctx, r.addr, "Wait", &ping{}, nil)
		if structs.KindOf(err) != structs.Unknown || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("timed out: %v", err)
		}
		<-ended
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("took %v of the 3 s", took)
		}

		cancel()
		if err := r.pool.Call(ctx, r.addr, "Wait", &ping{}, nil); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("never sent: %v", err)
		}
	})
}

// TestCancelledWhileItBegins: the caller gives up before the method is looked up. The race detector judges.
func TestCancelledWhileItBegins(t *testing.T) {
	r := newRegion(t, Options{})
	echo(r.server)
	r.serve(t)
	if err := r.pool.Call(t.Context(), r.addr, "Echo", &ping{}, &ping{}); err != nil {
		t.Fatal(err)
	}
	r.server.lock.Lock() // methods stop where theirs is looked up
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := r.pool.Stream(ctx, r.addr, "Echo", &ping{}); err != nil {
		t.Fatal(err)
	}
	streams := func() (n int) {
		r.server.mu.Lock()
		defer r.server.mu.Unlock()
		for c := range r.server.conns {
			c.mu.Lock()
			n += len(c.streams)
			c.mu.Unlock()
		}
		return n
	}
	for streams() == 0 {
		runtime.Gosched()
	}
	cancel()
	for streams() > 0 {
		runtime.Gosched()
	}
	r.server.lock.Unlock()
	if err := r.pool.Call(t.Context(), r.addr, "Echo", &ping{}, &ping{}); err != nil {
		t.Fatal(err)
	}
}

// TestTheDeadlineTravels: the method ends at the caller's deadline though it hears no more from the caller.
func TestTheDeadlineTravels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := make(chan time.Duration, 1)
		r := newRegion(t, Options{KeepAlive: time.Hour})
		Handle(r.server, "Wait", func(ctx context.Context, _ *ping) (*ping, error) {
			begin := time.Now()
			<-ctx.Done()
			left <- time.Since(begin)
			return nil, ctx.Err()
		})
		r.serve(t)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		go func() {
			synctest.Wait()
			r.mesh.Cut([]string{"10.0.0.1"}, []string{"10.0.0.2"})
		}()
		r.pool.Call(ctx, r.addr, "Wait", &ping{}, nil)
		if got := <-left; got != 5*time.Second {
			t.Errorf("the method had %v", got)
		}
		r.mesh.Heal()
	})
}

func TestLostConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := make(chan struct{}, 10)
		r := newRegion(t, Options{})
		echo(r.server)
		Handle(r.server, "Wait", func(ctx context.Context, _ *ping) (*ping, error) {
			started <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		})
		r.serve(t)

		if err := r.pool.Call(t.Context(), "10.0.0.9:1", "Echo", &ping{}, nil); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("nobody there: %v", err)
		}

		// The server's process dies during a call: it may have happened.
		go func() { <-started; r.mesh.Crash("10.0.0.1") }()
		if err := r.pool.Call(t.Context(), r.addr, "Wait", &ping{}, nil); structs.KindOf(err) != structs.Unknown {
			t.Errorf("crash: %v", err)
		}
		r.l, _ = r.mesh.Host("10.0.0.1").Listen(r.addr)
		go r.server.Serve(r.l)
		synctest.Wait()
		if err := r.pool.Call(t.Context(), r.addr, "Echo", &ping{}, nil); err != nil {
			t.Errorf("after the restart: %v", err)
		}

		// The network goes: nobody says so, keep-alive finds out. A request that is stuck in our buffers did not happen.
		begin := time.Now()
		go func() { <-started; r.mesh.PowerOff("10.0.0.1") }()
		if err := r.pool.Call(t.Context(), r.addr, "Wait", &ping{}, nil); structs.KindOf(err) != structs.Unknown {
			t.Errorf("cut: %v", err)
		}
		if took := time.Since(begin); took > 40*time.Second {
			t.Errorf("noticed after %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := r.pool.Call(ctx, r.addr, "Echo", &ping{}, nil); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("during the cut: %v", err)
		}
		r.mesh.Heal()
		if err := r.pool.Call(t.Context(), r.addr, "Echo", &ping{}, nil); err != nil {
			t.Errorf("after the cut: %v", err)
		}
	})
}

// TestARequestThatWasNotWritten: the peer takes no bytes, so the end of a large request stays here.
func TestARequestThatWasNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		p := NewPool(func(context.Context, string) (net.Conn, error) { return near, nil }, Options{})
		defer p.Close()
		go func() {
			io.CopyN(io.Discard, far, 1000)
			far.Close()
		}()
		err := p.Call(t.Context(), "far", "Echo", &ping{Raw: make([]byte, 100_000)}, nil)
		if structs.KindOf(err) != structs.Unavailable {
			t.Errorf("got %v", err)
		}
	})
}

func TestStreams(t *testing.T) {
	methods := func(s *Server) {
		s.HandleStream("Sum", func(_ context.Context, st *Stream) error {
			var start ping
			if err := st.Request(&start); err != nil {
				return err
			}
			for {
				var in ping
				err := st.Recv(&in)
				if err == io.EOF {
					return st.Send(&start)
				} else if err != nil {
					return err
				}
				start.N += in.N
			}
		})
		s.HandleStream("Count", func(ctx context.Context, st *Stream) error {
			var req ping
			st.Request(&req)
			for i := range req.N {
				if err := st.Send(&ping{N: i, Raw: make([]byte, 1000)}); err != nil {
					return err
				}
			}
			return structs.Errorf(structs.Conflict, "count", "that was all")
		})
		s.HandleStream("Raw", func(ctx context.Context, st *Stream) error {
			_, err := io.Copy(st, st)
			return err
		})
	}
	bubble(t, Options{}, methods, func(t *testing.T, r *region) {
		st, err := r.pool.Stream(t.Context(), r.addr, "Sum", &ping{N: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			if err := st.Send(&ping{N: i}); err != nil {
				t.Fatal(err)
			}
		}
		st.CloseWrite()
		if err := st.Send(&ping{}); structs.KindOf(err) != structs.Invalid {
			t.Errorf("send after CloseWrite: %v", err)
		}
		var sum ping
		if err := st.Recv(&sum); err != nil || sum.N != 5950 {
			t.Errorf("sum %d, %v", sum.N, err)
		}
		if err := st.Recv(&sum); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
		st.Close()

		st, _ = r.pool.Stream(t.Context(), r.addr, "Count", &ping{N: 2000})
		for i := range 2000 {
			var got ping
			if err := st.Recv(&got); err != nil || got.N != i {
				t.Fatalf("message %d: %d, %v", i, got.N, err)
			}
		}
		if err := st.Recv(&sum); structs.KindOf(err) != structs.Conflict {
			t.Errorf("the error after the messages: %v", err)
		}
		<-st.Context().Done()

		st, _ = r.pool.Stream(t.Context(), r.addr, "Raw", nil)
		var wg sync.WaitGroup
		sent := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
		wg.Go(func() {
			st.Write(sent)
			st.CloseWrite()
		})
		got, err := io.ReadAll(st)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("raw: %d bytes, %v", len(got), err)
		}
		wg.Wait()
		st.Close()
	})
}

// TestASlowReader is not allowed to make the sender's memory grow, nor to hold up others.
func TestASlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int64
		r := newRegion(t, Options{})
		echo(r.server)
		r.server.HandleStream("Flood", func(ctx context.Context, st *Stream) error {
			for {
				n, err := st.Write(make([]byte, 1000))
				if err != nil {
					return err
				}
				sent.Add(int64(n))
			}
		})
		r.serve(t)
		st, _ := r.pool.Stream(t.Context(), r.addr, "Flood", nil)
		synctest.Wait()
		if n := sent.Load(); n > window || n < window/2 {
			t.Errorf("%d bytes were sent to a reader that does not read", n)
		}
		if err := r.pool.Call(t.Context(), r.addr, "Echo", &ping{}, nil); err != nil {
			t.Errorf("beside it: %v", err)
		}
		io.CopyN(io.Discard, st, 10*window)
		if n := sent.Load(); n < 9*window {
			t.Errorf("only %d bytes went through", n)
		}
		st.Close()
	})
}

func TestStreamDeadline(t *testing.T) {
	methods := func(s *Server) {
		s.HandleStream("Silent", func(ctx context.Context, st *Stream) error { <-ctx.Done(); return nil })
	}
	bubble(t, Options{}, methods, func(t *testing.T, r *region) {
		st, _ := r.pool.Stream(t.Context(), r.addr, "Silent", nil)
		st.SetReadDeadline(time.Now().Add(time.Second))
		var timeout interface{ Timeout() bool }
		if _, err := st.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("read: %v", err)
		}
		st.SetReadDeadline(time.Time{})
		st.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := st.Write(make([]byte, 2*window)); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("write: %v", err)
		}
		st.Close()
	})
}

func TestTheServerCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := make(chan struct{})
		r := newRegion(t, Options{})
		Handle(r.server, "Wait", func(ctx context.Context, _ *ping) (*ping, error) {
			started <- struct{}{}
			<-ctx.Done()
			return nil, structs.Errorf(structs.Conflict, "wait", "interrupted")
		})
		r.server.HandleStream("Read", func(ctx context.Context, st *Stream) error {
			started <- struct{}{}
			return st.Recv(&ping{})
		})
		r.serve(t)
		st, _ := r.pool.Stream(t.Context(), r.addr, "Read", nil)
		<-started
		go func() { <-started; r.server.Close() }()
		if err := r.pool.Call(t.Context(), r.addr, "Wait", &ping{}, nil); structs.KindOf(err) != structs.Conflict {
			t.Errorf("the last answer was lost: %v", err)
		}
		if err := st.Recv(&ping{}); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("stream: %v", err)
		}
		if err := r.pool.Call(t.Context(), r.addr, "Wait", &ping{}, nil); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("closed: %v", err)
		}
	})
}

func TestTooManyStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, Options{MaxStreams: 3})
		r.server.HandleStream("Silent", func(ctx context.Context, st *Stream) error { <-ctx.Done(); return nil })
		echo(r.server)
		r.serve(t)
		for range 3 {
			st, err := r.pool.Stream(t.Context(), r.addr, "Silent", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.pool.Call(ctx, r.addr, "Echo", &ping{}, nil); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("the pool: %v", err)
		}
		greedy := NewPool(r.mesh.Host("10.0.0.3").Dial, Options{MaxStreams: 10})
		defer greedy.Close()
		for range 3 {
			st, _ := greedy.Stream(t.Context(), r.addr, "Silent", nil)
			defer st.Close()
		}
		synctest.Wait()
		if err := greedy.Call(t.Context(), r.addr, "Echo", &ping{}, nil); structs.KindOf(err) != structs.Exhausted {
			t.Errorf("the server: %v", err)
		}
	})
}

func TestIdleConnectionsClose(t *testing.T) {
	bubble(t, Options{IdleClose: time.Minute}, echo, func(t *testing.T, r *region) {
		r.pool.Call(t.Context(), r.addr, "Echo", &ping{}, nil)
		time.Sleep(30 * time.Second)
		r.pool.mu.Lock()
		n := len(r.pool.peers)
		r.pool.mu.Unlock()
		if n != 1 {
			t.Errorf("%d connections", n)
		}
		time.Sleep(2 * time.Minute)
		r.pool.mu.Lock()
		n = len(r.pool.peers)
		r.pool.mu.Unlock()
		if n != 0 {
			t.Errorf("%d connections are still open", n)
		}
		if err := r.pool.Call(t.Context(), r.addr, "Echo", &ping{}, nil); err != nil {
			t.Errorf("and again: %v", err)
		}
	})
}

// TestGarbage: what is not the protocol ends the connection and nothing else.
func TestGarbage(t *testing.T) {
	bubble(t, Options{}, echo, func(t *testing.T, r *region) {
		for _, raw := range []string{
			"GET / HTTP/1.1\r\n\r\n",
			strings.Repeat("\xff", 100),
			string(appendHeader(nil, flagOpen, 1, 1<<24-1)),
			string(append(appendHeader(nil, flagOpen, 1, 2), 200, 1)) + string(appendHeader(nil, flagOpen, 1, 0)),
			string(append(appendHeader(nil, flagOpen|flagFin, 1, 5), 4, 'E', 'c', 'h', 'o')),
			string(appendHeader(nil, flagWindow, 7, 1<<24-1)),
		} {
			c, err := r.mesh.Host("10.0.0.3").Dial(t.Context(), r.addr)
			if err != nil {
				t.Fatal(err)
			}
			c.Write([]byte(raw))
			c.SetReadDeadline(time.Now().Add(time.Minute))
			io.Copy(io.Discard, c)
			c.Close()
		}
		if err := r.pool.Call(t.Context(), r.addr, "Echo", &ping{}, nil); err != nil {
			t.Error(err)
		}
	})
}

// TestLoopback is the smoke test over the real network, handshake included.
func TestLoopback(t *testing.T) {
	keys, err := cluster.NewKeyring(cluster.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	port := func() *cluster.Port {
		p, err := cluster.Listen(cluster.Config{Bind: "127.0.0.1:0", Region: "test", Keys: keys})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return p
	}
	a, b := port(), port()
	s := NewServer(Options{})
	echo(s)
	go s.Serve(a.Listener(cluster.RPC))
	defer s.Close()
	p := NewPool(b.DialRPC, Options{})
	defer p.Close()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			var out ping
			in := ping{Text: fmt.Sprint(i), Raw: make([]byte, 10_000)}
			if err := p.Call(t.Context(), a.Addr(), "Echo", &in, &out); err != nil || out.Text != in.Text {
				t.Errorf("%d: %q, %v", i, out.Text, err)
			}
		})
	}
	wg.Wait()
}

func BenchmarkCall(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := NewServer(Options{})
	echo(s)
	go s.Serve(l)
	defer s.Close()
	p := NewPool(func(ctx context.Context, addr string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}, Options{})
	defer p.Close()
	in := ping{Text: "hello", Raw: make([]byte, 200)}
	b.ReportAllocs()
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			var out ping
			if err := p.Call(b.Context(), l.Addr().String(), "Echo", &in, &out); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("many", func(b *testing.B) {
		b.SetParallelism(64)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				var out ping
				if err := p.Call(b.Context(), l.Addr().String(), "Echo", &in, &out); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}
