//go:build linux && system

package supervisor_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/proffer/proffer/client/logs"
	"github.com/proffer/proffer/client/supervisor"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/structs"
)

func needRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the system tests need root")
	}
}

func nobody(s *drivers.Spec) { s.User = "nobody" }

func TestIsolation(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	for _, who := range []string{"root", "nobody"} {
		s := n.spec(`
echo "self $$ init $(tr '\0' ' ' < /proc/1/comm)"
echo "processes $(ls -d /proc/[0-9]* | wc -l)"
grep -E '^(CapEff|CapPrm|CapBnd|CapAmb|NoNewPrivs):' /proc/self/status | tr '\t\n' '  '; echo
touch /usr/x 2>/dev/null && echo "usr is writable"
touch /etc/x 2>/dev/null && echo "etc is writable"
touch /x 2>/dev/null && echo "root is writable"
for f in /etc/shadow /etc/gshadow; do [ -e $f ] && ! [ -s $f ] || echo "$f has something"; done
echo x > /local/a && echo x > /secrets/b && echo x > /alloc/c && echo x > /tmp/d && echo "folders are writable"
echo core > /proc/sys/kernel/core_pattern 2>/dev/null && echo "core_pattern is writable"
cat /proc/1/environ >/dev/null 2>&1 && echo "init can be read"
[ -d "$SUPERVISOR" ] && echo "the data folder is visible"
ls -l /proc/self/fd | grep -vE 'total|pipe|null|/proc| [0-9]$' # the last one is what busybox says of the folder that it lists
cat /dev/zero | head -c 3 | wc -c
mount -t tmpfs x /tmp 2>/dev/null && echo "mount works"
df /dev/shm >/dev/null && echo hi > /dev/shm/x && echo "shm works"
id -u
pwd
hostname`, func(s *drivers.Spec) {
			s.User = who
			s.Env = append(s.Env, "SUPERVISOR="+n.opts.Dir)
		})
		exit, out := n.run(s)
		host, _ := os.Hostname()
		uid := map[string]string{"root": "0", "nobody": "65534"}[who]
		want := "self 2 init proffer-task\n" + "processes 2" // and what the pipeline forks, see below
		if !strings.HasPrefix(out, "self 2 init proffer-task") {
			t.Errorf("%s: wrong beginning, want %q", who, want)
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if len(lines) != 9 {
			t.Errorf("%s: something is open:\n%s\n%s", who, out, n.output(s, logs.Stderr))
			continue
		}
		var count int
		fmt.Sscanf(lines[1], "processes %d", &count)
		if count < 2 || count > 5 {
			t.Errorf("%s: %d processes in /proc", who, count)
		}
		zero := "0000000000000000"
		if got := lines[2]; got != fmt.Sprintf("CapPrm: %s CapEff: %s CapBnd: %s CapAmb: %s NoNewPrivs: 1 ", zero, zero, zero, zero) {
			t.Errorf("%s: rights %q", who, got)
		}
		if got := strings.Join(lines[3:], "|"); got != "folders are writable|3|shm works|"+uid+"|/local|"+host {
			t.Errorf("%s: %q", who, got)
		}
		if exit.Code != 0 {
			t.Errorf("%s: %+v", who, exit)
		}
		for path, owner := range map[string]string{"local/a": uid, "secrets/b": uid, "tmp/d": uid} {
			info, err := os.Stat(filepath.Join(s.TaskDir, path))
			if err != nil || fmt.Sprint(info.Sys().(*syscall.Stat_t).Uid) != owner {
				t.Errorf("%s: %s: %v, %v", who, path, info, err)
			}
		}
	}
}

func TestCapabilitiesAndLimitsThatWereAskedFor(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	_, out := n.run(n.spec(`grep CapEff /proc/self/status; ulimit -n; ulimit -c`, nobody,
		config("cap_add", []any{"CAP_NET_BIND_SERVICE"}), config("rlimits", map[string]any{"nofile": 512, "core": 0})))
	if want := "CapEff:\t0000000000000400\n512\n0\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

// Limits of priorities are limits as others, and one that the kernel gives nobody here ends the start for good, with the reason.
func TestLimitsOfTheNode(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	_, out := n.run(n.spec(`grep -cE 'Max (nice|realtime) priority +0 +0|Max realtime timeout +1000000 +1000000' /proc/self/limits`, nobody,
		config("rlimits", map[string]any{"nice": 0, "rtprio": 0, "rttime": 1000000})))
	if out != "3\n" {
		t.Errorf("%q of 3 limits", out)
	}
	raw, err := os.ReadFile("/proc/sys/fs/nr_open")
	if err != nil {
		t.Fatal(err)
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	for _, options := range [][]option{nil, {none}} {
		_, err = n.driver.Start(n.ctx, n.spec("true", append(options, config("rlimits", map[string]any{"nofile": most + 1}))...))
		if want := fmt.Sprintf("nofile %d, the node has ", most+1); structs.KindOf(err) != structs.Forbidden || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestANetworkOfItsOwn(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	_, out := n.run(n.spec(`tail -n +3 /proc/net/dev | tr -d ' ' | cut -d: -f1; echo < /dev/tcp/127.0.0.1/1`,
		config("network", "none")))
	if out != "lo\n" {
		t.Errorf("interfaces: %q", out)
	}
}

func TestAnOOMIsReported(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	exit, _ := n.run(n.spec(`exec tail /dev/zero`, func(s *drivers.Spec) { s.Memory, s.MemoryMax = 16<<20, 16<<20 }))
	if !exit.OOM || exit.Signal != 9 || !strings.Contains(exit.Why, "16MiB") {
		t.Errorf("exit = %+v, want an OOM", exit)
	}
}

func TestProcessesAreLimited(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	s := n.spec(`for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1000 & done; echo all`, config("pids", 8))
	exit, out := n.run(s)
	if errs := n.output(s, logs.Stderr); exit.Code == 0 || out != "" || !strings.Contains(errs, "fork") {
		t.Errorf("exit = %+v, stdout %q, stderr %q", exit, out, errs)
	}
}

func TestZombiesAreReaped(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	// Each subshell leaves an orphan. Once all have ended, only init, the shell and its ls are there.
	s := n.spec(`for i in 1 2 3 4 5; do (sh -c 'kill -9 $$' &) ; done
while ls -d /proc/[0-9]* | grep -qvE '/(1|2)$' && [ $(grep -c . /proc/[0-9]*/comm 2>/dev/null | wc -l) -gt 4 ]; do :; done; echo clean`)
	if exit, out := n.run(s); out != "clean\n" {
		t.Errorf("%+v, %q", exit, out)
	}
}

func TestWhatForkedAwayDiesWithTheTask(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	marker := "31536000." + strconv.Itoa(os.Getpid())
	s := n.spec(`(setsid sleep ` + marker + ` &); (setsid sh -c "trap '' TERM; sleep ` + marker + `" &); echo ready; exec sleep ` + marker)
	task := n.start(s)
	n.until(s, "ready")
	if err := task.Stop(n.ctx, "SIGTERM", patience); err != nil {
		t.Fatal(err)
	}
	if left := processesWith(marker); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if exit := n.wait(task); exit.Signal != 15 {
		t.Errorf("exit = %+v", exit)
	}
}

// processesWith lists the processes that have text in their command line.
func processesWith(text string) []string {
	var found []string
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte(text)) {
			found = append(found, path+" "+strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return found
}

func TestASignalEndsAnIsolatedShellWithoutTrap(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	s := n.spec(`echo ready; while :; do sleep 1000; done`)
	task := n.start(s)
	n.until(s, "ready")
	if err := task.Stop(n.ctx, "SIGTERM", patience); err != nil {
		t.Fatal(err)
	}
	if exit := n.wait(task); exit.Signal != 15 {
		t.Errorf("exit = %+v", exit)
	}
	traps := n.spec(`trap 'echo got it; exit 4' USR1; echo ready; while :; do sleep 0.01; done`)
	task = n.start(traps)
	n.until(traps, "ready")
	if err := task.Signal(n.ctx, "USR1"); err != nil {
		t.Fatal(err)
	}
	if exit := n.wait(task); exit.Code != 4 {
		t.Errorf("exit = %+v", exit)
	}
}

func TestExecEntersTheTask(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	s := n.spec(`echo ready; exec sleep 100000`, nobody)
	task := n.start(s)
	n.until(s, "ready")
	var out bytes.Buffer
	exit, err := task.Exec(n.ctx, drivers.Command{Args: []string{"sh", "-c",
		`grep -a -o 'sleep' /proc/2/cmdline; id -u; pwd; grep CapEff /proc/self/status; grep NoNew /proc/self/status; cat /proc/self/cgroup | grep -c proffer; [ -s /etc/shadow ] || echo covered`}, Stdout: &out, Stderr: &out})
	want := "sleep\n65534\n/local\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n"
	if err != nil || exit.Code != 0 || !strings.HasPrefix(out.String(), want) || !strings.HasSuffix(out.String(), "covered\n") {
		t.Errorf("exec = %+v, %v, %q, want %q…", exit, err, out.String(), want)
	}
	if strings.Contains(out.String(), "\n0\ncovered") {
		t.Errorf("the command is in no cgroup of the task: %q", out.String())
	}
	// A terminal: the command sees one, its size and its changes.
	in, feed := io.Pipe()
	resize := make(chan drivers.Size, 1)
	resize <- drivers.Size{Rows: 33, Cols: 111}
	screen := &lines{found: make(chan string, 100)}
	go func() {
		for text := range screen.found {
			if strings.Contains(text, "33 111") {
				resize <- drivers.Size{Rows: 44, Cols: 99}
				fmt.Fprintln(feed, "go")
			}
		}
	}()
	exit, err = task.Exec(n.ctx, drivers.Command{TTY: true, Stdin: in, Stdout: screen, Resize: resize, Args: []string{"sh", "-c",
		`test -t 0 && test -t 1 || exit 1; until [ "$(stty size)" = "33 111" ]; do :; done; stty size; read x; until [ "$(stty size)" = "44 99" ]; do :; done; stty size; exit 9`}})
	feed.Close()
	close(screen.found)
	if err != nil || exit.Code != 9 {
		t.Errorf("exec on a terminal = %+v, %v, %q", exit, err, screen.all.String())
	}
	// Ending the context ends the command, not the task.
	if err := task.Signal(n.ctx, "CONT"); err != nil {
		t.Error(err)
	}
}

// lines passes on what is written to it.
type lines struct {
	all   bytes.Buffer
	found chan string
}

func (l *lines) Write(p []byte) (int, error) {
	l.all.Write(p)
	l.found <- l.all.String()
	return len(p), nil
}

func TestStatsSayWhatIsUsed(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	s := n.spec(`head -c 20000000 /dev/zero | tail > /dev/null; x=$(head -c 8000000 /dev/zero | tr '\0' x); dd if=/dev/zero of=/local/x bs=1M count=4 conv=fsync 2>/dev/null; echo ready; exec sleep 100000`)
	task := n.start(s)
	n.until(s, "ready")
	st, err := task.Stats(n.ctx)
	if err != nil || st.IO == nil || st.CPUTime <= 0 || st.MemoryMax < 8<<20 || st.Limit != 64<<20 || st.Pids != 2 || st.OOMKills != 0 {
		t.Errorf("stats = %+v, %v", st, err)
	}
	f, err := n.client.Features(n.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if f.NoIO == "" && st.IO.WriteBytes < 4<<20 { // otherwise it is in memory
		t.Errorf("it wrote %+v", st.IO)
	}
	if f.Cgroups == 2 && st.Pressure == nil {
		t.Error("the kernel says nothing of its pressure")
	}
}

func TestACPULimitThrottles(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	s := n.spec(`while :; do :; done`, func(s *drivers.Spec) { s.CPULimit = 50 })
	task := n.start(s)
	for {
		st, err := task.Stats(n.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if st.Throttled > 0 {
			return
		}
	}
}

func TestTasksSurviveTheDeathOfTheSupervisor(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	for _, isolation := range []string{"full", "none"} {
		with := config("isolation", isolation)
		live := n.spec(`echo ready; trap 'echo more; exit 6' USR1; while :; do sleep 0.01; echo beat; done`, with)
		done := n.spec(`echo ready; trap 'exit 8' USR1; while :; do sleep 0.01; done`, with)
		task, ends := n.start(live), n.start(done)
		n.until(live, "ready")
		n.until(done, "ready")
		status, err := n.client.Status(n.ctx, done.ID)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := n.client.PID(n.ctx)
		if err != nil {
			t.Fatal(err)
		}
		waiting := make(chan drivers.Exit, 1)
		go func() {
			exit, err := task.Wait(n.ctx)
			if err != nil {
				t.Error(err)
			}
			waiting <- exit
		}()
		stopSupervisor(t, pid) // nothing is handled from here on, so the end below meets no supervisor
		syscall.Kill(pid, syscall.SIGKILL)
		gone(t, pid)
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", status.PID, status.PID))
		program, err := strconv.Atoi(strings.Fields(string(children))[0])
		if err != nil {
			t.Fatal(err)
		}
		syscall.Kill(program, syscall.SIGUSR1)
		gone(t, status.PID) // it ended while there is no supervisor, unless the client has started one meanwhile
		if exit := n.wait(ends); exit.Code != 8 {
			t.Errorf("%s: the end without a supervisor: %+v, want code 8", isolation, exit)
		}
		tasks, err := n.client.List(n.ctx)
		if err != nil || len(tasks) < 2 {
			t.Fatalf("%s: list = %v, %v", isolation, tasks, err)
		}
		if err := task.Signal(n.ctx, "USR1"); err != nil {
			t.Fatal(err)
		}
		n.until(live, "more")
		if exit := <-waiting; exit.Code != 6 {
			t.Errorf("%s: the end after the adoption: %+v, want code 6", isolation, exit)
		}
	}
}

func stopSupervisor(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
}

func TestAnUpgradeInPlaceDisturbsNobody(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	s := n.spec(`i=0; trap 'exit 11' USR1; while :; do i=$((i+1)); echo line $i; done`,
		func(s *drivers.Spec) { s.Task.Logs = &structs.Logs{MaxFiles: 1000, MaxFileSize: 1 << 20} })
	task := n.start(s)
	n.until(s, "line 100\n")
	pid, err := n.client.PID(n.ctx)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan drivers.Exit, 1)
	go func() {
		exit, err := task.Wait(n.ctx)
		if err != nil {
			t.Error(err)
		}
		waiting <- exit
	}()
	for range 3 {
		if err := n.client.Upgrade(n.ctx); err != nil {
			n.fatalf("upgrade: %v", err)
		}
		now, err := n.client.PID(n.ctx)
		if err != nil || now != pid {
			t.Errorf("pid = %d, %v, want %d", now, err, pid)
		}
	}
	if err := task.Signal(n.ctx, "USR1"); err != nil {
		t.Fatal(err)
	}
	if exit := <-waiting; exit.Code != 11 {
		t.Errorf("exit = %+v", exit)
	}
	out := n.output(s, logs.Stdout)
	for i, line := range strings.Split(strings.TrimSuffix(out, "\n"), "\n") {
		if want := fmt.Sprintf("line %d", i+1); line != want {
			t.Fatalf("line %d is %q: output was lost or doubled", i+1, line)
		}
	}
	// A start after it works too: the new binary has its own starter.
	if exit, _ := n.run(n.spec(`exit 2`)); exit.Code != 2 {
		t.Errorf("exit = %+v", exit)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Error(err)
	}
}

func TestAFailedUpgradeChangesNothing(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	s := n.spec(`echo ready; exec sleep 100000`)
	task := n.start(s)
	n.until(s, "ready")
	bad := filepath.Join(n.dir, "bad")
	os.WriteFile(bad, []byte("not a program"), 0o755)
	opts := n.opts
	opts.Binary = []string{bad}
	c, err := supervisor.Connect(n.ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Upgrade(n.ctx); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("upgrade to no program: %v", err)
	}
	if err := task.Stop(n.ctx, "SIGTERM", patience); err != nil {
		t.Error(err)
	}
	if exit := n.wait(task); exit.Signal != 15 {
		t.Errorf("exit = %+v", exit)
	}
}

// Neither agent nor supervisor is there when the lease ends: the stage does it.
func TestAFenceHoldsWithoutSupervisor(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	if err := n.client.Renew(n.ctx, supervisor.Now()+time.Hour); err != nil {
		t.Fatal(err)
	}
	s := n.spec(`echo ready; exec sleep 100000`, func(s *drivers.Spec) { s.Fence = &drivers.Fence{} })
	n.start(s)
	n.until(s, "ready")
	status, err := n.client.Status(n.ctx, s.ID)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := n.client.PID(n.ctx)
	if err != nil {
		t.Fatal(err)
	}
	n.client.Close()
	stopSupervisor(t, pid)
	// The stage's timer is for the old end: a shorter lease is seen by a start only, so write the end it waits for.
	syscall.Kill(pid, syscall.SIGKILL)
	gone(t, pid)
	if !alive(status.PID) {
		t.Fatal("the task died with the supervisor")
	}
	n.connect()
	if err := n.client.Renew(n.ctx, supervisor.Now()); err != nil {
		t.Fatal(err)
	}
	task, err := n.driver.Recover(n.ctx, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	if exit := n.wait(task); !strings.Contains(exit.Why, "lease") {
		t.Errorf("exit = %+v", exit)
	}
	// Now with a lease that ends by itself, and nobody there: one that is long enough to stop the supervisor before.
	for lease := 300 * time.Millisecond; !n.endsAlone(lease); lease *= 2 {
	}
}

// endsAlone has a task end with its lease while the supervisor is stopped; false when the lease was over before that.
func (n *node) endsAlone(lease time.Duration) bool {
	n.t.Helper()
	until := supervisor.Now() + lease
	if err := n.client.Renew(n.ctx, until); err != nil {
		n.t.Fatal(err)
	}
	s := n.spec(`exec sleep 100000`, func(s *drivers.Spec) { s.Fence = &drivers.Fence{} })
	task, err := n.driver.Start(n.ctx, s)
	if err != nil {
		if structs.KindOf(err) == structs.Unavailable && supervisor.Now() >= until {
			return false
		}
		n.t.Fatal(err)
	}
	status, err := n.client.Status(n.ctx, s.ID)
	if err != nil {
		n.t.Fatal(err)
	}
	pid, err := n.client.PID(n.ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	stopSupervisor(n.t, pid)
	if supervisor.Now() >= until { // it may have ended the task itself
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			n.t.Fatal(err)
		}
		n.wait(task)
		return false
	}
	n.client.Close()
	gone(n.t, status.PID)
	if supervisor.Now() < until {
		n.t.Error("the task ended before its lease")
	}
	syscall.Kill(pid, syscall.SIGKILL)
	gone(n.t, pid)
	n.connect()
	task, err = n.driver.Recover(n.ctx, s, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	if exit := n.wait(task); !strings.Contains(exit.Why, "lease") {
		n.t.Errorf("exit = %+v", exit)
	}
	return true
}

// traces are the processes and mounts of a node; swept looks at the cgroups. Other nodes of this machine do not count.
func (n *node) traces() (found []string) {
	for _, path := range slices.Concat(comms("proffer-task"), comms("proffer-starter")) {
		if to, _ := os.Readlink(filepath.Join(filepath.Dir(path), "fd", "4")); strings.HasPrefix(to, n.dir) {
			found = append(found, path)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		n.t.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, n.dir) {
			found = append(found, line)
		}
	}
	return found
}

func comms(name string) (pids []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, path := range all {
		if b, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(b)) == name {
			pids = append(pids, path)
		}
	}
	return pids
}

func TestNothingIsLeftBehind(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	var tasks []drivers.Task
	for i := range 40 {
		s := n.spec(`(sleep 100000 &); `+[]string{"exit 0", "exec sleep 100000", "kill -9 $$"}[i%3], config("isolation", []string{"full", "none"}[i%2]))
		tasks = append(tasks, n.start(s))
	}
	pid, err := n.client.PID(n.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if live := n.traces(); len(live) < 2 {
		t.Errorf("the traces of a node that works: %v", live)
	}
	inside := func() int { fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); return len(fds) }
	for _, task := range tasks {
		if err := task.Stop(n.ctx, "SIGTERM", 0); err != nil {
			t.Error(err)
		}
		if err := task.Destroy(n.ctx); err != nil {
			t.Error(err)
		}
	}
	if n := inside(); n > 40 {
		t.Errorf("the supervisor holds %d descriptors", n)
	}
	n.end()
	if left := n.traces(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if left, _ := os.ReadDir(filepath.Join(n.opts.Dir, "root")); len(left) != 0 {
		t.Errorf("the root is not empty: %v", left)
	}
	n.connect() // for the clean-up
}

func TestTheStarterIsReplacedWhenItDies(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	pid, err := n.client.PID(n.ctx)
	if err != nil {
		t.Fatal(err)
	}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	n.run(n.spec("exit 0"))
	killed := false
	for _, path := range comms("proffer-starter") {
		starter, _ := strconv.Atoi(strings.Split(path, "/")[2])
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", starter))
		_, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(pid) {
			syscall.Kill(starter, syscall.SIGKILL)
			gone(t, starter)
			killed = true
		}
	}
	if !killed {
		t.Fatalf("no starter among %s", children)
	}
	if exit, _ := n.run(n.spec("exit 5")); exit.Code != 5 {
		t.Errorf("exit = %+v", exit)
	}
}

func TestManyTasksAreFoundAgainByOneList(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	var specs []*drivers.Spec
	for range 100 {
		s := n.spec(`exec sleep 100000`)
		n.start(s)
		specs = append(specs, s)
	}
	n.client.Close()
	n.connect()
	tasks, err := n.client.List(n.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range specs {
		if !slices.ContainsFunc(tasks, func(st *exec.Status) bool { return st.ID == s.ID && st.Exit == nil && alive(st.PID) }) {
			t.Errorf("task %s is lost", s.ID)
		}
	}
}

// The stage that the source gives here and now isolates as well as the one in the tree.
func TestTheStageCanBeBuilt(t *testing.T) {
	needRoot(t)
	cc, err := osexec.LookPath("gcc")
	if err != nil {
		t.Skip("no gcc")
	}
	dir := t.TempDir()
	arch := strings.ToUpper(runtime.GOARCH)
	build := osexec.Command("../../drivers/exec/stage/build.sh", dir)
	build.Env = append(os.Environ(), "ARCHS="+runtime.GOARCH, "CC_"+arch+"="+cc)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("PROFFER_STAGE", filepath.Join(dir, "stage_"+runtime.GOARCH))
	for name, test := range map[string]func(*testing.T){
		"isolation": TestIsolation, "capabilities": TestCapabilitiesAndLimitsThatWereAskedFor, "network": TestANetworkOfItsOwn,
		"daemons": TestWhatForkedAwayDiesWithTheTask, "exec": TestExecEntersTheTask,
		"terminal": TestACommandInAnIsolatedTaskCanNameItsTerminal, "output": TestNoOutputOfAnIsolatedTaskIsLost,
	} {
		t.Run(name, test)
	}
}

func TestNoOutputOfAnIsolatedTaskIsLost(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	noOutputIsLost(t, n, "full")
	lastWords(t, n, "full")
}

func TestATaskSeesTheHostPathsThatWereConfigured(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	shows := func() string {
		t.Helper()
		_, out := n.run(n.spec(`cd /; for f in etc/* opt var/tmp; do [ -e $f ] && echo $f; done; echo x 2>/dev/null > /etc/group; touch /etc/new 2>/dev/null && echo new; [ -s /etc/group ] && echo content`))
		return out
	}
	here := func(path string) bool { _, err := os.Stat(path); return err == nil }
	if out := shows(); !strings.Contains(out, "etc/passwd") || strings.Contains(out, "opt\n") != here("/opt") {
		t.Errorf("by default: %q", out)
	}
	n.client.Close()
	n.opts.HostPaths = []string{"/usr", "/usr/bin", "/bin", "/bin/sh", "/lib", "/lib64", "/etc/group", "/etc/no/such", "/var"}
	n.connect()                                                             // in place
	if out, want := shows(), "etc/group\nvar/tmp\ncontent\n"; out != want { // var/tmp is the task's own
		t.Errorf("shown is %q, want %q", out, want)
	}
}

func TestTasksAreBelowTheConfiguredCgroup(t *testing.T) {
	needRoot(t)
	parent := fmt.Sprintf("proffer-test-%d/work", os.Getpid())
	t.Cleanup(func() { // after the end of the supervisor: the operator's folders stay, and are empty
		for _, path := range []string{parent, filepath.Dir(parent)} {
			all, _ := filepath.Glob("/sys/fs/cgroup/*/" + path)
			unified, _ := filepath.Glob("/sys/fs/cgroup/" + path)
			if all = append(all, unified...); len(all) == 0 {
				t.Errorf("%s was removed", path)
			}
			for _, dir := range all {
				if err := os.Remove(dir); err != nil {
					t.Error(err)
				}
			}
		}
	})
	n := newNode(t)
	old := n.spec(`echo ready; exec sleep 100000`)
	n.start(old)
	n.until(old, "ready")
	groups := func(s *drivers.Spec) map[string]string {
		t.Helper()
		status, err := n.client.Status(n.ctx, s.ID)
		if err != nil {
			t.Fatal(err)
		}
		return groupsOf(t, status.PID)
	}
	before := groups(old)
	n.client.Close()
	n.opts.CgroupParent = parent
	n.connect()
	task, err := n.driver.Recover(n.ctx, old, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := n.spec(`echo ready; exec sleep 100000`)
	next := n.start(s)
	n.until(s, "ready")
	for controller, dir := range groups(s) {
		if !strings.Contains(dir, "/"+parent+"/") {
			t.Errorf("%s: %s", controller, dir)
		}
	}
	if stats, err := task.Stats(n.ctx); err != nil || stats.Pids != 2 {
		t.Errorf("stats of the task from before: %+v, %v", stats, err)
	}
	for _, task := range []drivers.Task{task, next} {
		if err := task.Stop(n.ctx, "SIGTERM", patience); err != nil {
			t.Error(err)
		}
	}
	for _, dir := range before {
		if _, err := os.Stat(filepath.Dir(dir)); !os.IsNotExist(err) {
			t.Errorf("%s stays: %v", filepath.Dir(dir), err)
		}
	}
}

func TestACommandInAnIsolatedTaskCanNameItsTerminal(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	namesItsTerminal(t, n)
	namesItsTerminal(t, n, nobody)
	namesItsTerminal(t, n, none, nobody)
}

func TestAnIsolatedTaskOnATerminalOutlivesSupervisorAndAgent(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	typesFor(t, n, n.spec(conversation), n.driver)
	typesFor(t, n, n.spec(conversation, nobody), n.driver)
}

func TestADyingSupervisorLeavesNoIsolatedStartHalfDone(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	for _, isolation := range []string{"full", "none"} {
		n.endAll(diesDuringStarts(t, n, isolation, "exec sleep "))
		n.endAll(diesDuringStarts(t, n, isolation, "exit 3; "))
	}
}

// TestDetachedCommandsOutliveWhatBeganThem: those in isolated tasks and in containers.
func TestDetachedCommandsOutliveWhatBeganThem(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	detachedOutlives(t, n, n.spec(``), "/alloc", func() drivers.Driver { return n.driver })
	p := newPier(t)
	s := p.container(``, nil)
	s.User = "root"
	detachedOutlives(t, p.node, s, "/alloc", func() drivers.Driver { return p.driver() })
}
