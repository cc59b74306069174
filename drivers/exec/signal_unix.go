//go:build unix

package exec

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
)

// localSignal is drivers.Signal with this system's number of a name.
func localSignal(name string) (int, error) {
	n, err := drivers.Signal(name)
	if s := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")); s != 0 {
		return int(s), err
	}
	return n, err
}
