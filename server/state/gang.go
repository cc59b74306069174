package state

import (
	"fmt"

	"github.com/proffer/proffer/structs"
)

// Together returns how many placements, from the first on, are done all or not at all.
func Together(list []*Placement) int {
	n := 1
	for first := list[0]; first != nil && first.Gang != 0 && n < len(list) && list[n] != nil && list[n].Gang == first.Gang; {
		n++
	}
	return n
}

// placeTogether makes one allocation, or all of a gang. When one of a gang is refused, nothing of it happened and all are refused.
func (tx *Tx) placeTogether(list []*Placement, stopped map[structs.AllocID]uint64, results []PlaceResult) {
	mark, starts, was := len(tx.changes), tx.starts, tx.dirty
	for i, p := range list {
		if p != nil && p.Alloc != nil {
			results[i].ID = p.Alloc.ID
		}
	}
	gang := list[0] != nil && list[0].Gang != 0
	if gang {
		tx.beginAnew(list[0])
	}
	for i, p := range list {
		refused, why := tx.place(p, stopped)
		results[i].Refused, results[i].Why = refused, why
		if !gang || refused == "" {
			continue
		}
		tx.undo(mark)
		tx.starts, tx.dirty = starts, was
		for k := range results {
			if k != i {
				results[k].Refused, results[k].Why = refused, fmt.Sprintf("another one of its gang: %s", why)
			}
		}
		return
	}
}

// beginAnew forgets what of a gang is finished: all of it runs again.
func (tx *Tx) beginAnew(p *Placement) {
	if p.Alloc == nil {
		return
	}
	old := get(tx.jobs, p.Alloc.Job)
	if old == nil || old.Stopped || old.Ended != 0 || len(old.Finished) == 0 || old.Version != p.Alloc.Version {
		return
	}
	r := *old
	r.Finished = nil
	tx.putJob(old, r)
}

// mayEverRunWhole refuses a gang that takes more than a limit of its role, or of one above, or more allocations than may run there.
func (t *trees) mayEverRunWhole(j *structs.Job, role string) error {
	if j.Gang == nil {
		return nil
	}
	var all structs.Resources
	count := 0
	for _, g := range j.Groups {
		n := 1
		if g.Count != nil {
			n = min(*g.Count, structs.MaxGang) // more than it cannot be stored
		}
		for range n {
			all = all.Add(g.Ask())
		}
		count += n
	}
	for name := range upwards(role) {
		r := get(t.roles, name)
		if r == nil {
			continue
		}
		if r.MaxRunning > 0 && count > r.MaxRunning {
			return structs.Errorf(structs.Exhausted, jobText(j.Name), "its gang has %d allocations and max_running of role %q is %d: it could never run",
				count, name, r.MaxRunning).Advise("ask for fewer, or use another role")
		}
		for resource, most := range r.Limited().All() {
			if asked := all.Amount(resource); asked > most {
				want, bounded := structs.AmountsText(resource, asked, most)
				return structs.Errorf(structs.Exhausted, jobText(j.Name), "its gang asks for %s %s and the limit of role %q is %s: it could never run",
					resource, want, name, bounded).Advise("ask for less, or use another role")
			}
		}
	}
	return nil
}
