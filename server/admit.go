package server

import (
	"cmp"
	"context"
	"time"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// admitted is what the allocator makes of a group that is planned.
type admitted struct {
	places []*allocator.Place // at most planLimit for all groups together
	wait   string             // the limit of a role that holds the others back; empty: none does

	claims int                   // that get room when work of lower bands was stopped
	stops  []*structs.Allocation // that work
}

// admit asks an allocator with the state's books, as the loop would if nobody else asked, how much of what waits of a job
// the quota of its role lets in, and for how much of it other work would be stopped. It fails as the submission would when
// the role does not take the job.
func (s *Server) admit(ctx context.Context, snap *state.Snapshot, job *structs.Job, groups []*GroupExplanation, asks map[string]*placement.Ask) (map[string]admitted, error) {
	a := allocator.New(s.sharing(0))
	if err := feed(a, snap); err != nil {
		return nil, err
	}
	tell(a, s.slacks(ctx))
	role, priority, err := snap.Admits(job, s.shared.Load().Sealed)
	if err != nil {
		return nil, err
	}
	gang := allocator.Gang{ID: job.Name}
	for _, g := range groups {
		held := make(map[int]bool, len(g.Held))
		for _, a := range g.Held {
			held[a.Index] = true
		}
		slots := make([]allocator.Slot, 0, min(g.Waiting, planLimit))
		for i := 0; len(slots) < cap(slots); i++ {
			if !held[i] {
				slots = append(slots, allocator.Slot{Index: i})
			}
		}
		r := &allocator.Request{ID: g.Group, Framework: structs.FrameworkID(cmp.Or(job.Type, structs.ServiceJob)),
			Role: role, Priority: priority, Seq: 1, Ask: asks[g.Group], Slots: slots,
			Owner: job.Owner, FrameworkScheduler: job.FrameworkScheduler}
		if job.Gang != nil {
			gang.Requests = append(gang.Requests, r)
		} else if err := a.SetRequest(r); err != nil {
			return nil, err
		}
	}
	if len(gang.Requests) > 0 {
		if err := a.SetGang(&gang); err != nil {
			return nil, err
		}
	}
	out := make(map[string]admitted, len(groups))
	for _, d := range a.Step(structs.At(time.Now()), planLimit) {
		if d.Place != nil {
			g := out[d.Place.Group]
			g.places = append(g.places, d.Place)
			out[d.Place.Group] = g
		} else if p := d.Preempt; p != nil {
			g := out[p.Request]
			g.claims++
			for _, id := range p.Victims {
				g.stops = append(g.stops, snap.Alloc(id))
			}
			out[p.Request] = g
		}
	}
	for _, g := range groups {
		if w, ok := a.Explain(g.Group); ok && (w.Because == allocator.OfQuota || w.Because == allocator.OfClosed ||
			w.Because == allocator.OfNoNode && (job.Gang != nil || w.Ordered != w.Priority.Band)) {
			in := out[g.Group]
			in.wait = OrderText(&w)
			out[g.Group] = in
		}
	}
	return out, nil
}
