package client

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/structs"
)

// asks is a check by a command in the task, once a second.
func asks(name string) *structs.Check {
	return &structs.Check{Name: name, Type: "exec", Command: []string{"/bin/ask"}, Interval: structs.Duration(time.Second),
		Timeout: structs.Duration(time.Second), Failures: 2, Successes: 1, Grace: structs.Duration(time.Second)}
}

func (w *world) heard() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.updates
}

func (w *world) checks(id string) (all []string) {
	for _, c := range w.task(id, "main").Checks {
		all = append(all, strings.TrimSpace(c.Name+" "+string(c.Status)+" "+c.Why))
	}
	return all
}

func (w *world) expectChecks(id string, want ...string) {
	w.t.Helper()
	if got := w.checks(id); !slices.Equal(got, want) {
		w.t.Errorf("checks of %s: %q, not %q", id, got, want)
	}
}

func TestATaskBecomesReady(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.service("web", func(g *structs.Group) {
			g.Tasks[0].Config["exec_fail_until"], g.Tasks[0].Config["exec_fail_after"] = "10s", "60s"
			g.Tasks[0].Ready = []*structs.Check{asks("up")}
		}))
		after(500 * time.Millisecond)
		w.expect("a", structs.AllocRunning, `task "main" is not ready: check "up": exit code 1`)
		w.expectChecks("a", "up pending exit code 1: /bin/ask")
		after(5 * time.Second)
		w.expectChecks("a", "up failing exit code 1: /bin/ask")
		after(6 * time.Second)
		w.expect("a", structs.AllocRunning, "")
		w.expectChecks("a", "up passing")
		if s := w.task("a", "main"); !s.Ready() || s.Restarts != 0 {
			t.Errorf("%+v", s)
		}
		updates := w.heard()
		after(40 * time.Second)
		if w.heard() != updates {
			t.Error("checks without news are reported")
		}
		after(15 * time.Second)
		w.expectChecks("a", "up failing exit code 1: /bin/ask")
		w.expectStarts("a/main/1")
		w.want(w.change("a", stopped))
		after(time.Second)
		w.expect("a", structs.AllocComplete, "")
	})
}

// A live check that fails has the task started again; when that was done often enough, the allocation fails.
func TestAFailingLiveCheckRestarts(t *testing.T) {
	bubble(t, func(w *world) {
		one := 1
		w.run("a", w.service("web", func(g *structs.Group) {
			g.Tasks[0].Config["exec_fail_after"] = "10s"
			g.Tasks[0].Live = []*structs.Check{asks("alive")}
			g.Restart = &structs.Restart{Attempts: &one, Interval: structs.Duration(time.Hour), Delay: structs.Duration(time.Second), Mode: "fail"}
		}))
		after(5 * time.Second)
		w.expectChecks("a", "alive passing")
		after(9 * time.Second)
		s := w.task("a", "main")
		if s.Restarts != 1 || !slices.ContainsFunc(s.Events, func(e structs.TaskEvent) bool {
			return e.Type == "restarting" && strings.HasPrefix(e.Text, `live check "alive" failed: exit code 1`)
		}) {
			t.Errorf("%+v", s)
		}
		w.expectStarts("a/main/1", "a/main/2")
		w.expectChecks("a", "alive passing") // of the new start
		after(15 * time.Second)
		w.expect("a", structs.AllocFailed, `task "main": live check "alive" failed: exit code 1`)
		w.expectRunning()
	})
}

// What is known of a task outlives the agent: a restart makes nothing unready.
func TestChecksAfterARestartOfTheAgent(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.service("web", func(g *structs.Group) {
			g.Tasks[0].Config["exec_fail_after"] = "30s"
			g.Tasks[0].Ready = []*structs.Check{asks("up")}
		}))
		after(5 * time.Second)
		w.expectChecks("a", "up passing")
		w.crash(nil, false)
		w.start()
		w.welcome("g1")
		w.full(w.allocs["a"])
		after(100 * time.Millisecond)
		w.expect("a", structs.AllocRunning, "")
		w.expectChecks("a", "up passing")
		after(30 * time.Second)
		w.expectChecks("a", "up failing exit code 1: /bin/ask")
	})
}

// A change of the checks alone restarts nothing.
func TestChecksChangeInPlace(t *testing.T) {
	bubble(t, func(w *world) {
		j := w.service("web", func(g *structs.Group) { g.Tasks[0].Config["exec_fail_after"] = "1s" })
		w.run("a", j)
		after(5 * time.Second)
		w.expectChecks("a")
		w.jobs["web"] = w.service("web", func(g *structs.Group) {
			g.Tasks[0].Config["exec_fail_after"] = "1s"
			g.Tasks[0].Ready = []*structs.Check{asks("up")}
		})
		w.want(w.change("a", func(a *structs.Allocation) { a.Version = 2 }))
		after(5 * time.Second)
		w.expectChecks("a", "up failing exit code 1: /bin/ask")
		w.expectStarts("a/main/1")
	})
}
