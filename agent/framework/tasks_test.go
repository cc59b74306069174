package framework

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

func TestWhatIsTold(t *testing.T) {
	reconciled := func(task string, s structs.TaskStatus) *Update {
		return &Update{Task: task, State: s, Reason: "RECONCILIATION"}
	}
	named := func(task string, s structs.TaskStatus, uuid string) *Update {
		return &Update{Task: task, State: s, uuid: []byte(uuid)}
	}
	k := newTasks()
	k.track("a", "n", true)
	for i, step := range []struct {
		u         *Update
		tell, ack bool
	}{
		{reconciled("a", structs.TaskStaging), false, false}, // it was launched here
		{named("a", structs.TaskRunning, "1"), true, false},
		{named("a", structs.TaskRunning, "1"), false, true},
		{reconciled("a", structs.TaskRunning), false, false},
		{named("a", structs.TaskRunning, "2"), true, false}, // other data
		{reconciled("a", structs.TaskUnreachable), true, false},
		{&Update{Task: "a", State: structs.TaskUnreachable, Reason: "AGENT_REMOVED"}, true, false},
		{reconciled("a", structs.TaskFinished), true, false},
		{named("a", structs.TaskFinished, "3"), false, true},
		{reconciled("a", structs.TaskFinished), false, false},
		{reconciled("b", structs.TaskRunning), true, false}, // of an earlier scheduler
		{named("b", structs.TaskRunning, "4"), false, true}, // what the question brought before
		{reconciled("b", structs.TaskUnknown), true, false},
	} {
		tell, ack := k.news(step.u)
		if tell != step.tell || ack != step.ack {
			t.Errorf("step %d, %s %s: tell %v and acknowledge %v", i, step.u.Task, step.u.State, tell, ack)
		}
		if tell {
			k.took(step.u, false)
		}
	}
	if len(k.live) != 0 {
		t.Errorf("%d tasks are taken for alive", len(k.live))
	}
	for i := range 2 * mostEnded {
		k.took(named(fmt.Sprint(i), structs.TaskFinished, "x"), false)
	}
	if len(k.ended) != mostEnded || len(k.order) != mostEnded {
		t.Errorf("%d ended tasks are remembered, %d in order", len(k.ended), len(k.order))
	}
}

func TestWhatIsAskedFor(t *testing.T) {
	k := newTasks()
	k.track("a", "", false)
	k.track("b", "", false)
	k.track("c", "", true)
	k.ask()
	if got := fmt.Sprint(k.unheard()); got != "[a b]" {
		t.Errorf("asked for are %s", got)
	}
	k.news(&Update{Task: "a", State: structs.TaskRunning, Reason: "RECONCILIATION"})
	if got := fmt.Sprint(k.unheard()); got != "[b]" {
		t.Errorf("asked for again are %s", got)
	}
	now := time.Unix(1000, 0)
	r := &reconciling{every: 10 * time.Minute, all: now}
	var at []string
	for range 10 {
		all, again := r.next(now, true)
		at = append(at, fmt.Sprint(all, " ", again.Sub(time.Unix(1000, 0))))
		now = again
	}
	want := "[true 1s false 3s false 7s false 15s false 31s false 1m3s false 2m7s false 4m7s false 6m7s false 8m7s]"
	if got := fmt.Sprint(at); got != want {
		t.Errorf("asked is\n%s, want\n%s", got, want)
	}
	if _, again := r.next(now, false); !again.Equal(r.all) {
		t.Errorf("with nothing left it looks again at %s", again)
	}
}

func TestBackoff(t *testing.T) {
	c := Config{Jitter: func(max time.Duration) time.Duration { return max }}
	none := Config{Jitter: func(time.Duration) time.Duration { return 0 }}
	for n, want := range map[int]time.Duration{1: firstPause, 2: 2 * firstPause, 8: 12800 * time.Millisecond, 9: lastPause, 1000: lastPause} {
		if got := c.backoff(n); got != want {
			t.Errorf("after %d tries it waits up to %s", n, got)
		}
		if got := none.backoff(n); got != want/4 {
			t.Errorf("after %d tries it waits at least %s", n, got)
		}
	}
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	for _, c := range []Config{{}, {Name: "x"}, {Servers: []string{"a:1"}}, {Name: "x", Servers: []string{"ftp://a"}}, {Name: "x", Servers: []string{"a:1/path"}},
		{Name: "x", Servers: []string{"a:1"}, Refuse: -1}, {Name: "x", Servers: []string{"a:1"}, Capabilities: []string{"FLYING"}}} {
		if _, err := New(c); structs.KindOf(err) != structs.Invalid {
			t.Errorf("%+v is taken: %v", c, err)
		}
	}
}

