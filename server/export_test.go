package server

import (
	"context"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Between puts f between the loop and the log, for the tests of what the loop makes of an outcome.
func (s *Server) Between(f func(commit func() (any, error)) (any, error)) {
	s.loop.mu.Lock()
	defer s.loop.mu.Unlock()
	s.loop.entries = between{s.loop.entries, f}
}

type between struct {
	proposals
	f func(commit func() (any, error)) (any, error)
}

func (b between) Propose(ctx context.Context, key, actor string, cmd state.Command) (answer any, index uint64, err error) {
	answer, err = b.f(func() (any, error) {
		answer, _, err := b.proposals.Propose(ctx, key, actor, cmd)
		return answer, err
	})
	return answer, 0, err
}

// SetHeedWithin changes for how long a framework is told of an outcome before that is forgotten.
func (s *Server) SetHeedWithin(d time.Duration) { s.heedWithin.Store(int64(d)) }

// SetMaxUntold changes how many ends of tasks a framework may leave unacknowledged.
func (s *Server) SetMaxUntold(n int) { s.maxUntold.Store(int64(n)) }

// VolumeSecrets opens the secrets of a volume.
func (s *Server) VolumeSecrets(ctx context.Context, v *structs.Volume) (structs.Secrets, error) {
	return s.volumeSecrets(ctx, v)
}
