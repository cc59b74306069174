package logs

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/proffer/proffer/structs"
)

// A stream behaves like one long string of which old parts may be gone: whatever is written, in whatever pieces, by
// however many writers one after the other, a reader sees the same bytes at the same offsets.
func TestAStreamIsOneStringWhoseBeginningMayBeGone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "logs")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		limits := Limits{MaxFiles: rapid.IntRange(1, 4).Draw(t, "files"), MaxFileSize: structs.Bytes(rapid.IntRange(1, 64).Draw(t, "size"))}
		var model []byte
		w := NewWriter(dir, "web", Stdout, limits)
		other := NewWriter(dir, "web", Stderr, limits)
		r, err := Open(dir, "web", Stdout)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				w.Close()
				w = NewWriter(dir, "web", Stdout, limits)
			case 1:
				other.Write([]byte("something else\n"))
			default:
				p := []byte(rapid.StringMatching(`[a-c\n]{0,100}`).Draw(t, "bytes"))
				if n, err := w.Write(p); n != len(p) || err != nil {
					t.Fatalf("write = %d, %v", n, err)
				}
				model = append(model, p...)
			}
			first, end, err := r.Bounds()
			if err != nil || end != int64(len(model)) {
				t.Fatalf("bounds = %d, %d, %v; want the end at %d", first, end, err, len(model))
			}
			if bound := int64(limits.MaxFiles) * int64(limits.MaxFileSize); end-first > bound {
				t.Fatalf("%d bytes are kept, more than %d", end-first, bound)
			}
			if len(model) > 0 {
				off := rapid.Int64Range(0, int64(len(model))).Draw(t, "offset")
				buf := make([]byte, rapid.IntRange(1, 80).Draw(t, "length"))
				n, err := r.ReadAt(buf, off)
				var gone *Gone
				switch {
				case off < first && errors.As(err, &gone):
					if gone.First != first {
						t.Fatalf("read at %d, before %d: %v", off, first, err)
					} // otherwise the reader still has the file open that was removed
				case off == end:
					if err != io.EOF {
						t.Fatalf("read at the end: %d, %v", n, err)
					}
				case err != nil || n == 0 || !bytes.Equal(buf[:n], model[off:off+int64(n)]):
					t.Fatalf("read at %d = %q, %v; want %q", off, buf[:n], err, model[off:])
				}
			}
		}
		first, end, _ := r.Bounds()
		for n := range 5 {
			at, err := r.TailLines(n)
			if want := tail(model, first, n); err != nil || at != want {
				t.Fatalf("tail %d of %q from %d = %d, %v; want %d", n, model, first, at, err, want)
			}
		}
		var all bytes.Buffer
		over := make(chan struct{})
		close(over)
		if end > 0 {
			if reached, err := r.Follow(context.Background(), &all, first, over); err != nil || reached != end || !bytes.Equal(all.Bytes(), model[first:]) {
				t.Fatalf("follow = %d, %v, %q", reached, err, all.Bytes())
			}
		}
	})
}

