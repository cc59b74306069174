package mesos

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/structs"
)

// Bounds of the executor API.
const (
	// executorBeat is how often an executor hears that its node is there. Executors in use die of an event that they do not know, so it
	// is as rare as in Mesos, and never early.
	executorBeat = 30 * time.Minute
	// maxStatus bounds one status of a task, in bytes as protobuf: what it says travels through the log of the region.
	maxStatus = 64 << 10
)

// Node is what the executor API needs of a node.
type Node interface {
	// Executor returns one that runs on the node, or nil.
	Executor(framework structs.FrameworkID, executor string) *runner.Executor
	// Node returns what the node is now; it is not to be changed.
	Node() *structs.Node
}

// Executors serves the executor API. Its fields are not changed once it serves.
type Executors struct {
	Node Node
	// Message passes a message of an executor on to the scheduler of its framework.
	Message func(ctx context.Context, framework structs.FrameworkID, executor string, data []byte) error
	// Key signed the tokens that executors have, and Demand says whether they must show them; nil: whoever reaches the port and knows
	// both ids may speak for an executor.
	Key    ExecutorKey
	Demand func() bool
	Port   int    // where it serves, as executors are told
	Region string // its name, likewise
	Log    *slog.Logger
	Counts *ExecutorCounts // nil: nobody counts
}

// ServeHTTP answers one request.
func (x *Executors) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer(w, r, x.serve(w, r))
}

