package mesos

import (
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/structs"
)

// empty is a node without executors.
type empty struct{}

func (empty) Executor(structs.FrameworkID, string) *runner.Executor { return nil }
func (empty) Node() *structs.Node                                   { return &structs.Node{} }

func askExecutors(x *Executors, method, kind string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/api/v1/executor", strings.NewReader(string(body)))
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	w := httptest.NewRecorder()
	x.ServeHTTP(w, r)
	return w
}

// Each thing that an executor may do wrong has its status, in both encodings.
func TestCallsOfExecutorsThatAreRefused(t *testing.T) {
	x := &Executors{Node: empty{}, Log: slog.New(slog.DiscardHandler)}
	call := func(kind wire.ExecutorCallType, change func(*wire.ExecutorCall)) *wire.ExecutorCall {
		c := &wire.ExecutorCall{ExecutorID: wire.ID{Value: "x"}, FrameworkID: wire.ID{Value: "f"}, Type: &kind}
		if change != nil {
			change(c)
		}
		return c
	}
	update := func(change func(*wire.TaskStatus)) *wire.ExecutorCall {
		s := wire.TaskStatus{TaskID: wire.ID{Value: "t"}, State: wire.TaskRunning, Source: new(wire.SourceExecutor), UUID: make([]byte, 16)}
		change(&s)
		return call(wire.ExecutorCallUpdate, func(c *wire.ExecutorCall) { c.Update = &wire.Update{Status: s} })
	}
	for _, e := range []wire.Encoding{wire.JSON, wire.Protobuf} {
		for _, c := range []struct {
			name   string
			call   *wire.ExecutorCall
			status int
			want   string
		}{
			{"a heartbeat", call(wire.ExecutorCallHeartbeat, nil), 202, ""},
			{"no type", call(0, func(c *wire.ExecutorCall) { c.Type = nil }), 400, "'type'"},
			{"an unknown type", call(wire.ExecutorCallUnknown, nil), 501, ""},
			{"no subscribe", call(wire.ExecutorCallSubscribe, nil), 400, "'subscribe'"},
			{"no update", call(wire.ExecutorCallUpdate, nil), 400, "'update'"},
			{"no message", call(wire.ExecutorCallMessage, nil), 400, "'message'"},
			{"a long message", call(wire.ExecutorCallMessage, func(c *wire.ExecutorCall) {
				c.Message = &wire.ExecutorMessage{Data: make([]byte, server.MaxMessage+1)}
			}), 413, "262144 are taken"},
			{"a short uuid", update(func(s *wire.TaskStatus) { s.UUID = []byte{1} }), 400, "not 16"},
			{"another source", update(func(s *wire.TaskStatus) { s.Source = new(wire.SourceMaster) }), 400, "SOURCE_EXECUTOR"},
			{"staging", update(func(s *wire.TaskStatus) { s.State = wire.TaskStaging }), 400, "TASK_STAGING"},
			{"of another executor", update(func(s *wire.TaskStatus) { s.ExecutorID = &wire.ID{Value: "y"} }), 400, "another executor"},
			{"an executor that is not there", update(func(*wire.TaskStatus) {}), 400, "cannot be found"},
		} {
			w := askExecutors(x, "POST", e.ContentType(), e.Marshal(c.call))
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
				t.Errorf("%s, %s: %d %s, want %d %s", e.ContentType(), c.name, w.Code, w.Body, c.status, c.want)
			}
		}
	}
	for _, c := range []struct {
		method, kind, body string
		status             int
	}{{"GET", "", "", 405}, {"POST", "", "{}", 400}, {"POST", "text/plain", "{}", 415}, {"POST", "application/json", "{", 400}, {"POST", "application/x-protobuf", "{}", 400},
		{"POST", "application/json", strings.Repeat(" ", MaxCall+1), http.StatusRequestEntityTooLarge}} {
		if w := askExecutors(x, c.method, c.kind, []byte(c.body)); w.Code != c.status {
			t.Errorf("%s %s %.20q: %d, want %d", c.method, c.kind, c.body, w.Code, c.status)
		}
	}
	// A status keeps what its executor said, and one that is too large is refused.
	s := &wire.TaskStatus{TaskID: wire.ID{Value: "t"}, State: wire.TaskRunning, UUID: make([]byte, 16), Data: []byte("data"), Labels: &wire.Labels{Labels: []wire.Label{{Key: "k"}}}}
	u, err := executorUpdate(s)
	var back wire.TaskStatus
	if err != nil || wire.Protobuf.Unmarshal(u.Update.Status, &back) != nil || string(back.Data) != "data" || back.Labels == nil {
		t.Errorf("a status became %+v: %v", back, err)
	}
	// A time of which no time is left once it is in nanoseconds is the executor's to say, and not the node's.
	for _, at := range []float64{9.3e9, 9.9e9, 1e300, math.Inf(1), math.NaN(), -1} {
		s.Timestamp = &at
		if u, err := executorUpdate(s); err != nil || u.Update.Time != 0 {
			t.Errorf("the time %v became %v: %v", at, u.Update.Time, err)
		}
	}
	s.Data = make([]byte, maxStatus)
	if _, err := executorUpdate(s); err == nil {
		t.Error("a status of more than its bound is taken")
	}
}

