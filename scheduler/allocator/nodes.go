package allocator

import (
	"maps"
	"slices"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// node is the books of a node with its offers and what is held on it.
type node struct {
	*placement.Node
	total   []int64           // what it adds to the total
	offered structs.Resources // the part of what is held that offers hold
	offers  []*offer          // oldest first
	holds   int               // allocations and decisions
	grew    bool              // in Allocator.grown
	gone    bool              // removed; a tombstone until the last hold goes
	allocs  []*hold           // committed ones, in no order
	leaving int               // of these, the ones that are being stopped
	giving  []givesWay        // see givingWay
	relief  relief            // of giving
	given   bool              // giving is right, as long as the epoch is givenAt
	givenAt uint64
	claims  []*hold                          // room that waits for work to end, oldest first
	ripe    bool                             // in Allocator.ripe
	kept    *spot                            // room on it that is kept for a group
	inverse map[structs.FrameworkID]*inverse // made because of its window, by framework
	stale   bool                             // in Allocator.stale

	reservations []*structs.Reservation // by id, without static ones
	room         *room                  // nil when nothing is reserved
	reserved     []structs.Range        // ports of room, as the books have them
	views        []*view                // that n is in
	spare        *spare                 // nil when nothing on it is, or was said to be, revocable
}

// hold is one allocation or decision.
type hold struct {
	decision  uint64          // 0 for what is committed
	alloc     structs.AllocID // of what is committed
	node      *node
	client    *client
	job       string
	group     string
	tag       tag
	marks     *structs.Marks
	ask       *placement.Ask // of a claim: what it claims room for, see Allocator.phase
	amount    []int64
	resources structs.Resources
	ports     []structs.AssignedPort
	band      structs.Band // as asked
	leaving   bool         // it is being stopped
	victim    bool         // by preemption
	ordered   structs.Band // of a claim: as served
	seq       uint64       // of a claim
	check     structs.Time // of a claim: when to look for free room elsewhere
	checkAt   int          // in Allocator.byCheck
	created   structs.Time
	maxRun    structs.Duration // after its start; 0: it may run for ever
	ends      structs.Time     // at the latest, of what is committed; 0: not known
	at        int              // in the list of its node

	request string // of a decision; empty for an operation on an offer
	slot    Slot
	wanted  bool          // the slot waits again when it is refused
	with    *together     // of a gang's decision or claim
	ready   bool          // of a gang's claim: it has its room
	ganged  bool          // it is of a gang
	slack   structs.Slack // what of its resources is of the node's slack
	yields  structs.Slack // of that: what is being taken back while the rest of it stays; it is not leaving
	part    bool          // the rest of it stays when that is taken back
	firm    bool          // what is not of the slack ends then, too
	kin     *kin          // of what is committed, when it is of a gang
}

// SetNode makes a node or takes over what changed on it. Offers of a node where nothing may be placed are rescinded. The
// caller must not change spec afterwards.
func (a *Allocator) SetNode(spec *structs.Node) {
	n := a.node(spec.ID)
	if n.Spec() == spec {
		return
	}
	n.gone = false
	old := n.window()
	a.noteMade(n.Spec(), spec)
	n.SetSpec(spec)
	for _, c := range a.offering {
		c.seen.remove(n.Ord)
	}
	if n.room != nil || len(spec.ReservedFor) > 0 {
		a.rebook(n)
	}
	a.retotal(n)
	a.settle(n)
	a.rewindow(n, old)
	a.ripen(n)
	a.shrink(n)
	a.touch(n, true)
}

// RemoveNode forgets a node, and what was declined of it. What is held on it is accounted to its holders until it is
// released.
func (a *Allocator) RemoveNode(id structs.NodeID) {
	n := a.nodes[id]
	if n == nil {
		return
	}
	old := n.window()
	a.noteMade(n.Spec(), nil)
	n.SetSpec(nil)
	n.gone = true
	if n.spare != nil {
		n.spare.told = false
	}
	if n.room != nil {
		a.rebook(n)
	}
	a.retotal(n)
	a.settle(n)
	a.rewindow(n, old)
	for _, id := range slices.Sorted(maps.Keys(n.inverse)) {
		a.unask(n.inverse[id])
	}
	if n.kept != nil {
		a.unkeep(n.kept.kept)
	}
	for _, c := range a.offering {
		for _, w := range c.wishes {
			a.unfilter(w, n)
		}
	}
	a.ripen(n)
	a.touch(n, true) // a value that its work had is free for distinct_property
	a.bury(n)
}

// node returns the books of a node, empty ones when it is not known yet.
func (a *Allocator) node(id structs.NodeID) *node {
	n := a.nodes[id]
	if n == nil {
		n = &node{Node: placement.NewNode(id, nil)}
		if last := len(a.freeOrds) - 1; last >= 0 {
			n.Ord, a.freeOrds = a.freeOrds[last], a.freeOrds[:last]
			a.byOrd[n.Ord] = n
		} else {
			n.Ord = len(a.byOrd)
			a.byOrd = append(a.byOrd, n)
		}
		a.nodes[id] = n
	}
	return n
}

// bury gives the number of a removed node free once nothing is held on it.
func (a *Allocator) bury(n *node) {
	if !n.gone && n.Spec() != nil || n.holds > 0 || len(n.reservations) > 0 || a.nodes[n.ID] != n {
		return
	}
	a.dropSpare(n)
	delete(a.nodes, n.ID)
	a.freeOrds = append(a.freeOrds, n.Ord)
}

// retotal brings the total up to date: what nodes share from which the region hears.
func (a *Allocator) retotal(n *node) {
	addTo(&a.total, n.total, -1)
	n.total = nil
	if spec := n.Spec(); spec != nil && spec.Status == structs.NodeReady {
		n.total = a.amount(n.Available())
		addTo(&a.total, n.total, 1)
	}
	a.totalChanged = true
}

// settle rescinds offers of a node that may not be used, or that has less than is held, as those see it who have the
// offers, or whose ports are reserved for others meanwhile; the newest first.
func (a *Allocator) settle(n *node) {
	usable := n.Spec() != nil && n.Spec().Schedulable()
	for {
		i, why := len(n.offers)-1, "the node takes no new work"
		if usable {
			why = "the node has less than before"
			for i >= 0 && !overdrawn(n.freeFor(n.offers[i].client.view)) && !n.offers[i].misnamed() {
				i--
			}
			if i >= 0 && n.offers[i].misnamed() {
				why = "ports of it were reserved, or released"
			}
		}
		if i < 0 {
			break
		}
		a.rescind(n.offers[i], why)
	}
	a.settleSlack(n)
}

func overdrawn(free structs.Resources) bool {
	if free.CPU < 0 || free.Memory < 0 || free.Disk < 0 || free.Ports < 0 {
		return true
	}
	for _, v := range free.Custom {
		if v < 0 {
			return true
		}
	}
	return false
}

// touch notes that the books of n changed; grew says that something may fit now that did not before.
func (a *Allocator) touch(n *node, grew bool) {
	a.look(n)
	if x := n.kept; x != nil {
		x.fresh, a.keptChanged, grew = false, true, true // when it starts may have changed, and what ends before
		for _, o := range x.spots {
			if o != x && !o.node.grew {
				o.node.grew = true
				a.grown = append(a.grown, o.node)
			}
		}
	}
	a.changes++
	if len(a.reclaims) > 0 {
		a.changed = append(a.changed, int32(n.Ord))
		a.trimChanged()
	}
	a.reoffer(n)
	if grew && !n.grew {
		n.grew = true
		a.grown = append(a.grown, n)
	}
}

// look has the books of n read anew by all that keep something of them.
func (a *Allocator) look(n *node) {
	a.pool.Changed(n.Node)
	for _, v := range n.views {
		v.look(n)
	}
}

// take holds an allocation or a decision.
func (a *Allocator) take(h *hold) {
	h.node.Hold(h.client.account, h.booked(), h.ports)
	a.borrowSlack(h, 1)
	h.node.holds++
	a.count(h, 1)
	a.countParts(h, 1)
	a.charge(h.client.account, h.amount, true, h.high(), 1)
	a.touch(h.node, a.wanted(h))
}

// give releases what take took.
func (a *Allocator) give(h *hold) {
	if h.alloc != "" {
		a.uncommit(h)
	}
	h.node.Drop(h.client.account, h.booked(), h.ports)
	a.borrowSlack(h, -1)
	h.node.holds--
	a.count(h, -1)
	a.countParts(h, -1)
	a.touch(h.node, true)
	a.charge(h.client.account, h.amount, true, h.high(), -1)
	a.ripen(h.node)
	a.bury(h.node)
	a.prune(h.client.account)
}

// count keeps where work is.
func (a *Allocator) count(h *hold, by int) {
	a.countPeer(h.node, h.job, h.group, h.marks, by)
}

func (a *Allocator) countPeer(n *node, job, group string, marks *structs.Marks, by int) {
	if job == "" {
		return
	}
	a.work.Add(n.Node, job, group, marks, by)
	if by < 0 && a.peered[job] == 0 {
		a.work.Trim(job)
	}
}

// peersFor returns what a shape looks at of the other allocations of its job, nil for nothing.
func (a *Allocator) peersFor(s *shape) *placement.Peers {
	if !s.ask.Peered() {
		return nil
	}
	return a.work.Job(s.ask.Job)
}

// SetAllocation takes over the committed state of an allocation: its resources are held until it ended. Calling it again
// changes nothing. A decision is turned into its allocation by Confirm instead.
func (a *Allocator) SetAllocation(alloc *structs.Allocation) {
	old := a.allocs[alloc.ID]
	if !alloc.Holds() {
		a.RemoveAllocation(alloc.ID)
		return
	}
	if old != nil && old.is(alloc) {
		if alloc.Desired == structs.DesiredStop {
			a.leave(old)
		}
		return
	}
	a.RemoveAllocation(alloc.ID)
	back := alloc.Reclaim()
	h := &hold{alloc: alloc.ID, node: a.node(alloc.Node), client: a.clientOf(alloc.Framework, alloc.Role, alloc.Owner), job: alloc.Job,
		group: alloc.Group, marks: alloc.Marks, tag: tag{alloc.Owner, alloc.FrameworkScheduler}, amount: a.amount(alloc.Resources),
		resources: alloc.Resources, ports: alloc.Ports,
		band: alloc.Priority.Band, created: alloc.Created, maxRun: alloc.MaxRunDuration, ends: EndOf(alloc), ganged: alloc.Gang, slack: alloc.OfSlack(),
		part: back.Tasks != nil, firm: back.Firm}
	a.allocs[alloc.ID] = h
	a.take(h)
	a.commit(h)
	h.yield(back.Going)
	if alloc.Desired == structs.DesiredStop {
		a.leave(h)
	}
	a.settle(h.node)
}

// RemoveAllocation releases what an allocation holds.
func (a *Allocator) RemoveAllocation(id structs.AllocID) {
	if h := a.allocs[id]; h != nil {
		delete(a.allocs, id)
		a.give(h)
	}
}

// is reports whether h holds for alloc what alloc says.
func (h *hold) is(alloc *structs.Allocation) bool {
	back := alloc.Reclaim()
	return h.part == (back.Tasks != nil) && h.firm == back.Firm && back.Going.Within(h.yields) && h.node.ID == alloc.Node && h.client.framework == alloc.Framework && h.client.account.path == orDefault(alloc.Role) &&
		h.job == alloc.Job && h.group == alloc.Group && h.band == alloc.Priority.Band && h.created == alloc.Created && h.maxRun == alloc.MaxRunDuration &&
		h.ganged == alloc.Gang && h.tag == tag{alloc.Owner, alloc.FrameworkScheduler} && h.marks.Equal(alloc.Marks) &&
		h.slack == alloc.OfSlack() && equal(h.resources, alloc.Resources) && slices.Equal(h.ports, alloc.Ports)
}

// EndOf returns when an allocation has ended at the latest; zero when that is not known.
func EndOf(alloc *structs.Allocation) structs.Time {
	if alloc.MaxRunDuration <= 0 {
		return 0
	}
	return alloc.Created.Add(alloc.MaxRunDuration).Add(EndMargin)
}

// equal compares what matters for accounting; ranges and sets are compared by what one has beyond the other.
func equal(x, y structs.Resources) bool { return x.Fits(y) && y.Fits(x) }

// Confirm says that a decision was committed as alloc, which holds its resources from now on in its stead. An allocation
// that ended already holds nothing.
func (a *Allocator) Confirm(decision uint64, alloc *structs.Allocation) error {
	h := a.decisions[decision]
	if h == nil {
		return noDecision(decision)
	}
	a.settled(h)
	h.created, h.ends = alloc.Created, EndOf(alloc)
	if !alloc.Holds() || !h.is(alloc) || a.allocs[alloc.ID] != nil {
		a.give(h)
		a.SetAllocation(alloc)
		return nil
	}
	h.decision, h.alloc, h.request, h.with = 0, alloc.ID, "", nil
	a.allocs[alloc.ID] = h
	a.commit(h)
	if alloc.Desired == structs.DesiredStop {
		a.leave(h)
	}
	return nil
}

// Refuse says that a decision was not committed. Its resources are free again, and its slot waits again. The decisions that were
// made for a gang together with it are refused with it.
func (a *Allocator) Refuse(decision uint64) error {
	h := a.decisions[decision]
	if h == nil {
		return noDecision(decision)
	}
	if h.with != nil {
		a.refuseAll(h.with)
		return nil
	}
	a.settled(h)
	a.give(h)
	if h.wanted {
		a.again(h.request, h.slot)
	}
	return nil
}

func noDecision(id uint64) error {
	return structs.Errorf(structs.NotFound, "decision", "%d is not in flight", id)
}

// settled takes a decision out of what is in flight.
func (a *Allocator) settled(h *hold) {
	delete(a.decisions, h.decision)
	if placing := a.placing[h.request]; placing != nil {
		delete(placing, h.slot.Index)
		if len(placing) == 0 {
			delete(a.placing, h.request)
		}
	}
	if r := a.requests[h.request]; r != nil && r.gang != nil {
		a.ready(r.gang)
	}
}
