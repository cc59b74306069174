package client

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

func TestBatchRunsToCompletion(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.batch("j", script{"run_for": "5s"}, nil))
		after(time.Second)
		w.expect("a", structs.AllocRunning, "")
		w.expectTask("a", "main", structs.TaskRunning, "")
		after(5 * time.Second)
		w.expect("a", structs.AllocComplete, "")
		w.expectTask("a", "main", structs.TaskFinished, "")
		w.expectStarts("a/main/1")
		if known := w.machine.Known(); len(known) > 0 {
			t.Errorf("the driver still keeps %v", known)
		}
		if !w.hasFolder("a") {
			t.Error("its folder is gone already")
		}
	})
}

// TestNoFoldersWithoutUse: a driver without files costs no folders, and neither hides output nor hinders templates.
func TestNoFoldersWithoutUse(t *testing.T) {
	bubble(t, func(w *world) {
		w.folderless = true
		w.run("a", w.batch("quiet", script{}, nil))
		w.run("b", w.batch("loud", script{"stdout": "hello"}, nil))
		w.run("c", w.batch("filled", script{}, func(g *structs.Group) {
			g.Tasks[0].Templates = []*structs.Template{{Destination: "local/f", Data: "text"}}
		}))
		after(time.Second)
		for id, want := range map[string]bool{"a": false, "b": true, "c": true} {
			w.expect(id, structs.AllocComplete, "")
			if w.hasFolder(id) != want {
				t.Errorf("%s has a folder: %v", id, !want)
			}
		}
		for id, want := range map[structs.AllocID]string{"a": "", "b": "hello\n"} {
			var out strings.Builder
			if _, err := w.agent.Logs(w.t.Context(), LogRequest{Alloc: id}, &out); err != nil || out.String() != want {
				t.Errorf("output of %s: %q, %v", id, out.String(), err)
			}
		}
	})
}

func TestStopGivesGraceThenKills(t *testing.T) {
	bubble(t, func(w *world) {
		polite := w.service("polite", func(g *structs.Group) {
			g.Tasks[0].Config["stop_delay"] = "3s"
			g.Tasks[0].KillTimeout = structs.Duration(10 * time.Second)
		})
		rude := w.service("rude", func(g *structs.Group) { g.Tasks[0].Config["ignore_signals"] = true })
		w.run("a", polite)
		w.run("b", rude)
		after(time.Second)
		w.want(w.change("a", stopped), w.change("b", stopped))
		after(time.Second)
		w.expectTask("a", "main", structs.TaskKilling, "the user stopped it")
		w.expectTask("b", "main", structs.TaskKilling, "the user stopped it")
		after(2 * time.Second)
		w.expect("a", structs.AllocComplete, "the user stopped it")
		if s := w.task("a", "main"); s.ExitCode != 143 || s.Signal != 15 {
			t.Errorf("a: %+v", s)
		}
		w.expectTask("b", "main", structs.TaskKilling, "")
		after(3 * time.Second)
		w.expect("b", structs.AllocComplete, "")
		if s := w.task("b", "main"); s.ExitCode != 137 || s.Signal != 9 {
			t.Errorf("b: %+v", s)
		}
		w.expectRunning()
	})
}

// A framework gives a task that it kills another time than the task has.
func TestAFrameworkGivesAnotherGrace(t *testing.T) {
	bubble(t, func(w *world) {
		rude := w.service("rude", func(g *structs.Group) { g.Tasks[0].Config["ignore_signals"] = true })
		x := structs.ExternalTask{ID: "rude", Name: "main"}
		a := w.alloc("a", rude)
		a.External = &structs.External{Tasks: []*structs.ExternalTask{&x}}
		w.want(a)
		after(time.Second)
		w.want(w.change("a", func(a *structs.Allocation) {
			killed := x
			killed.Kill = &structs.TaskKill{Grace: new(structs.Duration(time.Minute))}
			a.External = &structs.External{Tasks: []*structs.ExternalTask{&killed}}
			stopped(a)
		}))
		after(59 * time.Second)
		w.expectTask("a", "main", structs.TaskKilling, "the user stopped it")
		after(2 * time.Second)
		w.expect("a", structs.AllocComplete, "")
		w.expectRunning()
	})
}

