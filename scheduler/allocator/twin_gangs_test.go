package allocator

import (
	"testing"

	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

// gangInputs are the kinds of input that matter to gangs, the frequent ones several times: nodes, gangs, work that somebody else
// committed, what ends or is answered, now and then a request, an offer, a role, a reservation.
var gangInputs = []int{0, 0, 19, 19, 19, 15, 15, 15, 15, 15, 15, 10, 10, 6, 4, 11, 13, 17, 18, 20}

// TestGangsEqualContract is TestEqualsContract with lives in which most is about gangs.
func TestGangsEqualContract(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		liveTwice(t, func(t *rapid.T, a *Allocator, w *twin, seq uint64, now structs.Time) {
			w.crowded = true
			inputOf(t, a, w, seq, now, rapid.SampledFrom(gangInputs).Draw(t, "kind"))
		})
	})
}
