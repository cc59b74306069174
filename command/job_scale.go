package command

import (
	"context"
	"fmt"
	"strconv"
)

func jobScale(e *Environment) *command {
	c := newCommand(e, "job scale", "JOB [GROUP] COUNT", "Set how many allocations of a group are wanted").remote()
	c.about = "Set how many allocations of a group are wanted. GROUP may be left out when the job has one. COUNT reset goes back to\nthe count in the job's text."
	c.min, c.max = 2, 3
	c.predict = predictJobs(e)
	c.run = func(ctx context.Context, args []string) error {
		group, text := "", args[len(args)-1]
		if len(args) == 3 {
			group = args[1]
		}
		count := -1
		if text != "reset" {
			n, err := strconv.ParseUint(text, 10, 31)
			if err != nil {
				return usagef("%q is not a count", text)
			}
			count = int(n)
		}
		client, err := e.client()
		if err != nil {
			return err
		}
		if _, err := client.ScaleJob(ctx, args[0], group, count); err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Job %q is being scaled.\n", args[0])
		return err
	}
	return c
}
