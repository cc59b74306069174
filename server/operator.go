package server

import (
	"context"
	"io"

	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/server/consensus"
	"github.com/proffer/proffer/structs"
)

// What operators do, on the leader wherever it is.

// RemovePeer removes a server from the Raft group.
func (s *Server) RemovePeer(ctx context.Context, id string) error {
	return s.onLeader(ctx, once, func(ctx context.Context) error { return s.raft.RemovePeer(ctx, id) },
		func(ctx context.Context, leader string) error {
			return s.config.Pool.Call(ctx, leader, "Server.RemovePeer", &id, &struct{}{})
		})
}

// TransferLeadership makes another server the leader: id, or the one that is furthest when it is empty.
func (s *Server) TransferLeadership(ctx context.Context, id string) error {
	return s.onLeader(ctx, once, func(ctx context.Context) error { return s.raft.Transfer(ctx, id) },
		func(ctx context.Context, leader string) error {
			return s.config.Pool.Call(ctx, leader, "Server.Transfer", &id, &struct{}{})
		})
}

// SaveSnapshot writes an archive of the state, with everything that was acknowledged before the call.
func (s *Server) SaveSnapshot(ctx context.Context, w io.Writer) error {
	if _, err := s.Read(ctx, false); err != nil {
		return err
	}
	_, err := s.raft.SaveSnapshot(ctx, w)
	return err
}

// RestoreSnapshot replaces the region's state by an archive.
func (s *Server) RestoreSnapshot(ctx context.Context, r io.Reader) (archive consensus.Archive, err error) {
	leader := s.raft.Leader()
	if leader.Self {
		return s.raft.RestoreSnapshot(ctx, r)
	}
	if leader.Address == "" {
		return archive, structs.Errorf(structs.Unavailable, "region "+s.config.Region, "it has no leader")
	}
	// The body is read once, so that this is not tried again on another leader.
	st, err := s.config.Pool.Stream(ctx, leader.Address, "Server.Restore", nil)
	if err != nil {
		return archive, err
	}
	defer st.Close()
	from := &consensus.Body{Reader: r}
	_, err = io.Copy(st, from)
	if err == nil {
		err = st.CloseWrite()
	}
	if from.Err != nil {
		return archive, from.Fault()
	}
	// When the leader takes no more, it says why.
	if said := st.Recv(&archive); said != nil || err == nil {
		return archive, said
	}
	return archive, err
}

func (s *Server) serveLeaderRPC() {
	rpc.Handle(s.config.RPC, "Server.RemovePeer", func(ctx context.Context, id *string) (*struct{}, error) {
		return &struct{}{}, asLeader(s.raft.RemovePeer(ctx, *id))
	})
	rpc.Handle(s.config.RPC, "Server.Transfer", func(ctx context.Context, id *string) (*struct{}, error) {
		return &struct{}{}, asLeader(s.raft.Transfer(ctx, *id))
	})
	rpc.Handle(s.config.RPC, "Server.Offers", func(ctx context.Context, _ *struct{}) (*[]*structs.Offer, error) {
		offers, err := s.loop.offers(ctx)
		return &offers, asLeader(err)
	})
	rpc.Handle(s.config.RPC, "Server.OfferStatus", func(_ context.Context, id *structs.FrameworkID) (*structs.OfferStatus, error) {
		status, err := s.loop.offerStatus(*id)
		return status, asLeader(err)
	})
	rpc.Handle(s.config.RPC, "Server.Orders", func(_ context.Context, job *string) (*map[string]*standing, error) {
		orders, err := s.loop.orders(*job)
		return &orders, asLeader(err)
	})
	rpc.Handle(s.config.RPC, "Server.Shares", func(context.Context, *struct{}) (*[]*structs.RoleStanding, error) {
		shares, err := s.loop.shares()
		return &shares, asLeader(err)
	})
	rpc.Handle(s.config.RPC, "Server.Slacks", func(context.Context, *struct{}) (*[]said, error) {
		all, err := s.loop.said()
		return &all, asLeader(err)
	})
	rpc.Handle(s.config.RPC, "Server.Slack", func(_ context.Context, node *structs.NodeID) (*[]*structs.SlackStatus, error) {
		status, err := s.loop.slackOf(*node)
		if status == nil {
			return &[]*structs.SlackStatus{}, asLeader(err)
		}
		return &[]*structs.SlackStatus{status}, asLeader(err)
	})
	s.serveMaintenance()
	s.config.RPC.HandleStream("Server.Restore", func(ctx context.Context, st *rpc.Stream) error {
		archive, err := s.raft.RestoreSnapshot(ctx, st)
		if err != nil {
			return asLeader(err)
		}
		return st.Send(&archive)
	})
}
