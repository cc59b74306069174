package state

import (
	"fmt"
	"slices"

	"github.com/proffer/proffer/structs"
)

// Apply carries decisions out, each for itself, and those of a gang together.
func (c *Place) Apply(tx *Tx) (any, error) {
	out := &Placed{Index: tx.Index}
	var stopped map[structs.AllocID]uint64 // by this command, with the ModifyIndex before
	for _, s := range c.Stops {
		if a := get(tx.allocs, s.ID); a != nil && !a.Ended() && a.Desired != structs.DesiredStop {
			if stopped == nil {
				stopped = make(map[structs.AllocID]uint64, len(c.Stops))
			}
			stopped[a.ID] = a.ModifyIndex
			if s.Revocable && tx.takeBack(a, s.Why) {
				continue
			}
			if s.Preempted || s.Drained {
				a = tx.stoppedFor(a, s)
			}
			tx.replace(a, s.Why, s.By)
		}
	}
	for _, u := range c.Updates {
		if refused, why := tx.update(u); refused != "" {
			out.Updates = append(out.Updates, PlaceResult{u.ID, refused, why})
		}
	}
	for _, g := range c.GiveUps {
		tx.giveUp(g)
	}
	if len(c.Placements) > 0 {
		out.Placements = make([]PlaceResult, len(c.Placements))
	}
	for i := 0; i < len(c.Placements); {
		n := Together(c.Placements[i:])
		tx.placeTogether(c.Placements[i:i+n], stopped, out.Placements[i:i+n])
		i += n
	}
	for _, accept := range c.Accepts {
		out.Accepts = append(out.Accepts, tx.accept(accept))
	}
	for _, status := range c.Statuses {
		status.Apply(tx) // a conflict changes nothing: the job moved on, and is looked at again
	}
	return out, nil
}

// takeBack has those tasks of a pod end that run on what is revocable; false: it ends as a whole.
func (tx *Tx) takeBack(a *structs.Allocation, why string) bool {
	back := a.Reclaim().Tasks
	if back == nil {
		return false
	}
	next, external := *a, *a.External
	external.Tasks = slices.Clone(external.Tasks)
	for i, t := range external.Tasks {
		if slices.Contains(back, t) && t.TakenBack == "" {
			taken := *t
			taken.TakenBack = why
			external.Tasks[i] = &taken
		}
	}
	next.External, next.WantIndex = &external, tx.Index
	tx.putAlloc(a, next)
	return true
}

func (tx *Tx) update(u *Update) (Refusal, string) {
	a := get(tx.allocs, u.ID)
	if a == nil || a.Ended() || a.Desired != structs.DesiredRun {
		return RefusedChanged, "it ended or is being stopped"
	}
	r := get(tx.jobs, a.Job)
	if r == nil || r.Stopped || r.Version != u.Version {
		return RefusedJob, "the job is stopped or has another version"
	}
	if a.Version == u.Version {
		return "", ""
	}
	v := tx.version(a.Job, u.Version)
	if v == nil || v.Job.Group(a.Group) == nil {
		return RefusedJob, "the job has no such group any more"
	}
	next := *a
	next.Version, next.Priority, next.OnLost, next.WantIndex = u.Version, r.Priority, v.Job.Group(a.Group).OnLost, tx.Index
	next.Owner, next.FrameworkScheduler = v.Job.Owner, v.Job.FrameworkScheduler
	tx.putAlloc(a, next)
	return "", ""
}

func (tx *Tx) giveUp(g *GiveUp) {
	old := get(tx.jobs, g.Job)
	if old == nil || old.Type != structs.BatchJob || old.Version != g.Version || old.Stopped || g.Index < 0 ||
		structs.HasIndex(old.Finished[g.Group], g.Index) || structs.HasIndex(old.FailedFor[g.Group], g.Index) {
		return
	}
	d := newDraft(old)
	next := d.change()
	d.add(&next.FailedFor, &d.ownFailed, g.Group, g.Index)
	if g.Why != "" {
		next.Why = bounded(g.Why)
	}
	tx.putJob(old, *next)
	tx.settle(g.Job)
}

