package client

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// shelf has the volumes that tasks bring. It outlives agents. A volume goes back only when it is mounted nowhere and its task does not run.
type shelf struct {
	w       *world
	mu      sync.Mutex
	lent    map[string]string // volume, by ALLOC@TASK
	mounts  map[string]string // source, by target, in the executor of the test
	busy    bool              // the executor uses what is mounted
	trouble error             // what lending fails with
	stuck   error             // what taking back fails with
}

// agentShelf is the shelf as one agent reaches it: not any more once it is dead.
type agentShelf struct {
	*shelf
	gate *gate
}

func (agentShelf) Name() string { return "shelf" }

func (agentShelf) Needs(a *structs.Allocation, _ *structs.Group) bool { return len(a.Volumes) > 0 }

func (agentShelf) Provide(context.Context, *runner.Need, *store.Given) error { return nil }

func (agentShelf) Keep(ctx context.Context, _ func(structs.AllocID) bool) { <-ctx.Done() }

func (s agentShelf) Lend(ctx context.Context, need *runner.Need, task string, mounts []*structs.VolumeMount, given *store.Given) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone() {
		return context.Canceled
	}
	if s.trouble != nil {
		return s.trouble
	}
	holder := string(need.Alloc.ID) + "@" + task
	for _, v := range need.Alloc.Volumes {
		if v.Task != task {
			continue
		}
		for other, has := range s.lent {
			if other != holder && has == v.Name {
				return structs.Errorf(structs.Unavailable, "shelf", "%s has it", other)
			}
		}
		s.lent[holder] = v.Name
		for _, m := range mounts {
			given.Mount(task, drivers.Mount{Source: "/shelf/" + v.Name, Target: m.Destination})
		}
	}
	return nil
}

func (s agentShelf) Return(ctx context.Context, id structs.AllocID, task string) error {
	return s.back(func(holder string) bool { return holder == string(id)+"@"+task })
}

func (s agentShelf) Release(ctx context.Context, id structs.AllocID) error {
	return s.back(func(holder string) bool { return strings.HasPrefix(holder, string(id)+"@") })
}

func (s agentShelf) back(from func(holder string) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone() {
		return context.Canceled
	}
	if s.stuck != nil {
		return s.stuck
	}
	for holder, volume := range s.lent {
		if !from(holder) {
			continue
		}
		runs := func(start string) bool { return strings.HasPrefix(start, strings.Replace(holder, "@", "/", 1)+"/") }
		if slices.ContainsFunc(s.w.machine.Running(), runs) {
			s.w.t.Errorf("%s is taken from %s, which runs", volume, holder)
		}
		executor := func(start string) bool { return strings.HasPrefix(start, "a/executor/") }
		if slices.Contains(slices.Collect(maps.Values(s.mounts)), "/shelf/"+volume) && slices.ContainsFunc(s.w.machine.Running(), executor) {
			s.w.t.Errorf("%s is taken from %s, and mounted", volume, holder)
		}
		delete(s.lent, holder)
	}
	return nil
}

func (s agentShelf) gone() bool {
	s.gate.mu.RLock()
	defer s.gate.mu.RUnlock()
	return s.gate.shut
}

func (s *shelf) mount(m drivers.Mount) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mounts[m.Target] = m.Source
	return nil
}

func (s *shelf) unmount(m drivers.Mount) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy && s.mounts[m.Target] != "" {
		return structs.Errorf(structs.Unavailable, "shelf", "it uses what is mounted at %s", m.Target)
	}
	delete(s.mounts, m.Target)
	return nil
}

func (s *shelf) set(do func(*shelf)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do(s)
}

func (s *shelf) expect(lent, mounts string) {
	s.w.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := fmt.Sprint(s.lent, " ", s.mounts); got != "map["+lent+"] map["+mounts+"]" {
		s.w.t.Errorf("lent and mounted are %s, want [%s] [%s]", got, lent, mounts)
	}
}

// bring launches a task that brings a volume of that name.
func (p *process) bring(task, volume string) {
	a := p.with(p.w.allocs[structs.AllocID(p.id)], false, task)
	x := a.External.Named(task)
	x.Mounts = []*structs.VolumeMount{{Volume: "of-" + task, Destination: "/local/" + volume}}
	a.Volumes = append(slices.Clone(a.Volumes), structs.AllocVolume{Group: "of-" + task, Name: volume, Task: task})
	p.w.allocs[a.ID] = a
	p.w.want(a)
}

