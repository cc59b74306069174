//go:build linux && system

package system

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/proffer/proffer/structs"
)

// mesosClients are the programs that mesosClient built, by their names.
var mesosClients sync.Map

// mesosClient builds a client of Mesos that others wrote, once. It is a module of its own, for nothing of it is in the program.
func mesosClient(t *testing.T, name string) (path string) {
	t.Helper()
	path = filepath.Join(root, name)
	made, _ := mesosClients.LoadOrStore(name, sync.OnceValue(func() error {
		build := exec.Command("go", "build", "-C", "../mesosgo", "-o", path, "github.com/mesos/mesos-go/api/v1/cmd/"+name)
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
		return nil
	}))
	if err := made.(func() error)(); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMesosClient: a scheduler that nobody here wrote runs tasks, unmodified, learns how they end, and has people type for them.
func TestMesosClient(t *testing.T) {
	t.Parallel()
	msh := mesosClient(t, "msh")
	r := newRegion(t)
	a := r.agent("a", "-server", "-client", "-bootstrap-expect", "1").ofItsOwn()
	r.startAll()
	for script, want := range map[string]int{"echo I am told": 0, "exit 3": 3} {
		cmd := exec.CommandContext(t.Context(), msh, "-master", net.JoinHostPort(a.addr, fmt.Sprint(r.http)), "-user", "root",
			"-cpus", "0.1", "-memory", "32", "--", "sh", "-c", script)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != want {
			t.Errorf("%q ended with %d, want %d:\n%s", script, code, want, out)
		}
	}
	pod := exec.CommandContext(t.Context(), msh, "-master", net.JoinHostPort(a.addr, fmt.Sprint(r.http)), "-user", "root",
		"-cpus", "0.1", "-memory", "32", "-pod", "--", "sh", "-c", "echo; exit 3")
	if out, _ := pod.CombinedOutput(); pod.ProcessState.ExitCode() != 3 {
		t.Errorf("a pod ended with %d:\n%s", pod.ProcessState.ExitCode(), out)
	}
	allocs, _, err := a.api().Allocations(t.Context(), nil)
	if err != nil || len(allocs) != 3 {
		t.Fatalf("%d allocations, %v", len(allocs), err)
	}
	allocs = slices.DeleteFunc(allocs, func(x *structs.Allocation) bool { return x.External.Executor != "" })
	said := a.must("alloc", "logs", string(allocs[0].ID)) + a.must("alloc", "logs", string(allocs[1].ID))
	if said != "I am told\n" {
		t.Errorf("the tasks said %q", said)
	}
	interactive(t, msh, a)
}

// TestMesosWatch: a watcher that nobody here wrote hears of frameworks and tasks, unmodified.
func TestMesosWatch(t *testing.T) {
	t.Parallel()
	msh, mwatch := mesosClient(t, "msh"), mesosClient(t, "mwatch")
	r := newRegion(t)
	a := single(r)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	watch := exec.CommandContext(ctx, mwatch, "-master", a.addr, "-port", fmt.Sprint(r.http))
	said, err := watch.StdoutPipe()
	if err == nil {
		err = watch.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); watch.Wait() }()
	lines := bufio.NewScanner(said)
	lines.Buffer(nil, 4<<20)
	heard, tasks := make(chan struct{}), make(chan error, 1)
	defer func() {
		close(heard)
		if err := <-tasks; err != nil {
			t.Error(err)
		}
	}()
	go func() { // the first tasks may begin before the watcher listens, which it does not say
		for {
			select {
			case <-heard:
				tasks <- nil
				return
			default:
			}
			out, err := exec.CommandContext(t.Context(), msh, "-master", net.JoinHostPort(a.addr, fmt.Sprint(r.http)), "-user", "root",
				"-cpus", "0.1", "-memory", "32", "--", "true").CombinedOutput()
			if err != nil {
				tasks <- fmt.Errorf("msh: %w\n%s", err, out)
				return
			}
		}
	}()
	for _, want := range []string{"FRAMEWORK_ADDED", "TASK_ADDED", "TASK_RUNNING", "TASK_FINISHED", "FRAMEWORK_REMOVED"} {
		for lines.Scan() && !strings.Contains(lines.Text(), want) {
		}
		if !strings.Contains(lines.Text(), want) {
			t.Fatalf("it never said %s: %v", want, lines.Err())
		}
	}
}

// exampleScheduler runs a framework that nobody here wrote: tasks of an executor that it has fetched from itself. It returns what the
// framework says.
func exampleScheduler(t *testing.T, scheduler, executor string, a *agent, r *region, args ...string) string {
	t.Helper()
	out, _ := exec.CommandContext(t.Context(), scheduler, append([]string{"-url", a.url() + "/api/v1/scheduler", "-executor", executor,
		"-server.address", a.addr, "-metrics.port", "0", "-cpu", "0.1", "-memory", "32", "-exec.cpu", "0.01", "-exec.memory", "32", "-user", "root",
		"-failoverTimeout", "0s"}, args...)...).CombinedOutput() // it fails when it is done, too
	return string(out)
}

// TestMesosExecutor: a scheduler with an executor that nobody here wrote gets its tasks done, unmodified, in both encodings.
func TestMesosExecutor(t *testing.T) {
	t.Parallel()
	scheduler, executor := mesosClient(t, "example-scheduler"), mesosClient(t, "example-executor")
	r := newRegion(t)
	a := single(r)
	for _, codec := range []string{"protobuf", "json"} {
		said := exampleScheduler(t, scheduler, executor, a, r, "-tasks", "5", "-codec", codec)
		if !strings.Contains(said, "mission accomplished") {
			t.Errorf("%s: it said\n%s", codec, said)
		}
	}
	allocs, _, err := a.api().Allocations(t.Context(), nil)
	if err != nil || len(allocs) != 2 {
		t.Fatalf("%d allocations, %v", len(allocs), err)
	}
	for _, x := range allocs {
		await(t, "the executor ends, as its framework did", func() error {
			if said := a.must("alloc", "status", string(x.ID)); !strings.Contains(said, `Task "executor": finished`) {
				return fmt.Errorf("the allocation is\n%s", said)
			}
			return nil
		})
	}
}
