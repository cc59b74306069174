package state

import (
	"github.com/proffer/proffer/structs"
)

// Bounds of one Collect: what it removes, and what it looks at.
const (
	collectMost = 2000
	collectLook = 4 * collectMost
)

// Apply removes what nothing needs any more.
func (c *Collect) Apply(tx *Tx) (any, error) {
	keep := c.MaxFinished
	switch {
	case keep == 0:
		keep = DefaultMaxFinished
	case keep < 0:
		keep = 0
	}
	out := &Collected{Index: tx.Index}
	var allocs []*structs.Allocation
	surplus, looked := tx.ended.Len()-keep, 0
	tx.ended.Scan(func(k endedKey) bool {
		a := get(tx.allocs, k.id)
		if looked++; surplus <= len(allocs) && a.Modified >= c.Before || looked > collectLook {
			return false
		}
		if tx.needless(a) {
			allocs = append(allocs, a)
		}
		out.More = len(allocs) >= collectMost
		return !out.More
	})
	for _, a := range allocs {
		tx.removeAlloc(a)
	}
	out.Allocs = len(allocs)

	var jobs []*structs.JobRecord
	surplus, looked = tx.endedJobs.Len()-keep, 0
	tx.endedJobs.Scan(func(k endedJobKey) bool {
		r := get(tx.jobs, k.name)
		if looked++; surplus <= len(jobs) && r.Ended >= c.Before || looked > collectLook {
			return false
		}
		if !tx.hasAllocs(k.name) {
			jobs = append(jobs, r)
		}
		if len(allocs)+len(jobs) >= collectMost {
			out.More = true
		}
		return !out.More
	})
	for _, r := range jobs {
		tx.removeJob(r)
	}
	out.Jobs = len(jobs)
	for _, r := range tx.unusedRoles(collectMost) {
		tx.put(Roles, r, nil)
		out.Roles++
	}
	for _, id := range c.Nodes {
		if n := get(tx.nodes, id); n != nil && n.Forgettable(c.NodesBefore) && len(tx.held(id)) == 0 {
			if len(tx.dataOn(n)) > 0 || tx.hasUnfenced(n) || hasMadeDisks(n) {
				continue // only an operator gives volumes up
			}
			tx.forgetNode(n)
			out.Nodes++
		}
	}
	for _, x := range c.Operations {
		f, o := tx.framework(x.Framework), get(tx.operations, (&structs.Operation{Framework: x.Framework, ID: x.ID}).Key())
		if f != nil && o != nil && Unheeded(f, o, c.OperationsBefore) {
			tx.put(Operations, o, nil)
			out.Operations++
		}
	}
	return out, nil
}

func (tx *Tx) hasAllocs(job string) (found bool) {
	for range tx.ofJob(job) {
		return true
	}
	return false
}

// needless reports whether no decision will look at an ended allocation again.
func (tx *Tx) needless(a *structs.Allocation) bool {
	if tx.isUnfenced(a) {
		return false // its node may come back with it
	}
	if a.External != nil {
		return a.External.Told() || tx.framework(a.Framework) == nil
	}
	if a.Next != "" || a.Job == "" {
		return true
	}
	r := get(tx.jobs, a.Job)
	if r == nil || r.Stopped || r.Ended != 0 || a.CreateIndex < r.CreateIndex {
		return true
	}
	if structs.HasIndex(r.Finished[a.Group], a.Index) || structs.HasIndex(r.FailedFor[a.Group], a.Index) {
		return true
	}
	v := tx.version(a.Job, r.Version)
	if v == nil || v.Job.Group(a.Group) == nil || a.Index >= r.CountOf(v.Job.Group(a.Group)) {
		return true
	}
	for newer := range tx.ofIndex(a.Job, a.Group, a.Index) {
		if newer.Incarnation > a.Incarnation {
			return true
		}
	}
	return false
}
