package command

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

// status makes the status of a job of one group, "g".
func status(kind string, record structs.JobStatus, g api.GroupCounts, allocs ...*structs.Allocation) *api.JobStatus {
	g.Group = "g"
	s := &api.JobStatus{Allocations: allocs}
	s.JobRecord = structs.JobRecord{Name: "j", Type: kind, Version: 2, Status: record}
	s.Groups = []*api.GroupCounts{&g}
	return s
}

func alloc(prefix string, version uint64, s structs.AllocStatus) *structs.Allocation {
	a := &structs.Allocation{ID: structs.AllocID(id(prefix)), Group: "g", Version: version, Status: s, Desired: structs.DesiredRun, CreateIndex: 20}
	if s == structs.AllocRunning {
		a.Started = 1
	}
	return a
}

func TestServiceOutcomes(t *testing.T) {
	begun := now
	newWatch := func() *watch {
		w := &watch{job: &structs.Job{Name: "j"}, version: 2, index: 10, place: 10 * time.Second, timeout: time.Minute}
		w.started, w.running = begun, map[structs.AllocID]steady{}
		return w
	}
	type step struct {
		at   time.Duration // after the start
		s    *api.JobStatus
		code int           // -1: no outcome yet
		next time.Duration // when to look again
	}
	g := api.GroupCounts{Wanted: 1, Running: 1}
	running := func() *api.JobStatus { return status("service", "running", g, alloc("a", 2, "running")) }
	again := func(since structs.Time) *api.JobStatus { // zero: its task is being started again
		s := running()
		s.Allocations[0].Started = since
		return s
	}
	waiting := status("service", "pending", api.GroupCounts{Wanted: 1, Waiting: 1})
	cases := map[string][]step{
		"healthy once it ran for min_healthy_time": {{0, running(), -1, time.Second}, {999 * time.Millisecond, running(), -1, time.Second}, {time.Second, running(), exitOK, 0}},
		"a count of 0 is healthy at once":          {{0, status("service", "running", api.GroupCounts{}), exitOK, 0}},
		"not while the old version runs": {{0, status("service", "running", g, alloc("a", 2, "running"), alloc("b", 1, "running")), -1, time.Second},
			{2 * time.Second, status("service", "running", g, alloc("a", 2, "running"), alloc("b", 1, "running")), -1, time.Minute},
			{3 * time.Second, status("service", "running", g, alloc("a", 2, "running"), alloc("b", 1, "complete")), exitOK, 0}},
		"a restart begins anew": {{0, running(), -1, time.Second}, {500 * time.Millisecond, status("service", "running", api.GroupCounts{Wanted: 1, Pending: 1}, alloc("a", 2, "pending")), -1, time.Minute},
			{time.Second, running(), -1, 2 * time.Second}, {2 * time.Second, running(), exitOK, 0}},
		"a restart of its task begins anew": {{0, running(), -1, time.Second}, {900 * time.Millisecond, again(0), -1, time.Minute},
			{2 * time.Second, again(2), -1, 3 * time.Second}, {2500 * time.Millisecond, again(3), -1, 3500 * time.Millisecond}, {3500 * time.Millisecond, again(3), exitOK, 0}},
		"not placed":     {{0, waiting, -1, 10 * time.Second}, {9 * time.Second, waiting, -1, 10 * time.Second}, {10 * time.Second, waiting, exitNotPlaced, 0}},
		"placed in time": {{0, waiting, -1, 10 * time.Second}, {9 * time.Second, running(), -1, 10 * time.Second}, {20 * time.Second, running(), exitOK, 0}},
		"some not placed": {{0, status("service", "running", api.GroupCounts{Wanted: 2, Running: 1, Waiting: 1}, alloc("a", 2, "running")), -1, time.Second},
			{time.Minute, status("service", "running", api.GroupCounts{Wanted: 2, Running: 1, Waiting: 1}, alloc("a", 2, "running")), exitNotPlaced, 0}},
		"it never becomes healthy": {{0, status("service", "pending", api.GroupCounts{Wanted: 1, Pending: 1}, alloc("a", 2, "pending")), -1, time.Minute},
			{time.Minute, status("service", "pending", api.GroupCounts{Wanted: 1, Pending: 1}, alloc("a", 2, "pending")), exitUnhealthy, 0}},
		"it failed once": {{0, status("service", "running", api.GroupCounts{Wanted: 1, Waiting: 1}, alloc("a", 2, "failed")), -1, 10 * time.Second}},
		"it fails again": {{0, status("service", "running", api.GroupCounts{Wanted: 1, Waiting: 1}, alloc("b", 2, "failed"), alloc("a", 2, "failed")), exitUnhealthy, 0}},
		"stopped":        {{0, func() *api.JobStatus { s := running(); s.Stopped = true; return s }(), exitStopped, 0}},
		"changed":        {{0, func() *api.JobStatus { s := running(); s.Version = 3; return s }(), exitStopped, 0}},
	}
	for name, steps := range cases {
		w := newWatch()
		for i, step := range steps {
			end, next := w.judge(step.s, begun.Add(step.at))
			if end != nil {
				if end.code != step.code || end.text == "" {
					t.Errorf("%s, step %d: %+v", name, i, *end)
				}
				continue
			}
			if step.code != -1 || next.Sub(begun) != step.next {
				t.Errorf("%s, step %d: no outcome, next after %s", name, i, next.Sub(begun))
			}
		}
	}
}

