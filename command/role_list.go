package command

import (
	"bytes"
	"context"

	"github.com/proffer/proffer/agent/api"
)

func roleList(e *Environment) *command {
	c := newCommand(e, "role list", "", "List roles and what they use").reads()
	c.run = func(ctx context.Context, _ []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		roles, _, err := api.Collect(ctx, nil, client.Roles)
		if err != nil {
			return err
		}
		return c.show(roles, func(b *bytes.Buffer) error {
			if len(roles) == 0 {
				b.WriteString("There are no roles.\n")
				return nil
			}
			t := newTable("ROLE", "WEIGHT", "MAX PRIORITY", "JOBS", "USED", "GUARANTEE", "LIMIT")
			for _, r := range roles {
				t.row(r.Name, weightOf(&r.Role), orDash(r.MaxPriority), r.Jobs, r.Used, guarantee(&r.Role), limit(&r.Role))
			}
			t.write(b)
			return nil
		})
	}
	return c
}
