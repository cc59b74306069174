package mesos_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/proffer/proffer/agent/framework"
	"github.com/proffer/proffer/agent/framework/frameworktest"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// starter is a scheduler that launches its tasks when it is offered something, and notes what it is told of them.
type starter struct {
	d     *sdk.Driver
	tasks []*sdk.Task
	told  map[string]string
}

func (s *starter) Offers(ctx context.Context, offers []*sdk.Offer) {
	if len(s.tasks) > 0 && s.d.Launch(ctx, offers[0], s.tasks...) == nil {
		s.tasks = nil
	}
}

func (s *starter) Message(_ context.Context, m *sdk.Message) {
	s.told["message"] += m.Executor + " " + string(m.Data)
}

func (s *starter) Update(_ context.Context, u *sdk.Update) error {
	s.told[u.Task] = strings.TrimSpace(s.told[u.Task] + " " + string(u.State))
	return nil
}

// custom is an executor that does what the test says, in plain HTTP.
type custom struct {
	t        *testing.T
	p        *frameworktest.Process
	encoding wire.Encoding
	body     io.Closer

	mu     sync.Mutex
	events []*wire.ExecutorEvent
	ended  bool // the stream
}

func (x *custom) post(c *wire.ExecutorCall) *http.Response {
	x.t.Helper()
	return x.send(c, x.encoding.ContentType())
}

// send is post with what is acceptable.
func (x *custom) send(c *wire.ExecutorCall, accept string) *http.Response {
	x.t.Helper()
	c.FrameworkID, c.ExecutorID = wire.ID{Value: x.p.Env["MESOS_FRAMEWORK_ID"]}, wire.ID{Value: x.p.Env["MESOS_EXECUTOR_ID"]}
	req, err := http.NewRequest("POST", "http://"+x.p.Env["MESOS_AGENT_ENDPOINT"]+"/api/v1/executor", bytes.NewReader(x.encoding.Marshal(c)))
	if err != nil {
		x.t.Fatal(err)
	}
	req.Header.Set("Content-Type", x.encoding.ContentType())
	req.Header.Set("Accept", accept)
	res, err := x.p.Transport.RoundTrip(req)
	if err != nil {
		x.t.Fatal(err)
	}
	return res
}

// subscribe begins a stream.
func (x *custom) subscribe(tasks []wire.TaskInfo, updates ...wire.TaskStatus) {
	x.t.Helper()
	s := &wire.ExecutorSubscribe{Tasks: tasks}
	for _, u := range updates {
		s.Updates = append(s.Updates, wire.Update{Status: u})
	}
	res := x.post(&wire.ExecutorCall{Type: new(wire.ExecutorCallSubscribe), Subscribe: s})
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != x.encoding.ContentType() {
		x.t.Fatalf("SUBSCRIBE is answered %s %v", res.Status, res.Header)
	}
	x.mu.Lock()
	x.events, x.ended, x.body = nil, false, res.Body
	x.mu.Unlock()
	go func() {
		in := bufio.NewReader(res.Body)
		for {
			record, err := wire.ReadRecord(in)
			e := &wire.ExecutorEvent{}
			if err == nil {
				err = x.encoding.Unmarshal(record, e)
			}
			x.mu.Lock()
			if x.events = append(x.events, e); err != nil {
				x.ended = true
				x.mu.Unlock()
				return
			}
			x.mu.Unlock()
		}
	}()
}

// next returns the first event that is so, and forgets it with those before it.
func (x *custom) next(r *frameworktest.Region, what string, is func(*wire.ExecutorEvent) bool) (found *wire.ExecutorEvent) {
	x.t.Helper()
	r.Until(what, func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		if i := slices.IndexFunc(x.events, is); i >= 0 {
			found, x.events = x.events[i], x.events[i+1:]
		}
		return found != nil
	})
	return found
}

func (x *custom) status(task string, state wire.TaskState) wire.TaskStatus {
	return wire.TaskStatus{TaskID: wire.ID{Value: task}, State: state, UUID: []byte((task + state.String() + strings.Repeat(".", 16))[:16]),
		Source: new(wire.SourceExecutor)}
}