// A drain cuts the time that a task of a framework may take to end, and gives it no more than it asks for.
func TestADrainCutsTheGrace(t *testing.T) {
	bubble(t, func(w *world) {
		rude := func(id string, executor string) {
			j := w.service(id, func(g *structs.Group) {
				g.Tasks[0].Config["ignore_signals"] = true
				g.Tasks[0].KillTimeout = structs.Duration(10 * time.Second)
			})
			a := w.alloc(id, j)
			a.External = &structs.External{Executor: executor, Tasks: []*structs.ExternalTask{{ID: id, Name: "main"}}}
			w.want(a)
		}
		drain := func(longest time.Duration) func(a *structs.Allocation) {
			return func(a *structs.Allocation) {
				x := *a.External
				x.MaxGrace = new(structs.Duration(longest))
				a.External = &x
				stopped(a)
			}
		}
		rude("cut", "")
		rude("pod", "x")
		rude("own", "")
		after(time.Second)
		w.want(w.change("cut", drain(2*time.Second)), w.change("pod", drain(2*time.Second)), w.change("own", drain(time.Hour)))
		after(time.Second)
		w.expectTask("cut", "main", structs.TaskKilling, "")
		w.expectTask("pod", "main", structs.TaskKilling, "")
		after(2 * time.Second)
		w.expect("cut", structs.AllocComplete, "")
		w.expect("pod", structs.AllocComplete, "")
		w.expectTask("own", "main", structs.TaskKilling, "")
		after(8 * time.Second)
		w.expect("own", structs.AllocComplete, "")
		w.expectRunning()
	})
}

func TestRestartsBackOffAndAreUsedUp(t *testing.T) {
	bubble(t, func(w *world) {
		three := 3
		restart := &structs.Restart{Attempts: &three, Delay: structs.Duration(time.Second), Interval: structs.Duration(time.Hour)}
		w.run("a", w.batch("heals", script{"fail_first": 2}, func(g *structs.Group) { g.Restart = restart }))
		w.run("b", w.batch("never", script{"exit_code": 7}, func(g *structs.Group) { g.Restart = restart }))
		after(500 * time.Millisecond)
		w.expectTask("b", "main", structs.TaskStarting, "exit code 7")
		after(time.Second) // 1 s, then 2 s, then 4 s
		if s := w.task("b", "main"); s.Restarts != 2 {
			t.Errorf("%d restarts after 1.5 s", s.Restarts)
		}
		after(10 * time.Second)
		w.expect("a", structs.AllocComplete, "")
		w.expect("b", structs.AllocFailed, `task "main": exit code 7; 3 restarts within 1h are used up`)
		if s := w.task("b", "main"); s.Status != structs.TaskFailed || s.Restarts != 3 || s.ExitCode != 7 || len(s.Events) > structs.MaxTaskEvents {
			t.Errorf("b: %+v", s)
		}
		if n := w.machine.Count(); n != 3+4 {
			t.Errorf("%d starts", n)
		}
	})
}

func TestRestartModeDelayWaitsForTheWindow(t *testing.T) {
	bubble(t, func(w *world) {
		one := 1
		w.run("a", w.batch("j", script{"fail_first": 2}, func(g *structs.Group) {
			g.Restart = &structs.Restart{Attempts: &one, Interval: structs.Duration(10 * time.Minute), Mode: "delay"}
		}))
		after(5 * time.Minute)
		w.expect("a", structs.AllocRunning, "")
		if n := w.machine.Count(); n != 2 {
			t.Errorf("%d starts within the window", n)
		}
		after(6 * time.Minute)
		w.expect("a", structs.AllocComplete, "")
	})
}

func TestServiceThatEndsIsStartedAgain(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.service("j", func(g *structs.Group) { g.Tasks[0].Config["run_for"] = "10s" }))
		after(12 * time.Second)
		w.expect("a", structs.AllocRunning, "")
		w.expectStarts("a/main/1", "a/main/2")
		after(time.Minute)
		w.expect("a", structs.AllocFailed, "2 restarts within 30m are used up")
	})
}

