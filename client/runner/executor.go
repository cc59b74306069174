package runner

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// A custom executor is the process of an allocation that runs the tasks of its framework: guests. The node starts and watches the
// process as any other task; of guests it knows what the executor says.

// registerWithin is how long an executor may take to subscribe, after its start and after a restart of the agent.
const registerWithin = time.Minute

// Bounds of a stream to an executor: what waits for it beside what follows from the state.
const (
	streamEvents = 1024
	streamBytes  = 8 << 20
)

// Executor is the custom executor of an allocation. Its methods may be called from any goroutine.
type Executor struct {
	alloc   *Alloc
	saying  sync.Mutex    // held while what the executor says is recorded; taken before alloc.mu
	first   chan struct{} // closed when it subscribed to this agent
	adopted bool          // its process runs since before this agent

	// The rest is under alloc.mu.
	guests []*guest
	stream *ExecutorStream // nil: it is not subscribed
	bowed  bool            // it was told to shut down, perhaps by a stream that it has left since
	seen   bool            // first is closed
	late   bool            // it did not subscribe in time
	over   bool            // its process ended

	lends    lending
	routines sync.WaitGroup // of lends

	limits  drivers.Limits // that its process has, as far as it was told of them
	limited bool           // it was told
	resum   chan struct{}  // has a value when they may have to change
	asked   []session.Ref  // values of secrets
}

// guest is a task that the executor runs. rec.Start is 1 once the executor was given it.
type guest struct {
	x       *structs.ExternalTask
	rec     store.Task
	changed bool
	fresh   int  // how many of rec.Said the region was not told since its session began
	asked   bool // in this stream it was asked to end

	followed bool // somebody looks after what it brings
	lent     bool // that is mounted in the process
	returned bool // nothing of that is there any more, since it ended
}

// newExecutor takes over what is recorded of guests.
func newExecutor(a *Alloc, known map[string]*store.Task) *Executor {
	e := &Executor{alloc: a, first: make(chan struct{}), resum: make(chan struct{}, 1)}
	for _, x := range a.alloc.External.Tasks {
		e.guests = append(e.guests, newGuest(x, known[x.Name]))
	}
	for name := range known {
		e.adopted = e.adopted || a.group.Task(name) != nil && known[name].Running
	}
	return e
}

func newGuest(x *structs.ExternalTask, known *store.Task) *guest {
	g := &guest{x: x, changed: known == nil}
	if known != nil {
		g.rec = *known
	} else {
		g.rec.State.Status = structs.TaskStaging
	}
	return g
}

// done notes the end of a guest that the executor does not tell. The caller holds mu.
func (g *guest) done(status structs.TaskStatus, reason, why string) {
	s := &g.rec.State
	s.Status, s.Reason, s.Why, s.Ended, s.ExitCode = status, reason, why, now(), -1
	g.rec.Done, g.changed = true, true
}

// take brings in what the region says of guests now: new ones, those that are to be killed, and which it forgot. The caller holds mu.
func (e *Executor) take(x *structs.External) {
	a := e.alloc
	var kept []*guest
	for _, g := range e.guests {
		if now := x.Named(g.x.Name); now != nil {
			g.x = now
			kept = append(kept, g)
		} else if g.rec.Done {
			a.node.Store.Enqueue(store.DeleteTask(a.id, g.x.Name))
		} else {
			kept = append(kept, g)
		}
	}
	for _, t := range x.Tasks {
		if !slices.ContainsFunc(kept, func(g *guest) bool { return g.x.Name == t.Name }) {
			kept = append(kept, newGuest(t, nil))
		}
	}
	e.guests = kept
	for _, g := range kept {
		e.follow(g)
	}
	e.killQueued()
	e.tasksChanged()
	e.askValues()
	e.stream.poke()
	a.report()
}

// killQueued ends the guests that are to be killed and were not given to the executor yet, each with its group. The caller holds mu.
func (e *Executor) killQueued() {
	for _, k := range e.guests {
		if k.x.Kill == nil || k.rec.Done || k.rec.Start > 0 {
			continue
		}
		for _, g := range e.guests {
			if g == k || g.x.Together && g.x.Launch == k.x.Launch && !g.rec.Done && g.rec.Start == 0 {
				g.done(structs.TaskKilled, "TASK_KILLED_DURING_LAUNCH", "its framework killed it before the executor was given it")
				e.alloc.node.Store.Enqueue(store.PutTask(e.alloc.id, g.x.Name, &g.rec))
			}
		}
	}
}

