//go:build linux && system

package supervisor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/drivers"
)

// groupsOf returns the folder of a process's control group by controller; with version 2, that of "". A hierarchy without
// controllers is left out.
func groupsOf(t *testing.T, pid int) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]string{} // mount points
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		switch f[2] {
		case "cgroup2":
			at[""] = f[1]
		case "cgroup":
			for o := range strings.SplitSeq(f[3], ",") {
				at[o] = f[1]
			}
		}
	}
	groups := map[string]string{}
	hybrid := at["memory"] != "" // then the hierarchy of version 2 has no controllers
	for line := range strings.Lines(string(raw)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		for c := range strings.SplitSeq(f[1], ",") {
			if at[c] != "" && !strings.HasPrefix(c, "name=") && !(c == "" && hybrid) && strings.HasPrefix(f[2], "/proffer") {
				groups[c] = filepath.Join(at[c], f[2])
			}
		}
	}
	if len(groups) == 0 {
		t.Fatalf("process %d is in no control group of ours: %s", pid, raw)
	}
	return groups
}

// What the kernel enforces is what was asked for, in the words of the kernel.
func TestTheKernelHasTheLimits(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	for _, isolation := range []string{"full", "none"} {
		s := n.spec(`(setsid sleep 100000 &); echo ready; exec sleep 100000`, config("isolation", isolation), config("pids", 33),
			func(s *drivers.Spec) { s.CPU, s.CPULimit, s.Memory, s.MemoryMax = 250, 1500, 32<<20, 48<<20 })
		task := n.start(s)
		n.until(s, "ready")
		status, err := n.client.Status(n.ctx, s.ID)
		if err != nil {
			t.Fatal(err)
		}
		groups := groupsOf(t, status.PID)
		want := map[[2]string]string{
			{"cpu", "cpu.shares"}: "256", {"cpu", "cpu.cfs_quota_us"}: "150000", {"cpu", "cpu.cfs_period_us"}: "100000",
			{"memory", "memory.limit_in_bytes"}: strconv.Itoa(48 << 20), {"pids", "pids.max"}: "33", {"pids", "pids.current"}: "3",
		}
		if groups["memory"] == "" {
			want = map[[2]string]string{
				{"", "cpu.weight"}: "25", {"", "cpu.max"}: "150000 100000", {"", "memory.max"}: strconv.Itoa(48 << 20),
				{"", "pids.max"}: "33", {"", "pids.current"}: "3", {"", "cgroup.events"}: "populated 1\nfrozen 0",
			}
		}
		for file, value := range want {
			if groups[file[0]] == "" {
				continue // this host lacks the controller
			}
			got, err := os.ReadFile(filepath.Join(groups[file[0]], file[1]))
			if err != nil || strings.TrimSpace(string(got)) != value {
				t.Errorf("%s: %s is %q, %v; want %q", isolation, file[1], got, err, value)
			}
		}
		if err := task.Stop(n.ctx, "SIGTERM", patience); err != nil {
			t.Fatal(err)
		}
		n.wait(task)
		for _, dir := range groups {
			if filepath.Base(dir) == "shared" { // of all tasks without cores of their own
				continue
			}
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("%s: %s stays after the end: %v", isolation, dir, err)
			}
		}
	}
}

// What is revocable has the least that the kernel gives to anybody, and goes first for want of memory, with all its processes and the
// commands that are run in it.
func TestRevocableTasksGoFirst(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	for _, isolation := range []string{"full", "none"} {
		for _, revocable := range []bool{true, false} {
			s := n.spec(`cat /proc/self/oom_score_adj; (cat /proc/self/oom_score_adj; echo ready); exec sleep 100000`, config("isolation", isolation),
				func(s *drivers.Spec) { s.CPU, s.Memory, s.MemoryMax, s.Revocable = 2000, 32<<20, 48<<20, revocable })
			task := n.start(s)
			got := n.until(s, "ready")
			want, shares, weight := "0\n0\n", "2048", "200"
			if revocable {
				want, shares, weight = "500\n500\n", "2", "1"
			}
			if !strings.HasPrefix(got, want+"ready") {
				t.Errorf("%s, revocable: %v: oom_score_adj is %q", isolation, revocable, got)
			}
			var out strings.Builder
			if _, err := task.Exec(n.ctx, drivers.Command{Args: []string{"cat", "/proc/self/oom_score_adj"}, Stdout: &out}); err != nil || out.String()+out.String() != want {
				t.Errorf("%s, revocable: %v: a command has %q, %v", isolation, revocable, out.String(), err)
			}
			status, err := n.client.Status(n.ctx, s.ID)
			if err != nil {
				t.Fatal(err)
			}
			groups := groupsOf(t, status.PID)
			file, value := filepath.Join(groups["cpu"], "cpu.shares"), shares
			if groups["memory"] == "" {
				file, value = filepath.Join(groups[""], "cpu.weight"), weight
			}
			if got, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(got)) != value {
				t.Errorf("%s, revocable: %v: %s is %q, %v; want %s", isolation, revocable, filepath.Base(file), got, err, value)
			}
			other := map[bool]string{true: "0\n", false: "500\n"}[revocable] // as it changes with the tasks of an executor
			limits := s.Limits()
			limits.Revocable = !revocable
			err = task.Limit(n.ctx, limits)
			if got, _ := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", status.PID)); err != nil || string(got) != other {
				t.Errorf("%s, revocable: no longer %v: oom_score_adj is %q, %v", isolation, revocable, got, err)
			}
			if err := task.Stop(n.ctx, "SIGTERM", patience); err != nil {
				t.Fatal(err)
			}
			n.wait(task)
		}
	}
}

