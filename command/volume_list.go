package command

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func volumeList(e *Environment) *command {
	c := newCommand(e, "volume list", "", "List volumes").reads()
	node := c.flags.String("node", "", "only on this `NODE`, or attached to it")
	role := c.flags.String("role", "", "only of this `ROLE` and those below it")
	deleted := c.flags.Bool("deleted", false, "only those that are deleted, with the time at which their data is removed")
	c.run = func(ctx context.Context, _ []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		var on string
		if *node != "" {
			if on, err = nodeID(ctx, client, *node); err != nil {
				return err
			}
		}
		list, _, err := api.Collect(ctx, nil, client.Volumes)
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(list, func(v *structs.Volume) bool {
			return on != "" && string(v.Node) != on && v.AttachedTo(structs.NodeID(on)) == nil ||
				*role != "" && !structs.RoleWithin(v.Role, *role) ||
				*deleted && v.Status != structs.VolumeDeleted && v.Status != structs.VolumePurging
		})
		return c.show(list, func(b *bytes.Buffer) error {
			if len(list) == 0 {
				b.WriteString("There are no volumes.\n")
				return nil
			}
			t := newTable("NAME", "SIZE", "ACCESS", "NODE", "DISK", "ROLE", "STATUS", "MADE BY")
			for _, v := range list {
				t.row(v.Name, v.Size.Human(), v.Access, orDash(v.NodeName), orDash(v.Disk), v.Role, volumeState(v), orDash(madeBy(v)))
			}
			t.write(b)
			return nil
		})
	}
	return c
}

func volumeState(v *structs.Volume) string {
	if v.Status == structs.VolumeDeleted {
		return fmt.Sprintf("deleted, until %s", v.Purge)
	}
	if v.Orphaned != 0 {
		return string(v.Status) + ", orphaned"
	}
	return string(v.Status)
}
