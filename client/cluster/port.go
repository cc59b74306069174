// Package cluster is the one place where a connection of the cluster is accepted or dialled. An agent has one Port: a TCP
// listener whose connections say with their first byte what they carry (Raft, RPC, a gossip stream, gossip packets), and
// a UDP socket beside it. See DESIGN.md for the bytes and the handshake.
package cluster

import (
	"container/list"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/structs"
)

// Kind is what a connection carries: the first byte that its dialler sends.
type Kind byte

const (
	Raft    Kind = 0x01 // hashicorp/raft, after the handshake
	RPC     Kind = 0x02 // client/rpc, after the handshake
	Gossip  Kind = 0x03 // one memberlist stream, which encrypts itself
	Packets Kind = 0x04 // gossip packets of a peer that has no UDP
)

func (k Kind) String() string {
	switch k {
	case Raft:
		return "Raft"
	case RPC:
		return "RPC"
	case Gossip:
		return "gossip"
	case Packets:
		return "gossip packets"
	}
	return "kind " + strconv.Itoa(int(k))
}

// Network is where the sockets of one host come from: System, or a host of a Mesh. Addresses are "host:port".
type Network interface {
	Listen(addr string) (net.Listener, error)
	ListenPacket(addr string) (net.PacketConn, error)
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

const (
	handshakeTime = 5 * time.Second  // from accept to the end of the handshake; also bounds the dialler's part
	connectTime   = 10 * time.Second // of a dial whose context has no deadline of its own
	maxPending    = 256              // accepted and not through the handshake; the oldest gives way
	acceptQueue   = 128              // through the handshake and not yet accepted, per kind
)

// Config is what a Port needs.
type Config struct {
	Network   Network  // nil: System()
	Bind      string   // "host:port"; port 0 picks one
	Advertise string   // "host:port" that others dial; "" or port 0: taken from the bound one
	Region    string   // connections of another region are refused; at most 64 bytes
	ID        string   // of this agent; connections that want another one are refused; at most 64 bytes
	Keys      *Keyring // nil: nothing is proved (development), allowed on loopback only
	NoUDP     bool     // gossip packets travel in TCP connections
	Logger    *slog.Logger
}

// Port is the cluster port of an agent. It owns every connection that it accepted or dialled.
type Port struct {
	config   Config
	addr     string // advertised
	listener net.Listener
	kinds    map[Kind]*kindListener
	gossip   *gossipTransport
	quiet    quietLog

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	conns   map[*conn]struct{}
	pending *list.List // of *conn, oldest first
}

// Listen opens the port and starts to accept.
func Listen(c Config) (*Port, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	_, system := c.Network.(systemNetwork)
	if c.Network == nil {
		c.Network, system = System(), true
	}
	if _, _, err := net.SplitHostPort(c.Bind); err != nil {
		return nil, structs.Errorf(structs.Invalid, "cluster port "+c.Bind, "%w", err).Advise("give it as host:port")
	}
	if len(c.Region) > maxRegion {
		return nil, structs.Errorf(structs.Invalid, "region", "name is longer than %d bytes", maxRegion)
	}
	if len(c.ID) > maxID {
		return nil, structs.Errorf(structs.Invalid, "agent "+c.ID, "its id is longer than %d bytes", maxID)
	}
	if c.Keys == nil {
		if system && !onLoopback(c.Bind) {
			return nil, structs.Errorf(structs.Invalid, "cluster port "+c.Bind, "no gossip key is configured").
				Advise("without one the port may be bound to loopback only: set a gossip key or bind 127.0.0.1")
		}
		c.Logger.Debug("no gossip key: connections on loopback prove nothing", "bind", c.Bind)
	}
	l, packets, err := open(&c)
	if err != nil {
		return nil, err
	}
	p := &Port{
		config:   c,
		listener: l,
		kinds:    map[Kind]*kindListener{},
		conns:    map[*conn]struct{}{},
		pending:  list.New(),
	}
	if p.addr, err = advertised(c.Advertise, l.Addr()); err != nil {
		l.Close()
		if packets != nil {
			packets.Close()
		}
		return nil, err
	}
	p.quiet.log = c.Logger
	p.ctx, p.stop = context.WithCancel(context.Background())
	for _, k := range []Kind{Raft, RPC} {
		p.kinds[k] = &kindListener{port: p, queue: make(chan *conn, acceptQueue), done: make(chan struct{})}
	}
	p.gossip = newGossipTransport(p, packets)
	p.wg.Go(p.accept)
	return p, nil
}

// open binds TCP and UDP to one port number. Without UDP the packets is nil.
func open(c *Config) (l net.Listener, packets net.PacketConn, err error) {
	_, port, _ := net.SplitHostPort(c.Bind)
	tries := 1
	if port == "0" {
		tries = 32 // the number that TCP got may be taken in UDP
	}
	for range tries {
		l, err = c.Network.Listen(c.Bind)
		if err != nil {
			return nil, nil, structs.Errorf(structs.Unavailable, "cluster port "+c.Bind, "cannot listen: %w", err).
				Advise("another process may have the port: choose another cluster port")
		}
		if c.NoUDP {
			return l, nil, nil
		}
		packets, err = c.Network.ListenPacket(l.Addr().String())
		if err == nil {
			return l, packets, nil
		}
		if !errors.Is(err, errAddrInUse) {
			c.Logger.Warn("no UDP on the cluster port: gossip packets travel in TCP", "bind", c.Bind, "err", err)
			return l, nil, nil
		}
		l.Close()
	}
	return nil, nil, structs.Errorf(structs.Unavailable, "cluster port "+c.Bind+"/udp", "cannot listen: %w", err).
		Advise("another process may have the port: choose another cluster port")
}

// Addr returns the advertised address.
func (p *Port) Addr() string { return p.addr }

// Listener returns the accepted connections of Raft or RPC, which have proved themselves. Until it is called first,
// connections of that kind are refused.
func (p *Port) Listener(k Kind) net.Listener {
	l := p.kinds[k]
	l.open.Store(true)
	return l
}

// Dial opens a connection to the port at addr, proves itself, and has the other side prove itself. Errors are
// *structs.Error: Unavailable (try again), Forbidden (key) or Invalid (region, version).
func (p *Port) Dial(ctx context.Context, k Kind, addr string) (net.Conn, error) {
	return p.dial(ctx, k, addr, "")
}

// dial is Dial of the agent with the id want; "": of whoever has the address.
func (p *Port) dial(ctx context.Context, k Kind, addr, want string) (net.Conn, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, connectTime)
		defer cancel()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()

	raw, err := p.config.Network.Dial(ctx, addr)
	if err != nil {
		return nil, structs.Errorf(structs.Unavailable, addr, "cannot connect: %w", err)
	}
	c := p.track(raw)
	if c == nil {
		return nil, structs.Errorf(structs.Unavailable, addr, "the cluster port is closed: %w", net.ErrClosed)
	}
	c.SetDeadline(time.Now().Add(handshakeTime))
	undo := context.AfterFunc(ctx, func() { c.SetDeadline(past) })
	if k == Raft || k == RPC {
		err = p.prove(c, k, want)
	} else {
		_, err = c.Write([]byte{byte(k)})
	}
	if !undo() {
		err = context.Cause(ctx) // the deadline of c was only its messenger
	}
	if err != nil {
		c.Close()
		return nil, dialError(addr, k, err)
	}
	c.SetDeadline(time.Time{})
	return c, nil
}

