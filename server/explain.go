package server

import (
	"context"
	"slices"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// GroupExplanation says why the allocations of a group are where they are, and why some wait.
type GroupExplanation struct {
	Group    string
	Ask      structs.Resources
	Count    int
	Held     []*structs.Allocation // those that did not end
	Waiting  int
	Fit      placement.Explanation // of one more
	Wait     string                // what the group waits for when it is not room
	Finished int                   // indexes of a batch group that are done
}

// Explain explains a stored job; all groups when group is empty. It works on a snapshot, off the loop.
func (s *Server) Explain(ctx context.Context, name, group string) ([]*GroupExplanation, error) {
	snap, err := s.Read(ctx, false)
	if err != nil {
		return nil, err
	}
	record := snap.Job(name)
	if record == nil {
		return nil, structs.Errorf(structs.NotFound, "job "+name, "there is no such job")
	}
	version := snap.Version(name, record.Version)
	if version == nil {
		return nil, structs.Errorf(structs.Internal, "job "+name, "version %d is missing", record.Version)
	}
	if group != "" && version.Job.Group(group) == nil {
		return nil, structs.Errorf(structs.NotFound, "job "+name, "it has no group %q", group)
	}
	return explain(snap, version.Job, record, group)
}

// Plan explains what would happen to job if it were submitted now.
func (s *Server) Plan(ctx context.Context, job *structs.Job) ([]*GroupExplanation, error) {
	snap, err := s.Read(ctx, false)
	if err != nil {
		return nil, err
	}
	record := snap.Job(job.Name)
	if record == nil || record.Stopped {
		record = &structs.JobRecord{Name: job.Name}
	}
	return explain(snap, job, record, "")
}

func explain(snap *state.Snapshot, job *structs.Job, record *structs.JobRecord, only string) ([]*GroupExplanation, error) {
	specs := slices.Collect(snap.Nodes())
	var allocs []*structs.Allocation
	for a := range snap.Allocs() {
		if a.Holds() {
			allocs = append(allocs, a)
		}
	}
	nodes, peers := placement.Books(specs, allocs, job.Name)
	var out []*GroupExplanation
	for _, g := range job.Groups {
		if only != "" && g.Name != only {
			continue
		}
		ask, err := placement.Compile(job, g)
		if err != nil {
			return nil, err
		}
		e := &GroupExplanation{Group: g.Name, Ask: g.Ask(), Count: record.CountOf(g), Fit: placement.Explain(nodes, peers, ask)}
		for a := range snap.AllocsOfGroup(job.Name, g.Name) {
			if a.Holds() && a.Desired == structs.DesiredRun {
				e.Held = append(e.Held, a)
			}
		}
		e.Finished = structs.CountIndexes(record.Finished[g.Name]) + structs.CountIndexes(record.FailedFor[g.Name])
		e.Waiting = max(e.Count-len(e.Held)-e.Finished, 0)
		if e.Waiting > 0 && e.Fit.Fits > 0 {
			e.Wait = record.Why
			if e.Wait == "" {
				e.Wait = "there is room: it is placed within milliseconds, unless its role or a back-off holds it back"
			}
		}
		out = append(out, e)
	}
	return out, nil
}
