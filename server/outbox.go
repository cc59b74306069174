package server

import (
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// outbox gathers what the loop wants to be committed, each wish once until it was answered, and gives it out in commands
// that an entry takes. It belongs to the loop's goroutine.
type outbox struct {
	next state.Place // not sent yet

	// What was asked for and not answered.
	stops    map[structs.AllocID]struct{}
	updates  map[structs.AllocID]uint64 // to which version
	giveUps  map[giveUpKey]struct{}
	statuses map[string]*statusWish // by job, the newest
	sizes    map[*state.Accept]int  // of those that are not sent
}

type giveUpKey struct {
	job     string
	version uint64
	group   string
	index   int
}

type statusWish struct {
	cmd  *state.SetJobStatus
	sent bool
}

func newOutbox() outbox {
	return outbox{stops: map[structs.AllocID]struct{}{}, updates: map[structs.AllocID]uint64{},
		giveUps: map[giveUpKey]struct{}{}, statuses: map[string]*statusWish{},
		sizes: map[*state.Accept]int{}}
}

func (o *outbox) stop(id structs.AllocID, why string) { o.replace(id, why, 0) }

// preempt stops an allocation to make room for others.
func (o *outbox) preempt(id structs.AllocID, why string) {
	if _, asked := o.stops[id]; !asked {
		o.stops[id] = struct{}{}
		o.next.Stops = append(o.next.Stops, &state.Stop{ID: id, Why: why, Preempted: true})
	}
}

// takeBack has only what is revocable of an allocation end.
func (o *outbox) takeBack(id structs.AllocID, why string) {
	if _, asked := o.stops[id]; !asked {
		o.stops[id] = struct{}{}
		o.next.Stops = append(o.next.Stops, &state.Stop{ID: id, Why: why, Preempted: true, Revocable: true})
	}
}

// replace stops an allocation for a version of its job; 0: for nothing.
func (o *outbox) replace(id structs.AllocID, why string, by uint64) {
	if _, asked := o.stops[id]; !asked {
		o.stops[id] = struct{}{}
		o.next.Stops = append(o.next.Stops, &state.Stop{ID: id, Why: why, By: by})
	}
}

func (o *outbox) update(id structs.AllocID, version uint64) {
	if asked, ok := o.updates[id]; !ok || asked != version {
		o.updates[id] = version
		o.next.Updates = append(o.next.Updates, &state.Update{ID: id, Version: version})
	}
}

func (o *outbox) giveUp(g *state.GiveUp) {
	key := giveUpKey{g.Job, g.Version, g.Group, g.Index}
	if _, asked := o.giveUps[key]; !asked {
		o.giveUps[key] = struct{}{}
		o.next.GiveUps = append(o.next.GiveUps, g)
	}
}

func (o *outbox) status(s *state.SetJobStatus) {
	switch old := o.statuses[s.Name]; {
	case old != nil && *old.cmd == *s:
	case old != nil && !old.sent:
		*old.cmd = *s
	default:
		o.statuses[s.Name] = &statusWish{cmd: s}
		o.next.Statuses = append(o.next.Statuses, s)
	}
}

func (o *outbox) place(p *state.Placement) { o.next.Placements = append(o.next.Placements, p) }

// accept takes what a framework does with offers, of so many bytes in an entry. It goes whole.
func (o *outbox) accept(a *state.Accept, size int) {
	o.sizes[a] = size
	o.next.Accepts = append(o.next.Accepts, a)
}

// What each part of a command takes in an entry, in bytes, beside its texts; more than that rather than less.
const (
	partBytes      = 128
	placementBytes = 768
	portBytes      = 64
)

// take removes the next command, of about budget bytes, or returns nil. Stops go first.
func (o *outbox) take(budget int) *state.Place {
	cmd := &state.Place{}
	cmd.Stops = part(&o.next.Stops, &budget, func(s *state.Stop) int { return partBytes + len(s.Why) })
	cmd.Updates = part(&o.next.Updates, &budget, func(*state.Update) int { return partBytes })
	cmd.GiveUps = part(&o.next.GiveUps, &budget, func(g *state.GiveUp) int {
		return partBytes + len(g.Job) + len(g.Group) + len(g.Why)
	})
	cmd.Placements = o.takePlacements(&budget, len(cmd.Stops)+len(cmd.Updates)+len(cmd.GiveUps) == 0)
	cmd.Accepts = part(&o.next.Accepts, &budget, func(a *state.Accept) int {
		size := o.sizes[a]
		delete(o.sizes, a)
		return size
	})
	cmd.Statuses = part(&o.next.Statuses, &budget, func(s *state.SetJobStatus) int { return partBytes + len(s.Name) + len(s.Why) })
	if len(cmd.Stops)+len(cmd.Updates)+len(cmd.GiveUps)+len(cmd.Placements)+len(cmd.Accepts)+len(cmd.Statuses) == 0 {
		return nil
	}
	for _, s := range cmd.Statuses {
		if w := o.statuses[s.Name]; w != nil && w.cmd == s {
			w.sent = true
		}
	}
	return cmd
}

// takePlacements removes from the front of the placements what budget pays for, as part does; a gang goes whole, and when it costs more
// than that it goes first in a command.
func (o *outbox) takePlacements(budget *int, first bool) []*state.Placement {
	list, n := o.next.Placements, 0
	for n < len(list) && *budget > 0 {
		with, cost := state.Together(list[n:]), 0
		for _, p := range list[n : n+with] {
			cost += placementBytes + len(p.Alloc.Job) + len(p.Alloc.Group) + portBytes*len(p.Alloc.Ports) + 10*len(p.Alloc.Failures)
		}
		if cost > *budget && (n > 0 || with > 1 && !first) {
			*budget = 0
			break
		}
		*budget -= cost
		n += with
	}
	if o.next.Placements = list[n:]; n == len(list) {
		o.next.Placements = nil
	}
	return list[:n:n]
}

// part removes from the front of a list what budget pays for: the first one in any case, unless budget is used up.
func part[T any](list *[]T, budget *int, size func(T) int) []T {
	n := 0
	for n < len(*list) && *budget > 0 {
		cost := size((*list)[n])
		if cost > *budget && n > 0 {
			*budget = 0
			break
		}
		*budget -= cost
		n++
	}
	head := (*list)[:n:n]
	if *list = (*list)[n:]; len(*list) == 0 {
		*list = nil
	}
	return head
}

// answered notes that a command was carried out, so that what it asked for may be asked for again.
func (o *outbox) answered(cmd *state.Place) {
	for _, s := range cmd.Stops {
		delete(o.stops, s.ID)
	}
	for _, u := range cmd.Updates {
		if o.updates[u.ID] == u.Version {
			delete(o.updates, u.ID)
		}
	}
	for _, g := range cmd.GiveUps {
		delete(o.giveUps, giveUpKey{g.Job, g.Version, g.Group, g.Index})
	}
	for _, s := range cmd.Statuses {
		if w := o.statuses[s.Name]; w != nil && w.cmd == s {
			delete(o.statuses, s.Name)
		}
	}
}
