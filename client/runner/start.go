package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/client/taskdir"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// specID names one start on the node.
func (t *task) specID(start uint64) string {
	return fmt.Sprintf("%s/%s/%d", t.alloc.id, t.name, start)
}

// spec computes what the driver needs for a start of that number, with the references in the config resolved.
func (t *task) spec(ctx context.Context, driver drivers.Driver, start uint64) (*drivers.Spec, *taskdir.Scope, error) {
	a := t.alloc
	a.mu.Lock()
	job, group, def := a.job, a.group, t.def
	a.mu.Unlock()
	return t.specOf(ctx, driver, t.specID(start), job, group, def)
}

// specOf is spec for any version of the task.
func (t *task) specOf(ctx context.Context, driver drivers.Driver, id string, job *structs.JobVersion, group *structs.Group,
	def *structs.Task) (*drivers.Spec, *taskdir.Scope, error) {
	a := t.alloc
	a.mu.Lock()
	alloc, given, lent := a.alloc, a.state.Given, t.lent
	cores, devices := t.rec.State.Cores, t.rec.State.Devices
	revocable := !t.slackOf(alloc).IsZero()
	a.mu.Unlock()
	var view drivers.View
	if d, ok := driver.(drivers.Rooted); ok {
		var err error
		if view, err = d.View(ctx, def); err != nil {
			return nil, nil, err
		}
	}
	owner, err := ownerOf(def, view)
	if err != nil {
		return nil, nil, err
	}
	scope, err := taskdir.NewScope(taskdir.Subject{Seen: view, Region: a.node.Region, Node: a.node.Self(), Alloc: alloc, Job: job.Job,
		Group: group, Task: def, Dir: a.dir, Owner: owner, Addresses: given.OwnAddresses(), Joined: given.OwnNetworks(), Cores: cores, Devices: devices, Items: a.node.item})
	if err != nil {
		return nil, nil, err
	}
	config, err := scope.ExpandConfig(def.Config)
	if err != nil {
		return nil, nil, err
	}
	resolved := *def
	resolved.Config = config
	s := &drivers.Spec{ID: id, Alloc: a.id, Job: alloc.Job, Group: alloc.Group, Task: &resolved,
		Incarnation: alloc.Incarnation, Env: scope.Env(), AllocDir: a.dir.Shared(), TaskDir: a.dir.Task(def.Name),
		LogDir: a.dir.Logs(), User: owner.Name, Ports: alloc.Ports, Event: t.progress, Output: a.output(def)}
	s.Revocable, s.Cores = revocable, cores
	if len(devices) > 0 {
		s.Devices = a.node.Stock.Nodes(devices)
	}
	if given != nil {
		s.Netns, s.Hostname, s.Files, s.Mounts = given.Netns, given.Hostname, given.Files, given.Mounts[def.Name]
		s.Project, s.Pidns, s.Ipcns = given.Project, given.Pidns, given.Ipcns
		s.Devices = append(s.Devices, given.Devices[def.Name]...)
		for name, value := range given.Env[def.Name] {
			s.Env = append(s.Env, name+"="+value)
		}
	}
	if len(lent) > 0 {
		s.Mounts = slices.Concat(s.Mounts, lent)
	}
	if alloc.External != nil {
		directory := a.dir.Task(def.Name) + "/local"
		sandbox := directory
		if view.Task != "" {
			sandbox = strings.TrimSuffix(view.Task, "/") + "/local"
		}
		s.Env = append(s.Env, t.executorEnv(alloc, def, sandbox, directory, t.executorSocket(alloc, s, view.Task != ""))...)
	}
	if a.node.BoundsDisk {
		s.Disk = group.Ask().Disk
	}
	if r := def.Resources; r != nil {
		s.IO = r.IO
		extra := def.InMemory() // its files there are its memory
		s.CPU, s.CPULimit, s.Memory, s.MemoryMax = r.CPU, r.CPULimit, r.Memory+extra, max(r.Memory, r.MemoryMax)+extra
	}
	if s.MemoryMax >= structs.Boundless {
		s.Memory, s.MemoryMax = 0, 0
	}
	if a.exec != nil { // its tasks come and go: see keepLimits
		l := a.exec.sum(def)
		s.CPU, s.CPULimit, s.Memory, s.MemoryMax = l.CPU, l.CPULimit, l.Memory, l.MemoryMax
	}
	if alloc.OnLost == "fence" {
		s.Fence = &drivers.Fence{}
	}
	if x := alloc.External.Named(def.Name); x != nil && x.Terminal != nil {
		s.Terminal = &drivers.Size{Rows: x.Terminal.Rows, Cols: x.Terminal.Cols}
	}
	return s, scope, nil
}

