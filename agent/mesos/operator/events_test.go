package operator

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// watching is a subscriber.
type watching struct {
	t        *testing.T
	encoding wire.Encoding
	from     *bufio.Reader
	largest  int
}

func (r *region) watch(s *Servers, encoding wire.Encoding) *watching {
	return r.follow(s, encoding, nil)
}

func (r *region) follow(s *Servers, encoding wire.Encoding, what *wire.Follow) *watching {
	r.t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { s.Call(w, q, mesos.Caller{Actor: "op"}) }))
	r.t.Cleanup(web.Close)
	req, _ := http.NewRequestWithContext(r.t.Context(), http.MethodPost, web.URL+"/api/v1",
		bytes.NewReader(encoding.Marshal(&wire.OperatorCall{Type: new(wire.OperatorSubscribe), Subscribe: what})))
	req.Header.Set("Content-Type", encoding.ContentType())
	req.Header.Set("Accept", encoding.ContentType())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != encoding.ContentType() || fmt.Sprint(res.TransferEncoding) != "[chunked]" {
		r.t.Fatalf("%s %q %v", res.Status, res.Header.Get("Content-Type"), res.TransferEncoding)
	}
	return &watching{t: r.t, encoding: encoding, from: bufio.NewReader(res.Body)}
}

func (w *watching) any() *wire.OperatorEvent {
	w.t.Helper()
	record, err := wire.ReadRecord(w.from)
	if err != nil {
		w.t.Fatal(err)
	}
	w.largest = max(w.largest, len(record))
	e := &wire.OperatorEvent{}
	if err := w.encoding.Unmarshal(record, e); err != nil {
		w.t.Fatal(err)
	}
	return e
}

// next returns the next event that is no heartbeat.
func (w *watching) next() *wire.OperatorEvent {
	w.t.Helper()
	for {
		if e := w.any(); *e.Type != wire.EventOperatorHeartbeat {
			return e
		}
	}
}

func (w *watching) is(want string) {
	w.t.Helper()
	if got := said(w.next()); got != want {
		w.t.Errorf("it is told %q, want %q", got, want)
	}
}

// said is an event in a few words.
func said(e *wire.OperatorEvent) string {
	got := e.Type.String()
	switch {
	case e.TaskAdded != nil:
		got += " " + e.TaskAdded.Task.TaskID.Value + " " + e.TaskAdded.Task.State.String()
	case e.TaskUpdated != nil:
		got += " " + e.TaskUpdated.Status.TaskID.Value + " " + e.TaskUpdated.State.String()
	case e.AgentAdded != nil:
		got += " " + e.AgentAdded.Agent.Info.ID.Value
	case e.AgentRemoved != nil:
		got += " " + e.AgentRemoved.AgentID.Value
	case e.FrameworkAdded != nil:
		got += " " + e.FrameworkAdded.Framework.Info.ID.Value
	case e.FrameworkUpdated != nil:
		got += fmt.Sprint(" ", e.FrameworkUpdated.Framework.Info.ID.Value, " ", e.FrameworkUpdated.Framework.Connected)
	case e.FrameworkRemoved != nil:
		got += " " + e.FrameworkRemoved.Info.ID.Value
	}
	return got
}

