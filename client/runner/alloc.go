// Package runner runs allocations: one Alloc each, which brings its tasks up in order, starts failed ones again, and takes
// them down. What it decides is durable before it acts, so that it can be killed at any moment. See DESIGN.md.
package runner

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/proffer/proffer/client/checks"
	"github.com/proffer/proffer/client/fetch"
	"github.com/proffer/proffer/client/items"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/client/taskdir"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Node is what the runners of one node share. It is not changed once runners use it.
type Node struct {
	Store   *store.Store
	Drivers map[string]drivers.Driver
	Self    func() *structs.Node // what the node is now
	Region  string
	Root    string // folder of the allocations
	Log     *slog.Logger

	// Report hands over what changed. It must not block or call back; updates of one allocation come in order.
	Report func(*structs.AllocUpdate)
	// Lease waits until the node holds its lease; fenced tasks start only then.
	Lease func(ctx context.Context) error
	Holds func() bool // whether it does now
	// Rebooted says that the machine was restarted since the last agent ran: what was recorded as running does not.
	Rebooted bool
	// BoundsDisk says that the node looks at how much of the disk allocations take.
	BoundsDisk bool
	// Starts has room for as many starts as may happen at the same time, by driver: one that hangs delays no task of another.
	Starts    map[string]chan struct{}
	Checks    *checks.Pool
	Providers []Provider     // in the order in which they are asked
	Fetch     *fetch.Cache   // nil: no artifacts
	Images    drivers.Imager // what tasks mount of images; nil: nothing
	Items     *items.Items   // what templates ask the region for; nil: nothing
	// Dial connects to an address in the network namespace at a path; it is used for allocations that were given one.
	Dial  func(ctx context.Context, netns, network, address string) (net.Conn, error)
	Stock *Stock // what one task at a time has
	// Bind says how a task mounts a path of the host, or a folder in also, as far as the node lets it; nil: not at all.
	Bind      func(b *structs.Bind, also []string) (drivers.Mount, error)
	Executors string // where executors of external frameworks reach the node, as ip:port; empty: they do not
	// ExecutorSocket is the path of a domain socket where they do so, too, alone in its folder; empty: there is none.
	ExecutorSocket string
	// ExecutorToken returns by what an executor proves there who it is; nil: by nothing.
	ExecutorToken func(framework structs.FrameworkID, executor string, alloc structs.AllocID) string
	// GPUs measures devices, by ID; nil: nobody does. What it returns is not changed.
	GPUs func(ctx context.Context) map[string]*drivers.GPUStats

	Counts Counts
}

// Counts is what happened since the agent began.
type Counts struct {
	Unstarted atomic.Uint64 // tasks that could not be started, and never will be
	Fetched   atomic.Uint64 // times that all artifacts of a task were put into its folder
	Unfetched atomic.Uint64 // times that they were not
}

// poststopLimit is how long one poststop task may take.
const poststopLimit = 5 * time.Minute

// Alloc runs one allocation. Run is called once, from the goroutine that is then its own; the other methods may be called
// from any goroutine.
type Alloc struct {
	node *Node
	id   structs.AllocID
	dir  taskdir.Dir
	log  *slog.Logger

	ready chan struct{} // closed when what ran before was looked for
	done  chan struct{} // closed when Run returned

	mu       sync.Mutex
	alloc    *structs.Allocation
	job      *structs.JobVersion
	group    *structs.Group
	state    store.State
	tasks    []*task // in the order of the job
	status   structs.AllocStatus
	why      string
	ended    structs.Time
	recorded bool // the end is durable
	replaced bool // Replace was called

	ending context.Context // ends when the allocation is to end
	hurry  context.CancelFunc

	detached map[string]*store.Detached // commands in its tasks, by name; a record is replaced and not changed

	folders folders
	pod     *pod      // nil: what it runs is given from the start
	exec    *Executor // nil: the node runs all of its tasks itself

	portsGiven portsGiven

	providing sync.Mutex // held while a task that is started again is given what it needs
}

