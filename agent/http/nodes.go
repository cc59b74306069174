package http

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/agent/spec"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

func nodeList(c *call) (any, error) {
	return c.read([]state.Key{state.OfTable(state.Nodes)}, func(snap *state.Snapshot) (any, error) {
		return page(c, nodeKey, func(id string) seq[*structs.Node] { return snap.NodesFrom(structs.NodeID(id)) })
	})
}

// nodeNow returns the node of the path as it is now.
func (c *call) nodeNow() (*structs.Node, error) {
	snap, err := c.snapshot()
	if err != nil {
		return nil, err
	}
	return c.node(snap)
}

// nodeRead answers about the node of the path.
func (c *call) nodeRead(build func(*state.Snapshot, *structs.Node) (any, error)) (any, error) {
	found, err := c.nodeNow()
	if err != nil {
		return nil, err
	}
	return c.read([]state.Key{state.OfNode(found.ID), state.OfNodeAllocs(found.ID), state.OfTable(state.Reservations)}, func(snap *state.Snapshot) (any, error) {
		n, err := nodeByPrefix(snap, string(found.ID))
		if err != nil {
			return nil, err
		}
		return build(snap, n)
	})
}

func nodeGet(c *call) (any, error) {
	return c.nodeRead(func(snap *state.Snapshot, n *structs.Node) (any, error) {
		d := &api.NodeDetail{Node: *n, Used: snap.Usage(n.ID).Resources, Allocations: []*structs.Allocation{}}
		for _, x := range snap.RoomsOn(n) {
			d.Rooms = append(d.Rooms, &api.ReservedRoom{Role: x.Role, From: x.From, Reserved: x.Reserved, Unused: x.Unused})
		}
		if !c.yes("stale") {
			d.Slack, _ = c.s.Region.Slack(c.r.Context(), n.ID) // a leader that just went leaves it out
		}
		for a := range snap.AllocsOnNode(n.ID) {
			if d.Allocations = append(d.Allocations, a); len(d.Allocations) == maxStatus {
				break
			}
		}
		return d, nil
	})
}

func nodeStats(c *call) (any, error) {
	n, err := c.nodeNow()
	if err != nil {
		return nil, err
	}
	node, err := c.s.Region.Node(c.r.Context(), n.ID)
	if err != nil {
		return nil, err
	}
	stats, err := node.Machine(c.r.Context())
	if err != nil {
		return nil, err
	}
	stats.Resources = n.Available()
	return stats, nil
}

func nodeAllocs(c *call) (any, error) {
	return c.nodeRead(func(snap *state.Snapshot, n *structs.Node) (any, error) {
		return c.allocPage(slices.Collect(snap.AllocsOnNode(n.ID)))
	})
}

// nodeWrite proposes what command makes of the path's node.
func (c *call) nodeWrite(command func(*structs.Node) state.Command) (any, error) {
	n, err := c.nodeNow()
	if err != nil {
		return nil, err
	}
	return c.written(command(n), "")
}

func nodeEligibility(c *call) (any, error) {
	var body api.NodeEligibility
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Eligible == nil {
		return nil, structs.Errorf(structs.Invalid, "eligible", "it is missing")
	}
	return c.nodeWrite(func(n *structs.Node) state.Command {
		return &state.SetEligibility{Node: n.ID, Eligible: *body.Eligible, Reason: body.Reason}
	})
}

func nodeDrain(c *call) (any, error) {
	var body api.NodeDrain
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Off && body.Gone {
		return nil, structs.Errorf(structs.Invalid, "gone", "off is set too").Advise("use one of them")
	}
	switch {
	case body.Off && body.Kills:
		return nil, structs.Errorf(structs.Invalid, "kills", "off is set too").Advise("use one of them")
	case body.MaxGrace != nil && (!body.Kills || *body.MaxGrace < 0):
		return nil, structs.Errorf(structs.Invalid, "max_grace", "it is not for a drain that stops tasks at once, or negative").Advise("set kills, too")
	}
	return c.nodeWrite(func(n *structs.Node) state.Command {
		if body.Off {
			return &state.SetDrain{Node: n.ID, Eligible: !body.Keep, ExpectIndex: body.Check}
		}
		drain := &structs.Drain{Gone: body.Gone, Kills: body.Kills, MaxGrace: body.MaxGrace}
		if body.Deadline > 0 {
			drain.Deadline = structs.At(time.Now()).Add(body.Deadline)
		}
		return &state.SetDrain{Node: n.ID, Drain: drain, Reason: body.Reason, ExpectIndex: body.Check}
	})
}

