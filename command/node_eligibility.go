package command

import (
	"context"
	"fmt"
)

func nodeEligibility(e *Environment) *command {
	c := newCommand(e, "node eligibility", "NODE on|off", "Let work be placed on a node, or not").remote()
	c.min, c.max = 2, 2
	c.predict = predictNodes(e)
	reason := c.flags.String("reason", "", "why it takes no new work, for people")
	c.run = func(ctx context.Context, args []string) error {
		if args[1] != "on" && args[1] != "off" {
			return usagef("%q is not on or off", args[1])
		}
		client, id, err := e.clientNode(ctx, args[0])
		if err != nil {
			return err
		}
		if _, err := client.SetEligibility(ctx, id, args[1] == "on", *reason); err != nil {
			return err
		}
		verb := "takes work"
		if args[1] == "off" {
			verb = "takes no new work"
		}
		_, err = fmt.Fprintf(e.Out, "Node %s %s.\n", args[0], verb)
		return err
	}
	return c
}
