package cluster

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Mesh is a network in memory for tests: hosts, and what is cut between them. It works inside testing/synctest bubbles
// when it is made inside the bubble: everything that waits here waits durably.
//
// A cut does to a connection what a lost network does: nothing arrives, nobody is told, and a Dial waits. When it heals,
// what the connections held back flows on; packets are lost for good.
type Mesh struct {
	mu       sync.Mutex
	hosts    map[string]*host
	cuts     map[[2]string]bool // from, to
	off      map[string]bool    // hosts without power: cut from every other
	lanes    map[*lane]struct{}
	changed  chan struct{} // closed and replaced when a cut heals
	drop     func(from, to string, body []byte) bool
	nextPort int
}

// NewMesh returns a mesh without hosts.
func NewMesh() *Mesh {
	return &Mesh{
		hosts:    map[string]*host{},
		cuts:     map[[2]string]bool{},
		off:      map[string]bool{},
		lanes:    map[*lane]struct{}{},
		changed:  make(chan struct{}),
		nextPort: 32768,
	}
}

const (
	laneSize     = 256 << 10 // bytes that one direction of a connection holds before its writer waits
	meshBacklog  = 128       // connections that wait to be accepted
	meshPackets  = 4096      // packets that wait to be read
	lastMeshPort = 65535
)

// Host returns the network of a host, which is named by its IP address ("10.0.0.1"). Its 127.0.0.1 is itself.
func (m *Mesh) Host(ip string) Network {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hostLocked(ip)
}

func (m *Mesh) hostLocked(ip string) *host {
	h := m.hosts[ip]
	if h == nil {
		if net.ParseIP(ip) == nil {
			panic("mesh: " + ip + " is not an IP address")
		}
		h = &host{mesh: m, ip: ip, listeners: map[int]*meshListener{}, sockets: map[int]*meshSocket{}}
		m.hosts[ip] = h
	}
	return h
}

// Cut separates two sets of hosts, in both directions, until Heal.
func (m *Mesh) Cut(a, b []string) {
	m.CutOneWay(a, b)
	m.CutOneWay(b, a)
}

// CutOneWay holds back what from sends to to. The other way stays open; since a TCP connection needs both, new ones wait.
func (m *Mesh) CutOneWay(from, to []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range from {
		for _, b := range to {
			if a != b {
				m.cuts[[2]string{a, b}] = true
			}
		}
	}
	m.holdLocked()
}

// PowerOff cuts a host from every other one, present and future, until Heal: a machine that is gone without a word.
func (m *Mesh) PowerOff(ip string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.off[ip] = true
	m.holdLocked()
}

// Heal ends every cut; what was held back in connections flows on.
func (m *Mesh) Heal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.cuts)
	clear(m.off)
	m.holdLocked()
	close(m.changed)
	m.changed = make(chan struct{})
}

// DropPackets makes packets get lost when lost says so; nil ends it. It is called for each packet, one at a time, and must
// not keep the body.
func (m *Mesh) DropPackets(lost func(from, to string, body []byte) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop = lost
}

// Crash closes every socket of a host at once, as the end of a process does: peers that it reaches see resets.
func (m *Mesh) Crash(ip string) {
	m.mu.Lock()
	h := m.hostLocked(ip)
	var closers []io.Closer
	for _, l := range h.listeners {
		closers = append(closers, l)
	}
	for _, s := range h.sockets {
		closers = append(closers, s)
	}
	var lanes []*lane
	for l := range m.lanes {
		if l.from == ip || l.to == ip {
			lanes = append(lanes, l)
		}
	}
	m.mu.Unlock()
	for _, c := range closers {
		c.Close()
	}
	for _, l := range lanes {
		l.crash(ip)
	}
}

func (m *Mesh) cutLocked(from, to string) bool {
	return from != to && (m.off[from] || m.off[to] || m.cuts[[2]string{from, to}])
}

func (m *Mesh) holdLocked() {
	for l := range m.lanes {
		l.hold(m.cutLocked(l.from, l.to))
	}
}

