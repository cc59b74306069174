package command

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func allocStatus(e *Environment) *command {
	c := newCommand(e, "alloc status", "[ALLOC]", "List allocations, or show one").reads()
	c.max = 1
	c.predict = predictAllocs(e)
	job := c.flags.String("job", "", "only allocations of this `JOB`")
	var filters listFlag
	c.flags.Var(&filters, "filter", "only allocations for which `FIELD=VALUE` holds; also FIELD!=VALUE and FIELD~PART; may be repeated")
	stale := c.flags.Bool("stale", false, "what the agent has will do, even when it has lost the leader")
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		query := &api.Query{Filter: filters, Stale: *stale}
		if len(args) == 1 {
			a, _, err := client.Allocation(ctx, args[0], &api.Query{Stale: *stale})
			if err != nil {
				return err
			}
			return c.show(a, func(b *bytes.Buffer) error { writeAlloc(b, a, e.Now()); return nil })
		}
		list := client.Allocations
		if *job != "" {
			list = func(ctx context.Context, q *api.Query) ([]*structs.Allocation, *api.Meta, error) {
				return client.JobAllocations(ctx, *job, q)
			}
		}
		allocs, _, err := api.Collect(ctx, query, list)
		if err != nil {
			return err
		}
		return c.show(allocs, func(b *bytes.Buffer) error {
			if len(allocs) == 0 {
				b.WriteString("There are no allocations.\n")
				return nil
			}
			writeAllocs(b, allocs, e.Now())
			return nil
		})
	}
	return c
}

// writeGiven shows what a task has for itself alone.
func writeGiven(b *bytes.Buffer, t *structs.TaskState) {
	if len(t.Cores) > 0 {
		fmt.Fprintf(b, "  cores %s\n", strings.Trim(strings.ReplaceAll(fmt.Sprint(t.Cores), " ", ", "), "[]"))
	}
	for _, d := range t.Devices {
		fmt.Fprintf(b, "  %s\n", cell(joinNonEmpty(", ", d.Resource+" "+d.ID, d.Model)))
	}
}

func writeAlloc(b *bytes.Buffer, a *api.AllocDetail, now time.Time) {
	var d details
	d.add("ID", a.ID)
	if x := a.External; x != nil {
		d.add("Framework", a.Framework)
		d.say("Executor", x.Executor)
		for _, t := range x.Tasks {
			told := "its framework acknowledged all that it was told"
			if n := len(t.Updates); n > 0 {
				told = fmt.Sprintf("%s not acknowledged, the first one %s", counted(n, "update is", "updates are"), t.Updates[0].State)
			}
			d.add("Task", fmt.Sprintf("%q: %s", t.ID, told))
		}
	} else {
		d.add("Job", fmt.Sprintf("%s, version %d", a.Job, a.Version))
		d.add("Group", fmt.Sprintf("%s[%d]", a.Group, a.Index))
	}
	d.add("Node", fmt.Sprintf("%s (%s)", a.NodeName, structs.Short(a.Node)))
	d.add("Role", a.Role)
	d.say("Owner", a.Owner)
	d.add("Priority", a.Priority)
	d.add("Wanted", joinNonEmpty(": ", string(a.Desired), a.DesiredWhy))
	d.add("Status", joinNonEmpty(": ", string(a.Status), cmp.Or(a.Why, notStarted(&a.Allocation))))
	d.add("Incarnation", a.Incarnation)
	d.add("Resources", a.Resources)
	if a.Revocable != nil {
		d.add("Revocable", fmt.Sprintf("%s is reserved by others, and it is stopped when they use that", a.Revocable))
	}
	var ports []string
	for _, p := range a.Ports {
		text := fmt.Sprintf("%s:%d", p.Host, p.Port)
		if p.To > 0 {
			text += fmt.Sprintf("->%d", p.To)
		}
		if p.Protocol != "" {
			text += "/" + p.Protocol
		}
		if p.Network != "" {
			text += " in " + p.Network
		}
		ports = append(ports, joinNonEmpty("=", p.Label, text))
	}
	d.say("Ports", strings.Join(ports, ", "))
	if t := networked(a); t != nil {
		d.say("Addresses", strings.Join(t.Addresses, ", "))
		for _, n := range t.Joined {
			d.add("In "+n.Name, joinNonEmpty(" on ", strings.Join(n.Addresses, ", "), n.Interface))
		}
	}
	d.add("Created", age(now, a.Created)+" ago")
	d.say("Replaces", structs.Short(a.Previous))
	d.say("Replaced by", structs.Short(a.Next))
	d.write(b)
	for _, name := range taskOrder(a) {
		t := a.Tasks[name]
		if t == nil {
			heading(b, fmt.Sprintf("Task %q: not begun", cell(name)))
			continue
		}
		line := string(t.Status)
		if t.Status.Ended() {
			line += ", " + taskEnd(t)
		} else if t.Why != "" {
			line += ", " + t.Why
		}
		if t.Restarts > 0 {
			line += ", " + counted(t.Restarts, "restart", "restarts")
		}
		heading(b, cell(fmt.Sprintf("Task %q: %s", name, line)))
		writeGiven(b, t)
		if len(t.Checks) > 0 {
			checks := newTable("  CHECK", "KIND", "STATUS", "SINCE", "WHY")
			for _, c := range t.Checks {
				kind := "ready"
				if c.Live {
					kind = "live"
				}
				checks.row("  "+c.Name, kind, string(c.Status), age(now, c.Since)+" ago", c.Why)
			}
			checks.write(b)
			b.WriteByte('\n')
		}
		if len(t.Events) > 0 {
			events := newTable("  TIME", "EVENT", "WHAT")
			for _, ev := range t.Events {
				events.row("  "+moment(ev.Time), ev.Type, ev.Text)
			}
			events.write(b)
		}
	}
}

// taskOrder returns the names of an allocation's tasks: main ones first, then any that only its node knows.
// networked is a task in the allocation's own networks, which all tasks that were started have; nil: there is none.
func networked(a *api.AllocDetail) *structs.TaskState {
	for _, name := range taskOrder(a) {
		if t := a.Tasks[name]; t != nil && len(t.Addresses)+len(t.Joined) > 0 {
			return t
		}
	}
	return nil
}

func taskOrder(a *api.AllocDetail) []string {
	names := append([]string(nil), a.TaskNames...)
	known := map[string]bool{}
	for _, n := range names {
		known[n] = true
	}
	for _, n := range sortedKeys(a.Tasks) {
		if !known[n] {
			names = append(names, n)
		}
	}
	return names
}