// ownerOf says whose a task's files are. The users of an image are not the node's: only numbers mean the same.
func ownerOf(t *structs.Task, view drivers.View) (taskdir.Owner, error) {
	if view.Image {
		return taskdir.ImageOwner(t.User), nil
	}
	return taskdir.OwnerOf(t.User)
}

// progress notes how far a preparation is. A kind that follows itself replaces itself.
func (t *task) progress(kind, text string) {
	a := t.alloc
	a.mu.Lock()
	defer a.mu.Unlock()
	if events := t.rec.State.Events; len(events) > 0 && events[len(events)-1].Type == kind {
		t.rec.State.Events = events[: len(events)-1 : len(events)-1]
	}
	t.event(kind, text)
	a.report()
}

// driverOf is the name of a task's driver.
func driverOf(t *structs.Task) string { return cmp.Or(t.Driver, "exec") }

func (t *task) driver() (drivers.Driver, error) {
	t.alloc.mu.Lock()
	name := driverOf(t.def)
	t.alloc.mu.Unlock()
	d := t.alloc.node.Drivers[name]
	if d == nil {
		return nil, structs.Errorf(structs.Invalid, fmt.Sprintf("task %q", t.name), "the node has no driver %q", name)
	}
	return d, nil
}

// start starts the task. The number of the start is durable before the driver hears of it.
func (t *task) start(ctx context.Context) (drivers.Task, error) {
	a := t.alloc
	driver, err := t.driver()
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	fenced := a.alloc.OnLost == "fence"
	a.mu.Unlock()
	if fenced {
		if err := t.unlessUnwanted(ctx, a.node.Lease); err != nil {
			return nil, err
		}
	}
	if err := t.provided(ctx); err != nil {
		return nil, err
	}
	if err := t.borrow(ctx); err != nil {
		return nil, err
	}
	if err := t.equip(ctx); err != nil {
		return nil, err
	}
	number := t.rec.Start + 1 // only run changes it
	spec, scope, err := t.spec(ctx, driver, number)
	if err != nil {
		return nil, err
	}
	logins, err := t.logins(ctx, scope, spec.Task)
	if err != nil {
		return nil, err
	}
	useLogins(spec, logins)
	var texts []*taskdir.Text
	asks := asksForImage(spec.Task)
	if asks {
		if texts, err = t.texted(ctx, scope, spec); err == nil {
			err = login(spec, taskdir.ImageConfigs(texts))
		}
		if err != nil {
			return nil, err
		}
	}
	fetch := func() error {
		return t.unlessUnwanted(ctx, func(ctx context.Context) error { return t.fetch(ctx, scope, spec.Task) })
	}
	early := t.fetchesLogin(spec)
	if early {
		if err = fetch(); err == nil {
			err = fetchedLogin(spec)
		}
		if err != nil {
			return nil, err
		}
	}
	if d, ok := driver.(drivers.Preparer); ok {
		err := t.unlessUnwanted(ctx, func(ctx context.Context) error { return d.Prepare(ctx, spec) })
		if err != nil {
			return nil, err
		}
	}
	if err := t.pullImages(ctx, spec); err != nil {
		return nil, err
	}
	if !early {
		if err := fetch(); err != nil {
			return nil, err
		}
	}
	if !asks {
		if texts, err = t.texted(ctx, scope, spec); err != nil {
			return nil, err
		}
	}
	select {
	case a.node.Starts[driver.Name()] <- struct{}{}:
		defer func() { <-a.node.Starts[driver.Name()] }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if err := t.write(scope, spec, texts); err != nil {
		return nil, err
	}
	if err := t.bind(driver, scope, spec); err != nil {
		return nil, err
	}
	starting, cancel := context.WithCancel(ctx)
	defer cancel()
	a.mu.Lock()
	if stop, _ := t.unwanted(); stop {
		a.mu.Unlock()
		return nil, errInterrupted
	}
	t.rec.Start, t.rec.Running, t.rec.Handle = number, true, nil
	t.rec.State.Status, t.rec.State.Why = structs.TaskStarting, ""
	t.cancel = cancel
	rec := t.rec
	a.mu.Unlock()
	defer t.uncancel()
	if err := a.node.Store.Commit(ctx, store.PutTask(a.id, t.name, &rec)); err != nil {
		return nil, err
	}
	if fenced && !a.node.Holds() {
		return nil, errInterrupted // it ended meanwhile; from here on the end of the lease finds the task
	}
	if err := t.mountImages(starting, scope, spec); err != nil {
		if starting.Err() != nil && ctx.Err() == nil {
			return nil, errInterrupted
		}
		return nil, err
	}
	handle, err := driver.Start(starting, spec)
	switch structs.KindOf(err) {
	case "", structs.Unavailable, structs.Exhausted, structs.Invalid, structs.NotFound, structs.Forbidden: // the answer is known
	default:
		handle, err = t.look(ctx, starting, driver, spec, err)
	}
	if err != nil {
		if ctx.Err() == nil { // otherwise it may run
			t.unmountImages(spec)
		}
		return nil, err
	}
	addresses, joined := t.ownAddresses(ctx, handle)
	t.started(handle, addresses, joined)
	return handle, nil
}

// ownAddresses are those of the allocation's own network, with what it has beside it, or what the driver gave a task which just started.
func (t *task) ownAddresses(ctx context.Context, handle drivers.Task) (addresses []string, joined []structs.JoinedNetwork) {
	a := t.alloc
	a.mu.Lock()
	addresses, joined = a.state.Given.OwnAddresses(), a.state.Given.OwnNetworks()
	a.mu.Unlock()
	x, ok := handle.(drivers.Addressed)
	if !ok || len(addresses) > 0 || len(joined) > 0 {
		return addresses, joined
	}
	addresses, joined, err := x.Addresses(ctx)
	if err != nil && ctx.Err() == nil {
		a.log.Warn("the address of a task is not known", "task", t.name, "err", err)
	}
	return addresses, joined
}

// look finds out whether a start happened whose answer was lost or given up. There is no other start before that is known.
func (t *task) look(ctx, starting context.Context, d drivers.Driver, spec *drivers.Spec, startErr error) (drivers.Task, error) {
	for try := 0; ; try++ {
		found, err := d.Recover(ctx, spec, nil)
		switch {
		case err == nil:
			return found, nil
		case structs.KindOf(err) == structs.NotFound && starting.Err() != nil:
			return nil, errInterrupted
		case structs.KindOf(err) == structs.NotFound && structs.KindOf(startErr) == structs.Unknown:
			// What it was asked of did not answer: that is no failure of the task, and uses up no restart.
			return nil, structs.Errorf(structs.Unavailable, "task "+spec.ID, "%w", startErr)
		case structs.KindOf(err) == structs.NotFound:
			return nil, startErr
		}
		if !sleep(ctx, nodeBackOff(try), nil) {
			return nil, context.Cause(ctx)
		}
	}
}

// errInterrupted is the error of a start that was given up, because something else is wanted now.
var errInterrupted = errors.New("something else is wanted now")

// unlessUnwanted does what comes before a start, and gives it up when something else is wanted.
func (t *task) unlessUnwanted(ctx context.Context, do func(context.Context) error) error {
	a := t.alloc
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	a.mu.Lock()
	if stop, _ := t.unwanted(); stop {
		a.mu.Unlock()
		return errInterrupted
	}
	t.cancel = cancel
	a.mu.Unlock()
	defer t.uncancel()
	err := do(waiting)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		return errInterrupted
	}
	return err
}