func nodeMaintenance(c *call) (any, error) {
	var body api.NodeMaintenance
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Off {
		return c.nodeWrite(func(n *structs.Node) state.Command { return &state.SetMaintenance{Node: n.ID} })
	}
	now := structs.At(time.Now().Truncate(time.Second))
	m := &structs.Maintenance{Window: structs.Window{Start: body.Start, Duration: body.Duration}, Drain: body.Drain, Reason: body.Reason}
	switch {
	case m.Start == 0:
		m.Start = now.Add(max(body.In, 0))
	case body.In != 0:
		return nil, structs.Errorf(structs.Invalid, "in", "start is set too").Advise("use one of them")
	}
	if err := m.Problems(now).Err(); err != nil {
		return nil, err
	}
	return c.nodeWrite(func(n *structs.Node) state.Command { return &state.SetMaintenance{Node: n.ID, Maintenance: m} })
}

func maintenanceList(c *call) (any, error) {
	list, err := c.s.Region.Maintenance(c.r.Context())
	if err != nil {
		return nil, err
	}
	return page(c, func(m *structs.NodeMaintenance) string { return string(m.Node) }, func(from string) seq[*structs.NodeMaintenance] {
		i, _ := slices.BinarySearchFunc(list, from, func(m *structs.NodeMaintenance, id string) int { return strings.Compare(string(m.Node), id) })
		return slices.Values(list[i:])
	})
}

func nodePurge(c *call) (any, error) {
	n, err := c.nodeNow()
	if err != nil {
		return nil, err
	}
	result, err := c.propose(&state.RemoveNode{Node: n.ID, Gone: c.yes("gone")})
	if err != nil {
		return nil, err
	}
	return &api.NodePurged{Index: result.Index, LostVolumes: result.Answer.(*state.NodeRemoved).Lost}, nil
}

// pageOfRoles returns the page of roles that a call asks for.
func pageOfRoles(c *call, snap *state.Snapshot) ([]*structs.Role, error) {
	return page(c, func(r *structs.Role) string { return r.Name }, func(from string) seq[*structs.Role] {
		return func(yield func(*structs.Role) bool) {
			for r := range snap.Roles() {
				if r.Name >= from && !yield(r) {
					return
				}
			}
		}
	})
}

func roleList(c *call) (any, error) {
	keys := []state.Key{state.OfTable(state.Roles), state.OfTable(state.Jobs), state.OfTable(state.Allocs), state.OfTable(state.Reservations)}
	return c.read(keys, func(snap *state.Snapshot) (any, error) {
		roles, err := pageOfRoles(c, snap)
		if err != nil {
			return nil, err
		}
		reserved := reservedBelow(snap)
		list := make([]*api.RoleStatus, len(roles))
		for i, r := range roles {
			list[i] = roleStatus(snap, r, reserved)
		}
		return list, nil
	})
}

// reservedBelow returns what is reserved for roles, each with those below it. Of ports, whose numbers are of a node, it says how many.
func reservedBelow(snap *state.Snapshot) map[string]structs.Resources {
	sum := map[string]structs.Resources{}
	for r := range snap.AllReservations() {
		amount := r.Resources.WithoutPorts()
		amount.Ports = structs.CountIndexes(r.Resources.PortRanges())
		for name := range upwards(r.Role) {
			if r.Refines != "" && structs.RoleWithin(r.Refines, name) {
				break // it is in what is reserved for that role
			}
			sum[name] = sum[name].Add(amount)
		}
	}
	return sum
}

func roleStatus(snap *state.Snapshot, r *structs.Role, reserved map[string]structs.Resources) *api.RoleStatus {
	use := snap.RoleUse(r.Name)
	return &api.RoleStatus{Role: *r, Used: use.Resources, Reserved: reserved[r.Name], Jobs: use.Jobs}
}

// upwards yields a role and those above it.
func upwards(role string) seq[string] {
	return func(yield func(string) bool) {
		for role != "" && yield(role) {
			role = role[:max(0, strings.LastIndexByte(role, '/'))]
		}
	}
}

func roleGet(c *call) (any, error) {
	name, err := c.role()
	if err != nil {
		return nil, err
	}
	keys := []state.Key{state.OfRole(name), state.OfTable(state.Jobs), state.OfTable(state.Allocs), state.OfTable(state.Reservations)}
	return c.read(keys, func(snap *state.Snapshot) (any, error) {
		r := snap.Role(name)
		if r == nil {
			return nil, noRole(snap, name)
		}
		return roleStatus(snap, r, reservedBelow(snap)), nil
	})
}

func noRole(snap *state.Snapshot, name string) error {
	var names []string
	for r := range snap.Roles() {
		if names = append(names, r.Name); len(names) == mostNames {
			break
		}
	}
	return advise(structs.Errorf(structs.NotFound, `role "`+name+`"`, "there is none"), name, names)
}

func rolePut(c *call) (any, error) {
	name, err := c.role()
	if err != nil {
		return nil, err
	}
	raw, err := c.bytes()
	if err != nil {
		return nil, err
	}
	role, err := spec.ParseRole("body", raw)
	if err != nil {
		return nil, err
	}
	if role.Name == "" {
		role.Name = name
	}
	if role.Name != name {
		return nil, structs.Errorf(structs.Invalid, "name", "%q is not the role %q of the path", role.Name, name)
	}
	return c.written(&state.PutRole{Role: role, Force: c.yes("force")}, "")
}

