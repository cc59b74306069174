package logs

import (
	"context"
	"io"
)

// Reader serves one stream. Its methods may be called from any goroutine.
type Reader struct {
	dir, task string
	stream    Stream
}

// Open returns a reader of a stream; the stream need not exist yet.
func Open(dir, task string, stream Stream) (*Reader, error) { return &Reader{dir, task, stream}, nil }

// Bounds returns the offsets of the oldest byte that is kept and of the end.
func (r *Reader) Bounds() (first, end int64, err error) { return 0, 0, nil }

// ReadAt reads at a global offset. It returns io.EOF at the end, and ErrRotated-kind Gone... see Follow for skipping.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) { return 0, io.EOF }

// TailLines returns the offset at which the last n lines begin.
func (r *Reader) TailLines(n int) (int64, error) { return 0, nil }

// Follow copies from off to w until ctx ends, or until ended is closed and everything was copied. It returns the offset
// that it reached.
func (r *Reader) Follow(ctx context.Context, w io.Writer, off int64, ended <-chan struct{}) (int64, error) {
	return 0, nil
}
