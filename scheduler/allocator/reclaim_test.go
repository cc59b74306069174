package allocator

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// What room on a node costs at least is never more than what it costs, and where nothing is said to make room nothing does.
func TestRoomCostsNoLess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := New(Options{})
		guarantee := structs.Milli(rapid.IntRange(0, 8).Draw(t, "guarantee") * 1000)
		if err := a.SetRole(&structs.Role{Name: "web", Quota: &structs.Quota{Guarantee: &structs.QuotaAmount{CPU: &guarantee}}}); err != nil {
			t.Fatal(err)
		}
		part := func(name string) structs.Resources {
			return structs.Resources{CPU: structs.Milli(rapid.IntRange(0, 4).Draw(t, name) * 1000), Memory: structs.Bytes(rapid.IntRange(0, 4).Draw(t, name)) << 30,
				Custom: map[string]structs.Milli{"gpus": structs.Milli(1000 * rapid.IntRange(0, 1).Draw(t, name))}}
		}
		for i := range 2 {
			spec := benchNode(i)
			spec.Resources = structs.Resources{CPU: 8000, Memory: 8 << 30, Custom: map[string]structs.Milli{"gpus": structs.Milli(2000 * i)}}
			a.SetNode(spec)
			for k := range rapid.IntRange(0, 6).Draw(t, "allocations") {
				desired := structs.DesiredRun
				if rapid.IntRange(0, 3).Draw(t, "leaving") == 0 {
					desired = structs.DesiredStop
				}
				alloc := &structs.Allocation{ID: structs.AllocID(fmt.Sprint(i, "-", k)), Framework: "f", Role: "web", Job: fmt.Sprint("j", k%3), Group: "g",
					Node: spec.ID, Priority: structs.Priority{Band: structs.Band(rapid.IntRange(0, bands-1).Draw(t, "band"))}, Desired: desired,
					Gang: k%3 == 0, Created: structs.Time(rapid.IntRange(1, 5).Draw(t, "created")), Resources: part("held"), Status: structs.AllocRunning}
				if k%5 == 1 {
					alloc.Revocable = &structs.Slack{CPU: alloc.Resources.CPU, Memory: alloc.Resources.Memory / 2}
				}
				a.SetAllocation(alloc)
			}
		}
		a.Step(1, 0)
		want := part("wanted")
		ask, err := placement.Compile(&structs.Job{Name: "new"}, &structs.Group{Name: "g", Tasks: []*structs.Task{{Name: "t",
			Resources: &structs.TaskResources{CPU: max(want.CPU, 1), Memory: want.Memory, Custom: want.Custom}}}})
		if err != nil {
			t.Fatal(err)
		}
		s := a.shape(ask, nil)
		a.sync(s)
		for band := structs.BatchBand; int(band) < bands; band++ {
			for _, n := range a.byOrd {
				victims, can := a.victims(n, s, band)
				costs := costOf(victims)
				least, may := a.atLeast(n, s, band)
				if can && !may || can && costs.compare(&least) < 0 {
					t.Fatalf("%s, %s: room costs %v (%v), at least %v (%v)", n.Name(), band, costs, can, least, may)
				}
			}
		}
	})
}
