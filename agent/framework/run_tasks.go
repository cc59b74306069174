package framework

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/proffer/proffer/structs"
)

// TaskFunc does the work of one task. ctx ends when the task is to end; a task that was killed and returns is KILLED, whatever it returns.
// Otherwise nil is FINISHED, and an error FAILED with its text. say sends more news of the task while it runs, with its State.
type TaskFunc func(ctx context.Context, t *Launched, say func(TaskNews) error) error

// RunTasks is a whole executor: each task is a call of f in a goroutine of its own. It returns as ExecutorDriver.Run does, after all of them.
func RunTasks(ctx context.Context, d *ExecutorDriver, f TaskFunc) error {
	x := &functions{driver: d, f: f, live: map[string]context.CancelCauseFunc{}}
	err := d.Run(ctx, x)
	x.killAll()
	x.work.Wait()
	x.closing.Wait()
	return err
}

// functions runs tasks as goroutines.
type functions struct {
	driver  *ExecutorDriver
	f       TaskFunc
	work    sync.WaitGroup // of tasks
	closing sync.WaitGroup // of who waits for them

	mu   sync.Mutex
	live map[string]context.CancelCauseFunc
}

var errKilled = errors.New("the task is to end")

func (x *functions) Launch(ctx context.Context, t *Launched) {
	ctx, end := context.WithCancelCause(ctx)
	x.mu.Lock()
	if x.live[t.ID] != nil { // it runs
		x.mu.Unlock()
		end(nil)
		return
	}
	x.live[t.ID] = end
	x.mu.Unlock()
	x.work.Go(func() {
		defer end(nil)
		x.run(ctx, t)
		x.mu.Lock()
		delete(x.live, t.ID)
		x.mu.Unlock()
	})
}

func (x *functions) run(ctx context.Context, t *Launched) {
	// What is said of a task that is to end must arrive, too.
	saying := context.WithoutCancel(ctx)
	say := func(n TaskNews) error {
		n.Task = t.ID
		return x.driver.Update(saying, n)
	}
	err := say(TaskNews{State: structs.TaskRunning})
	if err == nil {
		err = x.f(ctx, t, say)
	}
	last := TaskNews{State: structs.TaskFinished}
	switch {
	case ctx.Err() != nil:
		last = TaskNews{State: structs.TaskKilled, Message: context.Cause(ctx).Error()}
	case err != nil:
		last = TaskNews{State: structs.TaskFailed, Message: err.Error()}
	}
	if len(last.Message) > 1024 {
		last.Message = last.Message[:1024]
	}
	if err := say(last); err != nil {
		x.driver.config.Log.Warn("the end of a task cannot be told", "task", t.ID, "err", err)
	}
}

func (x *functions) Kill(_ context.Context, task string, _ time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if end := x.live[task]; end != nil {
		end(errKilled)
	}
}

func (x *functions) killAll() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, end := range x.live {
		end(errKilled)
	}
}

// Shutdown returns when no task is left, so that the driver waits for what is told of their ends.
func (x *functions) Shutdown(ctx context.Context) {
	x.killAll()
	done := make(chan struct{})
	x.closing.Go(func() { x.work.Wait(); close(done) })
	select {
	case <-done:
	case <-ctx.Done():
	}
}
