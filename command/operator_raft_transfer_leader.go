package command

import (
	"context"
	"fmt"
)

func raftTransferLeader(e *Environment) *command {
	c := newCommand(e, "operator raft transfer-leader", "[SERVER]", "Make another server the leader").remote()
	c.about = "Make another server the leader: the one of that name or id in list-peers, or any."
	c.max = 1
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		id := ""
		if len(args) == 1 {
			id = args[0]
		}
		if _, err := client.TransferLeader(ctx, id); err != nil {
			return err
		}
		_, err = fmt.Fprintln(e.Out, "Another server leads.")
		return err
	}
	return c
}