// host is a Network.
type host struct {
	mesh      *Mesh
	ip        string
	listeners map[int]*meshListener // guarded by mesh.mu, as is sockets
	sockets   map[int]*meshSocket
}

// split reads "host:port"; the unspecified and the loopback address are the host itself.
func (h *host) split(addr string) (ip string, port int, err error) {
	name, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 0 || port > lastMeshPort {
		return "", 0, &net.AddrError{Err: "bad port", Addr: addr}
	}
	if name == "" || name == "localhost" {
		return h.ip, port, nil
	}
	parsed := net.ParseIP(name)
	if parsed == nil {
		return "", 0, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	if parsed.IsUnspecified() || parsed.IsLoopback() {
		return h.ip, port, nil
	}
	return parsed.String(), port, nil
}

func (h *host) pick(port int, taken func(int) bool) (int, error) {
	if port != 0 {
		if taken(port) {
			return 0, errAddrInUse
		}
		return port, nil
	}
	for range lastMeshPort {
		h.mesh.nextPort++
		if h.mesh.nextPort > lastMeshPort {
			h.mesh.nextPort = 32768
		}
		if !taken(h.mesh.nextPort) {
			return h.mesh.nextPort, nil
		}
	}
	return 0, errAddrInUse
}

func opError(op string, err error) error { return &net.OpError{Op: op, Net: "mesh", Err: err} }

func (h *host) Listen(addr string) (net.Listener, error) {
	ip, port, err := h.split(addr)
	if err != nil {
		return nil, opError("listen", err)
	}
	if ip != h.ip {
		return nil, opError("listen", syscall.EADDRNOTAVAIL)
	}
	h.mesh.mu.Lock()
	defer h.mesh.mu.Unlock()
	port, err = h.pick(port, func(n int) bool { return h.listeners[n] != nil || h.sockets[n] != nil })
	if err != nil {
		return nil, opError("listen", err)
	}
	l := &meshListener{host: h, port: port, queue: make(chan *meshConn, meshBacklog), done: make(chan struct{})}
	h.listeners[port] = l
	return l, nil
}

func (h *host) ListenPacket(addr string) (net.PacketConn, error) {
	ip, port, err := h.split(addr)
	if err != nil {
		return nil, opError("listen", err)
	}
	if ip != h.ip {
		return nil, opError("listen", syscall.EADDRNOTAVAIL)
	}
	h.mesh.mu.Lock()
	defer h.mesh.mu.Unlock()
	port, err = h.pick(port, func(n int) bool { return h.sockets[n] != nil })
	if err != nil {
		return nil, opError("listen", err)
	}
	s := &meshSocket{host: h, port: port}
	s.cond.L = &s.mu
	h.sockets[port] = s
	return s, nil
}

// Dial connects at once, is refused at once, or waits for a cut to heal until ctx ends.
func (h *host) Dial(ctx context.Context, addr string) (net.Conn, error) {
	ip, port, err := h.split(addr)
	if err != nil {
		return nil, opError("dial", err)
	}
	m := h.mesh
	for {
		if err := ctx.Err(); err != nil {
			return nil, opError("dial", err)
		}
		m.mu.Lock()
		changed := m.changed
		if m.cutLocked(h.ip, ip) || m.cutLocked(ip, h.ip) {
			m.mu.Unlock()
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		var l *meshListener
		if to := m.hosts[ip]; to != nil {
			l = to.listeners[port]
		}
		if l == nil {
			m.mu.Unlock()
			return nil, opError("dial", fmt.Errorf("%s: %w", addr, syscall.ECONNREFUSED))
		}
		m.nextPort++
		if m.nextPort > lastMeshPort {
			m.nextPort = 32768
		}
		near := &net.TCPAddr{IP: net.ParseIP(h.ip), Port: m.nextPort}
		far := &net.TCPAddr{IP: net.ParseIP(ip), Port: port}
		out, in := m.laneLocked(h.ip, ip), m.laneLocked(ip, h.ip)
		queued := false
		select {
		case l.queue <- &meshConn{in: out, out: in, local: far, remote: near}:
			queued = true
		default:
			delete(m.lanes, out)
			delete(m.lanes, in)
		}
		m.mu.Unlock()
		if !queued {
			return nil, opError("dial", fmt.Errorf("%s: %w", addr, syscall.ECONNREFUSED))
		}
		return &meshConn{in: in, out: out, local: near, remote: far}, nil
	}
}

func (m *Mesh) laneLocked(from, to string) *lane {
	l := &lane{mesh: m, from: from, to: to, held: m.cutLocked(from, to)}
	l.cond.L = &l.mu
	m.lanes[l] = struct{}{}
	return l
}

type meshListener struct {
	host  *host
	port  int
	queue chan *meshConn
	once  sync.Once
	done  chan struct{}
}

func (l *meshListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, opError("accept", net.ErrClosed)
	}
}

func (l *meshListener) Close() error {
	l.once.Do(func() {
		m := l.host.mesh
		m.mu.Lock()
		delete(l.host.listeners, l.port) // nothing is queued after this
		m.mu.Unlock()
		close(l.done)
		for {
			select {
			case c := <-l.queue:
				c.Close()
			default:
				return
			}
		}
	})
	return nil
}

func (l *meshListener) Addr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(l.host.ip), Port: l.port}
}

