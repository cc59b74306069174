package operator

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// change carries a call out that changes something.
type change func(ctx context.Context, who mesos.Caller, c *wire.OperatorCall) error

func (s *Servers) changes() map[wire.OperatorCallType]change {
	return map[wire.OperatorCallType]change{
		wire.OperatorUpdateWeights:             s.updateWeights,
		wire.OperatorUpdateQuota:               s.updateQuota,
		wire.OperatorSetQuota:                  s.setQuota,
		wire.OperatorRemoveQuota:               s.removeQuota,
		wire.OperatorReserveResources:          s.reserve,
		wire.OperatorUnreserveResources:        s.unreserve,
		wire.OperatorCreateVolumes:             s.createVolumes,
		wire.OperatorDestroyVolumes:            s.destroyVolumes,
		wire.OperatorGrowVolume:                s.growVolume,
		wire.OperatorShrinkVolume:              s.shrinkVolume,
		wire.OperatorUpdateMaintenanceSchedule: s.updateSchedule,
		wire.OperatorStartMaintenance:          s.startMaintenance,
		wire.OperatorStopMaintenance:           s.stopMaintenance,
		wire.OperatorTeardown:                  s.teardown,
		wire.OperatorMarkAgentGone:             s.markGone,
		wire.OperatorDrainAgent:                s.drain,
		wire.OperatorDeactivateAgent:           s.deactivate,
		wire.OperatorReactivateAgent:           s.reactivate,
		wire.OperatorSetLoggingLevel: func(_ context.Context, _ mesos.Caller, c *wire.OperatorCall) error {
			return setLevel(s.Verbose, c.SetLoggingLevel)
		},
	}
}

func (s *Servers) propose(ctx context.Context, who mesos.Caller, cmd state.Command) error {
	_, _, err := s.region.Propose(ctx, structs.NewID(), who.Actor, cmd)
	return err
}

func invalid(format string, args ...any) error {
	return mesos.Refuse(http.StatusBadRequest, format, args...)
}

// rolesWith returns roles as they are, those that do not exist as they would be made, changed.
func rolesWith(snap *state.Snapshot, names []string, change func(i int, r *structs.Role)) (out []*structs.Role, err error) {
	for i, name := range names {
		name = mesos.RoleIn(name)
		if !structs.ValidRole(name) {
			return nil, invalid("Role '%.300s' is invalid", name)
		}
		if slices.ContainsFunc(out, func(r *structs.Role) bool { return r.Name == name }) {
			return nil, invalid("Role '%s' is named twice", name)
		}
		r := &structs.Role{Name: name}
		if old := snap.Role(name); old != nil {
			*r = *old
		}
		r.Implicit = false
		change(i, r)
		r.Canonicalize()
		if err := r.Validate(); err != nil {
			return nil, invalid("Role '%s': %v", name, err)
		}
		out = append(out, r)
	}
	return out, nil
}

func (s *Servers) updateWeights(ctx context.Context, who mesos.Caller, c *wire.OperatorCall) error {
	all := c.UpdateWeights.Weights
	if len(all) == 0 {
		return nil
	}
	names := make([]string, len(all))
	for i, w := range all {
		if math.IsNaN(w.Weight) || w.Weight < 0.001 || w.Weight > 1e6 {
			return invalid("Weight %v of role '%.300s' is not in the range of 0.001 to 1000000", w.Weight, wire.TextOf(w.Role))
		}
		names[i] = wire.TextOf(w.Role)
	}
	snap, err := s.region.Read(ctx, false)
	if err != nil {
		return err
	}
	roles, err := rolesWith(snap, names, func(i int, r *structs.Role) { r.Weight = structs.Milli(math.Round(all[i].Weight * 1000)) })
	if err != nil {
		return err
	}
	return s.propose(ctx, who, &state.PutRoles{Roles: roles})
}

func (s *Servers) updateQuota(ctx context.Context, who mesos.Caller, c *wire.OperatorCall) error {
	all := c.UpdateQuota.Configs
	names, quotas := make([]string, len(all)), make([]*structs.Quota, len(all))
	for i, x := range all {
		names[i] = x.Role
		guarantee, err := mesos.AmountOf(x.Guarantees)
		if err != nil {
			return invalid("Invalid quota of role '%.300s': %v", x.Role, err)
		}
		limit, err := mesos.AmountOf(x.Limits)
		if err != nil {
			return invalid("Invalid quota of role '%.300s': %v", x.Role, err)
		}
		quotas[i] = quotaOf(guarantee, len(x.Guarantees), limit, len(x.Limits))
	}
	return s.putQuotas(ctx, who, names, quotas, c.UpdateQuota.Force != nil && *c.UpdateQuota.Force)
}

func quotaOf(guarantee *structs.QuotaAmount, guarantees int, limit *structs.QuotaAmount, limits int) *structs.Quota {
	q := &structs.Quota{}
	if guarantees > 0 {
		q.Guarantee = guarantee
	}
	if limits > 0 {
		q.Limit = limit
	}
	if q.Guarantee == nil && q.Limit == nil {
		return nil
	}
	return q
}