func (t *task) uncancel() {
	t.alloc.mu.Lock()
	t.cancel = nil
	t.alloc.mu.Unlock()
}

// texted makes what the templates of the start say, and the folder. Folders without files are made by a driver that uses them. What the
// templates ask for and no server has said anything of yet is waited for, shortly.
func (t *task) texted(ctx context.Context, scope *taskdir.Scope, spec *drivers.Spec) ([]*taskdir.Text, error) {
	if err := taskdir.CheckTask(spec.Task.Name); err != nil || len(spec.Task.Templates) == 0 && spec.Task.DispatchPayload == nil {
		return nil, err
	}
	if err := t.alloc.dir.Create(spec.Task.Name, scope.Owner()); err != nil {
		return nil, err
	}
	if err := scope.Payload(); err != nil {
		return nil, err
	}
	return asked(ctx, t, scope, scope.Texts, false)
}

// write writes the files that the start needs.
func (t *task) write(scope *taskdir.Scope, spec *drivers.Spec, texts []*taskdir.Text) error {
	if len(texts) == 0 {
		return nil
	}
	if err := scope.InMemory(texts); err != nil {
		return err
	}
	t.texts = texts
	if err := scope.Write(texts); err != nil {
		return err
	}
	return addEnv(spec, texts)
}

