package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

// executors launches tasks of one executor and reports of them.
type executors struct {
	*region
	t    *testing.T
	node structs.NodeID
}

func newExecutors(t *testing.T) *executors {
	e := &executors{region: newRegion(t), t: t}
	e.node = e.region.node("1", 8000)
	e.must(&ConnectFramework{Framework: &structs.Framework{ID: "f", Name: "f", User: "root", Roles: []string{"eng"}, Connection: "c1"}})
	return e
}

func (e *executors) alloc(id string) *structs.Allocation {
	return e.store.Snapshot().Alloc(structs.AllocID(id))
}

// launch accepts with one operation: tasks of a core each, of an executor that has half a core.
func (e *executors) launch(id, info string, custom bool, tasks ...string) PlaceResult {
	e.t.Helper()
	x := &structs.External{Executor: "x", Custom: custom, Info: []byte(info), Own: structs.Resources{CPU: 500}}
	group := &structs.Group{Name: "g"}
	for _, name := range tasks {
		t := &structs.ExternalTask{ID: name, Name: name, Resources: structs.Resources{CPU: 1000, Ports: 1}, Together: len(tasks) > 1,
			Ports: []structs.AssignedPort{{Port: 20000 + len(name)*100 + int(name[0])}}}
		if custom {
			t.Info = []byte("info of " + name)
		} else {
			group.Tasks = append(group.Tasks, &structs.Task{Name: name})
		}
		x.Tasks = append(x.Tasks, t)
	}
	if custom {
		group.Tasks = []*structs.Task{{Name: "executor"}}
	}
	n := e.store.Snapshot().Node(e.node)
	answer := e.must(&Place{Accepts: []*Accept{{Framework: "f", Node: e.node, NodeIncarnation: n.Incarnation, Operations: []*Operation{{Launch: &Placement{
		Job: &structs.Job{Groups: []*structs.Group{group}}, Alloc: &structs.Allocation{ID: structs.AllocID(id), Framework: "f", Role: "eng", Node: e.node,
			Group: "g", External: x, OnLost: "replace"}}}}}}})
	e.check()
	return answer.(*Placed).Accepts[0][0]
}

func (e *executors) observe(id string, status structs.AllocStatus, tasks map[string]*structs.TaskState, said ...*structs.TaskSaid) {
	e.t.Helper()
	n, a := e.store.Snapshot().Node(e.node), e.alloc(id)
	e.must(&Observe{Node: e.node, NodeIncarnation: n.Incarnation, Session: n.Session, Told: true, Updates: []*structs.AllocUpdate{{ID: a.ID, Incarnation: a.Incarnation,
		Status: status, Tasks: tasks, Said: said}}})
	e.check()
}

func said(task string, seq uint64, status structs.TaskStatus) *structs.TaskSaid {
	return &structs.TaskSaid{Task: task, Seq: seq, Update: structs.TaskUpdate{State: status, UUID: fmt.Appendf(nil, "%-16s", fmt.Sprint(task, seq))}}
}

// updates draws what is to be acknowledged of a task.
func (e *executors) updates(id, task string) string {
	var out []string
	for _, u := range e.alloc(id).External.Task(task).Updates {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s", u.State, u.Reason)))
	}
	return strings.Join(out, ", ")
}

func (e *executors) acknowledge(id, task string) {
	e.t.Helper()
	u := e.alloc(id).External.Task(task).Outstanding()
	e.must(&AcknowledgeUpdates{Framework: "f", Updates: []Acknowledged{{Task: task, UUID: u.UUID}}})
	e.check()
}

func (e *executors) is(what, got, want string) {
	e.t.Helper()
	if got != want {
		e.t.Errorf("%s: %s, want %s", what, got, want)
	}
}

