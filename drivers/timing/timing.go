// Package timing keeps how long something took of late, for who asks for percentiles.
package timing

import (
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// Kept is of how many times the figures are: as many as a timer of Mesos keeps.
const Kept = 1000

// Times are how long something took. Its methods may be called from any goroutine, and the zero value is ready.
type Times struct {
	ever atomic.Uint64
	last [Kept]atomic.Int64 // nanoseconds, at least 1; 0: nothing yet
}

// Took notes one time. It costs two atomic operations.
func (t *Times) Took(d time.Duration) {
	n := t.ever.Add(1)
	t.last[(n-1)%Kept].Store(max(int64(d), 1))
}

// Since notes the time since start.
func (t *Times) Since(start time.Time) { t.Took(time.Since(start)) }

// Summary is what is known of times at one moment.
type Summary struct {
	Ever   uint64          // how many there were
	Last   time.Duration   // the newest one
	Sorted []time.Duration // the last ones, at most Kept, ascending
}

// Summary looks at them.
func (t *Times) Summary() Summary {
	s := Summary{Ever: t.ever.Load()}
	if s.Ever == 0 {
		return s
	}
	s.Last = time.Duration(t.last[(s.Ever-1)%Kept].Load())
	s.Sorted = make([]time.Duration, 0, min(s.Ever, Kept))
	for i := range t.last[:min(s.Ever, Kept)] {
		if d := t.last[i].Load(); d > 0 { // otherwise it is about to be noted
			s.Sorted = append(s.Sorted, time.Duration(d))
		}
	}
	slices.Sort(s.Sorted)
	return s
}

// At returns the time below which a part of the last ones is, from 0 (the least) to 1, between two of them in proportion.
func (s Summary) At(part float64) time.Duration {
	if len(s.Sorted) == 0 {
		return 0
	}
	at := min(max(part, 0), 1) * float64(len(s.Sorted)-1)
	below := int(at)
	if below+1 >= len(s.Sorted) {
		return s.Sorted[len(s.Sorted)-1]
	}
	low, high := s.Sorted[below], s.Sorted[below+1]
	return low + time.Duration(math.Round(float64(high-low)*(at-float64(below))))
}
