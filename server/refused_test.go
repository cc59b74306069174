package server

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/scheduler"
	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// A job whose placements are refused again and again is tried less and less often, and explain says so. What is accepted,
// or another wish, ends that.
func TestRefusedPlacementsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &jobLoop{wants: map[string][]scheduler.Placement{}, indexes: map[string]map[int]int{},
			asks: map[string]*placement.Ask{"g": nil}}
		l := &loop{log: slog.New(slog.DiscardHandler), allocator: allocator.New(allocator.Options{}), out: newOutbox(),
			jobs: map[string]*jobLoop{"web": j}, dirty: map[string]struct{}{}}
		answer := func(why ...state.Refusal) {
			t.Helper()
			p := placed{cmd: &state.Place{}, answer: &state.Placed{}}
			for _, refused := range why {
				p.cmd.Placements = append(p.cmd.Placements, &state.Placement{Alloc: &structs.Allocation{Job: "web", Group: "g"}})
				p.answer.Placements = append(p.answer.Placements, state.PlaceResult{Refused: refused, Why: "a port is taken"})
			}
			if err := l.answered(p); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range []time.Duration{50, 100, 200, 400, 800, 1600, 3200, 5000, 5000} {
			answer(state.RefusedPorts, state.RefusedPorts)
			if got := time.Until(j.quiet); got != want*time.Millisecond {
				t.Errorf("the next try comes in %v, not %v ms", got, int64(want))
			}
			time.Sleep(10 * time.Millisecond)
		}
		offers := offerLoop{current: l}
		said, err := offers.orders("web")
		if want := "the last placement was refused: a port is taken; it is tried again in 4.99s"; err != nil || said["g"] == nil || said["g"].Refused != want {
			t.Errorf("explained as %+v, not %q (%v)", said["g"], want, err)
		}
		answer(state.RefusedPorts, "")
		if got := time.Until(j.quiet); got != refusedPause {
			t.Errorf("after some were accepted the next try comes in %v", got)
		}
		answer(state.RefusedPorts)
		record := &structs.JobRecord{Name: "web", Version: 1}
		next := &structs.JobRecord{Name: "web", Version: 2}
		l.take(arrival{Batch: &state.Batch{Changes: []state.Change{{Table: state.Jobs, Old: record, New: next}}}})
		if !j.quiet.IsZero() {
			t.Errorf("a new version is looked at in %v", time.Until(j.quiet))
		}
		if said, _ := offers.orders("web"); said["g"] != nil && strings.Contains(said["g"].Refused, "refused") {
			t.Errorf("explained as %+v", said["g"])
		}
	})
}
