//go:build linux && system

package system

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

// nextRelease builds the release after this one: it knows one more feature level.
func nextRelease(t *testing.T) string {
	t.Helper()
	path := filepath.Join(root, "proffer-next")
	build := exec.Command("go", "build", "-race", "-tags", "proffer_next", "-ldflags", "-X main.version=next", "-o", path, ".")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// level awaits the feature level of the region, as each of the agents sees it.
func (r *region) level(want string, agents ...*agent) {
	r.t.Helper()
	for _, a := range agents {
		await(r.t, fmt.Sprintf("%s sees feature level %s", a.name, want), func() error {
			self, err := a.api().Self(r.t.Context())
			if err == nil && self.Stats["region.feature_level"] != want {
				err = fmt.Errorf("it is %q", self.Stats["region.feature_level"])
			}
			return err
		})
	}
}

// A region is upgraded one agent at a time, under work: tasks go on, the level rises with the last server and not before,
// and a server of the old release is not taken back in.
func TestRollingUpgrade(t *testing.T) {
	const count = 6
	next := nextRelease(t)
	r := newRegion(t)
	w := r.witness()
	servers, clients := three(r)
	r.submit(w.job("service", "kept", count, forever, ""))
	r.allocs("kept", count)
	pids := w.pids("kept", count)
	for i, s := range servers {
		r.level("1", servers...)
		if code := s.stop(); code != 0 {
			t.Errorf("server %s: exit code %d", s.name, code)
		}
		s.binary = next
		s.start()
		r.nodes(structs.NodeReady, 3)
		job := fmt.Sprintf("during%d", i)
		r.submit(w.job("batch", job, 3, once, ""))
		await(t, job+" is done", func() error {
			status, _, err := s.api().JobStatus(t.Context(), job, nil)
			if err == nil && status.Status != structs.JobDone {
				err = fmt.Errorf("it is %s", status.Status)
			}
			return err
		})
		w.done(job, 3)
	}
	r.level("2", servers...)
	for _, c := range clients {
		c.stop()
		c.binary = next
		c.start()
		r.nodes(structs.NodeReady, 3)
	}
	w.kept("kept", pids)

	// The data of a newer region is not for an old server: it says so and ends, or stays out.
	old := r.server("old", "-bootstrap-expect", "0")
	old.launch()
	await(t, "the region refuses the old server", func() error {
		for _, s := range servers {
			if text, _ := os.ReadFile(s.log); strings.Contains(string(text), "too old for this region") {
				return nil
			}
		}
		return fmt.Errorf("no server says so")
	})
	if out := servers[0].must("operator", "raft", "list-peers"); strings.Contains(out, "old") {
		t.Errorf("the old server was taken in:\n%s", out)
	}
	r.allocs("kept", count)
}
