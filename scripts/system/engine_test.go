//go:build linux && system

package system

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers/docker/dockertest"
	"github.com/proffer/proffer/structs"
)

func containerJob(kind, name string, count int, script string) string {
	return fmt.Sprintf(`job %q {
  type = %q
  group "g" {
    count = %d
    restart {
      attempts = 100
      delay    = "1s"
    }
    reschedule {
      unlimited = true
      delay     = "1s"
      max_delay = "1s"
    }
    task "t" {
      driver = "docker"
      config {
        image        = "busybox:1.36"
        command      = "sh"
        args         = ["-c", %q]
        network_mode = "none"
      }
      resources {
        cpu    = 0.02
        memory = "16MiB"
      }
    }
  }
}
`, name, kind, count, script)
}

// TestTheEngineFailsUnderLoad: an engine that hangs, is killed and is restarted while containers start and end leaves no task stuck and no
// container that nobody knows, and meanwhile tasks of other drivers start and end as ever.
func TestTheEngineFailsUnderLoad(t *testing.T) {
	t.Parallel()
	engineFails(t, 8, 1)
}

// engineFails lets the engine fail in each way for some rounds, while that many containers start and end.
func engineFails(t *testing.T, tasks, rounds int) {
	e := dockerEngine(t)
	r := newRegion(t)
	a := r.agent("a", "-server", "-client", "-bootstrap-expect", "1")
	a.inClient = fmt.Sprintf("  docker {\n    endpoint = %q\n    call_timeout = \"2s\"\n  }\n", e.Endpoint())
	r.startAll()
	r.submit(containerJob("service", "stays", 4, "sleep 1000000"))
	stays := r.allocs("stays", 4)
	finished := func(job string) {
		t.Helper()
		await(t, "job "+job+" is done", func() error {
			s, _, err := r.api().JobStatus(t.Context(), job, nil)
			if err == nil && s.Status != structs.JobDone {
				err = fmt.Errorf("it is %s: %+v", s.Status, s.Groups[0])
			}
			return err
		})
	}
	for round := range rounds {
		for _, fail := range []struct {
			what       string
			begin, end func() error
		}{
			{"hangs", func() error { e.Signal(unix.SIGSTOP); return nil }, func() error { e.Signal(unix.SIGCONT); return nil }},
			{"killed", func() error { e.Kill(); return nil }, e.Run},
			{"restarted", func() error { return restart(e) }, func() error { return nil }},
		} {
			if fail.what == "restarted" && rounds == 1 {
				continue
			}
			name := fmt.Sprint(fail.what, round)
			r.submit(containerJob("batch", name, tasks, "sleep 0.5"))
			await(t, "some of its containers", func() error {
				s, _, err := r.api().JobStatus(t.Context(), name, nil)
				if err != nil {
					return err
				}
				for _, alloc := range s.Allocations {
					if alloc.Status != structs.AllocPending {
						return nil
					}
				}
				return fmt.Errorf("of %d allocations none was started", len(s.Allocations))
			})
			if err := fail.begin(); err != nil {
				t.Fatal(err)
			}
			r.submit(fmt.Sprintf("job %q {\n  type = \"batch\"\n  group \"g\" {\n    count = 4\n    task \"t\" {\n      config {\n        command = \"true\"\n      }\n    }\n  }\n}\n", "beside-"+name))
			finished("beside-" + name)
			if err := fail.end(); err != nil {
				t.Fatal(err)
			}
			finished(name)
		}
	}
	for i, alloc := range r.allocs("stays", 4) {
		before := stays[i].Tasks["t"].Restarts // an engine that was slow may have been asked more than once
		if now := alloc.Tasks["t"].Restarts; alloc.ID != stays[i].ID || now > before {
			t.Errorf("%s is %s now, with %d restarts, and had %d", stays[i].ID, alloc.ID, now, before)
		}
	}
	count := func(want int) {
		t.Helper()
		await(t, fmt.Sprintf("%d containers", want), func() error {
			if n := containers(t, e, true); n != want {
				return fmt.Errorf("there are %d", n)
			}
			return nil
		})
	}
	count(4)
	a.must("job", "stop", "stays")
	count(0)
}

// restart ends an engine as a service manager does, and starts another one.
func restart(e *dockertest.Engine) error {
	e.Stop()
	return e.Run()
}
