//go:build linux && system && (amd64 || arm64)

package guard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers/evil"
	"github.com/proffer/proffer/structs"
)

// Asked to, the test binary does what tasks do: it binds what its arguments say, in its control group. Its network is its own: who else
// has a port there does not matter, and the guard does not look at that.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "bind" {
		if err := loopbackUp(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		for _, what := range os.Args[2:] {
			fmt.Println(evil.Bind(what))
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// loopbackUp readies a network of this process alone.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// host is a folder of cgroup version 2 with groups in it.
type host struct {
	t   *testing.T
	dir string
}

func newHost(t *testing.T) *host {
	if os.Geteuid() != 0 {
		t.Fatal("the system tests need root")
	}
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if left, right, _ := strings.Cut(line, " - "); strings.HasPrefix(right, "cgroup2 ") {
			dir, err := os.MkdirTemp(strings.Fields(left)[4], "guard-test-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Remove(dir) })
			return &host{t, dir}
		}
	}
	t.Fatal("no cgroup version 2 is mounted")
	return nil
}

// group makes one, and returns how a process in it fares.
func (h *host) group(name string) (id uint64, binds func(what ...string) string) {
	h.t.Helper()
	dir := filepath.Join(h.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			h.t.Error(err)
		}
	})
	id, err := ID(dir)
	if err != nil {
		h.t.Fatal(err)
	}
	return id, func(what ...string) string {
		h.t.Helper()
		at, err := os.Open(dir)
		if err != nil {
			h.t.Fatal(err)
		}
		defer at.Close()
		cmd := exec.CommandContext(context.Background(), "/proc/self/exe", append([]string{"bind"}, what...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(at.Fd()), Cloneflags: unix.CLONE_NEWNET}
		cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
		out, err := cmd.Output()
		if err != nil {
			h.t.Fatal(err)
		}
		got := strings.Fields(string(out))
		if len(got) != len(what) {
			h.t.Fatalf("%d of %d were tried", len(got), len(what))
		}
		return strings.Join(got, " ")
	}
}

func (h *host) open(tasks ...Task) *Guard {
	h.t.Helper()
	g, err := Open(h.dir, structs.Range{First: 26000, Last: 26099}, tasks)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(g.Close)
	return g
}

func ports(list ...string) (out []structs.AssignedPort) {
	for _, text := range list {
		f := append(strings.Fields(text), "")
		port, err := strconv.Atoi(f[1])
		if err != nil {
			panic(err)
		}
		out = append(out, structs.AssignedPort{Host: f[0], Port: port, Protocol: f[2]})
	}
	return out
}

func TestPortsAreOfWhomTheyWereGivenTo(t *testing.T) {
	h := newHost(t)
	mine, me := h.group("a")
	theirs, they := h.group("b")
	_, stranger := h.group("c")
	g := h.open()
	take := func(task Task) {
		t.Helper()
		if err := g.Take(task); err != nil {
			t.Fatal(err)
		}
	}
	take(Task{Name: "a/1", Alloc: "a", Group: mine, Ports: ports("127.0.0.1 26001", "127.0.0.1 26003 tcp", "127.0.0.1 26004 udp", "127.0.0.1 25900")})
	take(Task{Name: "b/1", Alloc: "b", Group: theirs, Ports: ports("127.0.0.1 26002", "127.0.0.2 26001", "127.0.0.1 25901", "127.0.0.1 25902 udp", "127.0.0.2 25900")})
	want := map[string]string{
		"tcp4 0.0.0.0 26001": "done", "tcp4 127.0.0.1 26001": "done", "tcp4 127.0.0.3 26001": "done", "udp4 0.0.0.0 26001": "done", "tcp6 :: 26001": "done", "udp6 ::1 26001": "done",
		"tcp4 127.0.0.2 26001": "EPERM", "tcp6 ::ffff:127.0.0.2 26001": "EPERM", "udp6 ::ffff:127.0.0.2 26001": "EPERM", "tcp6 ::ffff:127.0.0.1 26001": "done",
		"tcp4 0.0.0.0 26002": "EPERM", "tcp4 127.0.0.1 26002": "EPERM", "tcp4 127.0.0.3 26002": "EPERM", "udp4 0.0.0.0 26002": "EPERM", "tcp6 :: 26002": "EPERM", "udp6 ::1 26002": "EPERM",
		"tcp6 ::ffff:127.0.0.1 26002": "EPERM", "mptcp4 0.0.0.0 26002": "EPERM", "mptcp4 0.0.0.0 26001": "done",
		"tcp4 0.0.0.0 26003": "done", "udp4 0.0.0.0 26003": "EPERM", "tcp4 0.0.0.0 26004": "EPERM", "udp4 0.0.0.0 26004": "done",
		"tcp4 0.0.0.0 26000": "EPERM", "tcp4 0.0.0.0 26099": "EPERM", "tcp4 0.0.0.0 26100": "done", "tcp4 0.0.0.0 25999": "done", // of the range, of nobody
		"tcp4 0.0.0.0 25900": "done", "tcp4 127.0.0.2 25900": "EPERM", "tcp4 0.0.0.0 25901": "EPERM", "tcp4 127.0.0.3 25901": "EPERM", "tcp6 ::1 25901": "EPERM",
		"udp4 0.0.0.0 25902": "EPERM", "tcp4 0.0.0.0 25902": "done",
		"tcp4 0.0.0.0 0": "done", "udp4 0.0.0.0 0": "done", "tcp6 :: 0": "done", "udp6 ::1 0": "done",
		"tcp4 127.0.0.1 1 connect": "ECONNREFUSED", "udp4 127.0.0.1 26002 connect": "done", "tcp4 127.0.0.1 0 listen": "done", "tcp6 :: 0 listen": "done",
	}
	tried := slices.Collect(maps.Keys(want))
	for i, got := range strings.Fields(me(tried...)) {
		if what := tried[i]; got != want[what] {
			t.Errorf("%s: %s, not %s", what, got, want[what])
		}
	}
	if got := they("tcp4 0.0.0.0 26002", "tcp4 127.0.0.1 26001", "tcp4 0.0.0.0 26001", "tcp4 0.0.0.0 25901"); got != "done EPERM done done" {
		t.Errorf("the other one: %s", got)
	}
	if got := stranger("tcp4 0.0.0.0 26002", "tcp4 0.0.0.0 25901"); got != "done done" {
		t.Errorf("who is not guarded: %s", got)
	}

	// A second task of the allocation, in a network of its own: the ports are the allocation's as long as one of them runs.
	take(Task{Name: "b/2", Alloc: "b", Ports: ports("127.0.0.1 26002", "127.0.0.1 25901")})
	g.Leave("b/1")
	if got := me("tcp4 0.0.0.0 25901", "tcp4 0.0.0.0 25900", "tcp4 127.0.0.2 26001"); got != "EPERM done done" {
		t.Errorf("one of two ended: %s", got)
	}
	if got := they("tcp4 0.0.0.0 26002"); got != "done" {
		t.Errorf("what is left of an ended task: %s", got)
	}
	g.Leave("b/2")
	if got := me("tcp4 0.0.0.0 25901", "tcp4 0.0.0.0 26002"); got != "done EPERM" {
		t.Errorf("both ended: %s", got)
	}

	// What an allocation has changes, and a port is given to the next one before the last has let go of it.
	if err := g.Give("a", ports("127.0.0.1 26002", "127.0.0.1 25901")); err != nil {
		t.Fatal(err)
	}
	take(Task{Name: "d/1", Alloc: "d", Group: theirs, Ports: ports("127.0.0.1 25901")})
	if a, b := me("tcp4 0.0.0.0 26001", "tcp4 0.0.0.0 26002", "tcp4 127.0.0.1 25901"), they("tcp4 127.0.0.1 25901"); a != "EPERM done EPERM" || b != "done" {
		t.Errorf("changed: %s; %s", a, b)
	}
	g.Leave("d/1")
	if got := me("tcp4 127.0.0.1 25901"); got != "done" {
		t.Errorf("the next one ended first: %s", got)
	}
	if len(g.noted) != 10 { // 26002 and 25901, for two protocols: an address, an owner, and somebody for the latter
		t.Errorf("%d entries are noted", len(g.noted))
	}
}

// The guard holds when nobody is there, and whoever comes next takes over at once, with another range as well; groups below those of
// tasks are guarded as they are.
func TestTheGuardOutlivesWhoMadeIt(t *testing.T) {
	h := newHost(t)
	id, me := h.group("a")
	_, below := h.group("a/command")
	one := Task{Name: "a/1", Alloc: "a", Group: id, Ports: ports("127.0.0.1 26011")}
	try := []string{"tcp4 0.0.0.0 26011", "tcp4 0.0.0.0 26012", "tcp4 0.0.0.0 26112"}
	if got := me(try...); got != "done done done" {
		t.Errorf("before: %s", got)
	}
	for range 2 {
		g := h.open(one)
		if got := below(try...); got != "done EPERM done" {
			t.Errorf("below: %s", got)
		}
		g.Close()
		if got := me(try...); got != "done EPERM done" {
			t.Errorf("without anybody: %s", got)
		}
	}
	g, err := Open(h.dir, structs.Range{First: 26100, Last: 26199}, []Task{one})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if got := me(try...); got != "done done EPERM" {
		t.Errorf("another range: %s", got)
	}
	dir, err := os.Open(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	fds, err := attached(int(dir.Fd()), unix.BPF_CGROUP_INET6_BIND)
	if err != nil || len(fds) != 1 {
		t.Fatalf("%d programs are attached: %v", len(fds), err)
	}
	unix.Close(fds[0])
}

func TestNoGuardSaysWhy(t *testing.T) {
	h := newHost(t)
	if _, err := Open(h.dir+"/nothing", structs.Range{First: 1, Last: 2}, nil); !errors.Is(err, unix.ENOENT) {
		t.Errorf("%v", err)
	}
	plain := t.TempDir()
	if _, err := Open(plain, structs.Range{First: 1, Last: 2}, nil); !errors.Is(err, unix.EBADF) {
		t.Errorf("%v", err)
	}
	if _, err := load(unix.BPF_CGROUP_INET4_BIND, program(true, -1, -1, structs.Range{})); err == nil || !strings.Contains(err.Error(), "bpf: load a program") {
		t.Errorf("%v", err)
	}
}

func BenchmarkTake(b *testing.B) {
	g := &Guard{in: structs.Range{First: 20000, Last: 32000}, tasks: map[string]task{}, allocs: map[string]*alloc{}, noted: map[key][]uint64{}}
	var err error
	if g.owners, err = newMap(8, maxTasks); err != nil {
		b.Fatal(err)
	}
	if g.ports, err = newMap(keySize, maxPorts); err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	for b.Loop() {
		if err := g.Take(Task{Name: "a/1", Alloc: "a", Group: 7, Ports: ports("127.0.0.1 26001", "127.0.0.1 26002")}); err != nil {
			b.Fatal(err)
		}
		g.Leave("a/1")
	}
}
