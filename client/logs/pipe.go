//go:build unix

package logs

import (
	"sync"

	"golang.org/x/sys/unix"
)

// buffers are shared: a stream into which nothing is written holds none.
var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// copyPipe is FromPipe by a read and a write, between which a death of this process loses bytes. The caller holds mu.
func (w *Writer) copyPipe(fd int) (int, error) {
	b := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(b)
	for {
		n, err := unix.Read(fd, b[:])
		if err == unix.EINTR {
			continue
		}
		if n > 0 {
			w.write(b[:n])
		}
		return max(n, 0), err
	}
}
