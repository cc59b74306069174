package command

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func roleStatus(e *Environment) *command {
	c := newCommand(e, "role status", "[ROLE]", "Show how roles stand, or one role").reads()
	c.about = "Show the tree of roles: the share that each has of the region, its place among its siblings of which something waits in\n" +
		"the same band, what runs and waits; with ROLE, all about that role: bounds, use, place and why, and its frameworks."
	c.max = 1
	c.predict = predictRoles(e)
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		if len(args) == 0 {
			all, err := client.Shares(ctx, "")
			if err != nil {
				return err
			}
			return c.show(all, func(b *bytes.Buffer) error { writeShares(b, all); return nil })
		}
		r, _, err := client.Role(ctx, args[0], nil)
		if err != nil {
			return err
		}
		shares, err := client.Shares(ctx, args[0])
		if kind := structs.KindOf(err); err != nil && kind != structs.Unavailable && kind != structs.NotFound {
			return err
		}
		if err == nil {
			r.Standing = shares[0]
		}
		return c.show(r, func(b *bytes.Buffer) error { writeRole(b, r); return nil })
	}
	return c
}

// writeShares draws the tree of roles.
func writeShares(b *bytes.Buffer, all []*structs.RoleStanding) {
	if len(all) == 0 {
		b.WriteString("There are no roles.\n")
		return
	}
	t := newTable("ROLE", "WEIGHT", "SHARE", "PLACE", "RUNNING", "WAITING", "USED", "GUARANTEE", "LIMIT")
	for _, s := range all {
		depth := strings.Count(s.Role, "/")
		name := s.Role[strings.LastIndexByte(s.Role, '/')+1:]
		t.row(strings.Repeat("  ", depth)+name, s.Weight, s.Share, placeOf(s), s.Running, s.Waiting, s.Used, amount(s.Guarantee), amount(s.Limit))
	}
	t.write(b)
}

// placeOf says in a few words where a role stands among its siblings.
func placeOf(s *structs.RoleStanding) string {
	switch {
	case s.Rank != nil:
		return fmt.Sprintf("%d of %d in %s", s.Rank.At, s.Rank.Of, s.Band)
	case s.Waiting == 0:
		return "-"
	case s.Blocked != "":
		return "bounds of " + s.Blocked
	}
	return "held back"
}

func writeRole(b *bytes.Buffer, r *api.RoleStatus) {
	var d details
	d.add("Role", r.Name)
	d.say("Description", r.Description)
	d.say("Owner", r.Owner)
	d.add("State", cmp.Or(r.State, structs.RoleOpen))
	if r.Sealed {
		d.add("Roles below", "by role apply only")
	}
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
	s := r.Standing
	if s == nil {
		d.write(b)
		return
	}
	d.add("Share", fmt.Sprintf("%s of the region, with what is decided or offered (%s)", s.Share, s.Used))
	d.add("Running", s.Running)
	d.add("Waiting", s.Waiting)
	d.add("Place", placeOf(s))
	if s.Rank != nil {
		d.add("Why", s.Rank)
	}
	d.write(b)
	if len(s.Frameworks) > 0 {
		heading(b, "Frameworks")
		t := newTable("FRAMEWORK", "OWNER", "SHARE", "RUNNING", "OFFERS", "WAITING", "USED")
		for _, f := range s.Frameworks {
			t.row(structs.Short(f.Framework), orDash(f.Owner), f.Share, f.Running, f.Offers, f.Waiting, f.Used)
		}
		t.write(b)
	}
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
