package batch_test

import (
	"slices"
	"testing"

	"github.com/proffer/proffer/scheduler/batch"
	"github.com/proffer/proffer/scheduler/internal/region"
	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

// TestGangIsWhole lets members of a gang fail, get lost and be drained at random. Whenever one is placed all are, when nothing of it
// runs; it completes only when all members of one life completed, or fails for good after as many failures as it has attempts and one.
func TestGangIsWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := region.New(structs.BatchJob, batch.Next)
		r.Want.Job.Gang = &structs.Gang{}
		count, attempts := rapid.IntRange(1, 6).Draw(t, "count"), rapid.IntRange(0, 3).Draw(t, "attempts")
		r.Group().Count = &count
		r.Group().Reschedule = &structs.Reschedule{Attempts: &attempts}
		lives, completed, failedLives, failed := 0, 0, 0, false
		trouble := rapid.IntRange(0, 40).Draw(t, "trouble")
		for round := 0; ; round++ {
			if round > 2000 {
				t.Fatalf("does not end\n%s", r.Run("state"))
			}
			s := r.Steps()
			r.Stop(s)
			r.Begin(s)
			if len(s.Place) > 0 {
				if len(s.Place) != count || slices.ContainsFunc(r.Allocs, func(a *structs.Allocation) bool { return !a.Ended() }) {
					t.Fatalf("%d of %d placed\n%s", len(s.Place), count, r.Run("state"))
				}
				lives, completed, failed = lives+1, 0, false
				for _, p := range s.Place {
					r.Place(p, r.PickNode(p))
				}
			}
			switch s.Status {
			case structs.JobDone:
				if completed != count || failedLives > attempts {
					t.Fatalf("done: %d of %d completed in life %d, %d failures with %d attempts", completed, count, lives, failedLives, attempts)
				}
				return
			case structs.JobFailed:
				if failedLives != attempts+1 {
					t.Fatalf("failed for good after %d failures with %d attempts", failedLives, attempts)
				}
				return
			}
			quiet := round >= trouble
			for _, a := range slices.Clone(r.Allocs) {
				if a.Ended() {
					continue
				}
				what := "complete"
				if !quiet {
					what = rapid.SampledFrom([]string{"", "running", "complete", "failed", "lost"}).Draw(t, "event")
				}
				if a.Desired == structs.DesiredStop {
					what = "ended"
				}
				switch what {
				case "":
					continue
				case "complete":
					completed++
				case "failed":
					if !failed {
						failed = true
						failedLives++
					}
				}
				r.Happen(a, what)
			}
			if !quiet && rapid.IntRange(0, 9).Draw(t, "drain") == 0 {
				r.Run(rapid.SampledFrom([]string{"drain n0 deadline=10s", "undrain n0", "drain n1"}).Draw(t, "which"))
			}
			r.Now = r.Now.Add(1e9)
			if s.WakeAt > r.Now {
				r.Now = s.WakeAt
			}
		}
	})
}
