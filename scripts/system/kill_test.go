//go:build linux && system

package system

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

// three makes a region of three servers and three clients that run.
func three(r *region) (servers, clients []*agent) {
	for i := range 3 {
		servers = append(servers, r.server(fmt.Sprintf("s%d", i), "-bootstrap-expect", "3"))
	}
	for i := range 3 {
		clients = append(clients, r.client(fmt.Sprintf("c%d", i)))
	}
	r.startAll()
	return servers, clients
}

// writer submits small jobs to every agent, one after the other to each, and remembers what it was told.
type writer struct {
	end  chan struct{}
	work sync.WaitGroup

	mu       sync.Mutex
	accepted []string
	refused  map[string]error // it did not happen
}

func (r *region) write() *writer {
	w := &writer{end: make(chan struct{}), refused: map[string]error{}}
	for _, a := range r.agents {
		client := a.api()
		w.work.Go(func() {
			pace := time.NewTicker(20 * time.Millisecond)
			defer pace.Stop()
			for i := 0; ; i++ {
				select {
				case <-w.end:
					return
				case <-r.t.Context().Done():
					return
				case <-pace.C:
				}
				w.one(r.t, client, fmt.Sprintf("written-%s-%d", a.name, i))
			}
		})
	}
	return w
}

func (w *writer) one(t *testing.T, client *api.Client, name string) {
	zero := 0
	job := &structs.Job{Name: name, Type: structs.ServiceJob, Groups: []*structs.Group{{Name: "g", Count: &zero,
		Tasks: []*structs.Task{{Name: "t", Config: map[string]any{"command": "true"}}}}}}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := client.SubmitJob(ctx, job, nil)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil:
		w.accepted = append(w.accepted, name)
	case structs.KindOf(err) != structs.Unknown:
		w.refused[name] = err
	}
}

// count returns how many were accepted.
func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.accepted)
}

// goesOn waits until writes are accepted again.
func (w *writer) goesOn(r *region) {
	r.t.Helper()
	before := w.count()
	await(r.t, "writes are accepted", func() error {
		if n := w.count(); n < before+5 {
			return fmt.Errorf("%d were accepted before, and %d now", before, n)
		}
		return nil
	})
}

// check ends the writing and compares: what was accepted is there, and what was refused is not.
func (w *writer) check(r *region) {
	r.t.Helper()
	close(w.end)
	w.work.Wait()
	for _, a := range r.up() {
		list, _, err := api.Collect(r.t.Context(), nil, a.api().Jobs)
		if err != nil {
			r.t.Fatal(err)
		}
		have := map[string]bool{}
		for _, j := range list {
			have[j.Name] = true
		}
		for _, name := range w.accepted {
			if !have[name] {
				r.t.Errorf("job %s was accepted, and %s does not have it", name, a.name)
			}
		}
		for name, err := range w.refused {
			if have[name] {
				r.t.Errorf("job %s was refused (%v), and %s has it", name, err, a.name)
			}
		}
	}
	r.t.Logf("%d jobs were accepted, %d refused", len(w.accepted), len(w.refused))
}

// TestKill kills everything that can be killed, one after the other, while work runs and is submitted.
func TestKill(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	w := r.witness()
	servers, clients := three(r)
	r.submit(w.job("service", "web", 6, forever, ""))
	r.submit(w.job("service", "db", 3, forever, `on_lost = "fence"`))
	r.submit(w.job("batch", "sums", 20, once, ""))
	r.allocs("web", 6)
	r.allocs("db", 3)
	web, db := w.pids("web", 6), w.pids("db", 3)
	for _, c := range clients {
		if len(c.tasks()) == 0 {
			t.Fatalf("nothing runs on %s", c.name)
		}
	}
	same := func(what string) {
		t.Helper()
		r.allocs("web", 6)
		r.allocs("db", 3)
		w.kept("web", web)
		w.kept("db", db)
		w.never(map[string]int{"web": 6, "db": 3, "sums": 20})
		t.Logf("after %s: all is as before", what)
	}
	writes := r.write()

	for _, kill := range []struct {
		what string
		who  func() *agent
	}{{"the leader", r.leader}, {"a follower", r.follower}, {"the next leader", r.leader}} {
		writes.goesOn(r)
		victim := kill.who()
		victim.kill()
		r.leader()
		writes.goesOn(r)
		victim.start()
		r.leader()
		same("the death of " + kill.what)
	}

	clients[0].kill()
	w.kept("web", web)
	clients[0].start()
	same("the death of a client agent")

	clients[1].killSupervisor()
	w.kept("web", web)
	same("the death of a supervisor")
	await(t, "there is a supervisor again", func() error {
		if clients[1].supervisor() == 0 {
			return fmt.Errorf("there is none")
		}
		return nil
	})

	clients[2].kill()
	clients[2].killSupervisor()
	clients[2].start()
	same("the death of an agent and its supervisor")

	writes.goesOn(r)
	for _, s := range servers {
		s.kill()
	}
	for _, s := range servers {
		s.launch()
	}
	for _, s := range servers {
		s.await()
	}
	r.leader()
	writes.goesOn(r)
	r.nodes(structs.NodeReady, 3)
	same("the death of all servers")

	await(t, "the batch job is complete", func() error {
		s, _, err := r.leader().api().JobStatus(t.Context(), "sums", nil)
		if err == nil && s.Status != structs.JobDone {
			err = fmt.Errorf("it is %s: %+v", s.Status, s.Groups[0])
		}
		return err
	})
	w.done("sums", 20)
	w.never(map[string]int{"web": 6, "db": 3, "sums": 20})
	writes.check(r)

	for _, job := range []string{"web", "db"} {
		r.leader().must("job", "stop", job)
	}
	await(t, "all processes of the jobs have ended", func() error {
		for _, c := range clients {
			if left := c.tasks(); len(left) > 0 {
				return fmt.Errorf("%s: %v", c.name, left)
			}
		}
		return nil
	})
}

