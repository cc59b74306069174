package operator

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"context"
	"net/http"
	"slices"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// markGone marks an agent gone: with what runs or ran there it is given up, and never comes back under its id.
func (s *Servers) markGone(ctx context.Context, who mesos.Caller, c *wire.OperatorCall) error {
	id := structs.NodeID(c.MarkGone.AgentID.Value)
	snap, _, err := s.agent(ctx, c.MarkGone.AgentID)
	if err != nil && (snap == nil || !snap.Gone(id)) {
		return err
	}
	return s.propose(ctx, who, &state.RemoveNode{Node: id, Gone: true})
}

// drain has an agent emptied: tasks of external frameworks are stopped at once, each with its own grace or what it is cut to, and what is left when
// that is over.
func (s *Servers) drain(ctx context.Context, who mesos.Caller, c *wire.OperatorCall) error {
	_, n, err := s.agent(ctx, c.Drain.AgentID)
	if err != nil {
		return err
	}
	if n.Gone != nil {
		return mesos.Refuse(http.StatusConflict, "Agent is currently being marked gone")
	}
	d := &structs.Drain{Kills: true, Gone: c.Drain.MarkGone != nil && *c.Drain.MarkGone}
	if g := c.Drain.MaxGrace; g != nil {
		var seconds, nanos int64
		if g.Seconds != nil {
			seconds = *g.Seconds
		}
		if g.Nanos != nil {
			nanos = int64(*g.Nanos)
		}
		if seconds < 0 || nanos < 0 || seconds > 30*24*3600 || nanos >= 1e9 {
			return invalid("'max_grace_period' is not in the range of nothing to 30 days")
		}
		d.MaxGrace = new(structs.Duration(seconds*1e9 + nanos))
		d.Deadline = now().Add(*d.MaxGrace)
	}
	return s.propose(ctx, who, &state.SetDrain{Node: n.ID, Drain: d})
}

func (s *Servers) deactivate(ctx context.Context, who mesos.Caller, c *wire.OperatorCall) error {
	_, n, err := s.agent(ctx, c.Deactivate.AgentID)
	if err != nil {
		return err
	}
	return s.propose(ctx, who, &state.SetEligibility{Node: n.ID, Eligible: false})
}

func (s *Servers) reactivate(ctx context.Context, who mesos.Caller, c *wire.OperatorCall) (err error) {
	for range 3 { // a drain that ends meanwhile is in the way
		if err = s.reactivateAsSeen(ctx, who, c); structs.KindOf(err) != structs.Conflict {
			break
		}
	}
	return err
}

func (s *Servers) reactivateAsSeen(ctx context.Context, who mesos.Caller, c *wire.OperatorCall) error {
	snap, n, err := s.agent(ctx, c.Reactivate.AgentID)
	switch {
	case err != nil:
		return err
	case !deactivated(n):
		return invalid("Agent '%s' is not deactivated", n.Name)
	case n.Drain == nil:
		return s.propose(ctx, who, &state.SetEligibility{Node: n.ID, Eligible: true})
	}
	if n.Drain.Gone { // when it is empty it goes
		return invalid("Agent '%s' is still in the DRAINING state", n.Name)
	}
	for range snap.HeldOnNode(n.ID) {
		return invalid("Agent '%s' is still in the DRAINING state", n.Name)
	}
	return s.propose(ctx, who, &state.SetDrain{Node: n.ID, Eligible: true, ExpectIndex: &n.DrainIndex})
}

// machines returns the nodes on machines that are named by host name or address, each once.
func machines(snap *state.Snapshot, named []wire.MachineID) (out []*structs.Node, err error) {
	for _, m := range named {
		host, ip := wire.TextOf(m.Hostname), wire.TextOf(m.IP)
		if host == "" && ip == "" {
			return nil, invalid("Machine has neither a hostname nor an ip")
		}
		found := false
		for n := range snap.Nodes() {
			if (host == "" || host == n.Name || slices.Contains(n.Hosts, host)) && (ip == "" || slices.Contains(n.Hosts, ip)) {
				if slices.Contains(out, n) {
					return nil, invalid("Machine '%s' is named twice", n.Name)
				}
				out, found = append(out, n), true
			}
		}
		if !found {
			return nil, invalid("Machine '%.300s' '%.100s' is no node of the region", host, ip)
		}
	}
	return out, nil
}