func TestOOMIsReported(t *testing.T) {
	bubble(t, func(w *world) {
		zero := 0
		w.run("a", w.batch("j", script{"oom": true}, func(g *structs.Group) { g.Restart = &structs.Restart{Attempts: &zero} }))
		after(time.Second)
		w.expect("a", structs.AllocFailed, "needed more memory than its limit; the restart policy allows none")
		if !w.task("a", "main").OOM {
			t.Error("no OOM")
		}
	})
}

// TestLifecycle shows the order: prestart tasks one after the other, sidecars, main tasks, and poststop last.
func TestLifecycle(t *testing.T) {
	bubble(t, func(w *world) {
		helper := func(name, hook string, sidecar bool, run string) *structs.Task {
			h := task(name, script{"run_for": run})
			h.Lifecycle = &structs.Lifecycle{Hook: hook, Sidecar: sidecar}
			return h
		}
		w.run("a", w.job("j", structs.BatchJob, func(g *structs.Group) {
			g.Tasks = []*structs.Task{helper("clean", "poststop", false, "1s"), task("m1", script{"run_for": "10s"}), helper("pre1", "prestart", false, "5s"),
				helper("proxy", "prestart", true, "forever"), task("m2", script{"run_for": "20s"}), helper("pre2", "prestart", false, "5s")}
		}))
		after(7 * time.Second)
		w.expectRunning("a/pre2/1")
		w.expectStarts("a/pre1/1", "a/pre2/1")
		after(5 * time.Second)
		w.expectRunning("a/m1/1", "a/m2/1", "a/proxy/1")
		w.expect("a", structs.AllocRunning, "")
		after(10 * time.Second)
		w.expectRunning("a/m2/1", "a/proxy/1")
		after(8500 * time.Millisecond)
		w.expectRunning("a/clean/1")
		w.expectTask("a", "proxy", structs.TaskKilled, "what it accompanies ended")
		after(time.Second)
		w.expect("a", structs.AllocComplete, "")
		w.expectTask("a", "clean", structs.TaskFinished, "")
		if known := w.machine.Known(); len(known) > 0 {
			t.Errorf("the driver still keeps %v", known)
		}
	})
}

func TestFailedTaskTakesTheOthersDown(t *testing.T) {
	bubble(t, func(w *world) {
		zero := 0
		w.run("a", w.job("j", structs.BatchJob, func(g *structs.Group) {
			g.Restart = &structs.Restart{Attempts: &zero}
			g.Tasks = []*structs.Task{task("good", script{"run_for": "forever"}), task("bad", script{"run_for": "5s", "exit_code": 2})}
		}))
		after(4 * time.Second)
		w.expectRunning("a/bad/1", "a/good/1")
		after(2 * time.Second)
		w.expectRunning()
		w.expect("a", structs.AllocFailed, `task "bad": exit code 2`)
		w.expectTask("a", "good", structs.TaskKilled, `task "bad"`)
	})
}

func TestFailedPrestartStartsNothingElse(t *testing.T) {
	bubble(t, func(w *world) {
		zero := 0
		w.run("a", w.job("j", structs.BatchJob, func(g *structs.Group) {
			g.Restart = &structs.Restart{Attempts: &zero}
			pre := task("pre", script{"exit_code": 1})
			pre.Lifecycle = &structs.Lifecycle{Hook: "prestart"}
			g.Tasks = append(g.Tasks, pre)
		}))
		after(time.Second)
		w.expect("a", structs.AllocFailed, `task "pre": exit code 1`)
		w.expectStarts("a/pre/1")
	})
}

func TestMaxRunDuration(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.service("j", func(g *structs.Group) { g.MaxRunDuration = structs.Duration(time.Minute) }))
		after(30 * time.Second)
		w.stop()
		w.start()
		w.welcome("g1")
		after(29 * time.Second)
		w.expect("a", structs.AllocRunning, "")
		after(2 * time.Second)
		w.expect("a", structs.AllocFailed, "max_run_duration of 1m is over")
		w.expectRunning()
	})
}