func TestBatchOutcomes(t *testing.T) {
	failed := alloc("a", 2, "failed")
	failed.Tasks = map[string]*structs.TaskState{"main": {ExitCode: 3}}
	retried := alloc("b", 2, "failed")
	retried.Next = "c"
	retried.Tasks = map[string]*structs.TaskState{"main": {ExitCode: 9}}
	cases := map[string]struct {
		s    *api.JobStatus
		at   time.Duration
		code int
		part string
	}{
		"done":                 {status("batch", structs.JobDone, api.GroupCounts{Wanted: 1, Complete: 1}), 0, exitOK, "done"},
		"the task's exit code": {status("batch", structs.JobFailed, api.GroupCounts{Wanted: 1, Failed: 1}, failed, retried), 0, 3, "exit code 3"},
		"no exit code":         {status("batch", structs.JobFailed, api.GroupCounts{Wanted: 1, Failed: 1}, alloc("a", 2, "failed")), 0, exitUnhealthy, "failed"},
		"time-out":             {status("batch", structs.JobRunning, api.GroupCounts{Wanted: 1, Running: 1}), time.Hour, exitTimeout, "goes on"},
		"running":              {status("batch", structs.JobRunning, api.GroupCounts{Wanted: 1, Running: 1}), 0, -1, ""},
	}
	for name, c := range cases {
		w := &watch{job: &structs.Job{Name: "j"}, version: 2, place: time.Second, timeout: time.Hour}
		w.started, w.running = now, map[structs.AllocID]steady{}
		end, _ := w.judge(c.s, now.Add(c.at))
		switch {
		case end == nil && c.code == -1:
		case end == nil || end.code != c.code || !strings.Contains(end.text, c.part):
			t.Errorf("%s: %+v", name, end)
		}
	}
}

// statuses answers one status after the other to a job that is watched; the last one for ever.
func statuses(all ...*api.JobStatus) http.Handler {
	i := 0
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Proffer-Index", "5")
		switch {
		case r.Method == "POST":
			json.NewEncoder(w).Encode(api.JobSubmitted{Name: "web", Version: 2, Changed: true, Index: 5})
		case strings.HasSuffix(r.URL.Path, "/explain"):
			json.NewEncoder(w).Encode(api.Explanation{Groups: []*api.GroupExplanation{{Group: "g", Count: 2, Waiting: 2, Nodes: 1,
				Reasons: []*api.Reason{{What: "memory", Nodes: 1, Nearest: "1TiB asked, 8GiB free on n1"}}}}})
		default:
			json.NewEncoder(w).Encode(all[min(i, len(all)-1)])
			i++
		}
	})
}

func TestJobRun(t *testing.T) {
	t.Chdir(t.TempDir())
	os.WriteFile("web.hcl", []byte(jobText), 0o644)
	failed := alloc("a", 2, "failed")
	failed.Why, failed.NodeName = "task \"main\": exit code 3", "n1"
	failed.Tasks = map[string]*structs.TaskState{"main": {ExitCode: 3}}
	waits := alloc("b", 2, "running")
	waits.Why, waits.NodeName, waits.Started = `task "main" is not ready: check "up": status 503: no database`, "n1", 0
	unready := status("service", "running", api.GroupCounts{Wanted: 1, Running: 1}, waits)
	batch := func(s structs.JobStatus, g api.GroupCounts, allocs ...*structs.Allocation) *api.JobStatus {
		return status("batch", s, g, allocs...)
	}
	progress := []*api.JobStatus{batch("pending", api.GroupCounts{Wanted: 2, Waiting: 2}), batch("running", api.GroupCounts{Wanted: 2, Pending: 1, Running: 1}),
		batch("running", api.GroupCounts{Wanted: 2, Running: 1, Complete: 1})}
	var b strings.Builder
	for _, c := range []struct {
		name  string
		all   []*api.JobStatus
		flags string
		term  bool
	}{
		{name: "a batch job that is done", all: append(progress, batch("complete", api.GroupCounts{Wanted: 2, Complete: 2}))},
		{name: "a batch job that fails", all: append(progress, batch("failed", api.GroupCounts{Wanted: 2, Complete: 1, Failed: 1}, failed))},
		{name: "a job without room", all: progress[:1], flags: "-place-timeout 1ns "},
		{name: "a service that is not ready", flags: "-timeout 1ns ", all: []*api.JobStatus{unready}},
		{name: "in a terminal", all: append(progress, batch("failed", api.GroupCounts{Wanted: 2, Complete: 1, Failed: 1}, failed)), term: true},
	} {
		sh := newShell(t, statuses(c.all...))
		sh.term = c.term
		code, out, errs := sh.run(strings.Fields("job run " + c.flags + "web.hcl")...)
		out = strings.ReplaceAll(out, "\x1b", "ESC")
		b.WriteString(strings.TrimSpace("# "+c.name) + "\n" + out + "! " + strings.ReplaceAll(strings.TrimSuffix(errs, "\n"), "\n", "\n! ") + "\n")
		fmt.Fprintf(&b, "exit %d\n\n", code)
	}
	golden(t, "jobrun.txt", b.String())
}
