package command

import (
	"bytes"
	"context"
)

func serverMembers(e *Environment) *command {
	c := newCommand(e, "server members", "", "List the agents of the pool").reads()
	c.about = `List the agents that gossip with this one, as it sees them: alive, failed when it does not answer, left when it
was stopped, and removed when an operator said that it does not come back.`
	c.run = func(ctx context.Context, _ []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		list, err := client.Members(ctx)
		if err != nil {
			return err
		}
		return c.show(list, func(b *bytes.Buffer) error {
			t := newTable("NAME", "ADDRESS", "ROLE", "STATUS", "LEADER", "VERSION")
			for _, m := range list {
				t.row(m.Name, m.Address, m.Role, m.Status, yesNo(m.Leader), orDash(m.Version))
			}
			t.write(b)
			return nil
		})
	}
	return c
}
