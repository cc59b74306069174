package command

import (
	"context"
	"fmt"
)

func roleDelete(e *Environment) *command {
	c := newCommand(e, "role delete", "ROLE", "Remove a role that nothing uses").remote()
	c.min, c.max = 1, 1
	force := c.flags.Bool("force", false, "also when jobs or frameworks use it: their work goes on, with weight 1 and without a quota")
	c.predict = predictRoles(e)
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		if _, err := client.DeleteRole(ctx, args[0], *force); err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Role %q is removed.\n", args[0])
		return err
	}
	return c
}
