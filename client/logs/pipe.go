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

// FromTerminal is FromPipe for the master of a terminal, where the kernel has no such call: a death of this process between the read and the
// write loses what is between them. EIO is the end: nobody has the other side open.
func (w *Writer) FromTerminal(fd int) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.copyPipe(fd)
}
