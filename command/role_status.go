package command

import (
	"bytes"
	"cmp"
	"context"
	"strings"

	"github.com/proffer/proffer/structs"
)

func roleStatus(e *Environment) *command {
	c := newCommand(e, "role status", "ROLE", "Show a role").reads()
	c.min, c.max = 1, 1
	c.predict = predictRoles(e)
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		r, _, err := client.Role(ctx, args[0], nil)
		if err != nil {
			return err
		}
		return c.show(r, func(b *bytes.Buffer) error {
			var d details
			d.add("Role", r.Name)
			d.say("Description", r.Description)
			d.say("Owner", r.Owner)
			d.add("State", cmp.Or(r.State, structs.RoleOpen))
			d.add("Weight", weightOf(&r.Role))
			d.say("Default priority", r.DefaultPriority)
			d.add("Max priority", orDash(r.MaxPriority))
			if r.MaxAsk != nil {
				d.add("Max ask", amount(r.MaxAsk))
			}
			if r.MaxRunning > 0 {
				d.add("Max running", r.MaxRunning)
			}
			if r.MaxPending > 0 {
				d.add("Max pending", r.MaxPending)
			}
			d.say("Sorter", r.Sorter)
			if r.ShareByOwner {
				d.add("Shared by", "owner")
			}
			if r.UserLimit > 0 {
				d.add("User limit", r.UserLimit)
			}
			if r.MaxFrameworkShare > 0 {
				d.add("Framework share", r.MaxFrameworkShare)
			}
			d.add("Placement", orDash(r.Placement))
			d.add("Guarantee", guarantee(&r.Role))
			d.add("Limit", limit(&r.Role))
			d.add("Used", r.Used)
			d.add("Reserved", r.Reserved)
			d.add("Jobs", r.Jobs)
			d.write(b)
			return nil
		})
	}
	return c
}

func weightOf(r *structs.Role) structs.Milli {
	if r.Weight == 0 {
		return 1000
	}
	return r.Weight
}

func guarantee(r *structs.Role) string {
	if r.Quota == nil {
		return "-"
	}
	return amount(r.Quota.Guarantee)
}

func limit(r *structs.Role) string {
	if r.Quota == nil {
		return "-"
	}
	return amount(r.Quota.Limit)
}

func amount(q *structs.QuotaAmount) string {
	if q == nil {
		return "-"
	}
	var parts []string
	if q.CPU != nil {
		parts = append(parts, "cpu "+q.CPU.String())
	}
	if q.Memory != nil {
		parts = append(parts, "memory "+q.Memory.String())
	}
	if q.Disk != nil {
		parts = append(parts, "disk "+q.Disk.String())
	}
	for _, name := range sortedKeys(q.Custom) {
		parts = append(parts, name+" "+q.Custom[name].String())
	}
	return orDash(strings.Join(parts, ", "))
}
