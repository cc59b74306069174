//go:build unix

package supervisor

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// pump moves a pipe, or what a terminal shows, to a stream until its end, or until its deadline passes. What a replacement in place finds
// is in the pipe or in the stream. move is a method of the stream.
func (s *server) pump(from *os.File, move func(fd int) (int, error)) {
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
			n, failed = move(int(fd))
			return !errors.Is(failed, unix.EAGAIN)
		})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.rest(c, move)
			return
		}
		if err != nil || n <= 0 {
			return
		}
	}
}

// rest moves what is in the pipe now: a deadline also passes while a slow disk holds the pump.
func (s *server) rest(c syscall.RawConn, move func(fd int) (int, error)) {
	for n := 1; n > 0; {
		n = 0
		s.world.RLock()
		c.Control(func(fd uintptr) { n, _ = move(int(fd)) })
		s.world.RUnlock()
	}
}
