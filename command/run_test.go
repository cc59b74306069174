package command

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/posener/complete"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func predictArgs(last string) complete.Args { return complete.Args{Last: last} }

// cluster plays an agent for run: it takes the job, tells of it, and sends output.
type cluster struct {
	mu       sync.Mutex
	calls    []string
	job      *structs.Job
	purged   bool
	stopped  chan struct{} // closed when the job is stopped
	submit   *structs.Error
	unplaced bool
	output   string              // frames
	logs     *structs.Error      // instead of output
	end      *structs.Allocation // the last state of the allocation; nil: it runs until it is stopped
}

func frame(stream, text string) string {
	raw, _ := json.Marshal(api.LogFrame{Stream: stream, Data: []byte(text)})
	return string(raw) + "\n"
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	path := r.URL.Path
	if c.job != nil {
		path = strings.ReplaceAll(path, c.job.Name, "JOB")
	}
	c.calls = append(c.calls, r.Method+" "+path)
	refuse := func(e *structs.Error) { w.WriteHeader(400); json.NewEncoder(w).Encode(e) }
	w.Header().Set("X-Proffer-Index", "5")
	switch r.Method + " " + path {
	case "POST /v1/jobs":
		if c.submit != nil {
			refuse(c.submit)
			return
		}
		c.job = &structs.Job{}
		json.NewDecoder(r.Body).Decode(c.job)
		json.NewEncoder(w).Encode(api.JobSubmitted{Name: c.job.Name, Version: 1, Changed: true, Index: 5})
	case "GET /v1/events":
		c.events(w, r)
	case "GET /v1/allocation/" + id("bb") + "/logs/run":
		if c.logs != nil {
			refuse(c.logs)
			return
		}
		io.WriteString(w, c.output)
	case "DELETE /v1/job/JOB":
		if r.URL.Query().Has("purge") {
			c.purged = true
		} else {
			close(c.stopped)
		}
		json.NewEncoder(w).Encode(api.Written{Index: 9})
	case "GET /v1/job/JOB/explain":
		json.NewEncoder(w).Encode(api.Explanation{Groups: []*api.GroupExplanation{{Group: "run", Count: 1, Waiting: 1, Nodes: 2,
			Reasons: []*api.Reason{{What: "cpu", Nodes: 2, Nearest: "64 asked, 8 free on n1"}}}}})
	default:
		refuse(structs.Errorf(structs.NotFound, path, "there is none"))
	}
}

// events tells of the allocation; it unlocks while it waits.
func (c *cluster) events(w http.ResponseWriter, r *http.Request) {
	line := func(index uint64, a *structs.Allocation) {
		e := api.Events{Index: index}
		if a != nil {
			record, _ := json.Marshal(a)
			e.Events = []*api.Event{{Topic: "allocation", Key: string(a.ID), Job: a.Job, Record: record}}
		}
		json.NewEncoder(w).Encode(e)
		w.(http.Flusher).Flush()
	}
	index := uint64(0)
	fmt.Sscan(r.URL.Query().Get("index"), &index)
	line(index, nil)
	if c.unplaced {
		c.mu.Unlock()
		<-r.Context().Done()
		c.mu.Lock()
		return
	}
	a := structs.Allocation{ID: structs.AllocID(id("bb")), Job: c.job.Name, Status: structs.AllocPending}
	line(6, &a)
	a.Status = structs.AllocRunning
	line(7, &a)
	end := c.end
	if end == nil {
		c.mu.Unlock()
		select {
		case <-c.stopped:
		case <-r.Context().Done():
		}
		c.mu.Lock()
		end = ended(structs.AllocComplete, &structs.TaskState{Status: structs.TaskKilled, ExitCode: 143, Signal: 15})
	}
	end.ID, end.Job = a.ID, a.Job
	line(8, end)
}

func ended(status structs.AllocStatus, t *structs.TaskState) *structs.Allocation {
	return &structs.Allocation{Status: status, Tasks: map[string]*structs.TaskState{"run": t}}
}

