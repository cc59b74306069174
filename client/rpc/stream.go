package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/proffer/proffer/client/msgpack"
	"github.com/proffer/proffer/structs"
)

// Stream is one conversation. In each direction it carries either messages (Send, Recv) or raw bytes (Write, Read); they
// do not mix. One goroutine may send while another receives. It is a net.Conn, so that HTTP can be tunnelled through it.
//
// A sender waits while the receiver is 256 KiB behind.
type Stream struct {
	c      *connection
	id     uint32
	method string
	limit  int    // of one received message
	opened []byte // server: the request, still encoded

	ctx    context.Context
	cancel context.CancelCauseFunc

	// Guarded by c.mu.
	cond       sync.Cond
	chunks     [][]byte // received and not read
	recvWindow int      // what the peer may still send
	unreported int      // read, and not yet given back to the peer as window
	received   bool     // the peer sends nothing more
	sendWindow int      // what we may still send
	sent       bool     // we send nothing more
	started    bool     // client: the opening frame is queued
	ended      bool     // the stream is over in both directions: sends fail, reads give what is there and then err
	err        error    // after ended; io.EOF when it went well
	requestEnd uint64   // position after the request in all that the connection sends; 0 before
	readBy     deadline
	writeBy    deadline
	stopped    error // server: why the method should end; it can still send what does not have to wait
	onEnd      func()
}

var _ net.Conn = (*Stream)(nil)

func newStream(c *connection, id uint32, method string) *Stream {
	s := &Stream{c: c, id: id, method: method, limit: c.options.MaxMessage, recvWindow: window, sendWindow: window}
	s.cond.L = &c.mu
	return s
}

func (s *Stream) object() string { return fmt.Sprintf("call of %s at %s", s.method, s.c.remote()) }

// endLocked ends both directions at once; what was received and not read is lost.
func (s *Stream) endLocked(err error) {
	if s.ended {
		return
	}
	s.chunks = nil
	s.overLocked(err)
}

// doneLocked takes the peer's Done: what it sent before stays readable.
func (s *Stream) doneLocked(payload []byte) {
	if s.ended {
		return
	}
	err := io.EOF
	if len(payload) > 0 {
		err = decodeError(payload)
	}
	s.overLocked(err)
}

func (s *Stream) overLocked(err error) {
	s.ended, s.err = true, err
	s.received, s.sent = true, true
	s.readBy.stop()
	s.writeBy.stop()
	s.cond.Broadcast()
	s.c.space.Broadcast()
	if s.cancel != nil {
		s.cancel(err)
	}
	if s.onEnd != nil {
		s.onEnd()
	}
}

// askedLocked reports whether the other end may have read the whole request.
func (s *Stream) askedLocked() bool { return s.requestEnd != 0 && s.requestEnd <= s.c.handed }

// whenEnded calls f once the stream is over, under the lock of the connection.
func (s *Stream) whenEnded(f func()) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.ended {
		f()
		return
	}
	s.onEnd = f
}

// Context ends with the stream: when both ends are done, the other end gave up or closed, or the caller's deadline passed.
func (s *Stream) Context() context.Context { return s.ctx }

// Remote is the address of the other end, for messages.
func (s *Stream) Remote() string { return s.c.remote() }

// LocalAddr and RemoteAddr are those of the connection.
func (s *Stream) LocalAddr() net.Addr  { return s.c.conn.LocalAddr() }
func (s *Stream) RemoteAddr() net.Addr { return s.c.conn.RemoteAddr() }

// SetLimit bounds a message, in bytes. To send larger ones than Options.MaxMessage, both ends set it.
func (s *Stream) SetLimit(bytes int) { s.limit = bytes }

// Request decodes the request that opened the stream, on the server's side.
func (s *Stream) Request(into any) error { return s.decode(s.opened, into) }

// Send encodes and sends a message. The error is an *structs.Error; io.EOF when the other end is done without one.
func (s *Stream) Send(v any) error {
	b := buffers.Get().(*buffer)
	defer b.free()
	if err := b.message(v, max(s.limit, s.c.options.MaxMessage), s); err != nil {
		return err
	}
	_, err := s.send(b.raw, 0)
	return err
}

// Recv decodes the next message. It gives io.EOF when the other end is done without an error.
func (s *Stream) Recv(into any) error {
	raw, err := s.message()
	if err != nil {
		return err
	}
	return s.decode(raw, into)
}

func (s *Stream) decode(raw []byte, into any) error {
	if err := msgpack.Decode(raw, into); err != nil {
		return structs.Errorf(structs.Invalid, s.object(), "cannot read the message: %w", err)
	}
	return nil
}

// Write sends raw bytes.
func (s *Stream) Write(b []byte) (int, error) { return s.send(b, 0) }

// send queues b in frames, with flags on the last one; the first one opens the stream if that has not been done.
func (s *Stream) send(b []byte, last byte) (n int, err error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for {
			if err := s.sendErrorLocked(); err != nil {
				return n, err
			}
			full, behind := len(c.out) >= outSoft, s.sendWindow == 0 && len(b) > n
			if !full && !behind {
				break
			}
			if s.stopped != nil {
				return n, s.stopped
			}
			if full {
				c.space.Wait()
			} else {
				s.cond.Wait()
			}
		}
		size := min(len(b)-n, maxFrame, s.sendWindow)
		flags := byte(0)
		if !s.started && c.accept == nil {
			flags |= flagOpen
			s.started = true
		}
		if n+size == len(b) {
			flags |= last
		}
		if size > 0 || flags != 0 {
			s.sendWindow -= size
			before := len(c.out)
			c.out = appendHeader(c.out, flags, s.id, size)
			c.out = append(c.out, b[n:n+size]...)
			c.queued += uint64(len(c.out) - before)
			c.work.Signal()
		}
		n += size
		if n == len(b) {
			break
		}
	}
	if s.requestEnd == 0 && c.accept == nil {
		s.requestEnd = c.queued // the first thing sent is the request
	}
	if last&flagFin != 0 {
		s.sent = true
	}
	if last&flagDone != 0 {
		delete(c.streams, s.id)
		s.endLocked(io.EOF)
	}
	return n, nil
}

