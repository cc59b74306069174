package command

import (
	"context"
	"fmt"
)

func jobStop(e *Environment) *command {
	c := newCommand(e, "job stop", "JOB", "Stop a job").remote()
	c.about = "Stop a job: its tasks get their kill signal, and are killed after their kill timeout. Its record and versions are kept\nuntil it is purged."
	c.min, c.max = 1, 1
	c.predict = predictJobs(e)
	purge := c.flags.Bool("purge", false, "also forget the job")
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		if _, err := client.StopJob(ctx, args[0], *purge); err != nil {
			return err
		}
		verb := "is being stopped"
		if *purge {
			verb = "is being stopped and forgotten"
		}
		_, err = fmt.Fprintf(e.Out, "Job %q %s.\n", args[0], verb)
		return err
	}
	return c
}
