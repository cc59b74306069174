package state

import (
	"maps"
	"slices"
	"testing"

	"github.com/proffer/proffer/client/msgpack/twin"
	"github.com/proffer/proffer/structs"
)

// TestTheLogIsAsItWas: commands, their answers and records are written and read as by servers that did not use package msgpack yet.
func TestTheLogIsAsItWas(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		twin.Check(t, 1, 60, kinds[name].command(), kinds[name].answer())
	}
	twin.Check(t, 1, 60, structs.Node{}, structs.JobRecord{}, structs.JobVersion{}, structs.Allocation{}, structs.Role{}, structs.Framework{},
		structs.Reservation{}, structs.Volume{}, structs.Variable{}, structs.RegionKey{}, structs.Operation{}, storedAnswer{})
}
