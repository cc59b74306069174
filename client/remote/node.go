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

// Node is a way to one node. Its methods may be called from any goroutine and end with their context.
type Node struct {
	Pool    *rpc.Pool
	Address string // of its cluster port
	Name    string // for messages
}

// LogsRequest asks for the output of one task, of one or both streams.
type LogsRequest struct {
	Alloc          structs.AllocID
	Task           string
	Stdout, Stderr bool
	Follow         bool
	Offset, Tail   int64
}

// LogFrame is a piece of output.
type LogFrame struct {
	Stream  string
	Offset  int64 // of Data's first byte
	Data    []byte
	Skipped int64 // bytes before Data that rotation removed
}

// Logs calls emit with the output of the wanted streams, one call at a time, in order within each stream.
func (n *Node) Logs(ctx context.Context, req *LogsRequest, emit func(*LogFrame) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var emitting sync.Mutex
	var streams sync.WaitGroup
	for name, wanted := range map[string]bool{"stdout": req.Stdout, "stderr": req.Stderr} {
		if !wanted {
			continue
		}
		streams.Go(func() {
			next := req.Offset // what should come next
			if req.Tail > 0 {
				next = -1 // not known
			}
			err := n.chunks(ctx, logsMethod, &client.LogRequest{Alloc: req.Alloc, Task: req.Task, Stream: name,
				Offset: req.Offset, Tail: req.Tail, Follow: req.Follow}, func(c *chunk) error {
				f := &LogFrame{Stream: name, Offset: c.At, Data: c.Data}
				if next >= 0 {
					f.Skipped = max(c.At-next, 0)
				}
				next = c.At + int64(len(c.Data))
				emitting.Lock()
				defer emitting.Unlock()
				return emit(f)
			})
			if err != nil {
				cancel(err)
			}
		})
	}
	streams.Wait()
	return context.Cause(ctx)
}

// Read writes limit bytes (all when it is negative) of a file from offset to w.
func (n *Node) Read(ctx context.Context, alloc structs.AllocID, path string, offset, limit int64, w io.Writer) error {
	if limit == 0 {
		return nil
	}
	return n.chunks(ctx, readMethod, &fileRequest{alloc, path, offset, max(limit, 0)}, func(c *chunk) error {
		_, err := w.Write(c.Data)
		return err
	})
}

// Pack writes a file or folder to w as a tar stream in which it is called name; empty: as it is.
func (n *Node) Pack(ctx context.Context, alloc structs.AllocID, path, name string, w io.Writer) error {
	return n.chunks(ctx, packMethod, &packRequest{alloc, path, name}, func(c *chunk) error {
		_, err := w.Write(c.Data)
		return err
	})
}

// Unpack takes a tar stream apart into a folder.
func (n *Node) Unpack(ctx context.Context, alloc structs.AllocID, path string, r io.Reader) (*client.Copied, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	st, err := n.Pool.Stream(ctx, n.Address, unpackMethod, &fileRequest{Alloc: alloc, Path: path})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	out := &sender{stream: st, wrap: func(b []byte) any { return &chunk{Data: b} }}
	_, failed := io.Copy(writing{out}, r)
	var refused *refusal
	if failed != nil && !errors.As(failed, &refused) {
		return nil, failed // r broke off; the node keeps what it has
	}
	if failed == nil {
		st.Send(&chunk{Done: true}) // a node that needs no more has answered, or says why not
	}
	copied := &client.Copied{}
	if err := st.Recv(copied); err != nil {
		return nil, err
	}
	return copied, nil
}

// writing marks the errors of sending, which tell less than what the node says then.
type writing struct{ *sender }

func (w writing) Write(b []byte) (int, error) {
	n, err := w.sender.Write(b)
	if err != nil {
		err = &refusal{err}
	}
	return n, err
}

type refusal struct{ error }

// chunks calls take with the pieces of a stream until its end.
func (n *Node) chunks(ctx context.Context, method string, req any, take func(*chunk) error) error {
	st, err := n.Pool.Stream(ctx, n.Address, method, req)
	if err != nil {
		return err
	}
	defer st.Close()
	for {
		var c chunk
		if err := st.Recv(&c); err != nil {
			if errors.Is(err, io.EOF) {
				err = structs.Errorf(structs.Unavailable, "node "+n.Name, "it ended the stream early")
			}
			return err
		}
		if c.Done {
			return nil
		}
		if err := take(&c); err != nil {
			return err
		}
	}
}

