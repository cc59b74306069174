package http

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/agent/spec"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

const (
	hcl       = "application/hcl"
	jobTypes  = "application/json " + hcl
	maxJob    = spec.MaxJSON
	maxStatus = 1000 // allocations in a job's status
)

var varParam = Param{Name: "var", Type: "string", Repeat: true, Doc: "name=value for a variable of a job in HCL."}

func jobList(c *call) (any, error) {
	return c.read([]state.Key{state.OfTable(state.Jobs), state.OfTable(state.Allocs)}, func(snap *state.Snapshot) (any, error) {
		records, err := page(c, func(j *structs.JobRecord) string { return j.Name }, snap.JobsFrom)
		if err != nil {
			return nil, err
		}
		list := make([]*api.JobSummary, len(records))
		for i, r := range records {
			list[i] = summary(snap, r)
		}
		return list, nil
	})
}

func summary(snap *state.Snapshot, r *structs.JobRecord) *api.JobSummary {
	return &api.JobSummary{JobRecord: *r, Groups: groupCounts(snap, r)}
}

// groupCounts counts the allocations of a job by group, in the order of its text; groups that are no longer in the text
// and have allocations come last.
func groupCounts(snap *state.Snapshot, r *structs.JobRecord) []*api.GroupCounts {
	list := []*api.GroupCounts{}
	live := map[string]int{}
	byName := map[string]*api.GroupCounts{}
	add := func(name string) *api.GroupCounts {
		g := byName[name]
		if g == nil {
			g = &api.GroupCounts{Group: name}
			byName[name] = g
			list = append(list, g)
		}
		return g
	}
	batch := r.Type == structs.BatchJob
	if current := snap.Version(r.Name, r.Version); current != nil {
		for _, g := range current.Job.Groups {
			add(g.Name).Wanted = r.CountOf(g)
		}
	}
	for a := range snap.AllocsOfJob(r.Name) {
		g := add(a.Group)
		if !a.Ended() && a.Desired == structs.DesiredRun {
			live[a.Group]++
		}
		switch a.Status {
		case structs.AllocPending:
			g.Pending++
		case structs.AllocRunning:
			g.Running++
		case structs.AllocComplete:
			g.Complete++
		case structs.AllocFailed:
			g.Failed++
		case structs.AllocLost:
			g.Lost++
		}
	}
	for _, g := range list {
		done := 0
		if batch {
			g.Complete = structs.CountIndexes(r.Finished[g.Group])
			failed := structs.CountIndexes(r.FailedFor[g.Group])
			done = g.Complete + failed
			g.Failed = max(g.Failed, failed)
		}
		g.Waiting = max(0, g.Wanted-live[g.Group]-done)
	}
	return list
}

// readJob reads the job in the body: HCL or JSON by its content type, with defaults set, and valid.
func (c *call) readJob() (*structs.Job, error) {
	raw, err := c.bytes()
	if err != nil {
		return nil, err
	}
	if c.mediaType() != hcl {
		if c.query.Has("var") {
			return nil, structs.Errorf(structs.Invalid, `query parameter "var"`, "JSON has no variables")
		}
		if !bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte("{")) {
			return nil, structs.Errorf(structs.Invalid, "body", "it is not a JSON object").Advise("send HCL with Content-Type: %s", hcl)
		}
	}
	return spec.ReadJob("body", raw, spec.Vars{Flags: c.query["var"]}, c.s.Drivers)
}

func jobSubmit(c *call) (any, error) {
	job, err := c.readJob()
	if err != nil {
		return nil, err
	}
	var expect *uint64
	if c.query.Has("check") {
		n := c.number("check")
		expect = &n
	}
	return c.submit(job, expect)
}

