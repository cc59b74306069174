//go:build linux && system && (amd64 || arm64)

package supervisor_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/client/logs"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/structs"
)

// As the program of a task, the test binary tries what a task must not be able to do, and says how that went.
func init() {
	if len(os.Args) != 2 || os.Args[1] != "try" {
		return
	}
	for _, a := range attempts {
		err := a.do()
		name := "done"
		var errno syscall.Errno
		if errors.As(err, &errno) {
			name = unix.ErrnoName(errno)
		} else if err != nil {
			name = err.Error()
		}
		fmt.Printf("%s %s\n", a.name, name)
	}
	os.Exit(0)
}

func call(number uintptr, args ...uintptr) func() error {
	return func() error {
		var a [6]uintptr
		copy(a[:], args)
		_, _, errno := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
		if errno != 0 {
			return errno
		}
		return nil
	}
}

func writes(path, text string) func() error {
	return func() error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.WriteString(f, text)
		return err
	}
}

// socket asks for a family with bits in the upper half of the register, which the kernel does not look at.
func socket(family uintptr) func() error { return call(unix.SYS_SOCKET, family, unix.SOCK_DGRAM, 0) }

// attempts are refused with the given errors, or with one of several; empty: whatever it is, it is refused.
var attempts = []struct {
	name, want string
	do         func() error
}{
	{"user namespace", "EPERM", call(unix.SYS_UNSHARE, unix.CLONE_NEWUSER)},
	{"user namespace by clone", "EPERM", call(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD))},
	{"clone3", "ENOSYS", call(unix.SYS_CLONE3, 0, 0)},
	{"mount namespace", "EPERM", call(unix.SYS_UNSHARE, unix.CLONE_NEWNS)},
	{"setns", "EPERM", call(unix.SYS_SETNS, ^uintptr(0), 0)},
	{"mount", "EPERM", func() error { return unix.Mount("x", "/tmp", "tmpfs", 0, "") }},
	{"open_tree", "EPERM", call(unix.SYS_OPEN_TREE, ^uintptr(0), 0, 0)},
	{"pivot_root", "EPERM", func() error { return unix.PivotRoot(".", ".") }},
	{"umount", "EPERM", func() error { return unix.Unmount("/proc", unix.MNT_DETACH) }},
	{"bpf", "EPERM", call(unix.SYS_BPF, 0, 0, 0)},
	{"perf", "EPERM", call(unix.SYS_PERF_EVENT_OPEN, 0, 0, 0, 0, 0)},
	{"io_uring", "EPERM", call(unix.SYS_IO_URING_SETUP, 1, 0)},
	{"userfaultfd", "EPERM", call(unix.SYS_USERFAULTFD, 0)},
	{"keys", "EPERM", call(unix.SYS_KEYCTL, 0, 0)},
	{"a module", "EPERM", call(unix.SYS_FINIT_MODULE, ^uintptr(0), 0, 0)},
	{"kexec", "EPERM", call(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0)},
	{"reboot", "EPERM", call(unix.SYS_REBOOT, 0, 0, 0, 0)},
	{"swap", "EPERM", call(unix.SYS_SWAPOFF, 0)},
	{"the clock", "EPERM", call(unix.SYS_SETTIMEOFDAY, 0, 0)},
	{"file handles", "EPERM", call(unix.SYS_OPEN_BY_HANDLE_AT, 0, 0, 0)},
	{"vsock", "EPERM", socket(unix.AF_VSOCK)},
	{"vsock in half a register", "EPERM", socket(1<<32 | unix.AF_VSOCK)},
	{"alg", "EPERM", socket(unix.AF_ALG)},
	{"personality", "EPERM", call(unix.SYS_PERSONALITY, 0x0400000)},
	{"an inet socket", "done", socket(unix.AF_INET)},
	{"x32", "ENOSYS", call(0x40000000+39, 0)},
	{"trace the first process", "", call(unix.SYS_PTRACE, unix.PTRACE_ATTACH, 1)},
	{"read the first process", "", func() error { _, err := os.ReadFile("/proc/1/environ"); return err }},
	{"kill the host's", "ESRCH", func() error {
		pid, _ := strconv.Atoi(os.Getenv("OUTSIDE"))
		return unix.Kill(pid, 0)
	}},
	{"setuid", "", func() error {
		if os.Getuid() == 0 {
			return errors.New("root")
		}
		return call(unix.SYS_SETUID, 0)()
	}},
	{"a device", "", func() error { return unix.Mknod("/tmp/disk", unix.S_IFBLK|0o666, int(unix.Mkdev(254, 0))) }},
	{"chroot", "", func() error { return unix.Chroot("/tmp") }},
	{"sysrq", "", writes("/proc/sysrq-trigger", "h")},
	{"core_pattern", "", writes("/proc/sys/kernel/core_pattern", "x")},
	{"kcore", "", func() error { _, err := os.ReadFile("/proc/kcore"); return nothing(err, "/proc/kcore") }},
	{"interrupts", "", func() error { _, err := os.ReadFile("/proc/interrupts"); return nothing(err, "/proc/interrupts") }},
	{"a control group", "", func() error {
		for _, path := range []string{"/sys/fs/cgroup", "/sys"} {
			if entries, _ := os.ReadDir(path); len(entries) > 0 {
				return nil
			}
		}
		return errors.New("unseen")
	}},
	{"a file that changes the user", "", func() error {
		if os.Getuid() == 0 {
			return errors.New("root")
		}
		return nosuid("/usr")
	}},
}

