package command

import (
	"context"
	"fmt"
)

func frameworkTeardown(e *Environment) *command {
	c := newCommand(e, "framework teardown", "FRAMEWORK", "Remove an external framework").remote()
	c.about = "Remove an external framework: what runs of it is stopped, and what it reserved stays reserved for a while (orphan_age). Its id is\n" +
		"not taken again; with -forget, that of one that was removed is."
	c.min, c.max = 1, 1
	forget := c.flags.Bool("forget", false, "of one that was removed: its id may be taken again")
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		if _, err := client.TeardownFramework(ctx, args[0], *forget); err != nil {
			return err
		}
		is := "removed"
		if *forget {
			is = "forgotten"
		}
		_, err = fmt.Fprintf(e.Out, "Framework %q is %s.\n", args[0], is)
		return err
	}
	return c
}
