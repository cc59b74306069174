package server_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// A change replaces max_parallel allocations at a time, no more and no fewer, and never runs more than count; so does a
// restart.
func TestRollingUpdateAndRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 2)
		const minHealthy = structs.Duration(5 * time.Second)
		rolling := func(text string) *structs.Job {
			return job("web", "service", 6, func(j *structs.Job) {
				j.Update = &structs.Update{MaxParallel: 2, MinHealthyTime: minHealthy}
				j.Groups[0].Tasks[0].Config = map[string]any{"text": text}
			})
		}
		r.propose(&state.SubmitJob{Job: rolling("one")})
		r.eventually("six running", func() bool { return r.running("web") == 6 })
		time.Sleep(10 * time.Second) // they are healthy

		// Beside those that are healthy are those that are being replaced.
		ended := make(chan struct{})
		most, highest := 0, 0
		var watching sync.WaitGroup
		watching.Go(func() {
			for {
				select {
				case <-ended:
					return
				case <-time.After(time.Millisecond):
				}
				healthy := 0
				for a := range r.servers[0].server.Store().Snapshot().AllocsOfJob("web") {
					if a.Desired == structs.DesiredRun && a.Status == structs.AllocRunning && a.Started.Add(minHealthy) <= structs.At(time.Now()) {
						healthy++
					}
				}
				most, highest = max(most, 6-healthy), max(highest, r.witness.count())
			}
		})
		change := func(what string, cmd state.Command, outdated func(*structs.Allocation) bool) {
			began := time.Now()
			r.propose(cmd)
			r.eventually(what, func() bool {
				old := 0
				for a := range r.leader().server.Store().Snapshot().AllocsOfJob("web") {
					if a.Desired == structs.DesiredRun && outdated(a) {
						old++
					}
				}
				return old == 0 && r.running("web") == 6
			})
			if took := time.Since(began); took < 10*time.Second {
				t.Errorf("%s took %v: three steps of two need two pauses", what, took)
			}
		}
		change("updated", &state.SubmitJob{Job: rolling("two")}, func(a *structs.Allocation) bool { return a.Version != 2 })
		time.Sleep(10 * time.Second)
		before := r.leader().server.Store().Snapshot().Index()
		change("restarted", &state.RestartJob{Name: "web"}, func(a *structs.Allocation) bool { return a.CreateIndex <= before })
		close(ended)
		watching.Wait()
		if most != 2 || highest != 6 {
			t.Errorf("%d were replaced at a time, not 2, and %d ran, not 6", most, highest)
		}
		if n := len(r.witness.starts()); n != 18 {
			t.Errorf("%d starts, not 18", n)
		}
	})
}

// A role's limit holds, explain names it, and what ends makes room.
func TestLimitOfARole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 2)
		limit := structs.Milli(300)
		r.propose(&state.PutRole{Role: &structs.Role{Name: "eng", Weight: 1000, Quota: &structs.Quota{Limit: &structs.QuotaAmount{CPU: &limit}}}})
		in := func(j *structs.Job) { j.Role = "eng" }
		r.propose(&state.SubmitJob{Job: job("first", "service", 2, in)})
		r.eventually("two running", func() bool { return r.running("first") == 2 })
		r.propose(&state.SubmitJob{Job: job("second", "service", 2, in)})
		r.eventually("one running", func() bool { return r.running("second") == 1 })
		time.Sleep(time.Minute)
		if n := r.witness.count(); n != 3 {
			t.Fatalf("%d run, not 3", n)
		}
		for _, h := range r.servers { // the leader's loop knows
			groups, err := h.server.Explain(context.Background(), "second", "")
			check(t, err)
			if g := groups[0]; g.Waiting != 1 || g.Wait != "the limit is reached: role eng: cpu 0.1 asked, 0.3 of 0.3 used" {
				t.Errorf("%s: %d wait: %q", h.ip, g.Waiting, g.Wait)
			}
		}
		// A plan says so before the job is submitted, and what would be let in.
		for name, want := range map[string]int{"third": 0, "second": 1} {
			groups, err := r.servers[0].server.Plan(context.Background(), job(name, "service", 3, in))
			check(t, err)
			if g := groups[0]; len(g.Held) != want || g.Waiting != 3-want || g.Wait != "the limit is reached: role eng: cpu 0.1 asked, 0.3 of 0.3 used" {
				t.Errorf("plan of %s: %d placed, %d wait: %q", name, len(g.Held), g.Waiting, g.Wait)
			}
		}
		_, err := r.servers[0].server.Plan(context.Background(), job("third", "service", 3, in, func(j *structs.Job) { j.Priority = "production" }))
		if structs.KindOf(err) != structs.Forbidden {
			t.Errorf("plan of a priority that the role does not take: %v", err)
		}
		r.propose(&state.StopJob{Name: "first"})
		r.eventually("two running", func() bool { return r.running("second") == 2 && r.witness.count() == 2 })
		groups, err := r.servers[0].server.Plan(context.Background(), job("third", "service", 3, in))
		check(t, err)
		if g := groups[0]; len(g.Held) != 1 || g.Waiting != 2 || g.Wait == "" {
			t.Errorf("plan with room for one: %d placed, %d wait: %q", len(g.Held), g.Waiting, g.Wait)
		}
		r.eventually("all running", func() bool { return r.running("second") == 2 })
	})
}