func dialError(addr string, k Kind, err error) error {
	var known *structs.Error
	if errors.As(err, &known) {
		return known
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return structs.Errorf(structs.Unavailable, addr, "closed the %v connection during the handshake: %w", k, err)
	}
	return structs.Errorf(structs.Unavailable, addr, "handshake of the %v connection: %w", k, err)
}

// past is a deadline that ends every blocked read and write.
var past = time.Unix(1, 0)

// DialRPC is Dial of RPC, in the shape that rpc.NewPool takes.
func (p *Port) DialRPC(ctx context.Context, addr string) (net.Conn, error) {
	return p.Dial(ctx, RPC, addr)
}

// RaftAddress is an address for RaftLayer that reaches the agent with this id or nobody.
func RaftAddress(id, addr string) raft.ServerAddress { return raft.ServerAddress(id + "@" + addr) }

// RaftLayer returns what raft.NetworkTransport needs. It dials plain addresses and those of RaftAddress.
func (p *Port) RaftLayer() raft.StreamLayer {
	p.Listener(Raft)
	return raftLayer{p.kinds[Raft]}
}

type raftLayer struct{ *kindListener }

func (r raftLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(r.port.ctx, timeout)
	defer cancel()
	id, at, ok := strings.Cut(string(addr), "@")
	if !ok {
		id, at = "", string(addr)
	}
	return r.port.dial(ctx, Raft, at, id)
}

// Close closes the port and every connection that it accepted or dialled, and waits for its goroutines.
func (p *Port) Close() error {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	conns := make([]*conn, 0, len(p.conns))
	for c := range p.conns {
		conns = append(conns, c)
	}
	p.mu.Unlock()
	if first {
		p.stop()
		p.listener.Close()
		for _, k := range p.kinds {
			k.Close()
		}
		p.gossip.close()
		for _, c := range conns {
			c.Close()
		}
	}
	p.wg.Wait()
	return nil
}

// accept takes connections until the port closes.
func (p *Port) accept() {
	backoff := time.Duration(0)
	for {
		raw, err := p.listener.Accept()
		if err != nil {
			if p.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, most likely: it passes.
			backoff = min(max(2*backoff, 5*time.Millisecond), time.Second)
			p.quiet.warn("cannot accept a cluster connection", "err", err)
			select {
			case <-time.After(backoff):
			case <-p.ctx.Done():
				return
			}
			continue
		}
		backoff = 0
		c := p.track(raw)
		if c == nil {
			return
		}
		p.wait(c)
		p.wg.Go(func() { p.receive(c) })
	}
}

