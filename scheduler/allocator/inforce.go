package allocator

import (
	"fmt"
	"time"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// What a request asks for is not the same at all times: constraints relax and harden with the time that it waits, and
// running work keeps others away from where it is. What it asks for now is the ask in force; its shape is of that one.
//
// The clock of a request runs while one of its slots waits, from the first Step in which one does. It starts anew with each
// placement where the request would have fitted as it was at first: as long as it gets what it asked for, nothing has to be
// relaxed (delay scheduling; Zaharia and others, 2010).

// inForce returns what a request asks for now.
func (a *Allocator) inForce(r *request) *placement.Ask { return a.phase(r).Among(a.work) }

// phase is inForce without what running work adds.
func (a *Allocator) phase(r *request) *placement.Ask {
	if r.since == 0 {
		return r.Ask
	}
	return r.Ask.At(a.now.Sub(r.since))
}

// askAnew puts a request among those that ask for the same now.
func (a *Allocator) askAnew(r *request) {
	old := r.group
	s := a.shape(a.inForce(r), old.client.view)
	if s == old.shape {
		return
	}
	if r.gang != nil {
		a.reshape(r, s)
		return
	}
	a.drop(r)
	if old.requests.len() == 0 && old.kept != nil {
		a.unkeep(old.kept)
	}
	r.group = a.group(old.client, old.band, s, old.tag)
	r.group.members++
	a.add(r)
	a.leaveGroup(old)
}

// begin has the clock of a request started by the next Step, when it has one and it does not run.
func (a *Allocator) begin(r *request) {
	if r.Ask.Phased() && r.gang == nil && r.since == 0 && len(r.pending) > 0 {
		a.starting = append(a.starting, r)
	}
}

// startClocks starts those that are due.
func (a *Allocator) startClocks() {
	for _, r := range a.starting {
		if a.requests[r.ID] == r && r.since == 0 && len(r.pending) > 0 {
			r.since = a.now
			a.setClock(r)
		}
	}
	clear(a.starting)
	a.starting = a.starting[:0]
}

// setClock notes when the ask of a request changes next.
func (a *Allocator) setClock(r *request) {
	a.offClock(r)
	if after, ok := r.Ask.Next(a.now.Sub(r.since)); ok {
		r.change = r.since.Add(after)
		a.byChange.push(r)
	}
}

// stopClock stops the clock of a request of which nothing waits any more.
func (a *Allocator) stopClock(r *request) {
	if r.since == 0 {
		return
	}
	a.offClock(r)
	r.since = 0
	a.askAnew(r)
}

func (a *Allocator) offClock(r *request) {
	if r.changeAt >= 0 {
		a.byChange.remove(r)
	}
}

// changeAsks puts requests whose time has come among those that ask for what they ask for now, and those that running work
// began to keep away, or does no longer.
func (a *Allocator) changeAsks() {
	for a.byChange.len() > 0 && a.byChange.top().change <= a.now {
		r := a.byChange.top()
		a.setClock(r)
		a.askAnew(r)
	}
	if marks := a.work.TakeNews(); len(marks) > 0 {
		for _, r := range a.requests {
			if r.Ask.Marked(marks) {
				a.askAnew(r)
			}
		}
	}
}

// restartClock starts the clock of a request anew when the node would have done for it at first. It is called before the
// room is taken.
func (a *Allocator) restartClock(h *hold) {
	r := a.requests[h.request]
	if r == nil || r.since == 0 {
		return
	}
	first := r.Ask.Among(a.work)
	if placement.Suits(h.node.Node, a.peersOfAsk(first), first) {
		r.since = a.now
		a.setClock(r)
		a.askAnew(r)
	}
}

// peersOfAsk returns what an ask looks at of other allocations, nil for nothing.
func (a *Allocator) peersOfAsk(ask *placement.Ask) *placement.Peers {
	if !ask.Peered() {
		return nil
	}
	return a.work.Look(ask.Job)
}

// wanted reports whether somebody who waits may fit as soon as h runs: it must be beside it.
func (a *Allocator) wanted(h *hold) bool {
	if len(a.wants) == 0 {
		return false
	}
	for _, mark := range placement.MarksOf(h.job, h.group, h.marks) {
		if a.wants[mark] > 0 {
			return true
		}
	}
	return false
}

// want counts, with a sign, what a shape must be beside.
func (a *Allocator) want(s *shape, sign int) {
	for _, mark := range s.ask.Wants() {
		if a.wants[mark] += sign; a.wants[mark] == 0 {
			delete(a.wants, mark)
		}
	}
}

// Change is a constraint of a request that relaxes or hardens.
type Change struct {
	placement.Change
	At structs.Time `json:"at"` // when; zero while its clock does not run
}

// Text tells it, as of a time: "in 3s it no longer insists on ${meta.rack} = r1".
func (c Change) Text(now structs.Time) string {
	insists := "no longer insists on"
	if c.Hard {
		insists = "insists on"
	}
	switch left := c.At.Sub(now); {
	case c.At == 0:
		return fmt.Sprintf("when it has waited %s it %s %s", c.After, insists, c.Rule)
	case left > 0:
		left = max(structs.Duration(left.Std().Round(time.Second)), structs.Duration(time.Second))
		return fmt.Sprintf("in %s it %s %s", left, insists, c.Rule)
	}
	return fmt.Sprintf("it %s %s, since it waited %s", insists, c.Rule, c.After)
}

// changesOf returns what changes with the time that a request waits.
func (a *Allocator) changesOf(r *request) (out []Change) {
	for _, c := range r.Ask.Changes() {
		x := Change{Change: c}
		if r.since != 0 {
			x.At = r.since.Add(c.After)
		}
		out = append(out, x)
	}
	return out
}
