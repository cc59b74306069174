package command

import (
	"bytes"
	"context"
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
			t := newTable("ID", "NAME", "ADDRESS", "LEADER", "VOTER", "HEALTHY")
			for _, p := range list {
				t.row(p.ID, orDash(p.Name), p.Address, yesNo(p.Leader), yesNo(p.Voter), yesNo(p.Healthy))
			}
			t.write(b)
			return nil
		})
	}
	return c
}
