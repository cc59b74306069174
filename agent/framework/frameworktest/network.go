package frameworktest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/client/cluster"
)

// Fault is what becomes of a call of a scheduler.
type Fault int

const (
	Arrives    Fault = iota
	LoseCall         // it never arrives, and the scheduler meets a broken connection
	LoseAnswer       // it is carried out, and the scheduler meets a broken connection
	Repeat           // it arrives twice
)

// errLost is what a scheduler meets.
var errLost = errors.New("the connection broke")

// network is how schedulers reach the region: the way of HTTP, with what the test does to it.
type network struct {
	plain *http.Transport

	mu     sync.Mutex
	calls  func(*wire.Call) Fault
	events func(*wire.Event) (lost bool)
}

func newNetwork(host cluster.Network) *network {
	return &network{plain: &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return host.Dial(ctx, addr) },
		DisableCompression: true, MaxIdleConnsPerHost: 16}}
}

func (n *network) close() { n.plain.CloseIdleConnections() }

// OnCalls has f decide what becomes of each call of every scheduler, from any goroutine; nil: it arrives.
func (r *Region) OnCalls(f func(*wire.Call) Fault) {
	r.net.mu.Lock()
	defer r.net.mu.Unlock()
	r.net.calls = f
}

// OnEvents has f decide which events of the region are lost on their way to schedulers, from any goroutine; nil: none.
func (r *Region) OnEvents(f func(*wire.Event) (lost bool)) {
	r.net.mu.Lock()
	defer r.net.mu.Unlock()
	r.net.events = f
}

// Disconnect breaks all connections of schedulers with the region.
func (r *Region) Disconnect() { r.mesh.Crash(frameworkIP) }

// CutSchedulers separates all schedulers from all servers, without a word, until MendSchedulers.
func (r *Region) CutSchedulers() { r.mesh.Cut([]string{frameworkIP}, r.serverIPs()) }

// MendSchedulers ends CutSchedulers.
func (r *Region) MendSchedulers() { r.mesh.Mend([]string{frameworkIP}, r.serverIPs()) }

// RoundTrip sends a request of a scheduler.
func (n *network) RoundTrip(q *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(q.URL.Path, "/api/v1/scheduler") || q.Body == nil {
		return n.plain.RoundTrip(q)
	}
	raw, err := io.ReadAll(q.Body)
	q.Body.Close()
	if err != nil {
		return nil, err
	}
	call := &wire.Call{}
	if err := wire.Protobuf.Unmarshal(raw, call); err != nil {
		return nil, err
	}
	n.mu.Lock()
	decide := n.calls
	n.mu.Unlock()
	fault := Arrives
	if decide != nil {
		fault = decide(call)
	}
	send := func() (*http.Response, error) {
		again := q.Clone(q.Context())
		again.Body = io.NopCloser(bytes.NewReader(raw))
		return n.plain.RoundTrip(again)
	}
	if fault == LoseCall {
		return nil, errLost
	}
	response, err := send()
	if err != nil || fault == Arrives && *call.Type != wire.CallSubscribe {
		return response, err
	}
	switch fault {
	case LoseAnswer:
		response.Body.Close()
		return nil, errLost
	case Repeat:
		response.Body.Close()
		if response, err = send(); err != nil {
			return nil, err
		}
	}
	if *call.Type == wire.CallSubscribe && response.StatusCode == http.StatusOK {
		response.Body = &stream{network: n, body: response.Body, from: bufio.NewReader(response.Body)}
	}
	return response, nil
}

// stream is the answer to a SUBSCRIBE, without what is lost of it. One goroutine reads it.
type stream struct {
	network *network
	body    io.ReadCloser
	from    *bufio.Reader
	next    []byte
}

func (s *stream) Read(to []byte) (int, error) {
	for len(s.next) == 0 {
		raw, err := wire.ReadRecord(s.from)
		if err != nil {
			return 0, err
		}
		e := &wire.Event{}
		if err := wire.Protobuf.Unmarshal(raw, e); err != nil {
			return 0, err
		}
		s.network.mu.Lock()
		lost := s.network.events
		s.network.mu.Unlock()
		if lost == nil || !lost(e) {
			s.next = wire.AppendRecord(nil, raw)
		}
	}
	n := copy(to, s.next)
	s.next = s.next[n:]
	return n, nil
}

func (s *stream) Close() error { return s.body.Close() }
