//go:build linux && system

package supervisor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/proffer/proffer/client/logs"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// container is the spec of a task that runs a shell script in busybox.
func (p *pier) container(script string, with map[string]any) *drivers.Spec {
	s := p.spec(script)
	s.Task.Config = map[string]any{"image": p.image, "command": "/bin/sh", "args": []any{"-c", script}}
	for k, v := range with {
		s.Task.Config[k] = v
	}
	return s
}

// quick is the spec of a container that ends at once; it may be made from several goroutines.
func (p *pier) quick() *drivers.Spec {
	n := p.number.Add(1)
	alloc := filepath.Join(p.dir, "quick", strconv.FormatInt(n, 10))
	return &drivers.Spec{ID: fmt.Sprintf("quick%d/t/1", n), Env: []string{"A=1"}, CPU: 100, Memory: 64 << 20, MemoryMax: 64 << 20,
		AllocDir: alloc + "/alloc", TaskDir: alloc + "/t", LogDir: alloc + "/logs",
		Task: &structs.Task{Name: "t", Config: map[string]any{"image": p.image, "command": "/bin/true"}}}
}

// run runs a container to its end and returns what it wrote.
func (p *pier) run(t testing.TB, s *drivers.Spec) (drivers.Exit, string) {
	t.Helper()
	task, err := p.driver().Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	exit, err := task.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := task.Destroy(t.Context()); err != nil {
		t.Error(err)
	}
	return exit, p.output(s, logs.Stdout)
}

// TestOCIInside: what a container is, seen from inside.
func TestOCIInside(t *testing.T) {
	p := newPier(t)
	_, out := p.run(t, p.container(`
id
pwd; echo $HOME $FROM $MINE
echo "first $$"; ls -d /proc/[0-9]* | wc -l
cat /proc/self/status | while read a b; do case $a in NoNewPrivs:|Seccomp:|CapEff:) echo $a $b;; esac; done
echo x > /home/no 2>/dev/null && echo "the home of somebody else is writable"
echo x > /local/a && echo x > /secrets/b && echo x > /alloc/c && echo x > /tmp/d && echo "folders are writable"
mount -t tmpfs x /tmp 2>/dev/null && echo mounted
cat /dev/zero | head -c 3 | wc -c
ls /dev`, map[string]any{"hostname": "box"}))
	want := `uid=4321(app) gid=4322(app) groups=4400(extra)
/home
/local image
first 1
`
	if !strings.HasPrefix(out, want) {
		t.Errorf("got %q", out)
	}
	for _, part := range []string{"CapEff: 0000000000000000\n", "NoNewPrivs: 1\n", "Seccomp: 2\n", "\nfolders are writable\n3\n"} {
		if !strings.Contains(out, part) {
			t.Errorf("%q is not in %q", part, out)
		}
	}
	for _, part := range []string{"mounted", "sda", "vda", "kmsg", "somebody else"} {
		if strings.Contains(out, part) {
			t.Errorf("%q is in %q", part, out)
		}
	}
}

