package server

import "github.com/proffer/proffer/server/state"

// Between puts f between the loop and the log, for the tests of what the loop makes of an outcome.
func (s *Server) Between(f func(commit func() (*state.Placed, error)) (*state.Placed, error)) {
	s.loop.mu.Lock()
	defer s.loop.mu.Unlock()
	s.loop.between = f
}
