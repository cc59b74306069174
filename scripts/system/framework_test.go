//go:build linux && system

package system

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// example builds one of the example frameworks.
func example(t *testing.T, name string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("go", "build", "-o", path, "../../agent/framework/examples/"+name).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}

// TestExampleFrameworks: the example frameworks run for real, and the next scheduler goes on where one was that is killed.
func TestExampleFrameworks(t *testing.T) {
	t.Parallel()
	batch, agents := example(t, "batch"), example(t, "agents")
	r := newRegion(t)
	a := single(r)
	server := net.JoinHostPort(a.addr, strconv.Itoa(r.http))

	cmd := exec.CommandContext(t.Context(), batch, "-servers", server, "-tries", "2")
	cmd.Env = append(cmd.Environ(), "PROFFER_TOKEN="+r.token)
	cmd.Stdin = strings.NewReader("echo one\nexit 3\necho two\n")
	out, _ := cmd.CombinedOutput()
	said := string(out)
	if cmd.ProcessState.ExitCode() != 1 || strings.Count(said, "exit 3: failed") != 2 || !strings.Contains(said, "echo one: finished") ||
		!strings.Contains(said, "echo two: finished") {
		t.Errorf("it ended with %d and said\n%s", cmd.ProcessState.ExitCode(), said)
	}

	replica := func() *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), agents, "-server", server, "-name", "everywhere", "--", "sleep", "31415926")
		cmd.Env = append(cmd.Environ(), "PROFFER_TOKEN="+r.token)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		return cmd
	}
	leader := func() string {
		v, _, err := a.api().Variable(t.Context(), "@everywhere/leader", nil)
		if err != nil {
			return err.Error()
		}
		return v.Items["leader"]
	}
	leads := func(one *exec.Cmd) func() error {
		return func() error {
			if who := leader(); !strings.HasSuffix(who, fmt.Sprint("-", one.Process.Pid)) {
				return errors.New("the leader is " + who)
			}
			return nil
		}
	}
	instance := func() (pid int, err error) {
		tasks := a.tasks()
		if len(tasks) != 1 {
			return 0, fmt.Errorf("%d tasks run", len(tasks))
		}
		return tasks[0], nil
	}
	first := replica()
	await(t, "the first replica leads", leads(first))
	var before int
	await(t, "the node has an instance", func() (err error) { before, err = instance(); return err })
	second := replica()
	first.Process.Kill()
	first.Wait()
	await(t, "the second replica leads", leads(second))
	await(t, "the framework is subscribed again", func() error {
		list := a.must("framework", "list")
		if !strings.Contains(list, "everywhere") {
			return errors.New(list)
		}
		return nil
	})
	if after, err := instance(); err != nil || after != before {
		t.Errorf("%d ran, and now %d does, %v", before, after, err)
	}
	a.must("framework", "teardown", "everywhere")
	await(t, "nothing runs", func() error {
		if n := len(a.tasks()); n > 0 {
			return fmt.Errorf("%d tasks run", n)
		}
		return nil
	})
}
