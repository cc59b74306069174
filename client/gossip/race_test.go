//go:build race

package gossip

import (
	"os"
	"runtime"
	"testing"
)

const underRace = true

// TestMain uses one processor. In a bubble under the race detector Go 1.26 lets several of them fire timers with one race
// context, and that crashes the detector now and then. Which races it finds depends on what is ordered, not on processors.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	os.Exit(m.Run())
}