// beats says how many heartbeats came.
func (x *custom) beats() (n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.events {
		if e.Type != nil && *e.Type == wire.ExecutorEventHeartbeat {
			n++
		}
	}
	return n
}

// refused demands the status of a call.
func (x *custom) refused(status int, c *wire.ExecutorCall, accept string) {
	x.t.Helper()
	res := x.send(c, accept)
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); res.StatusCode != status {
		x.t.Errorf("%s is answered %s %q, want %d", c.Type, res.Status, text, status)
	}
}

// update says how a task is, and waits until it is acknowledged.
func (x *custom) update(r *frameworktest.Region, task string, state wire.TaskState) {
	x.t.Helper()
	s := x.status(task, state)
	res := x.post(&wire.ExecutorCall{Type: new(wire.ExecutorCallUpdate), Update: &wire.Update{Status: s}})
	if res.Body.Close(); res.StatusCode != 202 || res.Header.Get("Content-Type") != "" {
		x.t.Fatalf("UPDATE is answered %s %v", res.Status, res.Header)
	}
	x.acknowledged(r, s)
}

func (x *custom) acknowledged(r *frameworktest.Region, s wire.TaskStatus) {
	x.t.Helper()
	a := x.next(r, "ACKNOWLEDGED of "+s.TaskID.Value, func(e *wire.ExecutorEvent) bool { return e.Acknowledged != nil }).Acknowledged
	if a.TaskID != s.TaskID || !bytes.Equal(a.UUID, s.UUID) {
		x.t.Errorf("acknowledged is %q of %s, want %q of %s", a.UUID, a.TaskID.Value, s.UUID, s.TaskID.Value)
	}
}

// environment is what an executor finds in its own, by what it must be.
var environment = map[string]string{
	"MESOS_FRAMEWORK_ID":                   `.+`,
	"MESOS_EXECUTOR_ID":                    `x`,
	"MESOS_DIRECTORY":                      `/.+`,
	"MESOS_SANDBOX":                        `/.+`,
	"MESOS_AGENT_ENDPOINT":                 `10\.0\.1\.1:5051`,
	"MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": `7secs`,
	"MESOS_CHECKPOINT":                     `1`,
	"MESOS_RECOVERY_TIMEOUT":               `15mins`,
	"MESOS_SUBSCRIPTION_BACKOFF_MAX":       `2secs`,
	"MESOS_SLAVE_ID":                       `[0-9a-f]{22}-S[0-9a-f]{8}`,
	"MESOS_SLAVE_PID":                      `slave\(1\)@10\.0\.1\.1:5051`,
	"MESOS_HTTP_COMMAND_EXECUTOR":          `0`,
	"MESOS_ALLOCATION_ROLE":                `eng`,
	"LIBPROCESS_PORT":                      `0`,
	"OWN":                                  `own`,
}

// odd is a message that is no text.
const odd = "\x00\xff\n{\""