// started notes that a start went well.
func (t *task) started(handle drivers.Task, addresses []string, joined []structs.JoinedNetwork) {
	a := t.alloc
	a.mu.Lock()
	defer a.mu.Unlock()
	now := now()
	t.handle = handle
	t.rec.Handle = handle.Handle()
	s := &t.rec.State
	s.Status, s.Why, s.Started, s.Checks, s.Answer, s.Addresses, s.Joined = structs.TaskRunning, "", now, nil, nil, addresses, joined
	t.beginChecks(handle)
	if a.pod != nil {
		a.pod.limit(t)
	}
	t.event("started", fmt.Sprintf("start %d", t.rec.Start))
	ops := []store.Op{store.PutTask(a.id, t.name, &t.rec)}
	if a.status == structs.AllocPending && a.mainsUp() {
		a.status, a.why = structs.AllocRunning, ""
		a.state.Started = now
		ops = append(ops, store.PutState(a.id, &a.state))
	}
	a.node.Store.Enqueue(ops...)
	a.report()
}

// mainsUp reports whether each main task was started once. The caller holds mu.
func (a *Alloc) mainsUp() bool {
	if a.pod != nil {
		return true // the one that asks was
	}
	for _, t := range a.tasks {
		if t.hook() == "" && t.rec.State.Started == 0 {
			return false
		}
	}
	return true
}

// startFailed decides what follows a start that did not happen.
func (t *task) startFailed(err error, short *int) (again bool, wait time.Duration) {
	a := t.alloc
	a.mu.Lock()
	defer a.mu.Unlock()
	t.rec.Running = false
	class := classify(err)
	if a.alloc.External != nil && class == failed || class == shortage && gaveUp(a.alloc, *short+1) {
		class = permanent
	}
	switch class {
	case permanent:
		why := strings.TrimPrefix(err.Error(), "task "+t.specID(t.rec.Start)+": ") // the reader knows which
		var missing *drivers.NoProgram
		if errors.As(err, &missing) {
			t.rec.State.ExitCode = missing.Code
		}
		t.event("failed", why)
		t.done(structs.TaskError, why)
		a.node.Counts.Unstarted.Add(1)
		return false, 0
	case shortage:
		wait = nodeBackOff(*short)
		*short++
		t.rec.State.Status, t.rec.State.Why = structs.TaskStarting, err.Error()
		if *short == 1 { // one event for a shortage, however long it lasts
			t.event("waiting", err.Error())
			a.log.Warn("a task cannot be started now", "task", t.name, "err", err)
		}
		t.changed = true
		a.report()
		return true, wait
	}
	return t.apply(PolicyOf(a.job.Job.Type, a.group.Restart), err.Error(), structs.TaskFailed)
}
