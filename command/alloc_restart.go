package command

import (
	"context"
	"fmt"
)

func allocRestart(e *Environment) *command {
	c := newCommand(e, "alloc restart", "ALLOC [TASK]", "Restart tasks on their node, or signal them").remote()
	c.about = "Restart a task of an allocation, or all of them, in place. With -signal only send a signal."
	c.min, c.max = 1, 2
	c.predict = predictAllocs(e)
	signal := c.flags.String("signal", "", "send this `SIGNAL`, such as SIGHUP, and restart nothing")
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		task := ""
		if len(args) == 2 {
			task = args[1]
		}
		verb := "is being restarted"
		if *signal != "" {
			verb = "was sent " + *signal
			_, err = client.SignalAllocation(ctx, args[0], task, *signal)
		} else {
			_, err = client.RestartAllocation(ctx, args[0], task)
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Allocation %s %s.\n", joinNonEmpty("/", args[0], task), verb)
		return err
	}
	return c
}
