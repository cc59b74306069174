package command

import (
	"context"

	"github.com/proffer/proffer/agent/api"
)

func allocLogs(e *Environment) *command {
	c := newCommand(e, "alloc logs", "ALLOC [TASK]", "Print the output of a task").remote()
	c.about = "Print what a task wrote: its stdout to stdout, its stderr to stderr. With -f go on until the task has ended for good.\nWith -job the first argument is the name of a job, and one of its allocations is chosen, a running one before others."
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
		a, task, err := targetOf(ctx, client, args, *job)
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
