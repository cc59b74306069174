package command

import (
	"context"
	"fmt"
)

func serverForceLeave(e *Environment) *command {
	c := newCommand(e, "server force-leave", "NAME", "Forget an agent that failed").remote()
	c.min, c.max = 1, 1
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		if _, err := client.ForceLeave(ctx, args[0]); err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Agent %q is forgotten.\n", args[0])
		return err
	}
	return c
}
