package command

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func nodeDrain(e *Environment) *command {
	c := newCommand(e, "node drain", "NODE", "Empty a node, or end that").remote()
	c.about = "Have the work of a node moved to others, a few allocations at a time, and place nothing new on it. A service is started\nelsewhere before it is stopped here, batch work may finish until the deadline. It returns when the node\nis empty. Interrupting it changes nothing; -off ends the drain."
	c.min, c.max = 1, 1
	c.predict = predictNodes(e)
	off := c.flags.Bool("off", false, "end the drain")
	keep := c.flags.Bool("keep-ineligible", false, "with -off: place nothing on it until node eligibility says so")
	deadline := c.flags.Duration("deadline", time.Hour, "stop what is left after this `TIME`; 0: never")
	check := c.flags.String("check", "", "only when the drain was last set at this `INDEX`, as node status shows it")
	reason := c.flags.String("reason", "", "why it is emptied, for people")
	gone := c.flags.Bool("gone", false, "mark it gone once it is empty, as node purge -gone does; volumes on its disks are lost then")
	kill := c.flags.Bool("kill", false, "stop tasks of external frameworks at once: their schedulers are not asked to move them")
	maxGrace := c.flags.Duration("max-grace", 0, "with -kill: the longest `TIME` that such a task may take to end, when it asks for more. Default: what it asks for")
	detach := c.flags.Bool("detach", false, "return at once")
	c.run = func(ctx context.Context, args []string) error {
		if *deadline < 0 {
			return usagef("-deadline: %s is negative; 0s is never, and 1s stops what is left almost at once", *deadline)
		}
		if *off && *gone {
			return usagef("-gone: it goes with a drain that begins, not with -off")
		}
		if *off && *kill {
			return usagef("-kill: it goes with a drain that begins, not with -off")
		}
		if *maxGrace < 0 || *maxGrace > 0 && !*kill {
			return usagef("-max-grace: it goes with -kill, and is not negative")
		}
		drain := api.NodeDrain{Off: *off, Keep: *keep, Deadline: structs.Duration(*deadline), Reason: *reason, Gone: *gone, Kills: *kill}
		if *maxGrace > 0 {
			drain.MaxGrace = new(structs.Duration(*maxGrace))
		}
		if *off {
			drain.Deadline = 0
		}
		if *check != "" {
			n, err := strconv.ParseUint(*check, 10, 63)
			if err != nil {
				return usagef("-check: %q is not an index", *check)
			}
			drain.Check = &n
		}
		client, id, err := e.clientNode(ctx, args[0])
		if err != nil {
			return err
		}
		if _, err := client.DrainNode(ctx, id, drain); err != nil {
			return err
		}
		if *off {
			_, err := fmt.Fprintf(e.Out, "Node %s is no longer drained.\n", args[0])
			return err
		}
		fmt.Fprintf(e.Out, "Node %s is being drained.\n", args[0])
		if *detach {
			return nil
		}
		return watchDrain(ctx, e, client, id, args[0], *gone)
	}
	return c
}

// drainPatience is how long nothing may leave a drained node before it is said what the rest waits for.
var drainPatience = 5 * time.Second

// watchDrain returns when nothing is left on the node; with gone, when the region forgot it.
func watchDrain(ctx context.Context, e *Environment, client *api.Client, id, name string, gone bool) error {
	query := &api.Query{Wait: drainPatience}
	last, explained, since := -1, false, time.Now()
	for {
		n, meta, err := client.Node(ctx, id, query)
		if gone && structs.KindOf(err) == structs.NotFound {
			_, err := fmt.Fprintf(e.Out, "Node %s is empty, and gone.\n", name)
			return err
		}
		if err != nil {
			return err
		}
		var left []*structs.Allocation
		for _, a := range n.Allocations {
			if !a.Ended() {
				left = append(left, a)
			}
		}
		if len(left) == 0 && !gone {
			_, err := fmt.Fprintf(e.Out, "Node %s is empty.\n", name)
			return err
		}
		if n.Drain == nil && n.Gone == nil {
			return structs.Errorf(structs.Conflict, "node "+name, "somebody ended the drain; %s left", counted(len(left), "allocation is", "allocations are"))
		}
		switch {
		case len(left) != last:
			fmt.Fprintf(e.Out, "  %s left\n", counted(len(left), "allocation", "allocations"))
			last, explained, since = len(left), false, time.Now()
		case !explained && n.Drain != nil && time.Since(since) >= drainPatience:
			explained = true
			explainDrain(ctx, e, client, n, left, name)
		}
		query.Index = meta.Index
	}
}

// drainRows bounds how many allocations explainDrain lists.
const drainRows = 20

// explainDrain says of each allocation that is left on a node what it waits for.
func explainDrain(ctx context.Context, e *Environment, client *api.Client, n *api.NodeDetail, left []*structs.Allocation, name string) {
	reasons := map[[2]string]string{}
	t := newTable("  ALLOCATION", "JOB", "GROUP", "WAITS BECAUSE")
	for i, a := range left {
		if i == drainRows {
			t.row(fmt.Sprintf("  and %d more", len(left)-i))
			break
		}
		of := [2]string{a.Job, a.Group}
		why, known := reasons[of]
		switch {
		case a.Desired != structs.DesiredRun:
			why = "it is being stopped"
		case a.Next != "" && runsSoon(ctx, client, a.Next):
			why = "the one in its place, " + structs.Short(a.Next) + ", has to be healthy first"
		case !known:
			why = drainReason(ctx, client, a)
			reasons[of] = why
		}
		t.row("  "+structs.Short(a.ID), a.Job, fmt.Sprintf("%s[%d]", a.Group, a.Index), why)
	}
	var b bytes.Buffer
	t.write(&b)
	then := "the drain has no deadline"
	if d := n.Drain.Deadline; !d.IsZero() {
		then = "what is left is stopped at " + d.Std().Local().Format("15:04:05")
	}
	fmt.Fprintf(&b, "  Hint: %s; proffer node drain -off %s ends the drain\n", then, name)
	e.Out.Write(b.Bytes())
}

// runsSoon reports whether an allocation was not healthy yet when somebody waited for that: it has not ended.
func runsSoon(ctx context.Context, client *api.Client, id structs.AllocID) bool {
	a, _, err := client.Allocation(ctx, string(id), nil)
	return err == nil && !a.Ended()
}

func drainReason(ctx context.Context, client *api.Client, a *structs.Allocation) string {
	x, err := client.ExplainJob(ctx, a.Job, a.Group)
	if err != nil || len(x.Groups) != 1 {
		return "its reason could not be found; try proffer job explain " + a.Job
	}
	if g := x.Groups[0]; g.Fit == 0 {
		return "no other node would take it: " + whyNot(g)
	}
	return "its job has not moved it yet"
}

// whyNot says in one line what refused the nodes that do not drain.
func whyNot(g *api.GroupExplanation) string {
	var parts []string
	for _, r := range g.Reasons {
		if r.What != "node drains" && r.What != "node not eligible" {
			parts = append(parts, joinNonEmpty(": ", r.What, r.Nearest))
		}
	}
	if len(parts) == 0 {
		return "there is none that takes work"
	}
	return strings.Join(parts, "; ")
}
