package runner

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Tasks of an executor bring volumes of their own (AllocVolume.Task), which they have from their start until their end, while others of their
// allocation run on. The region gives such a volume to somebody else once it hears of the end of the task, so it does not hear of that before the
// volume is taken back.

// Lender is a Provider of what tasks of an executor bring.
type Lender interface {
	Provider
	// Lend makes what the mounts of a task say of the volumes that it brought, and notes it in given under the name of the task. It may be
	// repeated. Errors are those of Provide.
	Lend(ctx context.Context, need *Need, task string, mounts []*structs.VolumeMount, given *store.Given) error
	// Return takes back what a task brought. It is repeated until it succeeds, and may be later. Release does it for all tasks.
	Return(ctx context.Context, id structs.AllocID, task string) error
}

// brings reports whether a task brought volumes of which the region does not know yet that they were taken back. The caller holds mu.
func (a *Alloc) brings(task string) bool {
	return slices.ContainsFunc(a.alloc.Volumes, func(v structs.AllocVolume) bool { return v.Task == task && task != "" })
}

func (n *Node) lenders() (out []Lender) {
	for _, p := range n.Providers {
		if l, ok := p.(Lender); ok {
			out = append(out, l)
		}
	}
	return out
}

// lend makes what a task brought.
func (a *Alloc) lend(ctx context.Context, task string, mounts []*structs.VolumeMount) (*store.Given, error) {
	a.mu.Lock()
	need := &Need{Alloc: a.alloc, Job: a.job, Group: a.group, Dir: string(a.dir)}
	a.mu.Unlock()
	given := &store.Given{}
	for _, l := range a.node.lenders() {
		if err := l.Lend(ctx, need, task, mounts, given); err != nil {
			return nil, err
		}
	}
	return given, nil
}

// takeBack takes back what a task brought, however long that takes. False: ctx ended.
func (a *Alloc) takeBack(ctx context.Context, task string) bool {
	for _, l := range a.node.lenders() {
		for try := 0; ; try++ {
			err := l.Return(ctx, a.id, task)
			if ctx.Err() != nil {
				return false
			}
			if err == nil {
				break
			}
			a.log.Warn("the volumes of a task cannot be taken back yet", "task", task, "err", err)
			if !sleep(ctx, nodeBackOff(try), nil) {
				return false
			}
		}
	}
	return true
}

// borrow makes what the task brings, for its next start.
func (t *task) borrow(ctx context.Context) error {
	a := t.alloc
	a.mu.Lock()
	brings, mounts := a.brings(t.name), t.def.VolumeMounts
	a.mu.Unlock()
	if !brings {
		return nil
	}
	return t.unlessUnwanted(ctx, func(ctx context.Context) error {
		given, err := a.lend(ctx, t.name, mounts)
		if err == nil {
			a.mu.Lock()
			t.lent = given.Mounts[t.name]
			a.mu.Unlock()
		}
		return err
	})
}

// owes reports whether the end of a task is not to be told yet: its volumes are not taken back. The caller holds mu.
func (t *task) owes() bool {
	return t.alloc.pod != nil && t.rec.Done && !t.returned && t.alloc.brings(t.name)
}

// giveBack gives back what the task brought that ended. False: ctx ended.
func (t *task) giveBack(ctx context.Context) bool {
	a := t.alloc
	a.mu.Lock()
	owes := t.owes()
	a.mu.Unlock()
	if owes && !a.takeBack(ctx, t.name) {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	t.returned = true
	return true
}

// letGo is how long the process of a custom executor may go on using the volumes of a task that ended. Then it is ended itself.
const letGo = 10 * time.Second

// lending is the volumes of the guests of an executor: one goroutine for each guest that brings some. A guest is given to the process once its
// volumes are mounted in there, and its end is told once they are not any more.
type lending struct {
	// Under alloc.mu.
	ctx    context.Context // nil: it did not begin, or is over
	turned chan struct{}   // closed and replaced when guests changed
}

// beginLending begins, and returns what ends it: then nothing is mounted in the process by it, or taken back.
func (e *Executor) beginLending(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	a := e.alloc
	a.mu.Lock()
	defer a.mu.Unlock()
	e.lends.ctx, e.lends.turned = ctx, make(chan struct{})
	for _, g := range e.guests {
		e.follow(g)
	}
	return func() {
		cancel()
		a.mu.Lock()
		e.lends.ctx = nil
		a.mu.Unlock()
		e.routines.Wait()
	}
}

// follow lends a guest what it brings, and takes that back. The caller holds mu.
func (e *Executor) follow(g *guest) {
	ctx := e.lends.ctx
	if ctx == nil || g.followed || g.returned || !e.alloc.brings(g.x.Name) {
		return
	}
	g.followed = true
	e.routines.Go(func() {
		process := e.begun(ctx)
		if process == nil {
			return
		}
		e.lendTo(ctx, process, g)
		if e.await(ctx, func() bool { return g.rec.Done }) {
			e.reclaim(ctx, process, g)
		}
	})
}

// turn tells the goroutines that guests changed. The caller holds mu.
func (e *Executor) turn() {
	if e.lends.turned != nil {
		close(e.lends.turned)
		e.lends.turned = make(chan struct{})
	}
}

// await waits for what guests become. False: ctx ended.
func (e *Executor) await(ctx context.Context, is func() bool) bool {
	for {
		e.alloc.mu.Lock()
		done, turned := is(), e.lends.turned
		e.alloc.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-turned:
		case <-ctx.Done():
			return false
		}
	}
}

