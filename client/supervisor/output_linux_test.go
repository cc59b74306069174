package supervisor_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/proffer/proffer/client/logs"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// counting prints numbered lines until USR1, and then as many more as fit in a pipe.
const counting = `end=; trap 'end=1' USR1; i=0; while [ -z "$end" ]; do i=$((i+1)); echo line $i; done
j=0; while [ $j -lt 1000 ]; do i=$((i+1)); j=$((j+1)); echo line $i; done; exit 4`

func TestNoOutputIsLostWhenTheSupervisorIsKilled(t *testing.T) { noOutputIsLost(t, newNode(t), "none") }

// noOutputIsLost kills the supervisor again and again while a task writes as fast as it can, the last time so that there is
// none when the task writes its last lines and ends.
func noOutputIsLost(t *testing.T, n *node, isolation string) {
	s := n.spec(counting, config("isolation", isolation),
		func(s *drivers.Spec) { s.Task.Logs = &structs.Logs{MaxFiles: 10_000, MaxFileSize: 100 << 10} })
	n.start(s)
	for round := range 20 {
		n.until(s, fmt.Sprintf("line %d\n", 1000+round*5000))
		pid, err := n.client.PID(n.ctx)
		if err != nil {
			t.Fatal(err)
		}
		syscall.Kill(pid, syscall.SIGKILL)
		gone(t, pid)
		if _, err := n.client.List(n.ctx); err != nil { // this starts the next one
			t.Fatal(err)
		}
	}
	status, err := n.client.Status(n.ctx, s.ID)
	if err != nil {
		t.Fatal(err)
	}
	program := programOf(t, status.PID)
	pid, err := n.client.PID(n.ctx)
	if err != nil {
		t.Fatal(err)
	}
	n.client.Close() // or it would start the next one at once
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	syscall.Kill(program, syscall.SIGUSR1)
	syscall.Kill(pid, syscall.SIGKILL)
	gone(t, pid)
	n.connect()
	task, err := n.driver.Recover(n.ctx, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	if exit := n.wait(task); exit.Code != 4 {
		t.Errorf("exit = %+v", exit)
	}
	lines := strings.Split(strings.TrimSuffix(n.output(s, logs.Stdout), "\n"), "\n")
	for i, line := range lines {
		if want := fmt.Sprintf("line %d", i+1); line != want {
			t.Fatalf("line %d of %d is %q: output was lost or doubled", i+1, len(lines), line)
		}
	}
}

// What a task wrote before its end is kept for the next supervisor, and nothing else of the task stays.
func TestTheLastWordsOfATaskWaitForASupervisor(t *testing.T) { lastWords(t, newNode(t), "none") }

func lastWords(t *testing.T, n *node, isolation string) {
	s := n.spec(`trap 'echo last words; echo and errors >&2; exit 8' USR1; (setsid sleep 100000 &); echo ready; while :; do sleep 0.01; done`,
		config("isolation", isolation))
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
	program := programOf(t, status.PID)
	n.client.Close()
	syscall.Kill(pid, syscall.SIGKILL)
	gone(t, pid)
	syscall.Kill(program, syscall.SIGUSR1)
	gone(t, program)
	childless(t, status.PID)
	if !alive(status.PID) {
		t.Error("nobody holds what the task wrote")
	}
	n.connect()
	task, err := n.driver.Recover(n.ctx, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	if exit := n.wait(task); exit.Code != 8 {
		t.Errorf("exit = %+v", exit)
	}
	if out, errs := n.output(s, logs.Stdout), n.output(s, logs.Stderr); out != "ready\nlast words\n" || errs != "and errors\n" {
		t.Errorf("stdout %q, stderr %q", out, errs)
	}
	gone(t, status.PID)
}

// programOf returns the program that a stage holds: its first child.
func programOf(t *testing.T, stage int) int {
	t.Helper()
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", stage, stage))
	first, _, _ := strings.Cut(string(children), " ")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatalf("the stage %d has the children %q", stage, children)
	}
	return pid
}

// childless waits until a process has no children.
func childless(t *testing.T, pid int) {
	t.Helper()
	for {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil || len(children) == 0 {
			return
		}
	}
}
