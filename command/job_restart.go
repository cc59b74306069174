package command

import (
	"context"
	"fmt"
)

func jobRestart(e *Environment) *command {
	c := newCommand(e, "job restart", "JOB", "Replace all allocations of a job").remote()
	c.about = "Replace all allocations of a job, as many at a time as its update block allows. It goes on without this command.\nThe work of a batch job runs again."
	c.min, c.max = 1, 1
	c.predict = predictJobs(e)
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		if _, err := client.RestartJob(ctx, args[0]); err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Job %q is being restarted.\n", args[0])
		return err
	}
	return c
}
