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
				t.row(structs.Short(f.ID), f.Name, yesNo(f.BuiltIn), yesNo(f.Connected), age(e.Now(), f.Since), orDash(strings.Join(f.Roles, ",")))
			}
			t.write(b)
			return nil
		})
	}
	return c
}

func frameworkStatus(e *Environment) *command {
	c := newCommand(e, "framework status", "FRAMEWORK", "Show a framework").reads()
	c.min, c.max = 1, 1
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		f, _, err := client.Framework(ctx, args[0], nil)
		if err != nil {
			return err
		}
		return c.show(f, func(b *bytes.Buffer) error {
			var d details
			d.add("ID", f.ID)
			d.add("Name", f.Name)
			d.say("User", f.User)
			d.add("Roles", orDash(strings.Join(f.Roles, ", ")))
			d.add("Built in", yesNo(f.BuiltIn))
			d.add("Connected", yesNo(f.Connected)+", since "+age(e.Now(), f.Since))
			d.add("Failover timeout", f.FailoverTimeout)
			d.write(b)
			return nil
		})
	}
	return c
}

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
				t.row(structs.Short(o.ID), structs.Short(o.Framework), o.Role, o.NodeName, age(e.Now(), o.Made), span(o.Expires.Std().Sub(e.Now())), o.Resources)
			}
			t.write(b)
			return nil
		})
	}
	return c
}