// Tasks are recorded without their executor, and told with it, alone and in groups.
func TestTasksAreToldWithTheirExecutor(t *testing.T) {
	e := &wire.ExecutorInfo{ExecutorID: wire.ID{Value: "x"}, Type: new(wire.ExecutorCustom), Resources: scalars(0.5, 32), Command: &wire.CommandInfo{Value: new("run")}}
	one := taskInfo("one", func(t *wire.TaskInfo) { t.Command, t.Executor = nil, e })
	alone, err := launchOf(spark, one)
	if err != nil {
		t.Fatal(err)
	}
	var recorded wire.TaskInfo
	if raw := alone.External.Tasks[0].Info; wire.Protobuf.Unmarshal(raw, &recorded) != nil || recorded.Executor != nil {
		t.Errorf("recorded is %+v", recorded)
	}
	for _, group := range []bool{false, true} {
		w := httptest.NewRecorder()
		out := &records{to: w, rc: http.NewResponseController(w), encoding: wire.JSON}
		if err := tell(out, &runner.ExecutorEvent{Launch: [][]byte{alone.External.Tasks[0].Info}, Group: group}, e); err != nil {
			t.Fatal(err)
		}
		if got := w.Body.String(); !strings.Contains(got, `"executor":{"executor_id":{"value":"x"}`) {
			t.Errorf("group %v: it is told %s", group, got)
		}
	}
}

