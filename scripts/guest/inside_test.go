//go:build linux && soak

package guest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds each wait for something that must happen.
const patience = 5 * time.Minute

const groups = "/sys/fs/cgroup"

// inside is what runs in the guest: an agent as its users start it, and what the kernel thinks of its tasks.
func inside(t *testing.T) {
	t.Run("agent", func(t *testing.T) {
		a := newAgent(t, groups, exec.Command("proffer", "agent", "-dev"))
		t.Run("echo", a.echo)
		t.Run("limits", a.limits)
		t.Run("out of memory", a.outOfMemory)
		t.Run("death of the supervisor", a.deathOfSupervisor)
		a.stop(t)
		vanishes(t, groups+"/proffer")
	})
	t.Run("agent in a container", func(t *testing.T) {
		// What is special about a container: the group that the agent is in looks like the top of the hierarchy.
		box := groups + "/box"
		if err := os.Mkdir(box, 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(box)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd := exec.Command("sh", "-c", "umount /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec proffer agent -dev")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			UseCgroupFD: true, CgroupFD: int(f.Fd()), Unshareflags: syscall.CLONE_NEWCGROUP | syscall.CLONE_NEWNS,
		}
		a := newAgent(t, box, cmd)
		t.Run("limits", a.limits)
		t.Run("out of memory", a.outOfMemory)
		a.stop(t)
		vanishes(t, box+"/proffer")
		for _, dir := range []string{box + "/init", box} { // the supervisor goes there for its last moment
			await(t, "nobody is in "+dir, func() error { return os.Remove(dir) })
		}
	})
}

// vanishes waits until a control group is gone: the supervisor ends, and removes it, once the agent has let it go.
func vanishes(t *testing.T, group string) {
	t.Helper()
	await(t, "the control group is removed", func() error {
		if _, err := os.Stat(group); !errors.Is(err, os.ErrNotExist) {
			procs, _ := os.ReadFile(group + "/cgroup.procs")
			return fmt.Errorf("%s stays, with processes %q", group, procs)
		}
		return nil
	})
}

// await looks again and again until check has no error.
func await(t *testing.T, what string, check func() error) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for until := time.Now().Add(patience); ; <-ticker.C {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("waited %v until %s: %v", patience, what, err)
		}
	}
}

// agent is `proffer agent -dev`.
type agent struct {
	cmd   *exec.Cmd
	log   bytes.Buffer
	ended chan error // has the result
	top   string     // the group below which its groups are
}

// newAgent starts an agent and waits until its node is ready.
func newAgent(t *testing.T, top string, cmd *exec.Cmd) *agent {
	a := &agent{cmd: cmd, top: top, ended: make(chan error, 1)}
	cmd.Stdout, cmd.Stderr = &a.log, &a.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		a.ended <- cmd.Wait()
		close(a.ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-a.ended
		if t.Failed() {
			supervisors, _ := exec.Command("sh", "-c", "cat /tmp/proffer-dev-*/*/supervisor.log /tmp/proffer-dev-*/*/*/supervisor.log").Output()
			t.Logf("the agent said:\n%s\nits supervisor said:\n%s", a.log.Bytes(), supervisors)
		}
	})
	await(t, "the node is ready", func() error {
		select {
		case err := <-a.ended:
			t.Fatalf("the agent ended: %v", err)
		default:
		}
		out, err := exec.Command("proffer", "node", "status").CombinedOutput()
		if err == nil && !bytes.Contains(out, []byte("ready")) {
			err = fmt.Errorf("node status: %s", out)
		}
		return err
	})
	return a
}

// stop ends the agent as a service manager does.
func (a *agent) stop(t *testing.T) {
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-a.ended; err != nil {
		t.Errorf("the agent ended with %v", err)
	}
}

func text(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return strings.TrimSpace(string(b))
}

// run is `proffer run ARGS`, to its end.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "proffer", append([]string{"run", "-place-timeout", "2m"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func (a *agent) echo(t *testing.T) {
	if code, out, errs := run(t, "--", "echo", "hi"); code != 0 || out != "hi\n" {
		t.Errorf("code %d, stdout %q, stderr %q", code, out, errs)
	}
	if code, _, errs := run(t, "--", "sh", "-c", "exit 7"); code != 7 {
		t.Errorf("code %d, want 7; stderr %q", code, errs)
	}
}

// live is a task that runs until it is told to end.
type live struct {
	cmd   *exec.Cmd
	errs  bytes.Buffer
	out   *bufio.Reader
	group string // its folder below groups
}

