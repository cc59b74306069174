package runner

import (
	"context"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// The limits of a custom executor's process follow its tasks: it has what it holds itself, and what those of its tasks may use that did
// not end. A task is given to it once it has room for that, and what a task had is taken back when the executor says that it ended.

// leastMemory is the least that such a process may use: executors hold too little, or nothing at all, and have to live between two tasks.
const leastMemory = 32 << 20

// shrinkAgain is how often memory is asked back that is in use.
const shrinkAgain = 10 * time.Second

// limitsOf sums up. CPU is bounded when one of the tasks says a limit, which the others then hold for theirs; memory always is, unless one
// has no bound. What of its cores is revocable has no weight against others.
func limitsOf(own structs.Resources, revocable structs.Slack, tasks []*structs.ExternalTask) drivers.Limits {
	l := drivers.Limits{CPU: own.CPU - revocable.CPU, Memory: own.Memory, Revocable: !revocable.IsZero()}
	cpu, memory, bounded := own.CPU, own.Memory, false
	for _, t := range tasks {
		l.CPU, l.Memory = l.CPU+t.Resources.CPU-t.Revocable.Amount().CPU, l.Memory+t.Resources.Memory
		l.Revocable = l.Revocable || !t.Revocable.Amount().IsZero()
		bounded = bounded || t.CPULimit > 0
		cpu += max(t.CPULimit, t.Resources.CPU)
		memory += max(t.MemoryMax, t.Resources.Memory)
	}
	l.CPU = max(l.CPU, 1)
	if bounded && cpu < structs.Boundless {
		l.CPULimit = cpu
	}
	if l.MemoryMax = max(memory, leastMemory); memory >= structs.Boundless {
		l.Memory, l.MemoryMax = 0, 0
	}
	return l
}

// cover reports whether limits leave room for others.
func cover(has, want drivers.Limits) bool {
	reach := func(has, want int64) bool { return has == 0 || want != 0 && want <= has }
	return want.CPU <= has.CPU && reach(int64(has.CPULimit), int64(want.CPULimit)) && reach(int64(has.Hard()), int64(want.Hard()))
}

// sum is what the process may use now, def being what it is.
func (e *Executor) sum(def *structs.Task) drivers.Limits {
	e.alloc.mu.Lock()
	defer e.alloc.mu.Unlock()
	return e.sumLocked(def)
}

func (e *Executor) sumLocked(def *structs.Task) drivers.Limits {
	x := e.alloc.alloc.External
	own := x.Own
	own.Memory += def.InMemory() // its files there are its memory
	return limitsOf(own, x.OwnRevocable.Amount(), e.lasting())
}

// lasting are its tasks that did not end. The caller holds mu.
func (e *Executor) lasting() (tasks []*structs.ExternalTask) {
	for _, g := range e.guests {
		if !g.rec.Done {
			tasks = append(tasks, g.x)
		}
	}
	return tasks
}

// process is that of the executor; nil: its allocation has none.
func (e *Executor) process() *task {
	if of := e.alloc.of("", false); len(of) > 0 {
		return of[0]
	}
	return nil
}

// tasksChanged notes that tasks came or ended. The caller holds mu.
func (e *Executor) tasksChanged() {
	if p := e.alloc.tasks; len(p) > 0 {
		e.limited = e.limited && cover(e.limits, e.sumLocked(p[0].def))
	}
	select {
	case e.resum <- struct{}{}:
	default:
	}
	e.turn()
}

// keepLimits gives the process the limits that it shall have, after its start, after one of the agent, and whenever they change, until
// ctx ends.
func (e *Executor) keepLimits(ctx context.Context) {
	a, process := e.alloc, e.begun(ctx)
	if process == nil {
		return
	}
	owed := false // memory that it did not give back
	for try := 0; ; {
		a.mu.Lock()
		want, has, told, handle := e.sumLocked(process.def), e.limits, e.limited, process.handle
		a.mu.Unlock()
		var wait time.Duration // 0: for a change
		if handle != nil && (!told || owed || want != has) {
			err := handle.Limit(ctx, want)
			kind := structs.KindOf(err)
			owed = owed && err != nil || kind == structs.Exhausted
			switch {
			case err == nil || kind == structs.Exhausted: // all but that its memory is less
				e.hasLimits(process, want, owed)
				if try = 0; owed {
					wait = shrinkAgain
				}
			case kind == structs.Conflict || kind == structs.NotFound: // it ended
				return
			case kind == structs.Invalid: // a supervisor of before that stayed; its tasks are not held up for that
				a.log.Warn("the limits of an executor stay as they are", "err", err)
				e.hasLimits(process, want, false)
			default:
				if try == 0 && ctx.Err() == nil {
					a.log.Warn("the limits of an executor cannot be changed now; its new tasks wait", "err", err)
				}
				wait = nodeBackOff(try)
				try++
			}
		}
		if wait > 0 {
			sleep(ctx, wait, e.resum)
		} else {
			select {
			case <-e.resum:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// hasLimits notes what the process has, which may use more memory when it did not give that back, and lets it have the tasks for which
// there is room.
func (e *Executor) hasLimits(process *task, now drivers.Limits, more bool) {
	a := e.alloc
	a.mu.Lock()
	defer a.mu.Unlock()
	if more {
		now.Memory, now.MemoryMax = max(now.Memory, e.limits.Memory), max(now.MemoryMax, e.limits.MemoryMax)
	}
	e.limits, e.limited = now, cover(now, e.sumLocked(process.def))
	e.stream.poke()
}
