package server_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Small work does not overtake large work for ever: room is kept for it, explain says where and until when, and meanwhile
// only what ends in time runs there.
func TestRoomIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1)
		// A node has eight cores.
		of := func(cores int, limit time.Duration) func(*structs.Job) {
			return func(j *structs.Job) {
				j.Groups[0].Tasks[0].Resources.CPU = structs.Milli(1000 * cores)
				j.Groups[0].MaxRunDuration = structs.Duration(limit)
			}
		}
		r.propose(&state.SubmitJob{Job: job("web", "service", 4, of(2, time.Hour))})
		r.eventually("web runs", func() bool { return r.running("web") == 4 })
		r.propose(&state.SubmitJob{Job: job("large", "service", 1, of(6, 0))})
		r.eventually("large waits", func() bool { return strings.Contains(waitOf(t, r, "large"), "no node takes it") })
		time.Sleep(time.Second) // of the bubble: what is served at the same moment overtakes nothing
		r.propose(&state.ScaleJob{Name: "web", Group: "g", Count: 3})
		r.propose(&state.SubmitJob{Job: job("bit", "service", 1, of(2, 0))})
		r.eventually("bit overtakes it", func() bool { return r.running("bit") == 1 })
		r.eventually("room is kept", func() bool { return strings.Contains(waitOf(t, r, "large"), "room is kept for it on node1") })
		if text := waitOf(t, r, "large"); !strings.Contains(text, "at the latest") {
			t.Errorf("three of the four there have a max_run_duration: %s", text)
		}

		r.propose(&state.ScaleJob{Name: "web", Group: "g", Count: 2})
		r.eventually("there is room for less", func() bool { return r.running("web") == 2 })
		r.propose(&state.SubmitJob{Job: job("other", "service", 1, of(2, 0))})
		r.propose(&state.SubmitJob{Job: job("quick", "batch", 1, of(2, time.Minute))})
		r.eventually("what ends in time runs", func() bool { return r.leader().server.Store().Snapshot().Job("quick").Status == structs.JobDone })
		if text := waitOf(t, r, "other"); r.running("other") != 0 || !strings.Contains(text, "is kept for large/g") {
			t.Errorf("other has no end, and: %s", text)
		}
		r.propose(&state.StopJob{Name: "web"})
		r.eventually("large runs", func() bool { return r.running("large") == 1 })
		if r.running("other") != 0 {
			t.Error("it took the room of large")
		}
	})
}

// waitOf says what the only group of a job waits for.
func waitOf(t *testing.T, r *region, name string) string {
	t.Helper()
	groups, err := r.leader().server.Explain(t.Context(), name, "")
	if err != nil {
		t.Fatal(err)
	}
	return groups[0].Wait
}