// begin is `proffer run` of a task that stays and says its control group first.
func (a *agent) begin(t *testing.T, script string, args ...string) *live {
	t.Helper()
	args = append(append([]string{"run", "-place-timeout", "2m"}, args...), "--", "sh", "-c", "cat /proc/self/cgroup; "+script)
	l := &live{cmd: exec.Command("proffer", args...)}
	l.cmd.Stderr = &l.errs
	pipe, err := l.cmd.StdoutPipe()
	if err == nil {
		err = l.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	bound := time.AfterFunc(patience, func() { l.cmd.Process.Kill() }) // so that no read lasts for ever
	t.Cleanup(func() {
		bound.Stop()
		l.cmd.Process.Kill()
	})
	l.out = bufio.NewReader(pipe)
	path, ok := strings.CutPrefix(l.line(t), "0::/")
	if !ok || !strings.HasPrefix(path, "proffer/") {
		t.Fatalf("the task is in control group %q; stderr %q", path, l.errs.String())
	}
	l.group = filepath.Join(a.top, path)
	return l
}

func (l *live) line(t *testing.T) string {
	t.Helper()
	line, err := l.out.ReadString('\n')
	if err != nil {
		t.Fatalf("after %q: %v; stderr %q", line, err, l.errs.String())
	}
	return strings.TrimSpace(line)
}

// end waits for the command and returns its code; the task's control group must be gone, or go in a moment.
func (l *live) end(t *testing.T) int {
	t.Helper()
	io.Copy(io.Discard, l.out)
	l.cmd.Wait()
	vanishes(t, l.group)
	return l.cmd.ProcessState.ExitCode()
}

func (a *agent) limits(t *testing.T) {
	l := a.begin(t, "(setsid sleep 100000 &); echo ready; exec sleep 100000", "-cpu", "0.5", "-memory", "48MiB")
	l.line(t)
	for file, want := range map[string]string{
		"memory.max": strconv.Itoa(48 << 20), "memory.swap.max": "0", "cpu.weight": "50", "cgroup.events": "populated 1\nfrozen 0",
	} {
		if _, err := os.Stat(filepath.Join(l.group, file)); errors.Is(err, os.ErrNotExist) && strings.Contains(file, "swap") {
			continue // the kernel does not account swap
		}
		if got := text(t, filepath.Join(l.group, file)); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
	if n, err := strconv.Atoi(text(t, l.group+"/pids.max")); err != nil || n <= 0 {
		t.Errorf("pids.max: %v", err)
	}
	if n := len(processes(t, l.group)); n != 3 { // the stage and two sleeps
		t.Errorf("%d processes in the group", n)
	}
	l.cmd.Process.Signal(os.Interrupt)
	if code := l.end(t); code == 0 {
		t.Errorf("code %d after an interrupt", code)
	}
}

func (a *agent) outOfMemory(t *testing.T) {
	code, _, errs := run(t, "-memory", "24MiB", "--", "tail", "/dev/zero")
	if code != 137 || !strings.Contains(errs, "out of memory") {
		t.Errorf("code %d, stderr %q; want 137 and the reason", code, errs)
	}
}

// deathOfSupervisor kills the process whose children the tasks are. The task goes on, and the next supervisor takes it
// over with what it wrote meanwhile.
func (a *agent) deathOfSupervisor(t *testing.T) {
	l := a.begin(t, `trap 'echo told' USR1; trap 'exit 9' USR2; echo ready; while :; do sleep 0.1; done`)
	l.line(t)
	first := a.supervisor(t, l)
	shell := 0
	for _, pid := range processes(t, l.group) {
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))  // a sleep may be gone
		if string(name) == "sh\n" && (shell == 0 || pid < shell) { // the higher one is about to become a sleep
			shell = pid
		}
	}
	if shell == 0 {
		t.Fatal("the task has no shell")
	}
	syscall.Kill(first, syscall.SIGKILL)
	syscall.Kill(shell, syscall.SIGUSR1)
	if said := l.line(t); said != "told" {
		t.Errorf("the task said %q", said)
	}
	if next := a.supervisor(t, l); next == first {
		t.Errorf("supervisor %d lives", first)
	}
	syscall.Kill(shell, syscall.SIGUSR2)
	if code := l.end(t); code != 9 {
		t.Errorf("code %d, want 9; stderr %q", code, l.errs.String())
	}
}

// supervisor returns the process that started a task.
func (a *agent) supervisor(t *testing.T, l *live) int {
	t.Helper()
	var found []int
	for _, pid := range processes(t, filepath.Dir(l.group)+"/supervisor") {
		if cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); bytes.Contains(cmdline, []byte("\x00supervisor\x00")) {
			found = append(found, pid)
		}
	}
	if len(found) != 1 {
		t.Fatalf("supervisors: %v", found)
	}
	return found[0]
}

func processes(t *testing.T, group string) (pids []int) {
	t.Helper()
	for _, s := range strings.Fields(text(t, group+"/cgroup.procs")) {
		pid, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}
