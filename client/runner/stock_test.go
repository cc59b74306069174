package runner

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/proffer/proffer/structs"
)

// Whatever is asked for, given back, lost and found again by another agent, nothing is given twice, and nobody is refused what is free.
func TestNothingIsGivenTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cores := []int{0, 4, 1, 5}
		all := []Device{}
		for i := range 5 {
			d := Device{AssignedDevice: structs.AssignedDevice{Resource: "gpus", ID: fmt.Sprint("GPU-", i), Model: "A"}}
			if i > 2 {
				d.Resource, d.Model = "gpus-b", "B"
			}
			all = append(all, d)
		}
		have := all
		stock := NewStock(cores)
		stock.Offer(have, "")
		tasks := map[string]*structs.TaskState{} // what was recorded
		names := []string{"a", "b", "c", "d", "e"}
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				who := rapid.SampledFrom(names).Draw(t, "who")
				if s := tasks[who]; s != nil && len(s.Cores) > 0 {
					return
				}
				r := &structs.TaskResources{Cores: rapid.IntRange(0, 3).Draw(t, "cores"), Custom: map[string]structs.Milli{
					"gpus":   structs.Milli(rapid.IntRange(0, 3).Draw(t, "gpus")) * 1000,
					"gpus-b": structs.Milli(rapid.IntRange(0, 2).Draw(t, "others")) * 1000, "licenses": 2000}}
				var state structs.TaskState
				if s := tasks[who]; s != nil {
					state = *s
				}
				usedCores, used := 0, map[string]bool{}
				for other, s := range tasks {
					if other != who {
						usedCores += len(s.Cores)
						for _, d := range s.Devices {
							used[d.ID] = true
						}
					}
				}
				fits := r.Cores <= len(cores)-usedCores
				for _, name := range []string{"gpus", "gpus-b"} {
					free, known := 0, 0
					for _, d := range have {
						if d.Resource == name {
							known++
							if !used[d.ID] {
								free++
							}
						}
					}
					lost := false
					for _, d := range state.Devices {
						lost = lost || d.Resource == name
					}
					fits = fits && (int(r.Custom[name]/1000) <= free || known == 0 && !lost)
				}
				err := stock.Take(who, r, &state)
				if (err == nil) != fits {
					t.Fatalf("%+v with %d cores and %v used: %v", r, usedCores, used, err)
				}
				if err == nil {
					tasks[who] = &state
				} else if k := structs.KindOf(err); k != structs.Exhausted && k != structs.Unavailable {
					t.Fatal(err)
				}
			},
			"release": func(t *rapid.T) {
				who := rapid.SampledFrom(names).Draw(t, "who")
				stock.Release(who)
				delete(tasks, who)
			},
			"look": func(t *rapid.T) { // some are gone, or back
				have = nil
				for _, d := range all {
					if rapid.Bool().Draw(t, d.ID) {
						have = append(have, d)
					}
				}
				stock.Offer(have, "")
			},
			"restart": func(t *rapid.T) {
				stock = NewStock(cores)
				for who, s := range tasks {
					stock.Keep(who, s)
				}
				stock.Offer(have, "")
			},
			"": func(t *rapid.T) {
				given := map[string]string{}
				for who, s := range tasks {
					for _, n := range s.Cores {
						if other := given[fmt.Sprint(n)]; other != "" {
							t.Fatalf("core %d: %s and %s", n, other, who)
						}
						given[fmt.Sprint(n)] = who
					}
					for _, d := range s.Devices {
						if other := given[d.ID]; other != "" {
							t.Fatalf("%s: %s and %s", d.ID, other, who)
						}
						given[d.ID] = who
					}
				}
			},
		})
	})
}

// While it is not known which devices there are, or what the tasks have, nothing is given, and what is had is kept.
func TestAnUnsureStock(t *testing.T) {
	stock := NewStock([]int{0, 1})
	stock.Offer([]Device{{AssignedDevice: structs.AssignedDevice{Resource: "gpus", ID: "GPU-0"}}}, "")
	one := &structs.TaskResources{Cores: 1, Custom: map[string]structs.Milli{"gpus": 1000}}
	var first, second structs.TaskState
	if err := stock.Take("first", one, &first); err != nil {
		t.Fatal(err)
	}
	stock.Offer(nil, "the tool fails")
	if err := stock.Take("first", one, &first); err != nil || len(first.Devices) != 1 {
		t.Errorf("%v %+v", err, first)
	}
	if err := stock.Take("second", one, &second); structs.KindOf(err) != structs.Unavailable {
		t.Error(err)
	}
	stock.Offer(nil, "")
	if err := stock.Take("first", one, &first); structs.KindOf(err) != structs.Exhausted {
		t.Errorf("its device is gone: %v", err)
	}
	stock.Close("a record cannot be read")
	if err := stock.Take("second", &structs.TaskResources{Cores: 1}, &second); structs.KindOf(err) != structs.Unavailable {
		t.Error(err)
	}
}