func rolesPut(c *call) (any, error) {
	var roles []*structs.Role
	if c.mediaType() == "application/json" {
		if err := c.decode(&roles); err != nil {
			return nil, err
		}
		for i, r := range roles {
			if r == nil {
				return nil, structs.Errorf(structs.Invalid, fmt.Sprintf("[%d]", i), "it is null")
			}
			r.Canonicalize()
			if err := r.Validate(); err != nil {
				return nil, structs.Errorf(structs.Invalid, fmt.Sprintf("[%d]", i), "%w", err)
			}
		}
	} else {
		raw, err := c.bytes()
		if err != nil {
			return nil, err
		}
		if roles, err = spec.ParseRoles("body", raw); err != nil {
			return nil, err
		}
	}
	return c.written(&state.PutRoles{Roles: roles, Force: c.yes("force")}, "")
}

func roleDelete(c *call) (any, error) {
	name, err := c.role()
	if err != nil {
		return nil, err
	}
	answer, err := c.written(&state.DeleteRole{Name: name, Force: c.yes("force")}, "")
	if structs.KindOf(err) == structs.NotFound {
		return nil, noRole(c.s.Region.Store().Snapshot(), name)
	}
	return answer, err
}

func frameworkList(c *call) (any, error) {
	return c.read([]state.Key{state.OfTable(state.Frameworks)}, func(snap *state.Snapshot) (any, error) {
		return page(c, func(f *structs.Framework) string { return string(f.ID) }, func(from string) seq[*structs.Framework] {
			return func(yield func(*structs.Framework) bool) {
				for f := range snap.Frameworks() {
					if string(f.ID) >= from && !yield(f) {
						return
					}
				}
			}
		})
	})
}

func frameworkGet(c *call) (any, error) {
	return c.read([]state.Key{state.OfTable(state.Frameworks), state.OfTable(state.Operations)}, func(snap *state.Snapshot) (any, error) {
		f, err := c.framework(snap)
		if err != nil {
			return nil, err
		}
		out := &api.FrameworkDetail{Framework: *f}
		for range snap.OperationsOf(f.ID) {
			out.Unacknowledged++
		}
		return out, nil
	})
}

// frameworkTeardown removes an external framework, or forgets one that was removed.
func frameworkTeardown(c *call) (any, error) {
	snap, err := c.s.Region.Read(c.r.Context(), false)
	if err != nil {
		return nil, err
	}
	f, err := c.framework(snap)
	if err != nil {
		return nil, err
	}
	if f.BuiltIn {
		return nil, structs.Errorf(structs.Forbidden, "framework "+quoted(f.Name), "it is built in")
	}
	return c.written(&state.RemoveFramework{ID: f.ID, Forget: c.yes("forget"), Why: "an operator tore it down"}, "")
}

func frameworkOffers(c *call) (any, error) {
	snap, err := c.snapshot()
	if err != nil {
		return nil, err
	}
	f, err := c.framework(snap)
	if err != nil {
		return nil, err
	}
	return c.s.Region.OfferStatus(c.r.Context(), f.ID)
}

// framework returns the framework of the path, by id, its beginning, or name.
func (c *call) framework(snap *state.Snapshot) (*structs.Framework, error) {
	given := c.r.PathValue("id")
	if f := snap.Framework(structs.FrameworkID(given)); f != nil {
		return f, nil
	}
	var names []string
	var live, ended []*structs.Framework // of that name
	for f := range snap.Frameworks() {
		switch {
		case f.Name == given && f.Ended == 0:
			live = append(live, f)
		case f.Name == given:
			ended = append(ended, f)
		}
		names = append(names, f.Name)
	}
	if len(live) == 0 {
		live = ended
	}
	switch {
	case len(live) == 1:
		return live[0], nil
	case len(live) > 1:
		return nil, structs.Errorf(structs.Conflict, "framework "+quoted(given), "there are %d of that name", len(live)).Advise("give its id")
	}
	if structs.MayBeID(given) {
		return byPrefix("framework", given, func(f *structs.Framework) string { return string(f.ID) }, func(id string) seq[*structs.Framework] {
			return func(yield func(*structs.Framework) bool) {
				for f := range snap.Frameworks() {
					if string(f.ID) >= id && !yield(f) {
						return
					}
				}
			}
		})
	}
	return nil, advise(structs.Errorf(structs.NotFound, "framework "+quoted(given), "there is none"), given, names)
}

func offerList(c *call) (any, error) {
	offers, err := c.s.Region.Offers(c.r.Context())
	if err != nil {
		return nil, err
	}
	slices.SortFunc(offers, func(a, b *structs.Offer) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return page(c, func(o *structs.Offer) string { return string(o.ID) }, func(from string) seq[*structs.Offer] { return slices.Values(offers) })
}
