//go:build linux && system && (amd64 || arm64)

package supervisor_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/evil"
	"github.com/proffer/proffer/structs"
)

// As a program in a task, the test binary tries to take ports.
func init() {
	if len(os.Args) > 2 && os.Args[1] == "bind" {
		for _, what := range os.Args[2:] {
			fmt.Println(evil.Bind(what))
		}
		os.Exit(0)
	}
}

// squat has a task try to take ports, of its own and of a neighbour, all along what may happen to the node. Tasks of spec can run /local/try.
func (n *node) squat(t *testing.T, spec func(script string) *drivers.Spec, driver func() drivers.Driver) {
	base, fixed := 16000+5*(os.Getpid()%190), 15000+5*(os.Getpid()%190) // a process of the tests may have others to itself
	assigned := func(list ...int) (out []structs.AssignedPort) {
		for _, port := range list {
			out = append(out, structs.AssignedPort{Host: "127.0.0.1", Port: port})
		}
		return out
	}
	want := map[string]string{}
	add := func(result string, port int, how ...string) {
		for _, h := range how {
			want[fmt.Sprintf("%s %d", h, port)] = result
		}
	}
	every := []string{"tcp4 0.0.0.0", "tcp4 127.0.0.1", "udp4 0.0.0.0", "tcp6 ::", "tcp6 ::ffff:127.0.0.1", "udp6 ::1"}
	add("done", base, every...)     // its own
	add("EPERM", base+1, every...)  // the neighbour's
	add("EPERM", base+2, every...)  // nobody's yet
	add("EPERM", fixed+1, every...) // the neighbour's, which asked for it
	add("done", fixed+2, every...)  // nobody's, and never given out
	add("done", 0, every...)
	want["tcp4 127.0.0.1 1 connect"], want["udp4 127.0.0.1 53 connect"], want["tcp6 :: 0 listen"] = "ECONNREFUSED", "done", "done"
	tries := slices.Sorted(maps.Keys(want))

	neighbour := spec("exec sleep 100000")
	neighbour.Ports = assigned(base+1, fixed+1)
	other, err := driver().Start(n.ctx, neighbour)
	if err != nil {
		n.fatalf("%v", err)
	}
	s := spec(`/local/try bind '` + strings.Join(tries, "' '") + `'; echo over; exec sleep 100000`)
	n.tries(s)
	s.Env = append(s.Env, "GORACE=atexit_sleep_ms=0")
	s.Ports = assigned(base)
	task, err := driver().Start(n.ctx, s)
	if err != nil {
		n.fatalf("%v", err)
	}
	compare := func(when, out string) {
		t.Helper()
		lines := strings.Fields(out)
		if len(lines) != len(tries) {
			n.fatalf("%s: %d of %d binds: %s", when, len(lines), len(tries), out)
		}
		for i, got := range lines {
			if got != want[tries[i]] {
				t.Errorf("%s: %s: %s, not %s", when, tries[i], got, want[tries[i]])
			}
		}
	}
	// Beside version 1 a runtime begins in the group of version 2, for it may not know of it.
	f, err := n.client.Features(n.ctx)
	if err != nil {
		n.fatalf("%v", err)
	}
	status, err := n.client.Status(n.ctx, s.ID)
	if err != nil {
		n.fatalf("%v", err)
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", status.PID))
	_, group, _ := strings.Cut(string(raw), "\n0::/"+f.CgroupBase+"/")
	if err != nil || f.Cgroups == 1 && (group == "" || strings.HasPrefix(group, "supervisor")) {
		t.Errorf("what holds the task is in %s, %v", raw, err)
	}
	compare("its program", strings.TrimSuffix(n.until(s, "over"), "over\n"))
	command := func(when string) {
		t.Helper()
		if task, err = driver().Recover(n.ctx, s, task.Handle()); err != nil {
			n.fatalf("%s: %v", when, err)
		}
		var out, errs strings.Builder
		exit, err := task.Exec(n.ctx, drivers.Command{Args: append([]string{"/local/try", "bind"}, tries...), Stdout: &out, Stderr: &errs})
		if err != nil || exit.Code != 0 {
			n.fatalf("%s: %+v, %v: %s", when, exit, err, errs.String())
		}
		compare(when, out.String())
	}
	n.client.Close()
	n.connect()
	command("a command, of another agent")
	follow := func() {
		pid := n.serving()
		syscall.Kill(pid, syscall.SIGKILL)
		gone(t, pid)
	}
	follow()
	command("under the next supervisor")
	if other, err = driver().Recover(n.ctx, neighbour, other.Handle()); err != nil {
		n.fatalf("%v", err)
	}
	if err := other.Stop(n.ctx, "SIGKILL", 0); err != nil {
		n.fatalf("%v", err)
	}
	if err := other.Destroy(n.ctx); err != nil {
		n.fatalf("%v", err)
	}
	if err := n.client.GivePorts(n.ctx, s.Alloc, assigned(base+2)); err != nil {
		n.fatalf("%v", err)
	}
	add("done", fixed+1, every...)
	add("EPERM", base, every...)
	add("done", base+2, every...)
	command("with other ports, and without the neighbour")
	follow()
	command("and under the third supervisor")
	if err := task.Stop(n.ctx, "SIGKILL", 0); err != nil {
		n.fatalf("%v", err)
	}
	if err := task.Destroy(n.ctx); err != nil {
		n.fatalf("%v", err)
	}
}

func TestPortsOfOthers(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	if f, err := n.client.Features(n.ctx); err != nil || f.NoGuard != "" {
		t.Fatalf("%+v, %v", f, err)
	}
	for _, who := range []string{"root", "nobody"} {
		t.Run(who, func(t *testing.T) {
			n.squat(t, func(script string) *drivers.Spec { return n.spec(script, func(s *drivers.Spec) { s.User = who }) }, func() drivers.Driver { return n.driver })
		})
	}
}

func TestOCIPortsOfOthers(t *testing.T) {
	p := newPier(t)
	var libraries []any
	for _, dir := range []string{"/lib", "/lib64"} { // of this binary
		if at, err := filepath.EvalSymlinks(dir); err == nil {
			libraries = append(libraries, map[string]any{"source": at, "target": dir, "read_only": true})
			p.opts.HostPaths = append(p.opts.HostPaths, at)
		}
	}
	p.squat(t, func(script string) *drivers.Spec {
		s := p.container(script, map[string]any{"mount": libraries})
		s.User = "0"
		return s
	}, func() drivers.Driver { return p.driver() })
}

// A task in a network of its own takes what it likes there, and its ports of the node are its own, also when the node gives out others.
func TestPortsInANetworkOfItsOwn(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	s := n.spec(`/local/try bind 'tcp4 0.0.0.0 16001' 'tcp4 0.0.0.0 15901'; echo over; exec sleep 100000`, config("network", "none"))
	n.tries(s)
	s.Ports = []structs.AssignedPort{{Port: 15901}}
	n.start(s)
	if out := n.until(s, "over"); out != "done\ndone\nover\n" {
		t.Errorf("got %q", out)
	}
	n.client.Close()
	n.opts.Ports = structs.Range{First: 16001, Last: 16001} // an agent with another configuration
	n.connect()
	other := n.spec(`/local/try bind 'tcp4 0.0.0.0 15901' 'tcp4 0.0.0.0 16001' 'tcp4 0.0.0.0 16002'`)
	n.tries(other)
	if _, out := n.run(other); out != "EPERM\nEPERM\ndone\n" {
		t.Errorf("the other one: %q", out)
	}
}
