package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/proffer/proffer/structs"
)

func jobText(name string) string { return fmt.Sprintf("job %q", name) }

// Apply stores a job.
func (c *SubmitJob) Apply(tx *Tx) (any, error) {
	j := c.Job
	if j == nil || !structs.ValidName(j.Name) || len(j.Groups) == 0 {
		return nil, structs.Errorf(structs.Invalid, "job", "it has no valid name or no group")
	}
	old := get(tx.jobs, j.Name)
	if err := c.expected(old); err != nil {
		return nil, err
	}
	if err := tx.room(j.Name, old, c.MaxJobs); err != nil {
		return nil, err
	}
	role, priority, err := tx.admits(j, c.Sealed)
	if err != nil {
		return nil, err
	}
	tx.makeRole(role)
	waited := tx.waiting(role)
	if old != nil && sameText(tx.version(j.Name, old.Version), j) {
		receipt := tx.resubmit(old)
		return receipt, tx.mayWait(role, waited)
	}
	r := structs.JobRecord{Name: j.Name, Status: structs.JobPending}
	if old == nil {
		// What is left of a job of that name that was purged must not be taken for work of this one.
		for a := range tx.ofJob(j.Name) {
			r.Version = max(r.Version, a.Version)
		}
		r.Version++
		r.FinishedSince = r.Version
	} else {
		r = *old
		r.Version++
		if !c.KeepFinished {
			r.Finished, r.FinishedSince = nil, r.Version
		}
		if r.Stopped || r.Ended != 0 {
			r.Status, r.Why = structs.JobPending, ""
		}
	}
	r.Type, r.Role, r.Priority, r.Parameterized = jobType(j), role, priority, j.Parameterized != nil
	r.Stopped, r.Ended, r.Counts, r.FailedFor, r.Submitted = false, 0, nil, nil, tx.Now
	tx.put(Versions, nil, &structs.JobVersion{Job: j, Version: r.Version, Time: tx.Now, Actor: tx.Actor, Index: tx.Index})
	tx.putJob(old, r)
	tx.forgetVersions(j.Name)
	tx.settle(j.Name)
	return &Receipt{Index: tx.Index, Version: r.Version}, tx.mayWait(role, waited)
}

func (c *SubmitJob) expected(old *structs.JobRecord) error {
	if c.ExpectVersion == nil {
		return nil
	}
	have := uint64(0)
	if old != nil {
		have = old.Version
	}
	if want := *c.ExpectVersion; want != have {
		if have == 0 {
			return structs.Errorf(structs.Conflict, jobText(c.Job.Name), "version %d was expected and there is no such job", want)
		}
		return structs.Errorf(structs.Conflict, jobText(c.Job.Name), "it has version %d and version %d was expected", have, want).
			Advise("look at it again and submit on top of version %d", have)
	}
	return nil
}

// room refuses a job that would be one more than most, if that is set. One that has not ended takes no more room than before.
func (tx *Tx) room(name string, old *structs.JobRecord, most int) error {
	have := tx.jobs.Len() - tx.endedJobs.Len()
	if most == 0 || have < most || old != nil && old.Ended == 0 {
		return nil
	}
	return structs.Errorf(structs.Exhausted, jobText(name), "the region has %d jobs that have not ended and takes %d", have, most).
		Advise("stop some, wait until some are done, or raise server.max_jobs")
}

func jobType(j *structs.Job) string {
	if j.Type == "" {
		return structs.ServiceJob
	}
	return j.Type
}

