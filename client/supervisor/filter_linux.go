//go:build linux && (amd64 || arm64)

package supervisor

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/drivers/seccomp"
)

// filter is the program for the system calls of a task. That of tasks which bring none is made once for each set of capabilities: there
// are few that a job may ask for.
func (h *host) filter(l *exec.Launch, set uint64) ([]unix.SockFilter, error) {
	if len(l.Filter) > 0 {
		return seccomp.Decode(l.Filter)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := h.filters[set]; f != nil {
		return f, nil
	}
	profile, err := seccomp.Default(exec.FullNames(l.Caps))
	if err == nil {
		h.filters[set], err = seccomp.Compile(profile)
	}
	if err != nil {
		return nil, fmt.Errorf("make the filter for system calls: %w", err)
	}
	return h.filters[set], nil
}