func (s *Servers) putQuotas(ctx context.Context, who mesos.Caller, names []string, quotas []*structs.Quota, force bool) error {
	if len(names) == 0 {
		return nil
	}
	snap, err := s.region.Read(ctx, false)
	if err != nil {
		return err
	}
	roles, err := rolesWith(snap, names, func(i int, r *structs.Role) { r.Quota = quotas[i] })
	if err != nil {
		return err
	}
	return s.propose(ctx, who, &state.PutRoles{Roles: roles, Force: force})
}

// setQuota is the old form: what is guaranteed is the limit as well.
func (s *Servers) setQuota(ctx context.Context, who mesos.Caller, c *wire.OperatorCall) error {
	q := c.SetQuota.Request
	amounts := map[string]*wire.Scalar{}
	for _, r := range q.Guarantee {
		if r.Type != wire.ValueScalar || r.Scalar == nil || amounts[r.Name] != nil {
			return invalid("Invalid quota: resource '%.100s' is no scalar, or is named twice", r.Name)
		}
		amounts[r.Name] = r.Scalar
	}
	if len(amounts) == 0 || wire.TextOf(q.Role) == "" {
		return invalid("Invalid quota: it names no role, or guarantees nothing")
	}
	amount, err := mesos.AmountOf(amounts)
	if err != nil {
		return invalid("Invalid quota of role '%.300s': %v", *q.Role, err)
	}
	return s.putQuotas(ctx, who, []string{*q.Role}, []*structs.Quota{{Guarantee: amount, Limit: amount}}, q.Force != nil && *q.Force)
}

func (s *Servers) removeQuota(ctx context.Context, who mesos.Caller, c *wire.OperatorCall) error {
	snap, err := s.region.Read(ctx, false)
	if err != nil {
		return err
	}
	if r := snap.Role(mesos.RoleIn(c.RemoveQuota.Role)); r == nil || r.Quota == nil {
		return invalid("Role '%.300s' has no quota set", c.RemoveQuota.Role)
	}
	return s.putQuotas(ctx, who, []string{c.RemoveQuota.Role}, []*structs.Quota{nil}, false)
}

// agent returns a node that a call names.
func (s *Servers) agent(ctx context.Context, of wire.ID) (*state.Snapshot, *structs.Node, error) {
	snap, err := s.region.Read(ctx, false)
	if err != nil {
		return nil, nil, err
	}
	n := snap.Node(structs.NodeID(of.Value))
	if n == nil {
		return snap, nil, structs.Errorf(structs.NotFound, "agent", "No agent found with specified ID '%.100s'", of.Value)
	}
	return snap, n, nil
}

// reserve sets room aside. When a later one is refused, those before are released again.
func (s *Servers) reserve(ctx context.Context, who mesos.Caller, c *wire.OperatorCall) error {
	_, n, err := s.agent(ctx, c.Reserve.AgentID)
	if err != nil {
		return err
	}
	if len(c.Reserve.Source) > 0 {
		return invalid("Invalid RESERVE operation: 'source' is not served: release what is reserved first")
	}
	all, err := mesos.ReservationsOf(c.Reserve.Resources)
	if err != nil {
		return invalid("Invalid RESERVE operation: %v", err)
	}
	var made []structs.ReservationID
	for _, r := range all {
		r.ID, r.Node = structs.ReservationID(structs.NewID()), n.ID
		if r.Principal == "" {
			r.Principal = who.Principal
		}
		if err := s.propose(ctx, who, &state.PutReservation{Reservation: r}); err != nil {
			if len(made) > 0 {
				if undo := s.propose(ctx, who, &state.DeleteReservations{IDs: made, Force: true}); undo != nil {
					return fmt.Errorf("%w; and what was reserved before could not be released: %v", err, undo)
				}
			}
			return err
		}
		made = append(made, r.ID)
	}
	return nil
}

// unreserve releases reservations of operators. They are released whole: an amount that is a part of one is refused.
func (s *Servers) unreserve(ctx context.Context, who mesos.Caller, c *wire.OperatorCall) error {
	snap, n, err := s.agent(ctx, c.Unreserve.AgentID)
	if err != nil {
		return err
	}
	all, err := mesos.ReservationsOf(c.Unreserve.Resources)
	if err != nil {
		return invalid("Invalid UNRESERVE operation: %v", err)
	}
	var ids []structs.ReservationID
	for _, want := range all {
		left := want.Resources
		for _, r := range snap.ReservedOn(n.ID) {
			if r.Role == want.Role && r.Refines == want.Refines && maps.Equal(r.Labels, want.Labels) && left.Fits(r.Resources) && !slices.Contains(ids, r.ID) {
				ids, left = append(ids, r.ID), left.Sub(r.Resources)
			}
		}
		if !left.IsZero() {
			return mesos.Refuse(http.StatusConflict, "Invalid UNRESERVE operation: there are no reservations of role '%s' on the agent that add up to this: %s are too much. "+
				"Reservations are released whole", mesos.RoleOut(want.Role), left)
		}
	}
	return s.propose(ctx, who, &state.DeleteReservations{IDs: ids})
}

