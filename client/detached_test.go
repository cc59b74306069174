package client

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/client/logs"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// How a command ended that nobody holds is known after the agent was killed: of one that goes on, of one that ended meanwhile, and of one whose
// task ended, and was forgotten by its driver.
func TestDetachedCommandsOutliveTheAgent(t *testing.T) {
	bubble(t, func(w *world) {
		commands := script{"run_for": "forever", "exec_run_for": "1m", "exec_exit_code": 7}
		w.run("a", w.service("j", func(g *structs.Group) { g.Tasks[0].Config = commands }))
		w.run("b", w.batch("k", script{"run_for": "30s", "exec_run_for": "1m"}, nil))
		after(time.Second)
		ctx := w.t.Context()
		detach := func(alloc structs.AllocID, name string) {
			t.Helper()
			err := w.agent.Detach(ctx, alloc, "main", "label of "+name, &drivers.Detach{Name: name, Args: []string{"say", name}})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		ends := func(alloc structs.AllocID, name string, code int) {
			t.Helper()
			d, err := w.agent.AwaitDetached(ctx, alloc, name)
			if err != nil || d.Exit == nil || d.Exit.Code != code || d.Label != "label of "+name || d.Task != "main" {
				t.Errorf("%s: %+v, %+v, %v, and not code %d", name, d, d.Exit, err, code)
			}
		}
		again := func() {
			t.Helper()
			w.crash(rand.New(rand.NewPCG(1, 1)), false)
			after(40 * time.Second)
			w.start()
			w.welcome("g1")
		}
		detach("a", "meanwhile")
		detach("b", "within")
		after(25 * time.Second)
		detach("a", "later")
		kindIs(t, "a name that is taken", w.agent.Detach(ctx, "a", "main", "", &drivers.Detach{Name: "later", Args: []string{"x"}}), structs.Conflict)
		again()
		ends("a", "meanwhile", 7)
		ends("b", "within", 137)
		if got := len(w.agent.Detached()); got != 3 {
			t.Errorf("%d commands are known", got)
		}
		ends("a", "later", 7)
		w.expect("b", structs.AllocComplete, "")

		detach("a", "killed")
		if err := w.agent.SignalDetached(ctx, "a", "killed", "SIGKILL", true); err != nil {
			t.Error(err)
		}
		ends("a", "killed", 137)
		detach("a", "runs")
		kindIs(t, "to forget one that runs", w.agent.ForgetDetached(ctx, "a", "runs"), structs.Conflict)
		again()
		ends("a", "killed", 137)
		ends("a", "runs", 7)
		kindIs(t, "to signal one that has ended", w.agent.SignalDetached(ctx, "a", "runs", "SIGTERM", true), structs.Conflict)
		var said strings.Builder
		for _, d := range w.agent.Detached() {
			if d.Name == "killed" && !d.Killed {
				t.Error("that somebody wanted its end is forgotten")
			}
			if d.Name == "runs" {
				over := make(chan struct{})
				close(over)
				if err := w.agent.DetachedLogs(ctx, d, logs.Stdout, 3, over, &said); err != nil || said.String() != "ns\n" {
					t.Errorf("it said %q, %v", said.String(), err)
				}
			}
		}
		for alloc, names := range map[structs.AllocID][]string{"a": {"meanwhile", "later", "killed", "runs", "never"}, "b": {"within"}} {
			for _, name := range names {
				if err := w.agent.ForgetDetached(ctx, alloc, name); err != nil {
					t.Errorf("forget %s: %v", name, err)
				}
			}
		}
		if left, _ := filepath.Glob(filepath.Join(w.dir, "allocs", "*", "logs", "*~*")); len(left) > 0 {
			t.Errorf("their output is left: %v", left)
		}
		_, err := w.agent.AwaitDetached(ctx, "a", "runs")
		kindIs(t, "one that was forgotten", err, structs.NotFound)
		after(time.Second)
		again()
		if got := w.agent.Detached(); len(got) > 0 {
			t.Errorf("there is left %v", got)
		}
	})
}

// A record of a start that the agent was killed in is of nothing, and a command in a task that is started again is one of the start before.
func TestDetachedCommandsOfStarts(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.service("j", func(g *structs.Group) {
			g.Tasks[0].Config = script{"run_for": "forever", "exec_run_for": "1h"}
		}))
		after(time.Second)
		ctx := w.t.Context()
		if err := w.agent.Detach(ctx, "a", "main", "", &drivers.Detach{Name: "first", Args: []string{"x"}}); err != nil {
			t.Fatal(err)
		}
		if err := w.agent.Restart(ctx, "a", "main"); err != nil {
			t.Fatal(err)
		}
		if d, err := w.agent.AwaitDetached(ctx, "a", "first"); err != nil || d.Exit.Code != 137 {
			t.Errorf("in a task that was started again: %+v, %v", d.Exit, err)
		}
		after(10 * time.Second)
		w.expectRunning("a/main/2")
		kindIs(t, "a program that there is not", w.agent.Detach(ctx, "a", "main", "", &drivers.Detach{Name: "second"}), structs.Invalid)
		kindIs(t, "a task that there is not", w.agent.Detach(ctx, "a", "other", "", &drivers.Detach{Name: "second"}), structs.NotFound)
		after(time.Second)
		if got := w.agent.Detached(); len(got) != 1 {
			t.Errorf("known are %v", got)
		}
		gone, cancel := context.WithCancel(ctx)
		cancel()
		want := 1
		if w.agent.Detach(gone, "a", "main", "", &drivers.Detach{Name: "third", Args: []string{"x"}}) == nil {
			want++ // the disk was faster
		}
		after(time.Second)
		if got := w.agent.Detached(); len(got) != want {
			t.Errorf("known are %v", got)
		}
	})
}
