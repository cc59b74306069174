package session

import "time"

// Instant is a reading of a Clock: the time since an arbitrary start, such as the boot. Readings of different clocks do not
// compare.
type Instant time.Duration

// Add and Sub reckon with instants.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// Clock measures leases. It counts also while the machine is suspended: the servers' clocks do not stop for it.
type Clock interface{ Now() Instant }

// BootClock is CLOCK_BOOTTIME on Linux, and the nearest thing elsewhere.
func BootClock() Clock { return bootClock{} }

// MonotonicClock is the time of package time since now. It may stop while the machine is suspended; in a testing/synctest
// bubble it is the bubble's.
func MonotonicClock() Clock { return monotonicClock{time.Now()} }

type monotonicClock struct{ start time.Time }

func (c monotonicClock) Now() Instant { return Instant(time.Since(c.start)) }

var fallback = MonotonicClock()
