//go:build soak

package mesos_test

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestChaosForHours is TestChaos with ten regions, each for an hour of its own clock.
func TestChaosForHours(t *testing.T) {
	for range 10 {
		chaos{frameworks: 50, nodes: 20, tasks: 200, lasts: time.Hour, seed: rand.Uint64()}.run(t)
	}
}
