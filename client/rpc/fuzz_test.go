package rpc

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// said is a connection whose other end says what is given and hangs up. It listens to everything.
type said struct{ bytes.Reader }

func (*said) Write(b []byte) (int, error)      { return len(b), nil }
func (*said) Close() error                     { return nil }
func (*said) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*said) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*said) SetDeadline(time.Time) error      { return nil }
func (*said) SetReadDeadline(time.Time) error  { return nil }
func (*said) SetWriteDeadline(time.Time) error { return nil }

type anything struct {
	Text  string
	Raw   []byte
	Map   map[string]*anything
	List  []anything
	Value any
}

// frames are a call, as a client writes it, and a stream.
func frames(f *testing.F) (call, stream []byte) {
	head := appendHead(nil, "Echo", time.Second)
	c := newConnection(&said{}, Options{}.withDefaults(), nil)
	s := newStream(c, 1, "Echo")
	b := buffers.Get().(*buffer)
	defer b.free()
	if err := b.message(&anything{Text: "x", Map: map[string]*anything{"k": {Value: int64(3)}}, List: []anything{{}}}, 1<<20, s); err != nil {
		f.Fatal(err)
	}
	payload := append(head, b.raw...)
	call = append(appendHeader(nil, flagOpen|flagFin, 1, len(payload)), payload...)
	payload = append(appendHead(nil, "Stream", 0), b.raw...)
	stream = append(appendHeader(nil, flagOpen, 2, len(payload)), payload...)
	stream = append(append(stream, appendHeader(nil, 0, 2, len(b.raw))...), b.raw...)
	stream = append(stream, appendHeader(nil, flagWindow, 2, 1<<20)...)
	stream = append(stream, appendHeader(nil, flagFin, 2, 0)...)
	return call, stream
}

// Whatever a client says, the server ends the connection and everything that began on it.
func FuzzServer(f *testing.F) {
	call, stream := frames(f)
	f.Add(call)
	f.Add(stream)
	f.Add(append(call, stream...))
	f.Add(append(call, call...))
	f.Add(append(stream, appendHeader(nil, flagReset|flagPing, 2, 0)...))
	f.Add(append(stream[:len(stream)-8:len(stream)-8], appendHeader(nil, flagDone, 2, 1)...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := NewServer(Options{MaxMessage: 64 << 10, MaxStreams: 4})
		Handle(s, "Echo", func(_ context.Context, a *anything) (*anything, error) { return a, nil })
		s.HandleStream("Stream", func(_ context.Context, st *Stream) error {
			if err := st.Request(new(anything)); err != nil {
				return err
			}
			for {
				a := new(anything)
				if err := st.Recv(a); err == io.EOF {
					return nil
				} else if err != nil {
					return err
				}
				if err := st.Send(a); err != nil {
					return err
				}
			}
		})
		conn := &said{}
		conn.Reset(raw)
		s.ServeConn(conn)
		s.wg.Wait()
		s.Close()
	})
}

// Whatever a server answers, calls and streams end.
func FuzzClient(f *testing.F) {
	call, stream := frames(f)
	answer := call[headerSize+len(appendHead(nil, "Echo", 0)):]
	f.Add(append(appendHeader(nil, flagFin|flagDone, 1, len(answer)), answer...))
	f.Add(append(appendHeader(nil, flagDone, 1, 3), 1, 2, 3))
	f.Add(append(appendHeader(nil, flagReset, 1, 0), appendHeader(nil, flagGoAway, 0, 0)...))
	f.Add(stream)
	f.Fuzz(func(t *testing.T, raw []byte) {
		conn := &said{}
		conn.Reset(raw)
		c := newConnection(conn, Options{MaxMessage: 64 << 10}.withDefaults(), nil)
		one, err := c.open(t.Context(), "Echo")
		if err != nil {
			t.Fatal(err)
		}
		if err := one.Send(&anything{}); err != nil {
			t.Fatal(err)
		}
		c.run()
		for err == nil {
			err = one.Recv(new(anything))
			if err == nil {
				one.Send(&anything{})
			}
		}
		<-c.failed
		c.wait()
	})
}
