package consensus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/structs"
)

// peerTimeout is how long a change of the members may take to be accepted.
const peerTimeout = 10 * time.Second

// Fresh reports whether this server has no state at all, so that Bootstrap may be called.
func (n *Node) Fresh() (bool, error) {
	has, err := raft.HasExistingState(n.logs, n.cfg.Stable, n.cfg.Snapshots)
	if err != nil {
		return false, structs.Errorf(structs.Internal, "consensus", "cannot read the stores: %w", err)
	}
	return !has, nil
}

// Bootstrap makes the region of these peers, once: it is a conflict when this server has state. Every one of the peers
// may call it with the same list.
func (n *Node) Bootstrap(peers []Peer) error {
	var c raft.Configuration
	for _, p := range peers {
		c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(p.ID), Address: raft.ServerAddress(p.Address)})
	}
	err := n.raft.BootstrapCluster(c).Error()
	switch {
	case errors.Is(err, raft.ErrCantBootstrap):
		return structs.Errorf(structs.Conflict, "region", "this server has state already: %w", err)
	case err != nil:
		return structs.Errorf(structs.Internal, "region", "it cannot be made: %w", err)
	}
	return nil
}

func (n *Node) configuration() (raft.Configuration, error) {
	f := n.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return raft.Configuration{}, n.fault("list peers", err)
	}
	return f.Configuration(), nil
}

// Peers returns the members of the Raft group.
func (n *Node) Peers() ([]Peer, error) {
	c, err := n.configuration()
	if err != nil {
		return nil, err
	}
	_, leader := n.raft.LeaderWithID()
	peers := make([]Peer, len(c.Servers))
	for i, s := range c.Servers {
		peers[i] = Peer{ID: string(s.ID), Address: string(s.Address), Voter: s.Suffrage == raft.Voter, Leader: s.ID == leader}
	}
	return peers, nil
}

func (n *Node) otherVoters() (others []raft.Server) {
	c, err := n.configuration()
	if err != nil {
		return nil
	}
	for _, s := range c.Servers {
		if s.Suffrage == raft.Voter && s.ID != raft.ServerID(n.cfg.ID) {
			others = append(others, s)
		}
	}
	return others
}

// AddPeer adds a voter, or gives it its new address; another member with that address is removed first. Leader only.
func (n *Node) AddPeer(ctx context.Context, id, address string) error {
	if n.raft.State() != raft.Leader {
		return n.notLeader("add peer")
	}
	c, err := n.configuration()
	if err != nil {
		return err
	}
	for _, s := range c.Servers {
		switch {
		case string(s.ID) == id && string(s.Address) == address && s.Suffrage == raft.Voter:
			return nil
		case string(s.ID) != id && string(s.Address) == address:
			if err := n.RemovePeer(ctx, string(s.ID)); err != nil {
				return err
			}
		}
	}
	err = n.await(ctx, n.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(address), 0, peerTimeout))
	return n.fault("add peer", err)
}

// RemovePeer removes a member. Leader only.
func (n *Node) RemovePeer(ctx context.Context, id string) error {
	if n.raft.State() != raft.Leader {
		return n.notLeader("remove peer")
	}
	c, err := n.configuration()
	if err != nil {
		return err
	}
	for _, s := range c.Servers {
		if string(s.ID) == id {
			if len(c.Servers) == 1 {
				return structs.Errorf(structs.Conflict, fmt.Sprintf("peer %q", id), "it is the only server of the region").
					Advise("add another server first")
			}
			return n.fault("remove peer", n.await(ctx, n.raft.RemoveServer(s.ID, 0, peerTimeout)))
		}
	}
	return structs.Errorf(structs.NotFound, fmt.Sprintf("peer %q", id), "there is no such peer")
}

// Transfer hands leadership to a peer, or to the one that is furthest when id is empty. Leader only. To itself it does
// nothing.
func (n *Node) Transfer(ctx context.Context, id string) error {
	if n.raft.State() != raft.Leader {
		return n.notLeader("transfer leadership")
	}
	if id == n.cfg.ID {
		return nil // it leads
	}
	if len(n.otherVoters()) == 0 {
		return structs.Errorf(structs.Conflict, "region", "there is no other server that could lead").Advise("add another server first")
	}
	f := raft.Future(nil)
	if id == "" {
		f = n.raft.LeadershipTransfer()
	} else {
		for _, s := range n.otherVoters() {
			if string(s.ID) == id {
				f = n.raft.LeadershipTransferToServer(s.ID, s.Address)
			}
		}
		if f == nil {
			return structs.Errorf(structs.NotFound, fmt.Sprintf("peer %q", id), "it is no other voter")
		}
	}
	if err := n.await(ctx, f); err != nil {
		return &structs.Error{Kind: structs.Unavailable, Op: "transfer leadership", Why: err.Error(), Err: err}
	}
	return nil
}
