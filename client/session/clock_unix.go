//go:build linux || darwin

package session

import "golang.org/x/sys/unix"

type bootClock struct{}

func (bootClock) Now() Instant {
	var t unix.Timespec
	if err := unix.ClockGettime(bootClockID, &t); err != nil {
		return fallback.Now()
	}
	return Instant(t.Nano())
}
