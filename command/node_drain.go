package command

import (
	"context"
	"fmt"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func nodeDrain(e *Environment) *command {
	c := newCommand(e, "node drain", "NODE", "Empty a node, or end that").remote()
	c.about = "Have the work of a node moved to others, a few allocations at a time, and place nothing new on it. It returns when the\nnode is empty. Interrupting it changes nothing; -off ends the drain."
	c.min, c.max = 1, 1
	c.predict = predictNodes(e)
	off := c.flags.Bool("off", false, "end the drain")
	keep := c.flags.Bool("keep-ineligible", false, "with -off: place nothing on it until node eligibility says so")
	deadline := c.flags.Duration("deadline", time.Hour, "stop what is left after this `TIME`; 0: never")
	detach := c.flags.Bool("detach", false, "return at once")
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		id, err := nodeID(ctx, client, args[0])
		if err != nil {
			return err
		}
		drain := api.NodeDrain{Off: *off, Keep: *keep, Deadline: structs.Duration(max(*deadline, 0))}
		if *off {
			drain.Deadline = 0
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
		return watchDrain(ctx, e, client, id, args[0])
	}
	return c
}

// watchDrain returns when nothing is left on the node.
func watchDrain(ctx context.Context, e *Environment, client *api.Client, id, name string) error {
	query := &api.Query{}
	last := -1
	for {
		n, meta, err := client.Node(ctx, id, query)
		if err != nil {
			return err
		}
		left := 0
		for _, a := range n.Allocations {
			if !a.Ended() {
				left++
			}
		}
		if left == 0 {
			_, err := fmt.Fprintf(e.Out, "Node %s is empty.\n", name)
			return err
		}
		if n.Drain == nil {
			return structs.Errorf(structs.Conflict, "node "+name, "somebody ended the drain; %s left", counted(left, "allocation is", "allocations are"))
		}
		if left != last {
			fmt.Fprintf(e.Out, "  %s left\n", counted(left, "allocation", "allocations"))
			last = left
		}
		query = &api.Query{Index: meta.Index}
	}
}