// A task that a custom executor runs is given to it once its volume is mounted there, and its end is told once that is taken back, whenever
// the agent is killed.
func TestVolumesOfTasksOfAnExecutor(t *testing.T) {
	for _, killed := range []bool{false, true} {
		bubble(t, func(w *world) {
			again := func(tasks ...string) func(p *process) {
				return func(p *process) {
					if killed {
						w.crash(rand.New(rand.NewPCG(1, 1)), false)
						w.start()
						w.welcome("g1")
						after(time.Second)
						p.subscribe(tasks)
					}
				}
			}
			p := w.executor("a", serves, "one")
			after(time.Second)
			p.subscribe(nil)
			p.hears("launch one false")
			p.says("one", structs.TaskRunning)
			p.hears("ack one1")
			w.shelf.set(func(s *shelf) { s.trouble = structs.Errorf(structs.Unavailable, "shelf", "not now") })
			p.bring("two", "v")
			after(time.Second)
			p.hears()
			w.expectTask("a", "two", structs.TaskStaging, "not now")
			again()(p)
			w.shelf.set(func(s *shelf) { s.trouble = nil })
			after(time.Minute)
			p.hears("launch two false")
			w.shelf.expect("a@two:v", "/local/v:/shelf/v")
			p.says("two", structs.TaskRunning)
			again("two")(p)
			w.shelf.expect("a@two:v", "/local/v:/shelf/v")
			// It ends, and its executor does not let go at once; then the node cannot take it back.
			w.shelf.set(func(s *shelf) { s.busy = true })
			p.says("two", structs.TaskFinished)
			after(time.Second)
			w.expectTask("a", "two", structs.TaskRunning, "")
			w.shelf.expect("a@two:v", "/local/v:/shelf/v")
			again()(p)
			w.expectTask("a", "two", structs.TaskRunning, "")
			w.shelf.set(func(s *shelf) { s.busy, s.stuck = false, structs.Errorf(structs.Unavailable, "shelf", "stuck") })
			after(5 * time.Second)
			w.shelf.expect("a@two:v", "")
			w.expectTask("a", "two", structs.TaskRunning, "")
			again()(p)
			w.shelf.set(func(s *shelf) { s.stuck = nil })
			after(time.Minute)
			w.shelf.expect("", "")
			w.expectTask("a", "two", structs.TaskFinished, "")
			if got := p.told("two"); got != "1 running, 2 finished" {
				t.Errorf("the region is told %s", got)
			}
			w.expect("a", structs.AllocRunning, "")
			w.expectStarts("a/executor/1")
			// It is the next one's, of the same executor; a task that cannot have its volume fails alone.
			w.want(w.change("a", func(a *structs.Allocation) { a.Volumes = nil }))
			p.bring("three", "v")
			after(time.Second)
			w.shelf.expect("a@three:v", "/local/v:/shelf/v")
			w.shelf.set(func(s *shelf) { s.trouble = structs.Errorf(structs.Invalid, "shelf", "never") })
			p.bring("four", "w")
			after(time.Second)
			w.expectTask("a", "four", structs.TaskFailed, "never")
			w.want(w.change("a", stopped))
			after(20 * time.Second)
			w.expect("a", structs.AllocComplete, "the user stopped it")
			w.expectTask("a", "three", structs.TaskKilled, "")
			w.shelf.expect("", "/local/v:/shelf/v") // with its namespace
		})
	}
}

// An executor that goes on using the volume of a task that ended is ended itself, and so is one that ends while a task is lent its volume.
func TestAnExecutorThatDoesNotLetGo(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.executor("a", serves, "one")
		after(time.Second)
		p.subscribe(nil)
		p.bring("two", "v")
		after(time.Second)
		p.hears("launch one false", "launch two false")
		w.shelf.set(func(s *shelf) { s.busy = true })
		p.says("two", structs.TaskFinished)
		after(30 * time.Second)
		w.expect("a", structs.AllocFailed, `does not let go of what task "two" had`)
		w.expectTask("a", "two", structs.TaskFinished, "")
		w.shelf.expect("", "/local/v:/shelf/v")
	})
	bubble(t, func(w *world) {
		p := w.executor("a", script{"run_for": "1m"}, "one")
		after(time.Second)
		p.subscribe(nil)
		p.hears("launch one false")
		w.shelf.set(func(s *shelf) { s.trouble = structs.Errorf(structs.Unavailable, "shelf", "not now") })
		p.bring("two", "v")
		after(2 * time.Minute)
		w.expect("a", structs.AllocComplete, "")
		w.expectTask("a", "two", structs.TaskFailed, "")
		w.shelf.expect("", "")
	})
}

// A task of a pod has its volume from its start until its end, which is told once it was taken back, while the pod runs on.
func TestVolumesOfTasksOfAPod(t *testing.T) {
	for _, killed := range []bool{false, true} {
		bubble(t, func(w *world) {
			p := w.pod("a", member{name: "one", config: serves, launch: 1})
			after(time.Second)
			w.shelf.set(func(s *shelf) { s.trouble = structs.Errorf(structs.Unavailable, "shelf", "not now") })
			w.change("a", func(a *structs.Allocation) { a.Volumes = []structs.AllocVolume{{Group: "b", Name: "v", Task: "two"}} })
			p.add(member{name: "two", config: ends("1m", 0), launch: 2})
			after(time.Second)
			w.expectTask("a", "two", structs.TaskStarting, "not now")
			w.shelf.set(func(s *shelf) { s.trouble = nil })
			after(10 * time.Second)
			w.expectRunning("a/one/1", "a/two/1")
			w.shelf.expect("a@two:v", "")
			w.shelf.set(func(s *shelf) { s.stuck = structs.Errorf(structs.Unavailable, "shelf", "stuck") })
			after(time.Minute)
			w.expectRunning("a/one/1")
			w.expectTask("a", "two", structs.TaskRunning, "")
			if killed {
				w.crash(rand.New(rand.NewPCG(1, 1)), false)
				w.start()
				w.welcome("g1")
				after(time.Second)
			}
			w.expectTask("a", "two", structs.TaskRunning, "")
			w.shelf.set(func(s *shelf) { s.stuck = nil })
			after(time.Minute)
			w.expectTask("a", "two", structs.TaskFinished, "")
			w.shelf.expect("", "")
			w.expect("a", structs.AllocRunning, "")
			w.expectStarts("a/one/1", "a/two/1")
		})
	}
}
