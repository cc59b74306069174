package client

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/structs"
)

func TestTasksOutliveTheAgent(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.service("j", nil))
		w.run("b", w.batch("k", script{"run_for": "1m", "exit_code": 0}, nil))
		after(time.Second)
		w.stop()
		w.expectRunning("a/main/1", "b/main/1")
		after(2 * time.Minute) // b ends while nobody looks
		w.start()
		w.welcome("g1")
		after(time.Second)
		w.expect("a", structs.AllocRunning, "")
		w.expect("b", structs.AllocComplete, "")
		w.expectStarts("a/main/1", "b/main/1")
		w.want(w.change("a", stopped))
		after(time.Second)
		w.expect("a", structs.AllocComplete, "the user stopped it")
	})
}

func TestRebootLosesTasksAndThePolicyDecides(t *testing.T) {
	bubble(t, func(w *world) {
		zero := 0
		w.run("a", w.service("j", nil))
		w.run("b", w.service("k", func(g *structs.Group) { g.Restart = &structs.Restart{Attempts: &zero} }))
		after(time.Second)
		w.crash(rand.New(rand.NewPCG(1, 1)), true)
		w.start()
		w.welcome("g1")
		after(2 * time.Second)
		w.expect("a", structs.AllocRunning, "")
		w.expectRunning("a/main/2")
		w.expect("b", structs.AllocFailed, "the machine was restarted while it ran")
		w.expectTask("b", "main", structs.TaskLost, "")
		said := func() string {
			n := w.agent.Node()
			return n.Attributes["boot.id"] + " " + n.Attributes["boot.interrupted"]
		}
		if got := said(); got != "boot-1+ 2" || w.agent.Node().Attributes["boot.time"] == "" {
			t.Errorf("the node says of its boot: %q, %v", got, w.agent.Node().Attributes)
		}
		w.stop()
		w.start()
		w.welcome("g1")
		if got := said(); got != "boot-1+ 2" {
			t.Errorf("after another start of the agent: %q", got)
		}
		w.crash(rand.New(rand.NewPCG(1, 1)), true)
		w.start()
		w.welcome("g1")
		if got := said(); got != "boot-1++ 1" {
			t.Errorf("after another boot: %q", got)
		}
	})
}

// TestRecoveryAtAnyPoint kills the agent, or cuts off the whole machine, at random points of random work, many times, with
// a region that always sends what it wants again. In the end everything has ended as it should; no number of a start was
// used twice, no two starts of a task ran at the same time (the machine watches), and no end that was reported was taken
// back (the uplink watches).
func TestRecoveryAtAnyPoint(t *testing.T) {
	for seed := range uint64(12) {
		if only, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil && only != seed {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			w := newWorld(t)
			many := 500 // reboots use up attempts
			restart := &structs.Restart{Attempts: &many, Delay: structs.Duration(10 * time.Millisecond)}
			var wanted []*structs.Allocation
			w.start()
			w.welcome("g1")
			for life := range 6 {
				for range random.IntN(8) {
					id := fmt.Sprintf("s%d-%d", seed, len(wanted))
					j := w.job(id, structs.BatchJob, func(g *structs.Group) {
						g.Restart = restart
						if random.IntN(3) == 0 {
							inRoom(g)
						}
						g.Tasks = []*structs.Task{task("main", script{"run_for": fmt.Sprintf("%dms", random.IntN(300)), "fail_first": random.IntN(3)})}
						if random.IntN(3) == 0 {
							pre := task("pre", script{"run_for": "20ms"})
							pre.Lifecycle = &structs.Lifecycle{Hook: "prestart"}
							side := task("side", script{"run_for": "forever"})
							side.Lifecycle = &structs.Lifecycle{Hook: "prestart", Sidecar: true}
							post := task("post", script{"run_for": "20ms"})
							post.Lifecycle = &structs.Lifecycle{Hook: "poststop"}
							g.Tasks = append(g.Tasks, pre, side, post)
						}
					})
					wanted = append(wanted, w.alloc(id, j))
				}
				w.full(w.known(wanted)...)
				// The end comes at an operation of the disk, or at a time.
				dead := make(chan struct{})
				if random.IntN(2) == 0 {
					left := random.IntN(40)
					w.disk.Fail(func(op, name string) error {
						if left--; left < 0 {
							if left == -1 {
								close(dead)
							}
							return syscall.EIO
						}
						return nil
					})
				}
				select {
				case <-dead:
				case <-time.After(time.Duration(random.IntN(400)) * time.Millisecond):
				}
				if random.IntN(2) == 0 {
					synctest.Wait()
				}
				if life == 5 {
					break
				}
				w.crash(random, random.IntN(3) == 0)
				time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
				w.start()
				w.welcome("g1")
			}
			w.crash(random, false)
			w.start()
			w.welcome("g1")
			w.full(w.known(wanted)...)
			after(10 * time.Minute)
			for _, a := range wanted {
				w.expect(string(a.ID), structs.AllocComplete, "")
			}
			if left := w.machine.Running(); len(left) > 0 {
				t.Errorf("still running: %v", left)
			}
			if left := w.rooms.list(); left != "[]" {
				t.Errorf("still held: %s", left)
			}
			w.stop()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		})
	}
}

