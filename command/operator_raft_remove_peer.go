package command

import (
	"context"
	"fmt"
)

func raftRemovePeer(e *Environment) *command {
	c := newCommand(e, "operator raft remove-peer", "SERVER", "Remove a server from the Raft group").remote()
	c.about = "Remove a server from the Raft group, by its name or id in list-peers. It needs a leader. A server that still runs should leave\nby itself instead."
	c.min, c.max = 1, 1
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		if _, err := client.RemoveRaftPeer(ctx, args[0]); err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Server %s is removed.\n", args[0])
		return err
	}
	return c
}
