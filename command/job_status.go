package command

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func jobStatus(e *Environment) *command {
	c := newCommand(e, "job status", "[JOB]", "List jobs, or show one").reads()
	c.max = 1
	c.predict = predictJobs(e)
	every := c.flags.Bool("all", false, "show ended allocations of earlier versions too")
	var filters listFlag
	c.flags.Var(&filters, "filter", "only jobs for which `FIELD=VALUE` holds; also FIELD!=VALUE and FIELD~PART; may be repeated")
	stale := c.flags.Bool("stale", false, "what the agent has will do, even when it has lost the leader")
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		if len(args) == 0 {
			jobs, _, err := api.Collect(ctx, &api.Query{Filter: filters, Stale: *stale}, client.Jobs)
			if err != nil {
				return err
			}
			return c.show(jobs, func(b *bytes.Buffer) error { writeJobs(b, jobs, e.Now()); return nil })
		}
		status, _, err := client.JobStatus(ctx, args[0], &api.Query{Stale: *stale})
		if err != nil {
			return err
		}
		var waiting *api.Explanation
		for _, g := range status.Groups {
			if g.Waiting > 0 && !c.asJSON && c.template == "" {
				waiting, _ = client.ExplainJob(ctx, args[0], "") // the rest of the status is worth showing without
				break
			}
		}
		var children []*api.JobSummary
		if status.Job != nil && status.Job.Parameterized != nil && !c.asJSON && c.template == "" {
			prefix := structs.DispatchedPrefix(status.Name)
			all, _, err := api.Collect(ctx, &api.Query{Filter: []string{"name~" + prefix}, Stale: *stale}, client.Jobs)
			if err != nil {
				return err
			}
			children = slices.DeleteFunc(all, func(j *api.JobSummary) bool { return !strings.HasPrefix(j.Name, prefix) })
		}
		return c.show(status, func(b *bytes.Buffer) error {
			writeJobStatus(b, status, waiting, *every, e.Now())
			if status.Job != nil && status.Job.Parameterized != nil {
				writeDispatched(b, status.Name, children, e.Now())
			}
			return nil
		})
	}
	return c
}

func writeJobs(b *bytes.Buffer, jobs []*api.JobSummary, now time.Time) {
	if len(jobs) == 0 {
		b.WriteString("There are no jobs.\n")
		return
	}
	t := newTable("JOB", "TYPE", "ROLE", "PRIORITY", "STATUS", "RUNNING", "WAITING", "AGE")
	short := ""
	for _, j := range jobs {
		running, wanted, waiting := 0, 0, 0
		for _, g := range j.Groups {
			running, wanted, waiting = running+g.Running, wanted+g.Wanted, waiting+g.Waiting
		}
		if waiting > 0 {
			short = cmp.Or(short, j.Name)
		}
		t.row(j.Name, j.Type, j.Role, j.Priority, j.Status, fmt.Sprintf("%d/%d", running, wanted), waiting, age(now, j.Submitted))
	}
	t.write(b)
	if short != "" {
		fmt.Fprintf(b, "Why something waits: proffer job explain %s\n", cell(short))
	}
}

func writeJobStatus(b *bytes.Buffer, s *api.JobStatus, waiting *api.Explanation, every bool, now time.Time) {
	var d details
	d.add("Job", s.Name)
	d.add("Type", s.Type)
	d.add("Role", s.Role)
	if s.Job != nil {
		d.say("Owner", s.Job.Owner)
	}
	d.add("Priority", s.Priority)
	d.add("Version", s.Version)
	d.add("Status", s.Status)
	d.say("Why", joinNonEmpty("; ", s.Why, heldUp(s)))
	d.add("Submitted", age(now, s.Submitted)+" ago")
	if !s.Ended.IsZero() {
		d.add("Ended", age(now, s.Ended)+" ago")
	}
	d.write(b)

	heading(b, "Groups")
	t := newTable("GROUP", "WANTED", "WAITING", "PENDING", "RUNNING", "COMPLETE", "FAILED", "LOST")
	for _, g := range s.Groups {
		t.row(g.Group, g.Wanted, g.Waiting, g.Pending, g.Running, g.Complete, g.Failed, g.Lost)
	}
	t.write(b)

	if waiting != nil {
		for _, g := range waiting.Groups {
			if g.Waiting > 0 {
				heading(b, fmt.Sprintf("Why %d of group %s wait", g.Waiting, strconv.Quote(g.Group)))
				if g.Order != "" {
					fmt.Fprintf(b, "  %s\n", cell(g.Order))
				}
				writeReasons(b, g)
			}
		}
	}

	var shown []*structs.Allocation
	for _, a := range s.Allocations {
		if every || a.Version == s.Version || !a.Ended() {
			shown = append(shown, a)
		}
	}
	heading(b, "Allocations")
	if len(shown) == 0 {
		b.WriteString("none\n")
		return
	}
	writeAllocs(b, shown, now)
	if s.Truncated {
		b.WriteString("… and older ones: proffer alloc status -job " + s.Name + "\n")
	}
}

