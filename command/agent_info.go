package command

import (
	"bytes"
	"context"
	"strings"

	"github.com/proffer/proffer/structs"
)

func agentInfo(e *Environment) *command {
	c := newCommand(e, "agent-info", "", "Show what the agent says of itself").reads()
	health := c.flags.Bool("health", false, "only say whether it does its work, with the exit code")
	c.run = func(ctx context.Context, _ []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		if *health {
			h, err := client.Health(ctx)
			if err != nil {
				return err
			}
			return c.show(h, func(b *bytes.Buffer) error { b.WriteString("healthy\n"); return nil })
		}
		self, err := client.Self(ctx)
		if err != nil {
			return err
		}
		return c.show(self, func(b *bytes.Buffer) error {
			var roles []string
			if self.Server {
				roles = append(roles, "server")
			}
			if self.Client {
				roles = append(roles, "client")
			}
			if self.Dev {
				roles = append(roles, "dev")
			}
			var d details
			d.add("Name", self.Name)
			d.add("Version", self.Version)
			d.add("Region", self.Region)
			d.add("Datacenter", self.Datacenter)
			d.add("Mode", strings.Join(roles, ", "))
			d.say("Node", structs.Short(self.Node))
			d.add("Leader", orDash(self.Leader))
			for _, name := range sortedKeys(self.Stats) {
				d.add(name, self.Stats[name])
			}
			d.write(b)
			return nil
		})
	}
	return c
}
