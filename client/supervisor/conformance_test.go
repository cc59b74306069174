//go:build linux && system

package supervisor_test

import (
	"os"
	"testing"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/conformance"
	"github.com/proffer/proffer/drivers/exec"
)

// TestConformance: the exec driver keeps the contract of drivers, with and without isolation.
func TestConformance(t *testing.T) {
	needRoot(t)
	for _, isolation := range []string{"full", "none"} {
		t.Run(isolation, func(t *testing.T) {
			n := newNode(t)
			conformance.Run(t, &conformance.Harness{
				New: func(t *testing.T) drivers.Driver {
					return exec.New(n.client, exec.Options{AllowNone: true, Profiles: conformance.Profiles(t)})
				},
				Config: func(s conformance.Script) map[string]any {
					return map[string]any{"command": "/bin/sh", "args": []any{"-c", s.Shell()}, "isolation": isolation}
				},
				Named: func(program, arg0 string, args ...any) map[string]any {
					return map[string]any{"command": program, "arg0": arg0, "args": args, "isolation": isolation}
				},
				Bad: []map[string]any{{}, {"command": 5}, {"command": "/bin/sh", "network": "bridge"}},
				Folder: func(t *testing.T) string {
					dir, err := os.MkdirTemp(n.dir, "tasks")
					if err == nil {
						err = os.Chmod(dir, 0o755)
					}
					if err != nil {
						t.Fatal(err)
					}
					return dir
				},
				User: "nobody", Limits: true, Mounts: isolation == "full", Profiles: isolation == "full", Commands: true,
			})
		})
	}
}
