//go:build linux && system && (amd64 || arm64)

package supervisor_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

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

// request asks for something of a file of the task's own.
func request(number uintptr) func() error {
	return func() error {
		f, err := os.Create("/tmp/request")
		if err != nil {
			return err
		}
		defer f.Close()
		var argument [32]byte
		return call(unix.SYS_IOCTL, f.Fd(), number, uintptr(unsafe.Pointer(&argument[0])))()
	}
}

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
	{"the project of a file", "EPERM", request(0x401c5820)},
	{"the project of a file in half a register", "EPERM", request(1<<32 | 0x401c5820)},
	{"flags of a file", "EPERM", request(0x40086602)},
	{"the terminal of a file", "ENOTTY", request(unix.TCGETS)},
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
	s := n.spec("", options...)
	s.Task.Config["command"], s.Task.Config["args"] = "/local/try", []any{"try"}
	n.tries(s)
	return s
}

// tries gives a task the program that makes the attempts, at /local/try.
func (n *node) tries(s *drivers.Spec) {
	n.t.Helper()
	self, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	binary, err := os.ReadFile(self)
	if err != nil {
		n.t.Fatal(err)
	}
	s.Env = append(s.Env, "OUTSIDE="+strconv.Itoa(os.Getpid()))
	s.Memory, s.MemoryMax = 512<<20, 512<<20
	if err := os.MkdirAll(filepath.Join(s.TaskDir, "local"), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.TaskDir, "local", "try"), binary, 0o755); err != nil {
		n.t.Fatal(err)
	}
}

// refused compares what the attempts of a task came to with what must be; but are not looked at.
func refused(t *testing.T, who, out string, but ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != len(attempts) {
		t.Fatalf("%s: %d of %d attempts: %s", who, len(lines), len(attempts), out)
	}
	for i, line := range lines {
		a := attempts[i]
		got := strings.TrimPrefix(line, a.name+" ")
		if !slices.Contains(but, a.name) && (a.want == "" && got == "done" || a.want != "" && got != a.want) {
			t.Errorf("%s: %s: %s", who, a.name, got)
		}
	}
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
		if exit.Code != 0 {
			t.Errorf("%s: %+v: %s", who, exit, n.output(s, logs.Stderr))
		}
		refused(t, who, out)
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
