//go:build unix

package supervisor

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/client/logs"
)

// While there is no descriptor for a pipe, the output waits in it, and is taken as soon as there is one. That is said once.
func TestOutputWaitsForADescriptor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		s := &server{log: slog.New(slog.NewTextHandler(&said, nil)), freed: make(chan struct{})}
		from, to, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer from.Close()
		to.WriteString("before\n")
		short := []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM}
		tries := 0
		taken := make(chan *os.File, 1)
		go func() {
			taken <- s.reopen("a/web/1", func() (*os.File, error) {
				if tries++; tries <= len(short) {
					return nil, os.NewSyscallError("open", short[tries-1])
				}
				return from, nil
			}, nil)
		}()
		for n := range short {
			synctest.Wait()
			if tries != n+1 {
				t.Fatalf("%d tries, not %d", tries, n+1)
			}
			s.roomier()
		}
		if f := <-taken; f != from {
			t.Fatalf("it gave %v", f)
		}
		dir := t.TempDir()
		w := logs.NewWriter(dir, "web", logs.Stdout, logs.Limits{MaxFiles: 2, MaxFileSize: 1 << 20})
		to.Close()
		s.pump(from, w.FromPipe)
		w.Close()
		r, err := logs.Open(dir, "web", logs.Stdout)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var out bytes.Buffer
		ended := make(chan struct{})
		close(ended)
		if _, err := r.Follow(t.Context(), &out, 0, ended); err != nil || out.String() != "before\n" {
			t.Errorf("%q, %v", out.String(), err)
		}
		if text := said.String(); strings.Count(text, "level=ERROR") != 1 || strings.Count(text, "level=INFO") != 1 || !strings.Contains(text, "a/web/1") {
			t.Errorf("it said:\n%s", text)
		}
	})
}

// What can never be opened is given up, and so is the output of a task that has ended.
func TestOutputThatIsGone(t *testing.T) {
	s := &server{log: slog.New(slog.DiscardHandler), freed: make(chan struct{})}
	if f := s.reopen("a/web/1", func() (*os.File, error) { return nil, unix.ENOENT }, nil); f != nil {
		t.Errorf("gone: %v", f)
	}
	over := make(chan struct{})
	close(over)
	if f := s.reopen("a/web/1", func() (*os.File, error) { return nil, unix.EMFILE }, over); f != nil {
		t.Errorf("ended: %v", f)
	}
}
