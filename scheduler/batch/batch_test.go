package batch_test

import (
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/proffer/proffer/scheduler/batch"
	"github.com/proffer/proffer/scheduler/internal/region"
	"github.com/proffer/proffer/scheduler/internal/scenario"
	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

// TestMain keeps rapid from writing files into the source tree; the seed that it prints reproduces a failure.
func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", "1000")
	flag.Parse()
	_ = flag.Set("rapid.nofailfile", "true")
	os.Exit(m.Run())
}

func TestScenarios(t *testing.T) {
	scenario.Run(t, "testdata/*.txt", func(*testing.T) func(string) string {
		return region.New(structs.BatchJob, batch.Next).Run
	})
}

// TestOnceEach lets allocations fail, get lost and be drained at random, while ended ones leave the state. Each index
// completes exactly once or fails for good, never runs twice at a time, and the job ends.
func TestOnceEach(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := region.New(structs.BatchJob, batch.Next)
		count, attempts := rapid.IntRange(0, 8).Draw(t, "count"), rapid.IntRange(0, 3).Draw(t, "attempts")
		r.Group().Count = &count
		r.Group().Reschedule = &structs.Reschedule{Attempts: &attempts}
		r.Group().OnLost = rapid.SampledFrom([]string{"", "wait(30s)"}).Draw(t, "on_lost")
		completed, failures := make([]int, count), make([]int, count)
		trouble := rapid.IntRange(0, 60).Draw(t, "trouble")
		for round := 0; ; round++ {
			if round > 2000 {
				t.Fatalf("does not end\n%s", r.Run("state"))
			}
			s := r.Steps()
			r.Stop(s)
			for _, p := range s.Place {
				if a := r.Find(p.Index); a != nil {
					t.Fatalf("index %d placed while %s has not ended", p.Index, a.ID)
				}
				if completed[p.Index] > 0 {
					t.Fatalf("index %d placed after it completed", p.Index)
				}
				r.Place(p, r.PickNode(p))
			}
			if s.Status == structs.JobDone || s.Status == structs.JobFailed {
				check(t, r, s.Status, completed, failures, attempts)
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
					completed[a.Index]++
				case "failed":
					failures[a.Index]++
				}
				r.Happen(a, what)
			}
			if !quiet && rapid.IntRange(0, 9).Draw(t, "drain") == 0 {
				r.Run(rapid.SampledFrom([]string{"drain n0 deadline=10s", "undrain n0", "drain n1"}).Draw(t, "which"))
			}
			if rapid.IntRange(0, 5).Draw(t, "forget") == 0 {
				// What ended leaves the state once the record lists it.
				r.Allocs = slices.DeleteFunc(r.Allocs, func(a *structs.Allocation) bool {
					return a.Ended() && (structs.HasIndex(r.Want.Record.Finished["g"], a.Index) || structs.HasIndex(r.Want.Record.FailedFor["g"], a.Index))
				})
			}
			r.Now = r.Now.Add(1e9)
			if s.WakeAt > r.Now {
				r.Now = s.WakeAt
			}
		}
	})
}

func check(t *rapid.T, r *region.Region, status structs.JobStatus, completed, failures []int, attempts int) {
	failed := false
	for i := range completed {
		good := structs.HasIndex(r.Want.Record.FailedFor["g"], i)
		failed = failed || good
		switch {
		case completed[i] > 1:
			t.Fatalf("index %d completed %d times", i, completed[i])
		case completed[i] == 0 && !good:
			t.Fatalf("index %d neither completed nor failed for good", i)
		case good && failures[i] != attempts+1:
			t.Fatalf("index %d failed for good after %d failures with %d attempts", i, failures[i], attempts)
		case !good && failures[i] > attempts:
			t.Fatalf("index %d had %d failures with %d attempts and went on", i, failures[i], attempts)
		}
	}
	if failed != (status == structs.JobFailed) {
		t.Fatalf("status %s", status)
	}
}

func BenchmarkNext100k(b *testing.B) {
	r := region.New(structs.BatchJob, batch.Next)
	count := 100_000
	r.Group().Count = &count
	for _, p := range r.Steps().Place[:50_000] {
		r.Place(p, "n0")
	}
	r.Want.Record.Finished = map[string][]structs.Range{"g": {{First: 60_000, Last: 99_999}}}
	for b.Loop() {
		if s := r.Steps(); len(s.Place) != 10_000 {
			b.Fatal(len(s.Place))
		}
	}
}