// lendTo mounts what a guest brings in the process, unless the guest was given to it already. What cannot be ends the guest, with its group.
func (e *Executor) lendTo(ctx context.Context, process *task, g *guest) {
	a := e.alloc
	for try := 0; ; try++ {
		a.mu.Lock()
		over, handle, turned := g.rec.Done || g.rec.Start > 0, process.handle, e.lends.turned
		a.mu.Unlock()
		if over || handle == nil {
			return
		}
		err := e.mount(ctx, handle, g)
		if ctx.Err() != nil || structs.KindOf(err) == structs.Conflict {
			return // its process ended
		}
		a.mu.Lock()
		switch {
		case err == nil:
			g.lent = true
			e.stream.poke()
			a.mu.Unlock()
			return
		case classify(err) != shortage:
			e.failQueued(g, err.Error())
			a.mu.Unlock()
			return
		}
		g.rec.State.Why, g.changed = err.Error(), true
		a.report()
		a.mu.Unlock()
		if try == 0 {
			a.log.Warn("a task of an executor waits for its volumes", "task", g.x.Name, "err", err)
		}
		sleep(ctx, nodeBackOff(try), turned)
	}
}

// mount claims what a guest brings and mounts it. Where from is durable before: that is what is looked for in the process when the guest ends.
func (e *Executor) mount(ctx context.Context, handle drivers.Task, g *guest) error {
	a := e.alloc
	into, can := handle.(drivers.Mountable)
	if !can {
		return structs.Errorf(structs.Invalid, fmt.Sprintf("task %q", g.x.ID), "its executor runs, and its driver mounts nothing in what runs").
			Advise("launch the task with an executor of its own")
	}
	given, err := a.lend(ctx, g.x.Name, g.x.Mounts)
	if err != nil {
		return err
	}
	mounts := given.Mounts[g.x.Name]
	a.mu.Lock()
	op := a.noteLent(g.x.Name, mounts)
	a.mu.Unlock()
	if err := a.node.Store.Commit(ctx, op); err != nil {
		return err
	}
	for _, m := range mounts {
		if err := into.Mount(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// noteLent notes what is mounted in the process for a guest; nil: nothing is. The caller holds mu.
func (a *Alloc) noteLent(guest string, mounts []drivers.Mount) store.Op {
	given := &store.Given{}
	if a.state.Given != nil {
		*given = *a.state.Given
	}
	if given.Mounts = maps.Clone(given.Mounts); given.Mounts == nil {
		given.Mounts = map[string][]drivers.Mount{}
	}
	if given.Mounts[guest] = mounts; mounts == nil {
		delete(given.Mounts, guest)
	}
	a.state.Given = given
	return store.PutState(a.id, &a.state)
}

// failQueued ends a guest that cannot have its volumes, and those that were launched together with it. The caller holds mu.
func (e *Executor) failQueued(g *guest, why string) {
	for _, o := range e.guests {
		if !o.rec.Done && o.rec.Start == 0 && (o == g || g.x.Together && o.x.Together && o.x.Launch == g.x.Launch) {
			o.done(structs.TaskFailed, "CONTAINER_LAUNCH_FAILED", why)
			e.alloc.node.Store.Enqueue(store.PutTask(e.alloc.id, o.x.Name, &o.rec))
		}
	}
	e.tasksChanged()
	e.alloc.report()
}

// reclaim takes back what a guest brought that ended. A process that goes on using it is ended, for nobody else may have it meanwhile.
func (e *Executor) reclaim(ctx context.Context, process *task, g *guest) {
	a := e.alloc
	began := time.Now()
	for try := 0; ; try++ {
		err := e.unmount(ctx, process, g)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			break
		}
		if try == 0 {
			a.log.Warn("the volumes of a task that ended cannot be taken from its executor yet", "task", g.x.Name, "err", err)
		}
		if time.Since(began) >= letGo {
			a.end(fmt.Sprintf("its executor does not let go of what task %q had, which ended: %s", g.x.ID, err), true, false)
		}
		sleep(ctx, min(100*time.Millisecond<<min(try, 5), time.Second), nil)
	}
	if !a.takeBack(ctx, g.x.Name) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.node.Store.Enqueue(a.noteLent(g.x.Name, nil))
	g.returned = true
	a.report()
}

// unmount takes what was mounted for a guest from the process.
func (e *Executor) unmount(ctx context.Context, process *task, g *guest) error {
	a := e.alloc
	a.mu.Lock()
	handle := process.handle
	var mounts []drivers.Mount
	if a.state.Given != nil {
		mounts = a.state.Given.Mounts[g.x.Name]
	}
	a.mu.Unlock()
	if handle == nil || len(mounts) == 0 {
		return nil
	}
	from, can := handle.(drivers.Mountable)
	if !can {
		return nil // it never mounted anything
	}
	for _, m := range mounts {
		if err := from.Unmount(ctx, m); err != nil && structs.KindOf(err) != structs.Conflict && structs.KindOf(err) != structs.NotFound {
			return err
		}
	}
	return nil
}