// A subscriber hears what is there, and then what becomes of it, in both encodings.
func TestEvents(t *testing.T) {
	for _, encoding := range []wire.Encoding{wire.JSON, wire.Protobuf} {
		r := peopled(t)
		w := r.watch(r.servers(), encoding)
		first := w.any()
		if first.Subscribed == nil || *first.Subscribed.HeartbeatInterval != 15 {
			t.Fatalf("the first event is %s", wire.JSON.Marshal(first))
		}
		if st := first.Subscribed.State; len(st.Tasks.Tasks) != 3 || len(st.Tasks.Completed) != 1 || len(st.Agents.Agents) != 2 || len(st.Frameworks.Frameworks) != 2 {
			t.Errorf("the state is %s", wire.JSON.Marshal(st))
		}
		if second := w.any(); *second.Type != wire.EventOperatorHeartbeat {
			t.Errorf("the second event is %s", wire.JSON.Marshal(second))
		}
		r.node("n4", nil)
		w.is("AGENT_ADDED n4")
		r.must(&state.ConnectFramework{Framework: &structs.Framework{ID: "f3", Name: "new", User: "root", Roles: []string{"eng"}, Connection: "c3", FailoverTimeout: 9e9}})
		w.is("FRAMEWORK_ADDED f3")
		r.place(r.command("f3", "n4", "t9", structs.Resources{CPU: 100}), structs.AllocRunning, map[string]*structs.TaskState{"t9": {Status: structs.TaskRunning}})
		w.is("TASK_ADDED t9 TASK_STAGING")
		w.is("TASK_UPDATED t9 TASK_RUNNING")
		r.must(&state.DisconnectFrameworks{Connections: []state.Connection{{Framework: "f3", Connection: "c3"}}})
		w.is("FRAMEWORK_UPDATED f3 false")
		r.observe("alloc-t9", structs.AllocComplete, map[string]*structs.TaskState{"t9": {Status: structs.TaskFinished}})
		w.is("TASK_UPDATED t9 TASK_FINISHED")
		r.must(&state.RemoveFramework{ID: "f3", Why: "test"}, &state.SetNodeStatus{Node: "n4", Status: structs.NodeLost, Why: "test"})
		w.is("FRAMEWORK_REMOVED f3")
		w.is("AGENT_REMOVED n4")
		r.node("n4", nil)
		w.is("AGENT_ADDED n4")
	}
}

// Clients refuse large records: of a large state a part is told at once, and the rest as what was added, each task once.
func TestLargeStateInPieces(t *testing.T) {
	r := newRegion(t)
	r.must(&state.ConnectFramework{Framework: &structs.Framework{ID: "f1", Name: "f", User: "root", Roles: []string{"eng"}, Connection: "c1"}})
	const tasks = 3000
	name := strings.Repeat("x", 200)
	for i := range tasks / 100 {
		r.node(fmt.Sprint("n", i), nil)
		p := &state.Place{}
		for k := range 100 {
			one := r.command("f1", fmt.Sprint("n", i), fmt.Sprint(name, i, "-", k), structs.Resources{CPU: 10})
			one.NodeIncarnation = 1
			p.Placements = append(p.Placements, one)
		}
		r.must(p)
	}
	w := r.watch(r.servers(), wire.JSON)
	told := map[string]int{}
	for _, task := range w.next().Subscribed.State.Tasks.Tasks {
		told[task.TaskID.Value]++
	}
	at := len(told)
	for sum := at; sum < tasks; sum++ {
		told[w.next().TaskAdded.Task.TaskID.Value]++
	}
	if at == 0 || at == tasks || len(told) != tasks || w.largest > wire.MaxRecord {
		t.Errorf("%d at once, %d of %d in all, the largest record has %d bytes", at, len(told), tasks, w.largest)
	}
}

// When the server leads no more the stream ends: at the latest with the next change, which may still be told.
func TestEventsEnd(t *testing.T) {
	r := peopled(t)
	w := r.watch(r.servers(), wire.JSON)
	w.any()
	w.any()
	r.node("n4", nil)
	w.is("AGENT_ADDED n4")
	r.follows.Store(true)
	r.node("n5", nil)
	record, err := wire.ReadRecord(w.from)
	if err == nil && strings.Contains(string(record), "n5") {
		record, err = wire.ReadRecord(w.from)
	}
	if err != io.EOF {
		t.Errorf("after it comes %q, %v", record, err)
	}
}

func TestTheOldestSubscriberGoes(t *testing.T) {
	var s subscribers
	var ctxs []context.Context
	var removes []func()
	for range 3 {
		ctx, cut := context.WithCancelCause(t.Context())
		ctxs, removes = append(ctxs, ctx), append(removes, s.add(cut, 2))
	}
	if !errors.Is(context.Cause(ctxs[0]), errTooMany) || ctxs[1].Err() != nil || ctxs[2].Err() != nil {
		t.Errorf("they are %v, %v, %v", ctxs[0].Err(), ctxs[1].Err(), ctxs[2].Err())
	}
	for _, remove := range removes {
		remove()
	}
	if len(s.all) != 0 {
		t.Errorf("%d are left", len(s.all))
	}
}
