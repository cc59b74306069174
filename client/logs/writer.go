package logs

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// Writer appends to one stream. It opens nothing before the first byte, goes on where an earlier Writer of the stream
// ended, and may be used from any goroutine. There must be one Writer of a stream at a time.
//
// A full disk does not stop the task: bytes that cannot be written are dropped and counted, and a marker line says how
// many once writing works again.
type Writer struct {
	mu      sync.Mutex
	dir     string
	prefix  string
	limits  Limits
	f       io.WriteCloser
	base    int64 // of the current file
	size    int64 // of the current file
	dropped int64
	why     error
	closed  bool

	open func(path string) (io.WriteCloser, error)
}

// NewWriter makes a writer.
func NewWriter(dir, task string, stream Stream, limits Limits) *Writer {
	if limits.MaxFiles <= 0 {
		limits.MaxFiles = 10
	}
	if limits.MaxFileSize <= 0 {
		limits.MaxFileSize = 10 << 20
	}
	return &Writer{dir: dir, prefix: prefixOf(task, stream), limits: limits, open: openEnd}
}

// openEnd opens a file at its end. It does not append: what splice moves cannot be appended.
func openEnd(path string) (io.WriteCloser, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Write appends p, in several files when it does not fit in one. It always takes all of p and never fails, see Writer;
// after Close it drops p.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.write(p)
	return len(p), nil
}

func (w *Writer) write(p []byte) {
	if w.closed {
		return
	}
	if w.dropped > 0 {
		marker := fmt.Sprintf("\n[%d bytes of output were lost here: %v]\n", w.dropped, w.why)
		if w.put([]byte(marker)) != nil {
			w.dropped += int64(len(p))
			return
		}
		w.dropped = 0
	}
	for len(p) > 0 {
		n, err := w.step(p)
		p = p[n:]
		if err != nil {
			w.dropped, w.why = w.dropped+int64(len(p)), err
			return
		}
	}
}

// put writes all of b or says why not; what was written of it stays.
func (w *Writer) put(b []byte) error {
	for len(b) > 0 {
		n, err := w.step(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// step writes what fits in the current file, up to the end of a line when not all fits.
func (w *Writer) step(b []byte) (int, error) {
	if w.f == nil {
		if err := w.resume(); err != nil {
			return 0, err
		}
	}
	if b = b[:w.fit(b)]; len(b) == 0 {
		return 0, w.rotate()
	}
	n, err := w.f.Write(b)
	w.size += int64(n)
	return n, err
}

// fit returns how much of b goes to the current file: up to the end of a line when not all fits; 0: a new file is to be begun.
func (w *Writer) fit(b []byte) int {
	room := max(0, int64(w.limits.MaxFileSize)-w.size)
	if int64(len(b)) <= room {
		return len(b)
	}
	i := bytes.LastIndexByte(b[:room], '\n')
	switch {
	case w.size == 0:
	case i >= 0:
		return i + 1
	case room < int64(w.limits.MaxFileSize)/8:
		return 0 // rather than cut a line in two
	}
	return int(room)
}

// Offset returns how many bytes the stream has had, those of earlier writers included.
func (w *Writer) Offset() (int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.f != nil {
		return w.base + w.size, nil
	}
	files, err := list(w.dir, w.prefix)
	if err != nil || len(files) == 0 {
		return 0, err
	}
	last := files[len(files)-1]
	info, err := os.Stat(last.path)
	if err != nil {
		return 0, err
	}
	return last.base + info.Size(), nil
}

// resume opens the newest file, or the first.
func (w *Writer) resume() error {
	files, err := list(w.dir, w.prefix)
	if err != nil {
		return err
	}
	base, size := int64(0), int64(0)
	if len(files) > 0 {
		last := files[len(files)-1]
		info, err := os.Stat(last.path)
		if err != nil {
			return err
		}
		base, size = last.base, info.Size()
	} else if err := os.MkdirAll(w.dir, 0o755); err != nil {
		return err
	}
	return w.begin(base, size)
}

func (w *Writer) begin(base, size int64) error {
	f, err := w.open(filepath.Join(w.dir, w.prefix+strconv.FormatInt(base, 10)))
	if err != nil {
		return err
	}
	if w.f != nil {
		w.f.Close()
	}
	w.f, w.base, w.size = f, base, size
	return nil
}

func (w *Writer) rotate() error {
	if err := w.begin(w.base+w.size, 0); err != nil {
		return err
	}
	w.prune(time.Now())
	return nil
}

// prune removes the files beyond MaxFiles and MaxAge; the current one stays.
func (w *Writer) prune(now time.Time) {
	files, err := list(w.dir, w.prefix)
	if err != nil {
		return
	}
	for i, f := range files {
		if f.base >= w.base {
			break
		}
		old := len(files)-i > w.limits.MaxFiles
		if !old && w.limits.MaxAge > 0 {
			info, err := os.Stat(f.path)
			old = err == nil && now.Sub(info.ModTime()) > w.limits.MaxAge
		}
		if old {
			os.Remove(f.path)
		}
	}
}

// Expire removes what is older than MaxAge at now. It costs nothing for a stream without MaxAge.
func (w *Writer) Expire(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.limits.MaxAge > 0 && w.f != nil {
		w.prune(now)
	}
}

// Dropped returns how many bytes were lost and not yet marked in the stream.
func (w *Writer) Dropped() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dropped
}

// Close ends the stream for this writer. It marks what was lost, if the disk has room again.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	if w.dropped > 0 {
		if w.put(fmt.Appendf(nil, "\n[%d bytes of output were lost here: %v]\n", w.dropped, w.why)) == nil {
			w.dropped = 0
		}
	}
	if w.f == nil {
		return nil
	}
	return w.f.Close()
}
