package server_test

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// inPlace has a change of anything but the groups leave running work alone, as the change classes of the fields say.
func inPlace(r *region) {
	r.replaces = func(old, new *structs.Job, group string) bool {
		return !reflect.DeepEqual(old.Group(group), new.Group(group))
	}
}

// A job that changes only its priority is changed in place: nothing is restarted, and what runs has the new band in the
// order and in the protection from preemption at once.
func TestAPriorityChangesLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 1, inPlace)
		at := func(name, priority string, count int) *structs.Job {
			return job(name, "service", count, func(j *structs.Job) { j.Priority = priority })
		}
		r.propose(&state.SubmitJob{Job: at("sums", "batch", 100)})
		r.eventually("the node is full", func() bool { return r.running("sums") == 80 })
		r.propose(&state.SubmitJob{Job: at("site", "batch", 3)})
		time.Sleep(time.Minute)
		if n := r.running("site"); n != 0 {
			t.Fatalf("%d run where batch work fills the node", n)
		}
		starts := len(r.witness.starts())

		r.propose(&state.SubmitJob{Job: at("sums", "batch-10", 100)})
		now := func(priority string) func() bool {
			return func() bool {
				n := 0
				for a := range r.leader().server.Store().Snapshot().AllocsOfJob("sums") {
					if a.Desired == structs.DesiredRun && a.Priority.String() == priority {
						n++
					}
				}
				return n == r.running("sums") && n > 0
			}
		}
		r.eventually("the level of what runs", now("batch-10"))
		time.Sleep(time.Minute)
		if n := len(r.witness.starts()); n != starts || r.running("sums") != 80 {
			t.Fatalf("%d starts more, %d run: a level must not restart anything, nor stop it", n-starts, r.running("sums"))
		}

		// A band below, and it gives way: the loop knows what the region stored.
		r.propose(&state.SubmitJob{Job: at("sums", "best-effort", 100)})
		r.eventually("the site runs", func() bool { return r.running("site") == 3 })
		r.eventually("the band of what runs", now("best-effort"))
		time.Sleep(time.Minute)
		if n := len(r.witness.starts()); n != starts+3 || r.running("sums") != 77 {
			t.Errorf("%d starts, %d run beside the site, not 3 and 77", n-starts, r.running("sums"))
		}

		// And back: nothing is stopped for it any more.
		r.propose(&state.SubmitJob{Job: at("sums", "batch", 100)})
		r.eventually("the band of what runs", now("batch"))
		r.propose(&state.SubmitJob{Job: at("more", "batch", 3)})
		time.Sleep(time.Minute)
		if r.running("more") != 0 || r.running("sums") != 77 {
			t.Errorf("%d run beside %d", r.running("more"), r.running("sums"))
		}
	})
}