// tail is the naive twin of TailLines.
func tail(model []byte, first int64, n int) int64 {
	if n == 0 {
		return int64(len(model))
	}
	kept := string(model[first:])
	lines := strings.SplitAfter(kept, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if n >= len(lines) {
		return first
	}
	return int64(len(model)) - int64(len(strings.Join(lines[len(lines)-n:], "")))
}

func TestFollowersSeeEverythingAsItIsWritten(t *testing.T) {
	dir := t.TempDir()
	w := NewWriter(dir, "web", Stdout, Limits{MaxFiles: 1000, MaxFileSize: 100})
	const lines = 2000
	ended := make(chan struct{})
	var followers sync.WaitGroup
	got := make([]bytes.Buffer, 3)
	for i := range got {
		followers.Go(func() {
			r, err := Open(dir, "web", Stdout)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			if _, err := r.Follow(t.Context(), &got[i], 0, ended); err != nil {
				t.Error(err)
			}
		})
	}
	var want bytes.Buffer
	for i := range lines {
		line := fmt.Sprintf("line %d\n", i)
		want.WriteString(line)
		w.Write([]byte(line))
	}
	w.Close()
	close(ended)
	followers.Wait()
	for i := range got {
		if got[i].String() != want.String() {
			t.Errorf("follower %d has %d bytes, want %d", i, got[i].Len(), want.Len())
		}
	}
	watches.Lock()
	defer watches.Unlock()
	if watches.notifier != nil {
		t.Error("the notifier outlives its followers")
	}
}

// A follower that waits is woken by a write.
func TestAWaitingFollowerIsWoken(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(dir, "web", Stdout)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lines := make(chan string)
	done := make(chan error, 1)
	go func() {
		_, err := r.Follow(ctx, chanWriter(lines), 0, nil)
		done <- err
	}()
	w := NewWriter(dir, "web", Stdout, Limits{MaxFileSize: 64})
	defer w.Close()
	for i := range 100 {
		line := fmt.Sprintf("%d\n", i)
		w.Write([]byte(line))
		if got := <-lines; got != line {
			t.Fatalf("got %q, want %q", got, line)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

type chanWriter chan string

func (c chanWriter) Write(p []byte) (int, error) {
	c <- string(p)
	return len(p), nil
}

func TestAFollowerThatIsTooSlowIsTold(t *testing.T) {
	dir := t.TempDir()
	w := NewWriter(dir, "web", Stdout, Limits{MaxFiles: 2, MaxFileSize: 10})
	defer w.Close()
	for i := range 10 {
		fmt.Fprintf(w, "line %04d\n", i)
	}
	r, err := Open(dir, "web", Stdout)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	over := make(chan struct{})
	close(over)
	var b strings.Builder
	at, err := r.Follow(t.Context(), &b, 0, over)
	if want := "\n[80 bytes of output were rotated away]\nline 0008\nline 0009\n"; err != nil || at != 100 || b.String() != want {
		t.Errorf("follow = %d, %v, %q, want %q", at, err, b.String(), want)
	}
}

// full is a disk with room for some bytes.
type full struct {
	room int
	into *bytes.Buffer
}

var errFull = errors.New("no space left on device")

func (f *full) Write(p []byte) (int, error) {
	n := min(len(p), f.room)
	f.room -= n
	f.into.Write(p[:n])
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

func (f *full) Close() error { return nil }

func TestAFullDiskLosesOutputAndSaysHowMuch(t *testing.T) {
	var out bytes.Buffer
	disk := &full{room: 10, into: &out}
	w := NewWriter(t.TempDir(), "web", Stdout, Limits{})
	w.open = func(string) (io.WriteCloser, error) {
		if disk.room == 0 {
			return nil, errFull
		}
		return disk, nil
	}
	write := func(s string) {
		if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("write %q = %d, %v", s, n, err)
		}
	}
	write("12345\n")
	write("67890abc\n") // 4 fit, 5 do not
	write("lost\n")
	if w.Dropped() != 10 {
		t.Errorf("dropped = %d, want 10", w.Dropped())
	}
	disk.room = 1000
	write("again\n")
	if want := "12345\n6789\n[10 bytes of output were lost here: no space left on device]\nagain\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	disk.room = 0
	write("more")
	disk.room = 1000
	w.Close()
	if !strings.HasSuffix(out.String(), "[4 bytes of output were lost here: no space left on device]\n") {
		t.Errorf("got %q", out.String())
	}
}

func TestOldFilesExpire(t *testing.T) {
	dir := t.TempDir()
	w := NewWriter(dir, "web", Stdout, Limits{MaxFileSize: 5, MaxAge: time.Hour})
	defer w.Close()
	for range 3 {
		w.Write([]byte("line\n"))
	}
	long := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "web.stdout.0"), long, long); err != nil {
		t.Fatal(err)
	}
	w.Expire(time.Now())
	r, _ := Open(dir, "web", Stdout)
	defer r.Close()
	if first, end, err := r.Bounds(); first != 5 || end != 15 || err != nil {
		t.Errorf("bounds = %d, %d, %v", first, end, err)
	}
	w.Expire(time.Now().Add(3 * time.Hour)) // the newest file stays
	if first, end, err := r.Bounds(); first != 10 || end != 15 || err != nil {
		t.Errorf("bounds = %d, %d, %v", first, end, err)
	}
}

func TestNamesThatAreNone(t *testing.T) {
	for _, task := range []string{"", "../web", "a/b", "."} {
		if _, err := Open(t.TempDir(), task, Stdout); structs.KindOf(err) != structs.Invalid {
			t.Errorf("task %q: %v", task, err)
		}
	}
	if _, err := Open(t.TempDir(), "web", "stdin"); structs.KindOf(err) != structs.Invalid {
		t.Errorf("stream stdin: %v", err)
	}
	r, _ := Open(filepath.Join(t.TempDir(), "none"), "web", Stdout)
	if _, err := r.Follow(t.Context(), io.Discard, 0, nil); structs.KindOf(err) != structs.NotFound {
		t.Errorf("follow without a folder: %v", err)
	}
	dir := t.TempDir()
	for _, name := range []string{"web.stdout.x", "web.stdout.-1", "web.stdout.01", "web.stdout", "web2.stdout.0"} {
		os.WriteFile(filepath.Join(dir, name), []byte("no"), 0o644)
	}
	r, _ = Open(dir, "web", Stdout)
	if first, end, err := r.Bounds(); first != 0 || end != 0 || err != nil {
		t.Errorf("bounds = %d, %d, %v", first, end, err)
	}
}

func TestMain(m *testing.M) {
	flag.Set("rapid.nofailfile", "true")
	os.Exit(m.Run())
}