// A task that forks up to its limit, each process in a session of its own, ends as a whole: nobody leaves a control group
// by forking.
func TestAForkBombEnds(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	for _, isolation := range []string{"full", "none"} {
		marker := fmt.Sprintf("31415926.%d", time.Now().UnixNano())
		s := n.spec(`bomb() { while :; do (setsid sh -c "sleep `+marker+`; :" &); done 2>/dev/null; }; trap '' TERM; bomb & bomb & echo ready; exec sleep 100000`,
			config("isolation", isolation), config("pids", 40))
		task := n.start(s)
		n.until(s, "ready")
		status, err := n.client.Status(n.ctx, s.ID)
		if err != nil {
			t.Fatal(err)
		}
		groups := groupsOf(t, status.PID)
		for dir := groups["pids"] + groups[""]; ; { // one of the two
			raw, err := os.ReadFile(filepath.Join(dir, "pids.events"))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(raw), "max 0\n") { // it has met its limit
				break
			}
		}
		if err := task.Stop(n.ctx, "SIGTERM", time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if exit := n.wait(task); exit.Code == 0 {
			t.Errorf("%s: exit = %+v", isolation, exit)
		}
		if left := processesWith(marker); len(left) > 0 {
			t.Errorf("%s: left: %v", isolation, left)
		}
	}
}

// An OOM in a child is told from the end of the task itself.
func TestAnOOMOfAChildIsTold(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	for _, isolation := range []string{"full", "none"} {
		exit, out := n.run(n.spec(`tail /dev/zero; echo "tail: $?"; exit 3`, config("isolation", isolation),
			func(s *drivers.Spec) { s.Memory, s.MemoryMax = 16<<20, 16<<20 }))
		if exit.OOM || exit.Code != 3 || !strings.Contains(exit.Why, "1 of its processes") || !strings.HasSuffix(out, "tail: 137\n") {
			t.Errorf("%s: exit = %+v, %q", isolation, exit, out)
		}
	}
}

// What was killed because it did not stop was not killed for its memory, whatever happened to a child before.
func TestAStopIsNoOOM(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	for _, isolation := range []string{"full", "none"} {
		s := n.spec(`trap '' TERM; tail /dev/zero; echo ready; while :; do sleep 1000; done`, config("isolation", isolation),
			func(s *drivers.Spec) { s.Memory, s.MemoryMax = 16<<20, 16<<20 })
		task := n.start(s)
		n.until(s, "ready")
		if err := task.Stop(n.ctx, "SIGTERM", time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if exit := n.wait(task); exit.OOM || exit.Signal != 9 || !strings.Contains(exit.Why, "1 of its processes") {
			t.Errorf("%s: exit = %+v", isolation, exit)
		}
	}
}

// A command in a task counts for the task and is bound by its limits.
func TestACommandIsBoundByTheLimits(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	for _, isolation := range []string{"full", "none"} {
		s := n.spec(`echo ready; exec sleep 100000`, config("isolation", isolation), func(s *drivers.Spec) { s.Memory, s.MemoryMax = 16<<20, 16<<20 })
		task := n.start(s)
		n.until(s, "ready")
		exit, err := task.Exec(n.ctx, drivers.Command{Args: []string{"tail", "/dev/zero"}})
		if err != nil || exit.Code != 137 {
			t.Errorf("%s: exec = %+v, %v; want it killed", isolation, exit, err)
		}
		st, err := task.Stats(n.ctx)
		if err != nil || st.OOMKills != 1 || st.MemoryMax > 16<<20 || st.MemoryMax < 12<<20 {
			t.Errorf("%s: stats = %+v, %v", isolation, st, err)
		}
	}
}
