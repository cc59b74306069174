//go:build unix && !linux

package supervisor_test

import (
	"testing"
	"time"
)

// gone waits until a process ended. Where there are no pidfds it has to look again and again.
func gone(t testing.TB, pid int) {
	t.Helper()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for until := time.Now().Add(patience); alive(pid); <-look.C {
		if time.Now().After(until) {
			t.Fatalf("process %d does not end", pid)
		}
	}
}
