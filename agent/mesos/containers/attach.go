package containers

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"bufio"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/client/logs"
	"github.com/proffer/proffer/drivers"
)

// Bounds of a connection.
const (
	maxInput = 256 << 10        // bytes of a record of input
	patience = 60 * time.Second // for the work of a call
	slowRead = 30 * time.Second // for the first record of input
	linger   = 2 * time.Second  // for a client to see the answer while it still sends
	recent   = 16 << 10         // bytes of what a task said before that whoever attaches is shown, of each stream
	lostBeat = 5                // heartbeats in a row that a client may miss
)

// format is how an output is sent.
type format struct {
	encoding wire.Encoding
	records  bool // as recordio: the media type of a record is said apart
}

// formatOf returns what a client takes. Clients in use send Accept twice; recordio is meant when it is among them.
func formatOf(r *http.Request) (f format, err error) {
	for _, line := range r.Header.Values("Accept") {
		for one := range strings.SplitSeq(line, ",") {
			kind, _, _ := mime.ParseMediaType(strings.TrimSpace(one))
			f.records = f.records || kind == mesos.RecordIO
		}
	}
	inner := r.Header.Get("Message-Accept")
	switch {
	case !f.records && inner != "":
		return f, mesos.Refuse(http.StatusNotAcceptable, "Expecting 'Message-Accept' to be not set unless 'Accept' allows %s", mesos.RecordIO)
	case !f.records:
		f.encoding, err = mesos.Acceptable(r)
		return f, err
	case inner == "":
		return f, nil
	}
	asked := &http.Request{Header: http.Header{"Accept": r.Header.Values("Message-Accept")}}
	f.encoding, err = mesos.Acceptable(asked)
	return f, err
}

// send sends an output until its end, or until the client goes. Heartbeats find out whether it did.
func (c *Containers) send(w http.ResponseWriter, r *http.Request, as format, from *reader) {
	out := mesos.NewRecords(w, as.encoding, as.records)
	err := out.Flush() // clients wait for the head
	for next := time.Now().Add(beatEvery); err == nil; {
		waiting, cancel := context.WithDeadline(r.Context(), next)
		p, failed := from.next(waiting)
		cancel()
		switch {
		case r.Context().Err() != nil || errors.Is(failed, io.EOF):
			return
		case failed != nil:
			err = out.Send(heartbeat())
			next = time.Now().Add(beatEvery)
		default:
			err = out.Send(&wire.ProcessIO{Type: new(wire.ProcessIOData), Data: &wire.ProcessData{Type: new(p.stream), Data: p.data}})
		}
	}
}

func heartbeat() *wire.ProcessIO {
	return &wire.ProcessIO{Type: new(wire.ProcessIOControl), Control: &wire.ProcessControl{Type: new(wire.ControlHeartbeat),
		Heartbeat: &wire.ProcessHeartbeat{Interval: &wire.DurationInfo{Nanoseconds: int64(beatEvery)}}}}
}

// attachOutput sends what a container writes: of a task what is in its logs, from shortly before on.
func (c *Containers) attachOutput(w http.ResponseWriter, r *http.Request, id *wire.ContainerID) error {
	as, err := formatOf(r)
	if err != nil {
		return err
	}
	p, err := c.find(id)
	if err != nil {
		return err
	}
	if p.inner {
		x, err := c.within(p, id)
		if err != nil {
			return err
		}
		if x.own == nil {
			from := x.out.read()
			defer from.close()
			c.send(w, r, as, from)
			return nil
		}
		c.sendFiles(w, r, as, func(ctx context.Context, stream logs.Stream, to io.Writer) error {
			return c.node.DetachedLogs(ctx, *x.own, stream, recent, x.done, to)
		})
		return nil
	}
	c.sendFiles(w, r, as, func(ctx context.Context, stream logs.Stream, to io.Writer) error {
		_, err := c.node.Logs(ctx, client.LogRequest{Alloc: p.alloc, Task: p.task, Stream: string(stream), Tail: recent, Follow: true, Attach: true}, to)
		return err
	})
	return nil
}