func (c *call) submit(job *structs.Job, expect *uint64) (any, error) {
	keep := false
	if old := c.s.Region.Store().Snapshot().Current(job.Name); old != nil && job.Type == structs.BatchJob {
		keep = !slices.ContainsFunc(job.Groups, func(g *structs.Group) bool { return spec.Replaces(old.Job, job, g.Name) })
	}
	result, err := c.propose(&state.SubmitJob{Job: job, ExpectVersion: expect, KeepFinished: keep})
	if err != nil {
		return nil, err
	}
	version := versionOf(result)
	answer := &api.JobSubmitted{Name: job.Name, Version: version, Index: result.Index}
	if v := c.s.Region.Store().Snapshot().Version(job.Name, version); v != nil {
		answer.Changed = v.Index == result.Index
	}
	return answer, nil
}

func versionOf(result state.Result) uint64 {
	if receipt, ok := result.Answer.(*state.Receipt); ok {
		return receipt.Version
	}
	return 0
}

func jobParse(c *call) (any, error) {
	job, err := c.readJob()
	if err != nil {
		return nil, err
	}
	if c.str("format") != "hcl" {
		return job, nil
	}
	c.w.Header().Set("Content-Type", hcl)
	c.deadline()
	_, err = c.w.Write(spec.FormatHCL(job))
	return nil, err
}

func jobPlan(c *call) (any, error) {
	job, err := c.readJob()
	if err != nil {
		return nil, err
	}
	snap, err := c.snapshot()
	if err != nil {
		return nil, err
	}
	var old *structs.Job
	plan := &api.JobPlan{}
	if current := snap.Current(job.Name); current != nil {
		old, plan.Version = current.Job, current.Version
	}
	diff := spec.Compare(old, job)
	if plan.Diff, err = json.Marshal(diff); err != nil {
		return nil, err
	}
	plan.Text = diff.Text()
	explanation, err := c.s.Region.Plan(c.r.Context(), job)
	switch structs.KindOf(err) {
	case "":
		plan.Explanation = listed(explanation)
	case structs.Unavailable, structs.Unknown:
		plan.Unexplained = err.Error()
	default:
		return nil, err
	}
	return plan, nil
}

func (c *call) jobKeys() []state.Key {
	name := c.r.PathValue("name")
	return []state.Key{state.OfJob(name), state.OfVersions(name), state.OfJobAllocs(name)}
}

func jobGet(c *call) (any, error) {
	return c.read(c.jobKeys(), func(snap *state.Snapshot) (any, error) {
		r, err := c.job(snap)
		if err != nil {
			return nil, err
		}
		return detail(snap, r), nil
	})
}

func detail(snap *state.Snapshot, r *structs.JobRecord) *api.JobDetail {
	d := &api.JobDetail{JobSummary: *summary(snap, r)}
	if v := snap.Version(r.Name, r.Version); v != nil {
		d.Job = v.Job
	}
	return d
}

func jobStatus(c *call) (any, error) {
	return c.read(c.jobKeys(), func(snap *state.Snapshot) (any, error) {
		r, err := c.job(snap)
		if err != nil {
			return nil, err
		}
		status := &api.JobStatus{JobDetail: *detail(snap, r), Allocations: slices.Collect(snap.AllocsOfJob(r.Name))}
		slices.SortFunc(status.Allocations, func(a, b *structs.Allocation) int {
			return cmp.Or(cmp.Compare(b.CreateIndex, a.CreateIndex), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Index, b.Index))
		})
		if status.Truncated = len(status.Allocations) > maxStatus; status.Truncated {
			status.Allocations = status.Allocations[:maxStatus]
		}
		if status.Allocations == nil {
			status.Allocations = []*structs.Allocation{}
		}
		return status, nil
	})
}

func jobVersions(c *call) (any, error) {
	return c.read(c.jobKeys(), func(snap *state.Snapshot) (any, error) {
		r, err := c.job(snap)
		if err != nil {
			return nil, err
		}
		list := slices.Collect(snap.VersionsOf(r.Name))
		slices.Reverse(list)
		return list, nil
	})
}

func jobAllocs(c *call) (any, error) {
	return c.read([]state.Key{state.OfJobAllocs(c.r.PathValue("name"))}, func(snap *state.Snapshot) (any, error) {
		r, err := c.job(snap)
		if err != nil {
			return nil, err
		}
		return c.allocPage(slices.Collect(snap.AllocsOfJob(r.Name)))
	})
}

