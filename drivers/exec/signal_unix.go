//go:build unix

package exec

import "golang.org/x/sys/unix"

// localSignal returns this system's number of a signal; n is that of Linux.
func localSignal(name string, n int) int {
	if s := unix.SignalNum("SIG" + name); s != 0 {
		return int(s)
	}
	return n
}
