package allocator

import (
	"cmp"
	"slices"
	"strings"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// Resource reclamation as in Borg (Verma and others, *Large-scale cluster management at Google with Borg*, 2015), with a pool of its
// own on each node: what is revocable takes what it does not find free on the node from the slack that the node reports. So nothing
// else depends on an estimate.

// spare is the slack of a node, and what of it is held.
type spare struct {
	session uint64        // of the node, in which it said so
	told    bool          // it said anything
	size    structs.Slack // that it said
	held    structs.Slack // by revocable allocations and decisions
	leaving structs.Slack // of that: by what is being stopped
	offers  []*offer      // of it, oldest first
	offered structs.Slack // that they hold
	shrunk  bool          // in Allocator.shrunk
}

// booked returns what h holds of its node's own room.
func (h *hold) booked() structs.Resources { return h.resources.Less(h.slack) }

// SetSlack says what of a node is reserved and not used, as the node said it in one of its sessions. It counts while that is the
// newest session and the node is ready; without it nothing more is placed there as revocable, and nothing is taken back.
func (a *Allocator) SetSlack(id structs.NodeID, session uint64, size structs.Slack) {
	n := a.nodes[id]
	if n == nil || n.Spec() == nil || n.spare == nil && size.IsZero() {
		return
	}
	x := a.spareOf(n)
	x.session, x.told, x.size = session, true, structs.Slack{CPU: max(size.CPU, 0), Memory: max(size.Memory, 0)}
	a.settleSlack(n)
	a.shrink(n)
	a.touch(n, true)
}

// spareOf returns the slack of a node, made when there was none.
func (a *Allocator) spareOf(n *node) *spare {
	if n.spare == nil {
		n.spare = &spare{}
		if a.spares == nil {
			a.spares = newView("")
			a.spares.spare = true
			for s := range a.blocked {
				a.unblock(s) // see hopeless
			}
		}
		a.spares.nodes[n] = placement.NewNode(n.ID, nil)
		n.views = append(n.views, a.spares)
	}
	return n.spare
}

// dropSpare forgets the slack of a node that is going.
func (a *Allocator) dropSpare(n *node) {
	if n.spare == nil {
		return
	}
	a.spares.look(n) // its spec is nil
	a.spares.leave(n)
	n.spare = nil
}

// slack returns how much of n's slack may be held; false when nothing is known of it.
func (n *node) slack() (structs.Slack, bool) {
	x, spec := n.spare, n.Spec()
	if x == nil || !x.told || spec == nil || spec.Status != structs.NodeReady || spec.Session != x.session {
		return structs.Slack{}, false
	}
	most := n.Available()
	return structs.Slack{CPU: min(x.size.CPU, most.CPU), Memory: min(x.size.Memory, most.Memory)}, true
}

// spareBack is what is left of n's slack: given back on its books, they show n as what is revocable sees it.
func (n *node) spareBack() structs.Resources {
	size, ok := n.slack()
	if !ok {
		return structs.Resources{}
	}
	left := size.Beyond(n.spare.held.Add(n.spare.offered))
	return structs.Resources{CPU: left.CPU, Memory: left.Memory}
}

// spareBooks returns n as what is revocable sees it, when asked for with what offers hold of the slack given back; nil when it
// takes none.
func (n *node) spareBooks(offers bool) *placement.Node {
	back := n.spareBack()
	if x := n.spare; offers && x != nil && len(x.offers) > 0 {
		size, _ := n.slack()
		left := size.Beyond(x.held)
		back.CPU, back.Memory = left.CPU, left.Memory
	}
	if back.IsZero() {
		return nil
	}
	return n.With(back)
}

// takesSlack reports whether any group of a shape may be revocable.
func (s *shape) takesSlack() bool {
	for g := range s.groups {
		if g.takesSlack() {
			return true
		}
	}
	return false
}

// takesSlack reports whether what a group asks for may be revocable: it is best-effort, and of no role whose work is never
// stopped for others.
func (g *group) takesSlack() bool {
	return g.band == structs.BestEffort && g.shape.gang == nil && !g.shape.ask.Whole && !g.client.account.exempts()
}

// exempts reports whether work of an account is never stopped for others.
func (acc *account) exempts() bool {
	for role := acc.roleOf(); role != nil; role = role.parent {
		if role.exempt {
			return true
		}
	}
	return false
}

// chooseSpare returns the node for a slot of a group where it fits in what is free and the slack, or nil. It has found that it fits
// nowhere in what is free alone.
func (a *Allocator) chooseSpare(g *group, slot Slot) *node {
	s := g.shape
	if a.spares == nil || !g.takesSlack() {
		return nil
	}
	if n := a.nodes[slot.Prefer]; n != nil && !a.outlasts(s, n) {
		if books := n.spareBooks(false); books != nil && placement.Fits(books, a.peersFor(s), s.ask, placement.First).OK {
			return n
		}
	}
	if s.spare == nil || !s.spare.IsBeside(s.index) {
		s.spare = a.spares.pool.Beside(s.index, func(ord int) *placement.Node { return a.spares.nodes[a.byOrd[ord]] })
	}
	best := s.spare.Best(a.avoid(s, slot))
	if best == nil {
		return nil
	}
	return a.byOrd[best.Ord]
}

// hopeless is the bands in which a shape fits nowhere when that is so in one of them: all below, but for best-effort where there may be
// slack.
func (a *Allocator) hopeless(band structs.Band) bandSet {
	if a.spares != nil && band > structs.BestEffort {
		return upTo(band) &^ upTo(structs.BestEffort)
	}
	return upTo(band)
}

// borrowSlack takes what a revocable hold has of its node's slack, or gives it back.
func (a *Allocator) borrowSlack(h *hold, sign int) {
	if h.slack.IsZero() {
		return
	}
	x := a.spareOf(h.node)
	if sign > 0 {
		x.held = x.held.Add(h.slack)
	} else {
		x.held = x.held.Sub(h.slack)
	}
}

// shrink has it looked at whether revocable work on n holds more than there is.
func (a *Allocator) shrink(n *node) {
	if n.spare != nil && !n.spare.shrunk {
		n.spare.shrunk = true
		a.shrunk = append(a.shrunk, n)
	}
}

// yield notes how much of what is revocable of h is being taken back while the rest of h stays.
func (h *hold) yield(amount structs.Slack) {
	if amount != h.yields {
		h.node.spare.leaving = h.node.spare.leaving.Sub(h.yields).Add(amount)
		h.yields = amount
	}
}

// reclaimSlack stops revocable work, with notice, where more of it is held than there is: lower bands first, then what takes nothing with it that
// is not revocable, then younger work, as much as is needed; what turns out not to be needed is spared, the last first. It is bounded by nothing:
// the machine needs it.
func (a *Allocator) reclaimSlack() {
	if len(a.shrunk) == 0 {
		return
	}
	nodes := a.shrunk
	a.shrunk = nil
	slices.SortFunc(nodes, func(x, y *node) int { return strings.Compare(string(x.ID), string(y.ID)) })
	for _, n := range nodes {
		x := n.spare
		if x == nil {
			continue
		}
		x.shrunk = false
		size, ok := n.slack()
		stay := x.held.Sub(x.leaving)
		if !ok || stay.Within(size) {
			continue
		}
		var holds, going []*hold
		for _, h := range n.allocs {
			if !h.leaving && h.slack != h.yields {
				holds = append(holds, h)
			}
		}
		slices.SortFunc(holds, func(x, y *hold) int {
			switch {
			case x.band != y.band:
				return cmp.Compare(x.band, y.band)
			case y.firm && !x.firm:
				return -1
			case x.firm && !y.firm:
				return 1
			}
			return cmp.Or(cmp.Compare(y.created, x.created), strings.Compare(string(y.alloc), string(x.alloc)))
		})
		for _, h := range holds {
			if stay.Within(size) {
				break
			}
			stay = stay.Sub(h.slack.Sub(h.yields))
			going = append(going, h)
		}
		for i := len(going) - 1; i >= 0; i-- {
			if with := stay.Add(going[i].slack.Sub(going[i].yields)); with.Within(size) {
				stay, going = with, slices.Delete(going, i, i+1)
			}
		}
		if len(going) == 0 {
			continue // what is in flight is looked at when it is committed
		}
		p := &Preempt{Node: n.ID, NodeName: n.Name()}
		for _, h := range going {
			if h.part {
				p.Parts = append(p.Parts, h.alloc)
				h.yield(h.slack)
				continue
			}
			p.Victims = append(p.Victims, h.alloc)
			a.leave(h)
		}
		a.out = append(a.out, Decision{Preempt: p})
	}
}
