//go:build system

package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/api"
)

// TestVariablesAndServices: the example of the docs. Tasks wait for a secret and for a setting, get both, are told of the next secret, and
// of each other as the job is scaled; all of it through a kill of the agent, and nothing of the secret is on the disk.
func TestVariablesAndServices(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	a := r.agent("a", "-server", "-client", "-bootstrap-expect", "1")
	r.startAll()
	text := examples(t, "variables", 1)[0]
	a.must("job", "run", "-detach", r.file("web.hcl", text))
	says := func(what, command string, want ...string) {
		t.Helper()
		await(t, what, func() error {
			out := a.must(strings.Fields(command)...)
			for _, w := range want {
				if !strings.Contains(out, w) {
					return fmt.Errorf("no %q in %s", w, out)
				}
			}
			return nil
		})
	}
	says("what the tasks wait for", "job explain web", "variable eng/web/db (there is none)", "variable eng/db (there is none)")
	a.must("var", "put", "eng/db", "host=db1.internal")
	a.must("var", "put", "-secret", "eng/web/db", "password=@"+r.file("p1", "correct-horse"))
	one := r.allocs("web", 2)[0]
	logs := "alloc logs " + string(one.ID)
	says("a variable in the environment", logs, "host db1.internal")
	await(t, "both allocations in the service", func() error {
		if out := a.must("service", "status", "web"); strings.Count(out, "  web  ") != 2 {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	says("them in the file", "alloc fs "+string(one.ID)+" server/local/peers", "server ")

	a.must("var", "put", "-secret", "eng/web/db", "password=@"+r.file("p2", "battery-staple"))
	says("the signal", logs, "password = battery-staple")
	a.must("job", "scale", "web", "3")
	await(t, "three peers in the file", func() error {
		out := a.must("alloc", "fs", string(one.ID), "server/local/peers")
		if n := strings.Count(out, "server "); n != 3 {
			return fmt.Errorf("%d peers: %s", n, out)
		}
		return nil
	})
	for _, command := range []string{"alloc status " + string(one.ID), "var list", "var get eng/web/db", "job status web", "job explain web"} {
		if out := a.must(strings.Fields(command)...); strings.Contains(out, "battery-staple") {
			t.Errorf("%s shows the secret:\n%s", command, out)
		}
	}

	// The next agent finds the tasks, and tells them what changed; who did not change is left alone.
	a.kill()
	a.launch()
	a.await()
	a.must("var", "put", "-secret", "eng/web/db", "password=@"+r.file("p3", "third-secret"))
	says("the signal after a kill", logs, "password = third-secret")
	if x, _, err := a.api().Allocation(t.Context(), string(one.ID), nil); err != nil || x.Tasks["server"] == nil || x.Tasks["server"].Restarts != 0 {
		t.Errorf("restarted: %+v, %v", x, err)
	}
	if found := holding(t, a.dir, "eng/web/db"); len(found) == 0 {
		t.Error("not even the path of the variable is found on the disk: the search finds nothing")
	}
	if found := holding(t, a.dir, "correct-horse"); len(found) > 0 { // the task prints the later ones
		t.Errorf("the first secret is on the disk: %v", found)
	}
	a.must("operator", "key", "rotate")
	says("a rotation", "operator key list", "no", "yes")
	a.must("operator", "snapshot", "save", "-keys", r.dir+"/keys", r.dir+"/snap")
	if info, err := os.Stat(r.dir + "/keys"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	inMemory := func() bool {
		mounts, err := os.ReadFile("/proc/self/mounts")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(mounts), string(one.ID)+"/server/secrets")
	}
	if !inMemory() {
		t.Error("the secrets of a task that runs are not in memory")
	}
	a.must("job", "stop", "web")
	await(t, "no secrets in memory", func() error {
		if inMemory() {
			return errors.New("they are mounted still")
		}
		return nil
	})
}

// TestCampaign: of two replicas one leads; when it goes the other follows, with a larger term.
func TestCampaign(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	a := r.agent("a", "-server", "-bootstrap-expect", "1")
	r.startAll()
	terms := make(chan uint64)
	run := func(ctx context.Context, who string) error {
		return api.Campaign(ctx, a.api(), "@replicas/leader", who, time.Minute, func(ctx context.Context, term uint64) {
			terms <- term
			<-ctx.Done()
		})
	}
	first, stop := context.WithCancel(t.Context())
	second, halt := context.WithCancel(t.Context())
	defer halt()
	defer stop()
	ended := make(chan error, 2)
	go func() { ended <- run(first, "one") }()
	lead := func() uint64 {
		t.Helper()
		select {
		case term := <-terms:
			return term
		case err := <-ended:
			t.Fatalf("nobody leads: %v", err)
			return 0
		}
	}
	one := lead()
	go func() { ended <- run(second, "two") }()
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if two := lead(); two <= one {
		t.Errorf("terms %d and then %d", one, two)
	}
	if leader := a.must("var", "get", "@replicas/leader", "leader"); leader != "two" {
		t.Errorf("%q leads", leader)
	}
	halt()
	{
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

// holding returns the files below dir that hold text, but for the secrets of tasks.
func holding(t *testing.T, dir, text string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.Contains(path, "/secrets/") {
			return nil
		}
		raw, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(raw), text) {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