// sendFiles sends what is read from the files of both streams.
func (c *Containers) sendFiles(w http.ResponseWriter, r *http.Request, as format, read func(context.Context, logs.Stream, io.Writer) error) {
	out := newOutput()
	from := out.read()
	ctx, cancel := context.WithCancel(r.Context())
	var reading, streams sync.WaitGroup
	defer reading.Wait()
	defer cancel()
	for name, stream := range map[logs.Stream]wire.ProcessDataType{logs.Stdout: wire.DataStdout, logs.Stderr: wire.DataStderr} {
		streams.Go(func() {
			if err := read(ctx, name, out.writer(ctx, stream)); err != nil && ctx.Err() == nil {
				c.log.Warn("an output is not sent any more", "stream", name, "err", err)
			}
		})
	}
	reading.Go(func() { streams.Wait(); out.end() })
	c.send(w, r, as, from)
}

// Streamed reports whether a request is a stream of records, which Input serves.
func Streamed(r *http.Request) bool {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return kind == mesos.RecordIO
}

// Input serves a stream of input: records of which the first names the container.
func (c *Containers) Input(w http.ResponseWriter, r *http.Request) error {
	if err := mesos.OnlyPost(w, r); err != nil {
		return err
	}
	given := r.Header.Get("Message-Content-Type")
	if given == "" {
		return mesos.Refuse(http.StatusBadRequest, "Expecting 'Message-Content-Type' to be set with %s", mesos.RecordIO)
	}
	encoding := wire.JSON
	switch kind, _, _ := mime.ParseMediaType(given); kind {
	case wire.JSON.ContentType():
	case wire.Protobuf.ContentType():
		encoding = wire.Protobuf
	default:
		return mesos.Refuse(http.StatusUnsupportedMediaType, "Expecting 'Message-Content-Type' of %s or %s", wire.JSON.ContentType(), wire.Protobuf.ContentType())
	}
	in := &input{body: bufio.NewReaderSize(r.Body, 4<<10), rc: http.NewResponseController(w), encoding: encoding}
	in.rc.EnableFullDuplex() // the answer does not wait for the end of the body
	in.rc.SetReadDeadline(time.Now().Add(slowRead))
	defer func() { in.rc.SetReadDeadline(time.Now().Add(linger)) }()
	first, err := in.next()
	switch {
	case errors.Is(err, io.EOF):
		return mesos.Refuse(http.StatusBadRequest, "Failed to read body: it has no record")
	case err != nil:
		return err
	case first.Type == nil || *first.Type != wire.AttachInputContainer || first.ContainerID == nil:
		return mesos.Refuse(http.StatusBadRequest, "Expecting 'attach_container_input.container_id' to be present in the first record")
	}
	in.rc.SetReadDeadline(time.Time{}) // a person may think
	p, err := c.find(first.ContainerID)
	if err != nil {
		return err
	}
	to, err := c.typist(r.Context(), p, first.ContainerID)
	if err != nil {
		return err
	}
	defer to.close()
	if !c.take(p.key) {
		return mesos.Refuse(http.StatusConflict, "Somebody else is attached to the input of container '%.300s'", p.key)
	}
	defer c.release(p.key)
	return in.pass(w, r, to)
}

// take notes that somebody types for a container; false: somebody does already.
func (c *Containers) take(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.typing[key]
	c.typing[key] = true
	return !taken
}

func (c *Containers) release(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.typing, key)
}

// typist is where input goes.
type typist struct {
	write  func([]byte) error
	end    func() // of the input; nil on a terminal, where a person types something for it
	resize func(drivers.Size)
	over   <-chan struct{} // closed when nobody reads any more
	close  func()
}

// typist opens the input of a container, or the terminal of a task.
func (c *Containers) typist(ctx context.Context, p place, id *wire.ContainerID) (*typist, error) {
	if p.inner {
		x, err := c.within(p, id)
		if err != nil {
			return nil, err
		}
		if x.own != nil && x.tty {
			return terminal(ctx, x.done, func(ctx context.Context) (drivers.Terminal, error) {
				return c.node.DetachedTerminal(ctx, x.alloc, x.own.Name)
			})
		}
		if x.stdin == nil {
			return nil, mesos.Refuse(http.StatusBadRequest, "Container '%.300s' has no input: it was launched without a terminal, and is no session", p.key)
		}
		t := &typist{resize: func(drivers.Size) {}, over: x.done, close: func() {}}
		t.write = func(b []byte) error { _, err := x.stdin.Write(b); return err }
		if x.tty {
			t.resize = func(s drivers.Size) { resize(x.sizes, s) }
		} else {
			t.end = func() { x.stdin.Close() }
		}
		return t, nil
	}
	gone, err := c.node.Gone(p.alloc, p.task)
	if err != nil {
		return nil, refused(err)
	}
	return terminal(ctx, gone, func(ctx context.Context) (drivers.Terminal, error) { return c.node.Terminal(ctx, p.alloc, p.task) })
}

