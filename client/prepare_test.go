package client

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/mock"
	"github.com/proffer/proffer/structs"
)

// TestPreparationsBlockNobody: what a driver needs before a start takes no place of those that start, tells how far it is in one
// event, and is given up when the task is not wanted any more.
func TestPreparationsBlockNobody(t *testing.T) {
	bubble(t, func(w *world) {
		w.tune = func(c *Config) { c.ParallelStarts = 1 }
		w.stop()
		w.start()
		w.prepare = func(ctx context.Context, spec *drivers.Spec) error {
			switch {
			case strings.HasPrefix(spec.ID, "never/"):
				<-ctx.Done()
				return ctx.Err()
			case strings.HasPrefix(spec.ID, "pulls/"):
				spec.Say("pulling", "10%")
				time.Sleep(time.Minute)
				spec.Say("pulling", "100%")
			case strings.HasPrefix(spec.ID, "none/"):
				return structs.Errorf(structs.NotFound, "image x", "there is no such image")
			}
			return nil
		}
		for _, id := range []string{"never", "pulls", "none", "plain"} {
			w.run(id, w.batch("job-"+id, script{"run_for": "5s"}, nil))
		}
		after(time.Second)
		w.expect("plain", structs.AllocRunning, "")
		w.expect("none", structs.AllocFailed, "")
		w.expect("pulls", structs.AllocPending, "")
		if said := pulling(w.task("pulls", "main")); said != "10%" {
			t.Errorf("progress %q", said)
		}
		w.want(w.change("never", stopped))
		after(time.Second)
		w.expect("never", structs.AllocComplete, "the user stopped it")
		after(time.Minute)
		w.expect("pulls", structs.AllocRunning, "")
		if said := pulling(w.task("pulls", "main")); said != "100%" {
			t.Errorf("progress %q, want one event with the newest", said)
		}
		w.expectStarts("plain/main/1", "pulls/main/1")
		if n := w.keepers.Load(); n != 1 {
			t.Errorf("%d drivers keep their things", n)
		}
	})
}

// TestADriverThatHangsBlocksNoOther: the starts that wait for it take no place of another driver's.
func TestADriverThatHangsBlocksNoOther(t *testing.T) {
	bubble(t, func(w *world) {
		w.tune = func(c *Config) {
			c.ParallelStarts = 1
			c.Drivers = append(c.Drivers, &moody{Driver: mock.New(w.machine)})
		}
		w.stop()
		w.start()
		for _, id := range []string{"one", "two"} {
			w.run(id, w.batch("job-"+id, script{"start_delay": "1h", "run_for": "5s"}, func(g *structs.Group) { g.Tasks[0].Driver = "moody" }))
		}
		w.run("plain", w.batch("job-plain", script{"run_for": "5s"}, nil))
		after(time.Minute)
		w.expect("plain", structs.AllocComplete, "")
		for _, id := range []string{"one", "two"} {
			w.want(w.change(id, stopped))
		}
		after(time.Minute)
	})
}

// pulling joins what the events of that kind say.
func pulling(s *structs.TaskState) string {
	var all []string
	for _, e := range s.Events {
		if e.Type == "pulling" {
			all = append(all, e.Text)
		}
	}
	return strings.Join(all, " ")
}

// TestReplacedAfterItsImagesAreThere: an allocation that a newer version replaces runs on until the node has what that one needs. A
// stop for another reason ends it at once, what cannot be got holds up nothing, and what takes too long not for ever.
func TestReplacedAfterItsImagesAreThere(t *testing.T) {
	bubble(t, func(w *world) {
		w.prepare = func(ctx context.Context, spec *drivers.Spec) error {
			if !strings.HasSuffix(spec.ID, "/next") {
				return nil
			}
			switch spec.Task.Config["image"] {
			case "slow:2":
				spec.Say("pulling", "half of it")
				time.Sleep(time.Minute)
			case "never:2":
				<-ctx.Done()
				return ctx.Err()
			case "none:2":
				return structs.Errorf(structs.NotFound, "image none:2", "there is no such image")
			}
			return nil
		}
		replaced := func(a *structs.Allocation) {
			stopped(a)
			a.ReplacedBy = 2
		}
		for _, id := range []string{"slow", "never", "none", "hurry"} {
			w.run(id, w.service("job-"+id, nil))
			after(time.Second)
			w.expect(id, structs.AllocRunning, "")
			old := w.jobs["job-"+id]
			next := w.service("job-"+id, func(g *structs.Group) {
				image := id + ":2"
				if id == "hurry" {
					image = "never:2"
				}
				g.Tasks[0].Config["image"] = image
			})
			w.up.node.Desired(&session.Desired{Index: w.index + 1, Allocs: []*structs.Allocation{w.change(id, replaced)}, Jobs: []*structs.JobVersion{old, next}})
		}
		after(time.Second)
		w.expect("none", structs.AllocComplete, "the user stopped it")
		for _, id := range []string{"slow", "never", "hurry"} {
			w.expect(id, structs.AllocRunning, "")
		}
		if events := w.task("slow", "main").Events; events[len(events)-1].Text != "version 2: half of it" {
			t.Errorf("%+v", events)
		}
		w.want(w.change("hurry", func(a *structs.Allocation) { a.ReplacedBy = 0 }))
		after(time.Second)
		w.expect("hurry", structs.AllocComplete, "the user stopped it")
		after(time.Minute)
		w.expect("slow", structs.AllocComplete, "the user stopped it")
		w.expect("never", structs.AllocRunning, "")
		after(5 * time.Minute)
		w.expect("never", structs.AllocComplete, "the user stopped it")
	})
}