// receive reads the first byte of an accepted connection and hands it to whom it selects.
func (p *Port) receive(c *conn) {
	defer p.admitted(c)
	c.SetDeadline(time.Now().Add(handshakeTime))
	var first [1]byte
	if _, err := io.ReadFull(c, first[:]); err != nil {
		c.Close() // a port scan, or somebody who only connects
		return
	}
	switch k := Kind(first[0]); k {
	case Raft, RPC:
		if err := p.challenge(c, k); err != nil {
			p.quiet.warn("refused a cluster connection", "from", c.RemoteAddr().String(), "kind", k.String(), "err", err)
			c.Close()
			return
		}
		c.SetDeadline(time.Time{})
		p.kinds[k].deliver(c)
	case Gossip:
		c.SetDeadline(time.Time{}) // memberlist sets its own
		p.gossip.deliver(c)
	case Packets:
		p.admitted(c)
		p.gossip.receive(c)
	default:
		p.refuseStranger(c, first[0])
	}
}

// refuseStranger answers what is not ours, so that whoever reached the wrong port reads why.
func (p *Port) refuseStranger(c *conn, first byte) {
	defer c.Close()
	what := "garbage"
	switch {
	case first == 0x16:
		what = "TLS"
	case first >= 'A' && first <= 'Z':
		what = "HTTP"
		io.WriteString(c, "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"+
			"This is the cluster port of Proffer. The HTTP API is on another one (5050 by default).\n")
	}
	p.quiet.warn("refused a cluster connection", "from", c.RemoteAddr().String(), "sent", what, "first_byte", int(first))
}

// wait counts c as pending; when there are too many, the oldest is closed, which is the likeliest to be idle on purpose.
func (p *Port) wait(c *conn) {
	p.mu.Lock()
	c.pending = p.pending.PushBack(c)
	var oldest *conn
	if p.pending.Len() > maxPending {
		oldest = p.pending.Remove(p.pending.Front()).(*conn)
		oldest.pending = nil
	}
	p.mu.Unlock()
	if oldest != nil {
		oldest.Close()
		p.quiet.warn("too many cluster connections at once that say nothing: closed the oldest",
			"from", oldest.RemoteAddr().String())
	}
}

func (p *Port) admitted(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.pending != nil {
		p.pending.Remove(c.pending)
		c.pending = nil
	}
}

// conn is a connection that its port closes at the latest.
type conn struct {
	net.Conn
	port    *Port
	pending *list.Element // guarded by port.mu
}

// track takes ownership of raw. It closes it and returns nil when the port is closed.
func (p *Port) track(raw net.Conn) *conn {
	c := &conn{Conn: raw, port: p}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		raw.Close()
		return nil
	}
	p.conns[c] = struct{}{}
	return c
}

func (c *conn) Close() error {
	c.port.mu.Lock()
	delete(c.port.conns, c)
	c.port.mu.Unlock()
	return c.Conn.Close()
}

// kindListener is the net.Listener of one kind.
type kindListener struct {
	port  *Port
	open  atomic.Bool
	queue chan *conn
	once  sync.Once
	done  chan struct{}
}

// deliver queues c. A full queue delays it for a while and then refuses it.
func (l *kindListener) deliver(c *conn) {
	select {
	case l.queue <- c:
	case <-l.done:
		c.Close()
		return
	case <-time.After(handshakeTime):
		l.port.quiet.warn("too many cluster connections wait to be accepted: closed one", "from", c.RemoteAddr().String())
		c.Close()
		return
	}
	select {
	case <-l.done:
		l.drain() // Close may have drained before c was queued
	default:
	}
}

func (l *kindListener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close refuses further connections of this kind; the port stays open for the others.
func (l *kindListener) Close() error {
	l.open.Store(false)
	l.once.Do(func() { close(l.done) })
	l.drain()
	return nil
}

func (l *kindListener) drain() {
	for {
		select {
		case c := <-l.queue:
			c.Close()
		default:
			return
		}
	}
}

func (l *kindListener) Addr() net.Addr { return address(l.port.addr) }

// address is an advertised "host:port", whose host may be a name.
type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

func advertised(want string, bound net.Addr) (string, error) {
	boundHost, boundPort, err := net.SplitHostPort(bound.String())
	if err != nil {
		return "", structs.Errorf(structs.Internal, bound.String(), "%w", err)
	}
	if want == "" {
		if ip := net.ParseIP(boundHost); ip != nil && ip.IsUnspecified() {
			return "", structs.Errorf(structs.Invalid, "cluster port", "bound to every address, so others cannot be told one").
				Advise("set an advertise address")
		}
		return bound.String(), nil
	}
	host, port, err := net.SplitHostPort(want)
	if err != nil {
		host, port = want, "0"
	}
	if host == "" {
		host = boundHost
	}
	if port == "0" || port == "" {
		port = boundPort
	}
	return net.JoinHostPort(host, port), nil
}

func onLoopback(bind string) bool {
	host, _, err := net.SplitHostPort(bind)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
