package command

import (
	"bytes"
	"context"
	"slices"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func reservationList(e *Environment) *command {
	c := newCommand(e, "reservation list", "", "List what is reserved on nodes for roles").reads()
	node := c.flags.String("node", "", "only on this `NODE`")
	role := c.flags.String("role", "", "only for this `ROLE` and those below it")
	orphans := c.flags.Bool("orphans", false, "only those whose framework was removed; they are released some time after that")
	c.run = func(ctx context.Context, _ []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		var on string
		if *node != "" {
			id, err := nodeID(ctx, client, *node)
			if err != nil {
				return err
			}
			n, _, err := client.Node(ctx, id, nil)
			if err != nil {
				return err
			}
			on = string(n.ID)
		}
		list, _, err := api.Collect(ctx, nil, client.Reservations)
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(list, func(r *structs.Reservation) bool {
			return on != "" && string(r.Node) != on || *role != "" && !structs.RoleWithin(r.Role, *role) || *orphans && r.Orphaned.IsZero()
		})
		return c.show(list, func(b *bytes.Buffer) error {
			if len(list) == 0 {
				b.WriteString("There are no reservations.\n")
				return nil
			}
			t := newTable("ID", "NODE", "ROLE", "RESOURCES", "FROM", "UNTIL", "OWNER", "BY")
			for _, r := range list {
				id, role, owner := structs.Short(r.ID), r.Role, orDash(structs.Short(r.Owner))
				if r.Static {
					id = "static"
				}
				if r.Refines != "" {
					role += " (of " + r.Refines + ")"
				}
				if !r.Orphaned.IsZero() {
					owner += ", gone " + age(e.Now(), r.Orphaned)
				}
				t.row(id, r.NodeName, role, r.Resources, timeOrDash(r.From), timeOrDash(r.Until), owner, orDash(r.Principal))
			}
			t.write(b)
			return nil
		})
	}
	return c
}

func timeOrDash(t structs.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.String()
}
