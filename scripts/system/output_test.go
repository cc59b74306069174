//go:build linux && system

package system

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOutputOutlivesTheSupervisor: a task writes lines all the time while its supervisor is killed again and again, also
// together with the agent. None is missing, and none is there twice.
func TestOutputOutlivesTheSupervisor(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	a := single(r)
	a.proffer("job", "run", "-detach", r.file("lines.hcl", service("lines", 1,
		"i=0; while :; do i=$((i+1)); echo $i; [ $((i % 100)) != 0 ] || sleep 0.01; done"))).has(t, "job run", 0, "", "")
	r.allocs("lines", 1)
	reached := 0
	check := func() {
		t.Helper()
		before := reached
		await(t, "there is a supervisor", func() error { // the lines may all be of the last one
			if a.supervisor() == 0 {
				return errors.New("there is none")
			}
			return nil
		})
		await(t, "the output goes on", func() error {
			// The last line may be half there.
			text := a.must("alloc", "logs", "-job", "lines")
			lines := strings.Split(text, "\n")
			lines = lines[:len(lines)-1]
			for i, line := range lines {
				if line != fmt.Sprint(i+1) {
					t.Fatalf("line %d of %d is %q", i+1, len(lines), line)
				}
			}
			if reached = len(lines); reached < before+500 {
				return fmt.Errorf("there are %d lines, and there were %d", reached, before)
			}
			return nil
		})
	}
	check()
	for range 5 {
		a.killSupervisor()
		check()
	}
	a.kill()
	a.killSupervisor()
	a.start()
	check()
}

// TestASupervisorReturnsAtOnce: on a node without work nobody needs it, and yet it is there for what comes next.
func TestASupervisorReturnsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	a := single(r)
	pid := a.supervisor()
	a.killSupervisor()
	await(t, "there is another supervisor", func() error {
		if now := a.supervisor(); now == 0 || now == pid {
			return fmt.Errorf("there is %d", now)
		}
		return nil
	})
	a.proffer("run", "--", "echo", "well").has(t, "run", 0, "well\n", "")
}

// TestNodeSettings: a task sees the paths of the host and is in the cgroup that the node's configuration names, also when it
// was changed while the supervisor runs.
func TestNodeSettings(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	a := single(r)
	pid := a.supervisor()
	top := fmt.Sprintf("proffer-settings-%d", os.Getpid()) // of these tests alone
	below := top + "/work"
	look := []string{"run", "--", "sh", "-c", "ls -d /opt /etc/passwd 2>/dev/null; grep -o " + below + " /proc/self/cgroup | sort -u"}
	if out := a.must(look...); !strings.Contains(out, "/etc/passwd\n") || strings.Contains(out, "settings") {
		t.Errorf("by default a task sees %q", out)
	}
	if code := a.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	a.inClient = "  host_paths    = [\"/usr\", \"/bin\", \"/lib\", \"/lib64\", \"/etc/hostname\"]\n  cgroup_parent = \"" + below + "\"\n"
	a.start()
	if out := a.must(look...); out != below+"\n" {
		t.Errorf("with other settings a task sees %q", out)
	}
	if now := a.supervisor(); now == 0 || now == pid {
		t.Errorf("the supervisor without work was %d and is %d", pid, now)
	}
	a.stop()
	for _, path := range []string{below, top} {
		found, _ := filepath.Glob("/sys/fs/cgroup/*/" + path)
		unified, _ := filepath.Glob("/sys/fs/cgroup/" + path)
		for _, dir := range append(found, unified...) {
			await(t, dir+" is empty", func() error { return os.Remove(dir) })
		}
	}
}
