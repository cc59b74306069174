//go:build linux && system

package supervisor_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/proffer/proffer/client/namespaces"
	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Containers share processes and memory with tasks of other drivers, or with the node where it lets them, and end alone.
func TestContainersShareNamespaces(t *testing.T) {
	p := newPier(t)
	alloc := &structs.Allocation{ID: structs.AllocID(structs.NewID())}
	provider := namespaces.New(filepath.Join(p.dir, "namespaces"), p.client, slog.New(slog.DiscardHandler))
	both := map[string]any{"pid_mode": "alloc", "ipc_mode": "alloc"}
	marker := "31536006." + strconv.Itoa(os.Getpid())
	beside := p.spec(`echo of exec > /dev/shm/x; echo ready; exec sleep `+marker, shares("alloc", "pid_mode", "ipc_mode"))
	inside := p.container(`cat /dev/shm/x; readlink /proc/self/ns/ipc; readlink /proc/self/ns/pid; (setsid sleep `+marker+`1 &); echo ready; while :; do sleep 1000; done`, both)
	files := p.container(`readlink /proc/self/ns/ipc; ls /dev/shm; grep -c ' /dev/shm ' /proc/self/mounts; df -m /dev/shm | grep -c ' 8 '`, map[string]any{"ipc_mode": "alloc"})
	files.Task.Name, files.Task.Tmpfs = "files", []*structs.Tmpfs{{Destination: structs.SharedMemory, Size: 8 << 20}}
	group := &structs.Group{Tasks: []*structs.Task{beside.Task, inside.Task, files.Task}}
	given := &store.Given{}
	if err := provider.Provide(t.Context(), &runner.Need{Alloc: alloc, Group: group}, given); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := provider.Release(p.ctx, alloc.ID); err != nil {
			t.Error(err)
		}
	}()
	for _, s := range []*drivers.Spec{beside, inside, files} {
		s.Pidns, s.Ipcns, s.Mounts = given.Pidns, given.Ipcns, given.Mounts[s.Task.Name]
	}
	other := p.start(beside)
	p.until(beside, "ready")
	task, err := p.driver().Start(t.Context(), inside)
	if err != nil {
		t.Fatal(err)
	}
	p.until(inside, "ready")
	var in bytes.Buffer
	exit, err := task.Exec(t.Context(), drivers.Command{Args: []string{"sh", "-c", `cat /proc/[0-9]*/cmdline | tr '\0' ' '; cat /dev/shm/x`}, Stdout: &in})
	if err != nil || exit.Code != 0 || !strings.Contains(in.String(), "sleep "+marker+" ") || !strings.Contains(in.String(), "sleep "+marker+"1") || !strings.Contains(in.String(), "of exec") {
		t.Errorf("a command in it: %+v, %v, %q", exit, err, in.String())
	}
	in.Reset()
	if _, err := task.Exec(t.Context(), drivers.Command{Args: []string{"readlink", "/proc/self/ns/ipc"}, Stdout: &in}); err != nil {
		t.Error(err)
	}
	if _, out := p.run(t, files); out != in.String()+"1\n1\n" {
		t.Errorf("with a /dev/shm of its own it has %q, beside %q", out, in.String())
	}
	if err := task.Stop(t.Context(), "SIGTERM", 0); err != nil {
		t.Error(err)
	}
	if err := task.Destroy(t.Context()); err != nil {
		t.Error(err)
	}
	if left := processesWith(marker + "1"); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	if len(processesWith("sleep\x00"+marker)) != 1 {
		t.Error("the task beside it ended")
	}
	if err := other.Stop(t.Context(), "SIGTERM", 0); err != nil {
		t.Error(err)
	}
	host := map[string]any{"pid_mode": "host", "ipc_mode": "host"}
	if _, err := p.driver().Start(t.Context(), p.container("true", host)); structs.KindOf(err) != structs.Forbidden {
		t.Errorf("of the node: %v", err)
	}
	p.opts.HostNamespaces = []string{"pid", "ipc"}
	_, out := p.run(t, p.container(`readlink /proc/self/ns/pid; readlink /proc/self/ns/ipc; (setsid sleep `+marker+`2 &); ls /proc/`+strconv.Itoa(os.Getpid())+`/comm`, host))
	pid, _ := os.Readlink("/proc/self/ns/pid")
	ipc, _ := os.Readlink("/proc/self/ns/ipc")
	if want := pid + "\n" + ipc + "\n/proc/" + strconv.Itoa(os.Getpid()) + "/comm\n"; out != want {
		t.Errorf("it has %q, want %q", out, want)
	}
	if left := processesWith(marker + "2"); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}