// terminal is where input for a terminal goes that the node has, until what is on it is over.
func terminal(ctx context.Context, over <-chan struct{}, open func(context.Context) (drivers.Terminal, error)) (*typist, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	t, err := open(ctx)
	if err != nil {
		return nil, refused(err)
	}
	return &typist{write: func(b []byte) error { _, err := t.Write(b); return err }, resize: func(s drivers.Size) { t.Resize(s) },
		over: over, close: func() { t.Close() }}, nil
}

// input is a stream of records.
type input struct {
	body     *bufio.Reader
	rc       *http.ResponseController
	encoding wire.Encoding
}

// next reads a record. io.EOF: there are no more.
func (in *input) next() (*wire.AttachContainerInput, error) {
	raw, err := wire.ReadRecordUpTo(in.body, maxInput)
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, mesos.Refuse(http.StatusBadRequest, "Failed to read body: %v", err)
	}
	call := &wire.AgentCall{}
	if err := in.encoding.Unmarshal(raw, call); err != nil {
		return nil, mesos.Refuse(http.StatusBadRequest, "Failed to parse body into Call: %v", err)
	}
	if call.Type == nil || *call.Type != wire.AgentAttachContainerInput || call.AttachInput == nil {
		return nil, mesos.Refuse(http.StatusUnsupportedMediaType, "Streaming requests are ATTACH_CONTAINER_INPUT alone")
	}
	return call.AttachInput, nil
}

// pass passes records on until there are no more, or nobody reads them any more.
func (in *input) pass(w http.ResponseWriter, r *http.Request, to *typist) error {
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() { // wakes the loop below, which waits for a client that may never send again
		defer close(watched)
		select {
		case <-to.over:
		case <-r.Context().Done():
		case <-ended:
			return
		}
		to.close()
		in.rc.SetReadDeadline(time.Unix(1, 0))
	}()
	defer func() { close(ended); <-watched }()
	var beat time.Duration // 0: the client sends no heartbeats
	for {
		if beat > 0 {
			in.rc.SetReadDeadline(time.Now().Add(lostBeat * beat))
		}
		if closed(to.over) || r.Context().Err() != nil { // after the deadline was set: whoever closed it sets another one later
			return answered(w)
		}
		record, err := in.next()
		if closed(to.over) {
			return answered(w)
		}
		switch {
		case errors.Is(err, io.EOF):
			return answered(w)
		case err != nil:
			return err
		case record.Type == nil || *record.Type != wire.AttachInputProcess || record.ProcessIO == nil || record.ProcessIO.Type == nil:
			return mesos.Refuse(http.StatusBadRequest, "Expecting 'attach_container_input.process_io' to be present in all records but the first")
		}
		switch m := record.ProcessIO; {
		case *m.Type == wire.ProcessIOData && m.Data != nil && m.Data.Type != nil && *m.Data.Type == wire.DataStdin:
			if len(m.Data.Data) > 0 {
				to.write(m.Data.Data) // an error: it reads no more, and its end is near
			} else if to.end != nil {
				to.end()
			}
		case *m.Type == wire.ProcessIOControl && m.Control != nil && m.Control.TTY != nil:
			if size := sizeOf(m.Control.TTY); size != nil {
				to.resize(*size)
			}
		case *m.Type == wire.ProcessIOControl && m.Control != nil && m.Control.Heartbeat != nil:
			if i := m.Control.Heartbeat.Interval; i != nil && i.Nanoseconds > 0 {
				beat = min(max(time.Duration(i.Nanoseconds), time.Second), time.Hour)
			}
		default:
			return mesos.Refuse(http.StatusBadRequest, "A record of input is neither STDIN nor a control message")
		}
	}
}

// answered answers a stream of input that is over. Of the body there may be more, which nobody wants.
func answered(w http.ResponseWriter) error {
	w.Header().Set("Connection", "close")
	w.WriteHeader(http.StatusOK)
	return nil
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
