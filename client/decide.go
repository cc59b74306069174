package client

import (
	"fmt"

	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/structs"
)

// Held is what a node knows of an allocation that has not ended.
type Held struct {
	Alloc       *structs.Allocation
	Stopping    bool
	Quarantined bool
}

// View is what a decision looks at: what the node holds, and which ends it remembers, at least of the allocations that the
// Desired names, and all of it for a Full.
type View struct {
	Held  map[structs.AllocID]Held
	Ended map[structs.AllocID]bool
	// Same tells whether the servers' generation is the one that the node's work belongs to.
	Same bool
}

// Decision is what a node does about one Desired. An allocation is in one list, at most.
type Decision struct {
	Start      []*structs.Allocation
	Update     []*structs.Allocation // newer versions of what is held, to run on
	Stop       []Ending
	Refuse     []Ending          // never had it: tell so
	Repeat     []structs.AllocID // ended here, which the region does not know yet
	Forget     []structs.AllocID // ended, and the region forgot it as well
	Quarantine []structs.AllocID // unknown to the region without proof that it is to end
	Why        string            // of Quarantine
}

// Ending is the end of an allocation and its reason.
type Ending struct {
	ID     structs.AllocID
	Alloc  *structs.Allocation // as the region sent it; nil when it is absent
	Why    string
	Failed bool
}

// Update is what a node says of an allocation that it refuses. Tasks of a framework that the region took for lost are not on the node: those
// that never began are dropped, the others gone.
func (e Ending) Update(now structs.Time) *structs.AllocUpdate {
	u := &structs.AllocUpdate{ID: e.ID, Incarnation: e.Alloc.Incarnation, Status: structs.AllocComplete, Why: e.Why, Time: now}
	if e.Failed {
		u.Status = structs.AllocFailed
	}
	if e.Alloc.Status != structs.AllocLost || e.Alloc.External == nil {
		return u
	}
	u.Tasks = map[string]*structs.TaskState{}
	for _, x := range e.Alloc.External.Tasks {
		switch was := e.Alloc.Tasks[x.Name]; {
		case was == nil || was.Status == structs.TaskStaging:
			u.Tasks[x.Name] = &structs.TaskState{Status: structs.TaskDropped, Reason: "AGENT_DISCONNECTED", Why: e.Why, ExitCode: -1, Ended: now}
		case !was.Status.Ended():
			u.Tasks[x.Name] = &structs.TaskState{Status: structs.TaskGone, Reason: "AGENT_RESTARTED", Why: e.Why, ExitCode: -1, Ended: now}
		}
	}
	return u
}

// quarantineFloor is how many allocations an absence may end whatever part of the node's work they are.
const quarantineFloor = 3

// Decide says what d asks of a node. Killing needs proof: a stop that the region decided, or an absence from a Full that the
// leader confirmed with its quorum, of the generation that the work belongs to, and newer than what made the allocation. An
// absence that would end more than a tenth of the work, and more than three, is no proof either: something is wrong.
func Decide(v View, d *session.Desired) *Decision {
	out := &Decision{}
	named := make(map[structs.AllocID]bool, len(d.Allocs))
	for _, a := range d.Allocs {
		named[a.ID] = true
		held, have := v.Held[a.ID]
		switch {
		case have && a.Desired == structs.DesiredStop:
			if !held.Stopping {
				why := a.DesiredWhy
				if why == "" {
					why = "the region stopped it"
				}
				out.Stop = append(out.Stop, Ending{ID: a.ID, Alloc: a, Why: why})
			}
		case have && (a.Status == structs.AllocComplete || a.Status == structs.AllocFailed):
			// The node told the end of it, and has lost the record since.
			if !held.Stopping {
				out.Stop = append(out.Stop, Ending{ID: a.ID, Alloc: a, Why: "it ended before: the region knows it as " + string(a.Status)})
			}
		case have:
			if a.WantIndex >= held.Alloc.WantIndex || held.Quarantined {
				out.Update = append(out.Update, a)
			}
		case v.Ended[a.ID]:
			if !a.Ended() {
				out.Repeat = append(out.Repeat, a.ID)
			}
		case a.Status == structs.AllocLost && d.Full && (a.External != nil || a.Plugged() && a.OnLost != onLostFence):
			// It was on its way here, or its record is lost. Its framework waits to hear what became of it, or who wants its volumes does.
			out.Refuse = append(out.Refuse, Ending{ID: a.ID, Alloc: a, Failed: a.Desired == structs.DesiredRun, Why: "the node is back, and does not have it"})
		case a.Ended():
			// The region knows its end, and so it needs nothing.
		case a.Desired == structs.DesiredStop:
			out.Refuse = append(out.Refuse, Ending{ID: a.ID, Alloc: a, Why: "the node does not have it"})
		case a.Status == structs.AllocRunning:
			// It ran here, the region says, and the node remembers nothing: whether something of it still runs is not known.
			out.Refuse = append(out.Refuse, Ending{ID: a.ID, Alloc: a, Failed: true,
				Why: "the node has no record of it: its data folder was lost or replaced"})
		default:
			out.Start = append(out.Start, a)
		}
	}
	for _, id := range d.Gone {
		if v.Ended[id] {
			out.Forget = append(out.Forget, id)
		}
	}
	if d.Full {
		absent(v, d, named, out)
	}
	return out
}

// absent decides about what a Full does not name.
func absent(v View, d *session.Desired, named map[structs.AllocID]bool, out *Decision) {
	var missing []structs.AllocID
	working := 0
	for id, h := range v.Held {
		if h.Stopping {
			continue
		}
		working++
		if !named[id] && !h.Quarantined && d.Index > madeBy(h.Alloc) {
			missing = append(missing, id)
		}
	}
	switch {
	case !d.Confirmed:
		return
	case !v.Same:
		// The region was restored, or this is another one: its indexes say nothing about this work.
		missing = missing[:0]
		for id, h := range v.Held {
			if !named[id] && !h.Quarantined && !h.Stopping {
				missing = append(missing, id)
			}
		}
		out.Quarantine = missing
		out.Why = "the region was restored from a snapshot, and does not know it"
		return
	case len(missing) > quarantineFloor && len(missing)*10 > working:
		out.Quarantine = missing
		out.Why = fmt.Sprintf("the region does not know it, nor %d more of the node's %d allocations", len(missing)-1, working)
	default:
		for _, id := range missing {
			out.Stop = append(out.Stop, Ending{ID: id, Why: "the region does not know it any more"})
		}
	}
	for id := range v.Ended {
		if !named[id] {
			out.Forget = append(out.Forget, id)
		}
	}
}

// madeBy is the newest index that the node knows an allocation by.
func madeBy(a *structs.Allocation) uint64 { return max(a.CreateIndex, a.ModifyIndex, a.WantIndex) }