func (s *Servers) createVolumes(ctx context.Context, who mesos.Caller, c *wire.OperatorCall) error {
	_, n, err := s.agent(ctx, c.Create.AgentID)
	if err != nil {
		return err
	}
	var all []*structs.Volume
	for i := range c.Create.Volumes {
		v, err := mesos.VolumeOf(&c.Create.Volumes[i])
		if err != nil {
			return invalid("Invalid CREATE operation: %v", err)
		}
		if v.Disk, err = diskAt(n, v.Disk); err != nil {
			return err
		}
		v.Name, v.Node = server.NewVolumeName(v.Persistence), n.ID
		if v.Principal == "" {
			v.Principal = who.Principal
		}
		all = append(all, v)
	}
	if len(all) == 0 {
		return invalid("Invalid CREATE operation: no volumes are named")
	}
	for i, v := range all {
		if err := s.propose(ctx, who, &state.PutVolume{Volume: v}); err != nil {
			for _, made := range all[:i] {
				if undo := s.propose(ctx, who, &state.DeleteVolume{Name: made.Name}); undo != nil {
					return fmt.Errorf("%w; and volume %q, which was made before, could not be deleted: %v", err, made.Name, undo)
				}
			}
			return err
		}
	}
	return nil
}

// diskAt returns the name of the disk of a node that has its root at path; empty for that of its data folder.
func diskAt(n *structs.Node, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	for _, name := range sorted(n.Disks) {
		if n.Disks[name].Path == path {
			return name, nil
		}
	}
	return "", mesos.Refuse(http.StatusConflict, "Invalid CREATE operation: the agent has no disk at '%.300s'", path)
}

// volume returns the volume on a node that a resource is.
func volume(snap *state.Snapshot, n *structs.Node, r *wire.Resource) (*structs.Volume, error) {
	name, is := mesos.VolumeNameOf(r)
	if !is {
		return nil, invalid("Invalid operation: Resource does not have 'persistence'")
	}
	for _, v := range snap.VolumesOn(n) {
		if v.Persistence == name.Persistence && v.Role == name.Role && v.Status == structs.VolumeReady {
			return v, nil
		}
	}
	return nil, mesos.Refuse(http.StatusConflict, "Invalid operation: there is no volume '%.300s' of role '%s' on the agent", name.Persistence, mesos.RoleOut(name.Role))
}

func (s *Servers) destroyVolumes(ctx context.Context, who mesos.Caller, c *wire.OperatorCall) error {
	snap, n, err := s.agent(ctx, c.Destroy.AgentID)
	if err != nil {
		return err
	}
	var all []*structs.Volume
	for i := range c.Destroy.Volumes {
		v, err := volume(snap, n, &c.Destroy.Volumes[i])
		if err != nil {
			return err
		}
		for range snap.Claimants(v) {
			return mesos.Refuse(http.StatusConflict, "Invalid DESTROY operation: volume '%s' is in use", v.Persistence)
		}
		all = append(all, v)
	}
	if len(all) == 0 {
		return invalid("Invalid DESTROY operation: no volumes are named")
	}
	for _, v := range all {
		if err := s.propose(ctx, who, &state.DeleteVolume{Name: v.Name, ID: v.ID}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Servers) growVolume(ctx context.Context, who mesos.Caller, c *wire.OperatorCall) error {
	if c.Grow.Addition.Scalar == nil {
		return invalid("Invalid GROW_VOLUME operation: 'addition' is no scalar")
	}
	return s.resize(ctx, who, c.Grow.AgentID, &c.Grow.Volume, c.Grow.Addition.Scalar.Value, 1)
}

func (s *Servers) shrinkVolume(ctx context.Context, who mesos.Caller, c *wire.OperatorCall) error {
	return s.resize(ctx, who, c.Shrink.AgentID, &c.Shrink.Volume, c.Shrink.Subtract.Value, -1)
}

func (s *Servers) resize(ctx context.Context, who mesos.Caller, agent *wire.ID, r *wire.Resource, by float64, sign structs.Bytes) error {
	if agent == nil {
		return invalid("Invalid operation: Expecting 'agent_id' to be present")
	}
	amount, err := mesos.Bytes(by)
	if err != nil || amount == 0 {
		return invalid("Invalid operation: %v is no amount", by)
	}
	snap, n, err := s.agent(ctx, *agent)
	if err != nil {
		return err
	}
	v, err := volume(snap, n, r)
	if err != nil {
		return err
	}
	return s.propose(ctx, who, &state.ResizeVolume{Name: v.Name, ID: v.ID, Size: v.Size + sign*amount})
}

func (s *Servers) teardown(ctx context.Context, who mesos.Caller, c *wire.OperatorCall) error {
	snap, err := s.region.Read(ctx, false)
	if err != nil {
		return err
	}
	f := snap.Framework(structs.FrameworkID(c.Teardown.FrameworkID.Value))
	switch {
	case f == nil || f.Ended != 0:
		return invalid("No framework found with specified ID")
	case f.BuiltIn:
		return invalid("Framework '%s' is built in: stop its jobs instead", f.Name)
	}
	return s.propose(ctx, who, &state.RemoveFramework{ID: f.ID, Why: "an operator tore it down"})
}
