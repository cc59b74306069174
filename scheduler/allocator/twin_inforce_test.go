package allocator

import (
	"fmt"
	"slices"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

// phase is what a request asks for after the time that it waits.
func (w *twin) phase(r *twinRequest) *placement.Ask {
	if r.since == 0 {
		return r.Ask
	}
	return r.Ask.At(w.now.Sub(r.since))
}

// startClocks starts those of requests that wait, and ask for something else when they have waited.
func (w *twin) startClocks() {
	for _, r := range w.requests {
		if r.Ask.Phased() && len(r.pending) > 0 && r.since == 0 {
			r.since = w.now
		}
	}
}

// refresh finds the asks that are in force, and forgets groups that nobody is of any more.
func (w *twin) refresh() {
	_, peers := w.books("", "", nil)
	for _, r := range w.requests {
		r.now = w.phase(r).Among(peers.Work())
	}
	w.forgetGroups()
	w.kept = slices.DeleteFunc(w.kept, func(k *twinKept) bool { return !w.wants(k.key) })
}

// anew finds the ask in force of one request whose clock was stopped or started anew.
func (w *twin) anew(r *twinRequest) {
	_, peers := w.books("", "", nil)
	r.now = w.phase(r).Among(peers.Work())
	w.forgetGroups()
	w.kept = slices.DeleteFunc(w.kept, func(k *twinKept) bool { return !w.wants(k.key) })
}

// taken notes that the first slot of a request waits no longer.
func (w *twin) taken(r *twinRequest) {
	if r.pending = r.pending[1:]; len(r.pending) == 0 && r.since != 0 {
		r.since = 0
		w.anew(r)
	}
}

// restartClock starts a clock anew when the node, before the room is taken, would have done at first.
func (w *twin) restartClock(r *twinRequest, id structs.NodeID) {
	if r.since == 0 {
		return
	}
	nodes, peers := w.books(r.Role, r.Ask.Job, nil)
	if placement.Suits(nodes[id], peers, r.Ask.Among(peers.Work())) {
		r.since = w.now
		w.anew(r)
	}
}

// replaced keeps the clock of a request that asks for the same as before.
func (w *twin) replaced(now, old *twinRequest) {
	if old != nil && len(now.pending) > 0 && old.Framework == now.Framework && old.Role == now.Role && old.Priority.Band == now.Priority.Band &&
		old.Owner == now.Owner && old.FrameworkScheduler == now.FrameworkScheduler && old.Ask.Key() == now.Ask.Key() {
		now.since = old.since
	}
	_, peers := w.books("", "", nil)
	now.now = w.phase(now).Among(peers.Work())
}

// drawNeighbour makes a rule about other work, hard or soft.
func drawNeighbour(t *rapid.T, group *structs.Group) {
	operator := rapid.SampledFrom([]string{"beside", "not_beside", "not_beside"}).Draw(t, "operator")
	attribute := rapid.SampledFrom([]string{"", "", "${meta.rack}"}).Draw(t, "within")
	mark := rapid.SampledFrom([]string{"tag=noisy", "tag=noisy", "job=j", "job=k/g"}).Draw(t, "mark")
	if rapid.Bool().Draw(t, "hard") {
		group.Constraints = append(group.Constraints, &structs.Constraint{Attribute: attribute, Operator: operator, Value: mark})
	} else {
		group.Affinities = append(group.Affinities, &structs.Affinity{Attribute: attribute, Operator: operator, Value: mark,
			Weight: rapid.SampledFrom([]int{-70, 30, 100}).Draw(t, "weight")})
	}
}

// drawChanging makes constraints that relax or harden.
func drawChanging(t *rapid.T, group *structs.Group) {
	after := func(label string) structs.Duration {
		return structs.Duration(rapid.IntRange(1, 4).Draw(t, label)) * 5e9
	}
	for range rapid.IntRange(1, 2).Draw(t, "constraints") {
		c := &structs.Constraint{Attribute: "${meta.rack}", Value: rapid.SampledFrom([]string{"1", "2"}).Draw(t, "rack")}
		switch rapid.IntRange(0, 3).Draw(t, "changing") {
		case 0:
			c.Attribute, c.Operator, c.Value = "", "not_beside", "tag=noisy"
		case 1:
			c.Attribute, c.Operator, c.Value = "${node.name}", "set_contains_any", "n1,n3"
		}
		if rapid.Bool().Draw(t, "hardens") {
			c.HardenAfter = after("hardens after")
		} else {
			c.RelaxAfter = after("relaxes after")
		}
		group.Constraints = append(group.Constraints, c)
	}
}

// drawMarks makes what running work says of itself.
func drawMarks(t *rapid.T) *structs.Marks {
	switch rapid.IntRange(0, 5).Draw(t, "marks") {
	case 0:
		return &structs.Marks{Tags: []string{"noisy"}}
	case 1:
		return &structs.Marks{Away: []structs.Away{{Of: "tag=noisy"}}}
	case 2:
		return &structs.Marks{Away: []structs.Away{{Attribute: "${meta.rack}", Of: "job=k"}}}
	}
	return nil
}

// sameGroups compares who waits with whom, and since when; empty when both see it alike.
func sameGroups(a *Allocator, w *twin) string {
	for id, r := range a.requests {
		g, other := r.group, w.requests[id]
		key := other.key()
		if r.gang != nil {
			g, key = r.gang.lead.group, other.gang.key()
		}
		wait := w.waits[key]
		if wait == nil {
			wait = &twinWait{}
		}
		kept := slices.ContainsFunc(w.kept, func(k *twinKept) bool { return k.key == key })
		if r.group.shape.ask.Key() != other.now.Key() || (g.kept != nil) != kept || wait.since != g.since || wait.retry != g.retry {
			return fmt.Sprintf("%s waits with %q since %v (retry %v, kept %v); contract: with %q since %v (retry %v, kept %v)", id, r.group.shape.ask.Key(),
				g.since, g.retry, g.kept != nil, other.now.Key(), wait.since, wait.retry, kept)
		}
	}
	return ""
}