// TestOCIEscapes: root in a container tries what root can do, and nothing of it reaches the host.
func TestOCIEscapes(t *testing.T) {
	p := newPier(t)
	pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil {
		t.Fatal(err)
	}
	s := p.container(`
try() { "$@" >/dev/null 2>&1 && echo "done: $*"; }
try mount -t proc x /tmp
try mount -o remount,rw /sys
try mknod /tmp/disk b 254 0
try mknod /dev/kmem2 c 1 2
try mknod /disk b 254 0
try touch /sys/x
try sh -c '[ $(head -c 1 /proc/kcore | wc -c) -gt 0 ]'
try sh -c 'echo x > /proc/sys/kernel/core_pattern'
try sh -c 'echo b > /proc/sysrq-trigger'
try sh -c 'echo 1 > /sys/kernel/uevent_helper'
try ls /proc/1/root/home/../../../../etc/proffer.d
try sh -c 'kill -9 '$OUTSIDE
for group in /sys/fs/cgroup /sys/fs/cgroup/*; do
	try mkdir $group/x
	try sh -c "echo 0 > $group/cgroup.procs"
	try sh -c "echo 1 > $group/pids.max"
done
echo over`, nil)
	s.User = "0"
	s.Env = append(s.Env, "OUTSIDE="+strconv.Itoa(os.Getpid()))
	_, out := p.run(t, s)
	if out != "over\n" {
		t.Errorf("got %q", out)
	}
	if now, _ := os.ReadFile("/proc/sys/kernel/core_pattern"); string(now) != string(pattern) {
		t.Error("the core pattern was changed")
	}
	// What exec tasks must not be able to do. The first process is the container's own, control groups may be seen, and root may have
	// what an engine gives it.
	var libraries []any
	for _, dir := range []string{"/lib", "/lib64"} { // of this binary
		if at, err := filepath.EvalSymlinks(dir); err == nil {
			libraries = append(libraries, map[string]any{"source": at, "target": dir, "read_only": true})
			p.opts.HostPaths = append(p.opts.HostPaths, at)
		}
	}
	for _, who := range []string{"0", "65534"} {
		s := p.container("exec /local/try try", map[string]any{"mount": libraries})
		s.User = who
		p.tries(s)
		_, out := p.run(t, s)
		refused(t, who, out, "trace the first process", "read the first process", "a control group", "chroot")
	}
	// A fork bomb and one for memory end in their own limits.
	s = p.container(`exec 2>/dev/null; i=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i+1)); done; echo all`, map[string]any{"pids": 20})
	exit, out := p.run(t, s)
	if strings.Contains(out, "all") || exit.Code == 0 {
		t.Errorf("200 processes with 20 allowed: %+v %q", exit, out)
	}
}

// TestOCIMounts: what mount blocks may show, and that links do not lead elsewhere.
func TestOCIMounts(t *testing.T) {
	p := newPier(t)
	shared := filepath.Join(p.dir, "shared")
	if err := os.MkdirAll(filepath.Join(shared, "sub"), 0o777); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(shared, "sub", "file"), []byte("of the node"), 0o644)
	os.Symlink("/etc", filepath.Join(shared, "link"))
	bind := func(source string, ro bool) map[string]any {
		return map[string]any{"mount": []any{map[string]any{"source": source, "target": "/x", "read_only": ro}}}
	}
	s := p.container(`cat /x/file; touch /x/new 2>/dev/null && echo written; touch /root-file 2>/dev/null && echo root`, bind(shared+"/sub", true))
	s.Task.Config["read_only"] = true
	s.User = "0"
	if _, out := p.run(t, s); out != "of the node" {
		t.Errorf("got %q", out)
	}
	for _, source := range []string{shared + "/link", "/etc", shared + "x", shared + "/none"} {
		s := p.container("true", bind(source, false))
		if _, err := p.driver().Start(t.Context(), s); err == nil {
			t.Errorf("%s was mounted", source)
		}
	}
	// The task's own folder, where an earlier start left a link.
	s = p.container("true", bind("local/data", false))
	if err := s.MakeFolders(0, 0); err != nil {
		t.Fatal(err)
	}
	os.Symlink("/etc", filepath.Join(s.TaskDir, "local", "data"))
	if _, err := p.driver().Start(t.Context(), s); err == nil {
		t.Error("a link out of the task's folder was mounted")
	}
}