// One owner gets a part of a role and no more; whose work it is can change while it runs.
func TestAUserLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 1, inPlace)
		limit := structs.Milli(800)
		role := &structs.Role{Name: "eng", UserLimit: 500, Quota: &structs.Quota{Limit: &structs.QuotaAmount{CPU: &limit}}}
		r.propose(&state.PutRole{Role: role})
		of := func(name, owner string, count int) *structs.Job {
			return job(name, "service", count, func(j *structs.Job) { j.Role, j.Owner = "eng/web", owner })
		}
		refused := func(j *structs.Job, want string) {
			t.Helper()
			_, _, err := r.leader().server.Propose(t.Context(), "", "ann", &state.SubmitJob{Job: j})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		}
		refused(of("nobodys", "", 1), `it has no owner, and role "eng" has a user_limit`)
		big := of("big", "ann", 1)
		big.Groups[0].Tasks[0].Resources.CPU = 500
		refused(big, `an allocation asks for cpu 0.5 and the user_limit of role "eng" leaves 0.4: it could never run`)

		r.propose(&state.SubmitJob{Job: of("first", "ann", 3)})
		r.propose(&state.SubmitJob{Job: of("second", "ann", 3)})
		r.propose(&state.SubmitJob{Job: of("his", "bob", 3)})
		r.eventually("what may run", func() bool {
			return r.running("first")+r.running("second") == 4 && r.running("his") == 3
		})
		time.Sleep(time.Minute)
		if n := r.witness.count(); n != 7 {
			t.Fatalf("%d run, not 7", n)
		}
		waits := "second"
		if r.running("second") == 3 {
			waits = "first"
		}
		groups, err := r.servers[0].server.Explain(context.Background(), waits, "")
		check(t, err)
		if g := groups[0]; g.Waiting != 2 || g.Wait != "the limit is reached: role eng: owner ann: cpu 0.1 asked, 0.4 of 0.4 used" {
			t.Errorf("%d wait: %q", g.Waiting, g.Wait)
		}
		parts := r.leader().server.Store().Snapshot().Parts(role)
		if len(parts) != 2 {
			t.Fatalf("%d parts", len(parts))
		}
		if parts[0].Owner != "ann" || parts[0].Running != 4 || parts[0].Used.CPU != 400 || parts[0].Limit.CPU != 400 || parts[1].Running != 3 {
			t.Errorf("parts: %+v %+v", parts[0], parts[1])
		}
		plan, err := r.servers[0].server.Plan(context.Background(), of("third", "bob", 3))
		check(t, err)
		if g := plan[0]; len(g.Held) != 1 || g.Waiting != 2 {
			t.Errorf("a plan: %d placed, %d wait", len(g.Held), g.Waiting)
		}

		// Handed over, it counts for another, and nothing is restarted.
		starts := len(r.witness.starts())
		r.propose(&state.SubmitJob{Job: of("his", "eve", 3)})
		r.eventually("handed over", func() bool {
			p := r.leader().server.Store().Snapshot().Parts(role)
			return len(p) == 2 && p[1].Owner == "eve" && p[1].Running == 3
		})
		r.propose(&state.SubmitJob{Job: of("third", "bob", 3)})
		r.eventually("there is one more below the limit of the role", func() bool { return r.running("third") == 1 })
		if n := len(r.witness.starts()); n != starts+1 {
			t.Errorf("%d starts, not 1", n-starts)
		}
	})
}

// Schedulers of frameworks leave room for the work that they schedule.
func TestFrameworkSchedulersLeaveRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1)
		limit := structs.Milli(1000)
		r.propose(&state.PutRole{Role: &structs.Role{Name: "data", MaxFrameworkShare: 200, Quota: &structs.Quota{Limit: &structs.QuotaAmount{CPU: &limit}}}})
		of := func(name string, scheduler bool) *structs.Job {
			return job(name, "service", 12, func(j *structs.Job) { j.Role, j.FrameworkScheduler = "data", scheduler })
		}
		r.propose(&state.SubmitJob{Job: of("spark", true)})
		r.eventually("two schedulers", func() bool { return r.running("spark") == 2 })
		time.Sleep(time.Minute)
		r.propose(&state.SubmitJob{Job: of("workers", false)})
		r.eventually("their workers", func() bool { return r.running("workers") == 8 })
		if n := r.running("spark"); n != 2 {
			t.Errorf("%d schedulers run, not 2", n)
		}
		groups, err := r.leader().server.Explain(context.Background(), "spark", "")
		check(t, err)
		if g := groups[0]; !strings.Contains(g.Wait, "role data: framework schedulers: cpu 0.1 asked, 0.2 of 0.2 used") {
			t.Errorf("it waits: %q", g.Wait)
		}
	})
}

// A server does not start with a sorter that it does not have.
func TestAnUnknownSorter(t *testing.T) {
	_, err := server.Start(server.Config{Sharing: server.Sharing{Sorter: "drv", Exclude: []string{"gpus"}}})
	if structs.KindOf(err) != structs.Invalid || err.Error() != `server.sorter: there is no "drv" (this version has drf, fifo, random)` {
		t.Errorf("got %v", err)
	}
}

