//go:build unix

package supervisor

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// link is one connection: requests go out, answers come in, in any order.
type link struct {
	conn     *net.UnixConn
	version  int // of the supervisor
	pid      int
	settings []string

	writing sync.Mutex
	mu      sync.Mutex
	next    uint64
	pending map[uint64]chan *response // nil once the connection ended
	done    chan struct{}             // closed when the reading goroutine ended
}

// link returns the connection, a new one when the last one ended.
func (c *Client) link(ctx context.Context) (*link, error) {
	c.dialing.Lock()
	defer c.dialing.Unlock()
	c.mu.Lock()
	l, closed := c.conn, c.closed
	c.mu.Unlock()
	if closed {
		return nil, structs.Errorf(structs.Unavailable, "supervisor", "the connection was closed")
	}
	if l != nil {
		select {
		case <-l.done:
		default:
			return l, nil
		}
	}
	var err error
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if l, err = c.dial(ctx); err == nil {
			break
		}
		if err := c.spawn(ctx); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		l.conn.Close()
		<-l.done
		return nil, structs.Errorf(structs.Unavailable, "supervisor", "the connection was closed")
	}
	c.conn = l
	cores := c.cores
	c.mu.Unlock()
	if len(cores) > 0 { // a supervisor that is new does not know it
		if _, err := l.call(ctx, &request{Op: opKeepOff, Cores: cores}, nil); err != nil {
			c.opts.Logger.Warn("tasks may run on cores that others have for themselves", "why", err)
		}
	}
	return l, nil
}

func (c *Client) dial(ctx context.Context) (*link, error) {
	conn, err := dialSocket(c.opts.Dir)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	frame, err := encode(hello{Version: Version, PID: os.Getpid()})
	if err == nil {
		_, err = conn.Write(frame)
	}
	r := bufio.NewReaderSize(conn, 16<<10)
	var theirs hello
	if err == nil {
		err = decode(r, maxRequest, &theirs)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	l := &link{conn: conn, version: theirs.Version, pid: theirs.PID, settings: theirs.Settings, pending: map[uint64]chan *response{}, done: make(chan struct{})}
	go l.read(r)
	return l, nil
}

// read hands answers to who waits for them, until the connection ends.
func (l *link) read(r io.Reader) {
	defer close(l.done)
	for {
		resp := new(response)
		if decode(r, maxResponse, resp) != nil {
			break
		}
		l.mu.Lock()
		ch := l.pending[resp.ID]
		delete(l.pending, resp.ID)
		l.mu.Unlock()
		if ch != nil {
			ch <- resp // it has room for the one answer
		}
	}
	l.conn.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ch := range l.pending {
		close(ch)
	}
	l.pending = nil
}

var errLost = errors.New("the connection to the supervisor ended")

// call sends a request and waits for its answer. errLost means that it may or may not have been done.
func (l *link) call(ctx context.Context, req *request, files []*os.File) (*response, error) {
	ch := make(chan *response, 1)
	l.mu.Lock()
	if l.pending == nil {
		l.mu.Unlock()
		return nil, errLost
	}
	l.next++
	sent := *req
	sent.ID = l.next
	l.pending[sent.ID] = ch
	l.mu.Unlock()
	if err := l.send(&sent, files); err != nil {
		l.mu.Lock()
		delete(l.pending, sent.ID)
		l.mu.Unlock()
		return nil, err
	}
	select {
	case resp, ok := <-ch:
		if !ok {
			return nil, errLost
		}
		return resp, nil
	case <-ctx.Done():
		l.send(&request{ID: sent.ID, Op: opCancel}, nil)
		if len(files) > 0 {
			awaitEnd(ch)
		}
		l.mu.Lock()
		delete(l.pending, sent.ID)
		l.mu.Unlock()
		return nil, ctx.Err()
	}
}

// endTime bounds how long a caller that gave up a command waits for its end: longer than that takes.
const endTime = 15 * time.Second

// awaitEnd waits until a command that was given up has ended. Its streams close next, and if that were what it ends of, as with a terminal
// that hangs up, it would have ended by itself, and what it began would go on.
func awaitEnd(answer <-chan *response) {
	timer := time.NewTimer(endTime)
	defer timer.Stop()
	select {
	case <-answer:
	case <-timer.C:
	}
}

func (l *link) send(req *request, files []*os.File) error {
	frame, err := encode(req)
	if err != nil {
		return err
	}
	if len(frame) > maxRequest {
		return structs.Errorf(structs.Exhausted, "task "+req.Task, "its arguments and environment take %d bytes, more than %d", len(frame), maxRequest)
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	if len(files) > 0 {
		n, _, err := l.conn.WriteMsgUnix(frame[:1], rightsOf(files), nil)
		if err != nil {
			l.conn.Close()
			return errLost
		}
		frame = frame[n:]
	}
	if _, err := l.conn.Write(frame); err != nil {
		l.conn.Close()
		return errLost
	}
	return nil
}

// do sends a request that may be repeated, on a new connection when one is lost, until ctx ends.
func (c *Client) do(ctx context.Context, req *request) (*response, error) {
	for {
		l, err := c.link(ctx)
		if err != nil {
			return nil, err
		}
		resp, err := l.call(ctx, req, nil)
		if errors.Is(err, errLost) {
			<-l.done
			continue
		}
		return resp, failure(resp, err)
	}
}

func failure(resp *response, err error) error {
	if err != nil {
		return err
	}
	if resp.Err != nil && resp.Exit != nil {
		return &drivers.NoProgram{Code: resp.Exit.Code, Err: resp.Err}
	}
	if resp.Err != nil {
		return resp.Err
	}
	return nil
}
