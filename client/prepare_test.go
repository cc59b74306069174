package client

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/drivers"
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
