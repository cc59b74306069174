package simulate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/structs"
)

// World is an allocator whose placements are committed as soon as they are decided, with nobody else in it. What runs ends
// when the caller says so: victims of preemption too. It belongs to one goroutine.
type World struct {
	Allocator *allocator.Allocator
	// Origin returns the request, without slots, and the slot of an allocation that was there before, so that it can wait
	// again; false: nobody asks for it. Nil: nobody does for any.
	Origin func(structs.AllocID) (Request, allocator.Slot, bool)

	asked  map[string]*asked
	placed map[structs.AllocID]*Placed
	last   int
}

// Request is one of the allocator, of a gang or by itself.
type Request struct {
	allocator.Request
	Gang string // of which it is one; empty: of none
}

// asked is a request, without slots, and those of its slots that wait.
type asked struct {
	Request
	slots map[int]allocator.Slot
}

// Placed is a placement that was committed.
type Placed struct {
	ID structs.AllocID
	*allocator.Place
}

// Victim is an allocation that is to end so that somebody has room.
type Victim struct {
	ID  structs.AllocID
	For *allocator.Preempt
}

// NewWorld returns a world around an allocator that knows what runs.
func NewWorld(a *allocator.Allocator) *World {
	return &World{Allocator: a, asked: map[string]*asked{}, placed: map[structs.AllocID]*Placed{}}
}

// Ask has the slots of a request wait, beside those of the same request that wait already.
func (w *World) Ask(r Request) error {
	slots := r.Slots
	r.Slots = nil
	q := w.asked[r.ID]
	if q == nil {
		q = &asked{Request: r, slots: map[int]allocator.Slot{}}
		w.asked[r.ID] = q
	}
	for _, s := range slots {
		q.slots[s.Index] = s
	}
	return w.request(q)
}

// request tells the allocator all that waits of a request, and of a gang with the others.
func (w *World) request(q *asked) error {
	if q.Gang == "" {
		return w.Allocator.SetRequest(q.waiting())
	}
	g := allocator.Gang{ID: q.Gang}
	for _, id := range slices.Sorted(maps.Keys(w.asked)) {
		if x := w.asked[id]; x.Gang == q.Gang {
			g.Requests = append(g.Requests, x.waiting())
		}
	}
	return w.Allocator.SetGang(&g)
}

// waiting returns the request with the slots that wait.
func (q *asked) waiting() *allocator.Request {
	r := q.Request.Request
	r.Slots = slices.SortedFunc(maps.Values(q.slots), func(x, y allocator.Slot) int { return cmp.Compare(x.Index, y.Index) })
	return &r
}

// Withdraw takes a request back, with the others of its gang; what runs of it goes on.
func (w *World) Withdraw(id string) {
	w.Allocator.RemoveRequest(id)
	if q := w.asked[id]; q != nil && q.Gang != "" {
		maps.DeleteFunc(w.asked, func(_ string, x *asked) bool { return x.Gang == q.Gang })
	}
	delete(w.asked, id)
}

// Waiting returns how many slots of a request wait.
func (w *World) Waiting(id string) int {
	if q := w.asked[id]; q != nil {
		return len(q.slots)
	}
	return 0
}

// Running returns a placement that has not ended, or nil.
func (w *World) Running(id structs.AllocID) *Placed { return w.placed[id] }

// Step has the allocator decide at a time, at most budget decisions (0: no bound), and commits what it places. The victims
// run until End or Again is called for them. With nothing returned, nothing more happens before something ends or time
// passes.
func (w *World) Step(now structs.Time, budget int) (placed []*Placed, victims []Victim, err error) {
	for _, d := range w.Allocator.Step(now, budget) {
		switch {
		case d.Place != nil:
			p, err := w.commit(d.Place, now)
			if err != nil {
				return nil, nil, err
			}
			placed = append(placed, p)
		case d.Preempt != nil:
			for _, id := range d.Preempt.Victims {
				victims = append(victims, Victim{id, d.Preempt})
			}
		}
	}
	return placed, victims, nil
}

func (w *World) commit(d *allocator.Place, now structs.Time) (*Placed, error) {
	w.last++
	p := &Placed{structs.AllocID(fmt.Sprintf("simulated-%d", w.last)), d}
	err := w.Allocator.Confirm(d.ID, &structs.Allocation{ID: p.ID, Framework: d.Framework, Role: d.Role, Priority: d.Priority, Job: d.Job,
		Owner: d.Owner, FrameworkScheduler: d.FrameworkScheduler, Group: d.Group, Index: d.Slot.Index, Node: d.Node, NodeName: d.NodeName, Resources: d.Resources, Ports: d.Ports, Marks: d.Marks,
		MaxRunDuration: d.MaxRun, Gang: d.Gang != "", Revocable: d.Revocable, Status: structs.AllocPending, Created: now})
	w.placed[p.ID] = p
	if q := w.asked[d.Request]; q != nil {
		delete(q.slots, d.Slot.Index)
	}
	return p, err
}

// End ends an allocation for good.
func (w *World) End(id structs.AllocID) {
	w.Allocator.RemoveAllocation(id)
	delete(w.placed, id)
}

// Again ends allocations, whose slots wait again, in the place that they had. It returns how many do: those of requests
// that were withdrawn do not.
func (w *World) Again(ids ...structs.AllocID) (again int, err error) {
	changed := map[string]*asked{}
	for _, id := range ids {
		q, slot := w.origin(id)
		w.End(id)
		if q == nil {
			continue
		}
		if _, waits := q.slots[slot.Index]; !waits {
			again++
		}
		q.slots[slot.Index] = slot
		changed[q.ID] = q
	}
	for _, id := range slices.Sorted(maps.Keys(changed)) {
		if err := w.request(changed[id]); err != nil {
			return again, err
		}
	}
	return again, nil
}

// origin returns what asked for an allocation, or nil.
func (w *World) origin(id structs.AllocID) (*asked, allocator.Slot) {
	if p := w.placed[id]; p != nil {
		return w.asked[p.Request], p.Slot
	}
	if w.Origin == nil {
		return nil, allocator.Slot{}
	}
	r, slot, ok := w.Origin(id)
	if !ok {
		return nil, slot
	}
	q := w.asked[r.ID]
	if q == nil {
		r.Slots = nil
		q = &asked{Request: r, slots: map[int]allocator.Slot{}}
		w.asked[r.ID] = q
	}
	return q, slot
}
