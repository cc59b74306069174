package containers

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/structs"
)

// jobs is a region with one node, which does with a job what the test says.
type jobs struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced
	index   uint64
	all     map[string]*structs.Job
	allocs  map[string]*structs.Allocation // by job
	actors  []string
	place   func(*structs.Job) *structs.Allocation // nil: none
	ending  []*structs.Allocation                  // of jobs that were purged
	refuse  error
}

func (n *node) ask(actor string) (Jobs, error) {
	n.region.mu.Lock()
	defer n.region.mu.Unlock()
	n.region.actors = append(n.region.actors, actor)
	return n.region, nil
}

func (n *node) Node() *structs.Node { return &structs.Node{ID: "0a1b", Name: "one"} }

func (n *node) Known(int) (out []client.Known) {
	n.region.mu.Lock()
	defer n.region.mu.Unlock()
	for _, a := range slices.Concat(n.region.ending, slices.Collect(maps.Values(n.region.allocs))) {
		k := client.Known{Alloc: a, Tasks: []string{"task"}}
		if a.Ended() {
			k.Ended = 1
		}
		out = append(out, k)
	}
	return out
}

func newJobs() *jobs {
	return &jobs{changed: make(chan struct{}), index: 1, all: map[string]*structs.Job{}, allocs: map[string]*structs.Allocation{}}
}

// change changes the region and wakes who waits for that.
func (j *jobs) change(by func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	by()
	j.index++
	close(j.changed)
	j.changed = make(chan struct{})
}

func (j *jobs) SubmitJob(_ context.Context, job *structs.Job, expect *uint64) (*api.JobSubmitted, error) {
	j.mu.Lock()
	known, refuse, index := j.all[job.Name] != nil, j.refuse, j.index
	j.mu.Unlock()
	switch {
	case refuse != nil:
		return nil, refuse
	case known && expect != nil && *expect == 0:
		return nil, structs.Errorf(structs.Conflict, "job", "it is there")
	}
	j.change(func() {
		j.all[job.Name] = job
		if j.place != nil {
			if a := j.place(job); a != nil {
				a.Job, a.CreateIndex = job.Name, j.index+1
				j.allocs[job.Name] = a
			}
		}
	})
	return &api.JobSubmitted{Name: job.Name, Index: index}, nil
}

func (j *jobs) JobAllocations(ctx context.Context, name string, q *api.Query) ([]*structs.Allocation, *api.Meta, error) {
	over, cancel := context.WithTimeout(ctx, max(q.Wait, time.Nanosecond))
	defer cancel()
	for {
		j.mu.Lock()
		index, changed := j.index, j.changed
		all := slices.DeleteFunc(slices.Clone(j.ending), func(a *structs.Allocation) bool { return a.Job != name })
		if a := j.allocs[name]; a != nil {
			all = append(all, a)
		}
		j.mu.Unlock()
		if index > q.Index || over.Err() != nil {
			return all, &api.Meta{Index: index}, ctx.Err()
		}
		select {
		case <-changed:
		case <-over.Done():
		}
	}
}

func (j *jobs) ExplainJob(context.Context, string, string) (*api.Explanation, error) {
	return &api.Explanation{Groups: []*api.GroupExplanation{{Reasons: []*api.Reason{{What: "constraint ${node.id} = 0a1b", Subject: "${node.id} = 0a1b"},
		{What: "memory", Nearest: "1GiB asked, 512MiB free on one"}}}}}, nil
}

func (j *jobs) StopJob(_ context.Context, name string, purge bool) (*api.Written, error) {
	if j.named(name) == nil {
		return nil, structs.Errorf(structs.NotFound, "job", "there is none")
	}
	j.change(func() {
		if purge {
			delete(j.all, name)
			delete(j.allocs, name)
		}
	})
	return &api.Written{}, nil
}

func (j *jobs) named(name string) *structs.Job {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.all[name]
}

// state is an allocation whose one task is so.
func state(status structs.AllocStatus, task structs.TaskState) *structs.Allocation {
	return &structs.Allocation{ID: "alone", Status: status, Tasks: map[string]*structs.TaskState{"task": &task}}
}

func alone(name string, cmd *wire.CommandInfo) wire.AgentCall {
	return wire.AgentCall{LaunchContainer: &wire.LaunchAnyContainer{ContainerID: id(name), Command: cmd}}
}

