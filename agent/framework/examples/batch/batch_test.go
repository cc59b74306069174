package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/agent/framework"
	"github.com/proffer/proffer/agent/framework/frameworktest"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
	"github.com/proffer/proffer/website"
)

// run runs commands in a region, does what a test does meanwhile, and returns the scheduler once it ended.
func run(t *testing.T, c frameworktest.Config, lines []string, meanwhile func(*frameworktest.Region)) *batch {
	r := frameworktest.Start(t, c)
	var b *batch
	scheduler := r.Run(framework.Config{Name: "batch"}, func(d *framework.Driver) framework.Scheduler {
		b = newBatch(d, lines, structs.Resources{CPU: 1000, Memory: 64 << 20}, 3)
		return b
	})
	if meanwhile != nil {
		meanwhile(r)
	}
	r.Until("all is done", scheduler.Ended)
	if err := scheduler.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if n := len(r.Running()); n > 0 {
		t.Errorf("%d processes are left", n)
	}
	return b
}

// TestThePageShowsIt: the page that explains the example has it as it is.
func TestThePageShowsIt(t *testing.T) {
	source, err := os.ReadFile("batch.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := website.Files.ReadFile("docs/write-a-framework.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(source), "\n// command is one line.")
	shown, _, _ = strings.Cut(shown, "\nfunc main()")
	if !strings.Contains(string(page), strings.TrimSpace(shown)) {
		t.Error("it shows another one")
	}
}

func TestAllCommandsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines []string
		for range 20 { // 8 at a time
			lines = append(lines, "sleep 60")
		}
		begun := time.Now()
		b := run(t, frameworktest.Config{Nodes: 2}, lines, nil)
		if took := time.Since(begun); len(b.failed) > 0 || took < 3*time.Minute || took > 4*time.Minute {
			t.Errorf("failed %v, after %s", b.failed, took)
		}
	})
}

func TestACommandIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, frameworktest.Config{}, []string{"sleep 1", "false", "no-such-program"}, func(r *frameworktest.Region) {
			r.Until("the last try of false", func() bool { return r.Started("command-2-3") == 1 })
		})
		if slices.Sort(b.failed); fmt.Sprint(b.failed) != "[false no-such-program]" {
			t.Errorf("failed %v", b.failed)
		}
	})
}

func TestANodeFailsAndALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, frameworktest.Config{Servers: 3, Nodes: 2}, []string{"sleep 100", "sleep 100", "sleep 100", "sleep 100", "sleep 100"}, func(r *frameworktest.Region) {
			r.Until("all run", func() bool { return len(r.Running()) == 5 })
			r.Running()[0].Node.PowerOff()
			r.Leader().Crash()
		})
		if len(b.failed) > 0 {
			t.Errorf("failed %v", b.failed)
		}
	})
}

func TestCallsThatAreLostLoseNoCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, frameworktest.Config{}, []string{"sleep 1", "sleep 1", "sleep 1"}, func(r *frameworktest.Region) {
			lost := make(chan struct{}, 2)
			r.OnCalls(func(c *wire.Call) frameworktest.Fault {
				if *c.Type != wire.CallAccept && *c.Type != wire.CallTeardown {
					return frameworktest.Arrives
				}
				select {
				case lost <- struct{}{}:
					return frameworktest.LoseCall
				default:
					return frameworktest.Arrives
				}
			})
		})
		if len(b.failed) > 0 {
			t.Errorf("failed %v", b.failed)
		}
	})
}
