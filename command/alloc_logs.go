package command

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/proffer/proffer/agent/api"
)

func allocLogs(e *Environment) *command {
	c := newCommand(e, "alloc logs", "ALLOC [TASK]", "Print the output of a task").remote()
	c.about = "Print what a task wrote: its stdout to stdout, its stderr to stderr. With -f go on until the task has ended for good.\nWithout TASK it is the first main one, and with several it says so on stderr.\nWith -job the first argument is the name of a job, and one of its allocations is chosen, a running one before others."
	c.min, c.max = 1, 2
	c.predict = predictAllocs(e)
	follow := c.flags.Bool("f", false, "go on until the task has ended")
	stdout := c.flags.Bool("stdout", false, "only stdout")
	stderr := c.flags.Bool("stderr", false, "only stderr")
	tail := c.flags.Int64("tail", 0, "at most so many `BYTES` before the end. Default: all")
	job := c.flags.Bool("job", false, "the first argument is the name of a job")
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		a, task, err := e.taskOf(ctx, client, args, *job)
		if err != nil {
			return err
		}
		both := *stdout == *stderr
		req := &api.LogsRequest{Alloc: a.ID, Task: task, Stdout: *stdout || both, Stderr: *stderr || both, Follow: *follow, Tail: max(*tail, 0)}
		return client.Logs(ctx, req, func(f *api.LogFrame) error {
			out := e.Out
			if f.Stream == "stderr" {
				out = e.Err
			}
			_, err := out.Write(f.Data)
			return err
		})
	}
	return c
}

// taskOf is targetOf for a command that is about one task. When none was named and there are several, it says which one is meant.
func (e *Environment) taskOf(ctx context.Context, client *api.Client, args []string, isJob bool) (*api.AllocDetail, string, error) {
	a, task, err := targetOf(ctx, client, args, isJob)
	if err != nil || len(args) > 1 {
		return a, task, err
	}
	const most = 10
	names := slices.DeleteFunc(taskOrder(a), a.External.Guest) // those run in the process of their executor
	if n := len(names); n > most {
		names = append(names[:most], fmt.Sprintf("and %d more", n-most))
	}
	if len(names) > 1 {
		fmt.Fprintf(e.Err, "Task %s, out of: %s\n", task, strings.Join(names, ", "))
	}
	return a, task, nil
}

// targetOf is target for the arguments ALLOC [TASK].
func targetOf(ctx context.Context, client *api.Client, args []string, isJob bool) (*api.AllocDetail, string, error) {
	alloc, job, task := args[0], "", ""
	if isJob {
		alloc, job = "", args[0]
	}
	if len(args) > 1 {
		task = args[1]
	}
	return target(ctx, client, alloc, job, task)
}
