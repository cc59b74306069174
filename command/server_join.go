package command

import (
	"context"
	"fmt"
)

func serverJoin(e *Environment) *command {
	c := newCommand(e, "server join", "ADDRESS...", "Have the agent join others").remote()
	c.about = "Have the agent join others, by the addresses (host:port) of their cluster ports."
	c.min, c.max = 1, 100
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		done, err := client.JoinServers(ctx, args...)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Joined %d of %d.\n", done.Joined, len(args))
		return err
	}
	return c
}
