package agent

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/config"
	"github.com/proffer/proffer/client/cluster"
	"github.com/proffer/proffer/client/gossip"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

const base = `
node_name = "one"
encrypt   = ["cHJvZmZlciB0ZXN0IGtleSBvZiAzMiBieXRlcyBsb24="]
server {
  bootstrap_expect = 1
}
`

// newAgent makes a server on free ports of the loopback interface.
func newAgent(t *testing.T, dir string, change ...string) *Agent {
	t.Helper()
	file := filepath.Join(dir, "agent.hcl")
	write(t, file, base)
	flags := flag.NewFlagSet("agent", flag.ContinueOnError)
	bound := config.Bind(flags)
	args := append([]string{"-server", "-config", file, "-data-dir", filepath.Join(dir, "data"), "-bind", "127.0.0.1"}, change...)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	read := func() (*config.Config, *config.Sources, error) {
		cfg, sources, err := bound.Config()
		if err == nil {
			cfg.HTTPPort, cfg.ExecutorPort, cfg.ClusterPort, cfg.Advertise = 0, 0, 0, ""
		}
		return cfg, sources, err
	}
	cfg, sources, err := read()
	if err != nil {
		t.Fatal(err)
	}
	logs := newLogs(io.Discard, false)
	return &Agent{config: cfg, live: cfg, sources: sources, reload: read, version: "test", logs: logs, log: logs.Logger()}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// quiet waits until there are no more goroutines than there were.
func quiet(t *testing.T, before int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 6000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		<-tick.C
	}
	buf := make([]byte, 1<<20)
	t.Fatalf("%d goroutines where %d were:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
}

func TestStartAndStopLeaveNothing(t *testing.T) {
	before, dir := runtime.NumGoroutine(), t.TempDir()
	for range 2 { // on the same data folder
		a := newAgent(t, dir)
		if err := a.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := a.server.Read(t.Context(), false); err != nil {
			t.Error(err)
		}
		a.stop(t.Context())
		quiet(t, before)
	}
}

func TestAStartThatFailsLeavesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	before, dir := runtime.NumGoroutine(), t.TempDir()
	port := taken.Addr().(*net.TCPAddr).Port
	for what, change := range map[string]func(*Agent){
		"open the HTTP port":    func(a *Agent) { a.config.HTTPPort = port },
		"open the cluster port": func(a *Agent) { a.config.ClusterPort = port },
		"open the data folder": func(a *Agent) {
			path := filepath.Join(a.config.DataDir, "server", "log")
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			write(t, path, "no folder")
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir := filepath.Join(dir, strings.ReplaceAll(what, " ", "-"))
			if err := os.MkdirAll(filepath.Join(dir, "data", "server"), 0o755); err != nil {
				t.Fatal(err)
			}
			a := newAgent(t, dir)
			change(a)
			err := a.start(t.Context())
			if err == nil || !strings.Contains(err.Error(), "cannot "+what) {
				t.Errorf("got %v", err)
			}
			quiet(t, before+2) // those of the test
			if what == "open the data folder" {
				return
			}
			a = newAgent(t, dir) // nothing holds the data folder
			if err := a.start(t.Context()); err != nil {
				t.Error(err)
			}
			a.stop(t.Context())
		})
	}
	ended, end := context.WithCancel(t.Context())
	end()
	a := newAgent(t, dir)
	if err := a.start(ended); err == nil {
		t.Error("it started although it was told to stop")
	}
	quiet(t, before)
}

// An agent that still looks for others, and a server whose region is not made yet, stop when they are told to.
func TestAnAgentThatFindsNobodyStops(t *testing.T) {
	before := runtime.NumGoroutine()
	a := newAgent(t, t.TempDir(), "-join", "127.0.0.1:1", "-bootstrap-expect", "3")
	if err := a.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.stop(t.Context())
	quiet(t, before)
}

// An agent that is stopped says goodbye: the others show it as left, not as failed.
func TestAnAgentThatIsStoppedLeaves(t *testing.T) {
	a := newAgent(t, t.TempDir())
	if err := a.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	port, err := cluster.Listen(cluster.Config{Bind: "127.0.0.1:0", Region: a.config.Region, Keys: a.keys})
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	other, err := gossip.Start(gossip.Config{Keys: a.keys, Transport: port.GossipTransport(), Local: gossip.Member{
		Name: "other", ID: structs.NewID(), Role: gossip.RoleClient, Region: a.config.Region, Datacenter: a.config.Datacenter}})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.Join(t.Context(), []string{a.port.Addr()}); err != nil {
		t.Fatal(err)
	}
	events, cancel := other.Subscribe()
	defer cancel()
	a.stop(t.Context())
	for e := range events {
		if e.Member.Name == "one" && e.Member.Status != gossip.Alive {
			if e.Member.Status != gossip.Left {
				t.Errorf("it is %s", e.Member.Status)
			}
			return
		}
	}
}

