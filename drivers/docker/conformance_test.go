//go:build linux && system

package docker_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/conformance"
	"github.com/proffer/proffer/drivers/docker"
)

// TestConformance: the docker driver keeps the contract of drivers.
func TestConformance(t *testing.T) {
	conformance.Run(t, &conformance.Harness{
		New: func(t *testing.T) drivers.Driver {
			return driver(t, shared, func(o *docker.Options) { o.Profiles = conformance.Profiles(t) })
		},
		Config: func(s conformance.Script) map[string]any {
			return map[string]any{"image": "busybox:test", "command": "/bin/sh", "args": []any{"-c", s.Shell()}, "network_mode": "none"}
		},
		Bad: []map[string]any{{}, {"image": "UPPER"}, {"image": "busybox:test", "pids": 15}, {"image": "busybox:test", "mount": []any{map[string]any{"target": "data"}}}},
		Hang: func(t *testing.T) func() {
			shared.Signal(unix.SIGSTOP)
			return func() { shared.Signal(unix.SIGCONT) }
		},
		Limits: true, Mounts: true, Profiles: true,
	})
}