func TestRedirects(t *testing.T) {
	for location, want := range map[string]string{"//10.0.0.2:5050/api/v1/scheduler": "http://10.0.0.2:5050", "http://[::1]:5050": "http://[::1]:5050", "/x": "", "%": ""} {
		if got, ok := redirect("http://10.0.0.1:5050", location); got != want || ok != (want != "") {
			t.Errorf("%s leads to %q", location, got)
		}
	}
}

func TestTheEnvironmentOfAnExecutor(t *testing.T) {
	env := map[string]string{"MESOS_FRAMEWORK_ID": "f", "MESOS_EXECUTOR_ID": "e", "MESOS_AGENT_ENDPOINT": "h:1", "MESOS_RECOVERY_TIMEOUT": "15mins",
		"MESOS_SUBSCRIPTION_BACKOFF_MAX": "2secs", "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": "1.5secs", "MESOS_DOMAIN_SOCKET": "/run/mesos/agent.sock"}
	c, err := FromEnvironment(func(name string) string { return env[name] })
	if err != nil || c.Recovery != 15*time.Minute || c.Pause != 2*time.Second || c.Grace != 1500*time.Millisecond || c.Socket != "/run/mesos/agent.sock" {
		t.Errorf("it is %+v, %v", c, err)
	}
	env["MESOS_RECOVERY_TIMEOUT"] = "15m0s"
	if _, err := FromEnvironment(func(name string) string { return env[name] }); structs.KindOf(err) != structs.Invalid {
		t.Errorf("15m0s is taken: %v", err)
	}
	if _, err := FromEnvironment(func(string) string { return "" }); structs.KindOf(err) != structs.Invalid {
		t.Errorf("nothing is taken: %v", err)
	}
}

func TestTakeFitsTasksIntoAnOffer(t *testing.T) {
	w := &wire.Offer{Resources: append(resources(structs.Resources{CPU: 1000, Memory: 100 << 20, Custom: map[string]structs.Milli{"gpus": 1000}}, nil, false),
		resources(structs.Resources{}, []int{7, 8, 10}, false)...)}
	o := offerOf(w)
	if o.Resources.CPU != 1000 || o.Resources.Memory != 100<<20 || o.Resources.Ports != 3 || o.Resources.Custom["gpus"] != 1000 {
		t.Fatalf("it has %+v", o.Resources)
	}
	if _, ok := o.Take(structs.Resources{CPU: 1001}); ok {
		t.Error("more than there is was taken")
	}
	for i, want := range []string{"[7 8]", "[10]"} {
		if ports, ok := o.Take(structs.Resources{CPU: 100, Ports: 2 - i}); !ok || fmt.Sprint(ports) != want {
			t.Errorf("it took %v, %v", ports, ok)
		}
	}
	if _, ok := o.Take(structs.Resources{Ports: 1}); ok || o.Resources.CPU != 800 {
		t.Errorf("what is left is %+v", o.Resources)
	}
}

func TestFileIDKeepsTheID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "id")
	f, ctx := FileID(path), context.Background()
	if id, err := f.Load(ctx); id != "" || err != nil {
		t.Errorf("it begins with %q, %v", id, err)
	}
	for _, want := range []string{"one", "two"} {
		if err := f.Save(ctx, want); err != nil {
			t.Fatal(err)
		}
		if id, err := f.Load(ctx); id != want || err != nil {
			t.Errorf("it has %q, %v", id, err)
		}
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("%d files are left", len(left))
	}
	if err := FileID(filepath.Join(path, "below")).Save(ctx, "x"); err == nil {
		t.Error("it was saved below a file")
	}
}
