//go:build linux && system && soak

package faults

import "testing"

// TestKilledAnywhere is TestKilled before every change of a life.
func TestKilledAnywhere(t *testing.T) { killed(t, 0) }