// known gives allocations the status that the region knows.
func (w *world) known(all []*structs.Allocation) []*structs.Allocation {
	out := make([]*structs.Allocation, len(all))
	for i, a := range all {
		next := *a
		if s := w.state(string(a.ID)); s != "unknown" && s != string(structs.AllocRunning) {
			next.Status = structs.AllocStatus(s)
		}
		out[i] = &next
	}
	return out
}

// fenced is a service that must not run without a lease.
func (w *world) fenced(name string) *structs.JobVersion {
	return w.service(name, func(g *structs.Group) { g.OnLost = "fence"; g.Tasks[0].Config["ignore_signals"] = true })
}

// lease renews the lease for d from now.
func (w *world) lease(d time.Duration) { w.up.node.Lease(w.Now() + session.Instant(d)) }

func TestFencedWorkEndsWithTheLease(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.fenced("f"))
		w.run("b", w.service("r", nil))
		after(time.Minute)
		w.expectRunning("b/main/1") // a waits for the first lease
		w.lease(15 * time.Second)
		after(10 * time.Second)
		w.expectRunning("a/main/1", "b/main/1")
		w.lease(15 * time.Second)
		after(14900 * time.Millisecond)
		w.expectRunning("a/main/1", "b/main/1")
		after(100 * time.Millisecond)
		w.expectRunning("b/main/1") // at once, whatever the grace, and it takes no signal
		w.expect("a", structs.AllocFailed, "the node's lease ended, and on_lost is fence")
		w.lease(15 * time.Second)
		after(time.Second)
		w.expectRunning("b/main/1")
	})
}

// TestLeaseIsCountedWhileSuspended lets the boot clock jump: timers of the process do not see that.
func TestLeaseIsCountedWhileSuspended(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.fenced("f"))
		w.lease(15 * time.Second)
		after(time.Second)
		w.expectRunning("a/main/1")
		w.mu.Lock()
		w.booted = w.booted.Add(-time.Minute)
		w.mu.Unlock()
		after(2 * time.Second)
		w.expectRunning()
	})
}

func TestRestartedAgentRemembersTheLease(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.fenced("f"))
		w.run("b", w.fenced("g"))
		w.lease(15 * time.Second)
		after(time.Second)
		w.stop()
		after(5 * time.Second)
		w.start()
		after(time.Second)
		w.expectRunning("a/main/1", "b/main/1")
		w.stop()
		after(20 * time.Second) // nobody renews; what holds the deadline outside the agent is not part of this test
		w.start()
		w.welcome("g1")
		after(time.Second)
		w.expectRunning()
		w.expect("a", structs.AllocFailed, "lease ended")
	})
}

// The lease that counts may be older than the fenced work.
func TestRestartedAgentRemembersTheLeaseFromBeforeTheWork(t *testing.T) {
	bubble(t, func(w *world) {
		w.lease(10 * time.Minute)
		w.run("a", w.fenced("f"))
		after(time.Second)
		w.stop()
		after(time.Minute)
		w.start()
		after(time.Second)
		w.expectRunning("a/main/1")
		w.stop()
		after(10 * time.Minute)
		w.start()
		w.welcome("g1")
		after(time.Second)
		w.expectRunning()
	})
}

func TestFencersLearnTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := &fencer{}
		w.tune = func(c *Config) { c.Fencers = []Fencer{f} }
		w.start()
		w.lease(15 * time.Second)
		synctest.Wait()
		if want := time.Duration(w.Now()) + 15*time.Second; f.until != want {
			t.Errorf("deadline %s, want %s", f.until, want)
		}
		w.stop()
	})
}

// known work that the region does not name.
func (w *world) many(prefix string, n int) (all []*structs.Allocation) {
	j := w.service(prefix, nil)
	for i := range n {
		all = append(all, w.alloc(fmt.Sprintf("%s%03d", prefix, i), j))
	}
	w.want(all...)
	after(time.Second)
	return all
}

func TestAbsenceFromAConfirmedFullEnds(t *testing.T) {
	bubble(t, func(w *world) {
		all := w.many("a", 40)
		w.index++
		w.full(all[3:]...)
		after(time.Second)
		if n := len(w.machine.Running()); n != 37 {
			t.Errorf("%d run", n)
		}
		w.expect("a000", structs.AllocComplete, "the region does not know it any more")
	})
}

func TestAbsenceWithoutProofEndsNothing(t *testing.T) {
	for name, send := range map[string]func(w *world, all []*structs.Allocation){
		"not confirmed": func(w *world, all []*structs.Allocation) {
			w.up.node.Desired(&session.Desired{Index: w.index + 1, Full: true, Allocs: all[1:], Jobs: []*structs.JobVersion{w.jobs["a"]}})
		},
		"not newer": func(w *world, all []*structs.Allocation) {
			w.up.node.Desired(&session.Desired{Index: all[0].CreateIndex, Full: true, Confirmed: true, Allocs: all[1:]})
		},
		"not full": func(w *world, all []*structs.Allocation) {
			w.up.node.Desired(&session.Desired{Index: w.index + 1, Confirmed: true, Allocs: all[1:]})
		},
		"too many": func(w *world, all []*structs.Allocation) {
			w.index++
			w.full(all[5:]...)
		},
		"all": func(w *world, all []*structs.Allocation) {
			w.index++
			w.full()
		},
		"another generation": func(w *world, all []*structs.Allocation) {
			w.index += 1000
			w.welcome("g2")
			w.full(all[1:]...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				all := w.many("a", 40)
				send(w, all)
				after(time.Minute)
				if n := len(w.machine.Running()); n != 40 {
					t.Errorf("%d run", n)
				}
				quarantine := map[string]string{"too many": "5", "all": "40", "another generation": "1"}[name]
				if got := w.agent.Node().Attributes["quarantine.count"]; got != quarantine {
					t.Errorf("quarantine.count = %q, want %q", got, quarantine)
				}
			})
		})
	}
}

// TestQuarantine follows quarantined work: it survives restarts of the agent and later Fulls, and ends by a word of the
// region, or of the operator; or the region knows it again.
func TestQuarantine(t *testing.T) {
	bubble(t, func(w *world) {
		all := w.many("a", 10)
		w.index++
		w.full(all[5:]...)
		after(time.Second)
		w.stop()
		w.start()
		w.welcome("g1")
		for range 3 {
			w.index++
			w.full(all[5:]...)
			after(time.Second)
		}
		if got := w.agent.Node().Attributes["quarantine.count"]; got != "5" || len(w.machine.Running()) != 10 {
			t.Fatalf("quarantine.count %q, %d run", got, len(w.machine.Running()))
		}
		w.want(w.change("a000", stopped))
		if err := w.agent.StopQuarantined([]structs.AllocID{"a001", "a002"}); err != nil {
			t.Fatal(err)
		}
		if err := w.agent.StopQuarantined([]structs.AllocID{"a009"}); structs.KindOf(err) != structs.Conflict {
			t.Errorf("work in order: %v", err)
		}
		after(time.Second)
		w.expect("a000", structs.AllocComplete, "the user stopped it")
		w.expect("a001", structs.AllocComplete, "an operator stopped")
		w.index++
		w.full(append(all[5:], all[3], all[4])...)
		after(time.Second)
		if got := w.agent.Node().Attributes["quarantine.count"]; got != "" || len(w.machine.Running()) != 7 {
			t.Errorf("quarantine.count %q, %d run", got, len(w.machine.Running()))
		}
		w.index++
		w.full(append(all[5:], all[4])...) // one that is absent is proof again
		after(time.Second)
		w.expect("a003", structs.AllocComplete, "does not know it")
	})
}

