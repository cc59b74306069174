package server

import (
	"context"
	"time"

	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// watchMaintenance begins and ends the windows of nodes, for one term.
func (s *Server) watchMaintenance(term context.Context) {
	for term.Err() == nil {
		snap := s.store.Snapshot()
		now := structs.At(time.Now())
		wait := time.Hour
		for n := range snap.Nodes() {
			if n.Maintenance == nil {
				continue
			}
			cmd, at := nextOfMaintenance(n)
			if at.IsZero() {
				continue
			}
			if at > now {
				wait = min(wait, at.Sub(now).Std())
				continue
			}
			if _, _, err := s.raft.Propose(term, "", "server "+s.config.Name, cmd); err == nil {
				s.log.Info("maintenance", "node", n.Name, "reason", n.Maintenance.Reason, "over", n.Maintenance.Began)
			} else if term.Err() == nil && structs.KindOf(err) != structs.Conflict {
				s.log.Warn("cannot go on with maintenance", "node", n.Name, "err", err)
				wait = min(wait, time.Second)
			}
		}
		ctx, cancel := context.WithTimeout(term, wait)
		s.store.Wait(ctx, snap.Index(), state.OfTable(state.Nodes))
		cancel()
	}
}

// nextOfMaintenance returns what happens next with the window of a node, and when; zero for never.
func nextOfMaintenance(n *structs.Node) (state.Command, structs.Time) {
	m := n.Maintenance
	if m.Began {
		return &state.SetMaintenance{Node: n.ID, ExpectStart: m.Start}, m.End()
	}
	return &state.BeginMaintenance{Node: n.ID, Start: m.Start}, m.Begins()
}

// Maintenance returns the nodes that have windows, by id, with the answers of frameworks, which only the leader knows.
func (s *Server) Maintenance(ctx context.Context) ([]*structs.NodeMaintenance, error) {
	var answers []*structs.InverseOffer
	err := s.onLeader(ctx, repeatable, func(context.Context) (err error) {
		answers, err = s.loop.inverseOffers()
		return err
	}, func(ctx context.Context, leader string) error {
		return s.config.Pool.Call(ctx, leader, "Server.InverseOffers", &struct{}{}, &answers)
	})
	if err != nil {
		return nil, err
	}
	snap, err := s.Read(ctx, false)
	if err != nil {
		return nil, err
	}
	list := []*structs.NodeMaintenance{}
	for n := range snap.Nodes() {
		if n.Maintenance == nil {
			continue
		}
		m := &structs.NodeMaintenance{Node: n.ID, NodeName: n.Name, Maintenance: *n.Maintenance, Answers: []*structs.InverseOffer{}}
		for range snap.HeldOnNode(n.ID) {
			m.Allocations++
		}
		m.State = n.Maintenance.State(m.Allocations)
		for _, a := range answers {
			if a.Node == n.ID {
				m.Answers = append(m.Answers, a)
			}
		}
		list = append(list, m)
	}
	return list, nil
}

func (o *offerLoop) inverseOffers() ([]*structs.InverseOffer, error) {
	l, err := o.get()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.allocator.InverseOffers(), nil
}

func (s *Server) serveMaintenance() {
	rpc.Handle(s.config.RPC, "Server.InverseOffers", func(context.Context, *struct{}) (*[]*structs.InverseOffer, error) {
		all, err := s.loop.inverseOffers()
		return &all, asLeader(err)
	})
}