func TestTemplateFaultFailsAtOnce(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.service("j", func(g *structs.Group) {
			g.Tasks[0].Templates = []*structs.Template{{Destination: "local/x", Data: `{{ env "NONE" }}`}}
		}))
		after(time.Second)
		w.expect("a", structs.AllocFailed, `no environment variable "NONE"`)
		w.expectTask("a", "main", structs.TaskError, "")
		w.expectStarts()
	})
}

func TestUnknownDriverFailsAtOnce(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.service("j", func(g *structs.Group) { g.Tasks[0].Driver = "docker" }))
		after(time.Second)
		w.expect("a", structs.AllocFailed, `the node has no driver "docker"`)
	})
}

// TestShortageOfTheNodeUsesUpNoRestarts lets the node be short of each thing for minutes.
func TestShortageOfTheNodeUsesUpNoRestarts(t *testing.T) {
	bubble(t, func(w *world) {
		short := []error{syscall.ENOSPC, syscall.EMFILE, syscall.ENOMEM, syscall.EAGAIN, structs.Errorf(structs.Unavailable, "supervisor", "it is away")}
		w.trouble = func(id string) error {
			if strings.HasPrefix(id, "ok") {
				return nil
			}
			var i int
			fmt.Sscanf(id, "a%d/", &i)
			return structs.AsError(fmt.Errorf("start: %w", short[i]))
		}
		w.trouble = func(old func(string) error) func(string) error {
			return func(id string) error {
				if e, _ := old(id).(*structs.Error); e != nil {
					if e.Kind == structs.Internal {
						e.Kind = structs.Unavailable
					}
					return e
				}
				return nil
			}
		}(w.trouble)
		j := w.batch("j", script{}, nil)
		for i := range short {
			w.run(fmt.Sprintf("a%d", i), j)
		}
		after(10 * time.Minute)
		for i, why := range short {
			w.expect(fmt.Sprintf("a%d", i), structs.AllocPending, "")
			w.expectTask(fmt.Sprintf("a%d", i), "main", structs.TaskStarting, strings.TrimPrefix(why.Error(), "supervisor: "))
		}
		w.mu.Lock()
		w.trouble = nil
		w.mu.Unlock()
		after(time.Minute)
		for i := range short {
			id := fmt.Sprintf("a%d", i)
			w.expect(id, structs.AllocComplete, "")
			if s := w.task(id, "main"); s.Restarts != 0 || len(s.Events) > 4 {
				t.Errorf("%s: %d restarts, events %v", id, s.Restarts, s.Events)
			}
		}
	})
}

func TestStartErrorsOfTheTaskCount(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.batch("j", script{"start_error": "bad luck"}, nil))
		w.run("b", w.batch("k", script{"start_error": "no such program", "start_error_kind": "not_found"}, nil))
		after(time.Minute)
		w.expect("a", structs.AllocFailed, "bad luck; 3 restarts")
		w.expect("b", structs.AllocFailed, "no such program")
		w.expectTask("b", "main", structs.TaskError, "")
		if s := w.task("b", "main"); s.Restarts != 0 {
			t.Errorf("b was restarted %d times", s.Restarts)
		}
	})
}

// A program that does not exist ends a task at once, with the code that a shell would end with.
func TestAMissingProgramHasTheCodeOfAShell(t *testing.T) {
	bubble(t, func(w *world) {
		w.trouble = func(id string) error {
			return &drivers.NoProgram{Code: 127, Err: structs.Errorf(structs.Invalid, "task "+id, "program %q not found", "x")}
		}
		w.run("a", w.batch("j", script{}, nil))
		after(time.Second)
		w.expect("a", structs.AllocFailed, `task "main": program "x" not found`)
		if s := w.task("a", "main"); s.Status != structs.TaskError || s.ExitCode != 127 || s.Restarts != 0 || s.Why != `program "x" not found` {
			t.Errorf("%+v", s)
		}
	})
}

// TestStopInterruptsASlowStart stops an allocation whose driver takes an hour.
func TestStopInterruptsASlowStart(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.service("j", func(g *structs.Group) { g.Tasks[0].Config["start_delay"] = "1h" }))
		after(time.Second)
		w.want(w.change("a", stopped))
		after(time.Second)
		w.expect("a", structs.AllocComplete, "the user stopped it")
		w.expectStarts()
	})
}