// place makes an allocation, or says why not.
func (tx *Tx) place(p *Placement, stopped map[structs.AllocID]uint64) (Refusal, string) {
	if p == nil || p.Alloc == nil || p.Alloc.ID == "" || p.Alloc.Index < 0 {
		return RefusedInvalid, "it has no id or a negative index"
	}
	a := *p.Alloc
	if get(tx.allocs, a.ID) != nil {
		return RefusedInvalid, "there is an allocation with this id"
	}
	if s := a.OfSlack(); s.CPU < 0 || s.Memory < 0 || !s.Within(a.Resources.Slack()) {
		return RefusedInvalid, "more of it is revocable than it has"
	}
	n := get(tx.nodes, a.Node)
	switch {
	case n == nil:
		return RefusedNode, "the node is gone"
	case !n.Schedulable():
		return RefusedNode, fmt.Sprintf("%s takes no work now", nodeText(n))
	case n.Incarnation != p.NodeIncarnation:
		return RefusedNode, fmt.Sprintf("%s came back as another incarnation", nodeText(n))
	}
	if refused, why := tx.wanted(&a); refused != "" {
		return refused, why
	}
	if refused, why := tx.follows(p, &a, stopped); refused != "" {
		return refused, why
	}
	claims, refused, why := tx.claim(n, &a, p.Borrow)
	if refused != "" {
		return refused, why
	}
	if refused, why := tx.fits(n, &a); refused != "" {
		return refused, why
	}
	if tx.starts == 0xffff {
		return RefusedInvalid, "one entry cannot make more than 65,535 allocations"
	}
	tx.starts++
	claims.settle(tx, &a)
	a.NodeName, a.Node = n.Name, n.ID
	a.Incarnation = tx.Index<<16 | tx.starts
	a.Desired, a.DesiredWhy, a.RestartTask, a.Restarts = structs.DesiredRun, "", "", 0
	a.Status, a.Why, a.Tasks, a.Started = structs.AllocPending, "", nil, 0
	a.Previous, a.Next = p.Replaces, ""
	if p.Job != nil {
		a.Version = a.Incarnation
		tx.put(Versions, nil, &structs.JobVersion{Job: p.Job, Version: a.Version, Time: tx.Now, Actor: tx.Actor, Index: tx.Index})
	}
	made := tx.putAlloc(nil, a)
	claims.bind(tx, n)
	if old := get(tx.allocs, p.Replaces); old != nil {
		next := *old
		next.Next = made.ID
		tx.putAlloc(old, next)
	}
	return "", ""
}

// wanted checks a against its job and fills in what the job says. Allocations of external frameworks have no job.
func (tx *Tx) wanted(a *structs.Allocation) (Refusal, string) {
	if a.Job == "" {
		if tx.framework(a.Framework) == nil {
			return RefusedJob, "its framework is gone"
		}
		return tx.known(a)
	}
	r := get(tx.jobs, a.Job)
	switch {
	case r == nil:
		return RefusedJob, "the job is gone"
	case r.Stopped:
		return RefusedJob, "the job is stopped"
	case r.Version != a.Version:
		return RefusedJob, fmt.Sprintf("the job has version %d now", r.Version)
	}
	v := tx.version(a.Job, r.Version)
	if v == nil || v.Job.Group(a.Group) == nil {
		return RefusedJob, "the job has no such group"
	}
	g := v.Job.Group(a.Group)
	if a.Index >= r.CountOf(g) {
		return RefusedFinished, "its index is not wanted any more"
	}
	if structs.HasIndex(r.Finished[a.Group], a.Index) || structs.HasIndex(r.FailedFor[a.Group], a.Index) {
		return RefusedFinished, "the work of its index is done"
	}
	// The job's own strings are kept, not those of the command: a million allocations share them.
	a.Job, a.Group, a.Role, a.Priority, a.OnLost = r.Name, g.Name, r.Role, r.Priority, g.OnLost
	a.Owner, a.FrameworkScheduler = v.Job.Owner, v.Job.FrameworkScheduler
	a.Gang = v.Job.Gang != nil
	if string(a.Framework) == r.Type {
		a.Framework = structs.FrameworkID(r.Type)
	}
	tx.shareMarks(a)
	return "", ""
}

