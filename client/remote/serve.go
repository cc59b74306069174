package remote

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Serve registers a node's answers.
func Serve(s *rpc.Server, n *client.Client) {
	s.HandleStream(logsMethod, func(ctx context.Context, st *rpc.Stream) error {
		var req client.LogRequest
		if err := st.Request(&req); err != nil {
			return err
		}
		out := &output{}
		out.sender = sender{stream: st, wrap: func(b []byte) any {
			c := &chunk{Data: b, At: out.at}
			out.at += int64(len(b))
			return c
		}}
		end, err := n.Logs(ctx, req, out)
		if err != nil {
			return err
		}
		return st.Send(&chunk{At: end, Done: true})
	})
	s.HandleStream(readMethod, func(ctx context.Context, st *rpc.Stream) error {
		var req fileRequest
		if err := st.Request(&req); err != nil {
			return err
		}
		err := n.ReadFile(ctx, req.Alloc, req.Path, req.Offset, req.Limit,
			&sender{stream: st, wrap: func(b []byte) any { return &chunk{Data: b} }})
		if err != nil {
			return err
		}
		return st.Send(&chunk{Done: true})
	})
	s.HandleStream(packMethod, func(ctx context.Context, st *rpc.Stream) error {
		var req packRequest
		if err := st.Request(&req); err != nil {
			return err
		}
		if err := n.Pack(ctx, req.Alloc, req.Path, req.Name, &sender{stream: st, wrap: func(b []byte) any { return &chunk{Data: b} }}); err != nil {
			return err
		}
		return st.Send(&chunk{Done: true})
	})
	s.HandleStream(unpackMethod, func(ctx context.Context, st *rpc.Stream) error {
		var req fileRequest
		if err := st.Request(&req); err != nil {
			return err
		}
		in := &receiver{stream: st}
		copied, err := n.Unpack(ctx, req.Alloc, req.Path, in)
		if err == nil {
			_, err = io.Copy(io.Discard, in) // a tar stream may have something behind its end
		}
		if err != nil {
			return err
		}
		return st.Send(copied)
	})
	s.HandleStream(execMethod, func(ctx context.Context, st *rpc.Stream) error { return serveExec(ctx, st, n) })
	s.HandleStream(forwardMethod, func(ctx context.Context, st *rpc.Stream) error { return serveForward(ctx, st, n) })
	rpc.Handle(s, listMethod, func(ctx context.Context, req *fileRequest) (*[]File, error) {
		files, err := n.List(ctx, req.Alloc, req.Path)
		return &files, err
	})
	rpc.Handle(s, statMethod, func(ctx context.Context, req *fileRequest) (*File, error) {
		file, err := n.Stat(ctx, req.Alloc, req.Path)
		return &file, err
	})
	rpc.Handle(s, statsMethod, func(ctx context.Context, req *taskRequest) (*statsReply, error) {
		stats, err := n.Stats(ctx, req.Alloc)
		return &statsReply{stats}, err
	})
	rpc.Handle(s, usageMethod, func(ctx context.Context, _ *struct{}) (*client.Usage, error) { return n.Usage(ctx, 0) })
	rpc.Handle(s, signalMethod, func(ctx context.Context, req *taskRequest) (*struct{}, error) {
		return &struct{}{}, n.Signal(ctx, req.Alloc, req.Task, req.Signal)
	})
}

// sender turns what is written into messages of bounded size. Its stream blocks while the reader is slow.
type sender struct {
	stream *rpc.Stream
	wrap   func([]byte) any
	lock   *sync.Mutex // shared by two senders of one stream; nil: alone
}

func (s *sender) Write(b []byte) (int, error) {
	for sent := 0; sent < len(b); {
		part := b[sent:min(len(b), sent+maxChunk)]
		if err := s.send(part); err != nil {
			return sent, err
		}
		sent += len(part)
	}
	return len(b), nil
}

func (s *sender) send(part []byte) error {
	if s.lock != nil {
		s.lock.Lock()
		defer s.lock.Unlock()
	}
	return s.stream.Send(s.wrap(part))
}

// receiver reads what a sender at the other end wrote, up to the message that says it is all.
type receiver struct {
	stream *rpc.Stream
	left   []byte
	done   bool
}

func (r *receiver) Read(b []byte) (int, error) {
	for len(r.left) == 0 {
		if r.done {
			return 0, io.EOF
		}
		var c chunk
		if err := r.stream.Recv(&c); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		r.left, r.done = c.Data, c.Done
	}
	n := copy(b, r.left)
	r.left = r.left[n:]
	return n, nil
}

// output is a sender that knows the offset of what it sends.
type output struct {
	sender
	at int64
}

// At sets the offset of what is written next.
func (o *output) At(offset int64) { o.at = offset }

// serveExec runs a command for the length of the stream: when the caller goes, the command's context ends.
func serveExec(ctx context.Context, st *rpc.Stream, n *client.Client) error {
	var req execRequest
	if err := st.Request(&req); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var sending sync.Mutex
	cmd := drivers.Command{Args: req.Args, Arg0: req.Arg0, Env: req.Env, TTY: req.TTY,
		Stdout: &sender{st, func(b []byte) any { return &fromTask{Stdout: b} }, &sending},
		Stderr: &sender{st, func(b []byte) any { return &fromTask{Stderr: b} }, &sending},
	}
	sizes := make(chan drivers.Size, 1)
	if req.TTY {
		cmd.Resize = sizes
		if req.Size != nil {
			sizes <- *req.Size
		}
	}
	stdin, input := io.Pipe()
	if req.Stdin || req.TTY {
		cmd.Stdin = stdin
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		err := receiveInput(ctx, st, input, sizes)
		input.CloseWithError(err)
		if err != nil && !errors.Is(err, io.EOF) {
			cancel() // the caller is gone
		}
	})
	exit, err := n.Exec(ctx, req.Alloc, req.Task, cmd)
	stdin.CloseWithError(io.ErrClosedPipe)
	last := &fromTask{Exit: &exit}
	if err != nil { // an error that is returned would come after the end of the stream
		last = &fromTask{Failed: structs.AsError(err)}
	}
	sending.Lock()
	err = st.Send(last)
	sending.Unlock()
	cancel()
	if err == nil {
		err = st.CloseWrite()
	}
	st.Close() // ends the reader of input
	reading.Wait()
	return err
}

// receiveInput passes on what the caller types until it says EOF (nil) or is gone.
func receiveInput(ctx context.Context, st *rpc.Stream, input *io.PipeWriter, sizes chan drivers.Size) error {
	for open := true; ; {
		var m toTask
		if err := st.Recv(&m); err != nil {
			if errors.Is(err, io.EOF) {
				return structs.Errorf(structs.Unavailable, "exec", "the caller is gone")
			}
			return err
		}
		switch {
		case m.Size != nil:
			select { // only the newest size matters
			case <-sizes:
			default:
			}
			select {
			case sizes <- *m.Size:
			case <-ctx.Done():
				return ctx.Err()
			}
		case m.EOF && open:
			open = false
			input.Close()
		case open:
			if _, err := input.Write(m.Stdin); err != nil {
				open = false // the command reads no more
			}
		}
	}
}