// A container within no other is a job of the region with one task on this node alone. The launch is answered when it runs; the same again is known.
func TestAloneRuns(t *testing.T) {
	serve(t, func(p *port) {
		t := p.t
		j := p.node.region
		begins := state(structs.AllocPending, structs.TaskState{Status: structs.TaskStarting})
		j.place = func(*structs.Job) *structs.Allocation { return begins }
		time.AfterFunc(time.Hour, func() { // an image may be large
			j.change(func() {
				for name := range j.allocs {
					a := state(structs.AllocRunning, structs.TaskState{Status: structs.TaskRunning, Started: 1})
					a.Job, a.CreateIndex = name, j.allocs[name].CreateIndex
					j.allocs[name] = a
				}
			})
		})
		at := time.Now()
		p.want(200, wire.AgentLaunchContainer, alone("plug.in", run("cat")))
		if waited := time.Since(at); waited != time.Hour {
			t.Errorf("the launch was answered after %v, and it runs after an hour", waited)
		}
		name := mesos.ContainerJobName("0a1b", "plug.in")
		job := j.named(name)
		if job == nil || !strings.HasPrefix(name, "container-plug.in-") || job.Role != mesos.ContainersRole || job.Type != structs.BatchJob ||
			job.Constraints[0].Value != "0a1b" || mesos.ContainerID("0a1b", job) != "plug.in" || !slices.Equal(j.actors, []string{"alice"}) {
			t.Fatalf("the job is %+v, of %v", job, j.actors)
		}
		p.want(202, wire.AgentLaunchContainer, alone("plug.in", run("cat")))
		p.want(409, wire.AgentRemoveContainer, wire.AgentCall{RemoveContainer: &wire.NamedContainer{ContainerID: id("plug.in")}})
		// What is for tasks is for it, by its own name.
		p.want(200, wire.AgentLaunchNestedContainer, wire.AgentCall{LaunchNested: launch(run("sleep"), "plug.in", "within")})
		p.want(200, wire.AgentKillContainer, wire.AgentCall{KillContainer: &wire.KillContainer{ContainerID: id("plug.in"), Signal: new(int32(15))}})
		if ran := p.node.signals; !slices.Equal(ran, []string{"alone 15"}) {
			t.Errorf("signals: %v", ran)
		}
		j.change(func() {
			a := state(structs.AllocFailed, structs.TaskState{Status: structs.TaskFailed, Started: 1})
			a.Job = name
			j.allocs[name] = a
		})
		p.want(200, wire.AgentRemoveContainer, wire.AgentCall{RemoveContainer: &wire.NamedContainer{ContainerID: id("plug.in")}})
		if j.named(name) != nil {
			t.Error("the job of a container that was removed is there")
		}
		p.want(404, wire.AgentRemoveContainer, wire.AgentCall{RemoveContainer: &wire.NamedContainer{ContainerID: id("plug.in")}})
		p.want(404, wire.AgentKillContainer, wire.AgentCall{KillContainer: &wire.KillContainer{ContainerID: id("plug.in")}})
		p.want(404, wire.AgentWaitContainer, wire.AgentCall{WaitContainer: &wire.NamedContainer{ContainerID: id("plug.in")}})
	})
}

// A launch that comes to nothing says why, and leaves nothing that could run later.
func TestAloneRefused(t *testing.T) {
	serve(t, func(p *port) {
		t := p.t
		j := p.node.region
		refused := func(why string, call wire.AgentCall) {
			t.Helper()
			if got := string(p.want(400, wire.AgentLaunchContainer, call)); !strings.Contains(got, why) {
				t.Errorf("refused with %q, want %q", got, why)
			}
			if len(j.all) != 0 {
				t.Errorf("%s: there is a job: %v", why, j.all)
			}
		}
		at := time.Now()
		refused("memory: 1GiB asked, 512MiB free on one", alone("a", run("cat")))
		if waited := time.Since(at); waited != placeWithin {
			t.Errorf("it was refused after %v", waited)
		}
		j.place = func(*structs.Job) *structs.Allocation {
			return state(structs.AllocFailed, structs.TaskState{Status: structs.TaskFailed, Why: "there is no such program"})
		}
		refused("there is no such program", alone("a", run("cat")))
		j.refuse = structs.Errorf(structs.Forbidden, "role containers", "it is sealed")
		refused("it is sealed", alone("a", run("cat")))
		refused("launch_container.command", alone("a", nil))
		refused("has no 'value'", alone("a", &wire.CommandInfo{}))
		bound := alone("a", run("cat"))
		bound.LaunchContainer.Container = &wire.ContainerInfo{Type: wire.ContainerMesos, Volumes: []wire.Volume{{ContainerPath: "/x", HostPath: new("/etc"), Mode: wire.VolumeRW}}}
		refused("Volumes of a container within no other", bound)
	})
}

// A container that was removed and is still ending is not taken for the one that has its id now.
func TestAloneAgain(t *testing.T) {
	serve(t, func(p *port) {
		j, name := p.node.region, mesos.ContainerJobName("0a1b", "a")
		old := state(structs.AllocRunning, structs.TaskState{Status: structs.TaskRunning, Started: 1})
		old.ID, old.Job, old.CreateIndex, old.Desired = "old", name, 1, structs.DesiredStop
		j.ending = []*structs.Allocation{old}
		if got := string(p.want(400, wire.AgentLaunchContainer, alone("a", run("cat")))); !strings.Contains(got, "has no place") {
			p.t.Errorf("without a place for it: %s", got)
		}
		j.place = func(*structs.Job) *structs.Allocation {
			return state(structs.AllocRunning, structs.TaskState{Status: structs.TaskRunning, Started: 1})
		}
		p.want(200, wire.AgentLaunchContainer, alone("a", run("cat")))
		p.want(200, wire.AgentKillContainer, wire.AgentCall{KillContainer: &wire.KillContainer{ContainerID: id("a")}})
		if got := p.node.signals; !slices.Equal(got, []string{"alone 9"}) {
			p.t.Errorf("signals: %v", got)
		}
	})
}

// Who goes away before its container has a place does not find it running later.
func TestAloneGivenUp(t *testing.T) {
	serve(t, func(p *port) {
		t := p.t
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, leave)
		call := alone("a", run("cat"))
		call.Type = new(wire.AgentLaunchContainer)
		r, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://node/api/v1", strings.NewReader(string(p.as.Marshal(&call))))
		r.Header.Set("Content-Type", p.as.ContentType())
		if _, err := p.http.Do(r); err == nil {
			t.Error("it was answered")
		}
		for deadline := time.Now().Add(time.Minute); p.node.region.named(mesos.ContainerJobName("0a1b", "a")) != nil; {
			if time.Now().After(deadline) {
				t.Fatal("its job is there")
			}
			p.node.region.mu.Lock()
			changed := p.node.region.changed
			p.node.region.mu.Unlock()
			select {
			case <-changed:
			case <-time.After(time.Minute):
			}
		}
	})
}