// meshConn is one end of a connection: it reads from one lane and writes to the other.
type meshConn struct {
	in, out       *lane
	local, remote net.Addr
}

func (c *meshConn) Read(b []byte) (int, error)  { return c.in.read(b) }
func (c *meshConn) Write(b []byte) (int, error) { return c.out.write(b) }
func (c *meshConn) LocalAddr() net.Addr         { return c.local }
func (c *meshConn) RemoteAddr() net.Addr        { return c.remote }

func (c *meshConn) Close() error {
	c.out.closeWriter()
	c.in.closeReader()
	return nil
}

func (c *meshConn) SetDeadline(t time.Time) error {
	c.in.reading.set(c.in, t)
	c.out.writing.set(c.out, t)
	return nil
}

func (c *meshConn) SetReadDeadline(t time.Time) error {
	c.in.reading.set(c.in, t)
	return nil
}

func (c *meshConn) SetWriteDeadline(t time.Time) error {
	c.out.writing.set(c.out, t)
	return nil
}

// lane is one direction of a connection.
type lane struct {
	mesh     *Mesh
	from, to string // hosts

	mu                         sync.Mutex
	cond                       sync.Cond
	buf                        []byte
	held                       bool // nothing gets through
	writerClosed, readerClosed bool
	broken                     bool // the process of one end died
	reading, writing           deadline
}

type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) set(l *lane, t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = t
	if left := time.Until(t); !t.IsZero() && left > 0 {
		d.timer = time.AfterFunc(left, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.cond.Broadcast()
		})
	}
	l.cond.Broadcast()
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (l *lane) read(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.readerClosed:
			return 0, opError("read", net.ErrClosed)
		case l.reading.passed():
			return 0, opError("read", os.ErrDeadlineExceeded)
		case l.held:
		case l.broken:
			return 0, opError("read", syscall.ECONNRESET)
		case len(l.buf) > 0:
			n := copy(b, l.buf)
			if l.buf = l.buf[n:]; len(l.buf) == 0 {
				l.buf = nil
			}
			l.cond.Broadcast()
			return n, nil
		case l.writerClosed:
			return 0, io.EOF
		}
		if len(b) == 0 {
			return 0, nil
		}
		l.cond.Wait()
	}
}

func (l *lane) write(b []byte) (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.writerClosed:
			return n, opError("write", net.ErrClosed)
		case l.writing.passed():
			return n, opError("write", os.ErrDeadlineExceeded)
		case l.broken && !l.held:
			return n, opError("write", syscall.ECONNRESET)
		case l.readerClosed && !l.held:
			return n, opError("write", syscall.EPIPE)
		}
		space := min(laneSize-len(l.buf), len(b))
		if space > 0 {
			l.buf = append(l.buf, b[:space]...)
			b = b[space:]
			n += space
			l.cond.Broadcast()
		}
		if len(b) == 0 {
			return n, nil
		}
		l.cond.Wait()
	}
}

