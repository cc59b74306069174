package cluster

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
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
	m.healedLocked()
}

// Mend ends the cuts between two sets of hosts, in both directions, and no other.
func (m *Mesh) Mend(a, b []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range a {
		for _, y := range b {
			delete(m.cuts, [2]string{x, y})
			delete(m.cuts, [2]string{y, x})
		}
	}
	m.healedLocked()
}

func (m *Mesh) healedLocked() {
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
