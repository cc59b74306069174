//go:build linux && system

package supervisor_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/proffer/proffer/client/logs"
	"github.com/proffer/proffer/client/namespaces"
	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/client/supervisor"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/structs"
)

// sharing is a node whose tasks are of one allocation and share what it has.
type sharing struct {
	*node
	alloc *structs.Allocation
	group *structs.Group
	given *store.Given
}

func newSharing(t *testing.T) *sharing {
	needRoot(t)
	n := newNode(t)
	s := &sharing{node: n, alloc: &structs.Allocation{ID: structs.AllocID(structs.NewID())}, group: &structs.Group{}, given: &store.Given{}}
	t.Cleanup(func() { s.released() })
	return s
}

func (s *sharing) provider() *namespaces.Provider {
	return namespaces.New(filepath.Join(s.dir, "namespaces"), s.client, slog.New(slog.DiscardHandler))
}

// provide gives the allocation what its tasks so far share, as a node does before each start.
func (s *sharing) provide() {
	s.t.Helper()
	if p := s.provider(); p.Needs(s.alloc, s.group) {
		s.given = &store.Given{}
		if err := p.Provide(s.ctx, &runner.Need{Alloc: s.alloc, Group: s.group}, s.given); err != nil {
			s.fatalf("provide: %v", err)
		}
	}
}

