package runner

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/structs"
)

// A pod is what an external framework launches with the default executor: tasks that come and go in one allocation, each run as any other
// task. Those that were launched as a group end together. The allocation ends when none is left.
type pod struct {
	alloc *Alloc

	// The rest is under alloc.mu.
	ctx      context.Context // nil: it does not run yet
	left     int             // tasks that run
	closed   bool            // none is left, and it takes no more
	cut      bool            // ctx ended
	idle     chan struct{}   // closed with closed
	routines sync.WaitGroup
}

func newPod(a *Alloc) *pod {
	p := &pod{alloc: a, idle: make(chan struct{})}
	p.kills()
	return p
}

// run runs the tasks until none is left. False: ctx ended.
func (p *pod) run(ctx context.Context) bool {
	a := p.alloc
	a.mu.Lock()
	p.ctx = ctx
	for _, t := range a.tasks {
		if t.rec.Done {
			p.over(t)
		}
	}
	for _, t := range a.tasks {
		p.start(t)
	}
	if len(a.tasks) == 0 {
		p.closed = true
		close(p.idle)
	}
	a.mu.Unlock()
	<-p.idle
	p.routines.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	return !p.cut
}

// start runs one more task. The caller holds mu.
func (p *pod) start(t *task) {
	p.left++
	p.routines.Go(func() {
		went := t.run(p.ctx) && t.giveBack(p.ctx)
		p.alloc.mu.Lock()
		defer p.alloc.mu.Unlock()
		if t.limit != nil {
			t.limit.Stop()
		}
		if p.cut = p.cut || !went; went {
			p.over(t)
		}
		if p.left--; p.left == 0 {
			p.closed = true
			close(p.idle)
		} else if t.changed {
			p.alloc.report()
		}
	})
}

// over looks at how a task ended: one that did not end well takes with it what was launched together with it. The caller holds mu.
func (p *pod) over(t *task) {
	x := p.alloc.alloc.External.Named(t.name)
	if x == nil || !x.Together || t.rec.State.Status == structs.TaskFinished {
		return
	}
	why := fmt.Sprintf("task %q of its group is %s", x.ID, t.rec.State.Status)
	for _, other := range p.alloc.tasks {
		y := p.alloc.alloc.External.Named(other.name)
		if other != t && y != nil && y.Together && y.Launch == x.Launch {
			other.end(why)
		}
	}
}

// end has a task end, alone. The caller holds mu.
func (t *task) end(why string) {
	if t.ending == "" && !t.rec.Done {
		t.ending = why
		t.interrupt()
	}
}

// kills has those tasks end of which the framework wants it, or whose resources are taken back. The caller holds mu, or nobody else has the allocation yet.
func (p *pod) kills() {
	for _, t := range p.alloc.tasks {
		switch x := p.alloc.alloc.External.Named(t.name); {
		case x == nil:
		case x.Kill != nil:
			t.end("its framework killed it")
		case x.TakenBack != "":
			t.end(x.TakenBack)
		}
	}
}

// take brings in tasks that were added, and forgets those that the region forgot. The caller holds mu.
func (p *pod) take() {
	a := p.alloc
	a.tasks = slices.DeleteFunc(slices.Clone(a.tasks), func(t *task) bool {
		if !t.rec.Done || t.handle != nil || a.group.Task(t.name) != nil {
			return false
		}
		a.node.Store.Enqueue(store.DeleteTask(a.id, t.name))
		return true
	})
	for _, def := range a.group.Tasks {
		if a.task(def.Name) != nil || p.closed || a.state.Stop != "" {
			continue
		}
		t := newTask(a, def)
		a.tasks = append(a.tasks, t)
		if p.ctx != nil {
			p.start(t)
		}
	}
	p.kills()
	if p.ctx != nil && !p.closed {
		p.routines.Go(func() { a.keepPorts(p.ctx) })
	}
	a.report()
}

// limit ends a task that started when it may run no longer. The caller holds mu.
func (p *pod) limit(t *task) {
	x := p.alloc.alloc.External.Named(t.name)
	if x == nil || x.MaxRun <= 0 {
		return
	}
	left := max(0, x.MaxRun.Std()-time.Since(t.rec.State.Started.Std()))
	t.limit = time.AfterFunc(left, func() {
		p.alloc.mu.Lock()
		defer p.alloc.mu.Unlock()
		if !t.rec.Done && t.ending == "" {
			t.late = true
			t.end(fmt.Sprintf("max_completion_time of %s is over", x.MaxRun))
		}
	})
}

// failure says which task did not end as it should; empty: none. The caller holds mu.
func (p *pod) failure() string {
	for _, t := range p.alloc.tasks {
		switch t.rec.State.Status {
		case structs.TaskFinished, structs.TaskKilled, structs.TaskStaging:
		default:
			return fmt.Sprintf("task %q: %s", t.name, cmp.Or(t.rec.State.Why, string(t.rec.State.Status)))
		}
	}
	return ""
}
