//go:build unix

package supervisor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/proffer/proffer/client/logs"
	"github.com/proffer/proffer/client/supervisor"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/structs"
)

// The test binary is the supervisor too, when it is asked to.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "supervisor" {
		os.Exit(supervisor.Main(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// patience bounds waits for things that must happen; it says nothing about how long they take.
const patience = 10 * time.Minute

// node is a node's folder with a supervisor and the driver over it.
type node struct {
	t      testing.TB
	dir    string
	opts   supervisor.Options
	client *supervisor.Client
	driver *exec.Driver
	ctx    context.Context
	serial int
	last   *drivers.Spec // that spec made last
}

func newNode(t testing.TB) *node {
	// Not t.TempDir: tasks of other users have to get through its parents.
	dir, err := os.MkdirTemp("", "supervisor-test")
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir, 0o755)
	t.Cleanup(func() { os.RemoveAll(dir) })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, dir: dir, ctx: ctx, opts: supervisor.Options{
		Dir: filepath.Join(dir, "supervisor"), Binary: []string{self, "supervisor"}, Linger: time.Hour,
		Ports: structs.Range{First: 16000, Last: 16999},
	}}
	n.connect()
	t.Cleanup(n.end)
	return n
}

// connect makes a new client, as a restarted agent does.
func (n *node) connect() {
	n.t.Helper()
	c, err := supervisor.Connect(n.ctx, n.opts)
	if err != nil {
		n.fatalf("connect: %v", err)
	}
	n.client = c
	n.driver = exec.New(c, exec.Options{DefaultNone: true})
}

// end stops whatever runs, also after a failure, and waits until the supervisor is gone.
func (n *node) end() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n.client.Close()
	c, err := supervisor.Connect(ctx, n.opts)
	if err != nil {
		n.t.Errorf("the supervisor cannot be reached at the end: %v", err)
		return
	}
	pid, _ := c.PID(ctx)
	tasks, err := c.List(ctx)
	if err != nil {
		n.t.Errorf("list: %v", err)
	}
	for _, s := range tasks {
		c.Stop(ctx, s.ID, 9, 0)
		if err := c.Forget(ctx, s.ID); err != nil {
			n.t.Errorf("forget %s: %v", s.ID, err)
		}
	}
	if err := c.Release(ctx); err != nil {
		n.t.Errorf("release: %v", err)
	}
	gone(n.t, pid)
	c.Close()
	n.client.Close()
	n.swept()
	if n.t.Failed() {
		n.t.Logf("supervisor.log:\n%s", n.log())
	}
}

func (n *node) log() string {
	b, _ := os.ReadFile(filepath.Join(n.opts.Dir, "supervisor.log"))
	return string(b)
}

func (n *node) fatalf(format string, args ...any) {
	n.t.Helper()
	n.t.Logf("supervisor.log:\n%s", n.log())
	n.t.Fatalf(format, args...)
}

// alive reports whether a process exists and is no zombie.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		_, rest, _ := strings.Cut(string(b), ") ")
		return !strings.HasPrefix(rest, "Z")
	}
	return true
}

type option func(*drivers.Spec)

func config(key string, value any) option {
	return func(s *drivers.Spec) { s.Task.Config[key] = value }
}

func none(s *drivers.Spec) { s.Task.Config["isolation"] = "none" }

// spec makes a task that runs a shell script.
func (n *node) spec(script string, options ...option) *drivers.Spec {
	n.serial++
	id := structs.NewID()
	alloc := filepath.Join(n.dir, "allocs", id)
	s := &drivers.Spec{
		ID: fmt.Sprintf("%s/t%d/1", id, n.serial), Alloc: structs.AllocID(id), Incarnation: 1,
		Env:      []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/local", "GREETING=hello"},
		AllocDir: filepath.Join(alloc, "alloc"), TaskDir: filepath.Join(alloc, "task"), LogDir: filepath.Join(alloc, "logs"),
		CPU: 100, Memory: 64 << 20, MemoryMax: 64 << 20,
		Task: &structs.Task{Name: fmt.Sprintf("t%d", n.serial), Driver: "exec",
			Config: map[string]any{"command": "/bin/sh", "args": []any{"-c", script}}},
	}
	for _, o := range options {
		o(s)
	}
	n.last = s
	return s
}

