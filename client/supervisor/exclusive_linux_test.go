//go:build linux && system && (amd64 || arm64)

package supervisor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// needs skips a test where the host cannot do what it is about; why is what the supervisor says.
func (n *node) needs(t *testing.T, why func(cores, io string) string) {
	t.Helper()
	f, err := n.client.Features(n.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if why := why(f.NoCores, f.NoIO); why != "" {
		t.Skip(why)
	}
}

// A task with a core of its own runs there, with its commands, and every other one, older or younger, keeps off it as long as it runs.
func TestACoreOfItsOwn(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	n.needs(t, func(cores, _ string) string { return cores })
	const allowed = `grep ^Cpus_allowed_list: /proc/self/status | tr -d ' \t'`
	say := func(text string) string { return "Cpus_allowed_list:" + text + "\n" }
	before := n.spec(`while :; do ` + allowed + ` > /alloc/new; mv /alloc/new /alloc/cores; sleep 0.02; done`)
	n.start(before)
	until := func(want string) {
		t.Helper()
		for {
			got, _ := os.ReadFile(filepath.Join(before.AllocDir, "cores"))
			if string(got) == want {
				return
			}
			if n.ctx.Err() != nil {
				n.fatalf("the older task may run on %s, want %s", got, want)
			}
		}
	}
	_, all := n.run(n.spec(allowed))
	if all != say("0-1") {
		t.Skipf("it is written for two cores: %s", all)
	}
	until(all)
	pinned := n.spec(allowed+`; echo ready; exec sleep 100000`, func(s *drivers.Spec) { s.Cores = []int{1} })
	task := n.start(pinned)
	if out := n.until(pinned, "ready"); !strings.HasPrefix(out, say("1")) {
		t.Errorf("it may run on %s", out)
	}
	var out strings.Builder
	if _, err := task.Exec(n.ctx, drivers.Command{Args: []string{"/bin/sh", "-c", allowed}, Stdout: &out}); err != nil || out.String() != say("1") {
		t.Errorf("a command in it: %s, %v", out.String(), err)
	}
	until(say("0"))
	for _, isolation := range []string{"full", "none"} {
		if _, got := n.run(n.spec(allowed, config("isolation", isolation))); got != say("0") {
			t.Errorf("a younger task, isolation %s: %s", isolation, got)
		}
	}
	// Another supervisor knows it too, and one with all cores taken lets the others run somewhere.
	n.client.Close()
	n.connect()
	found, err := n.driver.Recover(n.ctx, pinned, nil)
	if err != nil {
		t.Fatal(err)
	}
	second := n.spec(`echo ready; exec sleep 100000`, func(s *drivers.Spec) { s.Cores = []int{0} })
	other := n.start(second)
	n.until(second, "ready")
	until(all)
	for _, one := range []drivers.Task{other, found} {
		if err := one.Stop(n.ctx, "SIGKILL", 0); err != nil {
			t.Fatal(err)
		}
		n.wait(one)
		if one == other {
			until(say("0"))
		}
	}
	until(all)
}

// A bound of disk use is in the words of the kernel, and it is kept: the test does not look at a clock, but at what the kernel says of
// its own waiting.
func TestDiskUseIsBounded(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	n.needs(t, func(_, io string) string { return io })
	s := n.spec(`echo ready; exec sleep 100000`, func(s *drivers.Spec) {
		s.IO = &structs.TaskIO{ReadBps: 8 << 20, WriteBps: 4 << 20, ReadIops: 300, WriteIops: 200}
	})
	task := n.start(s)
	n.until(s, "ready")
	status, err := n.client.Status(n.ctx, s.ID)
	if err != nil {
		t.Fatal(err)
	}
	groups := groupsOf(t, status.PID)
	want := map[string]string{"blkio.throttle.read_bps_device": " 8388608", "blkio.throttle.write_bps_device": " 4194304",
		"blkio.throttle.read_iops_device": " 300", "blkio.throttle.write_iops_device": " 200"}
	dir := groups["blkio"]
	if groups["memory"] == "" {
		want, dir = map[string]string{"io.max": " rbps=8388608 wbps=4194304 riops=300 wiops=200"}, groups[""]
	}
	for file, value := range want {
		if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || !strings.HasSuffix(strings.TrimSpace(string(got)), value) {
			t.Errorf("%s is %q, %v; want …%s", file, got, err, value)
		}
	}
	if err := task.Stop(n.ctx, "SIGKILL", 0); err != nil {
		t.Fatal(err)
	}
	n.wait(task)
	for _, dir := range groups {
		if filepath.Base(dir) == "shared" {
			continue
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s stays after the end: %v", dir, err)
		}
	}
}

// devicesOf makes nodes like those of two GPUs; their numbers are those of harmless devices.
func devicesOf(t *testing.T, dir string) []drivers.Device {
	t.Helper()
	var out []drivers.Device
	for i, name := range []string{"nvidia0", "nvidia1", "nvidiactl"} {
		path := filepath.Join(dir, name)
		if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, [3]uint32{5, 7, 3}[i]))); err != nil {
			t.Fatal(err)
		}
		d := drivers.Device{Host: path, Path: "/dev/" + name, Perms: "rw"}
		if i < 2 {
			d.ID = fmt.Sprintf("GPU-%d", i)
		}
		out = append(out, d)
	}
	return out
}

// What a task has for itself it sees and can use as whoever it is, with what every task has beside it; nobody else sees any of it.
func TestDevicesOfATask(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	devices := devicesOf(t, n.dir)
	const look = `ls /dev | tr '\n' ' '; echo; head -c 3 /dev/nvidia1 2>/dev/null | wc -c; head -c 3 /dev/nvidia0 2>/dev/null | wc -c; echo x > /dev/null && echo x > /dev/shm/x && touch /dev/x 2>/dev/null || echo alone; [ -c /dev/ptmx ] && echo terminal; tty -s < /dev/tty; echo over`
	for _, who := range []string{"root", "nobody"} {
		_, out := n.run(n.spec(look, func(s *drivers.Spec) { s.User, s.Devices = who, []drivers.Device{devices[0], devices[2]} }))
		if want := "fd full null nvidia0 nvidiactl ptmx pts random shm stderr stdin stdout tty urandom zero \n0\n3\nalone\nterminal\nover\n"; out != want {
			t.Errorf("%s: got %q, want %q", who, out, want)
		}
	}
	if _, out := n.run(n.spec(look)); strings.Contains(out, "nvidia") || !strings.Contains(out, "alone\n") {
		t.Errorf("another task: %q", out)
	}
	for name, d := range map[string]drivers.Device{
		"no device": {Host: filepath.Join(n.dir), Path: "/dev/x", Perms: "rw"}, "missing": {Host: "/dev/no such", Path: "/dev/x", Perms: "rw"},
		"elsewhere": {Host: devices[0].Host, Path: "/dev/../etc/x", Perms: "rw"},
	} {
		if _, err := n.driver.Start(n.ctx, n.spec("true", func(s *drivers.Spec) { s.Devices = []drivers.Device{d} })); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
}
