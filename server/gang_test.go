package server_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// ends lets one allocation of a gang end by itself.
func (n *node) ends(job string, index int, status structs.AllocStatus) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.allocs {
		if w.alloc.Job == job && w.alloc.Index == index && w.status == structs.AllocRunning {
			w.status = status
			n.region.witness.stop(w.key, n)
			n.up.Observe(n.update(w))
		}
	}
}

// A gang waits until all of it fits, comes with one entry, runs again whole when one of it fails, and ends when all of it is done.
func TestGangRunsWholeOrNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 2)
		ganged := func(j *structs.Job) {
			j.Gang = &structs.Gang{}
			j.Groups[0].Tasks[0].Resources.CPU = 3000 // two on each node
		}
		r.propose(&state.SubmitJob{Job: job("mpi", "batch", 6, ganged)})
		time.Sleep(time.Minute)
		if n := r.witness.count(); n != 0 {
			t.Fatalf("%d of a gang run where the others do not fit", n)
		}
		s := r.servers[0].server
		groups, err := s.Explain(context.Background(), "mpi", "")
		check(t, err)
		if g := groups[0]; g.Waiting != 6 || g.Wait != "4 of 6 of gang mpi would fit; the next one: cpu: 3 asked, at most 2 free on node node1" {
			t.Errorf("%d wait: %q", g.Waiting, g.Wait)
		}
		for count, want := range map[int]int{4: 4, 5: 0} {
			groups, err := s.Plan(context.Background(), job("other", "batch", count, ganged))
			check(t, err)
			if g := groups[0]; len(g.Held) != want || g.Waiting != count-want || (g.Wait == "") != (want > 0) {
				t.Errorf("plan for %d: %d placed, %d wait: %q", count, len(g.Held), g.Waiting, g.Wait)
			}
		}
		life := func() (created uint64, failures int) {
			for a := range s.Store().Snapshot().AllocsOfJob("mpi") {
				if a.Desired != structs.DesiredRun || a.Status != structs.AllocRunning {
					continue
				}
				if !a.Gang || created != 0 && a.CreateIndex != created {
					t.Fatalf("index %d came with entry %d, another one with %d (gang: %v)", a.Index, a.CreateIndex, created, a.Gang)
				}
				created, failures = a.CreateIndex, len(a.Failures)
			}
			return created, failures
		}
		r.addNode("")
		r.eventually("six running", func() bool { return r.running("mpi") == 6 })
		first, _ := life()
		on := func(index int) *node {
			for a := range s.Store().Snapshot().AllocsOfJob("mpi") {
				if a.Index == index && a.Status == structs.AllocRunning {
					for _, n := range r.nodes {
						if n.id == a.Node {
							return n
						}
					}
				}
			}
			t.Fatalf("index %d does not run", index)
			return nil
		}
		on(0).ends("mpi", 0, structs.AllocComplete)
		on(3).ends("mpi", 3, structs.AllocFailed)
		r.eventually("all running again", func() bool { created, _ := life(); return r.running("mpi") == 6 && created > first })
		if _, failures := life(); failures != 1 {
			t.Errorf("%d failures are remembered", failures)
		}
		for i := range 6 {
			on(i).ends("mpi", i, structs.AllocComplete)
		}
		r.eventually("done", func() bool { return s.Store().Snapshot().Job("mpi").Status == structs.JobDone })
		if n := len(r.witness.starts()); n != 12 {
			t.Errorf("%d starts, not 12", n)
		}
	})
}
