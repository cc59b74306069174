package client

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/proffer/proffer/structs"
)

// pod is an allocation of the default executor of the test.
type pod struct {
	w  *world
	id string
}

type member struct {
	name   string
	config script
	launch uint64
	maxRun time.Duration
	cpu    structs.Milli
	soft   bool // all its cores are revocable
}

// pod runs an allocation of the default executor.
func (w *world) pod(id string, members ...member) *pod {
	p := &pod{w, id}
	j := w.batch("", nil, func(g *structs.Group) { g.Tasks, g.Restart = nil, &structs.Restart{Attempts: new(0)} })
	a := w.alloc(id, j)
	a.Framework, a.External = "f", &structs.External{Executor: "x"}
	p.add(members...)
	return p
}

// add launches more.
func (p *pod) add(members ...member) {
	old := p.w.allocs[structs.AllocID(p.id)]
	var tasks []*structs.Task
	if len(old.External.Tasks) > 0 {
		tasks = slices.Clone(p.w.jobs[""].Job.Groups[0].Tasks)
	}
	x := *old.External
	x.Tasks = slices.Clone(x.Tasks)
	for _, m := range members {
		t := task(m.name, m.config)
		if m.cpu > 0 {
			t.Resources = &structs.TaskResources{CPU: m.cpu}
		}
		one := &structs.ExternalTask{ID: m.name, Name: m.name, Launch: m.launch, Together: true, MaxRun: structs.Duration(m.maxRun)}
		if m.soft {
			one.Revocable = &structs.Slack{CPU: m.cpu}
		}
		tasks, x.Tasks = append(tasks, t), append(x.Tasks, one)
	}
	p.put(tasks, &x)
}

func (p *pod) put(tasks []*structs.Task, x *structs.External) {
	j := p.w.batch("", nil, func(g *structs.Group) { g.Tasks, g.Restart = tasks, &structs.Restart{Attempts: new(0)} })
	p.w.want(p.w.change(p.id, func(a *structs.Allocation) { a.Version, a.External = j.Version, x }))
}

// forget removes tasks, as the region does once their framework knows how they ended.
func (p *pod) forget(names ...string) {
	x := *p.w.allocs[structs.AllocID(p.id)].External
	x.Tasks = slices.DeleteFunc(slices.Clone(x.Tasks), func(t *structs.ExternalTask) bool { return slices.Contains(names, t.Name) })
	p.put(slices.DeleteFunc(slices.Clone(p.w.jobs[""].Job.Groups[0].Tasks), func(t *structs.Task) bool { return slices.Contains(names, t.Name) }), &x)
}

func (p *pod) kill(name string) {
	p.task(name, func(x *structs.ExternalTask) { x.Kill = &structs.TaskKill{Grace: new(structs.Duration(time.Second))} })
}

// task changes what the region says of one.
func (p *pod) task(name string, edit func(x *structs.ExternalTask)) {
	x := *p.w.allocs[structs.AllocID(p.id)].External
	x.Tasks = slices.Clone(x.Tasks)
	for i, t := range x.Tasks {
		if t.Name == name {
			changed := *t
			edit(&changed)
			x.Tasks[i] = &changed
		}
	}
	p.w.want(p.w.change(p.id, func(a *structs.Allocation) { a.External = &x }))
}

func ends(after string, code int) script { return script{"run_for": after, "exit_code": code} }

// Tasks of a pod come and go; what was launched together ends together, and the pod with the last of it.
func TestAPodTakesTasksWhileItRuns(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.pod("a", member{name: "one", config: serves, launch: 1}, member{name: "uno", config: serves, launch: 1})
		after(time.Second)
		w.expectRunning("a/one/1", "a/uno/1")
		p.add(member{name: "two", config: serves, launch: 2}, member{name: "dos", config: ends("1m", 3), launch: 2})
		p.add(member{name: "three", config: ends("90s", 0), launch: 3})
		after(time.Second)
		w.expectRunning("a/dos/1", "a/one/1", "a/three/1", "a/two/1", "a/uno/1")
		after(70 * time.Second)
		w.expectRunning("a/one/1", "a/three/1", "a/uno/1")
		w.expectTask("a", "dos", structs.TaskFailed, "exit code 3")
		w.expectTask("a", "two", structs.TaskKilled, `task "dos" of its group is failed`)
		p.forget("two", "dos")
		after(time.Minute)
		w.expectTask("a", "three", structs.TaskFinished, "")
		p.add(member{name: "four", config: serves, launch: 4})
		after(time.Second)
		p.task("four", func(x *structs.ExternalTask) { x.TakenBack = "others need it" })
		after(10 * time.Second)
		w.expectTask("a", "four", structs.TaskKilled, "others need it")
		w.expectRunning("a/one/1", "a/uno/1")
		w.expect("a", structs.AllocRunning, "")
		p.kill("one")
		after(10 * time.Second)
		w.expectTask("a", "one", structs.TaskKilled, "its framework killed it")
		w.expectTask("a", "uno", structs.TaskKilled, "of its group is killed")
		w.expect("a", structs.AllocComplete, "")
		w.expectRunning()
	})
}

