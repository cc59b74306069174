package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/proffer/proffer/structs"
)

func volumeCreate(e *Environment) *command {
	c := newCommand(e, "volume create", "NAME", "Make a volume").remote()
	c.about = "Make a volume: a folder on the disk of a node that outlives the work which uses it. It is on the node that is named, or,\n" +
		"without one, where the first work that uses it goes; work that uses it goes there from then on."
	c.min, c.max = 1, 1
	size := c.flags.String("size", "", "`SIZE` that it takes of the disk, such as 10GiB; needed")
	node := c.flags.String("node", "", "the `NODE` that it is on")
	role := c.flags.String("role", structs.DefaultRole, "the `ROLE` whose work may use it, with that of the roles below")
	access := c.flags.String("access", string(structs.AccessExclusive), "`WHO` may use it at the same time: exclusive (one allocation), single_writer (one that writes, any that read) or shared (any)")
	var labels listFlag
	c.flags.Var(&labels, "label", "a label, `NAME=VALUE`; may be repeated")
	c.run = func(ctx context.Context, args []string) error {
		v := &structs.Volume{Name: args[0], Role: *role, Access: structs.VolumeAccess(*access)}
		var err error
		if v.Size, err = structs.ParseBytes(*size); err != nil {
			return usagef("-size: %s", err)
		}
		for _, text := range labels {
			name, value, ok := strings.Cut(text, "=")
			if !ok {
				return usagef("-label: %q is not NAME=VALUE", text)
			}
			if v.Labels == nil {
				v.Labels = map[string]string{}
			}
			v.Labels[name] = value
		}
		if err := v.Problems().Err(); err != nil {
			return err
		}
		client, err := e.client()
		if err != nil {
			return err
		}
		where := "where the first work that uses it goes"
		if *node != "" {
			id, err := nodeID(ctx, client, *node)
			if err != nil {
				return err
			}
			v.Node, where = structs.NodeID(id), "on node "+*node
		}
		if _, err := client.CreateVolume(ctx, v); err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Volume %q is made: %s, %s, %s.\n", v.Name, v.Size.Human(), v.Access, where)
		return err
	}
	return c
}
