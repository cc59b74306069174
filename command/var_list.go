package command

import (
	"bytes"
	"context"
	"fmt"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func varList(e *Environment) *command {
	c := newCommand(e, "var list", "[PREFIX]", "List variables").reads()
	c.about = "List variables whose path begins with PREFIX, without their values. What frameworks keep begins with @."
	c.max = 1
	c.predict = predictVariables(e)
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		q := &api.Query{}
		if len(args) == 1 {
			q.Prefix = args[0]
		}
		list, _, err := api.Collect(ctx, q, client.Variables)
		if err != nil {
			return err
		}
		return c.show(list, func(b *bytes.Buffer) error {
			if len(list) == 0 {
				b.WriteString("There are no variables.\n")
				return nil
			}
			t := newTable("PATH", "SIZE", "SECRET", "VERSION", "MODIFIED", "BY", "EXPIRES")
			for _, v := range list {
				expires := "-"
				if v.Expires != 0 {
					expires = moment(v.Expires)
				}
				t.row(v.Path, v.Size.Human(), yesNo(v.Secret), v.Version, moment(v.Modified), orDash(v.Actor), expires)
			}
			t.write(b)
			return nil
		})
	}
	return c
}

func varRemove(e *Environment) *command {
	c := newCommand(e, "var rm", "PATH...", "Remove variables").remote()
	c.min, c.max = 1, -1
	c.predict = predictVariables(e)
	check := c.flags.Int64("check", -1, "only if this is its `VERSION` now")
	c.run = func(ctx context.Context, args []string) error {
		var version *uint64
		if *check >= 0 {
			if len(args) > 1 {
				return usagef("-check is for one variable")
			}
			version = new(uint64(*check))
		}
		client, err := e.client()
		if err != nil {
			return err
		}
		for _, path := range args {
			if err := structs.VariableProblem(path); err != nil {
				return err
			}
			if _, err := client.DeleteVariable(ctx, path, version); err != nil {
				return err
			}
			fmt.Fprintf(e.Out, "Variable %q is removed.\n", path)
		}
		return nil
	}
	return c
}