// executorEvents is rule 43, in a bubble. Each task of a LAUNCH is an event, as in Mesos, and a task is bounded: so no record is more than
// the 4 MiB that clients take, however large the LAUNCH.
func executorEvents(t *testing.T, encoding wire.Encoding) {
	r := frameworktest.Start(t, frameworktest.Config{})
	began := make(chan *custom, 10)
	r.Program("executor", func(ctx context.Context, p *frameworktest.Process) int {
		began <- &custom{t: t, p: p, encoding: encoding}
		<-ctx.Done()
		return 0
	})
	s := &starter{told: map[string]string{}}
	task := func(id string, data int) {
		s.tasks = append(s.tasks, &sdk.Task{ID: id, Resources: structs.Resources{CPU: 10, Memory: 1 << 20}, Data: bytes.Repeat([]byte(id), data/len(id)),
			Executor: &sdk.ExecutorInfo{ID: "x", Command: &sdk.Command{Args: []string{"executor"}}}})
	}
	const many, each = 4, 96 << 10 // bytes
	for i := range many {
		task(fmt.Sprintf("%08d", i), each)
	}
	task("large", 2*each) // more than is taken of one
	run := r.Run(sdk.Config{Name: "conformance", Roles: []string{"eng"}}, func(d *sdk.Driver) sdk.Scheduler { s.d = d; return s })
	told := func(of, want string) {
		t.Helper()
		r.Until("of "+of+": "+want, func() (is bool) {
			if err := run.Driver.Do(t.Context(), func() { is = s.told[of] == want }); err != nil {
				t.Fatal(err)
			}
			return is
		})
	}
	told("large", string(structs.TaskError))
	x := <-began
	x.subscribe(nil)
	for range many {
		got := x.next(r, "LAUNCH", func(e *wire.ExecutorEvent) bool { return e.Launch != nil }).Launch.Task
		if !bytes.Equal(got.Data, bytes.Repeat([]byte(got.TaskID.Value), each/8)) || got.Executor == nil || got.Executor.ExecutorID.Value != "x" {
			t.Errorf("task %q comes with %d bytes", got.TaskID.Value, len(got.Data))
		}
	}
	node := x.p.Env["MESOS_SLAVE_ID"]
	if err := run.Driver.Message(t.Context(), node, "x", []byte(odd)); err != nil {
		t.Fatal(err)
	}
	if m := x.next(r, "MESSAGE", func(e *wire.ExecutorEvent) bool { return e.Message != nil }).Message; string(m.Data) != odd {
		t.Errorf("it is told %q", m.Data)
	}
	x.refused(202, &wire.ExecutorCall{Type: new(wire.ExecutorCallMessage), Message: &wire.ExecutorMessage{Data: []byte(odd)}}, encoding.ContentType())
	told("message", "x "+odd)
	if err := run.Driver.Kill(t.Context(), "00000001"); err != nil {
		t.Fatal(err)
	}
	if k := x.next(r, "KILL", func(e *wire.ExecutorEvent) bool { return e.Kill != nil }).Kill; k.TaskID.Value != "00000001" {
		t.Errorf("it is told to kill %q", k.TaskID.Value)
	}
	x.update(r, "00000001", wire.TaskKilled)
	told("00000001", string(structs.TaskKilled))

	older := &custom{t: t, p: x.p, encoding: encoding}
	older.subscribe(nil)
	x, older = older, x
	r.Until("the older stream ends", func() bool { older.mu.Lock(); defer older.mu.Unlock(); return older.ended })
	if x.next(r, "SUBSCRIBED", func(*wire.ExecutorEvent) bool { return true }).Subscribed == nil {
		t.Error("the first event is another one")
	}
	if err := run.Driver.Shutdown(t.Context(), node, "x"); err != nil {
		t.Fatal(err)
	}
	x.next(r, "SHUTDOWN", func(e *wire.ExecutorEvent) bool { return *e.Type == wire.ExecutorEventShutdown })
	r.Until("it is killed after its grace", func() bool { return len(r.Running()) == 0 })
	x.body.Close()
	older.body.Close()
}

