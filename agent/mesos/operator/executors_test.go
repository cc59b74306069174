package operator

import (
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// withExecutor adds an executor with two tasks, of which one is running; custom: its process runs them.
func withExecutor(r *region, custom bool) {
	r.t.Helper()
	info := wire.ExecutorInfo{ExecutorID: wire.ID{Value: "x"}, Name: new("the executor")}
	task := wire.TaskInfo{Name: "a", TaskID: wire.ID{Value: "a"}, AgentID: wire.ID{Value: "n1"}, Labels: &wire.Labels{Labels: []wire.Label{{Key: "k", Value: new("v")}}},
		Discovery: &wire.DiscoveryInfo{Visibility: wire.VisibleExternal, Name: new("found")}}
	x := &structs.External{Executor: "x", Custom: custom, Info: wire.Protobuf.Marshal(&info), Own: structs.Resources{CPU: 250}}
	group := &structs.Group{Name: "g"}
	for i, name := range []string{"a", "b"} {
		one := &structs.ExternalTask{ID: name, Name: name, Resources: structs.Resources{CPU: 500, Ports: 1}, Ports: []structs.AssignedPort{{Port: 21000 + i}}}
		if custom {
			one.Info = wire.Protobuf.Marshal(&task)
		} else {
			group.Tasks = append(group.Tasks, &structs.Task{Name: name})
		}
		x.Tasks = append(x.Tasks, one)
	}
	if custom {
		group.Tasks = []*structs.Task{{Name: "executor"}}
	}
	n := r.store.Snapshot().Node("n1")
	done := r.must(&state.Place{Accepts: []*state.Accept{{Framework: "f1", Node: n.ID, NodeIncarnation: n.Incarnation, Operations: []*state.Operation{{
		Launch: &state.Placement{Job: &structs.Job{Groups: []*structs.Group{group}}, Alloc: &structs.Allocation{ID: "alloc-x", Framework: "f1", Role: "eng",
			Node: n.ID, Group: "g", External: x, OnLost: "wait(1h)"}}}}}}}).(*state.Placed)
	if refused := done.Accepts[0][0]; refused.Refused != "" {
		r.t.Fatalf("%s: %s", refused.Refused, refused.Why)
	}
	r.observe("alloc-x", structs.AllocRunning, map[string]*structs.TaskState{"a": {Status: structs.TaskRunning}, "b": {Status: structs.TaskStaging}})
}

func TestTasksOfExecutors(t *testing.T) {
	for _, custom := range []bool{true, false} {
		r := peopled(t)
		withExecutor(r, custom)
		s := r.servers()
		f := r.tree(s, "/frameworks?framework_id=f1").in("frameworks|0")
		f.len("executors", 1)
		f.is("executors|0|executor_id", `"x"`)
		f.is("executors|0|name", `"the executor"`)
		f.is("executors|0|type", map[bool]string{true: `"CUSTOM"`, false: `"DEFAULT"`}[custom])
		f.is("executors|0|resources|cpus", "0.25")
		a := r.tree(s, "/tasks?task_id=a").in("tasks|0")
		a.is("executor_id", `"x"`)
		a.is("state", `"TASK_RUNNING"`)
		a.is("resources|cpus", "0.5")
		a.is("resources|ports", `"[21000-21000]"`)
		if container := a.in("statuses|0|container_status|container_id"); custom {
			container.is("value", `"alloc-x"`)
			a.is("labels", `[{"key":"k","value":"v"}]`)
			a.is("discovery|name", `"found"`)
		} else {
			container.is("value", `"alloc-x.a"`)
			container.is("parent|value", `"alloc-x"`)
		}
		answer := &wire.OperatorResponse{}
		raw := r.post(s, wire.Protobuf, &wire.OperatorCall{Type: new(wire.OperatorGetExecutors)}).Body.Bytes()
		if err := wire.Protobuf.Unmarshal(raw, answer); err != nil || len(answer.Executors.Executors) != 1 || answer.Executors.Executors[0].Info.ExecutorID.Value != "x" {
			t.Errorf("%v: %s", err, wire.JSON.Marshal(answer))
		}
	}
}

// What runs on a node that is away cannot be reached, until it is given up.
func TestTasksOfALostNode(t *testing.T) {
	r := peopled(t)
	withExecutor(r, true)
	r.must(&state.SetNodeStatus{Node: "n1", Status: structs.NodeLost, Why: "test"})
	r.must(&state.LoseAllocs{Node: "n1", Allocs: []structs.AllocID{"alloc-x"}})
	s := r.servers()
	f := r.tree(s, "/state").in("frameworks|0")
	f.len("tasks", 0)
	f.len("unreachable_tasks", 3) // t1 and both of the executor
	f.is("unreachable_tasks|0|state", `"TASK_UNREACHABLE"`)
	f.len("executors", 0)
	r.tree(s, "/metrics/snapshot").is("master/tasks_unreachable", "5") // the job's as well
	r.must(&state.RemoveNode{Node: "n1"})
	doc := r.tree(s, "/state")
	doc.in("frameworks|0").len("unreachable_tasks", 0)
	doc.in("frameworks|0").len("completed_tasks", 4)
	doc.is("frameworks|0|completed_tasks|0|state", `"TASK_GONE_BY_OPERATOR"`)
	doc.len("slaves", 1)
}

// A task that could not be started, or ran for too long, has failed, as its framework is told, also when that was acknowledged.
func TestTasksAreAsTheirFrameworksAreTold(t *testing.T) {
	r := peopled(t)
	late := r.command("f1", "n1", "late", structs.Resources{CPU: 100})
	late.Alloc.MaxRunDuration = 1e9
	for p, is := range map[*state.Placement]structs.TaskStatus{late: structs.TaskKilled, r.command("f1", "n1", "wrong", structs.Resources{CPU: 100}): structs.TaskError} {
		id := p.Alloc.External.Tasks[0].ID
		r.place(p, structs.AllocRunning, map[string]*structs.TaskState{id: {Status: structs.TaskStaging}})
		r.observe(p.Alloc.ID, structs.AllocFailed, map[string]*structs.TaskState{id: {Status: is, Ended: structs.Time(95e9)}})
		for range 2 {
			r.tree(r.servers(), "/tasks?framework_id=f1&order=des&limit=1").is("tasks|0|state", `"TASK_FAILED"`)
			x := r.store.Snapshot().Alloc(p.Alloc.ID).External.Tasks[0]
			if u := x.Outstanding(); u != nil {
				r.must(&state.AcknowledgeUpdates{Framework: "f1", Updates: []state.Acknowledged{{Task: id, UUID: u.UUID}}})
			}
		}
		if x := r.store.Snapshot().Alloc(p.Alloc.ID).External.Tasks[0]; len(x.Updates) > 0 {
			t.Errorf("of %s is not acknowledged: %+v", id, x.Updates[0])
		}
	}
}

// An operation is listed with what became of it until its framework acknowledged that.
func TestGetOperations(t *testing.T) {
	r := peopled(t)
	n := r.store.Snapshot().Node("n1")
	info := wire.Operation{Type: new(wire.OperationReserve), ID: &wire.ID{Value: "op"}, Reserve: &wire.Reserve{Resources: []wire.Resource{{Name: "cpus",
		Type: wire.ValueScalar, Scalar: &wire.Scalar{Value: 1000}}}}}
	r.must(&state.Place{Accepts: []*state.Accept{{Framework: "f1", Node: n.ID, NodeIncarnation: n.Incarnation, Operations: []*state.Operation{{
		Reserve:  &structs.Reservation{ID: "r1", Role: "eng", Resources: structs.Resources{CPU: 1e6}},
		Feedback: &state.Feedback{ID: "op", Parts: 1, Info: wire.Protobuf.Marshal(&info)}}}}}})
	s := r.servers()
	for _, e := range []wire.Encoding{wire.JSON, wire.Protobuf} {
		answer := &wire.OperatorResponse{}
		if err := e.Unmarshal(r.post(s, e, &wire.OperatorCall{Type: new(wire.OperatorGetOperations)}).Body.Bytes(), answer); err != nil || len(answer.Operations.Operations) != 1 {
			t.Fatalf("%v: %s", err, wire.JSON.Marshal(answer))
		}
		o := answer.Operations.Operations[0]
		if o.FrameworkID.Value != "f1" || o.AgentID.Value != "n1" || *o.Info.Type != wire.OperationReserve || o.Info.ID.Value != "op" || len(o.UUID.Value) != 16 ||
			o.Latest.State != wire.OperationError || o.Latest.Message == nil || o.Latest.ID.Value != "op" || len(o.Statuses) != 1 || len(o.Info.Reserve.Resources) != 1 {
			t.Errorf("it is %s", wire.JSON.Marshal(&o))
		}
	}
	r.must(&state.AcknowledgeOperations{Framework: "f1", Operations: []state.AcknowledgedOperation{{ID: "op", UUID: r.store.Snapshot().Operation("f1", "op").UUID}}})
	answer := &wire.OperatorResponse{}
	raw := r.post(s, wire.JSON, &wire.OperatorCall{Type: new(wire.OperatorGetOperations)}).Body.Bytes()
	if err := wire.JSON.Unmarshal(raw, answer); err != nil || answer.Operations == nil || len(answer.Operations.Operations) != 0 {
		t.Errorf("%v: %s", err, raw)
	}
}
