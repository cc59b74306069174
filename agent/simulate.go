package agent

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/agent/spec"
	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/consensus"
	"github.com/proffer/proffer/structs"
)

func (r *region) Simulate(ctx context.Context, change *api.SimulateRequest) (*api.Simulated, error) {
	s, err := r.server.Simulate(ctx, changeOf(change))
	if err != nil {
		return nil, err
	}
	return simulated(s), nil
}

// Simulate says what the allocator would do with the state in a snapshot, after a change.
func Simulate(ctx context.Context, snapshot io.Reader, change *api.SimulateRequest) (*api.Simulated, error) {
	snap, err := consensus.ReadSnapshot(snapshot)
	if err != nil {
		return nil, err
	}
	c := changeOf(change)
	c.Replaces = spec.Replaces
	now := structs.At(time.Now())
	if snap.Time() != 0 {
		now = snap.Time() // as it was then: what has waited for a pause since would not wait any more
	}
	s, err := server.Simulate(ctx, snap, c, now)
	if err != nil {
		return nil, err
	}
	return simulated(s), nil
}

func changeOf(c *api.SimulateRequest) *server.Change {
	return &server.Change{Add: c.AddNodes, Like: c.Like, Remove: c.RemoveNodes, Roles: c.Roles, Force: c.Force, Jobs: c.Jobs}
}

func simulated(s *server.Simulation) *api.Simulated {
	out := &api.Simulated{Index: s.Index, Time: s.Time, Nodes: s.Nodes, Asked: s.Asked, Placed: s.Placed, Preempted: s.Preempted,
		Waiting: s.Waiting, Later: s.Later, Groups: []*api.SimulatedGroup{}, Stops: []*api.SimulatedStop{}}
	for _, g := range s.Groups {
		x := &api.SimulatedGroup{Job: g.Job, Group: g.Group, Role: g.Role, Priority: g.Priority, Placed: g.Placed, Preempted: g.Preempted, On: g.On}
		if w := g.Waiting; w != nil {
			x.Waiting, x.Because, x.Turn, x.Order = w.Pending, string(w.Because), w.Turn, server.OrderText(w)
			x.Bounds = append(bounds("limit", w.Quota), bounds("guarantee", w.Guarantee)...)
			if g.Explained {
				x.Nodes = w.Placement.Nodes
				x.Reasons = reasons(w.Placement.Reasons)
				x.Help, x.Advice = help(w.Placement.Help)
			}
		}
		out.Groups = append(out.Groups, x)
	}
	for _, stop := range s.Stops {
		out.Stops = append(out.Stops, &api.SimulatedStop{Stopped: *stopped(stop.Alloc), For: stop.For})
	}
	return out
}

func stopped(a *structs.Allocation) *api.Stopped {
	return &api.Stopped{Alloc: a.ID, Job: a.Job, Role: a.Role, Priority: a.Priority, Node: a.Node, NodeName: a.NodeName}
}

func reasons(list []placement.Refusal) (out []*api.Reason) {
	for _, r := range list {
		near := r.Nearest
		out = append(out, &api.Reason{What: near.Title(), Nodes: r.Nodes, Nearest: strings.TrimSpace(near.Miss() + " on " + r.On),
			Kind: string(r.Kind), Subject: r.Subject, Asked: near.Asked, Free: near.Free, Have: near.Have, On: r.On})
	}
	return out
}

func help(list []placement.Help) (out []*api.Help, advice string) {
	var texts []string
	for _, h := range list {
		out = append(out, &api.Help{Kind: string(h.Kind), Subject: h.Subject, AtMost: h.AtMost, Nodes: h.Nodes})
		texts = append(texts, h.String())
	}
	return out, strings.Join(texts, "; ")
}