func (n *node) start(s *drivers.Spec) drivers.Task {
	n.t.Helper()
	task, err := n.driver.Start(n.ctx, s)
	if err != nil {
		n.fatalf("start: %v", err)
	}
	return task
}

func (n *node) wait(task drivers.Task) drivers.Exit {
	n.t.Helper()
	exit, err := task.Wait(n.ctx)
	if err != nil {
		n.fatalf("wait: %v", err)
	}
	return exit
}

// run starts a task, waits for its end and returns its stdout.
func (n *node) run(s *drivers.Spec) (drivers.Exit, string) {
	n.t.Helper()
	exit := n.wait(n.start(s))
	return exit, n.output(s, logs.Stdout)
}

func (n *node) output(s *drivers.Spec, stream logs.Stream) string {
	n.t.Helper()
	r, err := logs.Open(s.LogDir, s.Task.Name, stream)
	if err != nil {
		n.fatalf("%v", err)
	}
	defer r.Close()
	first, _, err := r.Bounds()
	if err != nil {
		n.fatalf("%v", err)
	}
	over := make(chan struct{})
	close(over)
	var b bytes.Buffer
	if _, err := os.Stat(s.LogDir); err != nil {
		return ""
	}
	if _, err := r.Follow(n.ctx, &b, first, over); err != nil {
		n.fatalf("%v", err)
	}
	return b.String()
}