func (x *Executors) serve(w http.ResponseWriter, r *http.Request) error {
	var proved *claims // nil: nobody has to
	if x.Demand != nil && x.Demand() {
		var err error
		if proved, err = x.Key.proved(w, r); err != nil {
			return err
		}
	}
	if err := onlyPost(w, r); err != nil {
		return err
	}
	encoding, err := bodyEncoding(r)
	if err != nil {
		return err
	}
	call := &wire.ExecutorCall{}
	if err := readCall(w, r, encoding, call); err != nil {
		return err
	}
	if err := checkExecutor(call); err != nil {
		return err
	}
	if *call.Type == wire.ExecutorCallHeartbeat {
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	framework, id := structs.FrameworkID(call.FrameworkID.Value), call.ExecutorID.Value
	if proved != nil && (proved.Framework != framework || proved.Executor != id) {
		return refuse(http.StatusForbidden, "the token is that of another executor")
	}
	executor := x.Node.Executor(framework, id)
	if executor == nil {
		return refuse(http.StatusBadRequest, "Executor '%.300s' of framework '%.300s' cannot be found", id, framework)
	}
	if proved != nil && proved.Container != executor.Allocation().ID {
		return refuse(http.StatusForbidden, "the token is that of an executor which ended")
	}
	if *call.Type == wire.ExecutorCallSubscribe {
		return x.subscribe(w, r, executor, call.Subscribe)
	}
	if !executor.Subscribed() {
		return refuse(http.StatusForbidden, "Executor is not subscribed")
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	switch *call.Type {
	case wire.ExecutorCallUpdate:
		var u runner.ExecutorUpdate
		if u, err = executorUpdate(&call.Update.Status); err == nil {
			err = executor.Update(ctx, u)
		}
		x.Counts.update(err)
	case wire.ExecutorCallMessage:
		if x.Message != nil {
			if lost := x.Message(ctx, framework, id, call.Message.Data); lost != nil {
				x.Log.Debug("a message of an executor is lost", "framework", framework, "executor", id, "err", lost)
			}
		}
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// checkExecutor refuses calls that say too little, or what an executor may not say.
func checkExecutor(c *wire.ExecutorCall) error {
	fault := func(format string, args ...any) error {
		return refuse(http.StatusBadRequest, "Failed to validate executor::Call: "+format, args...)
	}
	if c.Type == nil {
		return fault("Expecting 'type' to be present")
	}
	status := func(s *wire.TaskStatus) error {
		switch {
		case len(s.UUID) != 16:
			return fault("'uuid' has %d bytes and not 16", len(s.UUID))
		case s.Source == nil || *s.Source != wire.SourceExecutor:
			return fault("'source' is not SOURCE_EXECUTOR")
		case s.State == wire.TaskStaging:
			return fault("'state' is TASK_STAGING, which executors do not send")
		case s.ExecutorID != nil && s.ExecutorID.Value != c.ExecutorID.Value:
			return fault("'executor_id' is that of another executor")
		}
		return nil
	}
	switch *c.Type {
	case wire.ExecutorCallUnknown:
		return refuse(http.StatusNotImplemented, "")
	case wire.ExecutorCallSubscribe:
		if c.Subscribe == nil {
			return fault("Expecting 'subscribe' to be present")
		}
		for i := range c.Subscribe.Updates {
			if err := status(&c.Subscribe.Updates[i].Status); err != nil {
				return err
			}
		}
	case wire.ExecutorCallUpdate:
		if c.Update == nil {
			return fault("Expecting 'update' to be present")
		}
		return status(&c.Update.Status)
	case wire.ExecutorCallMessage:
		if c.Message == nil {
			return fault("Expecting 'message' to be present")
		}
		if n := len(c.Message.Data); n > server.MaxMessage {
			return refuse(http.StatusRequestEntityTooLarge, "a message of %d bytes, and %d are taken", n, server.MaxMessage)
		}
	}
	return nil
}

// executorUpdate turns a status into what is recorded of it.
func executorUpdate(s *wire.TaskStatus) (out runner.ExecutorUpdate, err error) {
	state, known := stateIn(s.State)
	if !known {
		return out, refuse(http.StatusBadRequest, "Failed to validate executor::Call: 'state' is no state of a task")
	}
	raw := wire.Protobuf.Marshal(s)
	if len(raw) > maxStatus {
		return out, refuse(http.StatusRequestEntityTooLarge, "a status of %d bytes, and %d are taken", len(raw), maxStatus)
	}
	out.Task = s.TaskID.Value
	out.Update = structs.TaskUpdate{UUID: s.UUID, State: state, Message: bounded(wire.TextOf(s.Message)), Healthy: s.Healthy, Status: raw}
	if s.Timestamp != nil && *s.Timestamp > 0 && *s.Timestamp < 9e9 {
		out.Update.Time = structs.Time(*s.Timestamp * 1e9)
	}
	return out, nil
}

// bounded cuts a text to what lists show; the whole of it is in the status.
func bounded(s string) string { return s[:min(len(s), 1024)] }

func stateIn(s wire.TaskState) (structs.TaskStatus, bool) {
	for ours, theirs := range states {
		if theirs == s {
			return ours, true
		}
	}
	return "", false
}

// subscribe serves the stream of an executor until it ends.
func (x *Executors) subscribe(w http.ResponseWriter, r *http.Request, executor *runner.Executor, c *wire.ExecutorSubscribe) error {
	encoding, ok := acceptable(r)
	if !ok {
		return notAcceptable()
	}
	var tasks []string
	for i := range c.Tasks {
		tasks = append(tasks, c.Tasks[i].TaskID.Value)
	}
	var updates []runner.ExecutorUpdate
	for i := range c.Updates {
		u, err := executorUpdate(&c.Updates[i].Status)
		if err != nil {
			return err
		}
		updates = append(updates, u)
	}
	first, err := x.subscribed(executor.Allocation())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	s, err := executor.Subscribe(ctx, tasks, updates)
	cancel()
	if err != nil {
		return err
	}
	defer s.Close()
	out := &records{to: w, rc: http.NewResponseController(w), slow: slowWrite, encoding: encoding}
	out.begin("")
	log := x.Log.With("executor", executor.Allocation().External.Executor, "alloc", structs.Short(executor.Allocation().ID))
	log.Info("an executor subscribed")
	err = out.send(first)
	for next := time.Now().Add(executorBeat); err == nil; {
		waiting, cancel := context.WithDeadline(r.Context(), next)
		event, failed := s.Next(waiting)
		cancel()
		switch {
		case r.Context().Err() != nil:
			err = r.Context().Err()
		case errors.Is(failed, context.DeadlineExceeded):
			err = out.send(&wire.ExecutorEvent{Type: new(wire.ExecutorEventHeartbeat)})
			next = time.Now().Add(executorBeat)
		case failed != nil:
			err = failed
		default:
			err = tell(out, &event, &first.Subscribed.ExecutorInfo)
		}
	}
	log.Info("the subscription of an executor ended", "err", err)
	return nil
}

// subscribed is the first event of a stream.
func (x *Executors) subscribed(a *structs.Allocation) (*wire.ExecutorEvent, error) {
	node := x.Node.Node()
	host, port := hostOf(node), int32(x.Port)
	s := &wire.ExecutorSubscribed{AgentInfo: wire.AgentInfo{Hostname: host, ID: &wire.ID{Value: string(node.ID)}, Port: &port, Domain: DomainOf(x.Region, node.Datacenter)},
		ContainerID: &wire.ContainerID{Value: string(a.ID)}}
	if err := errors.Join(wire.Protobuf.Unmarshal(a.External.Info, &s.ExecutorInfo),
		wire.Protobuf.Unmarshal(a.External.Framework, &s.FrameworkInfo)); err != nil {
		return nil, fmt.Errorf("what is recorded of the executor cannot be read: %w", err)
	}
	return &wire.ExecutorEvent{Type: new(wire.ExecutorEventSubscribed), Subscribed: s}, nil
}

// tell sends one event. The tasks of a launch are told with the executor that is to run them.
func tell(out *records, e *runner.ExecutorEvent, executor *wire.ExecutorInfo) error {
	switch {
	case e.Shutdown:
		return out.send(&wire.ExecutorEvent{Type: new(wire.ExecutorEventShutdown)})
	case e.Message != nil:
		return out.send(&wire.ExecutorEvent{Type: new(wire.ExecutorEventMessage), Message: &wire.MessageToExecutor{Data: e.Message}})
	case e.Acknowledged != nil:
		return out.send(&wire.ExecutorEvent{Type: new(wire.ExecutorEventAcknowledged),
			Acknowledged: &wire.ExecutorAcknowledged{TaskID: wire.ID{Value: e.Task}, UUID: e.Acknowledged}})
	case e.Kill != nil:
		k := &wire.ExecutorKill{TaskID: wire.ID{Value: e.Task}}
		if e.Kill.Grace != nil {
			k.KillPolicy = &wire.KillPolicy{GracePeriod: &wire.DurationInfo{Nanoseconds: int64(*e.Kill.Grace)}}
		}
		return out.send(&wire.ExecutorEvent{Type: new(wire.ExecutorEventKill), Kill: k})
	}
	tasks := make([]wire.TaskInfo, len(e.Launch))
	for i, raw := range e.Launch {
		if err := wire.Protobuf.Unmarshal(raw, &tasks[i]); err != nil {
			return fmt.Errorf("what is recorded of a task cannot be read: %w", err)
		}
		var values []string
		if i < len(e.Values) {
			values = e.Values[i]
		}
		if err := disclose(&tasks[i], values); err != nil {
			return err
		}
		tasks[i].Executor = executor
	}
	if e.Group {
		return out.send(&wire.ExecutorEvent{Type: new(wire.ExecutorEventLaunchGroup),
			LaunchGroup: &wire.ExecutorLaunchGroup{Tasks: wire.TaskGroupInfo{Tasks: tasks}}})
	}
	for i := range tasks {
		if err := out.send(&wire.ExecutorEvent{Type: new(wire.ExecutorEventLaunch), Launch: &wire.ExecutorLaunch{Task: tasks[i]}}); err != nil {
			return err
		}
	}
	return nil
}

// answer sends what an error is as an answer; nil was answered.
func answer(w http.ResponseWriter, r *http.Request, err error) {
	if err == nil {
		return
	}
	var no *refusal
	if !errors.As(err, &no) {
		no = refuse(statusOf(err), "%s", plain(err))
	}
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close") // the body may not have been read
	}
	if no.why != "" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	w.WriteHeader(no.status)
	io.WriteString(w, no.why)
}

func onlyPost(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodPost {
		return nil
	}
	w.Header().Set("Allow", http.MethodPost)
	return refuse(http.StatusMethodNotAllowed, "Expecting one of { 'POST' }, but received '%s'", r.Method)
}
