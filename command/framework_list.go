package command

import (
	"bytes"
	"context"
	"strings"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func frameworkList(e *Environment) *command {
	c := newCommand(e, "framework list", "", "List frameworks").reads()
	c.run = func(ctx context.Context, _ []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		list, _, err := api.Collect(ctx, nil, client.Frameworks)
		if err != nil {
			return err
		}
		return c.show(list, func(b *bytes.Buffer) error {
			if len(list) == 0 {
				b.WriteString("There are no frameworks.\n")
				return nil
			}
			t := newTable("ID", "NAME", "BUILT IN", "CONNECTED", "SINCE", "ROLES")
			for _, f := range list {
				t.row(structs.Short(f.ID), f.Name, yesNo(f.BuiltIn), connected(f), age(e.Now(), f.Since), orDash(strings.Join(f.Roles, ",")))
			}
			t.write(b)
			return nil
		})
	}
	return c
}

// connected says whether a framework is, or how it stands otherwise.
func connected(f *structs.Framework) string {
	if f.Ended != 0 {
		return "removed"
	}
	return yesNo(f.Connected)
}