// What reads the configuration meets a reload.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	a := newAgent(t, dir)
	if err := a.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer a.stop(context.Background())
	var asking sync.WaitGroup
	ctx, end := context.WithCancel(t.Context())
	for range 4 {
		asking.Go(func() {
			for ctx.Err() == nil {
				if err := (*self)(a).Metrics(ctx, io.Discard); err != nil {
					t.Error(err)
				}
				if _, err := (*self)(a).Self(ctx); err != nil {
					t.Error(err)
				}
				(*self)(a).Healthy(ctx)
			}
		})
	}
	for i := range 20 {
		level := []string{"debug", "warn"}[i%2]
		write(t, filepath.Join(dir, "agent.hcl"), base+`
log_level = "`+level+`"
join      = ["127.0.0.1:1"]
`)
		got, err := (*self)(a).Reload(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Changed) == 0 || len(got.Restart) != 0 {
			t.Errorf("reload %d: %+v", i, got)
		}
	}
	write(t, filepath.Join(dir, "agent.hcl"), strings.Replace(base, "server {", "server {\n  max_jobs = 1\n  raft {\n    trailing_logs = 99\n  }\n  offers {\n    most = 7\n  }", 1))
	if got, err := (*self)(a).Reload(ctx); err != nil || len(got.Restart) != 0 ||
		!slices.Contains(got.Changed, "server.max_jobs") || !slices.Contains(got.Changed, "server.raft.trailing_logs") ||
		!slices.Contains(got.Changed, "server.offers.most") || a.live.Server.Offers.Most != 7 {
		t.Errorf("%+v, %v", got, err)
	}
	for i, want := range []structs.Kind{"", structs.Exhausted} {
		job := &structs.Job{Name: fmt.Sprint("job", i), Groups: []*structs.Group{{Name: "g", Tasks: []*structs.Task{{Name: "t", Driver: "mock"}}}}}
		if _, _, err := a.server.Propose(ctx, "", "ann", &state.SubmitJob{Job: job}); structs.KindOf(err) != want {
			t.Errorf("job %d where one may be: %v", i, err)
		}
	}
	// A sorter that there is not changes nothing of how the region is shared.
	for i, want := range []string{"fifo", "fifo"} {
		text := "server {\n  sorter = \"" + []string{"fifo", "drv"}[i] + "\"\n  fair_share_exclude = [\"gpus\"]\n  keep_room_after = \"1h\"\n"
		write(t, filepath.Join(dir, "agent.hcl"), strings.Replace(base, "server {", text, 1))
		if got, err := (*self)(a).Reload(ctx); err != nil || len(got.Restart) != 0 || !slices.Contains(got.Changed, "server.sorter") || a.live.Server.Sorter != want {
			t.Errorf("%+v, %v: the sorter is %s", got, err, a.live.Server.Sorter)
		}
	}
	write(t, filepath.Join(dir, "agent.hcl"), strings.Replace(base, "one", "two", 1)+"log_level = \"error\"\n")
	got, err := (*self)(a).Reload(ctx)
	if err != nil || len(got.Restart) != 1 || got.Restart[0] != "node_name" {
		t.Errorf("%+v, %v", got, err)
	}
	end()
	asking.Wait()
}

// Seccomp profiles are those that the folder has when it is read, and the log says what is wrong with a file.
func TestSeccompProfiles(t *testing.T) {
	dir := t.TempDir()
	const good = `{"defaultAction": "SCMP_ACT_ALLOW"}`
	profiles := filepath.Join(dir, "profiles")
	if err := os.Mkdir(profiles, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(profiles, "web.json"), good)
	write(t, filepath.Join(profiles, "bad.json"), `{"defaultAction": "SCMP_ACT_ALOW"}`)
	a := newAgent(t, dir)
	var told bytes.Buffer
	a.log = slog.New(slog.NewTextHandler(&told, nil))
	reread := func(folder string, changed bool, want ...string) {
		t.Helper()
		got, err := a.readProfiles(folder)
		found := map[string]string{}
		a.profiles.Tell(found)
		if err != nil || got != changed || len(found) != len(want) {
			t.Errorf("changed %v, %v, to %v; want %v", got, err, found, want)
		}
		for _, name := range want {
			if found[structs.AttrSeccomp+name] == "" {
				t.Errorf("%s is missing in %v", name, found)
			}
		}
	}
	reread(profiles, true, "web")
	if !strings.Contains(told.String(), "bad.json: defaultAction: ") {
		t.Error(told.String())
	}
	reread(profiles, false, "web")
	write(t, filepath.Join(profiles, "bad.json"), good)
	reread(profiles, true, "bad", "web")
	if _, err := a.readProfiles(filepath.Join(dir, "none")); structs.KindOf(err) != structs.Invalid {
		t.Errorf("a folder that is not there: %v", err)
	}
	reread(profiles, false, "bad", "web")
	reread("", true)
}
