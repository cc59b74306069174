package supervisor_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/proffer/proffer/drivers"
)

func TestADyingSupervisorLeavesNoStartHalfDone(t *testing.T) {
	n := newNode(t)
	n.endAll(diesDuringStarts(t, n, "none", "exec sleep "))
	n.endAll(diesDuringStarts(t, n, "none", "exit 3; "))
}

// endAll stops tasks and waits for their end; what they leave on the host is looked for at the end of the test.
func (n *node) endAll(specs []*drivers.Spec) {
	n.t.Helper()
	for _, s := range specs {
		if err := n.client.Stop(n.ctx, s.ID, 9, 0); err != nil {
			n.t.Error(err)
		}
		if err := n.client.Forget(n.ctx, s.ID); err != nil {
			n.t.Error(err)
		}
	}
}

// diesDuringStarts kills the supervisor wherever it is in the starts of many tasks. What it knows afterwards is what runs.
func diesDuringStarts(t *testing.T, n *node, isolation, script string) []*drivers.Spec {
	marker := fmt.Sprintf("27182818.%d", time.Now().UnixNano())
	var specs []*drivers.Spec
	for range 60 {
		specs = append(specs, n.spec(script+marker, config("isolation", isolation)))
	}
	var starts sync.WaitGroup
	todo := make(chan *drivers.Spec)
	for range 4 {
		starts.Go(func() {
			for s := range todo {
				if _, err := n.driver.Start(n.ctx, s); err != nil {
					t.Errorf("start: %v", err)
				}
			}
		})
	}
	for i, s := range specs {
		todo <- s
		if i%6 == 5 {
			if pid := n.serving(); pid != 0 {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
	close(todo)
	starts.Wait()
	if strings.HasPrefix(script, "exit") {
		return specs
	}
	var live, programs int
	for until := time.Now().Add(patience); time.Now().Before(until); { // a shell becomes sleep, a task that is killed ends
		live, programs = 0, sleeping(marker)
		for _, s := range specs {
			status, err := n.client.Status(n.ctx, s.ID)
			if err != nil {
				t.Fatalf("task %s: %v", s.ID, err)
			}
			if status.Exit == nil {
				live++
			}
		}
		if live == programs {
			break
		}
	}
	if live != programs {
		t.Errorf("%d programs run, and %d tasks", programs, live)
	}
	t.Logf("%d of %d starts went through", live, len(specs))
	return specs
}

// sleeping counts the programs whose last argument is the marker.
func sleeping(marker string) (count int) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		if b, err := os.ReadFile(path); err == nil && bytes.Equal(b, []byte("sleep\x00"+marker+"\x00")) {
			count++
		}
	}
	return count
}