// Tasks join the allocation of their executor, which holds more with each and less when one ends.
func TestTasksJoinTheirExecutor(t *testing.T) {
	e := newExecutors(t)
	if r := e.launch("a", "info", true, "one"); r.Refused != "" || r.ID != "a" {
		t.Fatalf("%+v", r)
	}
	made := e.alloc("a").WantIndex
	if r := e.launch("b", "info", true, "two"); r.Refused != "" || r.ID != "a" {
		t.Fatalf("%+v", r)
	}
	a := e.alloc("a")
	if e.alloc("b") != nil || a.Resources.CPU != 2500 || len(a.Ports) != 2 || a.WantIndex <= made || string(a.External.Task("two").Info) != "info of two" {
		t.Fatalf("it is %+v", a)
	}
	if got := e.store.Snapshot().ExecutorsOn(e.node, "f"); len(got) != 1 || got[0] != "x" {
		t.Errorf("executors on the node: %v", got)
	}
	if r := e.launch("b", "other", true, "three"); r.Refused != RefusedExecutor {
		t.Errorf("another executor of that name: %+v", r)
	}
	if r := e.launch("b", "info", true, "two"); r.Refused != RefusedTask {
		t.Errorf("the same task again: %+v", r)
	}
	if r := e.launch("b", "info", true, "x1", "x2", "x3", "x4", "x5", "x6"); r.Refused != RefusedResources {
		t.Errorf("more than the node has: %+v", r)
	}
	// What it said twice, or before, changes nothing.
	e.observe("a", structs.AllocRunning, map[string]*structs.TaskState{"one": {Status: structs.TaskRunning}}, said("one", 1, structs.TaskRunning))
	e.observe("a", structs.AllocRunning, map[string]*structs.TaskState{"one": {Status: structs.TaskFinished}}, said("one", 1, structs.TaskRunning),
		said("one", 2, structs.TaskFinished), said("one", 3, structs.TaskFailed))
	e.is("one", e.updates("a", "one"), "running, finished")
	if a := e.alloc("a"); a.Resources.CPU != 1500 || len(a.Ports) != 1 {
		t.Errorf("after one ended it holds %s, %v", a.Resources, a.Ports)
	}
	if string(e.alloc("a").External.Task("one").Outstanding().UUID) != fmt.Sprintf("%-16s", "one1") {
		t.Error("the update does not have the executor's id")
	}
	e.acknowledge("a", "one")
	e.is("one", e.updates("a", "one"), "finished")
	// A task of that id joins once the first one is told of, and has another name; those that are over are forgotten.
	if r := e.launch("b", "info", true, "one"); r.Refused != RefusedTask {
		t.Errorf("a task whose end nobody acknowledged: %+v", r)
	}
	e.acknowledge("a", "one")
	if r := e.launch("b", "info", true, "one"); r.Refused != "" {
		t.Fatalf("%+v", r)
	}
	a = e.alloc("a")
	if len(a.External.Tasks) != 2 || a.External.Task("one").Name != "one-1" || a.Tasks["one"] != nil || a.Resources.CPU != 2500 {
		t.Errorf("it is %+v with %+v", a, a.External.Task("one"))
	}
	// Its end ends what it did not tell of.
	e.must(&KillTask{Alloc: "a", Task: "two", Kill: structs.TaskKill{Grace: new(structs.Duration(5))}})
	if k := e.alloc("a").External.Task("two").Kill; k == nil || *k.Grace != 5 {
		t.Errorf("the kill is %+v", k)
	}
	e.observe("a", structs.AllocFailed, map[string]*structs.TaskState{"two": {Status: structs.TaskFailed, Reason: "EXECUTOR_TERMINATED"}})
	e.is("two", e.updates("a", "two"), "failed EXECUTOR_TERMINATED")
	e.is("one", e.updates("a", "one"), "dropped EXECUTOR_TERMINATED")
	if e.store.Snapshot().Usage(e.node) != nil && e.store.Snapshot().Usage(e.node).Resources.CPU != 0 {
		t.Error("the node still has something in use")
	}
	if r := e.launch("b", "other", true, "three"); r.Refused != "" || r.ID != "b" {
		t.Errorf("a new executor of that name: %+v", r)
	}
	e.must(&StopAlloc{ID: "b"})
	if r := e.launch("c", "other", true, "four"); r.Refused != RefusedEnding {
		t.Errorf("a task of an executor that is being stopped: %+v", r)
	}
}

// No two tasks of an allocation ever have the same name, whatever their framework calls them and whichever were forgotten.
func TestNamesOfTasksAreNotUsedAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, used := &structs.External{}, map[string]bool{}
		for range rapid.IntRange(1, 40).Draw(t, "joins") {
			x.Tasks = slices.DeleteFunc(x.Tasks, func(o *structs.ExternalTask) bool {
				gone := rapid.IntRange(0, 3).Draw(t, "ends") == 0
				if gone {
					x.Numbered = max(x.Numbered, numberOf(o.Name))
				}
				return gone
			})
			id := rapid.SampledFrom([]string{"a", "a-1", "a-2", "a-1-1", "a-3", "1", "-2", "a-18446744073709551615", strings.Repeat("b", 100), strings.Repeat("b", 100) + "-1"}).Draw(t, "id")
			name := nameFor(x, id)
			if used[name] {
				t.Fatalf("%s is used again", name)
			}
			used[name] = true
			x.Tasks = append(x.Tasks, &structs.ExternalTask{ID: id, Name: name})
			x.Made++
		}
	})
}

