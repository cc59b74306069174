package supervisor_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// gone waits until a process ended.
func gone(t testing.TB, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // it is gone already
	}
	defer unix.Close(fd)
	// A pidfd is readable once its process ended, reaped or not.
	for until := time.Now().Add(patience); time.Now().Before(until); {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Until(until).Milliseconds())+1)
		if n > 0 {
			return
		}
		if err != nil && err != unix.EINTR {
			t.Fatalf("process %d cannot be waited for: %v", pid, err)
		}
	}
	t.Fatalf("process %d does not end", pid)
}