// released gives it back; afterwards there is nothing.
func (s *sharing) released() {
	s.t.Helper()
	if err := s.provider().Release(s.ctx, s.alloc.ID); err != nil {
		s.t.Errorf("release: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Join(s.dir, "namespaces")); len(left) > 0 {
		s.t.Errorf("left: %v", left)
	}
}

// member makes a task of the allocation.
func (s *sharing) member(script string, options ...option) *drivers.Spec {
	spec := s.spec(script, options...)
	spec.ID, spec.Alloc = fmt.Sprintf("%s/%s/1", s.alloc.ID, spec.Task.Name), s.alloc.ID
	s.group.Tasks = append(s.group.Tasks, spec.Task)
	s.provide()
	spec.Pidns, spec.Ipcns = s.given.Pidns, s.given.Ipcns
	spec.Mounts = append(spec.Mounts, s.given.Mounts[spec.Task.Name]...)
	return spec
}

// holder is the process on the host that keeps the namespace.
func (s *sharing) holder() int {
	s.t.Helper()
	status, err := s.client.Status(s.ctx, namespaces.HolderID(s.alloc.ID))
	if err != nil {
		s.fatalf("the holder: %v", err)
	}
	return status.PID
}

func shares(mode string, keys ...string) option {
	return func(s *drivers.Spec) {
		for _, key := range keys {
			s.Task.Config[key] = mode
		}
	}
}

const comm = `comms() { for p in /proc/[0-9]*; do tr '\0' ' ' < $p/cmdline; echo; done 2>/dev/null; }
`

// Tasks of an allocation that share processes see and signal one another; others of it do not, and nor does the host's show.
func TestTasksShareProcesses(t *testing.T) {
	s := newSharing(t)
	marker := "31536001." + strconv.Itoa(os.Getpid())
	pid := shares("alloc", "pid_mode")
	sleeper := s.member(`echo ready; exec sleep `+marker, pid)
	task := s.start(sleeper)
	s.until(sleeper, "ready")
	_, out := s.run(s.member(comm+`comms; cat /proc/1/comm; readlink /proc/1/root || echo shut`, pid))
	if !strings.Contains(out, "sleep "+marker) || !strings.HasSuffix(out, "proffer-init\nshut\n") || strings.Contains(out, "supervisor") {
		t.Errorf("it sees %q", out)
	}
	if _, out := s.run(s.member(comm + `comms`)); strings.Contains(out, marker) {
		t.Errorf("a task on its own sees %q", out)
	}
	// A command in the task is among them, too.
	var in bytes.Buffer
	exit, err := task.Exec(s.ctx, drivers.Command{Args: []string{"sh", "-c", comm + `comms; echo me $$; ls /proc/$$ >/dev/null && echo here`}, Stdout: &in})
	if err != nil || exit.Code != 0 || !strings.Contains(in.String(), marker) || !strings.HasSuffix(in.String(), "here\n") || strings.Contains(in.String(), "supervisor") {
		t.Errorf("a command: %+v, %v, %q", exit, err, in.String())
	}
	_, out = s.run(s.member(`for p in /proc/[0-9]*; do grep -q `+marker+` $p/cmdline 2>/dev/null && test ${p#/proc/} != $$ && kill -TERM ${p#/proc/} && echo signalled; done`, pid))
	if out != "signalled\n" {
		t.Errorf("the one that signals wrote %q", out)
	}
	if exit := s.wait(task); exit.Signal != 15 {
		t.Errorf("exit = %+v", exit)
	}
}

// What a task leaves running ends with it, and is reaped, while the others go on.
func TestOfASharedNamespaceATaskEndsAlone(t *testing.T) {
	s := newSharing(t)
	pid := shares("alloc", "pid_mode")
	stays := s.member(`echo ready; exec sleep 100000`, pid)
	other := s.start(stays)
	s.until(stays, "ready")
	marker := "31536002." + strconv.Itoa(os.Getpid())
	for name, how := range map[string]func(drivers.Task, *drivers.Spec){
		"stopped": func(task drivers.Task, _ *drivers.Spec) {
			if err := task.Stop(s.ctx, "SIGTERM", patience); err != nil {
				t.Error(err)
			}
		},
		"killed": func(task drivers.Task, _ *drivers.Spec) {
			if err := task.Stop(s.ctx, "SIGTERM", 0); err != nil {
				t.Error(err)
			}
		},
		"stage killed": func(task drivers.Task, spec *drivers.Spec) {
			status, err := s.client.Status(s.ctx, spec.ID)
			if err != nil {
				t.Fatal(err)
			}
			syscall.Kill(status.PID, syscall.SIGKILL)
			s.wait(task)
			if err := task.Stop(s.ctx, "SIGTERM", 0); err != nil { // which returns when all is gone
				t.Error(err)
			}
		},
	} {
		spec := s.member(`(setsid sleep `+marker+` &); (setsid sh -c "trap '' TERM; sleep `+marker+`; echo" &); echo ready; exec sleep `+marker, pid)
		task := s.start(spec)
		s.until(spec, "ready")
		how(task, spec)
		if left := processesWith(marker); len(left) > 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
	// Nobody is left as a zombie there: what lost its parent was its first process's to reap. It may be about to.
	for out := "Z 1"; strings.Contains(out, "Z 1"); {
		_, out = s.run(s.member(`cat /proc/[0-9]*/stat 2>/dev/null | sed 's/.*) //' | cut -d ' ' -f 1,2`, pid))
	}
	if err := other.Stop(s.ctx, "SIGTERM", 0); err != nil {
		t.Error(err)
	}
}

// The namespace outlives supervisor and agent, and a supervisor that replaces itself; when the process that keeps it is killed, all in there ends,
// and the next start has another one.
func TestASharedNamespaceIsKept(t *testing.T) {
	s := newSharing(t)
	pid := shares("alloc", "pid_mode")
	marker := "31536003." + strconv.Itoa(os.Getpid())
	spec := s.member(`echo ready; exec sleep `+marker, pid)
	s.start(spec)
	s.until(spec, "ready")
	sees := func(when string) {
		t.Helper()
		if _, out := s.run(s.member(comm+`comms`, pid)); !strings.Contains(out, "sleep "+marker) {
			t.Errorf("%s it sees %q", when, out)
		}
	}
	before := s.holder()
	if err := s.client.Upgrade(s.ctx); err != nil {
		s.fatalf("upgrade: %v", err)
	}
	sees("after an upgrade")
	super, err := s.client.PID(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.client.Close()
	syscall.Kill(super, syscall.SIGKILL)
	gone(t, super)
	s.connect()
	sees("after the death of the supervisor")
	if after := s.holder(); after != before {
		t.Errorf("the holder was %d and is %d", before, after)
	}
	task, err := s.driver.Recover(s.ctx, spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	syscall.Kill(before, syscall.SIGKILL)
	if exit := s.wait(task); exit.Signal != 9 {
		t.Errorf("exit = %+v", exit)
	}
	if _, err := s.client.Wait(s.ctx, namespaces.HolderID(s.alloc.ID)); err != nil {
		t.Error(err)
	}
	if _, out := s.run(s.member(`cat /proc/1/comm`, pid)); out != "proffer-init\n" || s.holder() == before {
		t.Errorf("afterwards: %q, holder %d", out, s.holder())
	}
}

// A fence ends all that is in the namespace of a fenced allocation, whoever left it there.
func TestAFenceEndsASharedNamespace(t *testing.T) {
	s := newSharing(t)
	s.alloc.OnLost = "fence"
	if err := s.client.Renew(s.ctx, supervisor.Now()+time.Hour); err != nil {
		t.Fatal(err)
	}
	marker := "31536004." + strconv.Itoa(os.Getpid())
	spec := s.member(`(setsid sleep `+marker+` &); echo ready; exec sleep `+marker, shares("alloc", "pid_mode"), func(s *drivers.Spec) { s.Fence = &drivers.Fence{} })
	task := s.start(spec)
	s.until(spec, "ready")
	holder := s.holder()
	if err := s.client.Renew(s.ctx, supervisor.Now()); err != nil {
		t.Fatal(err)
	}
	s.wait(task)
	gone(t, holder)
	if left := processesWith(marker); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// Tasks that share memory have the same /dev/shm, of the largest size that one asks for, and the same segments, which are bounded by the same size.
// Nobody else on the node comes by.
func TestTasksShareMemory(t *testing.T) {
	s := newSharing(t)
	ipc := shares("alloc", "ipc_mode")
	const look = `readlink /proc/self/ns/ipc; cat /dev/shm/x 2>/dev/null; df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2; cat /proc/sys/kernel/shmall`
	ns := func(out string) string { first, _, _ := strings.Cut(out, "\n"); return first }
	_, first := s.run(s.member(`echo hello > /dev/shm/x; `+look, ipc, config("shm_size", "2MiB")))
	_, second := s.run(s.member(look, ipc, nobody))
	_, third := s.run(s.member(look, ipc, config("shm_size", "128MiB")))
	_, alone := s.run(s.member(look, config("shm_size", "3MiB")))
	host, _ := os.Readlink("/proc/self/ns/ipc")
	if want := ns(first) + "\nhello\n65536\n16384\n"; !strings.HasSuffix(first, "\n2048\n512\n") || second != want || third != ns(first)+"\nhello\n131072\n32768\n" {
		t.Errorf("it has %q, then %q, later %q; want %q", first, second, third, want)
	}
	if at, err := os.Stat(filepath.Join(s.dir, "namespaces", string(s.alloc.ID))); err != nil || at.Mode().Perm() != 0o700 {
		t.Errorf("its folder is %v, %v", at.Mode(), err)
	}
	if ns(first) == host || ns(alone) == ns(first) || ns(alone) == host || !strings.Contains(alone, "\n3072\n") || strings.Contains(alone, "hello") {
		t.Errorf("the host has %q, they %q, another task %q", host, first, alone)
	}
}

// Namespaces of the node are for those whom it lets.
func TestNamespacesOfTheNode(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	both := shares("host", "pid_mode", "ipc_mode")
	for _, key := range []string{"pid_mode", "ipc_mode"} {
		if _, err := n.driver.Start(n.ctx, n.spec("true", shares("host", key))); structs.KindOf(err) != structs.Forbidden || !strings.Contains(err.Error(), "client.host_namespaces") {
			t.Errorf("%s: %v", key, err)
		}
	}
	n.driver = exec.New(n.client, exec.Options{HostNamespaces: []string{"ipc", "pid"}})
	file := filepath.Join("/dev/shm", filepath.Base(n.dir))
	if err := os.WriteFile(file, []byte("of the node\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(file)
	_, out := n.run(n.spec(`readlink /proc/self/ns/pid; readlink /proc/self/ns/ipc; cat `+file+`; tr '\0' ' ' < /proc/`+strconv.Itoa(os.Getpid())+`/cmdline; cat /proc/sysrq-trigger >/dev/null 2>&1; echo 1 > /proc/sys/kernel/panic || echo kept`, both))
	pid, _ := os.Readlink("/proc/self/ns/pid")
	ipc, _ := os.Readlink("/proc/self/ns/ipc")
	if !strings.HasPrefix(out, pid+"\n"+ipc+"\nof the node\n") || !strings.Contains(out, filepath.Base(os.Args[0])) || !strings.HasSuffix(out, "kept\n") {
		t.Errorf("it has %q", out)
	}
	marker := "31536005." + strconv.Itoa(os.Getpid())
	spec := n.spec(`(setsid sleep `+marker+` &); (setsid sh -c "trap '' TERM; sleep `+marker+`; echo" &); echo ready; exec sleep `+marker, both)
	task := n.start(spec)
	n.until(spec, "ready")
	var in bytes.Buffer
	if exit, err := task.Exec(n.ctx, drivers.Command{Args: []string{"sh", "-c", "readlink /proc/self/ns/pid"}, Stdout: &in}); err != nil || exit.Code != 0 || in.String() != pid+"\n" {
		t.Errorf("a command: %+v, %v, %q", exit, err, in.String())
	}
	if err := task.Stop(n.ctx, "SIGTERM", patience); err != nil {
		t.Error(err)
	}
	if left := processesWith(marker); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	if out := n.output(spec, logs.Stdout); out != "ready\n" {
		t.Errorf("it wrote %q", out)
	}
}
