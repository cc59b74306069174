package command

import (
	"context"
	"fmt"
)

func nodePurge(e *Environment) *command {
	c := newCommand(e, "node purge", "NODE", "Forget a node that is lost or left").remote()
	c.about = "Have the region forget a node that is lost or left: what it held ends as lost. When it comes back, it registers anew and ends\nwhat is not wanted there any more."
	c.min, c.max = 1, 1
	c.predict = predictNodes(e)
	c.run = func(ctx context.Context, args []string) error {
		client, id, err := e.clientNode(ctx, args[0])
		if err != nil {
			return err
		}
		if _, err := client.PurgeNode(ctx, id); err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Node %s is forgotten.\n", args[0])
		return err
	}
	return c
}
