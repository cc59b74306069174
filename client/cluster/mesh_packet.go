package cluster

import (
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

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