// nothing is an error where a file has nothing in it.
func nothing(err error, path string) error {
	if info, statErr := os.Stat(path); err == nil && statErr == nil && info.Size() == 0 {
		if b, _ := os.ReadFile(path); len(b) == 0 {
			return errors.New("empty")
		}
	}
	return err
}

func nosuid(path string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return err
	}
	if st.Flags&unix.ST_NOSUID != 0 {
		return errors.New("nosuid")
	}
	return nil
}

// trying is a task that makes the attempts.
func (n *node) trying(options ...option) *drivers.Spec {
	n.t.Helper()
	self, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	binary, err := os.ReadFile(self)
	if err != nil {
		n.t.Fatal(err)
	}
	s := n.spec("", options...)
	s.Task.Config["command"], s.Task.Config["args"] = "/local/try", []any{"try"}
	s.Env = append(s.Env, "OUTSIDE="+strconv.Itoa(os.Getpid()))
	s.Memory, s.MemoryMax = 512<<20, 512<<20
	if err := os.MkdirAll(filepath.Join(s.TaskDir, "local"), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.TaskDir, "local", "try"), binary, 0o755); err != nil {
		n.t.Fatal(err)
	}
	return s
}

// A task, root or not, tries to get out, or to get at what the kernel has for root.
func TestEscapes(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{"root", "nobody"} {
		s := n.trying(func(s *drivers.Spec) { s.User = who })
		exit, out := n.run(s)
		if lines := strings.Count(out, "\n"); exit.Code != 0 || lines != len(attempts) {
			t.Errorf("%s: %+v, %d of %d attempts: %s", who, exit, lines, len(attempts), n.output(s, logs.Stderr))
		}
		for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
			a := attempts[i]
			got := strings.TrimPrefix(line, a.name+" ")
			if a.want == "" && got == "done" || a.want != "" && got != a.want && !(a.name == "x32" && got == "ENOSYS") {
				t.Errorf("%s: %s: %s", who, a.name, got)
			}
		}
	}
	if now, _ := os.ReadFile("/proc/sys/kernel/core_pattern"); string(now) != string(pattern) {
		t.Error("the core pattern was changed")
	}
}

// It is the filter that keeps a task from making user namespaces, and only a node that allows it starts one without; the commands in a
// task are under it as well.
func TestAFilterUnlessAllowed(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	const mode = `grep ^Seccomp: /proc/self/status | tr -d '\t'`
	s := n.spec(mode + `; echo ready; exec sleep 100000`)
	task := n.start(s)
	if out := n.until(s, "ready"); !strings.HasPrefix(out, "Seccomp:2\n") {
		t.Errorf("the task: %q", out)
	}
	var out strings.Builder
	if _, err := task.Exec(n.ctx, drivers.Command{Args: []string{"/bin/sh", "-c", mode}, Stdout: &out}); err != nil || out.String() != "Seccomp:2\n" {
		t.Errorf("a command: %q, %v", out.String(), err)
	}
	if _, err := n.driver.Start(n.ctx, n.spec(mode, config("seccomp", "unconfined"))); structs.KindOf(err) != structs.Forbidden {
		t.Errorf("without permission: %v", err)
	}
	n.driver = exec.New(n.client, exec.Options{AllowUnconfined: true, AllowNone: true})
	s = n.trying(config("seccomp", "unconfined"), func(s *drivers.Spec) { s.User = "nobody" })
	if _, got := n.run(s); !strings.Contains(got, "\nx32 ") || strings.Contains(got, "clone3 ENOSYS") || strings.Contains(got, "\nalg EPERM") {
		t.Errorf("unconfined: %s", got)
	}
	if _, got := n.run(n.spec(mode, none)); got != "Seccomp:0\n" {
		t.Errorf("without isolation: %q", got)
	}
}

// counting is a task that counts, and advanced returns once it has counted on by some: whoever waits for that knows that it answers.
func (n *node) counting() (advanced func()) {
	n.t.Helper()
	s := n.spec(`i=0; while :; do i=$((i+1)); echo $i > /alloc/new; mv /alloc/new /alloc/count; done`)
	n.start(s)
	read := func() int {
		raw, _ := os.ReadFile(filepath.Join(s.AllocDir, "count"))
		i, _ := strconv.Atoi(strings.TrimSpace(string(raw)))
		return i
	}
	return func() {
		n.t.Helper()
		for from := read(); read() < from+50; {
			if n.ctx.Err() != nil {
				n.fatalf("the neighbour stands still at %d", from)
			}
		}
	}
}

// While a task bombs with processes or memory, its neighbour goes on and new tasks start.
func TestANeighbourOfBombs(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	advanced := n.counting()
	forks := n.spec(`bomb() { while :; do (setsid sh -c "sleep 100000; :" &); done 2>/dev/null; }; trap '' TERM; bomb & bomb & echo ready; exec sleep 100000`,
		config("pids", 60))
	first := n.start(forks)
	n.until(forks, "ready")
	memory := n.spec(`echo ready; while :; do tail /dev/zero; done`, func(s *drivers.Spec) { s.Memory, s.MemoryMax = 32<<20, 32<<20 })
	second := n.start(memory)
	n.until(memory, "ready")
	kills := func() int {
		s, err := second.Stats(n.ctx)
		if err != nil {
			n.fatalf("%v", err)
		}
		return s.OOMKills
	}
	for kills() < 3 {
		advanced()
	}
	if exit, out := n.run(n.spec(`echo here`)); exit.Code != 0 || out != "here\n" {
		t.Errorf("a third task: %+v %q", exit, out)
	}
	for _, task := range []drivers.Task{first, second} {
		if err := task.Stop(n.ctx, "SIGKILL", 0); err != nil {
			t.Error(err)
		}
		n.wait(task)
	}
	advanced()
}