func (l *lane) hold(held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = held
	l.cond.Broadcast()
}

// crash closes the ends that a host has, the way the kernel does when their process ends.
func (l *lane) crash(ip string) {
	l.mu.Lock()
	if l.from == ip {
		l.writerClosed, l.broken = true, true
	}
	if l.to == ip {
		l.readerClosed = true
	}
	l.finished()
}

func (l *lane) closeWriter() {
	l.mu.Lock()
	l.writerClosed = true
	l.finished()
}

func (l *lane) closeReader() {
	l.mu.Lock()
	l.readerClosed = true
	if !l.held {
		l.buf = nil
	}
	l.finished()
}

// finished wakes who waits, unlocks, and forgets a lane that both ends have closed.
func (l *lane) finished() {
	both := l.writerClosed && l.readerClosed
	for _, d := range []*deadline{&l.reading, &l.writing} {
		if both && d.timer != nil {
			d.timer.Stop()
		}
	}
	l.cond.Broadcast()
	l.mu.Unlock()
	if both {
		l.mesh.mu.Lock()
		delete(l.mesh.lanes, l)
		l.mesh.mu.Unlock()
	}
}

// meshSocket is a UDP socket.
type meshSocket struct {
	host *host
	port int

	mu      sync.Mutex
	cond    sync.Cond
	queue   []meshPacket
	closed  bool
	reading time.Time
	timer   *time.Timer
}

type meshPacket struct {
	body []byte
	from net.Addr
}

func (s *meshSocket) WriteTo(b []byte, to net.Addr) (int, error) {
	ip, port, err := s.host.split(to.String())
	if err != nil {
		return 0, opError("write", err)
	}
	if len(b) > maxPacket {
		return 0, opError("write", syscall.EMSGSIZE)
	}
	m := s.host.mesh
	m.mu.Lock()
	if s.host.sockets[s.port] != s {
		m.mu.Unlock()
		return 0, opError("write", net.ErrClosed)
	}
	var dest *meshSocket
	if h := m.hosts[ip]; h != nil && !m.cutLocked(s.host.ip, ip) && (m.drop == nil || !m.drop(s.host.ip, ip, b)) {
		dest = h.sockets[port]
	}
	m.mu.Unlock()
	if dest != nil {
		dest.put(meshPacket{slices.Clone(b), s.LocalAddr()})
	}
	return len(b), nil
}

func (s *meshSocket) put(p meshPacket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && len(s.queue) < meshPackets {
		s.queue = append(s.queue, p)
		s.cond.Broadcast()
	}
}

func (s *meshSocket) ReadFrom(b []byte) (int, net.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.closed:
			return 0, nil, opError("read", net.ErrClosed)
		case !s.reading.IsZero() && !time.Now().Before(s.reading):
			return 0, nil, opError("read", os.ErrDeadlineExceeded)
		case len(s.queue) > 0:
			p := s.queue[0]
			s.queue[0] = meshPacket{}
			s.queue = s.queue[1:]
			return copy(b, p.body), p.from, nil
		}
		s.cond.Wait()
	}
}

func (s *meshSocket) Close() error {
	m := s.host.mesh
	m.mu.Lock()
	if s.host.sockets[s.port] == s {
		delete(s.host.sockets, s.port)
	}
	m.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.queue = true, nil
	if s.timer != nil {
		s.timer.Stop()
	}
	s.cond.Broadcast()
	return nil
}

func (s *meshSocket) LocalAddr() net.Addr {
	return &net.UDPAddr{IP: net.ParseIP(s.host.ip), Port: s.port}
}

func (s *meshSocket) SetDeadline(t time.Time) error    { return s.SetReadDeadline(t) }
func (s *meshSocket) SetWriteDeadline(time.Time) error { return nil }

func (s *meshSocket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	s.reading = t
	if left := time.Until(t); !t.IsZero() && left > 0 {
		s.timer = time.AfterFunc(left, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.cond.Broadcast()
		})
	}
	s.cond.Broadcast()
	return nil
}
