package command

import (
	"bytes"
	"context"
	"fmt"
)

func raftListPeers(e *Environment) *command {
	c := newCommand(e, "operator raft list-peers", "", "List the servers of the Raft group").reads()
	c.run = func(ctx context.Context, _ []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		list, err := client.RaftPeers(ctx)
		if err != nil {
			return err
		}
		return c.show(list, func(b *bytes.Buffer) error {
			t := newTable("ID", "NAME", "ADDRESS", "LEADER", "VOTER", "HEALTHY", "LAST INDEX", "LAST CONTACT")
			for _, p := range list {
				t.row(p.ID, orDash(p.Name), p.Address, yesNo(p.Leader), yesNo(p.Voter), yesNo(p.Healthy), p.LastIndex, orDash(p.Contact))
			}
			t.write(b)
			return nil
		})
	}
	return c
}

func raftRemovePeer(e *Environment) *command {
	c := newCommand(e, "operator raft remove-peer", "ID", "Remove a server from the Raft group").remote()
	c.about = "Remove a server from the Raft group, by its id in list-peers. It needs a leader. A server that still runs should leave\nby itself instead."
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

func raftTransferLeader(e *Environment) *command {
	c := newCommand(e, "operator raft transfer-leader", "[ID]", "Make another server the leader").remote()
	c.about = "Make another server the leader: the one of that id in list-peers, or any."
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