// TestRestoredRegionTakesOverItsWork: after the first confirmed Full of a generation, its word counts again.
func TestRestoredRegionTakesOverItsWork(t *testing.T) {
	bubble(t, func(w *world) {
		all := w.many("a", 40)
		w.welcome("g2")
		w.index = 50 // older than what made the work
		w.full(all...)
		w.stop()
		w.start()
		if got := w.up.node.Hello().Generation; got != "g2" {
			t.Errorf("generation %q", got)
		}
		w.welcome("g2")
		w.index = 500
		w.full(all[1:]...)
		after(time.Second)
		w.expect("a000", structs.AllocComplete, "does not know it")
	})
}

func TestWhatTheNodeDoesNotHave(t *testing.T) {
	bubble(t, func(w *world) {
		j := w.service("j", nil)
		stop := w.alloc("a", j)
		stopped(stop)
		ran := w.alloc("b", j)
		ran.Status = structs.AllocRunning
		over := w.alloc("c", j)
		over.Status = structs.AllocLost
		w.want(stop, ran, over)
		lone := w.alloc("d", j)
		lone.Version = 99
		w.up.node.Desired(&session.Desired{Index: w.index, Allocs: []*structs.Allocation{lone}})
		after(time.Second)
		w.expect("a", structs.AllocComplete, "the node does not have it")
		w.expect("b", structs.AllocFailed, "its data folder was lost or replaced")
		w.expect("d", structs.AllocFailed, "did not send its job")
		if got := w.state("c"); got != "unknown" {
			t.Errorf("c: %s", got)
		}
		w.expectStarts()
	})
}

// TestEndsAreRepeatedUntilTheRegionKnows loses the report of an end with the session.
func TestEndsAreRepeatedUntilTheRegionKnows(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.batch("j", script{"exit_code": 0}, nil))
		after(time.Second)
		w.lose("a")
		w.crash(nil, false)
		w.start()
		w.welcome("g1")
		w.expect("a", structs.AllocComplete, "")
		w.expectTask("a", "main", structs.TaskFinished, "")
		w.lose("a")
		w.want(w.change("a", stopped)) // the region still believes that it runs
		w.expect("a", structs.AllocComplete, "")
	})
}

func TestFullDiskStopsNothingAndSaysSo(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.service("j", nil))
		w.run("b", w.batch("k", script{"run_for": "10s"}, nil))
		after(time.Second)
		var full atomic.Bool
		full.Store(true)
		w.disk.Fail(func(op, name string) error {
			if full.Load() && (op == "write" || op == "create") {
				return syscall.ENOSPC
			}
			return nil
		})
		w.run("c", w.batch("l", script{}, nil))
		after(5 * time.Minute)
		w.expectRunning("a/main/1")
		w.expectTask("c", "main", structs.TaskStarting, "no space left on device")
		w.expect("b", structs.AllocComplete, "") // known, though it could not be written down yet
		if got := w.agent.Node().Attributes["state.error"]; !strings.Contains(got, "free space on the disk") {
			t.Errorf("state.error = %q", got)
		}
		full.Store(false)
		after(time.Minute)
		w.expect("c", structs.AllocComplete, "")
		if got := w.agent.Node().Attributes["state.error"]; got != "" {
			t.Errorf("state.error = %q", got)
		}
		if s := w.task("c", "main"); s.Restarts != 0 {
			t.Errorf("%d restarts", s.Restarts)
		}
	})
}

func TestLeaveStopsAllWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.welcome("g1")
		w.many("a", 5)
		if err := w.agent.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.expectRunning()
		w.expect("a000", structs.AllocComplete, "the node leaves")
		if !w.up.left.Load() {
			t.Error("no goodbye")
		}
	})
}
