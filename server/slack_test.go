package server_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// What a service has reserved and does not use runs best-effort work, through changes of the leader, until the service uses it again.
func TestWhatIsNotUsedRunsBestEffortWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 1)
		n := r.nodes[0]
		of := func(cores int, priority string) func(*structs.Job) {
			return func(j *structs.Job) {
				j.Groups[0].Tasks[0].Resources.CPU = structs.Milli(1000 * cores)
				j.Priority = priority
			}
		}
		// A node has eight cores.
		r.propose(&state.SubmitJob{Job: job("web", "service", 1, of(8, "batch"))})
		r.eventually("web runs", func() bool { return r.running("web") == 1 })
		r.propose(&state.SubmitJob{Job: job("scan", "service", 3, of(2, "best-effort"))})
		r.eventually("scan waits", func() bool { return strings.Contains(waitOf(t, r, "scan"), "no node takes it") })

		n.up.Slack(structs.Slack{CPU: 5000, Memory: 1 << 30})
		r.eventually("two of scan run", func() bool { return r.running("scan") == 2 })
		for a := range r.leader().server.Store().Snapshot().AllocsOfJob("scan") {
			if a.OfSlack().CPU != 2000 {
				t.Errorf("%s is not revocable", a.ID)
			}
		}
		if text := waitOf(t, r, "scan"); !strings.Contains(text, "it does not fit with what is reserved and not used either: cpu 1, ") {
			t.Errorf("the third one waits: %s", text)
		}
		slack := func() string {
			for _, h := range r.servers { // whoever is asked
				if h.server == nil {
					continue
				}
				s, err := h.server.Slack(t.Context(), n.id)
				if err != nil || s == nil {
					return ""
				}
				return s.String()
			}
			return ""
		}
		const want = "reserved and not used: cpu 5, memory 1GiB; revocable work holds cpu 4"
		if got := slack(); got != want {
			t.Errorf("%s, want %s", got, want)
		}

		// Simulations and plans count with it, whoever is asked: one more of a core fits, and no second one.
		for _, h := range r.servers {
			more := job("more", "batch", 2, of(1, "best-effort"))
			s, err := h.server.Simulate(t.Context(), &server.Change{Jobs: []*structs.Job{more}})
			check(t, err)
			if s.Placed != 1 {
				t.Errorf("a simulation on %s places %d of two", h.ip, s.Placed)
			}
			plan, err := h.server.Plan(t.Context(), more)
			check(t, err)
			if got := len(plan[0].Held); got != 1 {
				t.Errorf("a plan on %s places %d of two", h.ip, got)
			}
		}

		old := r.leader()
		old.crash()
		r.eventually("the next leader knows it too", func() bool { return slack() == want })
		if got := r.running("scan"); got != 2 {
			t.Errorf("%d run with the next leader", got)
		}

		n.up.Slack(structs.Slack{CPU: 2500, Memory: 1 << 30})
		r.eventually("one goes back", func() bool { return r.running("scan") == 1 })
		time.Sleep(time.Minute)
		if web, scan := r.running("web"), r.running("scan"); web != 1 || scan != 1 {
			t.Errorf("%d of web and %d of scan run", web, scan)
		}
		stopped := 0
		for a := range r.leader().server.Store().Snapshot().AllocsOfJob("scan") {
			if a.Desired == structs.DesiredStop {
				stopped++
				if !strings.Contains(a.DesiredWhy, "taken back") {
					t.Errorf("it was stopped because %q", a.DesiredWhy)
				}
			}
		}
		if stopped != 1 {
			t.Errorf("%d were stopped", stopped)
		}
		// Room of the node itself is there for it as for all work, and what is not used is there no more.
		r.propose(&state.StopJob{Name: "web"})
		n.up.Slack(structs.Slack{})
		r.eventually("all of scan run on what is free", func() bool {
			firm := 0
			for a := range r.leader().server.Store().Snapshot().AllocsOfJob("scan") {
				if a.Desired == structs.DesiredRun && a.Status == structs.AllocRunning && a.Revocable == nil {
					firm++
				}
			}
			return firm == 3
		})
	})
}
