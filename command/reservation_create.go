package command

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/proffer/proffer/structs"
)

func reservationCreate(e *Environment) *command {
	c := newCommand(e, "reservation create", "NODE ROLE", "Set room on a node aside for a role").remote()
	c.about = "Set room on a node aside for a role: its work and that of the roles below it go there first, and nobody else gets the\n" +
		"room. With -refines it is taken out of what is reserved there for a role above."
	c.min, c.max = 2, 2
	c.predict = predictNodes(e)
	cpu := c.flags.String("cpu", "", "`CORES` to reserve")
	memory := c.flags.String("memory", "", "`SIZE` of memory to reserve, such as 4GiB")
	disk := c.flags.String("disk", "", "`SIZE` of disk to reserve")
	ports := c.flags.String("ports", "", "`PORTS` of the node's port range to reserve, such as 31000-31009,31020: the role's work gets them by naming them")
	var custom, labels listFlag
	c.flags.Var(&custom, "custom", "any other scalar to reserve, `NAME=AMOUNT`; may be repeated")
	c.flags.Var(&labels, "label", "a label, `NAME=VALUE`; may be repeated")
	refines := c.flags.String("refines", "", "a `ROLE` above, out of whose reserved room it is taken")
	owner := c.flags.String("owner", "", "the `FRAMEWORK` that owns it, by id: some time after that one is removed, it is released")
	from := c.flags.String("from", "", "`TIME` from which the room is needed: until then, work that ends before may have it. A time (RFC 3339), or a time span from now")
	until := c.flags.String("until", "", "`TIME` at which it is released, likewise")
	force := c.flags.Bool("force", false, "also when others hold the room: the role gets it as it becomes free")
	c.run = func(ctx context.Context, args []string) error {
		r := &structs.Reservation{Role: args[1], Refines: *refines, Owner: structs.FrameworkID(*owner)}
		var err error
		if *cpu != "" {
			if r.Resources.CPU, err = structs.ParseMilli(*cpu); err != nil {
				return usagef("-cpu: %s", err)
			}
		}
		if *memory != "" {
			if r.Resources.Memory, err = structs.ParseBytes(*memory); err != nil {
				return usagef("-memory: %s", err)
			}
		}
		if *disk != "" {
			if r.Resources.Disk, err = structs.ParseBytes(*disk); err != nil {
				return usagef("-disk: %s", err)
			}
		}
		if *ports != "" {
			named, err := structs.ParseRanges(*ports)
			if err != nil {
				return usagef("-ports: %s", err)
			}
			r.Resources = r.Resources.Add(structs.OfPorts(named))
		}
		for _, text := range custom {
			name, amount, _ := strings.Cut(text, "=")
			v, err := structs.ParseMilli(amount)
			if err != nil {
				return usagef("-custom %q: %s", text, err)
			}
			r.Resources = r.Resources.Add(structs.Resources{Custom: map[string]structs.Milli{name: v}})
		}
		for _, text := range labels {
			name, value, ok := strings.Cut(text, "=")
			if !ok {
				return usagef("-label: %q is not NAME=VALUE", text)
			}
			if r.Labels == nil {
				r.Labels = map[string]string{}
			}
			r.Labels[name] = value
		}
		if r.From, err = pointInTime(*from, e.Now()); err != nil {
			return usagef("-from: %s", err)
		}
		if r.Until, err = pointInTime(*until, e.Now()); err != nil {
			return usagef("-until: %s", err)
		}
		if err := r.Problems().Err(); err != nil {
			return err
		}
		client, id, err := e.clientNode(ctx, args[0])
		if err != nil {
			return err
		}
		r.Node = structs.NodeID(id)
		done, err := client.Reserve(ctx, r, *force)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Reservation %s: %s on node %s for role %q.\n", structs.Short(done.ID), r.Resources, args[0], r.Role)
		return err
	}
	return c
}

// pointInTime reads a time, or a span from now; zero for nothing.
func pointInTime(text string, now time.Time) (structs.Time, error) {
	if text == "" {
		return 0, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return structs.At(t), nil
	}
	d, err := structs.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is neither a time such as 2030-01-02T15:04:05Z nor a time span such as 2h", text)
	}
	return structs.At(now).Add(d), nil
}