// TestOCIInit: with init, a program without a handler ends on SIGTERM, orphans are reaped, and the exit code is the program's.
func TestOCIInit(t *testing.T) {
	p := newPier(t)
	with := map[string]any{"init": true, "read_only": true}
	if exit, out := p.run(t, p.container(`cat /proc/1/cmdline | head -c 11; echo; (sh -c 'sleep 0.01 & kill -9 $$' &); while :; do
n=0; for s in /proc/[0-9]*/stat; do read a b state rest < $s; n=$((n+1)); [ $state = Z ] && n=9; done; [ $n -le 2 ] && break; done 2>/dev/null; echo reaped; exit 7`, with)); exit.Code != 7 || out != "/dev/launch\nreaped\n" {
		t.Errorf("%+v %q", exit, out)
	}
	s := p.container("echo up; exec sleep 1000", with)
	task, err := p.driver().Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	p.until(s, "up")
	if err := task.Stop(t.Context(), "SIGTERM", patience); err != nil {
		t.Fatal(err)
	}
	if exit, err := task.Wait(t.Context()); err != nil || exit.Code != 128+15 {
		t.Errorf("%+v %v", exit, err)
	}
	if err := task.Destroy(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestOCISurvives: the supervisor and the agent are killed; the container goes on, and its output and exit status are there.
func TestOCISurvives(t *testing.T) {
	p := newPier(t)
	s := p.container(`echo before; while ! [ -e /alloc/go ]; do sleep 0.05; done; echo after; exit 6`, nil)
	task, err := p.driver().Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	syscall.Kill(p.serving(), syscall.SIGKILL) // and what comes after it takes over
	found, err := p.driver().Recover(t.Context(), s, task.Handle())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := found.Stats(t.Context()); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(s.AllocDir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	exit, err := found.Wait(t.Context())
	if err != nil || exit.Code != 6 {
		t.Errorf("%+v %v", exit, err)
	}
	if out := p.output(s, logs.Stdout); out != "before\nafter\n" {
		t.Errorf("output %q", out)
	}
	if err := found.Destroy(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestOCITerminal: a container on a terminal, which its runtime makes, outlives supervisor and agent.
func TestOCITerminal(t *testing.T) {
	p := newPier(t)
	typesFor(t, p.node, p.container(conversation, nil), p.driver())
	p.opts.Runtime = "crun"
	if p.driver().Fingerprint(t.Context()).Healthy {
		typesFor(t, p.node, p.container(conversation, nil), p.driver())
	}
}

// TestOCIRuntimeFails: a runtime that fails, is killed, or leaves nothing: no task, and nothing left.
func TestOCIRuntimeFails(t *testing.T) {
	p := newPier(t)
	for name, script := range map[string]string{
		"fails":   "exit 3",
		"nothing": "exit 0",
		"killed":  "kill -9 $$",
		"lies":    `for a; do [ "$last" = --pid-file ] && echo 1 > "$a"; last=$a; done; exit 0`,
		"child":   "sleep 1000 & exit 4",
	} {
		fake := filepath.Join(p.dir, "runtime-"+name)
		if err := os.WriteFile(fake, []byte("#!/bin/sh\n[ \"$1\" = --version ] && echo fake && exit 0\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		p.opts.Runtime = fake
		s := p.container("true", nil)
		d := p.driver()
		if _, err := d.Start(t.Context(), s); err == nil {
			t.Errorf("%s: it was started", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
		if _, err := d.Recover(t.Context(), s, nil); err == nil {
			t.Errorf("%s: there is a task", name)
		}
	}
	// One for which the disk is full is the node's trouble, and not the task's.
	full := filepath.Join(p.dir, "runtime-full")
	os.WriteFile(full, []byte(`#!/bin/sh
[ "$1" = --version ] && echo fake && exit 0
while [ "$1" != --log ]; do shift; done
echo '{"level":"error","msg":"mkdir x: no space left on device"}' > "$2"
exit 1
`), 0o755)
	p.opts.Runtime = full
	if _, err := p.driver().Start(t.Context(), p.container("true", nil)); structs.KindOf(err) != structs.Exhausted {
		t.Errorf("%v", err)
	}
	// One that hangs is given up in time.
	fake := filepath.Join(p.dir, "runtime-hangs")
	os.WriteFile(fake, []byte("#!/bin/sh\n[ \"$1\" = --version ] && echo fake && exit 0\nsleep 1000\n"), 0o755)
	p.opts.Runtime = fake
	p.opts.StartTimeout = 300 * time.Millisecond
	s := p.container("true", nil)
	d := p.driver()
	if _, err := d.Start(t.Context(), s); structs.KindOf(err) != structs.Unknown || !strings.Contains(err.Error(), "in time") {
		t.Errorf("it was started by a runtime that hangs: %v", err)
	}
	if _, err := d.Recover(t.Context(), s, nil); structs.KindOf(err) != structs.NotFound { // it waits until the supervisor has ended it
		t.Error(err)
	}
}
