package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	nethttp "net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/structs"
)

// An agent that is no server passes calls of the region on to one, through the cluster port: HTTP inside an RPC stream.
// The agent that took the request has checked who asks; the cluster connection has proved that it is one of us.

const tunnelMethod = "Agent.HTTP"

// actorHeader carries who asked through the tunnel. The service takes it from there only.
const actorHeader = "X-Proffer-Actor"

// forward returns the handler that passes requests on.
func (a *Agent) forward() nethttp.Handler {
	transport := &nethttp.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var last error = structs.Errorf(structs.Unavailable, "region "+a.config.Region, "no server is known")
			for _, addr := range a.gossip.Servers() {
				conn, err := a.dialTunnel(ctx, addr)
				if err == nil {
					return conn, nil
				}
				last = err
			}
			return nil, &noServer{last}
		},
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
	}
	proxy := &httputil.ReverseProxy{
		Transport:     newUpgrader(transport),
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "proffer"
			r.Out.Header.Set(actorHeader, a.service.Actor(r.In))
			r.Out.Header.Del(principalHeader)
		},
		ErrorHandler: func(w nethttp.ResponseWriter, r *nethttp.Request, err error) {
			sent, _ := r.Context().Value(sentKey{}).(*atomic.Bool)
			if no := (*noServer)(nil); errors.As(err, &no) && !sent.Load() {
				a.service.Refuse(w, r, structs.Errorf(structs.Unavailable, "region "+a.config.Region, "no server answers: %w", no.why).
					Advise("check with 'proffer server members' which servers are alive"))
				return
			}
			a.service.Refuse(w, r, structs.Errorf(structs.Unknown, "region "+a.config.Region, "the server broke off: %w", err).
				Advise("what was asked for may have happened: look before you ask again"))
		},
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	return nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		// The transport tries again by itself, and then only its last try is seen in the error.
		sent := new(atomic.Bool)
		ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(ctx, sentKey{}, sent)))
	})
}

// dialTunnel begins a stream to a server, which outlives ctx.
func (a *Agent) dialTunnel(ctx context.Context, addr string) (net.Conn, error) {
	life, end := context.WithCancel(a.ctx)
	stop := context.AfterFunc(ctx, end)
	stream, err := a.pool.Stream(life, addr, tunnelMethod, nil)
	if err != nil {
		end()
		return nil, err
	}
	stop()
	return &streamConn{stream, end}, nil
}

// upgrader gives requests for an upgrade, which exec is, connections of their own: on one that was used before, a transport
// sends a GET again when the connection breaks.
type upgrader struct{ usual, fresh *nethttp.Transport }

func newUpgrader(usual *nethttp.Transport) *upgrader {
	fresh := usual.Clone()
	fresh.DisableKeepAlives = true
	return &upgrader{usual, fresh}
}

func (u *upgrader) RoundTrip(r *nethttp.Request) (*nethttp.Response, error) {
	if r.Header.Get("Upgrade") != "" {
		return u.fresh.RoundTrip(r)
	}
	return u.usual.RoundTrip(r)
}

// sentKey is where the context of a forwarded request says whether some of it may have left this machine.
type sentKey struct{}

// noServer says that no server was there to take a request.
type noServer struct{ why error }

func (n *noServer) Error() string { return n.why.Error() }

// serveTunnel answers what other agents pass on.
func (a *Agent) serveTunnel() {
	server := &nethttp.Server{
		Handler: nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
			principal, err := url.QueryUnescape(r.Header.Get(principalHeader))
			if err != nil {
				nethttp.Error(w, "the principal cannot be read", nethttp.StatusBadRequest)
				return
			}
			a.service.ServeTrusted(w, r, r.Header.Get(actorHeader), principal)
		}),
		ReadHeaderTimeout: 30 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return a.ctx },
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	a.work.Go(func() { server.Serve(a.tunnel) })
	a.began(func(context.Context) { server.Close() })
}

// streamListener hands streams to an HTTP server.
type streamListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
	addr  net.Addr
}

func newStreamListener(addr net.Addr) *streamListener {
	return &streamListener{conns: make(chan net.Conn), done: make(chan struct{}), addr: addr}
}

func (l *streamListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *streamListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *streamListener) Addr() net.Addr { return l.addr }

// serve gives a stream to the HTTP server and returns when it was closed.
func (l *streamListener) serve(ctx context.Context, stream *rpc.Stream) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	select {
	case l.conns <- &streamConn{stream, end}:
	case <-l.done:
		return structs.Errorf(structs.Unavailable, "HTTP API", "the server stops")
	case <-ctx.Done():
		return ctx.Err()
	}
	<-ctx.Done()
	return nil
}

// streamConn is an RPC stream as a net.Conn.
type streamConn struct {
	*rpc.Stream
	end context.CancelFunc
}

func (c *streamConn) Close() error {
	err := c.Stream.Close()
	c.end()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (c *streamConn) LocalAddr() net.Addr  { return tunnelAddr{} }
func (c *streamConn) RemoteAddr() net.Addr { return tunnelAddr{} }

type tunnelAddr struct{}

func (tunnelAddr) Network() string { return "proffer" }
func (tunnelAddr) String() string  { return "cluster port" }
