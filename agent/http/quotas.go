package http

import (
	"strings"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

func quotaList(c *call) (any, error) {
	keys := []state.Key{state.OfTable(state.Roles), state.OfTable(state.Jobs), state.OfTable(state.Allocs)}
	return c.read(keys, func(snap *state.Snapshot) (any, error) {
		roles, err := pageOfRoles(c, snap)
		if err != nil {
			return nil, err
		}
		waiting := snap.WaitingResources()
		list := make([]*api.QuotaStatus, len(roles))
		for i, r := range roles {
			list[i] = quotaOf(snap, r, waiting)
		}
		return list, nil
	})
}

func shareList(c *call) (any, error) {
	all, err := c.s.Region.Shares(c.r.Context())
	if err != nil {
		return nil, err
	}
	list, top := []*structs.RoleStanding{}, c.str("role")
	for _, s := range all {
		if top == "" || s.Role == top || strings.HasPrefix(s.Role, top+"/") {
			if s.Frameworks == nil {
				s.Frameworks = []*structs.FrameworkStanding{}
			}
			list = append(list, s)
		}
	}
	if len(list) == 0 && top != "" {
		return nil, noRole(c.s.Region.Store().Snapshot(), top)
	}
	return list, nil
}

func quotaGet(c *call) (any, error) {
	name, err := c.role()
	if err != nil {
		return nil, err
	}
	keys := []state.Key{state.OfTable(state.Roles), state.OfTable(state.Jobs), state.OfTable(state.Allocs)}
	return c.read(keys, func(snap *state.Snapshot) (any, error) {
		r := snap.Role(name)
		if r == nil {
			return nil, noRole(snap, name)
		}
		q := quotaOf(snap, r, snap.WaitingResources())
		for _, p := range snap.Parts(r) {
			q.Parts = append(q.Parts, &api.QuotaPart{Owner: p.Owner, FrameworkScheduler: p.Owner == "", Running: p.Running, Used: p.Used, Limit: p.Limit})
		}
		return q, nil
	})
}

func quotaOf(snap *state.Snapshot, r *structs.Role, waiting map[string]structs.Resources) *api.QuotaStatus {
	use := snap.RoleUse(r.Name)
	return &api.QuotaStatus{Role: r.Name, Guarantee: r.Guaranteed(), Limit: r.Limited(), Used: use.Resources, Waiting: waiting[r.Name],
		Running: use.Allocs, MaxRunning: r.MaxRunning, Pending: use.Pending, MaxPending: r.MaxPending}
}