// mostDispatched bounds the jobs that are listed below the one that they were dispatched of.
const mostDispatched = 20

// writeDispatched lists the newest jobs that were dispatched, and counts all.
func writeDispatched(b *bytes.Buffer, of string, jobs []*api.JobSummary, now time.Time) {
	heading(b, "Dispatched")
	if len(jobs) == 0 {
		b.WriteString("none\n")
		return
	}
	count := map[string]int{}
	for _, j := range jobs {
		count[string(j.Status)]++
	}
	var counts []string
	for _, status := range slices.Sorted(maps.Keys(count)) {
		counts = append(counts, fmt.Sprintf("%d %s", count[status], status))
	}
	fmt.Fprintf(b, "%s: %s\n", counted(len(jobs), "job", "jobs"), strings.Join(counts, ", "))
	slices.SortFunc(jobs, func(x, y *api.JobSummary) int {
		return cmp.Or(cmp.Compare(y.Submitted, x.Submitted), strings.Compare(x.Name, y.Name))
	})
	writeJobs(b, jobs[:min(len(jobs), mostDispatched)], now)
	if len(jobs) > mostDispatched {
		b.WriteString("… and older ones: proffer job status -filter name~" + cell(structs.DispatchedPrefix(of)) + "\n")
	}
}

// heldUp says in a phrase what of a job does not run yet.
func heldUp(s *api.JobStatus) string {
	waiting, starting := 0, 0
	for _, g := range s.Groups {
		waiting, starting = waiting+g.Waiting, starting+g.Pending
	}
	if waiting > 0 && s.Why != "" { // which says how many
		return "see proffer job explain " + s.Name
	}
	if waiting > 0 {
		return fmt.Sprintf("%s to be placed: proffer job explain %s", counted(waiting, "allocation waits", "allocations wait"), s.Name)
	}
	if starting == 0 {
		return ""
	}
	text := counted(starting, "allocation starts", "allocations start")
	for _, a := range s.Allocations {
		if why := notStarted(a); why != "" {
			return text + ": " + why
		}
	}
	return text
}

// whyOf says why an allocation is as it is.
func whyOf(a *structs.Allocation) string {
	if a.Why != "" || a.DesiredWhy != "" {
		return cmp.Or(a.Why, a.DesiredWhy)
	}
	return notStarted(a)
}

// notStarted says what an allocation that is placed and does not run waits for, as far as its node has told.
func notStarted(a *structs.Allocation) string {
	if a.Status != structs.AllocPending || a.Desired != structs.DesiredRun {
		return ""
	}
	if len(a.Tasks) == 0 {
		return "its node has not begun it"
	}
	return cmp.Or(a.RefusedStart(), "its tasks are being started")
}

// writeAllocs prints a table of allocations.
func writeAllocs(b *bytes.Buffer, allocs []*structs.Allocation, now time.Time) {
	ids := make([]structs.AllocID, len(allocs))
	for i, a := range allocs {
		ids[i] = a.ID
	}
	short := shorten(ids)
	t := newTable("ID", "JOB", "GROUP", "NODE", "VERSION", "WANTED", "STATUS", "AGE", "WHY")
	for _, a := range allocs {
		job, group, version := a.Job, fmt.Sprintf("%s[%d]", a.Group, a.Index), fmt.Sprint(a.Version)
		if x := a.External; x != nil { // no job of the region's: the tasks have the names that their framework gives them
			var tasks []string
			for _, task := range x.Tasks {
				tasks = append(tasks, task.ID)
			}
			job, group, version = "framework "+structs.Short(a.Framework), strings.Join(tasks, " "), "-"
		}
		t.row(short(a.ID), job, group, a.NodeName, version, a.Desired, a.Status, age(now, a.Created), whyOf(a))
	}
	t.write(b)
}
