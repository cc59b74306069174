//go:build linux && system

package system

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
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
	unix.Kill(pid, unix.SIGKILL)
	await(t, "there is another supervisor", func() error {
		if now := a.supervisor(); now == 0 || now == pid {
			return fmt.Errorf("there is %d", now)
		}
		return nil
	})
	a.proffer("run", "--", "echo", "well").has(t, "run", 0, "well\n", "")
}
