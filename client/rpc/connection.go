package rpc

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/proffer/proffer/structs"
)

const (
	outSoft   = 512 << 10        // bytes that wait to be written before streams wait
	outHard   = 4 << 20          // bytes, with answers to the peer that cannot wait, before it is cut off: it does not read
	outKeep   = 64 << 10         // bytes of an idle buffer that are kept
	writeTime = 30 * time.Second // of one write to the connection
	readSize  = 8 << 10          // of the read buffer
)

// connection multiplexes streams over one net.Conn. Two goroutines belong to it, one reading and one writing; wait waits
// for them. One mutex guards everything: what is done under it is copying a few kilobytes at most.
type connection struct {
	conn    net.Conn
	options Options
	accept  func(*Stream) // server: runs a new stream; called by the reading goroutine, must not block
	wg      sync.WaitGroup

	mu      sync.Mutex
	space   sync.Cond // out got shorter, or a stream or the connection failed
	work    sync.Cond // out got longer, or the connection failed
	streams map[uint32]*Stream
	lastID  uint32
	out     []byte
	queued  uint64 // bytes ever put into out
	handed  uint64 // bytes ever given to the system, or at least those that it took when a write failed
	writing bool
	reason  error // why it is being closed
	err     error // why it failed; nil while it works
	failed  chan struct{}
	goAway  bool // the peer wants no new streams
	leaving bool // we want no new streams
	heard   bool // since the last tick
	probed  bool // a ping is out
	idle    time.Duration
	ticker  *time.Timer
}

func newConnection(conn net.Conn, o Options, accept func(*Stream)) *connection {
	c := &connection{
		conn:    conn,
		options: o,
		accept:  accept,
		streams: map[uint32]*Stream{},
		failed:  make(chan struct{}),
	}
	c.space.L, c.work.L = &c.mu, &c.mu
	return c
}

// run starts the goroutines; failed closes when the connection is over.
func (c *connection) run() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ticker = time.AfterFunc(c.options.KeepAlive, c.tick)
	c.wg.Go(c.read)
	c.wg.Go(c.write)
}

func (c *connection) wait() { c.wg.Wait() }

func (c *connection) remote() string { return c.conn.RemoteAddr().String() }

// fail ends the connection and every stream on it, once it is known what the write under way has sent.
func (c *connection) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endLocked(err)
}

func (c *connection) endLocked(err error) {
	if c.reason == nil {
		c.reason = err
	}
	c.conn.Close()
	for c.writing {
		c.space.Wait()
	}
	c.failLocked(c.reason)
}

func (c *connection) failLocked(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	close(c.failed)
	if c.ticker != nil {
		c.ticker.Stop()
	}
	for _, s := range c.streams {
		s.endLocked(c.lostLocked(s))
	}
	clear(c.streams)
	c.out = nil
	c.space.Broadcast()
	c.work.Broadcast()
	c.conn.Close()
}

// lostLocked says what the end of the connection means for a stream: the peer cannot have acted on a request that it did
// not get in full.
func (c *connection) lostLocked(s *Stream) error {
	kind := structs.Unavailable
	if s.askedLocked() {
		kind = structs.Unknown
	}
	return structs.Errorf(kind, s.object(), "lost the connection: %w", c.err)
}

// tick probes a silent connection, and closes one that stays silent or that nobody uses.
func (c *connection) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	switch {
	case c.heard:
		c.probed = false
	case c.probed:
		c.endLocked(errors.New("the other side does not answer"))
		return
	default:
		c.probed = true
		c.controlLocked(flagPing, 0, 0, nil)
	}
	c.heard = false
	if len(c.streams) > 0 {
		c.idle = 0
	} else if c.idle += c.options.KeepAlive; c.accept == nil && c.idle > c.options.IdleClose {
		c.endLocked(errors.New("closed because nobody used it"))
		return
	}
	c.ticker.Reset(c.options.KeepAlive)
}

// controlLocked queues a frame that must not wait.
func (c *connection) controlLocked(flags byte, id uint32, length int, payload []byte) {
	if c.err != nil {
		return
	}
	if len(c.out) > outHard {
		c.failLocked(errors.New("the other side does not read"))
		return
	}
	before := len(c.out)
	c.out = appendHeader(c.out, flags, id, length)
	c.out = append(c.out, payload...)
	c.queued += uint64(len(c.out) - before)
	c.work.Signal()
}

// takeBackLocked makes what is queued of a stream and not yet handed to the system mean nothing: the frames become pongs,
// which nobody minds. They keep their places, so that positions stay what they are.
func (c *connection) takeBackLocked(id uint32) {
	for rest := c.out; len(rest) >= headerSize; {
		flags, of, length := parseHeader(rest)
		if flags&flagWindow != 0 {
			length = 0
		}
		if of == id && flags&flagWindow == 0 {
			rest[0] = flagPong
		}
		rest = rest[headerSize+length:]
	}
}

