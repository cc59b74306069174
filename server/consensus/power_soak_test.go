//go:build soak

package consensus

import "testing"

// TestPowerLossForHours is TestPowerLoss, some thousand times.
func TestPowerLossForHours(t *testing.T) { losePower(t, 3000) }
