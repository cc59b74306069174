//go:build unix

package logs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/proffer/proffer/structs"
)

// What comes through a pipe lies in the same files as what is written directly, whatever the sizes of the pieces; lines are
// cut where Write would, or sooner.
func TestAPipeIsWrittenLikeBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "logs")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		limits := Limits{MaxFiles: 1 << 20, MaxFileSize: structs.Bytes(rapid.IntRange(1, 64).Draw(t, "size"))}
		from, to := pipe(t)
		defer from.Close()
		defer to.Close()
		w := NewWriter(dir, "web", Stdout, limits)
		var model []byte
		empty := func() {
			for {
				n, err := w.FromPipe(int(from.Fd()))
				if errors.Is(err, unix.EAGAIN) {
					return
				}
				if n <= 0 || err != nil {
					t.Fatalf("moved %d, %v", n, err)
				}
			}
		}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0:
				w.Close()
				w = NewWriter(dir, "web", Stdout, limits)
			case 1:
				empty()
				w.Write([]byte("direct\n"))
				model = append(model, "direct\n"...)
			default:
				p := rapid.StringMatching(`[a-c\n]{0,100}`).Draw(t, "bytes")
				io.WriteString(to, p)
				model = append(model, p...)
				if rapid.Bool().Draw(t, "now") {
					empty()
				}
			}
		}
		empty()
		to.Close()
		if n, err := w.FromPipe(int(from.Fd())); n != 0 || err != nil {
			t.Fatalf("at the end: %d, %v", n, err)
		}
		files, err := list(dir, prefixOf("web", Stdout))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f.path)
			if err != nil || int64(len(b)) > int64(limits.MaxFileSize) || !bytes.Equal(b, model[f.base:f.base+int64(len(b))]) {
				t.Fatalf("%s has %q, %v; want a part of %q, at most %d bytes", f.path, b, err, model[f.base:], limits.MaxFileSize)
			}
		}
		if got := content(t, dir); !bytes.Equal(got, model) {
			t.Fatalf("got %q, want %q", got, model)
		}
	})
}

type fataler interface{ Fatal(...any) }

func pipe(t fataler) (from, to *os.File) {
	var fds [2]int
	if err := unix.Pipe(fds[:]); err != nil {
		t.Fatal(err)
	}
	unix.SetNonblock(fds[0], true)
	return os.NewFile(uintptr(fds[0]), "from"), os.NewFile(uintptr(fds[1]), "to")
}

// content reads a stream of which nothing was removed.
func content(t fataler, dir string) []byte {
	r, err := Open(dir, "web", Stdout)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	over := make(chan struct{})
	close(over)
	var b bytes.Buffer
	if _, err := r.Follow(context.Background(), &b, 0, over); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A disk that takes nothing, and files that the kernel cannot move a pipe into, stop neither the task nor what follows.
func TestAPipeIsEmptiedWhateverTheDiskDoes(t *testing.T) {
	dir := t.TempDir()
	from, to := pipe(t)
	defer from.Close()
	defer to.Close()
	w := NewWriter(dir, "web", Stdout, Limits{})
	real := w.open
	w.open = func(string) (io.WriteCloser, error) { return nil, unix.ENOSPC }
	io.WriteString(to, "lost\n")
	if n, err := w.FromPipe(int(from.Fd())); n != 5 || err != nil || w.Dropped() != 5 {
		t.Fatalf("moved %d, %v, dropped %d", n, err, w.Dropped())
	}
	w.open = func(path string) (io.WriteCloser, error) {
		f, err := real(path)
		return struct{ io.WriteCloser }{f}, err
	}
	io.WriteString(to, "copied\n")
	if n, err := w.FromPipe(int(from.Fd())); n != 7 || err != nil {
		t.Fatalf("moved %d, %v", n, err)
	}
	w.Close()
	if got, want := string(content(t, dir)), "\n[5 bytes of output were lost here: no space left on device]\ncopied\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	io.WriteString(to, "late\n")
	if n, err := w.FromPipe(int(from.Fd())); n != 5 || err != nil {
		t.Errorf("after the end: %d, %v", n, err)
	}
}
