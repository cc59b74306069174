package runner

import (
	"context"
	"slices"

	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/structs"
)

// Provider gives allocations something that all their tasks have in common, such as a network or volumes: it makes it before the
// first task, and takes it back after the last one. Its methods may be called from any goroutine, for one allocation
// one at a time.
type Provider interface {
	// Name is one word for messages: network, volumes.
	Name() string
	// Needs reports whether an allocation needs anything of it. The answer depends on the arguments alone.
	Needs(alloc *structs.Allocation, group *structs.Group) bool
	// Provide makes what the allocation needs and notes it in given. An agent that was killed meanwhile asks again, and so does one
	// that finds none of the tasks running: what is there already is used. Unavailable and Exhausted: the node is short of something
	// and it is tried again; another error fails the allocation. After an error Release follows, sooner or later.
	Provide(ctx context.Context, need *Need, given *store.Given) error
	// Release removes all of it; what is not there is no error. It is repeated until it succeeds, and only then the region hears
	// that the allocation ended: ports and claims of it are free from then on.
	Release(ctx context.Context, id structs.AllocID) error
	// Keep removes what belongs to allocations that are not known any more, and does what else goes on without one, until ctx ends.
	Keep(ctx context.Context, known func(structs.AllocID) bool)
}

// Need is what an allocation needs something for. It is not to be changed.
type Need struct {
	Alloc *structs.Allocation
	Job   *structs.JobVersion
	Group *structs.Group
	Dir   string // folder of the allocation; it may be missing
}

// Plugin reports whether a task of it is a storage plugin.
func (a *Alloc) Plugin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.group.Plugin()
}

// needs returns the providers that the allocation has something of.
func (a *Alloc) needs() (of []Provider) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.node.Providers {
		if p.Needs(a.alloc, a.group) {
			of = append(of, p)
		}
	}
	return of
}

// provide gives the allocation what it needs before its tasks. When one of them runs, it has it, and what is recorded is true:
// an agent that was restarted does not touch it. False: ctx ended.
func (a *Alloc) provide(ctx context.Context) bool {
	a.mu.Lock()
	runs := slices.ContainsFunc(a.tasks, func(t *task) bool { return t.handle != nil })
	a.mu.Unlock()
	if runs {
		return true
	}
	if a.provideAll(ctx, a.insist) == nil {
		for _, t := range a.tasks {
			t.given = true
		}
	}
	return ctx.Err() == nil // tasks of an allocation that ends find out by themselves
}

// provided gives a task what it needs that is started again: what kept it may have ended, with the machine or with an engine. Of what follows
// the end of the allocation, the error is that of the start, and it is tried again as that is.
func (t *task) provided(ctx context.Context) error {
	if t.given {
		t.given = false
		return nil
	}
	a := t.alloc
	a.providing.Lock()
	defer a.providing.Unlock()
	a.mu.Lock()
	follows := t.hook() == "poststop"
	a.mu.Unlock()
	if follows {
		return t.unlessUnwanted(ctx, func(ctx context.Context) error {
			return a.provideAll(ctx, func(ctx context.Context, p Provider, need *Need, given *store.Given) error {
				return p.Provide(ctx, need, given)
			})
		})
	}
	a.provideAll(ctx, a.insist) // an error: it ends, which the task finds out by itself
	return context.Cause(ctx)
}

// provideAll asks each provider by ask, and notes what they gave when all did.
func (a *Alloc) provideAll(ctx context.Context, ask func(context.Context, Provider, *Need, *store.Given) error) error {
	a.mu.Lock()
	need := &Need{Alloc: a.alloc, Job: a.job, Group: a.group, Dir: string(a.dir)}
	state := a.state
	a.mu.Unlock()
	providers := a.needs()
	if len(providers) == 0 {
		return nil
	}
	if need.Alloc.Plugged() {
		// A killed agent must know of it again: the region would be told that it never was here, and others be given what it has.
		for try := 0; ; try++ {
			err := a.node.Store.Commit(ctx, store.PutState(a.id, &state))
			if err == nil {
				break
			}
			a.waits(err.Error(), try == 0)
			if !sleep(ctx, nodeBackOff(try), nil) {
				return context.Cause(ctx)
			}
		}
	}
	given := &store.Given{}
	for _, p := range providers {
		if err := ask(ctx, p, need, given); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state.Given = given
	if a.state.Stop == "" {
		a.why = ""
	}
	a.node.Store.Enqueue(store.PutState(a.id, &a.state)) // durable with the first start that relies on it
	return nil
}

// insist asks one provider until it could, the allocation ends, or ctx does. An error: not all of it may be there, and none of it is needed.
func (a *Alloc) insist(ctx context.Context, p Provider, need *Need, given *store.Given) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.ending, cancel)()
	for try := 0; waiting.Err() == nil && a.ending.Err() == nil; try++ {
		err := p.Provide(waiting, need, given)
		if waiting.Err() != nil {
			break
		}
		if err == nil {
			return nil
		}
		if classify(err) != shortage || gaveUp(need.Alloc, try+1) && a.fresh() {
			a.end(err.Error(), true, false)
			break
		}
		a.waits(err.Error(), try == 0)
		sleep(waiting, nodeBackOff(try), nil)
	}
	return errInterrupted
}

// fresh reports whether no task was started yet.
func (a *Alloc) fresh() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status == structs.AllocPending
}

// waits says why the first task is not started yet.
func (a *Alloc) waits(why string, first bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state.Stop != "" {
		return
	}
	a.why = why
	if first {
		a.log.Warn("an allocation cannot be given what it needs now", "err", why)
		for _, t := range a.tasks {
			t.event("waiting", why)
		}
	}
	a.report()
}

// release takes back what the allocation was given. It goes on until that is done. False: ctx ended.
func (a *Alloc) release(ctx context.Context) bool {
	providers := a.needs()
	slices.Reverse(providers)
	for _, p := range providers {
		for try := 0; ; try++ {
			err := p.Release(ctx, a.id)
			if ctx.Err() != nil {
				return false
			}
			if err == nil {
				break
			}
			a.log.Warn("what an allocation was given cannot be taken back yet", "provider", p.Name(), "err", err)
			if !sleep(ctx, nodeBackOff(try), nil) {
				return false
			}
		}
	}
	return true
}
