//go:build linux && (amd64 || arm64)

package supervisor

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers/seccomp"
)

// filter is the program for the system calls of tasks with the given capabilities, as names and as a set. It is made once for each
// set: there are few that a job may ask for.
func (h *host) filter(caps []string, set uint64) ([]unix.SockFilter, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := h.filters[set]; f != nil {
		return f, nil
	}
	profile, err := seccomp.Default(caps)
	if err == nil {
		h.filters[set], err = seccomp.Compile(profile)
	}
	if err != nil {
		return nil, fmt.Errorf("make the filter for system calls: %w", err)
	}
	return h.filters[set], nil
}
