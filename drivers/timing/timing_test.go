package timing

import (
	"sync"
	"testing"
	"time"
)

func TestPercentiles(t *testing.T) {
	times := &Times{}
	if s := times.Summary(); s.Ever != 0 || s.Last != 0 || s.At(0.5) != 0 {
		t.Errorf("of nothing: %+v", s)
	}
	for i := range 101 {
		times.Took(time.Duration(100-i) * time.Millisecond)
	}
	s := times.Summary()
	if s.Ever != 101 || s.Last != 1 || len(s.Sorted) != 101 {
		t.Errorf("%d times, the last %v, %d kept", s.Ever, s.Last, len(s.Sorted))
	}
	for part, want := range map[float64]time.Duration{0: 1, 0.5: 50 * time.Millisecond, 0.9: 90 * time.Millisecond,
		0.999: 99900 * time.Microsecond, 1: 100 * time.Millisecond} {
		if got := s.At(part); got != want {
			t.Errorf("at %v: %v, want %v", part, got, want)
		}
	}
}

// Only the last ones count.
func TestOldTimesGo(t *testing.T) {
	times := &Times{}
	times.Took(time.Hour)
	for range Kept {
		times.Took(time.Second)
	}
	if s := times.Summary(); s.Ever != Kept+1 || len(s.Sorted) != Kept || s.At(1) != time.Second {
		t.Errorf("%d times, %d kept, the longest %v", s.Ever, len(s.Sorted), s.At(1))
	}
}

func TestManyAtOnce(t *testing.T) {
	times := &Times{}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				times.Took(time.Millisecond)
				times.Summary()
			}
		})
	}
	all.Wait()
	if s := times.Summary(); s.Ever != 4000 || len(s.Sorted) != Kept || s.At(0) != time.Millisecond {
		t.Errorf("%d times, %d kept, the least %v", s.Ever, len(s.Sorted), s.At(0))
	}
}

func TestItTakesNoMemory(t *testing.T) {
	times := &Times{}
	if n := testing.AllocsPerRun(100, func() { times.Took(1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