func TestRun(t *testing.T) {
	cases := []struct {
		name string
		c    *cluster
		args string
		code int
		out  string
		errs string // part of it; empty: nothing
	}{
		{name: "it succeeds", args: "run -- true", c: &cluster{end: ended(structs.AllocComplete, &structs.TaskState{Status: structs.TaskFinished})}},
		{name: "its streams", args: "run -- cmd", out: "to out\n", errs: "to err\n",
			c: &cluster{output: frame("stdout", "to out\n") + frame("stderr", "to err\n"), end: ended(structs.AllocComplete, &structs.TaskState{})}},
		{name: "its exit code", args: "run -- false", code: 7, c: &cluster{end: ended(structs.AllocFailed, &structs.TaskState{ExitCode: 7})}},
		{name: "a signal", args: "run x", code: 139, c: &cluster{end: ended(structs.AllocFailed, &structs.TaskState{ExitCode: 139, Signal: 11})}},
		{name: "out of memory", args: "run x", code: 137, errs: "out of memory", c: &cluster{end: ended(structs.AllocFailed, &structs.TaskState{ExitCode: 137, Signal: 9, OOM: true})}},
		{name: "it cannot start", args: "run x", code: exitProffer, errs: "no such file", c: &cluster{end: ended(structs.AllocFailed, &structs.TaskState{ExitCode: -1, Why: "no such file"})}},
		{name: "there is no such program", args: "run x", code: 127, errs: "Error: program \"x\" not found in the task's root (give another)\n",
			c: &cluster{end: ended(structs.AllocFailed, &structs.TaskState{Status: structs.TaskError, ExitCode: 127, Why: `program "x" not found in the task's root (give another)`})}},
		{name: "it is refused", args: "run x", code: exitProffer, errs: "Error: job", c: &cluster{submit: structs.Errorf(structs.Invalid, "job", "no")}},
		{name: "its output is lost", args: "run x", errs: "may be missing", c: &cluster{logs: structs.Errorf(structs.NotFound, "task", "no output"), end: ended(structs.AllocComplete, &structs.TaskState{})}},
		{name: "there is no room", args: "run -place-timeout 1ms x", code: exitNotPlaced, errs: "64 asked, 8 free on n1", c: &cluster{unplaced: true}},
		{name: "a flag that is none", args: "run -cpus 1 x", code: exitUsage, errs: "did you mean -cpu?"},
		{name: "a bad size", args: "run -memory many x", code: exitUsage, errs: "-memory:"},
		{name: "no command", args: "run -cpu 1", code: exitUsage, errs: "CMD is missing"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.c == nil {
				c.c = &cluster{}
			}
			c.c.stopped = make(chan struct{})
			sh := newShell(t, c.c)
			code, out, errs := sh.run(strings.Fields(c.args)...)
			if code != c.code || out != c.out || !strings.Contains(errs, c.errs) || c.errs == "" && errs != "" {
				t.Errorf("exit %d, out %q, err %q", code, out, errs)
			}
			if c.c.job != nil && !c.c.purged {
				t.Error("the job is not forgotten")
			}
		})
	}
}

func TestRunMakesTheJobThatWasAskedFor(t *testing.T) {
	c := &cluster{stopped: make(chan struct{}), end: ended(structs.AllocComplete, &structs.TaskState{})}
	sh := newShell(t, c)
	code, _, errs := sh.run("run", "-cpu", "1.5", "-memory", "1GiB", "-name", "mine", "-role", "eng", "-priority", "batch+3", "-env", "A=b=c", "-user", "bob",
		"-datacenter", "dc1", "-constraint", "attr.arch=amd64", "-timeout", "1m", "--", "ls", "-h", "--help", "-version")
	if code != 0 {
		t.Fatal(code, errs)
	}
	task := c.job.Groups[0].Tasks[0]
	if c.job.Name != "mine" || c.job.Type != "batch" || c.job.Role != "eng" || c.job.Priority != "batch+3" || task.Resources.CPU != 1500 || task.Resources.Memory != 1<<30 ||
		task.Env["A"] != "b=c" || task.User != "bob" || c.job.Datacenters[0] != "dc1" || c.job.Constraints[0].Attribute != "${attr.arch}" || c.job.Groups[0].MaxRunDuration == 0 ||
		*c.job.Groups[0].Restart.Attempts != 0 || *c.job.Groups[0].Reschedule.Attempts != 0 {
		raw, _ := json.Marshal(c.job)
		t.Errorf("%s", raw)
	}
	if got := fmt.Sprint(task.Config["command"], task.Config["args"]); got != "ls[-h --help -version]" {
		t.Error(got)
	}
	want := []string{"POST /v1/jobs", "DELETE /v1/job/JOB", "GET /v1/events", "GET /v1/allocation/" + id("bb") + "/logs/run"}
	if len(c.calls) != len(want) {
		t.Errorf("it takes %d calls: %v", len(c.calls), c.calls)
	}
}

// The first interrupt stops the job and waits for its end; the output until then is shown.
func TestRunInterrupted(t *testing.T) {
	c := &cluster{stopped: make(chan struct{}), output: frame("stdout", "bye\n")}
	sh := newShell(t, nil)
	sh.env["PROFFER_ADDR"] = newShell(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/logs/run") {
			sh.signal <- os.Interrupt
		}
		c.ServeHTTP(w, r)
	})).env["PROFFER_ADDR"]
	code, out, errs := sh.run("run", "sleep", "1000")
	if code != exitInterrupt || out != "bye\n" || !strings.Contains(errs, "Stopping it") || !c.purged {
		t.Errorf("exit %d, out %q, err %q, purged %t", code, out, errs, c.purged)
	}
}
