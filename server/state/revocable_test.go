package state

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/proffer/proffer/client/msgpack"
	"github.com/proffer/proffer/structs"
)

// What is of a node's slack is not of its own room, and counts for the role all the same.
func TestRevocableHoldsNoRoom(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 2000)
	r.must(&SubmitJob{Job: job("web", "service", 2, "g")})
	r.must(&SubmitJob{Job: job("scan", "batch", 3, "g")})
	r.place("web", "g", 0, id)
	r.place("web", "g", 1, id)
	r.refused(RefusedResources, r.placement("scan", "g", 0, id))
	of := func(index int, s structs.Slack) *Placement {
		p := r.placement("scan", "g", index, id)
		p.Alloc.Revocable = &s
		return p
	}
	r.refused(RefusedResources, of(0, structs.Slack{CPU: 999}))
	r.refused(RefusedInvalid, of(0, structs.Slack{CPU: 1001}))
	r.refused(RefusedInvalid, of(0, structs.Slack{CPU: 1000, Memory: -1}))
	if got := r.must(&Place{Placements: []*Placement{of(0, structs.Slack{CPU: 1000})}}).(*Placed); got.Placements[0].Refused != "" {
		t.Fatalf("refused: %+v", got.Placements[0])
	}
	s := r.store.Snapshot()
	if node, role := s.Usage(id).Resources, s.RoleUse("default").Resources; node.CPU != 2000 || node.Memory != 3<<20 || role.CPU != 3000 || role.Memory != 3<<20 {
		t.Errorf("the node: %s, the role: %s", node, role)
	}
	// A node that has less stops what its own room is too small for.
	n := *s.Node(id)
	n.Resources.CPU = 1000
	r.must(&RegisterNode{Node: &n})
	stopped := ""
	for a := range r.store.Snapshot().AllocsOnNode(id) {
		if a.Desired == structs.DesiredStop {
			stopped += a.Job
		}
	}
	if stopped != "web" {
		t.Errorf("stopped: %q", stopped)
	}
}

// soft launches tasks of a core and 64 MiB with the executor x, each with what of that is revocable, and the executor's own half core likewise.
func (e *executors) soft(id string, own *structs.Slack, tasks map[string]*structs.Slack) PlaceResult {
	e.t.Helper()
	x := &structs.External{Executor: "x", Info: []byte("info"), Own: structs.Resources{CPU: 500}, OwnRevocable: own}
	group := &structs.Group{Name: "g"}
	for _, name := range slices.Sorted(maps.Keys(tasks)) {
		group.Tasks = append(group.Tasks, &structs.Task{Name: name})
		x.Tasks = append(x.Tasks, &structs.ExternalTask{ID: name, Name: name, Resources: structs.Resources{CPU: 1000, Memory: 64 << 20}, Revocable: tasks[name]})
	}
	answer := e.operate(&Operation{Launch: &Placement{Job: &structs.Job{Groups: []*structs.Group{group}},
		Alloc: &structs.Allocation{ID: structs.AllocID(id), Framework: "f", Role: "eng", Priority: structs.Priority{Band: structs.Production}, Node: e.node,
			Group: "g", External: x, OnLost: "replace"}}})
	e.check()
	return answer[0]
}