// New makes a runner for an allocation that was not started before, or, when known has State or Tasks, for one that may run
// already. The job's group must exist.
func New(n *Node, known *store.Alloc) (*Alloc, error) {
	a := &Alloc{
		node: n, id: known.Alloc.ID, dir: taskdir.At(n.Root, known.Alloc.ID),
		alloc: known.Alloc, job: known.Job, group: known.Job.Job.Group(known.Alloc.Group),
		log:    n.Log.With("alloc", structs.Short(known.Alloc.ID), "job", known.Alloc.Job, "group", known.Alloc.Group),
		status: structs.AllocPending,
		ready:  make(chan struct{}), done: make(chan struct{}),
	}
	a.detached = maps.Clone(known.Detached)
	a.ending, a.hurry = context.WithCancel(context.Background())
	if a.group == nil || len(a.group.Tasks) == 0 {
		return nil, structs.Errorf(structs.Invalid, fmt.Sprintf("job %q", known.Alloc.Job), "version %d has no group %q with tasks",
			known.Alloc.Version, known.Alloc.Group)
	}
	a.state.Restarts = known.Alloc.Restarts // those before its first start are not owed
	if known.State != nil {
		a.state = *known.State
	}
	if a.state.Stop != "" {
		a.hurry()
	}
	if a.state.Started != 0 {
		a.status = structs.AllocRunning
	}
	for _, def := range a.group.Tasks {
		t := newTask(a, def)
		if rec := known.Tasks[def.Name]; rec != nil {
			t.rec, t.changed = *rec, false
			if rec.Done {
				close(t.gone)
			} else {
				n.Stock.Keep(t.holder(), &rec.State)
			}
		}
		a.tasks = append(a.tasks, t)
	}
	switch x := known.Alloc.External; {
	case x == nil || x.Executor == "":
	case x.Custom:
		a.exec = newExecutor(a, known.Tasks)
	default:
		a.pod = newPod(a)
	}
	return a, nil
}

// Executor returns the custom executor of an allocation that has one; nil otherwise.
func (a *Alloc) Executor() *Executor { return a.exec }

func (a *Alloc) ID() structs.AllocID { return a.id }

// Ready is closed once what ran before was looked for, or nothing had to be.
func (a *Alloc) Ready() <-chan struct{} { return a.ready }

// Done is closed when Run returned.
func (a *Alloc) Done() <-chan struct{} { return a.done }

// Allocation returns the newest that the region said of it; it is not to be changed.
func (a *Alloc) Allocation() *structs.Allocation {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.alloc
}

// Job returns the version that it runs.
func (a *Alloc) Job() *structs.JobVersion {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.job
}

// Status returns its state, and whether that is the end and durable.
func (a *Alloc) Status() (status structs.AllocStatus, why string, recorded bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status, a.why, a.recorded
}

// State returns what the node decided about it.
func (a *Alloc) State() store.State {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state
}

// Begun reports whether a task of it was ever started.
func (a *Alloc) Begun() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.tasks, func(t *task) bool { return t.rec.Start > 0 })
}

// Dir returns its folder.
func (a *Alloc) Dir() taskdir.Dir { return a.dir }

// Full returns its state with all tasks.
func (a *Alloc) Full() *structs.AllocUpdate {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.tasks {
		t.changed = true
	}
	a.exec.all()
	return a.update()
}

// update returns what changed since the last one. The caller holds mu.
func (a *Alloc) update() *structs.AllocUpdate {
	u := &structs.AllocUpdate{ID: a.id, Incarnation: a.alloc.Incarnation, Status: a.status, Why: a.why, Time: now()}
	if a.status == structs.AllocRunning && a.why == "" {
		u.Why = a.notReady()
	}
	for _, t := range a.tasks {
		if t.changed && !t.owes() {
			if u.Tasks == nil {
				u.Tasks = make(map[string]*structs.TaskState, len(a.tasks))
			}
			state := t.rec.State // a copy; its Events are never changed in place
			u.Tasks[t.name] = &state
			t.changed = false
		}
	}
	a.exec.tell(u)
	return u
}

// report tells the region what changed. The caller holds mu, so that updates stay in order.
func (a *Alloc) report() { a.node.Report(a.update()) }

