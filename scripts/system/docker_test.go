//go:build linux && system

package system

import (
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/docker/dockertest"
	"github.com/proffer/proffer/structs"
	"github.com/proffer/proffer/website"
)

// dockerEngine starts an engine with the image that the documentation's examples use.
func dockerEngine(t *testing.T) *dockertest.Engine {
	t.Helper()
	e, err := dockertest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.End(); err != nil {
			t.Error(err)
		}
	})
	if err := e.Load("busybox:1.36", dockertest.Busybox()); err != nil {
		t.Fatal(err)
	}
	return e
}

// containers counts those of the engine that run, or all of them.
func containers(t *testing.T, e *dockertest.Engine, all bool) int {
	t.Helper()
	list, err := e.API.ContainerList(t.Context(), client.ContainerListOptions{All: all})
	if err != nil {
		t.Fatal(err)
	}
	return len(list.Items)
}

// allocOf returns the only allocation of a job.
func (r *region) allocOf(job string) (found *structs.Allocation) {
	r.t.Helper()
	await(r.t, "an allocation of "+job, func() error {
		s, _, err := r.api().JobStatus(r.t.Context(), job, nil)
		if err != nil {
			return err
		}
		if len(s.Allocations) != 1 {
			return fmt.Errorf("there are %d", len(s.Allocations))
		}
		found = s.Allocations[0]
		return nil
	})
	return found
}

var jobExample = regexp.MustCompile("(?ms)^```hcl\n(job .*?)^```$")

// TestDocker: the jobs of the documentation run as it says, and a container outlives the agent.
func TestDocker(t *testing.T) {
	e := dockerEngine(t)
	r := newRegion(t)
	a := r.agent("a", "-server", "-client", "-bootstrap-expect", "1")
	a.inClient = fmt.Sprintf("  docker {\n    endpoint = %q\n  }\n", e.Endpoint())
	r.startAll()
	page, err := website.Files.ReadFile("docs/docker.md")
	if err != nil {
		t.Fatal(err)
	}
	jobs := jobExample.FindAllSubmatch(page, -1)
	if len(jobs) != 2 {
		t.Fatalf("%d examples", len(jobs))
	}
	for i, m := range jobs {
		file := r.file(fmt.Sprintf("%d.hcl", i), string(m[1]))
		a.must("job", "validate", file)
		a.must("job", "run", "-detach", file)
	}
	await(t, "the batch job", func() error {
		switch s := r.allocOf("report"); s.Status {
		case structs.AllocComplete:
		case structs.AllocFailed:
			t.Fatalf("it failed: %s", s.Why)
		default:
			return fmt.Errorf("it is %s: %s", s.Status, s.Why)
		}
		return nil
	})
	out := a.must("alloc", "logs", string(r.allocOf("report").ID))
	if !strings.HasPrefix(out, "hello from write\n1000\n") || !strings.Contains(out, "/scratch") {
		t.Errorf("output of the batch job: %q", out)
	}
	alloc := r.allocs("shop", 1)[0]
	logs := func() string { return a.must("alloc", "logs", string(alloc.ID)) }
	await(t, "output", func() error {
		if got := logs(); got != "serving shop\n" {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
	if got := a.must("alloc", "exec", string(alloc.ID), "sh", "-c", "echo $PROFFER_TASK"); got != "server\n" {
		t.Errorf("a command: %q", got)
	}

	a.kill()
	a.start()
	if again := r.allocs("shop", 1)[0]; again.ID != alloc.ID {
		t.Errorf("allocation %s took the place of %s", again.ID, alloc.ID)
	}
	await(t, "the agent to find the container", func() error { // its API answers before
		if o := a.proffer("alloc", "exec", string(alloc.ID), "sh", "-c", "echo $PROFFER_TASK"); o.out != "server\n" {
			return fmt.Errorf("a command: %s", o)
		}
		return nil
	})
	if got := logs(); got != "serving shop\n" {
		t.Errorf("output afterwards: %q", got)
	}
	wholeCores(t, r, a)
	privateImages(t, r, a)
	a.must("job", "stop", "shop")
	await(t, "no container to be left", func() error {
		if n := containers(t, e, true); n > 0 {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
	bad := strings.Replace(string(jobs[0][1]), "busybox:1.36", "Busybox", 1)
	if o := a.proffer("job", "validate", r.file("bad.hcl", bad)); o.code == 0 || !strings.Contains(o.errout, "not the name of an image") {
		t.Errorf("a bad image: %s", o)
	}
}

// wholeCores: what a container has for itself, tasks of the exec driver keep off as other containers do, and get back.
func wholeCores(t *testing.T, r *region, a *agent) {
	t.Helper()
	if runtime.NumCPU() < 2 {
		return
	}
	a.must("job", "run", "-detach", r.file("plain.hcl", service("plain", 1, "sleep 1000000")))
	const pinned = `job "pinned" {
  group "g" {
    task "t" {
      driver = "docker"

      config {
        image        = "busybox:1.36"
        command      = "sleep"
        args         = ["1000000"]
        network_mode = "none"
      }

      resources {
        cores  = 1
        memory = "16MiB"
      }
    }
  }
}
`
	on := func(job string) []int {
		t.Helper()
		out := a.proffer("alloc", "exec", string(r.allocs(job, 1)[0].ID), "sh", "-c", "cat /proc/self/status").out
		_, rest, _ := strings.Cut(out, "Cpus_allowed_list:")
		line, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
		cores, err := drivers.ParseCores(line)
		if err != nil {
			t.Fatal(err)
		}
		return cores
	}
	all := on("shop")
	a.must("job", "run", "-detach", r.file("pinned.hcl", pinned))
	for _, job := range []string{"shop", "plain"} {
		await(t, job+" to keep off the core of the container", func() error {
			mine, theirs := on("pinned"), on(job)
			if len(mine) != 1 || len(theirs) != len(all)-1 || slices.Contains(theirs, mine[0]) {
				return fmt.Errorf("it runs on %v, and the container on %v of %v", theirs, mine, all)
			}
			return nil
		})
	}
	a.must("job", "stop", "pinned")
	for _, job := range []string{"shop", "plain"} {
		await(t, job+" to have all cores again", func() error {
			if got := on(job); !slices.Equal(got, all) {
				return fmt.Errorf("it runs on %v of %v", got, all)
			}
			return nil
		})
	}
	a.must("job", "stop", "plain")
}