// A plan fails as the submission would, also for what may wait in a role, and leaves nothing behind.
func TestAPlanIsRefusedLikeTheJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1)
		r.propose(&state.PutRole{Role: &structs.Role{Name: "eng", Weight: 1000, MaxPending: 2}})
		in := func(j *structs.Job) { j.Role = "eng/web" }
		s := r.leader().server
		_, err := s.Plan(t.Context(), job("web", "service", 3, in))
		if structs.KindOf(err) != structs.Exhausted || !strings.Contains(err.Error(), "0 allocations wait, with this 3 would, and max_pending is 2") {
			t.Errorf("a plan of too much: %v", err)
		}
		groups, err := s.Plan(t.Context(), job("web", "service", 2, in))
		if err != nil || groups[0].Count != 2 {
			t.Errorf("a plan of what may wait: %v", err)
		}
		if snap := s.Store().Snapshot(); snap.Job("web") != nil || snap.Role("eng/web") != nil {
			t.Error("a plan left something")
		}
		r.propose(&state.SubmitJob{Job: job("web", "service", 2, in)})
		r.eventually("two running", func() bool { return r.running("web") == 2 })
		if _, err := s.Plan(t.Context(), job("web", "service", 4, in)); err != nil {
			t.Errorf("a plan of two more: %v", err)
		}
	})
}

// Where a job runs that does not say is what its role, or the one above it, says; a change holds for what is placed next.
func TestPlacementOfARole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 2)
		in := func(j *structs.Job) { j.Role = "eng/web" }
		nodes := func(name string) int {
			on := map[structs.NodeID]bool{}
			for a := range r.leader().server.Store().Snapshot().AllocsOfJob(name) {
				on[a.Node] = true
			}
			return len(on)
		}
		run := func(name string, count, want int) {
			t.Helper()
			r.propose(&state.SubmitJob{Job: job(name, "service", count, in)})
			r.eventually(name+" runs", func() bool { return r.running(name) == count })
			if got := nodes(name); got != want {
				t.Errorf("%s runs on %d nodes, not %d", name, got, want)
			}
		}
		run("packed", 2, 1)
		r.propose(&state.PutRole{Role: &structs.Role{Name: "eng", Weight: 1000, Placement: structs.SpreadApart}})
		run("spread", 4, 2)
		r.propose(&state.PutRole{Role: &structs.Role{Name: "eng/web", Weight: 1000, Placement: structs.Pack}})
		run("again", 2, 1)
	})
}