// open makes a new stream without saying so to the peer: its first frame does. Callers hold a slot of their pool.
//
// A nil ctx makes a stream without a context of its own, for a call.
func (c *connection) open(ctx context.Context, method string) (*Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, structs.Errorf(structs.Unavailable, method, "lost the connection: %w", c.err)
	}
	for {
		c.lastID++
		if _, taken := c.streams[c.lastID]; !taken && c.lastID != 0 {
			break
		}
	}
	s := newStream(c, c.lastID, method)
	if ctx != nil {
		s.ctx, s.cancel = context.WithCancelCause(ctx)
	}
	c.streams[s.id] = s
	return s, nil
}

// usable reports whether new streams may be opened.
func (c *connection) usable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && !c.goAway
}

// leave tells the peer to open no more streams.
func (c *connection) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaving = true
	c.controlLocked(flagGoAway, 0, 0, nil)
}

// flush waits until everything queued was written, the connection failed, or the time is over.
func (c *connection) flush(limit time.Duration) {
	c.conn.SetWriteDeadline(time.Now().Add(limit))
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && (len(c.out) > 0 || c.writing) {
		c.space.Wait()
	}
}

func (c *connection) write() {
	var spare []byte
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for c.err == nil && len(c.out) == 0 {
			c.work.Wait()
		}
		if c.err != nil {
			return
		}
		batch := c.out
		c.out, c.writing = spare[:0], true
		if !c.leaving {
			c.conn.SetWriteDeadline(time.Now().Add(writeTime))
		}
		c.space.Broadcast()
		c.handed += uint64(len(batch))
		c.mu.Unlock()
		n, err := c.conn.Write(batch)
		c.mu.Lock()
		c.writing = false
		if err != nil {
			c.handed -= uint64(len(batch) - n)
			if c.reason != nil {
				err = c.reason // Close ended the write
			}
			c.failLocked(err)
			return
		}
		if len(c.out) == 0 {
			c.space.Broadcast() // for flush
		}
		if spare = batch; cap(spare) > outKeep {
			spare = nil
		}
	}
}

func (c *connection) read() {
	r := bufio.NewReaderSize(c.conn, readSize)
	for {
		if err := c.readFrame(r); err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the other side closed it")
			}
			c.fail(err)
			return
		}
	}
}

var errProtocol = errors.New("the other side broke the protocol")

func (c *connection) readFrame(r *bufio.Reader) error {
	header, err := r.Peek(headerSize)
	if err != nil {
		return err
	}
	flags, id, length := parseHeader(header)
	r.Discard(headerSize)
	var payload []byte
	if length > 0 && flags&flagWindow == 0 {
		if length > maxFrame {
			return errProtocol
		}
		payload = make([]byte, length) // becomes the stream's
		if _, err := io.ReadFull(r, payload); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = true
	switch {
	case flags&flagPing != 0:
		c.controlLocked(flagPong, 0, 0, nil)
		return nil
	case flags&flagPong != 0:
		return nil
	case flags&flagGoAway != 0:
		c.goAway = true
		return nil
	case flags&flagOpen != 0:
		if err := c.acceptLocked(id); err != nil {
			return err
		}
	}
	s := c.streams[id]
	if s == nil {
		return nil // what was under way when we forgot it
	}
	switch {
	case flags&flagWindow != 0:
		s.sendWindow += length
		s.cond.Broadcast()
	case flags&flagReset != 0:
		delete(c.streams, id)
		s.endLocked(structs.Errorf(structs.Unknown, s.object(), "the other side gave up: %w", context.Canceled))
	case flags&(flagDone|flagFin) == flagDone:
		delete(c.streams, id)
		s.doneLocked(payload)
	default:
		if length > s.recvWindow || s.received && length > 0 {
			return errProtocol
		}
		s.recvWindow -= length
		if length > 0 {
			s.chunks = append(s.chunks, payload)
		}
		s.received = s.received || flags&flagFin != 0
		if flags&flagDone != 0 {
			delete(c.streams, id)
			s.doneLocked(nil)
		}
		s.cond.Broadcast()
	}
	return nil
}

// acceptLocked begins a stream that the peer opened.
func (c *connection) acceptLocked(id uint32) error {
	if c.accept == nil || c.streams[id] != nil {
		return errProtocol
	}
	var refusal *structs.Error
	if c.leaving {
		refusal = structs.Errorf(structs.Unavailable, c.conn.LocalAddr().String(), "the agent stops")
	} else if len(c.streams) >= c.options.MaxStreams {
		refusal = structs.Errorf(structs.Exhausted, c.conn.LocalAddr().String(), "%d calls run on this connection",
			len(c.streams)).Advise("wait for some to end")
	}
	if refusal != nil {
		c.refuseLocked(id, refusal)
		return nil
	}
	s := newStream(c, id, "")
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	c.streams[id] = s
	c.accept(s)
	return nil
}

func (c *connection) refuseLocked(id uint32, err *structs.Error) {
	raw := encodeError(err)
	c.controlLocked(flagDone, id, len(raw), raw)
}
