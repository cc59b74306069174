package service_test

import (
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/proffer/proffer/scheduler/internal/region"
	"github.com/proffer/proffer/scheduler/internal/scenario"
	"github.com/proffer/proffer/scheduler/service"
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
		return region.New(structs.ServiceJob, service.Next).Run
	})
}

// TestConverges changes a job, fails its allocations, loses and drains nodes at random. At no time do two allocations of an
// index run, but for one that moves from a node that drains, and steps never stop more running ones than max_parallel allows. When the world is quiet for long enough,
// count allocations of the newest version run and there is nothing left to do.
func TestConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := region.New(structs.ServiceJob, service.Next)
		count := rapid.IntRange(0, 6).Draw(t, "count")
		r.Group().Count = &count
		r.Want.Job.Update.MaxParallel = rapid.IntRange(0, 3).Draw(t, "max_parallel")
		r.Group().OnLost = rapid.SampledFrom([]string{"", "wait(30s)", "fence"}).Draw(t, "on_lost")
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			disturb(t, r, &count)
			advance(t, r, count)
		}
		for id := range r.Nodes {
			r.Run("undrain " + string(id))
		}
		for range 400 {
			for _, a := range slices.Clone(r.Allocs) {
				switch {
				case a.Ended():
				case a.Desired == structs.DesiredStop:
					r.Happen(a, "ended")
				case a.Status == structs.AllocPending:
					r.Happen(a, "running")
				}
			}
			s := advance(t, r, count)
			if s.WakeAt == 0 && len(s.Place)+len(s.Stop)+len(s.Update) == 0 && !slices.ContainsFunc(r.Allocs, func(a *structs.Allocation) bool {
				return !a.Ended() && (a.Desired == structs.DesiredStop || a.Status == structs.AllocPending)
			}) {
				break
			}
			if s.WakeAt > r.Now {
				r.Now = s.WakeAt
			}
		}
		running := 0
		for _, a := range r.Allocs {
			if a.Ended() {
				continue
			}
			running++
			if a.Status != structs.AllocRunning || a.Desired != structs.DesiredRun || a.Index >= count || a.Version != r.Want.Record.Version {
				t.Fatalf("%s is %s, wanted %s, version %d of %d\n%s", a.ID, a.Status, a.Desired, a.Version, r.Want.Record.Version, r.Run("state"))
			}
		}
		if running != count {
			t.Fatalf("%d of %d run\n%s%s", running, count, r.Run("state"), r.Run("next"))
		}
	})
}

func disturb(t *rapid.T, r *region.Region, count *int) {
	r.Now = r.Now.Add(structs.Duration(rapid.IntRange(0, 40).Draw(t, "seconds")) * 1e9)
	switch rapid.IntRange(0, 9).Draw(t, "what") {
	case 0:
		r.Run("version")
	case 1:
		r.Run("version in_place")
	case 2:
		*count = rapid.IntRange(0, 6).Draw(t, "count")
	case 3:
		r.Run("restart")
	case 4:
		r.Run("drain " + rapid.SampledFrom([]string{"n0", "n1 deadline=60s"}).Draw(t, "drain"))
	case 5:
		r.Run("undrain n0")
	case 6:
		r.Run("forget")
	}
	for _, a := range slices.Clone(r.Allocs) {
		if a.Ended() {
			continue
		}
		switch rapid.IntRange(0, 5).Draw(t, "event") {
		case 0, 1:
			if a.Desired == structs.DesiredStop {
				r.Happen(a, "ended")
			} else {
				r.Happen(a, "running")
			}
		case 2:
			r.Happen(a, rapid.SampledFrom([]string{"failed", "lost", "complete"}).Draw(t, "end"))
		}
	}
}

// advance carries out the steps and checks what always holds.
func advance(t *rapid.T, r *region.Region, count int) (s struct {
	WakeAt              structs.Time
	Place, Stop, Update []int
}) {
	before := slices.Clone(r.Allocs)
	steps := r.Steps()
	if again := r.Steps(); len(again.Stop) != len(steps.Stop) || len(again.Place) != len(steps.Place) {
		t.Fatal("not a function of its arguments")
	}
	parallel := max(1, r.Want.Job.Update.MaxParallel)
	stops := map[structs.AllocID]bool{}
	for _, stop := range steps.Stop {
		stops[stop.Alloc] = true
	}
	available, stopped := 0, 0
	for index := range count {
		some, left, forced := false, false, false
		for _, a := range before {
			if a.Index != index || a.Ended() || a.Desired != structs.DesiredRun || a.Status != structs.AllocRunning {
				continue
			}
			some, left = true, left || !stops[a.ID]
			drain := r.Nodes[a.Node].Drain
			forced = forced || drain != nil && drain.Deadline != 0 && drain.Deadline <= r.Now
		}
		if some {
			available++
		}
		if some && !left && !forced {
			stopped++
		}
	}
	if allowed := max(0, parallel-(count-available)); stopped > allowed {
		t.Fatalf("%d of %d running ones stopped at once, %d were available, max_parallel %d\n%v\n%s", stopped, count, available, parallel, steps.Stop, r.Run("state"))
	}
	r.Stop(steps)
	for _, p := range steps.Place {
		for _, a := range r.Allocs {
			moves := a.ID == p.Previous && a.Desired == structs.DesiredRun && r.Nodes[a.Node].Drain != nil && a.OnLost != structs.OnLostFence
			if a.Index == p.Index && !a.Ended() && !moves {
				t.Fatalf("index %d placed while %s has not ended\n%s", p.Index, a.ID, r.Run("state"))
			}
		}
		if p.Index < 0 || p.Index >= count {
			t.Fatalf("index %d placed, count %d", p.Index, count)
		}
		r.Place(p, r.PickNode(p))
	}
	s.WakeAt = steps.WakeAt
	s.Place, s.Stop, s.Update = make([]int, len(steps.Place)), make([]int, len(steps.Stop)), make([]int, len(steps.Update))
	return s
}