func (s *Stream) sendErrorLocked() error {
	switch {
	case s.ended && s.err == io.EOF:
		return io.EOF
	case s.ended:
		return s.err
	case s.sent:
		return structs.Errorf(structs.Invalid, s.object(), "sent after the end: %w", net.ErrClosed)
	case s.writeBy.passed():
		return os.ErrDeadlineExceeded
	}
	return nil
}

// waitLocked waits until something can be read.
func (s *Stream) waitLocked() error {
	for len(s.chunks) == 0 {
		switch {
		case s.ended:
			return s.err
		case s.received:
			return io.EOF
		case s.stopped != nil:
			return s.stopped
		case s.readBy.passed():
			return os.ErrDeadlineExceeded
		}
		s.cond.Wait()
	}
	return nil
}

// takeLocked takes up to n bytes of the first chunk.
func (s *Stream) takeLocked(n int) []byte {
	first := s.chunks[0]
	if n >= len(first) {
		s.chunks[0] = nil
		s.chunks = s.chunks[1:]
	} else {
		s.chunks[0] = first[n:]
		first = first[:n:n]
	}
	s.unreported += len(first)
	if s.unreported >= window/2 && !s.received && !s.ended {
		s.recvWindow += s.unreported
		s.c.controlLocked(flagWindow, s.id, s.unreported, nil)
		s.unreported = 0
	}
	return first
}

// Read reads raw bytes.
func (s *Stream) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if err := s.waitLocked(); err != nil {
		return 0, err
	}
	return copy(b, s.takeLocked(len(b))), nil
}

// message reads the next one: 4 bytes of length, then it. The result is the caller's.
func (s *Stream) message() ([]byte, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	head, err := s.exactlyLocked(4)
	if err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head)
	if int64(size) > int64(s.limit) {
		return nil, structs.Errorf(structs.Exhausted, s.object(), "the message has %d bytes, more than the %d allowed",
			size, s.limit)
	}
	return s.exactlyLocked(int(size))
}

// exactlyLocked reads n bytes, without copying when they are in one chunk. It gives io.EOF only at the beginning.
func (s *Stream) exactlyLocked(n int) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	if err := s.waitLocked(); err != nil {
		return nil, err
	}
	all := s.takeLocked(n)
	for len(all) < n {
		if err := s.waitLocked(); err != nil {
			if err == io.EOF {
				err = structs.Errorf(structs.Unknown, s.object(), "it ended within a message: %w", io.ErrUnexpectedEOF)
			}
			return nil, err
		}
		all = append(all, s.takeLocked(n-len(all))...)
	}
	return all, nil
}

// CloseWrite says that nothing more is sent: the other end reads io.EOF after what was.
func (s *Stream) CloseWrite() error {
	s.c.mu.Lock()
	sent := s.sent
	s.c.mu.Unlock()
	if sent {
		return nil
	}
	_, err := s.send(nil, flagFin)
	return err
}

// Close ends both directions. The other end still reads what was sent, but its context ends: for an orderly end,
// CloseWrite and read until io.EOF first.
func (s *Stream) Close() error {
	s.finish(nil)
	return nil
}

// finish tells the other end that the stream is over, with an error or well.
func (s *Stream) finish(err *structs.Error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.ended {
		return
	}
	var raw []byte
	if err != nil {
		raw = encodeError(err)
	}
	if s.started || s.c.accept != nil {
		s.c.controlLocked(flagDone, s.id, len(raw), raw)
	}
	delete(s.c.streams, s.id)
	s.endLocked(structs.Errorf(structs.Unknown, s.object(), "closed: %w", net.ErrClosed))
}

// abort gives the stream up because the caller's context ended.
func (s *Stream) abort(cause error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.ended {
		return
	}
	kind := structs.Unavailable
	if s.askedLocked() {
		kind = structs.Unknown
	} else {
		s.c.takeBackLocked(s.id)
	}
	if s.started || s.c.accept != nil {
		s.c.controlLocked(flagReset, s.id, 0, nil)
	}
	delete(s.c.streams, s.id)
	why := "gave up waiting: %w"
	if errors.Is(cause, context.DeadlineExceeded) {
		why = "no answer in time: %w"
	}
	s.endLocked(structs.Errorf(kind, s.object(), why, cause))
}

// SetDeadline and its relatives end blocked and future reads and writes with os.ErrDeadlineExceeded.
func (s *Stream) SetDeadline(t time.Time) error {
	s.readBy.set(s, t)
	s.writeBy.set(s, t)
	return nil
}

// SetReadDeadline is about Read and Recv.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.readBy.set(s, t)
	return nil
}

// SetWriteDeadline is about Write and Send.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.writeBy.set(s, t)
	return nil
}

// deadline wakes the stream when it passes.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func (d *deadline) set(s *Stream, t time.Time) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	d.stop()
	d.at = t
	if left := time.Until(t); !t.IsZero() && left > 0 && !s.ended {
		d.timer = time.AfterFunc(left, func() {
			s.c.mu.Lock()
			defer s.c.mu.Unlock()
			s.cond.Broadcast()
			s.c.space.Broadcast()
		})
	}
	s.cond.Broadcast()
	s.c.space.Broadcast()
}
