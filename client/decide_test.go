package client

import (
	"fmt"
	"slices"
	"testing"

	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

// TestDecide compares with rules that are written down one by one for each allocation, on random input.
func TestDecide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := View{Held: map[structs.AllocID]Held{}, Ended: map[structs.AllocID]bool{}, Same: rapid.Bool().Draw(t, "same generation")}
		d := &session.Desired{Full: rapid.Bool().Draw(t, "full"), Confirmed: rapid.Bool().Draw(t, "confirmed"), Index: uint64(rapid.IntRange(1, 20).Draw(t, "index"))}
		sent := map[structs.AllocID]*structs.Allocation{}
		gone := map[structs.AllocID]bool{}
		n := rapid.IntRange(0, 60).Draw(t, "allocations")
		rare := rapid.IntRange(1, 40).Draw(t, "one of so many is absent")
		for i := range n {
			id := structs.AllocID(fmt.Sprint(i))
			a := &structs.Allocation{ID: id, CreateIndex: uint64(rapid.IntRange(1, 20).Draw(t, "made")), Desired: structs.DesiredRun,
				Status: rapid.SampledFrom([]structs.AllocStatus{structs.AllocPending, structs.AllocRunning, structs.AllocComplete, structs.AllocLost}).Draw(t, "status")}
			if rapid.Bool().Draw(t, "of a framework") {
				a.External = &structs.External{}
			}
			switch rapid.IntRange(0, 3).Draw(t, "node") {
			case 0:
				v.Ended[id] = true
			case 1, 2:
				held := *a
				v.Held[id] = Held{Alloc: &held, Stopping: rapid.IntRange(0, 9).Draw(t, "stopping") == 0, Quarantined: rapid.IntRange(0, 9).Draw(t, "quarantined") == 0}
			}
			if rapid.IntRange(0, 3).Draw(t, "stop") == 0 {
				a.Desired = structs.DesiredStop
			}
			if rapid.IntRange(1, rare).Draw(t, "absent") != 1 || rare == 1 && i%2 == 0 {
				sent[id] = a
				d.Allocs = append(d.Allocs, a)
			}
			if rapid.IntRange(0, 9).Draw(t, "gone") == 0 {
				gone[id] = true
				d.Gone = append(d.Gone, id)
			}
		}
		got := Decide(v, d)

		// The twin.
		working, missing := 0, 0
		for id, h := range v.Held {
			if h.Stopping {
				continue
			}
			working++
			if sent[id] == nil && !h.Quarantined && d.Index > h.Alloc.CreateIndex {
				missing++
			}
		}
		alarm := missing > 3 && float64(missing) > float64(working)/10
		for i := range n {
			id := structs.AllocID(fmt.Sprint(i))
			h, held := v.Held[id]
			a := sent[id]
			proof := d.Full && d.Confirmed && v.Same && !alarm && held && d.Index > h.Alloc.CreateIndex && !h.Quarantined
			ended := a != nil && (a.Status == structs.AllocComplete || a.Status == structs.AllocFailed)
			stop := held && !h.Stopping && (a != nil && (a.Desired == structs.DesiredStop || ended) || a == nil && proof)
			if has := slices.ContainsFunc(got.Stop, func(e Ending) bool { return e.ID == id }); has != stop {
				t.Fatalf("%s: stop %v, want %v: held %+v, sent %+v, %+v", id, has, stop, h, a, d)
			}
			quarantine := held && a == nil && !h.Stopping && !h.Quarantined && d.Full && d.Confirmed && (!v.Same || alarm && d.Index > h.Alloc.CreateIndex)
			if has := slices.Contains(got.Quarantine, id); has != quarantine {
				t.Fatalf("%s: quarantine %v, want %v: held %+v, %+v", id, has, quarantine, h, d)
			}
			start := !held && !v.Ended[id] && a != nil && a.Desired == structs.DesiredRun && a.Status == structs.AllocPending
			if has := slices.Contains(got.Start, a); has != start {
				t.Fatalf("%s: start %v, want %v", id, has, start)
			}
			refuse := !held && !v.Ended[id] && a != nil && (a.Status == structs.AllocLost && a.External != nil && d.Full ||
				!a.Ended() && (a.Desired == structs.DesiredStop || a.Status == structs.AllocRunning))
			if has := slices.ContainsFunc(got.Refuse, func(e Ending) bool { return e.ID == id }); has != refuse {
				t.Fatalf("%s: refuse %v, want %v: sent %+v", id, has, refuse, a)
			}
			if slices.Contains(got.Forget, id) && !v.Ended[id] {
				t.Fatalf("%s: forgotten without an end", id)
			}
			if v.Ended[id] && (gone[id]) && !slices.Contains(got.Forget, id) {
				t.Fatalf("%s: not forgotten", id)
			}
		}
	})
}
