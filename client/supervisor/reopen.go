//go:build unix

package supervisor

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// short reports whether err is a lack that passes: of descriptors, or of memory for one.
func short(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// roomier has those try again who were short of a descriptor: some were closed, or a while has passed.
func (s *server) roomier() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.freed)
	s.freed = make(chan struct{})
}

// reopen opens a reading end of a task's pipe. While there is no descriptor for it the task's output waits in the pipe, and
// it tries again whenever there may be one. It returns nil when over is closed first, or the end is gone.
func (s *server) reopen(id string, open func() (*os.File, error), over <-chan struct{}) *os.File {
	for said := false; ; {
		s.mu.Lock()
		freed := s.freed
		s.mu.Unlock()
		f, err := open()
		switch {
		case err == nil:
			if said {
				s.log.Info("the output of a task is taken over after all", "task", id)
			}
			return f
		case !short(err):
			if !errors.Is(err, fs.ErrNotExist) { // its stage has ended
				s.log.Error("the output of a task cannot be taken over", "task", id, "err", err)
			}
			return nil
		case !said:
			s.log.Error("the output of a task cannot be taken over yet, and waits in its pipe", "task", id, "err", err)
			said = true
		}
		select {
		case <-freed:
		case <-over:
			return nil
		}
	}
}
