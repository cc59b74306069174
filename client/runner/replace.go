package runner

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// replaceLimit is how long an allocation that is replaced runs on for what its replacement needs.
const replaceLimit = 5 * time.Minute

// Replace ends the allocation as Stop does, after the node has got what a newer version of its job needs and may take long: the images
// of its tasks. So the time without either is that of a stop and a start. It is got for the next allocation, which may come
// here; what cannot be got, or not in time, holds up nothing. Replace returns when the stop has begun, or ctx ended.
func (a *Alloc) Replace(ctx context.Context, next *structs.JobVersion, why string) {
	a.mu.Lock()
	group := next.Job.Group(a.group.Name)
	again := a.replaced
	a.replaced = true
	a.mu.Unlock()
	if again { // the region says it with each new session
		return
	}
	defer a.Stop(why)
	if group == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, replaceLimit)
	defer cancel()
	stop := context.AfterFunc(a.ending, cancel) // somebody else ends it
	defer stop()
	var all sync.WaitGroup
	for _, def := range group.Tasks {
		all.Go(func() { a.prepareNext(ctx, next, group, def) })
	}
	all.Wait()
}

// prepareNext gets what a task of a newer version needs.
func (a *Alloc) prepareNext(ctx context.Context, next *structs.JobVersion, group *structs.Group, def *structs.Task) {
	driver, _ := a.node.Drivers[def.Driver].(interface {
		drivers.Driver
		drivers.Preparer
	})
	if driver == nil {
		return
	}
	a.mu.Lock()
	t := a.task(def.Name)
	a.mu.Unlock()
	tells := t != nil
	if !tells {
		t = &task{alloc: a, name: def.Name, def: def} // one that only the newer version has
	}
	spec, scope, err := t.specOf(ctx, driver, fmt.Sprintf("%s/%s/next", a.id, def.Name), next, group, def)
	var logins map[string]*structs.ImageLogin
	if err == nil {
		logins, err = scope.Logins() // as far as the node has them already
	}
	if err == nil {
		useLogins(spec, logins)
		if spec.Event = nil; tells {
			spec.Event = func(_, text string) { t.progress("replacing", fmt.Sprintf("version %d: %s", next.Version, text)) }
		}
		err = driver.Prepare(ctx, spec)
	}
	if err != nil {
		a.log.Info("what a newer version needs is not there before its start", "task", def.Name, "version", next.Version, "err", err)
	}
}