// TestNodeDies: what ran on a node that died with everything on it runs elsewhere, and the node comes back.
func TestNodeDies(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	r.lease = "4s"
	w := r.witness()
	_, clients := three(r)
	r.submit(w.job("service", "web", 6, forever, ""))
	r.submit(w.job("service", "db", 6, forever, `on_lost = "fence"`))
	r.submit(w.job("batch", "sums", 12, "sleep 2; "+once, ""))
	r.allocs("web", 6)
	r.allocs("db", 6)
	w.pids("web", 6)
	w.pids("db", 6)
	for _, victim := range clients[:2] {
		victim.crash()
		r.nodes(structs.NodeLost, 1)
		r.allocs("web", 6)
		r.allocs("db", 6)
		w.pids("web", 6)
		w.pids("db", 6)
		victim.start()
		r.nodes(structs.NodeReady, 3)
		r.allocs("web", 6)
		r.allocs("db", 6)
	}
	await(t, "the batch job is complete", func() error {
		s, _, err := r.leader().api().JobStatus(t.Context(), "sums", nil)
		if err == nil && s.Status != structs.JobDone {
			err = fmt.Errorf("it is %s: %+v", s.Status, s.Groups[0])
		}
		return err
	})
	w.done("sums", 12)
	w.never(map[string]int{"db": 6})
}

// TestRestart: the tasks of a node outlive its agent, however that ends, and the next one has them all.
func TestRestart(t *testing.T) {
	t.Parallel()
	const count = 50
	r := newRegion(t)
	w := r.witness()
	a := r.agent("a", "-server", "-client", "-bootstrap-expect", "1")
	r.startAll()
	r.submit(w.job("service", "many", count, forever, ""))
	r.submit(`job "alone" {
  group "g" {
    count = 3
    task "t" {
      config {
        command = "sleep"
        args    = ["1000000"]
      }
    }
  }
}`)
	r.allocs("many", count)
	alone := r.allocs("alone", 3)
	pids := w.pids("many", count)
	isolated := len(a.tasks())
	restarts := func() (n int) {
		for _, job := range []string{"many", "alone"} {
			n0 := count
			if job == "alone" {
				n0 = 3
			}
			for _, alloc := range r.allocs(job, n0) {
				n += alloc.Tasks["t"].Restarts
			}
		}
		return n
	}
	check := func() {
		t.Helper()
		r.nodes(structs.NodeReady, 1)
		w.kept("many", pids)
		if n := restarts(); n > 0 {
			t.Errorf("%d tasks were restarted", n)
		}
		for i, alloc := range r.allocs("alone", 3) {
			if alone[i].ID != alloc.ID {
				t.Errorf("alone[%d] was %s and is %s", i, alone[i].ID, alloc.ID)
			}
		}
		if n := len(a.tasks()); n != isolated {
			t.Errorf("%d processes of tasks before, %d now", isolated, n)
		}
	}

	a.kill()
	w.kept("many", pids)
	a.start()
	check()

	if code := a.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	w.kept("many", pids)
	a.start()
	check()

	// What ends while nobody watches is known afterwards.
	a.kill()
	unix.Kill(pids[7], unix.SIGKILL)
	a.start()
	r.allocs("many", count)
	w.pids("many", count)
	await(t, "the task that died is started again", func() error {
		if s := w.starts("many", 7); len(s) != 2 {
			return fmt.Errorf("it started %v", s)
		}
		return nil
	})
	delete(pids, 7)
	w.kept("many", pids)
	w.never(map[string]int{"many": count})
	if out := a.must("alloc", "exec", "-job", "alone", "--", "sh", "-c", "echo inside"); strings.TrimSpace(out) != "inside" {
		t.Errorf("exec after all this: %q", out)
	}
}