// List returns the entries of a folder.
func (n *Node) List(ctx context.Context, alloc structs.AllocID, path string) (files []File, err error) {
	err = n.Pool.Call(ctx, n.Address, listMethod, &fileRequest{Alloc: alloc, Path: path}, &files)
	return files, err
}

// Stat describes one file.
func (n *Node) Stat(ctx context.Context, alloc structs.AllocID, path string) (file File, err error) {
	err = n.Pool.Call(ctx, n.Address, statMethod, &fileRequest{Alloc: alloc, Path: path}, &file)
	return file, err
}

// Stats says what each running task of an allocation uses.
func (n *Node) Stats(ctx context.Context, alloc structs.AllocID) (map[string]*drivers.Stats, error) {
	var reply statsReply
	err := n.Pool.Call(ctx, n.Address, statsMethod, &taskRequest{Alloc: alloc}, &reply)
	return reply.Tasks, err
}

// Usage says what the node uses now.
func (n *Node) Usage(ctx context.Context) (*client.Usage, error) {
	var u client.Usage
	if err := n.Pool.Call(ctx, n.Address, usageMethod, &struct{}{}, &u); err != nil {
		return nil, err
	}
	return &u, nil
}

// Signal sends a signal to a task; to all when task is empty.
func (n *Node) Signal(ctx context.Context, alloc structs.AllocID, task, signal string) error {
	return n.Pool.Call(ctx, n.Address, signalMethod, &taskRequest{alloc, task, signal}, &struct{}{})
}

// Exec runs a command in a task. It reads cmd.Stdin until the command ended; a Stdin that blocks for ever keeps one
// goroutine until then.
func (n *Node) Exec(ctx context.Context, alloc structs.AllocID, task string, cmd drivers.Command) (drivers.Exit, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	st, err := n.Pool.Stream(ctx, n.Address, execMethod, &execRequest{Alloc: alloc, Task: task, Args: cmd.Args, Arg0: cmd.Arg0, Env: cmd.Env, TTY: cmd.TTY, Stdin: cmd.Stdin != nil})
	if err != nil {
		return drivers.Exit{}, err
	}
	defer st.Close()
	var sending sync.Mutex
	send := func(m *toTask) error {
		sending.Lock()
		defer sending.Unlock()
		return st.Send(m)
	}
	if cmd.Stdin != nil {
		go func() { // ends with the command at the next byte, or when whoever owns Stdin closes it
			buf := make([]byte, maxChunk)
			for {
				k, err := cmd.Stdin.Read(buf)
				if k > 0 && send(&toTask{Stdin: buf[:k]}) != nil {
					return
				}
				if err != nil {
					send(&toTask{EOF: true})
					return
				}
			}
		}()
	}
	var resizing sync.WaitGroup
	defer resizing.Wait()
	defer cancel()
	if cmd.Resize != nil {
		resizing.Go(func() {
			for {
				select {
				case size, ok := <-cmd.Resize:
					if !ok || send(&toTask{Size: &size}) != nil {
						return
					}
				case <-ctx.Done():
					return
				}
			}
		})
	}
	for {
		var m fromTask
		if err := st.Recv(&m); err != nil {
			if errors.Is(err, io.EOF) {
				err = structs.Errorf(structs.Unknown, "node "+n.Name, "the command's end is not known: the node ended the stream")
			}
			return drivers.Exit{}, err
		}
		switch {
		case m.Exit != nil:
			return *m.Exit, nil
		case m.Failed != nil:
			return drivers.Exit{}, m.Failed
		case len(m.Stdout) > 0 && cmd.Stdout != nil:
			_, err = cmd.Stdout.Write(m.Stdout)
		case len(m.Stderr) > 0 && cmd.Stderr != nil:
			_, err = cmd.Stderr.Write(m.Stderr)
		}
		if err != nil {
			return drivers.Exit{}, err
		}
	}
}