// The kill of a command stops its allocation, with the time that its framework gives it.
func TestACommandIsKilled(t *testing.T) {
	e := newExecutors(t)
	n := e.store.Snapshot().Node(e.node)
	e.must(&Place{Accepts: []*Accept{{Framework: "f", Node: e.node, NodeIncarnation: n.Incarnation, Operations: []*Operation{{Launch: &Placement{
		Job: &structs.Job{Groups: []*structs.Group{{Name: "g", Tasks: []*structs.Task{{Name: "task"}}}}},
		Alloc: &structs.Allocation{ID: "a", Framework: "f", Role: "eng", Node: e.node, Group: "g", OnLost: "replace",
			External: &structs.External{Tasks: []*structs.ExternalTask{{ID: "one", Name: "task"}}}}}}}}}})
	e.must(&KillTask{Alloc: "a", Task: "one", Kill: structs.TaskKill{Grace: new(structs.Duration(5))}})
	a := e.alloc("a")
	if k := a.External.Task("one").Kill; a.Desired != structs.DesiredStop || k == nil || *k.Grace != 5 || a.WantIndex != a.ModifyIndex {
		t.Errorf("it is %+v, the kill is %+v", a, k)
	}
	e.check()
}

// A task that joined an executor that ended before it began is dropped, also when those before it were forgotten.
func TestATaskThatJoinsTooLateIsDropped(t *testing.T) {
	e := newExecutors(t)
	e.launch("a", "info", true, "one")
	e.observe("a", structs.AllocRunning, map[string]*structs.TaskState{"one": {Status: structs.TaskFinished}}, said("one", 1, structs.TaskFinished))
	e.acknowledge("a", "one")
	e.launch("b", "info", true, "two")
	e.observe("a", structs.AllocFailed, nil)
	e.is("two", e.updates("a", "two"), "dropped EXECUTOR_TERMINATED")
}

// Task groups of the default executor join with a new version of the nameless job, which has the tasks that are left.
func TestTaskGroupsJoinWithTheirTasks(t *testing.T) {
	e := newExecutors(t)
	e.launch("a", "info", false, "one", "uno")
	first := e.alloc("a").Version
	e.observe("a", structs.AllocRunning, map[string]*structs.TaskState{"one": {Status: structs.TaskFinished}})
	e.acknowledge("a", "one")
	if r := e.launch("b", "info", false, "two"); r.Refused != "" || r.ID != "a" {
		t.Fatalf("%+v", r)
	}
	a := e.alloc("a")
	v := e.store.Snapshot().Version("", a.Version)
	if a.Version == first || v == nil || e.store.Snapshot().Version("", first) != nil {
		t.Fatalf("version %d after %d: %+v", a.Version, first, v)
	}
	var names []string
	for _, task := range v.Job.Groups[0].Tasks {
		names = append(names, task.Name)
	}
	e.is("its tasks", strings.Join(names, " "), "uno two-1")
	if a.Resources.CPU != 2500 {
		t.Errorf("it holds %s", a.Resources)
	}
	e.observe("a", structs.AllocComplete, map[string]*structs.TaskState{"uno": {Status: structs.TaskFinished}, "two": {Status: structs.TaskFinished}})
	e.acknowledge("a", "uno")
	e.acknowledge("a", "two")
	e.must(&Collect{MaxFinished: -1})
	if e.store.Snapshot().Version("", a.Version) != nil {
		t.Error("the version is kept")
	}
	e.check()
}

// A key cannot go while work that did not end has values which are sealed with it, and nothing comes with such values once it went.
func TestKeysOfSentSecretsStay(t *testing.T) {
	e := newExecutors(t)
	e.must(&UseKey{ID: "k1"})
	sends := func(id, task, key string) PlaceResult {
		return e.operate(&Operation{Launch: &Placement{Job: &structs.Job{Groups: []*structs.Group{{Name: "g", Tasks: []*structs.Task{{Name: task}}}}},
			Alloc: &structs.Allocation{ID: structs.AllocID(id), Framework: "f", Role: "eng", Node: e.node, Group: "g", OnLost: "replace", Resources: structs.Resources{CPU: 100},
				External: &structs.External{Tasks: []*structs.ExternalTask{{ID: task, Name: task, Resources: structs.Resources{CPU: 100},
					Secrets: []*structs.SentSecret{{Name: "s-" + task, Sealed: structs.Sealed{Key: key, Data: []byte("x")}}}}}}}}})[0]
	}
	if r := sends("a", "one", "k1"); r.Refused != "" {
		t.Fatalf("%+v", r)
	}
	e.must(&UseKey{ID: "k2", Expect: "k1"})
	e.fails(structs.Conflict, &DropKey{ID: "k1"})
	e.must(&SetNodeStatus{Node: e.node, Status: structs.NodeLost})
	if e.alloc("a").Status != structs.AllocLost {
		t.Errorf("it is %s", e.alloc("a").Status)
	}
	e.fails(structs.Conflict, &DropKey{ID: "k1"})
	e.region.node("1", 8000)
	e.observe("a", structs.AllocComplete, map[string]*structs.TaskState{"one": {Status: structs.TaskFinished}})
	e.must(&DropKey{ID: "k1"})
	if r := sends("b", "two", "k1"); r.Refused != RefusedKey || e.alloc("b") != nil {
		t.Errorf("%+v", r)
	}
	if r := sends("b", "two", "k2"); r.Refused != "" {
		t.Errorf("%+v", r)
	}
}