func jobExplain(c *call) (any, error) {
	snap, err := c.snapshot()
	if err != nil {
		return nil, err
	}
	r, err := c.job(snap)
	if err != nil {
		return nil, err
	}
	group := c.str("group")
	if v := snap.Version(r.Name, r.Version); group != "" && v != nil && v.Job.Group(group) == nil {
		return nil, noGroup(v.Job, group)
	}
	x, err := c.s.Region.Explain(c.r.Context(), r.Name, group)
	if err != nil {
		return nil, err
	}
	return listed(x), nil
}

// listed makes absent lists of an explanation empty ones, as in every answer.
func listed(x *api.Explanation) *api.Explanation {
	if x.Groups == nil {
		x.Groups = []*api.GroupExplanation{}
	}
	for _, g := range x.Groups {
		if g.Reasons == nil {
			g.Reasons = []*api.Reason{}
		}
		if g.Placing == nil {
			g.Placing = []*api.PlacedOn{}
		}
		if g.Role != nil && g.Role.Frameworks == nil {
			g.Role.Frameworks = []*structs.FrameworkStanding{}
		}
	}
	return x
}

func noGroup(job *structs.Job, group string) error {
	names := make([]string, len(job.Groups))
	for i, g := range job.Groups {
		names[i] = g.Name
	}
	return advise(structs.Errorf(structs.NotFound, fmt.Sprintf("job %q: group %.140q", job.Name, group), "there is none"), group, names)
}

// jobWrite proposes what command makes of the path's job.
func (c *call) jobWrite(command func(name string) state.Command) (any, error) {
	name, err := c.name("name")
	if err != nil {
		return nil, err
	}
	return c.written(command(name), name)
}

// written proposes a command and answers with its index. A job that is not found gets its advice here.
func (c *call) written(command state.Command, job string) (any, error) {
	result, err := c.propose(command)
	if err != nil {
		if job != "" && structs.KindOf(err) == structs.NotFound {
			if snap := c.s.Region.Store().Snapshot(); snap.Job(job) == nil {
				return nil, noJob(snap, job)
			}
		}
		return nil, err
	}
	return &api.Written{Index: result.Index}, nil
}

func jobStop(c *call) (any, error) {
	return c.jobWrite(func(name string) state.Command { return &state.StopJob{Name: name, Purge: c.yes("purge")} })
}

func jobRestart(c *call) (any, error) {
	return c.jobWrite(func(name string) state.Command { return &state.RestartJob{Name: name} })
}

func jobScale(c *call) (any, error) {
	var body api.JobScale
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Count == nil {
		return nil, structs.Errorf(structs.Invalid, "count", "it is missing")
	}
	name, err := c.name("name")
	if err != nil {
		return nil, err
	}
	if v := c.s.Region.Store().Snapshot().Current(name); v != nil {
		if body.Group == "" && len(v.Job.Groups) == 1 {
			body.Group = v.Job.Groups[0].Name
		}
		if v.Job.Group(body.Group) == nil {
			if body.Group == "" {
				return nil, structs.Errorf(structs.Invalid, "group", "the job has several groups").Advise("name one")
			}
			return nil, noGroup(v.Job, body.Group)
		}
	}
	return c.written(&state.ScaleJob{Name: name, Group: body.Group, Count: *body.Count}, name)
}

func jobRevert(c *call) (any, error) {
	var body api.JobRevert
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	snap, err := c.snapshot()
	if err != nil {
		return nil, err
	}
	r, err := c.job(snap)
	if err != nil {
		return nil, err
	}
	v := snap.Version(r.Name, body.Version)
	if v == nil {
		return nil, structs.Errorf(structs.NotFound, fmt.Sprintf("job %q: version %d", r.Name, body.Version), "it is not kept").
			Advise("proffer job history %s lists those that are", r.Name)
	}
	expect := r.Version
	return c.submit(v.Job, &expect)
}
