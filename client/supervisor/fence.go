//go:build unix

package supervisor

import (
	"time"
)

func (s *server) renew(until time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.host.renew(until)
}

// fence kills the fenced tasks if the lease has ended.
func (s *server) fence() {
	s.mu.Lock()
	var doomed []*task
	if s.host.lease() <= Now() {
		for _, t := range s.tasks {
			select {
			case <-t.started:
				if t.rec.Launch.Fenced && t.running() && t.proc != nil {
					t.fenced = true
					doomed = append(doomed, t)
				}
			default: // its stage looks at the lease before the program starts to matter
			}
		}
	}
	s.mu.Unlock()
	for _, t := range doomed {
		s.log.Warn("the lease ended", "task", t.rec.Launch.ID)
		s.work.Go(func() { s.host.kill(t) })
	}
}
