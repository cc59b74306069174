package command

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func maintenanceSchedule(e *Environment) *command {
	c := newCommand(e, "node maintenance schedule", "NODE", "Plan a time in which a node is not there").remote()
	c.about = "Give a node a window of maintenance, or change it. Until then, work that would not end in time goes elsewhere when it\ncan, offers say it, and frameworks with work there are asked to leave. Some time before the start the node is drained; what is\nleft at the start is stopped. When the window ends, the node takes work again."
	c.min, c.max = 1, 1
	c.predict = predictNodes(e)
	start := c.flags.String("start", "", "when it starts, as a `TIME` such as 2026-11-28T22:00:00Z")
	in := c.flags.Duration("in", 0, "instead of -start: how long from now it starts, as a `TIME` such as 2h; 0s: now")
	lasts := c.flags.Duration("duration", 0, "how long it lasts; 0: until node maintenance end")
	drain := c.flags.Duration("drain", 10*time.Minute, "how long before the start work is moved away")
	reason := c.flags.String("reason", "", "what is done, for people")
	c.run = func(ctx context.Context, args []string) error {
		m := api.NodeMaintenance{In: structs.Duration(*in), Duration: structs.Duration(*lasts), Drain: structs.Duration(*drain), Reason: *reason}
		if *start != "" {
			t, err := time.Parse(time.RFC3339, *start)
			if err != nil {
				return usagef("-start: %q is not a time such as 2026-11-28T22:00:00Z", *start)
			}
			m.Start = structs.At(t)
		}
		if *start != "" && *in != 0 || *in < 0 {
			return usagef("-in is a positive time, and not with -start")
		}
		if *start == "" && !c.given("in") {
			return usagef("when it starts is missing: give -start, or -in (-in 0s: now)")
		}
		if !m.Start.IsZero() && m.Start.Std().Before(e.Now()) {
			return usagef("-start: %s has passed; -in 0s starts it now", m.Start)
		}
		if *lasts < 0 || *drain < 0 {
			return usagef("-duration and -drain are not negative")
		}
		client, id, err := e.clientNode(ctx, args[0])
		if err != nil {
			return err
		}
		if _, err := client.SetMaintenance(ctx, id, m); err != nil {
			return err
		}
		n, _, err := client.Node(ctx, id, nil)
		if err != nil {
			return err
		}
		if n.Maintenance != nil {
			_, err = fmt.Fprintf(e.Out, "Node %s: maintenance %s.\n", args[0], windowText(n.Maintenance, e.Now()))
		}
		return err
	}
	return c
}

func maintenanceEnd(e *Environment) *command {
	c := newCommand(e, "node maintenance end", "NODE", "End the maintenance of a node, or cancel it").remote()
	c.about = "End the window of maintenance of a node, or cancel the one that is planned. The node takes work again if it did before."
	c.min, c.max = 1, 1
	c.predict = predictNodes(e)
	c.run = func(ctx context.Context, args []string) error {
		client, id, err := e.clientNode(ctx, args[0])
		if err != nil {
			return err
		}
		if _, err := client.SetMaintenance(ctx, id, api.NodeMaintenance{Off: true}); err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Node %s has no maintenance.\n", args[0])
		return err
	}
	return c
}

func maintenanceStatus(e *Environment) *command {
	c := newCommand(e, "node maintenance status", "", "List nodes with windows of maintenance").reads()
	c.about = "List the nodes with windows of maintenance, and what the frameworks that have work there say to leaving them."
	c.run = func(ctx context.Context, _ []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		list, _, err := api.Collect(ctx, nil, client.Maintenance)
		if err != nil {
			return err
		}
		return c.show(list, func(b *bytes.Buffer) error {
			if len(list) == 0 {
				b.WriteString("No node has maintenance.\n")
				return nil
			}
			t := newTable("NODE", "STATE", "WINDOW", "ALLOCATIONS", "REASON")
			answers := newTable("NODE", "FRAMEWORK", "ANSWER", "SINCE", "HOLDS")
			asked := 0
			for _, m := range list {
				t.row(m.NodeName, m.State, windowText(&m.Maintenance, e.Now()), m.Allocations, orDash(m.Maintenance.Reason))
				for _, x := range m.Answers {
					since := x.Answered
					if x.Answer == structs.InversePending {
						since = x.Made
					}
					answers.row(x.NodeName, structs.Short(x.Framework), x.Answer, age(e.Now(), since), x.Resources)
					asked++
				}
			}
			t.write(b)
			if asked > 0 {
				heading(b, "Frameworks that were asked to leave")
				answers.write(b)
			}
			return nil
		})
	}
	return c
}

// windowText says when a window starts and ends.
func windowText(m *structs.Maintenance, now time.Time) string {
	text := "from " + m.Start.String()
	if in := m.Start.Std().Sub(now); in > 0 {
		text += " (in " + span(in) + ")"
	}
	if end := m.End(); !end.IsZero() {
		return text + " to " + end.String()
	}
	return text + " until it is ended"
}

func reasonText(m *structs.Maintenance) string {
	if m.Reason == "" {
		return ""
	}
	return ": " + m.Reason
}