// What is revocable of an executor's allocation comes and goes with tasks. While there is any, all of it is best-effort; then it is of its role's
// priority again.
func TestRevocableTasksComeAndGo(t *testing.T) {
	e := newExecutors(t)
	e.must(&PutRole{Role: &structs.Role{Name: "eng", DefaultPriority: "production", MaxPriority: "production",
		Quota: &structs.Quota{Guarantee: &structs.QuotaAmount{CPU: new(structs.Milli(1000))}}}})
	is := func(what, want string) {
		t.Helper()
		s := e.store.Snapshot()
		a, node := e.alloc("a"), structs.Milli(0)
		if u := s.Usage(e.node); u != nil {
			node = u.Resources.CPU
		}
		e.is(what, fmt.Sprintf("%s, of the node %s, of the role %s, revocable %s", a.Priority, node, s.RoleUse("eng").Resources.CPU, a.OfSlack()), want)
	}
	core := &structs.Slack{CPU: 1000}
	if r := e.soft("a", nil, map[string]*structs.Slack{"firm": nil}); r.Refused != "" {
		t.Fatalf("%+v", r)
	}
	is("it begins", "production, of the node 1.5, of the role 1.5, revocable nothing")
	if r := e.soft("b", nil, map[string]*structs.Slack{"one": core, "two": {CPU: 500, Memory: 64 << 20}}); r.Refused != "" || r.ID != "a" {
		t.Fatalf("%+v", r)
	}
	is("two come", "best-effort, of the node 2, of the role 3.5, revocable cpu 1.5, memory 64MiB")
	for _, bad := range []*structs.Slack{{CPU: 1001}, {CPU: -1}, {Memory: 64<<20 + 1}, {CPU: 1, Memory: -1}} {
		if r := e.soft("b", nil, map[string]*structs.Slack{"three": bad}); r.Refused != RefusedInvalid {
			t.Errorf("%s: %+v", bad, r)
		}
		if r := e.soft("b", bad, map[string]*structs.Slack{"three": nil}); r.Refused != RefusedInvalid {
			t.Errorf("%s of the executor: %+v", bad, r)
		}
	}
	running := &structs.TaskState{Status: structs.TaskRunning}
	e.observe("a", structs.AllocRunning, map[string]*structs.TaskState{"firm": running, "one": running, "two": {Status: structs.TaskFailed}})
	is("one ends", "best-effort, of the node 1.5, of the role 2.5, revocable cpu 1")

	// A server that begins with a snapshot goes on likewise.
	e.fork()
	e.observe("a", structs.AllocRunning, map[string]*structs.TaskState{"one": {Status: structs.TaskFinished}})
	is("the other ends", "production, of the node 1.5, of the role 1.5, revocable nothing")
	e.observe("a", structs.AllocComplete, map[string]*structs.TaskState{"firm": {Status: structs.TaskFinished}})
	if u := e.store.Snapshot().Usage(e.node); u != nil && !u.Resources.IsZero() {
		t.Errorf("in the end %s is used", u.Resources)
	}

	// One that itself is on it.
	if r := e.soft("a2", &structs.Slack{CPU: 500}, map[string]*structs.Slack{"firm2": nil}); r.Refused != "" {
		t.Fatalf("%+v", r)
	}
	if a := e.alloc("a2"); a.Priority.Band != structs.BestEffort || a.Booked().CPU != 1000 {
		t.Errorf("it is %s with %s", a.Priority, a.Booked())
	}
	// What its tasks hold fits on the node, with what is held there of its own room alone.
	for i, refused := range []Refusal{"", "", "", "", "", "", "", RefusedResources} {
		if r := e.soft("b", &structs.Slack{CPU: 500}, map[string]*structs.Slack{fmt.Sprintf("more%d", i): nil}); r.Refused != refused {
			t.Errorf("task %d: %+v", i, r)
		}
	}
	if r := e.soft("b", &structs.Slack{CPU: 500}, map[string]*structs.Slack{"soft": core}); r.Refused != "" {
		t.Errorf("on what others leave: %+v", r)
	}
}

