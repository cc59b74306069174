package command

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func jobExplain(e *Environment) *command {
	c := newCommand(e, "job explain", "JOB [GROUP]", "Say why a job is where it is, or why it waits").reads()
	c.about = "Say for each group where its allocations are and why there; and when some wait, what holds them back, their place in the\n" +
		"order of service and who comes before them, when they are expected, how many nodes each constraint and resource\n" +
		"refused, which was the nearest miss, and what would help."
	c.min, c.max = 1, 2
	c.predict = predictJobs(e)
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		group := ""
		if len(args) == 2 {
			group = args[1]
		}
		x, err := client.ExplainJob(ctx, args[0], group)
		if structs.KindOf(err) == structs.NotFound && group == "" {
			if f, _, _ := client.Framework(ctx, args[0], nil); f != nil && !f.BuiltIn {
				return structs.Errorf(structs.NotFound, fmt.Sprintf("job %q", args[0]), "there is none, but a framework of that name, which decides itself what runs").
					Advise("proffer offer explain %s says what it is offered, and why not more", args[0])
			}
		}
		if err != nil {
			return err
		}
		return c.show(x, func(b *bytes.Buffer) error { writeExplanation(b, x); return nil })
	}
	return c
}

// writeExplanation prints an explanation for people.
func writeExplanation(b *bytes.Buffer, x *api.Explanation) {
	for i, g := range x.Groups {
		if i > 0 {
			b.WriteByte('\n')
		}
		verb := "placed"
		if x.Dry {
			verb = "would be placed"
		}
		fmt.Fprintf(b, "Group %q: %d of %d %s", cell(g.Group), g.Placed, g.Count, verb)
		if g.Waiting > 0 {
			fmt.Fprintf(b, ", %d waiting", g.Waiting)
		}
		fmt.Fprintf(b, "; each asks %s\n", cell(g.Ask.String()))
		if g.Order != "" {
			fmt.Fprintf(b, "  %s\n", cell(g.Order))
		}
		if g.Waiting > 0 {
			writeTurn(b, g)
		}
		if g.Waiting > 0 || len(g.Reasons) > 0 {
			writeReasons(b, g)
		} else {
			writeAvoided(b, g)
		}
		if g.Preempting > 0 {
			writeStops(b, g)
		}
		if len(g.Placing) > 0 {
			writePlaces(b, g.Placing)
		}
	}
}

// writeTurn prints the place in the order of what waits, and when it is expected.
func writeTurn(b *bytes.Buffer, g *api.GroupExplanation) {
	if g.Turn != nil {
		text := g.Turn.String()
		fmt.Fprintf(b, "  %s\n", indent(clean(strings.ToUpper(text[:1])+text[1:]), "  ")[2:])
		for _, r := range g.Turn.Ranks {
			fmt.Fprintf(b, "  %s\n", cell(r.String()))
		}
	}
	if s := g.Role; s != nil {
		fmt.Fprintf(b, "  Role %s holds %s of limit %s, guarantee %s; %s\n", cell(s.Role), cell(s.Used.String()), cell(amount(s.Limit)),
			cell(amount(s.Guarantee)), counted(s.Waiting, "allocation of it waits", "allocations of it wait"))
	}
	if g.Expected != nil {
		fmt.Fprintf(b, "  Expected: %s\n", cell(g.Expected.String()))
	}
}

// writeStops prints what would be stopped to make room.
func writeStops(b *bytes.Buffer, g *api.GroupExplanation) {
	if len(g.Stops) == 0 {
		fmt.Fprintf(b, "  %d of them would get room where work is being stopped already\n", g.Preempting)
		return
	}
	fmt.Fprintf(b, "  %d of them would get room by preemption. This would be stopped:\n", g.Preempting)
	t := newTable("  ALLOCATION", "JOB", "ROLE", "PRIORITY", "NODE")
	for _, s := range g.Stops {
		t.row("  "+structs.Short(s.Alloc), s.Job, s.Role, s.Priority, s.NodeName)
	}
	t.write(b)
}

// writePlaces prints where allocations are, and the score of the node where it is known.
func writePlaces(b *bytes.Buffer, places []*api.PlacedOn) {
	scored := slices.ContainsFunc(places, func(p *api.PlacedOn) bool { return p.Score != 0 || len(p.Parts) > 0 })
	header := []string{"  INDEX", "ALLOCATION", "NODE"}
	if scored {
		header = append(header, "SCORE", "PARTS")
	}
	told := slices.ContainsFunc(places, func(p *api.PlacedOn) bool { return p.Why != "" })
	if told {
		header = append(header, "WHY IT IS NOT READY")
	}
	t := newTable(header...)
	for _, p := range places {
		row := []any{fmt.Sprintf("  %d", p.Index), orDash(structs.Short(p.Alloc)), p.NodeName}
		if scored {
			parts := ""
			for _, name := range sortedKeys(p.Parts) {
				parts = joinNonEmpty(" ", parts, fmt.Sprintf("%s=%.2f", name, p.Parts[name]))
			}
			row = append(row, fmt.Sprintf("%.2f", p.Score), parts)
		}
		if told {
			row = append(row, p.Why)
		}
		t.row(row...)
	}
	t.write(b)
}

// writeAvoided prints which nodes are taken last.
func writeAvoided(b *bytes.Buffer, g *api.GroupExplanation) {
	for _, a := range g.Avoided {
		which, why := "Node "+cell(a.On)+" is", "its "+a.Kind
		if a.Nodes > 1 {
			which, why = fmt.Sprintf("%d nodes are", a.Nodes), fmt.Sprintf("their %s, on %s first,", a.Kind, cell(a.On))
		}
		fmt.Fprintf(b, "  %s taken only when no other is left: %s starts %s, before it would end\n", which, why, a.Start)
	}
}

// writeReasons prints what refused nodes.
func writeReasons(b *bytes.Buffer, g *api.GroupExplanation) {
	fmt.Fprintf(b, "  %d of %s would take one more now\n", g.Fit, counted(g.Nodes, "node", "nodes"))
	writeAvoided(b, g)
	if len(g.Reasons) > 0 {
		t := newTable("  REFUSED BY", "NODES", "NEAREST MISS")
		for _, r := range g.Reasons {
			t.row("  "+r.What, r.Nodes, orDash(r.Nearest))
		}
		t.write(b)
	}
	if g.Advice != "" {
		fmt.Fprintf(b, "  Hint: %s\n", cell(g.Advice))
	}
}