// Update takes a newer version of the allocation, with its job.
func (a *Alloc) Update(alloc *structs.Allocation, job *structs.JobVersion) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.alloc = alloc
	if group := job.Job.Group(alloc.Group); group != nil && job != a.job {
		a.job, a.group = job, group
		for _, t := range a.tasks {
			if def := group.Task(t.name); def != nil {
				t.take(def)
			}
		}
	}
	switch {
	case alloc.External == nil:
	case a.exec != nil:
		a.exec.take(alloc.External)
	case a.pod != nil:
		a.pod.take()
	}
	if alloc.Restarts > a.state.Restarts {
		a.state.Restarts = alloc.Restarts
		a.node.Store.Enqueue(store.PutState(a.id, &a.state))
		for _, t := range a.tasks {
			if alloc.RestartTask == "" || alloc.RestartTask == t.name {
				t.restart("the region asked for a restart")
			}
		}
	}
}

// Stop ends the allocation as wanted, with the grace of its tasks. It does not wait; see Done.
func (a *Alloc) Stop(why string) { a.end(why, false, false) }

// Fence ends it at once: the lease is over.
func (a *Alloc) Fence(why string) { a.end(why, true, true) }

// Quarantine notes why the region does not know it, durably; empty: it does. Its tasks run on.
func (a *Alloc) Quarantine(why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state.Quarantined != why && !a.status.Ended() {
		a.state.Quarantined = why
		a.node.Store.Enqueue(store.PutState(a.id, &a.state))
	}
}

// end begins the end; a harder one overrides.
func (a *Alloc) end(why string, fail, hard bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endLocked(why, fail, hard)
}

func (a *Alloc) endLocked(why string, fail, hard bool) {
	if a.status.Ended() || a.state.Stop != "" && (a.state.Hard || !hard) {
		return
	}
	if a.state.Stop == "" {
		a.state.Stop, a.state.Fail = why, fail
		a.why = why
	}
	a.state.Hard = a.state.Hard || hard
	a.hurry()
	a.node.Store.Enqueue(store.PutState(a.id, &a.state))
	for _, t := range a.tasks {
		t.interrupt()
	}
	if a.exec != nil {
		a.exec.stream.poke()
	}
}

// Run runs the allocation until it ended or ctx did. In the latter case its tasks run on, and another Alloc made from the
// store's records goes on with them. The result says whether it ended.
func (a *Alloc) Run(ctx context.Context) (ended bool) {
	defer close(a.done)
	defer a.hurry()
	a.recover(ctx)
	var limit *time.Timer
	a.mu.Lock()
	if d := a.group.MaxRunDuration.Std(); d > 0 {
		left := d
		if a.state.Started != 0 {
			left = max(0, d-time.Since(a.state.Started.Std()))
		}
		limit = time.AfterFunc(left, func() { a.end(fmt.Sprintf("max_run_duration of %s is over", structs.Duration(d)), true, false) })
		defer limit.Stop()
	}
	a.mu.Unlock()
	if a.exec != nil {
		a.mu.Lock()
		a.exec.askValues()
		a.mu.Unlock()
		watching, cancel := context.WithCancel(ctx)
		var watch sync.WaitGroup
		watch.Go(func() { a.exec.watch(watching) })
		watch.Go(func() { a.exec.keepLimits(watching) })
		defer watch.Wait()
		defer cancel()
	}
	stopLending := func() {}
	if a.exec != nil {
		stopLending = a.exec.beginLending(ctx)
		defer stopLending()
	}
	if !a.provide(ctx) || !a.main(ctx) || !a.poststop(ctx) {
		return false
	}
	stopLending() // what it goes on with is taken back with all else
	return a.release(ctx) && a.finish(ctx)
}

