package command

import (
	"context"
	"fmt"
	"strings"
)

func nodePurge(e *Environment) *command {
	c := newCommand(e, "node purge", "NODE", "Forget a node that is lost or left, or mark one gone").remote()
	c.about = "Have the region forget a node that is lost or left: what it held ends as lost. When it comes back, it registers anew and ends\nwhat is not wanted there any more. With -gone it may be a node that is there: it stops all its work, and never comes back\nunder its id; volumes on its disks are lost, and are named. Its machine is a new node once the file \"gone\"\nin the client's data folder is removed and the agent restarted."
	c.min, c.max = 1, 1
	c.predict = predictNodes(e)
	gone := c.flags.Bool("gone", false, "also when it is there: mark it gone for good")
	c.run = func(ctx context.Context, args []string) error {
		client, id, err := e.clientNode(ctx, args[0])
		if err != nil {
			return err
		}
		done, err := client.PurgeNode(ctx, id, *gone)
		if err != nil {
			return err
		}
		what := "forgotten"
		if *gone {
			what = "marked gone"
		}
		if _, err = fmt.Fprintf(e.Out, "Node %s is %s.\n", args[0], what); err != nil || len(done.LostVolumes) == 0 {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Lost with it: %s %s. Work that makes them begins with empty ones.\n", counted(len(done.LostVolumes), "volume", "volumes"),
			strings.Join(done.LostVolumes, ", "))
		return err
	}
	return c
}