// executors is rule 13, in a bubble.
func executors(t *testing.T, encoding wire.Encoding) {
	r := frameworktest.Start(t, frameworktest.Config{})
	began := make(chan *custom, 10)
	r.Program("executor", func(ctx context.Context, p *frameworktest.Process) int {
		began <- &custom{t: t, p: p, encoding: encoding}
		<-ctx.Done()
		return 0
	})
	info := &sdk.ExecutorInfo{ID: "x", Command: &sdk.Command{Args: []string{"executor"}, Env: map[string]string{"OWN": "own"}}, Grace: 7 * time.Second}
	s := &starter{told: map[string]string{}}
	for _, id := range []string{"one", "two"} {
		s.tasks = append(s.tasks, &sdk.Task{ID: id, Resources: structs.Resources{CPU: 100, Memory: 32 << 20}, Executor: info})
	}
	run := r.Run(sdk.Config{Name: "conformance", Roles: []string{"eng"}}, func(d *sdk.Driver) sdk.Scheduler { s.d = d; return s })
	told := func(task, want string) {
		t.Helper()
		var got string
		defer func() {
			if t.Failed() {
				t.Logf("of %s it was told %q", task, got)
			}
		}()
		r.Until("of "+task+": "+want, func() bool {
			if err := run.Driver.Do(t.Context(), func() { got = s.told[task] }); err != nil {
				t.Fatal(err)
			}
			return got == want
		})
	}
	x := <-began
	for name, is := range environment {
		if got, there := x.p.Env[name]; !there || !regexp.MustCompile("^(?:"+is+")$").MatchString(got) {
			t.Errorf("%s=%q (there: %v), want %s", name, got, there, is)
		}
	}

	kind := encoding.ContentType()
	early := x.status("one", wire.TaskRunning)
	x.refused(403, &wire.ExecutorCall{Type: new(wire.ExecutorCallUpdate), Update: &wire.Update{Status: early}}, kind)
	x.refused(403, &wire.ExecutorCall{Type: new(wire.ExecutorCallMessage), Message: &wire.ExecutorMessage{Data: []byte("x")}}, kind)
	x.refused(406, &wire.ExecutorCall{Type: new(wire.ExecutorCallSubscribe), Subscribe: &wire.ExecutorSubscribe{}}, "text/html")
	x.subscribe(nil)
	first := x.next(r, "SUBSCRIBED", func(*wire.ExecutorEvent) bool { return true }).Subscribed
	if first == nil || first.ExecutorInfo.ExecutorID.Value != "x" || first.FrameworkInfo.ID == nil ||
		first.FrameworkInfo.ID.Value != x.p.Env["MESOS_FRAMEWORK_ID"] || first.AgentInfo.ID.Value != x.p.Env["MESOS_SLAVE_ID"] || first.AgentInfo.Hostname == "" {
		t.Fatalf("the first event is %+v", first)
	}
	launch := func() *wire.TaskInfo {
		return &x.next(r, "LAUNCH", func(e *wire.ExecutorEvent) bool { return e.Launch != nil }).Launch.Task
	}
	one, two := launch(), launch()
	if one.TaskID.Value != "one" || two.TaskID.Value != "two" {
		t.Fatalf("it is given %s and %s", one.TaskID.Value, two.TaskID.Value)
	}
	x.update(r, "one", wire.TaskRunning)
	told("one", "running")

	// Executors in use die of an event that they do not know: no heartbeat comes before Mesos sends one.
	time.Sleep(29 * time.Minute)
	if x.beats() != 0 {
		t.Error("a heartbeat comes within half an hour")
	}
	time.Sleep(2 * time.Minute)
	if n := x.beats(); n != 1 {
		t.Errorf("%d heartbeats come after half an hour", n)
	}

	// A restart of the agent: the process goes on, and subscribes again with what it knows.
	r.Node(0).KillAgent()
	r.Until("its stream ends", func() bool { x.mu.Lock(); defer x.mu.Unlock(); return x.ended })
	time.Sleep(time.Second)
	r.Node(0).Boot()
	if running := r.Running(); len(running) != 1 || running[0] != x.p || len(began) != 0 {
		t.Errorf("after a restart of the agent %d processes run, and %d began", len(running), len(began))
	}
	end := x.status("one", wire.TaskFinished)
	x.subscribe([]wire.TaskInfo{*two}, end)
	if x.next(r, "SUBSCRIBED", func(*wire.ExecutorEvent) bool { return true }).Subscribed == nil {
		t.Error("the first event is another one")
	}
	x.acknowledged(r, end)
	told("one", "running finished")
	told("two", "")

	// What was acknowledged is on the disk, at that very moment: the machine loses its power before anybody else was told.
	r.Node(0).Cut()
	x.update(r, "two", wire.TaskRunning)
	r.Node(0).PowerOff()
	r.Node(0).Mend()
	r.Node(0).Boot()
	told("two", "running failed")
	x.body.Close()
}