// Many jobs that are submitted at once, through every server, all end up right, and each runs once.
func TestManyJobsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const jobs, submitters = 2000, 50
		r := newRegion(t, 3, 3)
		r.leader()
		var submitting sync.WaitGroup
		for k := range submitters {
			submitting.Go(func() {
				for i := k; i < jobs; i += submitters {
					kind := []string{"service", "batch"}[i%2]
					_, _, err := r.servers[i%3].server.Propose(context.Background(), "", "test",
						&state.SubmitJob{Job: job(fmt.Sprintf("job%d", i), kind, 1, small)})
					if err != nil {
						t.Errorf("job%d: %v", i, err)
					}
				}
			})
		}
		submitting.Wait()
		r.eventually("all right", func() bool {
			good := 0
			for j := range r.leader().server.Store().Snapshot().Jobs() {
				if j.Type == "service" && j.Status == structs.JobRunning || j.Type == "batch" && j.Status == structs.JobDone {
					good++
				}
			}
			return good == jobs
		})
		time.Sleep(time.Minute)
		if starts, now := len(r.witness.starts()), r.witness.count(); starts != jobs || now != jobs/2 {
			t.Errorf("%d starts and %d run", starts, now)
		}
		// Then the region is at rest: nothing is committed any more.
		index := r.leader().server.Raft().Stats().CommitIndex
		time.Sleep(30 * time.Second)
		if now := r.leader().server.Raft().Stats().CommitIndex; now != index {
			t.Errorf("%d entries while nothing happens", now-index)
		}
	})
}

// The leader's bound of jobs counts, whichever server is asked, and can be changed.
func TestMaxJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 0)
		r.leader().server.SetMaxJobs(1)
		submit := func(h *host, name string) structs.Kind {
			_, _, err := h.server.Propose(t.Context(), "", "ann", &state.SubmitJob{Job: job(name, "service", 1)})
			return structs.KindOf(err)
		}
		if kind := submit(r.followers()[0], "one"); kind != "" {
			t.Errorf("the first one: %s", kind)
		}
		for _, h := range r.servers {
			if kind := submit(h, "two"); kind != structs.Exhausted {
				t.Errorf("a second one through %s: %q", h.ip, kind)
			}
		}
		r.leader().server.SetMaxJobs(2)
		if kind := submit(r.followers()[0], "two"); kind != "" {
			t.Errorf("the second one with more room: %s", kind)
		}
	})
}

// Production within its guarantee stops batch work when there is no room, the room is its own, and the victims come back
// when there is some again.
func TestProductionPreemptsBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 1)
		guarantee := structs.Milli(1000)
		r.eventually("a node that a guarantee can count on", func() bool {
			for n := range r.leader().server.Store().Snapshot().Nodes() {
				return n.Status == structs.NodeReady
			}
			return false
		})
		r.propose(&state.PutRole{Role: &structs.Role{Name: "web", MaxPriority: "production",
			Quota: &structs.Quota{Guarantee: &structs.QuotaAmount{CPU: &guarantee}}}})
		r.propose(&state.SubmitJob{Job: job("sums", "service", 100, func(j *structs.Job) { j.Priority = "batch-10" })})
		r.eventually("the node is full", func() bool { return r.running("sums") == 80 })

		shop := job("shop", "service", 2, func(j *structs.Job) {
			j.Role, j.Priority, j.Groups[0].Tasks[0].Resources.CPU = "web", "production", 250
		})
		plan, err := r.leader().server.Plan(t.Context(), shop)
		check(t, err)
		if g := plan[0]; g.Waiting != 2 || g.Claims != 2 || len(g.Stops) != 5 || g.Stops[0].Job != "sums" {
			t.Errorf("a plan: %d wait, %d get room, %d are stopped, not 2, 2 and 5", g.Waiting, g.Claims, len(g.Stops))
		}
		if n := r.running("sums"); n != 80 {
			t.Fatalf("a plan stopped %d", 80-n)
		}
		r.propose(&state.SubmitJob{Job: shop})
		r.eventually("production runs", func() bool { return r.running("shop") == 2 })
		preempted := 0
		for a := range r.leader().server.Store().Snapshot().AllocsOfJob("sums") {
			if a.DesiredWhy == `preempted: job "shop" (production) needs the room` {
				preempted++
			} else if a.Desired != structs.DesiredRun {
				t.Errorf("%s was stopped: %s", a.ID, a.DesiredWhy)
			}
		}
		if preempted != 5 {
			t.Errorf("%d were stopped for twice a quarter core, not 5 of a tenth", preempted)
		}
		time.Sleep(time.Minute)
		if sums, shop := r.running("sums"), r.running("shop"); sums != 75 || shop != 2 {
			t.Errorf("%d and %d run, not 75 beside 2", sums, shop)
		}

		r.propose(&state.StopJob{Name: "shop"})
		r.eventually("the node is full again", func() bool { return r.running("sums") == 80 })
	})
}
