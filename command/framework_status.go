package command

import (
	"bytes"
	"context"
	"fmt"
	"strings"
)

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
			if h := f.Hoarding; h != nil {
				d.add("Hoarding", fmt.Sprintf("it let %d offers in a row end without an answer, since %s", h.Ignored, age(e.Now(), h.Since)))
			}
			d.write(b)
			return nil
		})
	}
	return c
}
