//go:build !linux && !darwin

package session

type bootClock struct{}

func (bootClock) Now() Instant { return fallback.Now() }
