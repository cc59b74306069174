package mock_test

import (
	"testing"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/conformance"
	"github.com/proffer/proffer/drivers/mock"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, &conformance.Harness{
		New: func(*testing.T) drivers.Driver { return mock.New(nil) },
		Config: func(s conformance.Script) map[string]any {
			c := map[string]any{"exit_code": s.ExitCode, "ignore_signals": s.Stubborn}
			if s.Forever {
				c["run_for"] = "forever"
			}
			if s.Stdout != "" {
				c["stdout"] = s.Stdout
			}
			if s.Stderr != "" {
				c["stderr"] = s.Stderr
			}
			if s.Eat {
				c["oom"] = true
			}
			return c
		},
		Bad:      []map[string]any{{"exit_code": -1}, {"run_for": "soon"}, {"oom": "yes"}},
		Scripted: true,
	})
}