// sameText compares by JSON, which writes maps in order and does not tell 1 from 1.0.
func sameText(v *structs.JobVersion, j *structs.Job) bool {
	if v == nil {
		return false
	}
	a, errA := json.Marshal(v.Job)
	b, errB := json.Marshal(j)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

func (tx *Tx) resubmit(old *structs.JobRecord) *Receipt {
	if old.Stopped || old.Counts != nil {
		r := *old
		r.Counts = nil // the text says how many, until the next scale
		if old.Stopped {
			r.Stopped, r.Ended, r.Status, r.Why, r.Submitted = false, 0, structs.JobPending, "", tx.Now
		}
		tx.putJob(old, r)
		tx.settle(r.Name)
	}
	return &Receipt{Index: tx.Index, Version: old.Version}
}

// forgetVersions keeps the newest MaxVersions of a job and those that its running allocations refer to.
func (tx *Tx) forgetVersions(job string) {
	all := slices.Collect(tx.versionsOf(job))
	if len(all) <= MaxVersions {
		return
	}
	used := make(map[uint64]bool)
	for a := range tx.ofJob(job) {
		if !a.Ended() {
			used[a.Version] = true
		}
	}
	for _, v := range all[:len(all)-MaxVersions] {
		if !used[v.Version] {
			tx.put(Versions, v, nil)
		}
	}
}

// Apply stops a job.
func (c *StopJob) Apply(tx *Tx) (any, error) {
	old, err := tx.job(c.Name)
	if err != nil {
		return nil, err
	}
	receipt := &Receipt{Index: tx.Index, Version: old.Version}
	if c.Purge {
		for _, a := range slices.Collect(tx.ofJob(c.Name)) {
			tx.stop(a, "its job was purged")
			if a.Ended() {
				tx.put(Allocs, a, nil)
			}
		}
		tx.removeJob(old)
		return receipt, nil
	}
	if !old.Stopped {
		r := *old
		r.Stopped = true
		if r.Ended == 0 {
			r.Status, r.Why, r.Ended = structs.JobStopped, "", tx.Now
			if tx.Actor != "" {
				r.Why = "stopped by " + bounded(tx.Actor)
			}
		}
		tx.putJob(old, r)
	}
	return receipt, nil
}

func (tx *Tx) removeJob(r *structs.JobRecord) {
	for _, v := range slices.Collect(tx.versionsOf(r.Name)) {
		tx.put(Versions, v, nil)
	}
	tx.put(Jobs, r, nil)
}

// Apply sets a count.
func (c *ScaleJob) Apply(tx *Tx) (any, error) {
	const most = 1 << 20
	old, err := tx.job(c.Name)
	if err != nil {
		return nil, err
	}
	if old.Stopped {
		return nil, structs.Errorf(structs.Conflict, jobText(c.Name), "it is stopped").Advise("submit it again")
	}
	if c.Count > most {
		return nil, structs.Errorf(structs.Invalid, jobText(c.Name), "a count of %d is above %d", c.Count, most)
	}
	v := tx.version(c.Name, old.Version)
	if v == nil || v.Job.Group(c.Group) == nil {
		return nil, structs.Errorf(structs.NotFound, jobText(c.Name), "it has no group %q", c.Group)
	}
	if err := tx.room(c.Name, old, c.MaxJobs); err != nil {
		return nil, err
	}
	if old.Parameterized {
		return nil, structs.Errorf(structs.Invalid, jobText(c.Name), "it is parameterized and runs nothing itself").Advise("dispatch it, or submit it with another count")
	}
	if v.Job.Gang != nil {
		return nil, structs.Errorf(structs.Invalid, jobText(c.Name), "its allocations are a gang, which has all or none").
			Advise("submit it with another count: the gang is placed anew")
	}
	waited := tx.waiting(old.Role)
	r := *old
	r.Counts = maps.Clone(old.Counts)
	if c.Count < 0 {
		if delete(r.Counts, c.Group); len(r.Counts) == 0 {
			r.Counts = nil // as it is after a snapshot, which has no empty maps
		}
	} else {
		if r.Counts == nil {
			r.Counts = make(map[string]int)
		}
		r.Counts[c.Group] = c.Count
	}
	if r.Ended != 0 {
		r.Status, r.Why, r.Ended = structs.JobPending, "", 0
	}
	tx.putJob(old, r)
	tx.settle(c.Name)
	return &Receipt{Index: tx.Index, Version: r.Version}, tx.mayWait(old.Role, waited)
}

// Apply lets everything be replaced.
func (c *RestartJob) Apply(tx *Tx) (any, error) {
	old, err := tx.job(c.Name)
	if err != nil {
		return nil, err
	}
	if old.Stopped {
		return nil, structs.Errorf(structs.Conflict, jobText(c.Name), "it is stopped").Advise("submit it again")
	}
	if err := tx.room(c.Name, old, c.MaxJobs); err != nil {
		return nil, err
	}
	waited := tx.waiting(old.Role)
	r := *old
	r.Restart, r.Finished, r.FailedFor = tx.Index, nil, nil
	if r.Ended != 0 {
		r.Status, r.Why, r.Ended = structs.JobPending, "", 0
	}
	tx.putJob(old, r)
	tx.settle(c.Name)
	return &Receipt{Index: tx.Index, Version: r.Version}, tx.mayWait(old.Role, waited)
}

// Apply records a status.
func (c *SetJobStatus) Apply(tx *Tx) (any, error) {
	old, err := tx.job(c.Name)
	if err != nil {
		return nil, err
	}
	if c.Version != 0 && c.Version != old.Version {
		return nil, structs.Errorf(structs.Conflict, jobText(c.Name), "it has version %d now", old.Version)
	}
	if old.Status == c.Status && old.Why == c.Why {
		return &Receipt{Index: tx.Index, Version: old.Version}, nil
	}
	r := *old
	r.Status, r.Why = c.Status, bounded(c.Why)
	switch c.Status {
	case structs.JobDone, structs.JobFailed, structs.JobStopped:
		if r.Ended == 0 {
			r.Ended = tx.Now
		}
	default:
		if old.Stopped {
			return nil, structs.Errorf(structs.Conflict, jobText(c.Name), "it is stopped")
		}
		if old.Type == structs.BatchJob && old.Ended != 0 { // settled meanwhile; only a command about the job begins it again
			return nil, structs.Errorf(structs.Conflict, jobText(c.Name), "it ended (%s)", old.Status)
		}
		r.Ended = 0
	}
	tx.putJob(old, r)
	return &Receipt{Index: tx.Index, Version: r.Version}, nil
}

// settle ends a batch job once the work of every index is finished or given up.
func (tx *Tx) settle(name string) {
	old := get(tx.jobs, name)
	if old == nil || old.Type != structs.BatchJob || old.Stopped || old.Ended != 0 || old.Parameterized {
		return
	}
	v := tx.version(name, old.Version)
	if v == nil {
		return
	}
	failed := 0
	for _, g := range v.Job.Groups {
		n := old.CountOf(g)
		done := below(old.Finished[g.Name], n)
		bad := below(old.FailedFor[g.Name], n)
		if done+bad < n {
			return
		}
		failed += bad
	}
	r := *old
	r.Status, r.Ended, r.Why = structs.JobDone, tx.Now, ""
	if failed > 0 {
		r.Status, r.Why = structs.JobFailed, fmt.Sprintf("%d failed for good", failed)
	}
	tx.putJob(old, r)
}

// below counts the numbers under n.
func below(ranges []structs.Range, n int) (count int) {
	for _, r := range ranges {
		if r.First < int64(n) {
			count += int(min(r.Last, int64(n)-1) - r.First + 1)
		}
	}
	return count
}
