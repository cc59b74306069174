//go:build linux && system && (amd64 || arm64)

package supervisor_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/proffer/proffer/drivers"
)

// What a command left running on purpose goes on when the command has ended, and its control group goes with it, or with the task. A command
// whose agent dies has been given up.
func TestWhatACommandLeft(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	leaves(t, n, func() drivers.Driver { return n.driver }, n.spec(`exec sleep 100000`))
	p := newPier(t)
	leaves(t, p.node, func() drivers.Driver { return p.driver() }, p.container(`exec sleep 100000`, nil))
}

func leaves(t *testing.T, n *node, driver func() drivers.Driver, spec *drivers.Spec) {
	t.Helper()
	task, err := driver().Start(n.ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	f, err := n.client.Features(n.ctx)
	if err != nil || !f.Commands {
		t.Fatalf("commands have no control groups here: %+v, %v", f, err)
	}
	command := func(script string) string {
		t.Helper()
		var out strings.Builder
		exit, err := task.Exec(n.ctx, drivers.Command{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out})
		if err != nil || exit.Code != 0 {
			t.Fatalf("%s: %+v, %v, %q", script, exit, err, out.String())
		}
		return strings.TrimSpace(out.String())
	}
	groups := func() int { // below those of tasks, in one hierarchy
		found := 0
		for _, top := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/"} {
			list, err := filepath.Glob(top + f.CgroupBase + "/*/c*")
			for _, path := range list {
				if !strings.Contains(filepath.Base(path), ".") { // a file of a controller
					found++
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return found
	}
	pid := command(`setsid sleep 100000 >/dev/null 2>&1 & echo $!`)
	if command(`kill -0 `+pid+` && echo runs`) != "runs" || groups() != 1 {
		t.Errorf("what a command left has ended with it, or has no group: %d groups", groups())
	}
	command(`kill -9 ` + pid)
	for command(`kill -0 ` + pid + ` 2>/dev/null; true`); groups() != 0; command(`true`) { // it goes with one of the next
		if n.ctx.Err() != nil {
			t.Fatalf("%d groups stay", groups())
		}
	}
	for _, tty := range []bool{false, true} {
		const script = `setsid sleep 1000000 & setsid sleep 1000000 & echo ready; sleep 1000000`
		ctx, ready := context.WithCancel(n.ctx)
		ended := make(chan error, 1)
		go func() {
			_, err := task.Exec(n.ctx, drivers.Command{Args: []string{"sh", "-c", script}, TTY: tty, Stdout: &waitFor{text: "ready", found: ready}})
			ended <- err
		}()
		select {
		case <-ctx.Done():
		case err := <-ended:
			t.Fatalf("the command ended: %v", err)
		}
		n.client.Close()
		if err := <-ended; err == nil {
			t.Error("a command ended well when its agent died")
		}
		n.connect()
		if task, err = driver().Recover(n.ctx, spec, nil); err != nil {
			t.Fatal(err)
		}
		for groups() != 0 || strings.Contains(command(`cat /proc/[0-9]*/cmdline | tr '\0' ' '`), "sleep 1000000 ") {
			if n.ctx.Err() != nil {
				t.Fatal("what it began goes on")
			}
		}
	}
	command(`setsid sleep 100000 >/dev/null 2>&1 &`)
	if err := task.Stop(n.ctx, "SIGKILL", 0); err != nil {
		t.Fatal(err)
	}
	if err := task.Destroy(n.ctx); err != nil {
		t.Fatal(err)
	}
	if left := groups(); left != 0 {
		t.Error(fmt.Errorf("%d groups outlive the task", left))
	}
}