// of returns the tasks of one stage, in the order of the job.
func (a *Alloc) of(hook string, sidecar bool) (tasks []*task) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.tasks {
		if t.hook() == hook && t.sidecar() == sidecar {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

// main runs prestart tasks one after the other, then sidecars and main tasks side by side, until nothing of them is left.
// False: ctx ended.
func (a *Alloc) main(ctx context.Context) bool {
	if a.pod != nil {
		return a.pod.run(ctx)
	}
	for _, t := range a.of("prestart", false) {
		if !t.run(ctx) {
			return false
		}
		if !t.good() {
			a.fail(t)
		}
	}
	sidecars, mains := a.of("prestart", true), a.of("", false)
	var running sync.WaitGroup
	stopped := false // by ctx
	var one sync.Mutex
	run := func(t *task) {
		if !t.run(ctx) {
			one.Lock()
			stopped = true
			one.Unlock()
			return
		}
		if !t.good() {
			a.fail(t)
		}
	}
	for _, t := range sidecars {
		running.Go(func() { run(t) })
	}
	for _, t := range sidecars {
		select {
		case <-t.up: // started once, or ended
		case <-ctx.Done():
		}
	}
	var mainly sync.WaitGroup
	for _, t := range mains[min(1, len(mains)):] {
		mainly.Go(func() { run(t) })
	}
	if len(mains) > 0 {
		run(mains[0])
	}
	mainly.Wait()
	if ctx.Err() == nil {
		a.mu.Lock()
		for _, t := range sidecars {
			t.over = true
			t.interrupt()
		}
		a.mu.Unlock()
	}
	running.Wait()
	return !stopped
}

// fail ends the allocation because of a task.
func (a *Alloc) fail(t *task) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state.Stop != "" {
		return
	}
	why := fmt.Sprintf("task %q: %s", t.name, t.rec.State.Why)
	a.endLocked(why, true, false)
}

// poststop runs what comes after everything else, one after the other, when anything was started at all.
func (a *Alloc) poststop(ctx context.Context) bool {
	tasks := a.of("poststop", false)
	a.mu.Lock()
	begun := slices.ContainsFunc(a.tasks, func(t *task) bool { return t.rec.Start > 0 && t.hook() != "poststop" })
	hard := a.state.Hard
	a.mu.Unlock()
	for _, t := range tasks {
		if !begun || hard {
			t.skip("nothing that it follows was started")
			continue
		}
		a.mu.Lock()
		limit := time.AfterFunc(poststopLimit, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			t.over = true
			t.interrupt()
		})
		a.mu.Unlock()
		ok := t.run(ctx)
		limit.Stop()
		if !ok {
			return false
		}
	}
	return true
}

// finish makes the end durable, reports it, and cleans up after tasks. When the disk is full, the end is reported
// nevertheless, so that the folder can be collected, which may be what fills it: until the end is recorded the driver keeps
// the task, so that another agent would find it ended again.
func (a *Alloc) finish(ctx context.Context) bool {
	if a.exec != nil {
		a.exec.ended()
	}
	a.mu.Lock()
	status, why := structs.AllocComplete, ""
	if a.pod != nil && a.state.Stop == "" {
		if why = a.pod.failure(); why != "" {
			status = structs.AllocFailed
		}
	}
	if a.state.Stop != "" {
		why = a.state.Stop
		if a.state.Fail {
			status = structs.AllocFailed
		}
	}
	record := &store.Ended{Job: a.alloc.Job, Group: a.alloc.Group, Index: a.alloc.Index, Folder: true, Alloc: remembered(a.alloc)}
	a.ended = now()
	record.Tasks = append(record.Tasks, a.exec.all()...)
	for _, t := range a.tasks {
		t.changed, t.returned = true, true
		record.Tasks = append(record.Tasks, t.name)
	}
	before := a.status
	a.status, a.why = status, why
	u := a.update()
	a.status = before // until it is recorded
	record.Update = *u
	a.mu.Unlock()

	told := false
	for try := 0; ; try++ {
		err := a.node.Store.Commit(ctx, store.End(a.id, record)...)
		a.mu.Lock()
		a.recorded = err == nil
		if !told && (err == nil || structs.KindOf(err) == structs.Exhausted) {
			a.status, told = status, true
			if err == nil { // before the region hears of it and sends others
				for _, t := range a.tasks {
					t.yield()
				}
			}
			a.node.Report(u)
		}
		a.mu.Unlock()
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return false
		}
		a.log.Error("the end of an allocation cannot be recorded", "err", err)
		if !sleep(ctx, nodeBackOff(try), nil) {
			return false
		}
	}
	for _, t := range a.tasks {
		t.destroy(ctx)
		a.dir.ForgetSecrets(t.name)
	}
	level := slog.LevelDebug
	if status == structs.AllocFailed {
		level = slog.LevelInfo
	}
	a.log.Log(ctx, level, "allocation ended", "status", string(status), "why", why)
	return true
}

// EndedEarly reports whether the end is known but could not be recorded yet.
func (a *Alloc) EndedEarly() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status.Ended() && !a.recorded
}