// follows checks that nobody holds the index, and the allocation that p replaces: it is as the decision saw it, but for
// the stop that came with the decision.
func (tx *Tx) follows(p *Placement, a *structs.Allocation, stopped map[structs.AllocID]uint64) (Refusal, string) {
	fence, moves := a.OnLost == "fence", false
	if p.Replaces != "" {
		old := get(tx.allocs, p.Replaces)
		if old == nil {
			return RefusedChanged, "what it replaces is gone"
		}
		seen := old.ModifyIndex
		if before, ok := stopped[old.ID]; ok {
			seen = before
		}
		switch {
		case old.Job != a.Job || old.Group != a.Group || old.Index != a.Index:
			return RefusedInvalid, "what it replaces is of another index"
		case p.ReplacesIndex != 0 && p.ReplacesIndex != seen:
			return RefusedChanged, "what it replaces changed since"
		}
		fence = fence || old.OnLost == "fence"
		n := get(tx.nodes, old.Node)
		moves = !fence && n != nil && n.Drain != nil // then the old one runs on until the new one does
		if next := get(tx.allocs, old.Next); old.Next != "" && (!moves || next != nil && !next.Ended()) {
			return RefusedChanged, "what it replaces was replaced already"
		}
	}
	if a.Job == "" {
		return "", ""
	}
	for other := range tx.ofIndex(a.Job, a.Group, a.Index) {
		if !other.Ended() && (other.Desired == structs.DesiredRun || fence) && !(moves && other.ID == p.Replaces) {
			return RefusedHeld, fmt.Sprintf("allocation %s holds its index", structs.Short(other.ID))
		}
	}
	return "", ""
}

// fits checks the arithmetic of the node, ports included.
func (tx *Tx) fits(n *structs.Node, a *structs.Allocation) (Refusal, string) {
	free := n.Available()
	if u := get(tx.usage, n.ID); u != nil {
		free = free.Sub(u.Resources)
	}
	asked := a.Booked() // what is unused of others is known to the leader alone
	if !free.Fits(asked) {
		return RefusedResources, fmt.Sprintf("%s has %s free", nodeText(n), free)
	}
	rooms := tx.roomsOn(n)
	if rooms != nil {
		free = free.Sub(structs.UnusedOf(rooms)).Add(structs.UnusedFor(a.Role, rooms))
		if a.MaxRunDuration > 0 {
			free = free.Add(structs.LentTo(a.Role, rooms, tx.Now.Add(a.MaxRunDuration).Add(structs.EndMargin)))
		}
		if short(free, asked) {
			return RefusedResources, fmt.Sprintf("%s has %s free, without what is reserved for other roles", nodeText(n), free)
		}
	}
	if role, port := reservedFor(rooms, a, tx.Now); port != 0 {
		return RefusedPorts, fmt.Sprintf("port %d of %s is reserved for role %q", port, nodeText(n), role)
	}
	for i, p := range a.Ports {
		if by, taken := tx.portTaken(n.ID, p.Host, p.Port); taken {
			return RefusedPorts, fmt.Sprintf("port %d of %s is held by allocation %s", p.Port, nodeText(n), structs.Short(by))
		}
		for _, q := range a.Ports[:i] {
			if p.Port == q.Port && (p.Host == q.Host || p.Host == "" || q.Host == "") {
				return RefusedInvalid, fmt.Sprintf("it has port %d twice", p.Port)
			}
		}
	}
	return "", ""
}

// reservedFor returns the first port of an allocation that is reserved for a role which the allocation is not of, nor ends before that
// role needs it; 0 when there is none.
func reservedFor(rooms []structs.ReservedRoom, a *structs.Allocation, now structs.Time) (role string, port int) {
	for i := range rooms {
		x := &rooms[i]
		if structs.RoleWithin(a.Role, x.Role) || a.MaxRunDuration > 0 && now.Add(a.MaxRunDuration).Add(structs.EndMargin) <= x.From {
			continue
		}
		if held := structs.PortsIn(x.Reserved.PortRanges(), a.Ports); len(held) > 0 {
			return x.Role, int(held[0].First)
		}
	}
	return "", 0
}
