package server

import (
	"fmt"
	"slices"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// endings says, by node, when what is held there ends at the latest, of what says so: it is being stopped, or has a
// max_run_duration.
func endings(snap *state.Snapshot, now structs.Time) map[structs.NodeID][]placement.Ending {
	out := map[structs.NodeID][]placement.Ending{}
	for a := range snap.Allocs() {
		at := allocator.EndOf(a)
		if a.Desired == structs.DesiredStop {
			at = now.Add(allocator.EndMargin)
		}
		if a.Holds() && at != 0 {
			out[a.Node] = append(out[a.Node], placement.Ending{At: at, Job: a.Job, Group: a.Group, Resources: a.Booked(), Ports: a.Ports, Marks: a.Marks})
		}
	}
	for id := range out {
		// What ends inside a reservation gives its room back to that.
		if n := snap.Node(id); n != nil && snap.RoomsOn(n) != nil {
			out[id] = nil
		}
	}
	return out
}

// addEndings adds when what is placed now has ended at the latest.
func addEndings(ends map[structs.NodeID][]placement.Ending, snap *state.Snapshot, places []*allocator.Place, now structs.Time) {
	for _, p := range places {
		if n := snap.Node(p.Node); p.MaxRun > 0 && n != nil && snap.RoomsOn(n) == nil {
			ends[p.Node] = append(ends[p.Node], placement.Ending{At: now.Add(p.MaxRun).Add(allocator.EndMargin), Job: p.Job, Group: p.Group,
				Resources: p.Resources, Ports: p.Ports, Marks: p.Marks})
		}
	}
}

// expected says when there is room at the latest for one more of a group, which fits nowhere now.
func (b *books) expected(ask *placement.Ask, ends map[structs.NodeID][]placement.Ending, now structs.Time) *structs.Expected {
	e := &structs.Expected{}
	for _, n := range b.nodes {
		if len(ends[n.ID]) == 0 {
			continue
		}
		at, ok := placement.ExpectedOn(n, b.peers, ask, ends[n.ID], now)
		if ok && (e.At == 0 || at < e.At || at == e.At && n.Name() < e.NodeName) {
			e.At, e.Node, e.NodeName = at, n.ID, n.Name()
		}
	}
	switch {
	case e.At != 0:
		e.Why = "what runs there has reached its max_run_duration by then"
	case len(ends) == 0:
		e.Why = "nothing that runs has a max_run_duration"
	default:
		e.Why = "on no node would what has a max_run_duration leave enough room"
	}
	return e
}

// expect fills in when a group that waits has room, as far as that is known.
func (b *books) expect(g *GroupExplanation, ends func() map[structs.NodeID][]placement.Ending, now structs.Time) {
	w := g.Standing
	switch {
	case g.Waiting == 0:
		return
	case w != nil && w.Because == allocator.OfClosed:
		g.Expected = &structs.Expected{Why: "role " + w.Closed + " is closed"}
	case w != nil && w.Because == allocator.OfQuota && slices.ContainsFunc(w.Quota, allocator.QuotaShort.Never):
		g.Expected = &structs.Expected{Why: "it asks for more than it may ever have, unless a bound grows"}
	case w != nil && w.Because == allocator.OfQuota:
		g.Expected = &structs.Expected{Why: "it depends on when work of role " + w.Quota[0].Role + " ends, or on its limit"}
	case w != nil && w.Pending == 0 && len(w.Claims) > 0:
		g.Expected = &structs.Expected{Why: "it depends on when what is being stopped for it has ended"}
	case w != nil && w.Kept != nil && w.Kept.Known:
		g.Expected = &structs.Expected{At: now.Add(w.Kept.In), Node: w.Kept.Node, NodeName: w.Kept.Name, Why: "room is kept for it there"}
		if w.Kept.Nodes > 1 {
			g.Expected.Why = fmt.Sprintf("room is kept for its gang there and on %d more nodes", w.Kept.Nodes-1)
		}
	case w != nil && w.Gang != nil && w.Because == allocator.OfNoNode:
		g.Expected = &structs.Expected{Why: "it depends on when all of gang " + w.Gang.ID + " fits at a time"}
	case g.Fit.Fits > 0:
		g.Expected = &structs.Expected{Why: "there is room, and it depends on when its turn comes"}
	default:
		g.Expected = b.expected(b.asks[g.Group], ends(), now)
		if w != nil && w.Turn != nil && g.Expected.At != 0 && w.Turn.At > 1 {
			g.Expected.Why += fmt.Sprintf("; %d come before it", w.Turn.At-1)
		}
	}
}
