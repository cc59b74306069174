package server

import (
	"fmt"
	"testing"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// A gang goes out whole: in the command of others when there is room, first in the next one otherwise, whatever that costs.
func TestAGangGoesOutWhole(t *testing.T) {
	o := newOutbox()
	put := func(gang uint64, n int) {
		for range n {
			o.place(&state.Placement{Gang: gang, Alloc: &structs.Allocation{Job: "j", Group: "g"}})
		}
	}
	put(0, 2)
	put(1, 3)
	put(0, 1)
	put(2, 20)
	put(3, 2)
	o.stop("x", "no longer wanted")
	got := ""
	for range 20 {
		cmd := o.take(8 * placementBytes)
		if cmd == nil {
			break
		}
		got += fmt.Sprintf("%d+", len(cmd.Stops))
		for _, p := range cmd.Placements {
			got += fmt.Sprint(p.Gang)
		}
		got += " "
	}
	if want := "1+001110 0+22222222222222222222 0+33 "; got != want {
		t.Errorf("went out as %s", got)
	}
}
