package command

import (
	"context"
	"fmt"
)

func nodePurge(e *Environment) *command {
	c := newCommand(e, "node purge", "NODE", "Forget a node that is lost or left").remote()
	c.min, c.max = 1, 1
	c.predict = predictNodes(e)
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		id, err := nodeID(ctx, client, args[0])
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