// updateSchedule replaces the windows of all nodes. It checks all of them first.
func (s *Servers) updateSchedule(ctx context.Context, who mesos.Caller, c *wire.OperatorCall) error {
	snap, err := s.region.Read(ctx, false)
	if err != nil {
		return err
	}
	wanted := map[structs.NodeID]*structs.Maintenance{}
	for _, w := range c.UpdateSchedule.Schedule.Windows {
		if len(w.Machines) == 0 {
			return invalid("List of machines in the maintenance window is empty")
		}
		nodes, err := machines(snap, w.Machines)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			if wanted[n.ID] != nil {
				return invalid("Machine '%s' appears more than once in the schedule", n.Name)
			}
			m := &structs.Maintenance{Window: structs.Window{Start: structs.Time(w.Unavailability.Start.Nanoseconds)}}
			if d := w.Unavailability.Duration; d != nil {
				m.Duration = structs.Duration(d.Nanoseconds)
			}
			if err := m.Problems(snap.Time()).Err(); err != nil {
				return invalid("Machine '%s': %v", n.Name, err)
			}
			wanted[n.ID] = m
		}
	}
	for n := range snap.Nodes() {
		m := wanted[n.ID]
		if m == nil && n.Maintenance != nil && n.Maintenance.Began {
			return invalid("Machine '%s' is in maintenance and not in the schedule: STOP_MAINTENANCE first", n.Name)
		}
	}
	for n := range snap.Nodes() {
		m := wanted[n.ID]
		if m == nil && n.Maintenance == nil || m != nil && n.Maintenance != nil && m.Window == n.Maintenance.Window {
			continue
		}
		if err := s.propose(ctx, who, &state.SetMaintenance{Node: n.ID, Maintenance: m}); err != nil {
			return err
		}
	}
	return nil
}

// startMaintenance begins windows now that are scheduled.
func (s *Servers) startMaintenance(ctx context.Context, who mesos.Caller, c *wire.OperatorCall) error {
	snap, nodes, err := s.scheduled(ctx, c.StartMachines.Machines)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		m := &structs.Maintenance{Window: n.Maintenance.Window, Drain: n.Maintenance.Drain, Reason: n.Maintenance.Reason}
		if start := max(snap.Time(), now()); m.Start > start {
			m.Start = start
			if err := s.propose(ctx, who, &state.SetMaintenance{Node: n.ID, Maintenance: m, ExpectStart: n.Maintenance.Start}); err != nil {
				return err
			}
		}
		if err := s.propose(ctx, who, &state.BeginMaintenance{Node: n.ID, Start: m.Start}); err != nil {
			return err
		}
	}
	return nil
}

// stopMaintenance ends windows: the nodes take work again.
func (s *Servers) stopMaintenance(ctx context.Context, who mesos.Caller, c *wire.OperatorCall) error {
	_, nodes, err := s.scheduled(ctx, c.StopMachines.Machines)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if err := s.propose(ctx, who, &state.SetMaintenance{Node: n.ID, ExpectStart: n.Maintenance.Start}); err != nil {
			return err
		}
	}
	return nil
}

// scheduled returns the nodes on machines, which all have windows.
func (s *Servers) scheduled(ctx context.Context, named []wire.MachineID) (*state.Snapshot, []*structs.Node, error) {
	snap, err := s.region.Read(ctx, false)
	if err != nil {
		return nil, nil, err
	}
	nodes, err := machines(snap, named)
	if err == nil && len(nodes) == 0 {
		err = invalid("List of machines is empty")
	}
	for _, n := range nodes {
		if err == nil && n.Maintenance == nil {
			err = invalid("Machine '%s' is not part of a maintenance schedule", n.Name)
		}
	}
	return snap, nodes, err
}
