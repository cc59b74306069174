package cluster

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

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
