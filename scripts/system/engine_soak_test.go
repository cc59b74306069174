//go:build linux && system && soak

package system

import "testing"

// TestTheEngineFailsUnderLoadForLong is TestTheEngineFailsUnderLoad with five times the containers and the failures.
func TestTheEngineFailsUnderLoadForLong(t *testing.T) { engineFails(t, 40, 5) }
