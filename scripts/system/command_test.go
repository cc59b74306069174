//go:build linux && system

package system

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

// single makes a region of one agent that is both, and starts it.
func single(r *region, args ...string) *agent {
	a := r.agent("a", append([]string{"-server", "-client", "-bootstrap-expect", "1"}, args...)...)
	r.startAll()
	return a
}

// has checks what a command did.
func (o output) has(t *testing.T, what string, code int, out, errout string) {
	t.Helper()
	if o.code != code || !strings.Contains(o.out, out) || !strings.Contains(o.errout, errout) {
		t.Errorf("%s: want exit code %d, %q on stdout, %q on stderr\n%s", what, code, out, errout, o)
	}
}

// file writes a file for the command line to read, and returns its path.
func (r *region) file(name, text string) string {
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// service is a job with a main task that runs a shell script.
func service(name string, count int, script string) string {
	return fmt.Sprintf(`job %q {
  group "g" {
    count = %d
    task "t" {
      config {
        command = "/bin/sh"
        args    = ["-c", %q]
      }
      resources {
        cpu    = 0.05
        memory = "16MiB"
      }
    }
  }
}
`, name, count, script)
}

// TestRunsACommand: proffer run is like running it here.
func TestRunsACommand(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	a := single(r)
	for range 20 { // commands that end before anybody looks
		o := a.proffer("run", "--", "true")
		if o.code != 0 || o.out != "" || o.errout != "" {
			t.Errorf("run true: %s", o)
		}
	}
	o := a.proffer("run", "-env", "WHO=me", "--", "sh", "-c", "echo out $WHO; echo err >&2; exit 3")
	if o.code != 3 || o.out != "out me\n" || o.errout != "err\n" {
		t.Errorf("run: %s", o)
	}
	o = a.proffer("run", "--", "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end")
	if o.code != 0 || len(o.out) != 3000005 || !strings.HasSuffix(o.out, "x\nend\n") {
		t.Errorf("run with much output: exit code %d, %d bytes, stderr %q", o.code, len(o.out), o.errout)
	}
	a.proffer("run", "--", "sh", "-c", "kill -SEGV $$").has(t, "a signal", 128+11, "", "")
	a.proffer("run", "--", "no-such-program").has(t, "a missing program", 127, "", `Error: program "no-such-program" not found`)
	a.proffer("run", "--", "/etc/passwd").has(t, "no program", 126, "", `program "/etc/passwd" may not be executed`)
	a.proffer("run", "-memory", "500TiB", "-place-timeout", "1s", "--", "true").has(t, "no room", 120, "", "memory")
	a.proffer("run", "-memory", "20MiB", "--", "tail", "/dev/zero").has(t, "too much memory", 137, "", "out of memory")

	i := a.prepare("run", "--", "sh", "-c", "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.1; done").start()
	await(t, "the command runs", func() error {
		if i.out.String() != "up\n" {
			return fmt.Errorf("it wrote %q and %q", i.out.String(), i.errout.String())
		}
		return nil
	})
	i.cmd.Process.Signal(os.Interrupt)
	o = i.wait()
	if o.code != 130 || o.out != "up\nbye\n" || !strings.Contains(o.errout, "Stopping it") {
		t.Errorf("interrupted: %s", o)
	}
	await(t, "nothing of it is left", func() error {
		list, _, err := a.api().Jobs(t.Context(), nil)
		if err == nil && len(list)+len(a.tasks()) > 0 {
			err = fmt.Errorf("%d jobs and processes %v", len(list), a.tasks())
		}
		return err
	})
	text, _ := os.ReadFile(a.log)
	if strings.Contains(string(text), "status=complete") {
		t.Error("the log has a line for each end that was expected")
	}
}

// TestLooksIntoAllocations: exec, logs, files and stats of a running task.
func TestLooksIntoAllocations(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	a := single(r)
	job := r.file("web.hcl", service("web", 1, "echo first; echo warning >&2; echo kept >/local/file; while ! [ -e /local/go ]; do sleep 0.1; done; echo last; exec sleep 1000000"))
	a.proffer("job", "run", job).has(t, "job run", 0, `"web"`, "")
	await(t, "the task wrote", func() error {
		if out := a.must("alloc", "logs", "-job", "web"); out != "first\n" {
			return fmt.Errorf("%q", out)
		}
		return nil
	})
	i := a.prepare("alloc", "exec", "-job", "web", "--", "sh", "-c", "cat; echo done >&2; exit 4")
	i.cmd.Stdin = strings.NewReader(strings.Repeat("line\n", 100_000))
	o := i.run()
	if o.code != 4 || o.errout != "done\n" || o.out != strings.Repeat("line\n", 100_000) {
		t.Errorf("exec: exit code %d, %d bytes, stderr %q", o.code, len(o.out), o.errout)
	}
	a.proffer("alloc", "exec", "-job", "web", "--", "no-such-program").has(t, "exec of nothing", 127, "", "no-such-program")
	a.proffer("alloc", "exec", "ffff", "--", "true").has(t, "exec in no allocation", 125, "", "ffff")

	logs := a.prepare("alloc", "logs", "-f", "-job", "web").start()
	await(t, "logs follow", func() error {
		if logs.out.String() != "first\n" {
			return fmt.Errorf("%q", logs.out.String())
		}
		return nil
	})
	a.must("alloc", "exec", "-job", "web", "--", "touch", "/local/go")
	await(t, "logs show what is new", func() error {
		if logs.out.String() != "first\nlast\n" {
			return fmt.Errorf("%q", logs.out.String())
		}
		return nil
	})
	id := string(r.allocs("web", 1)[0].ID)
	a.proffer("alloc", "fs", id[:6]).has(t, "fs", 0, "alloc", "")
	a.proffer("alloc", "fs", id[:6], "t/local/file").has(t, "fs of a file", 0, "kept\n", "")
	a.proffer("alloc", "fs", id[:6], "../../../etc/passwd").has(t, "fs outside", 4, "", "")
	a.proffer("alloc", "fs", id[:6], "t/secrets").has(t, "fs of secrets", 6, "", "not shown")
	if err := os.MkdirAll(filepath.Join(r.dir, "folder/deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.file("folder/deep/one", "1")
	r.file("folder/two", "2")
	a.must("alloc", "cp", "folder", id[:6]+":t/local")
	a.must("alloc", "cp", "-job", "folder/two", "web:t/local/three")
	if out := a.must("alloc", "exec", id[:6], "--", "sh", "-c", "cd /local && cat folder/deep/one folder/two three && echo $(stat -c %u folder three .)"); !strings.HasPrefix(out, "122") ||
		len(slices.Compact(strings.Fields(out[3:]))) != 1 {
		t.Errorf("what was copied in, and whose it is: %q", out)
	}
	a.must("alloc", "cp", id[:6]+":t/local/folder", "back")
	a.must("alloc", "cp", id[:6]+":t/local/file", ".")
	for name, want := range map[string]string{"back/deep/one": "1", "back/two": "2", "file": "kept\n"} {
		if raw, err := os.ReadFile(filepath.Join(r.dir, name)); err != nil || string(raw) != want {
			t.Errorf("%s came back as %q, %v", name, raw, err)
		}
	}
	a.proffer("alloc", "cp", id[:6]+":t", "all").has(t, "cp of a task", 0, "", "")
	if _, err := os.Stat(filepath.Join(r.dir, "all/secrets")); !os.IsNotExist(err) {
		t.Errorf("secrets were copied: %v", err)
	}
	a.proffer("alloc", "cp", id[:6]+":t/secrets", ".").has(t, "cp of secrets", 6, "", "not shown")
	a.proffer("alloc", "cp", "folder", id[:6]+":../../../tmp").has(t, "cp to elsewhere", 6, "", "copy to TASK/local")
	a.proffer("alloc", "cp", "none", id[:6]+":t/local").has(t, "cp of nothing", 3, "", "none")
	a.proffer("alloc", "cp", "folder", "two").has(t, "cp here", 2, "", "ALLOC:PATH")
	a.proffer("alloc", "stats", id[:6]).has(t, "stats", 0, "t", "")
	a.proffer("alloc", "status", id[:6]).has(t, "alloc status", 0, "running", "")
	a.proffer("alloc", "restart", id[:6]).has(t, "alloc restart", 0, "", "")
	await(t, "it ran again", func() error {
		if out := a.must("alloc", "logs", id[:6]); out != "first\nlast\nfirst\nlast\n" {
			return fmt.Errorf("%q", out)
		}
		return nil
	})
	a.must("job", "stop", "web")
	if o := logs.wait(); o.code != 0 || o.out != "first\nlast\nfirst\nlast\n" || o.errout != "warning\nwarning\n" {
		t.Errorf("logs -f: %s", o)
	}
	a.proffer("alloc", "logs", "-job", "web").has(t, "logs after the end", 0, "first\nlast\nfirst\nlast\n", "")
}

// TestChangesJobs: versions, plans, rolling changes, counts.
func TestChangesJobs(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	a := single(r)
	w := r.witness()
	// Each task testifies under its own incarnation, so that the largest number at a time can be counted.
	first := w.job("service", "web", 4, forever, "")
	file := r.file("web.hcl", first)
	a.proffer("job", "validate", file).has(t, "validate", 0, "", "")
	a.proffer("job", "plan", "-exit-code", file).has(t, "plan", 10, "web", "")
	a.proffer("job", "run", file).has(t, "run", 0, "healthy", "")
	a.proffer("job", "plan", "-exit-code", file).has(t, "plan of nothing new", 0, "", "")
	old := w.pids("web", 4)

	// One at a time, each healthy before the next: whenever an old one is dead, at most one index is without a process.
	changed := strings.Replace(first, "exec sleep 1000000", "exec sleep 2000000", 1)
	file = r.file("web.hcl", changed)
	a.proffer("job", "plan", file).has(t, "plan of a change", 0, "2000000", "")
	i := a.prepare("job", "run", file).start()
	done := make(chan output, 1)
	go func() { done <- i.wait() }()
	most := 0
	await(t, "all are replaced", func() error {
		s, _, err := a.api().JobStatus(t.Context(), "web", nil)
		if err != nil {
			return err
		}
		running, renewed := 0, 0
		for _, alloc := range s.Allocations {
			if alloc.Status == structs.AllocRunning && alloc.Desired == structs.DesiredRun {
				running++
				if alloc.Version == 2 {
					renewed++
				}
			}
		}
		most = max(most, 4-running)
		if renewed < 4 {
			return fmt.Errorf("%d of %d run in version 2", renewed, running)
		}
		return nil
	})
	(<-done).has(t, "run of a change", 0, "healthy", "")
	if most > 1 {
		t.Errorf("%d of 4 were down at a time, with max_parallel = 1", most)
	}
	for index, pid := range w.pids("web", 4) {
		if pid == old[index] {
			t.Errorf("web[%d] was not replaced", index)
		}
	}
	w.never(map[string]int{"web": 4})

	a.proffer("job", "scale", "web", "6").has(t, "scale", 0, "", "")
	r.allocs("web", 6)
	a.proffer("job", "scale", "web", "2").has(t, "scale", 0, "", "")
	r.allocs("web", 2)
	a.proffer("job", "history", "-p", "web").has(t, "history", 0, "2000000", "")
	a.proffer("job", "history", "-revert", "1", "web").has(t, "revert", 0, "3", "")
	await(t, "the old version runs again", func() error {
		for _, alloc := range r.allocs("web", 4) {
			if alloc.Version != 3 {
				return fmt.Errorf("web[%d] is of version %d", alloc.Index, alloc.Version)
			}
		}
		return nil
	})
	a.proffer("job", "inspect", "web").has(t, "inspect", 0, "sleep 1000000", "")
	a.proffer("job", "explain", "web").has(t, "explain", 0, "4 of 4 placed", "")
	a.proffer("job", "restart", "web").has(t, "restart", 0, "", "")
	a.proffer("job", "stop", "-purge", "web").has(t, "stop", 0, "", "")
	a.proffer("job", "status", "web").has(t, "status of nothing", 3, "", "web")

	a.proffer("job", "run", r.file("falls.hcl", service("falls", 1, "exit 9"))).has(t, "a service that falls over and over", 121, "", "exit code 9")
	a.proffer("job", "stop", "-purge", "falls").has(t, "stop", 0, "", "")
	a.proffer("job", "run", r.file("bad.hcl", strings.Replace(service("bad", 1, "exit 9"), "group", "type = \"batch\"\n  group", 1))).
		has(t, "a batch job that fails", 9, "", "")
}

// TestBadInput: whatever comes, it is refused in words, and the agent goes on.
func TestBadInput(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	a := single(r)
	post := func(path, kind string, body io.Reader) (int, string) {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), "POST", a.url()+path, body)
		req.Header.Set("Content-Type", kind)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err.Error() // the agent closed the connection while the body was sent
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		return resp.StatusCode, string(text)
	}
	for _, c := range []struct {
		what, kind, body string
		status           int
		want             string
	}{
		{"garbage as JSON", "application/json", "{\x00\xff garbage", 400, "invalid"},
		{"garbage as HCL", "application/hcl", "job \"x\" {{{ \x00", 400, "invalid"},
		{"an unknown key", "application/json", `{"name":"x","cuont":3}`, 400, "cuont"},
		{"a wrong type", "application/json", `{"name":"x","group":[{"name":"g","count":"many"}]}`, 400, "count"},
		{"an absurd number", "application/json", `{"name":"x","group":[{"name":"g","count":1e99,"task":[{"name":"t","config":{"command":"true"}}]}]}`, 400, "count"},
		{"a negative number", "application/json", `{"name":"x","group":[{"name":"g","count":-3,"task":[{"name":"t","config":{"command":"true"}}]}]}`, 400, "count"},
		{"a name with slashes", "application/json", `{"name":"../../x","group":[{"name":"g","task":[{"name":"t","config":{"command":"true"}}]}]}`, 400, "name"},
		{"deep nesting", "application/json", strings.Repeat(`{"a":`, 100_000), 400, "invalid"},
		{"another type", "image/png", "x", 415, "image/png"},
	} {
		if status, text := post("/v1/jobs", c.kind, strings.NewReader(c.body)); status != c.status || !strings.Contains(text, c.want) || len(text) > 4000 {
			t.Errorf("%s: %d %.600s", c.what, status, text)
		}
	}
	// 100 MB, with a length and without one.
	for _, body := range []io.Reader{strings.NewReader(strings.Repeat("x", 100<<20)), io.LimitReader(endless{}, 100<<20)} {
		if status, text := post("/v1/jobs", "application/json", body); status != 413 && status != 0 {
			t.Errorf("100 MB: %d %.600s", status, text)
		}
	}
	for _, path := range []string{"/v1/job/..%2f..%2fetc", "/v1/job/%00", "/v1/allocation/" + strings.Repeat("f", 5000), "/v1/nothing"} {
		resp, err := http.Get(a.url() + path)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 400 && resp.StatusCode != 404 || len(text) > 2000 {
			t.Errorf("%.60s: %d %.300s", path, resp.StatusCode, text)
		}
	}

	huge := strings.Replace(service("huge", 2, "true"), `"16MiB"`, `"900TiB"`, 1)
	o := a.proffer("job", "run", "-place-timeout", "1s", r.file("huge.hcl", huge))
	o.has(t, "a job that never fits", 120, "", "memory")
	a.proffer("job", "explain", "huge").has(t, "explain", 0, "900TiB asked", "")
	missing := strings.Replace(service("missing", 1, "true"), "/bin/sh", "/opt/no/such/program", 1)
	missing = strings.Replace(missing, "group", "type = \"batch\"\n  group", 1)
	o = a.proffer("job", "run", r.file("missing.hcl", missing))
	if o.code != 127 || !strings.Contains(o.out+o.errout, "/opt/no/such/program") {
		t.Errorf("a missing program: %s", o)
	}
	a.proffer("job", "run", r.file("typo.hcl", strings.Replace(service("typo", 1, "true"), "count", "cuont", 1))).
		has(t, "a typing error", 4, "", `did you mean "count"`)
	a.proffer("job", "run", filepath.Join(r.dir, "none.hcl")).has(t, "no file", 3, "", "none.hcl")
	a.proffer("jbo").has(t, "a wrong command", 2, "", "job")

	// All of that has left no trace.
	a.proffer("run", "--", "echo", "well").has(t, "a good one after all that", 0, "well\n", "")
	a.kill()
	a.start()
	list, _, err := a.api().Jobs(t.Context(), nil)
	if err != nil || len(list) != 2 {
		t.Errorf("%d jobs are left: %v", len(list), err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// TestServesDocs: the documentation and the page with the state come from the agent.
func TestServesDocs(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	a := single(r)
	for path, want := range map[string]string{"/": r.name, "/docs/": "Proffer", "/v1/openapi.json": "SubmitJob", "/v1/agent/metrics": "# TYPE"} {
		resp, err := http.Get(a.url() + path)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || !strings.Contains(string(text), want) {
			t.Errorf("%s: %d %.300s", path, resp.StatusCode, text)
		}
	}
	for name, change := range map[string]func(*http.Request){
		"another host":    func(q *http.Request) { q.Host = "example.com" },
		"another website": func(q *http.Request) { q.Header.Set("Origin", "http://example.com") },
	} {
		q, _ := http.NewRequestWithContext(t.Context(), "GET", a.url()+"/v1/jobs", nil)
		change(q)
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 403 {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
}