// until waits until a live task has written text to its stdout.
func (n *node) until(s *drivers.Spec, text string) string {
	n.t.Helper()
	os.MkdirAll(s.LogDir, 0o755)
	r, err := logs.Open(s.LogDir, s.Task.Name, logs.Stdout)
	if err != nil {
		n.fatalf("%v", err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(n.ctx)
	defer cancel()
	w := &waitFor{text: text, found: cancel}
	r.Follow(ctx, w, 0, nil)
	if !strings.Contains(w.b.String(), text) {
		n.fatalf("the task did not write %q, but %q", text, w.b.String())
	}
	return w.b.String()
}

type waitFor struct {
	b     bytes.Buffer
	text  string
	found func()
}

func (w *waitFor) Write(p []byte) (int, error) {
	w.b.Write(p)
	if strings.Contains(w.b.String(), w.text) {
		w.found()
	}
	return len(p), nil
}

func TestWithoutIsolationATaskRunsAndItsEndIsKnown(t *testing.T) {
	n := newNode(t)
	s := n.spec(`echo $GREETING; echo oops >&2; pwd; exit 7`, none)
	exit, out := n.run(s)
	if exit.Code != 7 || exit.Signal != 0 {
		t.Errorf("exit = %+v, want code 7", exit)
	}
	if want := "hello\n" + s.TaskDir + "/local\n"; out != want {
		t.Errorf("stdout = %q, want %q", out, want)
	}
	if errs := n.output(s, logs.Stderr); errs != "oops\n" {
		t.Errorf("stderr = %q", errs)
	}
}

func TestASignalEndsAShellWithoutTrap(t *testing.T) {
	n := newNode(t)
	s := n.spec(`echo ready; while :; do sleep 1000; done`, none)
	task := n.start(s)
	n.until(s, "ready")
	if err := task.Stop(n.ctx, "SIGTERM", patience); err != nil {
		t.Fatal(err)
	}
	if exit := n.wait(task); exit.Signal != 15 || exit.Code != 143 {
		t.Errorf("exit = %+v, want signal 15", exit)
	}
}

func TestStopKillsWhatIgnoresTheSignal(t *testing.T) {
	n := newNode(t)
	s := n.spec(`trap '' TERM; echo ready; while :; do sleep 1000; done`, none)
	task := n.start(s)
	n.until(s, "ready")
	if err := task.Stop(n.ctx, "SIGTERM", time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if exit := n.wait(task); exit.Signal != 9 {
		t.Errorf("exit = %+v, want signal 9", exit)
	}
}

func TestADaemonThatForkedTwiceDiesWithItsTask(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has what finds it")
	}
	n := newNode(t)
	s := n.spec(`(setsid sh -c 'echo pid $$ daemon; exec sleep 100000' & ) ; echo ready; exec sleep 100000`, none)
	task := n.start(s)
	n.until(s, "ready")
	_, line, _ := strings.Cut(n.until(s, " daemon\n"), "pid ")
	var pid int
	if _, err := fmt.Sscan(line, &pid); err != nil {
		t.Fatalf("the daemon wrote %q: %v", line, err)
	}
	if err := task.Stop(n.ctx, "SIGTERM", patience); err != nil {
		t.Fatal(err)
	}
	if alive(pid) {
		t.Errorf("the daemon %d lives on", pid)
	}
}

func TestAMissingProgramIsNamed(t *testing.T) {
	n := newNode(t)
	for command, want := range map[string]drivers.NoProgram{
		"/no/such/program": {Code: 127, Err: &structs.Error{Why: `program "/no/such/program" not found`}},
		"nosuchprogram":    {Code: 127, Err: &structs.Error{Why: `program "nosuchprogram" not found`}},
		"/etc/passwd":      {Code: 126, Err: &structs.Error{Why: `program "/etc/passwd" may not be executed`}},
	} {
		_, err := n.driver.Start(n.ctx, n.spec("", none, config("command", command)))
		var missing *drivers.NoProgram
		if !errors.As(err, &missing) || !strings.Contains(err.Error(), want.Error()) || missing.Code != want.Code || structs.KindOf(err) != structs.Invalid {
			t.Errorf("%s: %v (%s), want %d and %q", command, err, structs.KindOf(err), want.Code, want.Error())
		}
	}
	_, err := n.driver.Start(n.ctx, n.spec("", none, func(s *drivers.Spec) { s.Fence = &drivers.Fence{} }))
	if missing := (*drivers.NoProgram)(nil); err == nil || errors.As(err, &missing) {
		t.Errorf("another failure is that of a program: %v", err)
	}
	if tasks, err := n.client.List(n.ctx); err != nil || len(tasks) != 0 {
		t.Errorf("the failed starts left %v, %v", tasks, err)
	}
}

func TestATaskOutlivesItsAgent(t *testing.T) {
	n := newNode(t)
	s := n.spec(`echo ready; read line < gate; echo $line; exit 3`, none)
	os.MkdirAll(filepath.Join(s.TaskDir, "local"), 0o755)
	if err := syscall.Mkfifo(filepath.Join(s.TaskDir, "local", "gate"), 0o666); err != nil {
		t.Fatal(err)
	}
	n.start(s)
	n.until(s, "ready")
	n.client.Close()
	n.connect()
	task, err := n.driver.Recover(n.ctx, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.TaskDir, "local", "gate"), []byte("after\n"), 0); err != nil {
		t.Fatal(err)
	}
	if exit := n.wait(task); exit.Code != 3 {
		t.Errorf("exit = %+v, want 3", exit)
	}
	if out := n.output(s, logs.Stdout); out != "ready\nafter\n" {
		t.Errorf("stdout = %q", out)
	}
	if err := task.Destroy(n.ctx); err != nil {
		t.Error(err)
	}
	if _, err := n.driver.Recover(n.ctx, s, nil); structs.KindOf(err) != structs.NotFound {
		t.Errorf("recover after destroy: %v", err)
	}
}

func TestAnIDIsStartedOnce(t *testing.T) {
	n := newNode(t)
	s := n.spec(`exec sleep 100000`, none)
	n.start(s)
	if _, err := n.driver.Start(n.ctx, s); structs.KindOf(err) != structs.Conflict {
		t.Errorf("second start: %v", err)
	}
}

func TestExecRunsBesideTheTask(t *testing.T) {
	n := newNode(t)
	s := n.spec(`echo ready; exec sleep 100000`, none)
	task := n.start(s)
	var out, errs bytes.Buffer
	exit, err := task.Exec(n.ctx, drivers.Command{
		Args: []string{"sh", "-c", `cat; echo $GREETING; echo bad >&2; exit 5`}, Stdin: strings.NewReader("in "), Stdout: &out, Stderr: &errs,
	})
	if err != nil || exit.Code != 5 || out.String() != "in hello\n" || errs.String() != "bad\n" {
		t.Errorf("exec = %+v, %v, %q, %q", exit, err, out.String(), errs.String())
	}
	errs.Reset()
	exit, err = task.Exec(n.ctx, drivers.Command{Args: []string{"nosuch"}, Stderr: &errs})
	if err != nil || exit.Code != 127 || !strings.Contains(errs.String(), "not found") {
		t.Errorf("exec of a missing program = %+v, %v, %q", exit, err, errs.String())
	}
	exit, err = task.Exec(n.ctx, drivers.Command{Args: []string{"/etc/passwd"}})
	if err != nil || exit.Code != 126 {
		t.Errorf("exec of no program = %+v, %v", exit, err)
	}
}

func TestAFencedTaskNeedsALease(t *testing.T) {
	n := newNode(t)
	fence := func(s *drivers.Spec) { s.Fence = &drivers.Fence{} }
	if _, err := n.driver.Start(n.ctx, n.spec(`exec sleep 100000`, none, fence)); structs.KindOf(err) != structs.Unavailable {
		t.Fatalf("start without a lease: %v", err)
	}
	if err := n.client.Renew(n.ctx, supervisor.Now()+time.Hour); err != nil {
		t.Fatal(err)
	}
	s := n.spec(`echo ready; exec sleep 100000`, none, fence)
	task, other := n.start(s), n.start(n.spec(`exec sleep 100000`, none))
	n.until(s, "ready")
	if err := n.client.Renew(n.ctx, supervisor.Now()); err != nil { // it ends now
		t.Fatal(err)
	}
	if exit := n.wait(task); !strings.Contains(exit.Why, "lease") {
		t.Errorf("exit = %+v, want the lease as the reason", exit)
	}
	if err := other.Signal(n.ctx, "SIGCONT"); err != nil {
		t.Errorf("the task without a fence: %v", err)
	}
}

func TestACommandEndsWithItsContext(t *testing.T) {
	n := newNode(t)
	task := n.start(n.spec(`exec sleep 100000`, none))
	ctx, cancel := context.WithCancel(n.ctx)
	defer cancel()
	out := &onWrite{do: cancel}
	if _, err := task.Exec(ctx, drivers.Command{Args: []string{"sh", "-c", "echo $$; exec sleep 100000"}, Stdout: out}); !errors.Is(err, context.Canceled) {
		t.Fatalf("exec: %v", err)
	}
	var pid int
	if _, err := fmt.Sscan(out.b.String(), &pid); err != nil {
		t.Fatal(err)
	}
	gone(t, pid)
	if err := task.Signal(n.ctx, "SIGCONT"); err != nil {
		t.Errorf("the task: %v", err)
	}
}

type onWrite struct {
	b  bytes.Buffer
	do func()
}

func (w *onWrite) Write(p []byte) (int, error) {
	w.b.Write(p)
	w.do()
	return len(p), nil
}

func TestTheSupervisorStaysForItsLastTask(t *testing.T) {
	n := newNode(t)
	task := n.start(n.spec(`exec sleep 100000`, none))
	pid, err := n.client.PID(n.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.client.Release(n.ctx); err != nil {
		t.Fatal(err)
	}
	if err := task.Signal(n.ctx, "SIGCONT"); err != nil {
		t.Fatalf("after the release: %v", err)
	}
	n.client.Close()
	n.connect() // an agent is back: the release does not count any more
	task, err = n.driver.Recover(n.ctx, n.last, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := task.Stop(n.ctx, "SIGTERM", patience); err != nil {
		t.Fatal(err)
	}
	if now, err := n.client.PID(n.ctx); err != nil || now != pid {
		t.Errorf("pid %d, %v; want %d", now, err, pid)
	}
	if err := n.client.Release(n.ctx); err != nil {
		t.Fatal(err)
	}
	gone(t, pid)
}
