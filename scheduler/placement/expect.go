package placement

import (
	"cmp"
	"slices"

	"github.com/proffer/proffer/structs"
)

// Ending is what one allocation gives back to its node.
type Ending struct {
	At         structs.Time // at the latest; 0: nobody knows
	Job, Group string       // whose peer it is
	Resources  structs.Resources
	Ports      []structs.AssignedPort
	Marks      *structs.Marks
}

// ExpectedOn returns when an ask fits on a node at the latest, if nothing else is placed there: now when it fits already,
// otherwise the earliest time by which enough of what the node holds must have ended. False: not by anything that is
// known. ends is of what the node holds and existing counts, in any order. The books change on the way, and are as before
// when it returns.
func ExpectedOn(n *Node, existing *Peers, ask *Ask, ends []Ending, now structs.Time) (at structs.Time, ok bool) {
	if n.spec == nil || !n.spec.Schedulable() {
		return 0, false
	}
	if Fits(n, existing, ask, First).OK {
		return now, true
	}
	known := slices.DeleteFunc(slices.Clone(ends), func(e Ending) bool { return e.At == 0 })
	slices.SortStableFunc(known, func(x, y Ending) int { return cmp.Compare(x.At, y.At) })
	turn := func(e *Ending, sign int) {
		if sign < 0 {
			n.Drop(e.Resources, e.Ports)
		} else {
			n.Hold(e.Resources, e.Ports)
		}
		if work := existing.Work(); work != nil {
			work.Add(n, e.Job, e.Group, e.Marks, sign)
		} else if existing != nil && e.Job == ask.Job {
			existing.Add(n, e.Group, sign)
		}
	}
	done := 0
	for i := range known {
		turn(&known[i], -1)
		done++
		if done < len(known) && known[done].At == known[i].At {
			continue
		}
		if Fits(n, existing, ask, First).OK {
			at, ok = max(known[i].At, now), true
			break
		}
	}
	for i := range known[:done] {
		turn(&known[i], 1)
	}
	return at, ok
}