func TestRestartOnRequest(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.job("j", structs.ServiceJob, func(g *structs.Group) {
			g.Tasks = []*structs.Task{task("x", script{"run_for": "forever"}), task("y", script{"run_for": "forever"})}
		}))
		after(time.Second)
		again := w.change("a", func(a *structs.Allocation) { a.Restarts, a.RestartTask = 1, "x" })
		w.want(again)
		after(time.Second)
		w.expectRunning("a/x/2", "a/y/1")
		w.want(again) // the same wish once more is no new wish
		w.stop()
		w.start()
		w.welcome("g1")
		w.full(again)
		after(time.Second)
		w.expectRunning("a/x/2", "a/y/1")
		if err := w.agent.Restart(w.t.Context(), "a", "y"); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		w.expectRunning("a/x/2", "a/y/2")
		w.expect("a", structs.AllocRunning, "")
		if err := w.agent.Restart(w.t.Context(), "a", "z"); structs.KindOf(err) != structs.NotFound {
			t.Errorf("restart of an unknown task: %v", err)
		}
	})
}

// TestChangeInPlace brings a newer job version to running work without a restart.
func TestChangeInPlace(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.service("j", func(g *structs.Group) { g.Tasks[0].Config["ignore_signals"] = true }))
		after(time.Second)
		v2 := w.service("j", func(g *structs.Group) {
			g.Tasks[0].Config["ignore_signals"] = true
			g.Tasks[0].KillTimeout = structs.Duration(time.Minute)
		})
		w.want(w.change("a", func(a *structs.Allocation) { a.Version = v2.Version }))
		after(time.Second)
		w.stop() // the newer version is the one that is remembered
		w.start()
		w.welcome("g1")
		w.want(w.change("a", stopped))
		after(30 * time.Second)
		w.expectTask("a", "main", structs.TaskKilling, "")
		after(31 * time.Second)
		w.expect("a", structs.AllocComplete, "")
		w.expectStarts("a/main/1")
		if jobs := w.agent.store.Jobs(); len(jobs) > 0 {
			t.Errorf("job versions are left: %v", jobs)
		}
	})
}

// TestNewerIncarnationWaitsForTheOlder: never two of one index at the same time.
func TestNewerIncarnationWaitsForTheOlder(t *testing.T) {
	bubble(t, func(w *world) {
		j := w.service("j", func(g *structs.Group) { g.Tasks[0].Config["stop_delay"] = "4s" })
		w.run("a", j)
		after(time.Second)
		b := w.alloc("b", j)
		b.Index = 0
		w.want(b)
		after(3 * time.Second)
		w.expectRunning("a/main/1")
		after(2 * time.Second)
		w.expectRunning("b/main/1")
		w.expect("a", structs.AllocComplete, "a newer incarnation")
		// An older one that comes late does not start.
		old := w.alloc("c", j)
		old.Index, old.Incarnation = 0, 1
		w.want(old)
		after(time.Second)
		w.expect("c", structs.AllocFailed, "a newer incarnation of it runs here")
		w.expectRunning("b/main/1")
	})
}

func TestThousandAllocations(t *testing.T) {
	bubble(t, func(w *world) {
		j := w.batch("j", script{"run_for": "1s"}, nil)
		var all []*structs.Allocation
		for i := range 1000 {
			all = append(all, w.alloc(fmt.Sprintf("a%d", i), j))
		}
		for part := range slices.Chunk(all, 100) {
			w.want(part...)
		}
		after(5 * time.Second)
		for _, a := range all {
			w.expect(string(a.ID), structs.AllocComplete, "")
		}
		if n := w.machine.Count(); n != 1000 {
			t.Errorf("%d starts", n)
		}
		w.agent.mu.Lock()
		if len(w.agent.held) != 0 || len(w.agent.slots) != 0 || len(w.agent.ended) != 1000 {
			t.Errorf("in memory: %d held, %d slots, %d ended", len(w.agent.held), len(w.agent.slots), len(w.agent.ended))
		}
		w.agent.mu.Unlock()
		if w.updates > 3*1000 {
			t.Errorf("%d updates", w.updates)
		}
	})
}
