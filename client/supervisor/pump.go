//go:build unix

package supervisor

import (
	"errors"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/client/logs"
)

// buffers are shared: a task that writes nothing holds none.
var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// pump copies a pipe to a stream until its end, or until its deadline passes. A read and the write of what it got are one
// step for a replacement in place.
func (s *server) pump(from *os.File, to *logs.Writer) {
	c, err := from.SyscallConn()
	if err != nil {
		return
	}
	for {
		var n int
		var failed error
		err := c.Read(func(fd uintptr) bool {
			s.world.RLock()
			defer s.world.RUnlock()
			buf := buffers.Get().(*[32 << 10]byte)
			defer buffers.Put(buf)
			n, failed = unix.Read(int(fd), buf[:])
			if errors.Is(failed, unix.EAGAIN) {
				return false
			}
			if n > 0 {
				to.Write(buf[:n])
			}
			return true
		})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.rest(c, to)
			return
		}
		if err != nil || (n <= 0 && !errors.Is(failed, unix.EINTR)) {
			return
		}
	}
}

// rest copies what is in the pipe now: a deadline also passes while a slow disk holds the pump.
func (s *server) rest(c syscall.RawConn, to *logs.Writer) {
	buf := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(buf)
	for n := 1; n > 0; {
		n = 0
		c.Control(func(fd uintptr) {
			if n, _ = unix.Read(int(fd), buf[:]); n > 0 {
				to.Write(buf[:n])
			}
		})
	}
}