// How the region is shared changes while it runs: shares first, and from the next placement on the oldest.
func TestTheSorterOfTheRegionChangesLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 0)
		for _, name := range []string{"old", "new"} {
			r.propose(&state.SubmitJob{Job: job(name, "service", 80, func(j *structs.Job) { j.Role = name })})
		}
		time.Sleep(time.Second)
		leader := r.leader().server
		err := leader.SetSharing(server.Sharing{Sorter: "drv"})
		if structs.KindOf(err) != structs.Invalid {
			t.Errorf("a sorter that there is not: %v", err)
		}
		shared := func() string {
			all, err := leader.Shares(context.Background())
			check(t, err)
			return all[0].Rank.Sorter
		}
		if got := shared(); got != "" {
			t.Errorf("they take turns by %q", got)
		}
		check(t, leader.SetSharing(server.Sharing{Sorter: allocator.SorterFIFO}))
		if got := shared(); got != allocator.SorterFIFO {
			t.Errorf("they take turns by %q", got)
		}
		r.addNode("")
		r.eventually("the older one has it all", func() bool { return r.running("old") == 80 })
		if n := r.running("new"); n != 0 {
			t.Errorf("%d of the newer one run", n)
		}
	})
}

// backwards serves the role first that has most.
type backwards struct{}

func (backwards) Share(used, total []int64, weight structs.Milli) allocator.Share {
	s := allocator.DRF{}.Share(used, total, weight)
	s.Num = 1<<40 - s.Num
	return s
}

// A role chooses a policy that was compiled in by its name; a name that nobody knows is refused, through any server.
func TestTheSorterOfARole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 0, func(r *region) { r.policies = map[string]allocator.Policy{"backwards": backwards{}} })
		for _, h := range r.servers {
			_, _, err := h.server.Propose(t.Context(), "", "ann", &state.PutRole{Role: &structs.Role{Name: "eng", Sorter: "drv"}})
			if structs.KindOf(err) != structs.Invalid || !strings.Contains(err.Error(), `there is no "drv" (this version has backwards, drf, fifo, random)`) {
				t.Errorf("through %s: %v", h.ip, err)
			}
		}
		if r.leader().server.Store().Snapshot().Role("eng") != nil {
			t.Error("a refused role is stored")
		}
		limit := structs.Milli(500)
		r.propose(&state.PutRole{Role: &structs.Role{Name: "eng", Sorter: "backwards", Quota: &structs.Quota{Limit: &structs.QuotaAmount{CPU: &limit}}}})
		for _, name := range []string{"a", "b"} {
			r.propose(&state.SubmitJob{Job: job(name, "service", 5, func(j *structs.Job) { j.Role = "eng/" + name })})
		}
		r.addNode("")
		r.eventually("one of them has it all", func() bool { return r.running("a") == 5 || r.running("b") == 5 })
	})
}

// Where the leader says that the top is sealed, nothing makes a role there, whichever server is asked.
func TestSealedRoles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 0)
		check(t, r.leader().server.SetSharing(server.Sharing{Sealed: true}))
		r.propose(&state.PutRole{Role: &structs.Role{Name: "eng"}})
		for role, want := range map[string]structs.Kind{"strange": structs.Forbidden, "eng/web": ""} {
			j := job("in-"+strings.ReplaceAll(role, "/", "-"), "service", 1)
			j.Role = role
			for _, h := range r.servers {
				_, _, err := h.server.Propose(t.Context(), "", "ann", &state.SubmitJob{Job: j})
				if structs.KindOf(err) != want {
					t.Errorf("role %s through %s: %v", role, h.ip, err)
				}
			}
			_, err := r.leader().server.Subscribe(t.Context(), "ann", &structs.Framework{Name: "f", User: "root", Roles: []string{role + "/f"}})
			if structs.KindOf(err) != want {
				t.Errorf("a framework of role %s/f: %v", role, err)
			}
		}
	})
}
