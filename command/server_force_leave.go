package command

import (
	"context"
	"fmt"
)

func serverForceLeave(e *Environment) *command {
	c := newCommand(e, "server force-leave", "NAME", "Forget an agent that is gone for good").remote()
	c.about = `Say that an agent that failed or was stopped does not come back. A server leaves the Raft group at once. When it is
started all the same it is a member again.`
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
