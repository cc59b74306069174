//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/proffer/proffer/agent/framework"
	"github.com/proffer/proffer/structs"
)

// volley is a scheduler of the SDK that launches tasks until there are enough, and ends when all of them run.
type volley struct {
	driver            *framework.Driver
	tasks, each       int
	launched, running int
	end               context.CancelCauseFunc
}

var errAllRun = errors.New("all tasks run")

// Offers puts a group of tasks on each offer.
func (v *volley) Offers(ctx context.Context, offers []*framework.Offer) {
	for _, o := range offers {
		var group []*framework.Task
		for len(group) < v.each && v.launched < v.tasks {
			group = append(group, &framework.Task{ID: fmt.Sprint("task-", v.launched), Resources: structs.Resources{CPU: 10, Memory: 1 << 20},
				Command: &framework.Command{Args: []string{"/bin/sleep", "1"}}})
			v.launched++
		}
		if len(group) == 0 {
			continue
		}
		if err := v.driver.Accept(ctx, []*framework.Offer{o}, 0, framework.Launch(group)); err != nil {
			v.end(err)
		}
	}
}

// Update counts the tasks that run.
func (v *volley) Update(_ context.Context, u *framework.Update) error {
	switch u.State {
	case structs.TaskStarting:
		return nil
	case structs.TaskRunning:
	default:
		v.end(fmt.Errorf("task %s is told %s: %s", u.Task, u.State, u.Message))
	}
	if v.running++; v.running == v.tasks {
		v.end(errAllRun)
	}
	return nil
}

// measureSDK does what measureStream does through one driver of the SDK: the scheduler is one goroutine, and each of its launches is answered before the
// next. The figure beside it has its calls made side by side, by hand.
func measureSDK(ctx context.Context, b *bench) error {
	const nodes, tasks, each = 100, 40_000, 100
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	url, end, err := b.openStream(ctx, "sdk", nodes)
	if err != nil {
		return err
	}
	defer end()
	v := &volley{tasks: tasks, each: each}
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	v.end = stop
	if v.driver, err = framework.New(framework.Config{Name: "sdk", User: "root", Servers: []string{url}}); err != nil {
		return err
	}
	begun, used := time.Now(), processorTime()
	if err := v.driver.Run(running, v); !errors.Is(err, errAllRun) {
		return fmt.Errorf("%d of %d tasks run: %w", v.running, tasks, err)
	}
	took := time.Since(begun)
	used = processorTime() - used
	b.add(figure{What: "tasks through one scheduler of the SDK, 100 nodes", Unit: "tasks/s", Must: 2000, Aim: 10_000, Got: tasks / took.Seconds(), More: true,
		Note: fmt.Sprintf("%d tasks launched and told; %.0f µs CPU a task, three servers with fsync, nodes and scheduler in one process", tasks, 1e3*ms(used)/tasks)})
	return nil
}