// begun returns the process once it was started, or will not be; nil: there is none, or ctx ended.
func (e *Executor) begun(ctx context.Context) *task {
	process := e.process()
	if process == nil {
		return nil
	}
	select {
	case <-process.up:
		return process
	case <-ctx.Done():
		return nil
	}
}

// watch ends the allocation when the executor does not subscribe in time. It returns when ctx ends, or there is nothing to watch.
func (e *Executor) watch(ctx context.Context) {
	a, process := e.alloc, e.begun(ctx)
	if process == nil {
		return
	}
	limit := time.NewTimer(registerWithin)
	defer limit.Stop()
	select {
	case <-limit.C:
	case <-e.first:
		return
	case <-a.ending.Done():
		return
	case <-ctx.Done():
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !e.seen && !e.over {
		e.late = true
		a.endLocked(fmt.Sprintf("its executor did not subscribe within %s", structs.Duration(registerWithin)), true, false)
	}
}

// ended says how the guests ended whose executor did, without telling.
func (e *Executor) ended() {
	e.saying.Lock()
	defer e.saying.Unlock()
	a := e.alloc
	a.mu.Lock()
	defer a.mu.Unlock()
	e.over = true
	e.askValues()
	e.stream.closeLocked(structs.Errorf(structs.Conflict, "executor", "its process ended"))
	var process structs.TaskState
	if len(a.tasks) > 0 {
		process = a.tasks[0].rec.State
	}
	for _, g := range e.guests {
		g.returned = true // with all that the allocation had
		if g.rec.Done {
			continue
		}
		status, reason := structs.TaskFailed, "EXECUTOR_TERMINATED"
		switch {
		case e.late && e.adopted:
			status, reason = structs.TaskGone, "EXECUTOR_REREGISTRATION_TIMEOUT"
		case e.late:
			reason = "EXECUTOR_REGISTRATION_TIMEOUT"
		case process.OOM:
			reason = "CONTAINER_LIMITATION_MEMORY"
		case process.Status == structs.TaskError:
			reason = "CONTAINER_LAUNCH_FAILED"
		case g.rec.Start == 0 && a.state.Stop != "" && !a.state.Fail:
			status, reason = structs.TaskKilled, "TASK_KILLED_DURING_LAUNCH"
		}
		g.done(status, reason, cmp.Or(a.state.Stop, process.Why, "its executor ended"))
	}
}

// ExecutorUpdate is what an executor says of a task.
type ExecutorUpdate struct {
	Task   string // as the framework calls it
	Update structs.TaskUpdate
}

// Update records what the executor says of a task, and acknowledges it to the executor once that is durable. What it said before,
// and what it says of tasks that nobody knows or that ended, is acknowledged and passed over. Conflict: the allocation ended.
func (e *Executor) Update(ctx context.Context, u ExecutorUpdate) error {
	e.saying.Lock()
	defer e.saying.Unlock()
	a := e.alloc
	a.mu.Lock()
	if e.over {
		a.mu.Unlock()
		return structs.Errorf(structs.Conflict, "executor", "it ended")
	}
	g := e.guest(u.Task)
	known := func(s *structs.TaskSaid) bool { return bytes.Equal(s.Update.UUID, u.Update.UUID) }
	if g == nil || g.rec.Done || slices.ContainsFunc(g.rec.Said, known) {
		e.acknowledge(u)
		a.mu.Unlock()
		return nil
	}
	rec := g.rec
	said := &structs.TaskSaid{Task: g.x.Name, Seq: rec.Seq + 1, Update: u.Update}
	if said.Update.Time == 0 {
		said.Update.Time = now()
	}
	rec.Seq, rec.Start = said.Seq, 1
	rec.Said = append(slices.Clone(rec.Said), said)
	if n := len(rec.Said); n > structs.MaxUpdates {
		rec.Said = rec.Said[n-structs.MaxUpdates:]
	}
	s := &rec.State
	if s.Status != u.Update.State {
		rec.State.Events = nil // they are the executor's to tell
	}
	s.Status, s.Why = u.Update.State, u.Update.Message
	if s.Started == 0 && s.Status == structs.TaskRunning {
		s.Started = said.Update.Time
	}
	if s.Status.Ended() {
		s.Ended, rec.Done = said.Update.Time, true
	}
	a.mu.Unlock()
	if err := a.node.Store.Commit(ctx, store.PutTask(a.id, said.Task, &rec)); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	g.rec, g.changed, g.fresh = rec, true, min(g.fresh+1, len(rec.Said))
	e.tasksChanged()
	a.report()
	e.acknowledge(u)
	return nil
}

// guest returns the newest one that the framework calls so, or nil. The caller holds mu.
func (e *Executor) guest(task string) *guest {
	for _, g := range slices.Backward(e.guests) {
		if g.x.ID == task {
			return g
		}
	}
	return nil
}

func (e *Executor) acknowledge(u ExecutorUpdate) { e.stream.push(u.acknowledgement()) }

func (u ExecutorUpdate) acknowledgement() ExecutorEvent {
	return ExecutorEvent{Acknowledged: u.Update.UUID, Task: u.Task}
}

// Message gives the executor a message; one that is not subscribed does not get it.
func (e *Executor) Message(data []byte) {
	e.alloc.mu.Lock()
	defer e.alloc.mu.Unlock()
	e.stream.push(ExecutorEvent{Message: data})
}

// Allocation returns the newest that the region said of its allocation; it is not to be changed.
func (e *Executor) Allocation() *structs.Allocation { return e.alloc.Allocation() }

// Subscribed reports whether the executor is subscribed.
func (e *Executor) Subscribed() bool {
	e.alloc.mu.Lock()
	defer e.alloc.mu.Unlock()
	return e.stream != nil && e.stream.err == nil
}

// Subscribe begins the executor's stream, and ends an older one. tasks are those that it was given and of which nobody acknowledged an
// update to it, updates are those that nobody acknowledged: they are, first of all. A task that was given to it and that it does not know is lost: the agent
// ended in between. Conflict: its process ended.
func (e *Executor) Subscribe(ctx context.Context, tasks []string, updates []ExecutorUpdate) (*ExecutorStream, error) {
	for _, u := range updates {
		if err := e.Update(ctx, u); err != nil {
			return nil, err
		}
	}
	e.saying.Lock()
	defer e.saying.Unlock()
	a := e.alloc
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.over {
		return nil, structs.Errorf(structs.Conflict, "executor", "it ended")
	}
	e.stream.closeLocked(structs.Errorf(structs.Conflict, "executor", "it subscribed again"))
	lost, given := false, len(e.guests) == 0
	for _, g := range e.guests {
		g.asked = false
		given = given || g.rec.Start > 0 || !g.rec.Done
		if g.rec.Start > 0 && !g.rec.Done && g.rec.State.Status == structs.TaskStaging && !slices.Contains(tasks, g.x.ID) {
			g.done(structs.TaskDropped, "AGENT_RESTARTED", "the executor does not know the task, which it was given before its connection ended")
			a.node.Store.Enqueue(store.PutTask(a.id, g.x.Name, &g.rec))
			lost = true
		}
	}
	if lost {
		e.tasksChanged()
		a.report()
	}
	if !given {
		a.endLocked("its tasks were killed before it was given one", false, false)
	}
	if !e.seen {
		e.seen = true
		close(e.first)
	}
	e.stream = &ExecutorStream{executor: e, wake: make(chan struct{}, 1)}
	for _, u := range updates {
		e.stream.queue = append(e.stream.queue, u.acknowledgement())
	}
	return e.stream, nil
}

// ExecutorEvent is one thing that an executor is told.
type ExecutorEvent struct {
	Launch       [][]byte   // TaskInfos
	Values       [][]string // of each, those of ExternalTask.Secrets, in clear: for the executor alone
	Group        bool       // they were launched as a group
	Kill         *structs.TaskKill
	Acknowledged []byte // UUID of an update
	Task         string // of Kill and Acknowledged, as the framework calls it
	Message      []byte
	Shutdown     bool
}

// ExecutorStream is what an executor is told. One goroutine calls Next; then Close.
type ExecutorStream struct {
	executor *Executor
	wake     chan struct{} // holds one

	// The rest is under alloc.mu.
	queue []ExecutorEvent // acknowledgements and messages
	bytes int             // of messages in queue
	bowed bool            // it was told to shut down
	err   error           // why it ended
}

// poke wakes Next; nil is no stream.
func (s *ExecutorStream) poke() {
	if s == nil {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// push adds what waits for the executor. One that lets too much wait is cut off: it subscribes again. The caller holds mu.
func (s *ExecutorStream) push(e ExecutorEvent) {
	if s == nil || s.err != nil {
		return
	}
	if s.bytes += len(e.Message); len(s.queue) >= streamEvents || s.bytes > streamBytes {
		s.closeLocked(structs.Errorf(structs.Exhausted, "executor", "it does not take its events: %d wait", len(s.queue)))
		return
	}
	s.queue = append(s.queue, e)
	s.poke()
}

func (s *ExecutorStream) closeLocked(why error) {
	if s == nil || s.err != nil {
		return
	}
	s.err, s.queue = why, nil
	if s.executor.stream == s {
		s.executor.stream = nil
	}
	s.poke()
}

// Close ends it.
func (s *ExecutorStream) Close() {
	s.executor.alloc.mu.Lock()
	defer s.executor.alloc.mu.Unlock()
	s.closeLocked(structs.Errorf(structs.Unavailable, "executor", "its connection ended"))
}

// Next waits for what the executor is to be told next. After the stream has ended it returns why.
func (s *ExecutorStream) Next(ctx context.Context) (ExecutorEvent, error) {
	for {
		event, due, err := s.next(ctx)
		if due || err != nil {
			return event, err
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return event, context.Cause(ctx)
		}
	}
}

// next returns what is due. That a task is given to the executor is durable before, and its ports are the allocation's.
func (s *ExecutorStream) next(ctx context.Context) (event ExecutorEvent, due bool, err error) {
	e := s.executor
	e.saying.Lock()
	defer e.saying.Unlock()
	a := e.alloc
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case s.err != nil:
		return event, false, s.err
	case len(s.queue) > 0:
		event, s.queue = s.queue[0], s.queue[1:]
		s.bytes -= len(event.Message)
		return event, true, nil
	case a.state.Stop != "":
		if s.bowed {
			return event, false, nil
		}
		s.bowed, e.bowed = true, true
		return ExecutorEvent{Shutdown: true}, true, nil
	}
	var some []*guest
	for _, g := range e.guests {
		switch {
		case g.rec.Done:
		case g.rec.Start == 0 && (!e.limited || !e.opened(g)): // the process is given room for it, and what it brings is awaited
		case g.rec.Start == 0 && (len(some) == 0 || g.x.Together && g.x.Launch == some[0].x.Launch):
			some = append(some, g)
		case g.rec.Start > 0 && g.x.Kill != nil && !g.asked && len(some) == 0:
			g.asked = true
			return ExecutorEvent{Kill: g.x.Kill, Task: g.x.ID}, true, nil
		}
	}
	if len(some) == 0 {
		return event, false, nil
	}
	var ops []store.Op
	opened := make([][]string, len(some))
	for i, g := range some {
		opened[i] = e.values(g)
		rec := g.rec
		rec.Start = 1
		ops = append(ops, store.PutTask(a.id, g.x.Name, &rec))
	}
	a.mu.Unlock()
	if err = a.givePorts(ctx); err == nil {
		err = a.node.Store.Commit(ctx, ops...)
	}
	a.mu.Lock()
	if err != nil {
		return event, false, err
	}
	for i, g := range some {
		if g.rec.Done { // killed meanwhile
			continue
		}
		g.rec.Start = 1
		event.Launch, event.Values, event.Group = append(event.Launch, g.x.Info), append(event.Values, opened[i]), g.x.Together
	}
	e.askValues()
	return event, len(event.Launch) > 0, nil
}

// shutdown lets an executor end by itself that is subscribed, or was when it was told to: it has so long for it.
// False: it cannot be told.
func (e *Executor) shutdown(ctx context.Context, handle drivers.Task, grace time.Duration) bool {
	e.alloc.mu.Lock()
	told := e.bowed
	e.alloc.mu.Unlock()
	if !told && !e.Subscribed() {
		return false
	}
	waiting, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	handle.Wait(waiting)
	return true
}

// all has everything told again, and returns the names of the guests; nil has none. The caller holds mu.
func (e *Executor) all() (names []string) {
	if e == nil {
		return nil
	}
	for _, g := range e.guests {
		g.changed, g.fresh = true, len(g.rec.Said)
		names = append(names, g.x.Name)
	}
	return names
}

// tell adds to an update what is new of guests; nil has none. The caller holds mu.
func (e *Executor) tell(u *structs.AllocUpdate) {
	if e == nil {
		return
	}
	for _, g := range e.guests {
		if g.rec.Done && !g.returned && e.alloc.brings(g.x.Name) {
			continue // see lending
		}
		u.Said = append(u.Said, g.rec.Said[len(g.rec.Said)-g.fresh:]...)
		g.fresh = 0
		if g.changed {
			if u.Tasks == nil {
				u.Tasks = map[string]*structs.TaskState{}
			}
			state := g.rec.State
			u.Tasks[g.x.Name] = &state
			g.changed = false
		}
	}
}