// Values of secrets in tasks of an executor, wherever they are, are not in what is recorded of the task, and its executor gets it as it was.
func TestValuesOfTasksAreForTheirExecutor(t *testing.T) {
	env := func(texts ...string) *wire.Environment {
		out := &wire.Environment{Variables: []wire.Variable{{Name: "PLAIN", Value: new("x")}}}
		for _, text := range texts {
			out.Variables = append(out.Variables, wire.Variable{Name: "S", Type: new(wire.VariableSecret), Secret: &wire.Secret{Type: new(wire.SecretByValue), Value: &wire.SecretValue{Data: []byte(text)}}})
		}
		return out
	}
	e := &wire.ExecutorInfo{ExecutorID: wire.ID{Value: "x"}, Type: new(wire.ExecutorCustom), Command: &wire.CommandInfo{Value: new("run")}}
	task := taskInfo("one", func(t *wire.TaskInfo) {
		t.Executor = e
		t.Command.Environment = env("hunter-1", "hunter-2")
		t.Data = []byte("opaque")
		t.Container = &wire.ContainerInfo{Type: wire.ContainerMesos, Volumes: []wire.Volume{{ContainerPath: "a", Mode: wire.VolumeRO}, secretAt("key", &wire.Secret{Type: new(wire.SecretByValue), Value: &wire.SecretValue{Data: []byte("hunter-4\x00")}}),
			secretAt("ref", &wire.Secret{Type: new(wire.SecretByReference), Reference: &wire.SecretReference{Name: "db"}})}}
		t.HealthCheck = &wire.HealthCheck{Type: new(wire.CheckByCommand), Command: &wire.CommandInfo{Value: new("ok"), Environment: env("hunter-3")}}
	})
	group := &wire.LaunchGroup{Executor: *e, Tasks: wire.TaskGroupInfo{Tasks: []wire.TaskInfo{*task}}}
	group.Tasks.Tasks[0].Executor = nil
	for _, encoding := range both {
		l, err := groupOf(spark, sent(t, encoding, group))
		if err != nil {
			t.Fatal(err)
		}
		x := l.External.Tasks[0]
		if strings.Contains(string(x.Info), "hunter") || strings.Contains(jsonOf(t, l.External), "hunter") || strings.Contains(jsonOf(t, l.External), "aHVudGVy") {
			t.Errorf("%s: it is in %s", encoding.ContentType(), jsonOf(t, l.External))
		}
		var clear []string
		for _, s := range x.Secrets {
			clear = append(clear, string(s.Sealed.Data))
		}
		for _, told := range both {
			w := httptest.NewRecorder()
			out := &records{to: w, rc: http.NewResponseController(w), encoding: told}
			if err := tell(out, &runner.ExecutorEvent{Launch: [][]byte{x.Info}, Values: [][]string{clear}}, e); err != nil {
				t.Fatal(err)
			}
			arrived := sent(t, encoding, task) // JSON says defaults
			arrived.Executor = e
			want := told.Marshal(&wire.ExecutorEvent{Type: new(wire.ExecutorEventLaunch), Launch: &wire.ExecutorLaunch{Task: *arrived}})
			if got := w.Body.String(); !strings.HasSuffix(got, string(want)) {
				t.Errorf("%s to %s: it is told\n%q, want\n%q", encoding.ContentType(), told.ContentType(), got, want)
			}
			if err := tell(out, &runner.ExecutorEvent{Launch: [][]byte{x.Info}, Values: [][]string{clear[1:]}}, e); err == nil {
				t.Error("it is told without a value that it has")
			}
		}
	}
	task.Command.Environment = env(strings.Repeat("x", maxSecret+1))
	if _, err := launchOf(spark, &wire.TaskInfo{TaskID: task.TaskID, AgentID: task.AgentID, Resources: task.Resources, Executor: e, HealthCheck: &wire.HealthCheck{Command: &wire.CommandInfo{Environment: task.Command.Environment}}}); err == nil {
		t.Error("a value beyond the bound is taken")
	}
}

// No call, whatever it is, does more than be refused.
func FuzzExecutorCall(f *testing.F) {
	c := &wire.ExecutorCall{ExecutorID: wire.ID{Value: "x"}, FrameworkID: wire.ID{Value: "f"}, Type: new(wire.ExecutorCallSubscribe), Subscribe: &wire.ExecutorSubscribe{
		Tasks:   []wire.TaskInfo{{Name: "t", TaskID: wire.ID{Value: "t"}, AgentID: wire.ID{Value: "a"}, Data: []byte{1}}},
		Updates: []wire.Update{{Status: wire.TaskStatus{TaskID: wire.ID{Value: "t"}, State: wire.TaskRunning, UUID: make([]byte, 16), Source: new(wire.SourceExecutor)}}}}}
	f.Add(true, wire.JSON.Marshal(c))
	f.Add(false, wire.Protobuf.Marshal(c))
	x := &Executors{Node: empty{}, Log: slog.New(slog.DiscardHandler)}
	f.Fuzz(func(t *testing.T, json bool, body []byte) {
		e := wire.Protobuf
		if json {
			e = wire.JSON
		}
		if w := askExecutors(x, "POST", e.ContentType(), body); w.Code != 202 && w.Code != 400 && w.Code != 413 && w.Code != 501 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		call := &wire.ExecutorCall{}
		if e.Unmarshal(body, call) == nil {
			back := &wire.ExecutorCall{}
			if err := wire.Protobuf.Unmarshal(wire.Protobuf.Marshal(call), back); err != nil {
				t.Errorf("what was read cannot be read again: %v", err)
			}
		}
	})
}