// A pod outlives the agent, with the tasks that came later, and what ended meanwhile ends its group.
func TestAPodOutlivesTheAgent(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.pod("a", member{name: "one", config: serves, launch: 1})
		p.add(member{name: "two", config: serves, launch: 2}, member{name: "dos", config: ends("1m", 3), launch: 2})
		after(time.Second)
		w.crash(rand.New(rand.NewPCG(1, 1)), false)
		after(2 * time.Minute)
		w.start()
		w.welcome("g1")
		after(20 * time.Second)
		w.expectStarts("a/dos/1", "a/one/1", "a/two/1")
		w.expectTask("a", "dos", structs.TaskFailed, "exit code 3")
		w.expectTask("a", "two", structs.TaskKilled, "of its group")
		w.expectRunning("a/one/1")
		p.add(member{name: "three", config: serves, launch: 3})
		after(time.Second)
		w.expectRunning("a/one/1", "a/three/1")
		w.want(w.change("a", stopped))
		after(10 * time.Second)
		w.expect("a", structs.AllocComplete, "the user stopped it")
	})
}

// A task that runs for longer than it may has failed, also when the agent was restarted meanwhile.
func TestTasksOfAPodEndInTime(t *testing.T) {
	bubble(t, func(w *world) {
		w.pod("a", member{name: "one", config: serves, launch: 1, maxRun: time.Minute}, member{name: "two", config: ends("5m", 0), launch: 2})
		after(30 * time.Second)
		w.stop()
		w.start()
		w.welcome("g1")
		after(29 * time.Second)
		w.expectRunning("a/one/1", "a/two/1")
		after(10 * time.Second)
		w.expectTask("a", "one", structs.TaskFailed, "max_completion_time of 1m is over")
		if got := w.task("a", "one").Reason; got != "MAX_COMPLETION_TIME_REACHED" {
			t.Errorf("the reason is %q", got)
		}
		w.expectRunning("a/two/1")
		after(5 * time.Minute)
		w.expect("a", structs.AllocFailed, `task "one"`)
	})
}

// What a framework launched is tried for a minute while its node is short of something, and has failed then: its scheduler waits to hear
// of it. What was wrong is all that is said.
func TestFrameworksHearOfAShortage(t *testing.T) {
	bubble(t, func(w *world) {
		away := structs.Errorf(structs.Unavailable, "engine", "it is away")
		w.trouble = func(string) error { return away }
		w.rooms.trouble = func(id structs.AllocID) error {
			if id == "room" {
				return away
			}
			return nil
		}
		w.pod("a", member{name: "one", config: serves, launch: 1})
		command := w.alloc("room", w.service("j", inRoom))
		command.Framework, command.External = "f", &structs.External{Tasks: []*structs.ExternalTask{{ID: "main", Name: "main"}}}
		w.want(command)
		after(55 * time.Second)
		w.expectTask("a", "one", structs.TaskStarting, "it is away")
		w.expect("room", structs.AllocPending, "it is away")
		after(15 * time.Second)
		w.expectTask("a", "one", structs.TaskError, "it is away")
		w.expect("room", structs.AllocFailed, "it is away")

		w.mu.Lock()
		w.trouble = func(string) error { return structs.Errorf(structs.Internal, "engine", "bad luck") }
		w.mu.Unlock()
		w.pod("b", member{name: "one", config: serves, launch: 1})
		after(time.Second)
		w.expectTask("b", "one", structs.TaskError, "bad luck")
		w.mu.Lock()
		w.trouble = nil
		w.mu.Unlock()
		w.pod("c", member{name: "one", config: ends("1s", 3), launch: 1})
		after(10 * time.Second)
		if why := w.task("c", "one").Why; why != "exit code 3" {
			t.Errorf("it failed since %q", why)
		}
	})
}
