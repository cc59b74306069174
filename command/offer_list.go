package command

import (
	"bytes"
	"context"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func offerList(e *Environment) *command {
	c := newCommand(e, "offer list", "", "List the outstanding offers").reads()
	c.run = func(ctx context.Context, _ []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		list, _, err := api.Collect(ctx, nil, client.Offers)
		if err != nil {
			return err
		}
		return c.show(list, func(b *bytes.Buffer) error {
			if len(list) == 0 {
				b.WriteString("There are no offers.\n")
				return nil
			}
			t := newTable("ID", "FRAMEWORK", "ROLE", "NODE", "AGE", "EXPIRES IN", "RESOURCES")
			for _, o := range list {
				t.row(string(o.ID), structs.Short(o.Framework), o.Role, o.NodeName, age(e.Now(), o.Made), span(o.Expires.Std().Sub(e.Now())), o.Text())
			}
			t.write(b)
			return nil
		})
	}
	return c
}
