package command

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/posener/complete"

	"github.com/proffer/proffer/agent"
	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/scheduler/simulate"
	"github.com/proffer/proffer/structs"
)

func operatorSimulate(e *Environment) *command {
	c := newCommand(e, "operator simulate", "", "Say what would be placed if nodes, jobs or roles were others").reads()
	c.about = `Have the allocator decide on a copy of the region, or on a snapshot, with nodes added or removed, jobs or roles changed,
and print what would be placed where, what would be stopped to make room, and what would go on waiting and why. What is
preempted ends at once and waits again; nothing else ends. Nothing is changed, and with -snapshot no agent is needed.

With -trace, replay a trace of nodes that come and go and of jobs that are submitted, and print how much was used, how long
the work of each role waited, and what was preempted. No agent is needed.`
	c.predict = complete.PredictNothing
	var jobs, roles, remove listFlag
	var file jobFile
	snapshot := c.flags.String("snapshot", "", "simulate with the state in this `FILE` that operator snapshot save wrote")
	add := c.flags.Int("add-nodes", 0, "add this `NUMBER` of empty nodes, as the one of -like is")
	like := c.flags.String("like", "", "id or `NAME` of the node that added ones are like")
	c.flags.Var(&remove, "remove-node", "remove the node of this id or `NAME`: what runs there is lost; may be repeated")
	c.flags.Var(&jobs, "job", "submit the job in this `FILE`; may be repeated")
	file.flags(c)
	c.flags.Var(&roles, "role", "store the roles in this `FILE`; may be repeated")
	trace := c.flags.String("trace", "", "instead of all that: replay the trace in this `FILE` on virtual time (- is the input)")
	force := c.flags.Bool("force", false, "of roles: also when a limit is below what is in use, or more is guaranteed than the nodes have")
	c.run = func(ctx context.Context, _ []string) error {
		if *trace != "" {
			if *snapshot != "" || *add > 0 || *like != "" || len(remove)+len(jobs)+len(roles) > 0 {
				return usagef("-trace has its own nodes, jobs and roles, and goes with none of the other flags")
			}
			report, err := replayed(e, *trace)
			if err != nil {
				return err
			}
			return c.show(report, func(b *bytes.Buffer) error { b.WriteString(clean(report.String()) + "\n"); return nil })
		}
		if (*add > 0) != (*like != "") {
			return usagef("-add-nodes and -like need each other")
		}
		change := &api.SimulateRequest{AddNodes: *add, Like: *like, RemoveNodes: remove, Force: *force}
		for _, path := range jobs {
			job, err := file.read(e, path)
			if err != nil {
				return err
			}
			change.Jobs = append(change.Jobs, job)
		}
		for _, path := range roles {
			name, src, err := e.source(path)
			if err != nil {
				return err
			}
			list, err := readRoles(name, src)
			if err != nil {
				return err
			}
			change.Roles = append(change.Roles, list...)
		}
		out, err := simulated(ctx, e, *snapshot, change)
		if err != nil {
			return err
		}
		return c.show(out, func(b *bytes.Buffer) error { writeSimulated(b, out); return nil })
	}
	return c
}

func simulated(ctx context.Context, e *Environment, snapshot string, change *api.SimulateRequest) (*api.Simulated, error) {
	if snapshot == "" {
		client, err := e.client()
		if err != nil {
			return nil, err
		}
		return client.Simulate(ctx, change)
	}
	f, err := openFile(snapshot)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return agent.Simulate(ctx, f, change)
}

func replayed(e *Environment, path string) (*simulate.Report, error) {
	in, name := e.In, "stdin"
	if path != "-" {
		f, err := openFile(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in, name = f, path
	}
	events, err := simulate.ReadTrace(name, in)
	if err != nil {
		return nil, err
	}
	return simulate.Replay(events)
}

func writeSimulated(b *bytes.Buffer, s *api.Simulated) {
	fmt.Fprintf(b, "State of index %d, %s: %s that %s work.\n", s.Index, moment(s.Time), counted(s.Nodes, "node", "nodes"), verb(s.Nodes, "takes", "take"))
	fmt.Fprintf(b, "%d allocations wait, %d would be placed, %d would go on waiting; %d that run would be stopped to make room.\n",
		s.Asked, s.Placed, s.Waiting, s.Preempted)
	if s.Later > 0 {
		fmt.Fprintf(b, "%s after failures and asks again later.\n", counted(s.Later, "job pauses", "jobs pause"))
	}
	writeWouldPlace(b, s)
	if len(s.Stops) > 0 {
		heading(b, "Would be stopped")
		t := newTable("ALLOCATION", "JOB", "ROLE", "PRIORITY", "NODE", "FOR JOB")
		for _, stop := range s.Stops {
			t.row(structs.Short(stop.Alloc), stop.Job, stop.Role, stop.Priority, stop.NodeName, stop.For)
		}
		t.write(b)
		if more := s.Preempted - len(s.Stops); more > 0 {
			fmt.Fprintf(b, "and %d more\n", more)
		}
	}
	writeWouldWait(b, s)
	b.WriteString("\nNothing was changed.\n")
}

func verb(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func writeWouldPlace(b *bytes.Buffer, s *api.Simulated) {
	t := newTable("JOB", "GROUP", "ROLE", "PRIORITY", "PLACED", "NODES")
	for _, g := range s.Groups {
		if g.Placed > 0 {
			t.row(g.Job, g.Group, g.Role, g.Priority, g.Placed, fewNodes(g.On))
		}
	}
	if len(t.rows) > 1 {
		heading(b, "Would be placed")
		t.write(b)
	}
}

// fewNodes names the nodes with the most placements.
func fewNodes(on map[string]int) string {
	const few = 4
	names := slices.SortedFunc(maps.Keys(on), func(x, y string) int { return cmp.Or(cmp.Compare(on[y], on[x]), cmp.Compare(x, y)) })
	var parts []string
	for _, name := range names[:min(few, len(names))] {
		parts = append(parts, fmt.Sprintf("%s:%d", name, on[name]))
	}
	if more := len(names) - few; more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, " ")
}

func writeWouldWait(b *bytes.Buffer, s *api.Simulated) {
	first := true
	for _, g := range s.Groups {
		if g.Waiting == 0 {
			continue
		}
		if first {
			heading(b, "Would wait")
			first = false
		}
		fmt.Fprintf(b, "%s %s: %d of role %s, %s", cell(g.Job), cell(g.Group), g.Waiting, cell(g.Role), g.Priority)
		if g.Order != "" {
			fmt.Fprintf(b, ": %s", cell(g.Order))
		}
		b.WriteByte('\n')
		if g.Turn != nil && g.Turn.At > 0 {
			fmt.Fprintf(b, "  %s in the order\n", orLater(g.Turn))
		}
		for i, r := range g.Reasons {
			if i == 3 {
				fmt.Fprintf(b, "  and %s\n", counted(len(g.Reasons)-i, "other reason", "other reasons"))
				break
			}
			fmt.Fprintf(b, "  %s refused %d of %s, the nearest: %s\n", cell(r.What), r.Nodes, counted(g.Nodes, "node", "nodes"), cell(orDash(r.Nearest)))
		}
		if g.Advice != "" {
			fmt.Fprintf(b, "  Hint: %s\n", cell(g.Advice))
		}
	}
}

func orLater(t *structs.Turn) string {
	text := fmt.Sprintf("place %d", t.At)
	if t.More {
		text += " or later"
	}
	return text
}
