package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/proffer/proffer/structs"
)

// Reader serves one stream. Its methods may be called from any goroutine.
type Reader struct {
	dir, prefix string

	mu   sync.Mutex
	f    *os.File // the file that was read last
	base int64
}

// Gone says that bytes at an offset were removed by rotation.
type Gone struct{ First int64 } // the oldest offset that is kept

func (g *Gone) Error() string {
	return fmt.Sprintf("the output before offset %d was rotated away", g.First)
}

// Open returns a reader of a stream; the stream need not exist yet. The name of the task must be a single path element, or what OfCommand says.
func Open(dir, task string, stream Stream) (*Reader, error) {
	if stream != Stdout && stream != Stderr {
		return nil, structs.Errorf(structs.Invalid, fmt.Sprintf("stream %q", stream), "there is no such stream").
			Advise("use stdout or stderr")
	}
	of, command, within := strings.Cut(task, inTask)
	if !structs.ValidName(of) || within && !structs.ValidName(command) {
		return nil, structs.Errorf(structs.Invalid, fmt.Sprintf("task %q", task), "this is not a name")
	}
	return &Reader{dir: dir, prefix: prefixOf(task, stream)}, nil
}

// Close frees the open file. The reader may not be used afterwards.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.f == nil {
		return nil
	}
	f := r.f
	r.f = nil
	return f.Close()
}

// Bounds returns the offsets of the oldest byte that is kept and of the end.
func (r *Reader) Bounds() (first, end int64, err error) {
	for range 100 { // a file may be removed by rotation while we look
		files, err := list(r.dir, r.prefix)
		if err != nil || len(files) == 0 {
			return 0, 0, err
		}
		last := files[len(files)-1]
		info, err := os.Stat(last.path)
		if err == nil {
			return files[0].base, last.base + info.Size(), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return 0, 0, err
		}
	}
	return 0, 0, structs.Errorf(structs.Unavailable, r.prefix, "the output is rotated faster than it can be read")
}

// Changed returns when the newest file was written last; zero: there is none.
func (r *Reader) Changed() (at time.Time, err error) {
	files, err := list(r.dir, r.prefix)
	if err != nil || len(files) == 0 {
		return at, err
	}
	info, err := os.Stat(files[len(files)-1].path)
	if errors.Is(err, fs.ErrNotExist) {
		return at, nil // rotation was faster
	}
	if err != nil {
		return at, err
	}
	return info.ModTime(), nil
}

// ReadAt reads at a global offset, from one file: it may return fewer bytes than asked for. io.EOF means that nothing is
// there yet; *Gone that the offset was rotated away.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, structs.Errorf(structs.Invalid, r.prefix, "offset %d is negative", off)
	}
	if len(p) == 0 {
		return 0, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.f != nil && off >= r.base {
		if n, err := r.f.ReadAt(p, off-r.base); n > 0 {
			return n, nil
		} else if err != io.EOF {
			return 0, err
		}
	}
	for range 100 {
		files, err := list(r.dir, r.prefix)
		if err != nil {
			return 0, err
		}
		if len(files) == 0 {
			return 0, io.EOF
		}
		if off < files[0].base {
			return 0, &Gone{First: files[0].base}
		}
		at := len(files) - 1
		for files[at].base > off {
			at--
		}
		if r.f == nil || r.base != files[at].base {
			f, err := os.Open(files[at].path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return 0, err
			}
			if r.f != nil {
				r.f.Close()
			}
			r.f, r.base = f, files[at].base
		}
		n, err := r.f.ReadAt(p, off-r.base)
		if n > 0 {
			return n, nil
		}
		return 0, err
	}
	return 0, structs.Errorf(structs.Unavailable, r.prefix, "the output is rotated faster than it can be read")
}

// TailLines returns the offset at which the last n lines begin. A last line without an end counts as one.
func (r *Reader) TailLines(n int) (int64, error) {
	first, end, err := r.Bounds()
	if err != nil || n <= 0 {
		return end, err
	}
	buf := make([]byte, 32<<10)
	for at := end; at > first; {
		from := max(at-int64(len(buf)), first)
		chunk := buf[:at-from]
		if err := r.readFull(chunk, from); err != nil {
			var gone *Gone
			if errors.As(err, &gone) {
				return gone.First, nil
			}
			return 0, err
		}
		for i := len(chunk) - 1; i >= 0; i-- {
			if pos := from + int64(i); chunk[i] == '\n' && pos != end-1 {
				if n--; n == 0 {
					return pos + 1, nil
				}
			}
		}
		at = from
	}
	return first, nil
}

func (r *Reader) readFull(p []byte, off int64) error {
	for len(p) > 0 {
		n, err := r.ReadAt(p, off)
		if err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// Follow copies from off to w until ctx ends, or until ended is closed and everything that was there then has been
// copied; a nil ended never closes. It returns the offset that it reached. Where rotation was faster, a marker line says
// how much is missing; a w with a method At(offset int64) is told the offset before each write instead. A slow w slows
// nobody else.
func (r *Reader) Follow(ctx context.Context, w io.Writer, off int64, ended <-chan struct{}) (int64, error) {
	woken, stop, err := watch(r.dir)
	if err != nil {
		return off, err
	}
	defer stop()
	exact, _ := w.(interface{ At(offset int64) })
	buf := make([]byte, 32<<10)
	for over := false; ; {
		for {
			if err := ctx.Err(); err != nil {
				return off, err
			}
			n, err := r.ReadAt(buf, off)
			var gone *Gone
			if errors.As(err, &gone) {
				err = nil
				if exact == nil {
					_, err = fmt.Fprintf(w, "\n[%d bytes of output were rotated away]\n", gone.First-off)
				}
				off = gone.First
			} else if err == io.EOF {
				break
			} else if err == nil {
				if exact != nil {
					exact.At(off)
				}
				_, err = w.Write(buf[:n])
				off += int64(n)
			}
			if err != nil {
				return off, err
			}
		}
		if over {
			return off, nil
		}
		select {
		case <-ctx.Done():
			return off, ctx.Err()
		case <-ended:
			over = true
		case <-woken:
		}
	}
}
