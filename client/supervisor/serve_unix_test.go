//go:build unix

package supervisor

import (
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The streams of a command that is refused are closed: who waits for their end does not wait for that of the connection.
func TestStreamsOfARefusedCommand(t *testing.T) {
	dir, err := os.MkdirTemp("", "serve") // short: a socket's path is
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		defer theirs.Close()
		(&server{log: slog.New(slog.DiscardHandler)}).serve(t.Context(), theirs.(*net.UnixConn))
	}()
	frame, err := encode(hello{Version: Version + 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ours.Write(frame); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	li := &link{conn: ours.(*net.UnixConn)}
	if err := li.send(&request{ID: 1, Op: opExec, Task: "t", Args: []string{"x"}}, []*os.File{w, w, w}); err != nil {
		t.Fatal(err)
	}
	w.Close()
	r.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the streams are open: %v", err)
	}
	ours.Close()
	<-served
}
