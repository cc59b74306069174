//go:build linux && system

package system

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
)

// mesosClient builds a client of Mesos that others wrote. It is a module of its own, for nothing of it is in the program.
func mesosClient(t *testing.T, name string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	build := exec.Command("go", "build", "-C", "../mesosgo", "-o", path, "github.com/mesos/mesos-go/api/v1/cmd/"+name)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}

// TestMesosClient: a scheduler that nobody here wrote runs tasks, unmodified, and learns how they end.
func TestMesosClient(t *testing.T) {
	t.Parallel()
	msh := mesosClient(t, "msh")
	r := newRegion(t)
	a := single(r)
	for script, want := range map[string]int{"echo I am told": 0, "exit 3": 3} {
		cmd := exec.CommandContext(t.Context(), msh, "-master", net.JoinHostPort(a.addr, fmt.Sprint(r.http)), "-user", "root",
			"-cpus", "0.1", "-memory", "32", "--", "sh", "-c", script)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != want {
			t.Errorf("%q ended with %d, want %d:\n%s", script, code, want, out)
		}
	}
	allocs, _, err := a.api().Allocations(t.Context(), nil)
	if err != nil || len(allocs) != 2 {
		t.Fatalf("%d allocations, %v", len(allocs), err)
	}
	said := a.must("alloc", "logs", string(allocs[0].ID)) + a.must("alloc", "logs", string(allocs[1].ID))
	if said != "I am told\n" {
		t.Errorf("the tasks said %q", said)
	}
}
