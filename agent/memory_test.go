package agent

import (
	"testing"
	"time"
)

func TestMemoryIsGivenBackWhenQuiet(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct {
		what                  string
		allocated, live, held uint64 // MB, the first since ten seconds
		want                  bool
	}{
		{"busy", 500, 40, 120, false},
		{"quiet after much", 5, 40, 120, true},
		{"quiet and tidy", 5, 40, 50, false},
		{"quiet, little more than a large heap", 5, 4000, 4500, false},
		{"quiet, a large heap and as much again", 5, 4000, 8000, true},
		{"just after the start: nothing was collected yet", 5, 0, 10, false},
	} {
		before := memory{allocated: 1000 * mb}
		now := memory{allocated: (1000 + c.allocated) * mb, live: c.live * mb, held: c.held * mb}
		if got := now.wasteful(before, 10*time.Second); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

// What the runtime calls its figures is not checked by the compiler.
func TestMemoryIsRead(t *testing.T) {
	if m := readMemory(); m.allocated == 0 || m.held == 0 {
		t.Errorf("%+v", m)
	}
}
