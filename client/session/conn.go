package session

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/proffer/proffer/structs"
)

const (
	helloTime = 10 * time.Second // for the Hello of a new stream
	sendTime  = 30 * time.Second // for one message to be taken
	closeTime = time.Second      // for Bye to be taken
	maxQueue  = 1024             // messages
)

// Conn is the server's end of a session. Its methods may be called from several goroutines; only one may Recv.
type Conn struct {
	stream Stream
	work   chan struct{} // the queue has something
	wg     sync.WaitGroup

	mu      sync.Mutex
	queue   []*FromServer
	writing bool  // Welcome was called
	err     error // why it is over
	closing bool  // the queue holds nothing but Bye
}

// Accept reads the Hello of a new stream, within 10 s. Refuse or Welcome follows, and Close at the end.
func Accept(ctx context.Context, s Stream) (*Conn, *Hello, error) {
	raiseLimit(s)
	ctx, cancel := context.WithTimeout(ctx, helloTime)
	defer cancel()
	unhook := context.AfterFunc(ctx, func() { s.Close() })
	hello := &Hello{}
	err := s.Recv(hello)
	if !unhook() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		s.Close()
		return nil, nil, structs.Errorf(structs.Unavailable, "session", "the node did not say who it is: %w", err)
	}
	c := &Conn{stream: s, work: make(chan struct{}, 1)}
	if hello.Version != Version || hello.Node == nil {
		refusal := structs.Errorf(structs.Invalid, "session", "the node speaks version %d of the session and this server version %d",
			hello.Version, Version).Advise("bring both to versions that go together")
		c.Refuse(refusal)
		return nil, nil, refusal
	}
	return c, hello, nil
}

// Refuse answers why not, and closes.
func (c *Conn) Refuse(err *structs.Error) error { return c.refuse(&Welcome{Err: err}) }

// RefuseGone is Refuse for a node that is marked gone.
func (c *Conn) RefuseGone(g *Gone, err *structs.Error) error {
	return c.refuse(&Welcome{Gone: g, Err: err})
}

func (c *Conn) refuse(w *Welcome) error {
	defer time.AfterFunc(closeTime, func() { c.stream.Close() }).Stop()
	defer c.stream.Close()
	return c.stream.Send(w)
}

// Welcome takes the node in and starts the writer, which sends what was queued meanwhile. Call it once.
func (c *Conn) Welcome(w *Welcome) error {
	if err := c.sendNow(w); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.writing = true
	c.wg.Go(c.write)
	return nil
}

// Send queues a message and never blocks. When the node is 1,024 messages behind, or does not take one for 30 s, the
// session is cut off, and this and every later call returns why (Exhausted). The message must not be changed any more.
func (c *Conn) Send(m *FromServer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if len(c.queue) >= maxQueue {
		c.cutLocked(structs.Errorf(structs.Exhausted, "session", "the node is too slow: %d messages wait for it", maxQueue))
		return c.err
	}
	c.queue = append(c.queue, m)
	c.poke()
	return nil
}

// Recv returns the next message of the node. It gives io.EOF when the node ended the session, and why when it was cut off
// or closed here.
func (c *Conn) Recv() (*FromNode, error) {
	m := &FromNode{}
	if err := c.stream.Recv(m); err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.err != nil {
			return nil, c.err
		}
		return nil, err
	}
	return m, nil
}

var errClosed = structs.Errorf(structs.Unavailable, "session", "closed: %w", io.ErrClosedPipe)

// Close says Bye with a reason (nil: without a word), and ends the session; what is queued is given up. It waits for the
// writer, for about a second at most.
func (c *Conn) Close(reason *structs.Error) error {
	c.mu.Lock()
	if c.err == nil {
		c.queue = nil
		c.err = errClosed
		if reason != nil {
			c.err = reason
			c.queue = []*FromServer{{Bye: reason}}
		}
		c.closing = true
		c.poke()
	}
	writing := c.writing
	c.mu.Unlock()
	if writing {
		late := time.AfterFunc(closeTime, func() { c.stream.Close() })
		c.wg.Wait()
		late.Stop()
	}
	return c.stream.Close()
}

// cutLocked ends the session at once.
func (c *Conn) cutLocked(err error) {
	if c.err == nil {
		c.err = err
	}
	c.queue = nil
	c.poke()
	c.wg.Go(func() { c.stream.Close() }) // not under the lock
}

func (c *Conn) poke() {
	select {
	case c.work <- struct{}{}:
	default:
	}
}

// write sends what is queued until the session is over.
func (c *Conn) write() {
	for range c.work {
		c.mu.Lock()
		batch, last := c.queue, c.err != nil
		c.queue = nil
		c.mu.Unlock()
		for _, m := range Coalesce(batch) {
			if err := c.sendNow(m); err != nil {
				c.mu.Lock()
				c.cutLocked(err)
				c.mu.Unlock()
				return
			}
		}
		if last {
			return
		}
	}
}

// sendNow sends one message, or cuts the node off when it does not take it in time.
func (c *Conn) sendNow(v any) error {
	slow := time.AfterFunc(sendTime, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.cutLocked(structs.Errorf(structs.Exhausted, "session", "the node is too slow: it took no message for %v", sendTime))
	})
	defer slow.Stop()
	err := c.stream.Send(v)
	if errors.Is(err, io.EOF) {
		return structs.Errorf(structs.Unavailable, "session", "the node ended it: %w", err)
	}
	return err
}

// Coalesce joins what waited together: deltas of the desired state that follow each other become one, and only the newest
// renewal is sent. The messages are not changed.
func Coalesce(queue []*FromServer) []*FromServer {
	if len(queue) < 2 {
		return queue
	}
	var out []*FromServer
	var renewed *FromServer
	var items *FromServer // of out, ours to change
	var delta *Desired    // the last of out, ours to change
	for _, m := range queue {
		switch {
		case m.Renewed != nil:
			renewed = m
			continue
		case m.Items != nil && items != nil:
			items.Items = joinItems(items.Items, m.Items)
		case m.Items != nil:
			items = &FromServer{Items: slices.Clone(m.Items)}
			out = append(out, items)
		case m.Desired == nil || m.Desired.Full:
			delta = nil
			out = append(out, m)
		case delta != nil && delta.Confirmed == m.Desired.Confirmed:
			delta.join(m.Desired)
		default:
			delta = &Desired{Index: m.Desired.Index, Confirmed: m.Desired.Confirmed}
			delta.join(m.Desired)
			out = append(out, &FromServer{Desired: delta})
		}
	}
	if renewed != nil {
		out = append([]*FromServer{renewed}, out...)
	}
	return out
}

// join applies a later delta to d: the newest word on each allocation and volume stays.
func (d *Desired) join(next *Desired) {
	d.Index = next.Index
	d.Jobs = append(d.Jobs, next.Jobs...)
	for _, id := range next.Gone {
		d.Allocs = deleteAlloc(d.Allocs, id)
		d.Gone = append(d.Gone, id)
	}
	for _, a := range next.Allocs {
		d.Allocs = append(deleteAlloc(d.Allocs, a.ID), a)
	}
	for _, v := range next.Volumes {
		d.Volumes = append(slices.DeleteFunc(d.Volumes, func(x *structs.Volume) bool { return x.ID == v.ID }), v)
	}
}

func deleteAlloc(allocs []*structs.Allocation, id structs.AllocID) []*structs.Allocation {
	for i, a := range allocs {
		if a.ID == id {
			return append(allocs[:i], allocs[i+1:]...)
		}
	}
	return allocs
}
