package command

import (
	"bytes"
	"context"
	"fmt"
)

func serverMembers(e *Environment) *command {
	c := newCommand(e, "server members", "", "List the agents of the pool").reads()
	c.about = "List the agents that gossip with this one, as it sees them."
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

func serverJoin(e *Environment) *command {
	c := newCommand(e, "server join", "ADDRESS...", "Have the agent join others").remote()
	c.about = "Have the agent join others, by the addresses (host:port) of their cluster ports."
	c.min, c.max = 1, 100
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		done, err := client.JoinServers(ctx, args...)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Joined %d of %d.\n", done.Joined, len(args))
		return err
	}
	return c
}

func serverForceLeave(e *Environment) *command {
	c := newCommand(e, "server force-leave", "NAME", "Forget an agent that failed").remote()
	c.min, c.max = 1, 1
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		if _, err := client.ForceLeave(ctx, args[0]); err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Agent %q is forgotten.\n", args[0])
		return err
	}
	return c
}
