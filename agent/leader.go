package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	nethttp "net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"github.com/proffer/proffer/agent/mesos"
)

// A server that does not lead passes calls of the scheduler API on to the one that does, when it is told to: for schedulers that
// cannot reach the leader, or do not follow where they are sent. A call, and a subscription for as long as it lasts, has a stream
// of the cluster port for itself, and ends when another server leads.

// principalHeader carries who proved to ask through the tunnel. The service takes it from there only.
const principalHeader = "X-Proffer-Principal"

// maxPassed bounds the calls, and with them the subscriptions, that are passed on at a time: the connection between the servers has
// room for more streams than these, which others need. A call more is sent to the leader.
const maxPassed = 1024

// leaderAnswers is how long the leader may take until it begins to answer: longer than it has for its work.
const leaderAnswers = 75 * time.Second

// toLeader returns what Options.Leader is.
func (a *Agent) toLeader() func() nethttp.Handler {
	room := make(chan struct{}, maxPassed)
	proxy := a.leaderProxy()
	return func() nethttp.Handler {
		leader, changed := a.server.Raft().LeaderChanged()
		if !a.passOn.Load() || leader.Self || leader.Address == "" || leader.Address == a.port.Addr() { // the last: this one is elected, and does not lead yet
			return nil
		}
		select {
		case room <- struct{}{}:
		default:
			return nil
		}
		return nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
			defer func() { <-room }()
			if r.ContentLength > mesos.MaxCall { // the leader would refuse it unread, and be gone before all of it is sent
				tooLarge(w, mesos.MaxCall)
				return
			}
			ctx, end := context.WithCancel(context.WithValue(r.Context(), leaderKey{}, leader.Address))
			watched := make(chan struct{})
			go func() {
				defer close(watched)
				a.endWithLeader(ctx, end, leader.Address, changed)
			}()
			defer func() { end(); <-watched }()
			proxy.ServeHTTP(w, r.WithContext(ctx))
		})
	}
}

func tooLarge(w nethttp.ResponseWriter, most int64) {
	nethttp.Error(w, fmt.Sprintf("a call of more than %d bytes", most), nethttp.StatusRequestEntityTooLarge)
}

// leaderKey is where the context of a call says where the leader is.
type leaderKey struct{}

// endWithLeader calls end once another server leads than the one at address, or nobody; it returns when ctx ended.
func (a *Agent) endWithLeader(ctx context.Context, end func(), address string, changed <-chan struct{}) {
	for {
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		leader, next := a.server.Raft().LeaderChanged()
		if leader.Address != address {
			end()
			return
		}
		changed = next
	}
}

func (a *Agent) leaderProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport: &nethttp.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				leader, ok := ctx.Value(leaderKey{}).(string)
				if !ok {
					return nil, errors.New("nobody says who leads")
				}
				return a.dialTunnel(ctx, leader)
			},
			DisableKeepAlives:     true, // the next call may be for another leader
			DisableCompression:    true,
			ResponseHeaderTimeout: leaderAnswers,
		},
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "proffer"
			who := a.service.Caller(r.In)
			r.Out.Header.Set(actorHeader, who.Actor)
			r.Out.Header.Set(principalHeader, url.QueryEscape(who.Principal))
		},
		ModifyResponse: func(r *nethttp.Response) error {
			for _, ours := range []string{"X-Request-Id", "X-Content-Type-Options", "Cache-Control"} {
				r.Header.Del(ours) // this server has set them
			}
			recordsApart(r)
			return nil
		},
		ErrorHandler: func(w nethttp.ResponseWriter, r *nethttp.Request, err error) {
			a.log.Debug("a call of a framework cannot be passed on to the leader", "err", err)
			w.Header().Set("Connection", "close")
			if large := (*nethttp.MaxBytesError)(nil); errors.As(err, &large) {
				tooLarge(w, large.Limit)
				return
			}
			nethttp.Error(w, "The leader does not answer, or another one was elected", nethttp.StatusServiceUnavailable)
		},
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
}