// When what is revocable is taken back, a pod loses the tasks that have some and those of their groups, and goes on with the others. One without
// others, one that itself has some, and a custom executor end.
func TestOnlyWhatIsRevocableIsTakenBack(t *testing.T) {
	core := &structs.Slack{CPU: 1000}
	for _, c := range []struct {
		name             string
		own              *structs.Slack
		custom, together bool
		tasks            map[string]*structs.Slack
		want             string
	}{
		{"a pod", nil, false, false, map[string]*structs.Slack{"a": core, "b": nil, "c": core}, "run: a gone CONTAINER_PREEMPTED, b , c gone CONTAINER_PREEMPTED, "},
		{"a group", nil, false, true, map[string]*structs.Slack{"a": core, "b": nil}, "run: a gone CONTAINER_PREEMPTED, b gone CONTAINER_PREEMPTED, z , "},
		{"nothing else", nil, false, false, map[string]*structs.Slack{"a": core}, "stop: a , "},
		{"its own", core, false, false, map[string]*structs.Slack{"a": nil}, "stop: a , "},
		{"a custom executor", nil, true, false, map[string]*structs.Slack{"a": core, "b": nil}, "stop: a , b , "},
	} {
		e := newExecutors(t)
		x := &structs.External{Executor: "x", Custom: c.custom, Info: []byte("info"), Own: structs.Resources{CPU: 1000}, OwnRevocable: c.own}
		job := &structs.Job{Groups: []*structs.Group{{Name: "g"}}}
		launch := func(id string, tasks map[string]*structs.Slack, together bool) {
			more, job := *x, job.Clone()
			for _, name := range slices.Sorted(maps.Keys(tasks)) {
				job.Groups[0].Tasks = append(job.Groups[0].Tasks, &structs.Task{Name: name})
				more.Tasks = append(more.Tasks, &structs.ExternalTask{ID: name, Name: name, Resources: structs.Resources{CPU: 1000}, Revocable: tasks[name], Together: together})
			}
			if r := e.operate(&Operation{Launch: &Placement{Job: job, Alloc: &structs.Allocation{ID: structs.AllocID(id), Framework: "f", Role: "eng", Node: e.node,
				Group: "g", External: &more, OnLost: "replace"}}})[0]; r.Refused != "" || r.ID != "a" {
				t.Fatalf("%s: %+v", c.name, r)
			}
		}
		if launch("a", c.tasks, c.together); c.together {
			launch("b", map[string]*structs.Slack{"z": nil}, true)
		}
		e.must(&Place{Stops: []*Stop{{ID: "a", Why: "taken back", Preempted: true, Revocable: true}}})
		tasks := map[string]*structs.TaskState{}
		for _, x := range e.alloc("a").External.Tasks {
			if tasks[x.Name] = (&structs.TaskState{Status: structs.TaskRunning}); x.TakenBack != "" {
				tasks[x.Name] = &structs.TaskState{Status: structs.TaskKilled}
			}
		}
		if !c.custom {
			e.observe("a", structs.AllocRunning, tasks)
		}
		e.fork()
		a := e.alloc("a")
		got := string(a.Desired) + ": "
		for _, x := range a.External.Tasks {
			text := ""
			if n := len(x.Updates); n > 0 && x.Updates[n-1].State != structs.TaskRunning {
				u := x.Updates[n-1]
				if text = fmt.Sprintf("%s %s", u.State, u.Reason); u.Message != "taken back" || !u.Agent {
					t.Errorf("%s: %+v", c.name, u)
				}
			}
			got += x.ID + " " + text + ", "
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if left := a.Reclaim(); a.Desired == structs.DesiredRun && (a.Revocable != nil || left.Tasks != nil || a.Priority.Band == structs.BestEffort) {
			t.Errorf("%s: afterwards %s is revocable, of %s work: %+v", c.name, a.OfSlack(), a.Priority, left)
		}
	}
}

// What has nothing revocable says nothing of it in the log, nor in what is kept.
func TestNothingRevocableTakesNoRoom(t *testing.T) {
	e := newExecutors(t)
	x := &structs.External{Executor: "x", Tasks: []*structs.ExternalTask{{ID: "one", Name: "one", Resources: structs.Resources{CPU: 1000}}}}
	op := &Operation{Launch: &Placement{Alloc: &structs.Allocation{ID: "a", External: x}}}
	without, err := EncodedBytes(op)
	if err != nil {
		t.Fatal(err)
	}
	e.launch("a", "info", false, "one")
	if raw, err := msgpack.Append(nil, e.alloc("a")); err != nil || bytes.Contains(raw, []byte("revocable")) {
		t.Errorf("%v: %q", err, raw)
	}
	x.Tasks[0].Revocable = &structs.Slack{CPU: 1000}
	with, err := EncodedBytes(op)
	if err != nil || with <= without {
		t.Errorf("%d bytes with it, and %d without: %v", with, without, err)
	}
	raw, err := msgpack.Append(nil, op)
	if err != nil || bytes.Count(raw, []byte("revocable")) != 1 {
		t.Errorf("%v: %q", err, raw)
	}
}
