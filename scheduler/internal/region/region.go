// Package region is a toy region for tests of the built-in frameworks: it carries their steps out and lets allocations
// start, fail, end and get lost.
package region

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/scheduler"
	"github.com/proffer/proffer/structs"
)

// Region is one job and what there is of it.
type Region struct {
	Want   scheduler.Want
	Allocs []*structs.Allocation
	Now    structs.Time
	Next   func(scheduler.Want, []*structs.Allocation, structs.Time) scheduler.Steps
	Nodes  map[structs.NodeID]*structs.Node
	// InPlace has the versions that can be reached without replacing.
	InPlace map[uint64]bool

	index uint64
	made  map[string]int
}

// New returns a region with one job of one group named "g".
func New(jobType string, next func(scheduler.Want, []*structs.Allocation, structs.Time) scheduler.Steps) *Region {
	r := &Region{Now: 1_000_000_000_000, Next: next, Nodes: map[structs.NodeID]*structs.Node{}, InPlace: map[uint64]bool{}, made: map[string]int{}}
	count := 1
	group := &structs.Group{Name: "g", Count: &count, Tasks: []*structs.Task{{Name: "t"}}}
	r.Want = scheduler.Want{Job: &structs.Job{Name: "j", Type: jobType, Groups: []*structs.Group{group}, Update: &structs.Update{}},
		Record:   &structs.JobRecord{Name: "j", Type: jobType, Version: 1},
		Replaces: func(_ string, _, to uint64) bool { return !r.InPlace[to] },
		Node:     func(id structs.NodeID) *structs.Node { return r.Nodes[id] }}
	for i := range 4 {
		id := structs.NodeID(fmt.Sprintf("n%d", i))
		r.Nodes[id] = &structs.Node{ID: id, Status: structs.NodeReady, Eligible: true}
	}
	return r
}

// Group returns the job's group.
func (r *Region) Group() *structs.Group { return r.Want.Job.Groups[0] }

// Steps computes the next steps without carrying them out.
func (r *Region) Steps() scheduler.Steps { return r.Next(r.Want, r.Allocs, r.Now) }

// Change replaces an allocation by a changed copy: records are immutable.
func (r *Region) Change(a *structs.Allocation, change func(a *structs.Allocation)) {
	b := *a
	change(&b)
	b.Modified = r.Now
	r.index++
	b.ModifyIndex = r.index
	r.Allocs[slices.Index(r.Allocs, a)] = &b
}

// Find returns the newest allocation of an index that is not ended, or nil.
func (r *Region) Find(index int) (found *structs.Allocation) {
	for _, a := range r.Allocs {
		if a.Index == index && !a.Ended() && (found == nil || a.Incarnation > found.Incarnation) {
			found = a
		}
	}
	return found
}

// Stop carries out stops and updates.
func (r *Region) Stop(s scheduler.Steps) {
	for _, stop := range s.Stop {
		i := slices.IndexFunc(r.Allocs, func(a *structs.Allocation) bool { return a.ID == stop.Alloc })
		r.Change(r.Allocs[i], func(a *structs.Allocation) {
			a.Desired, a.DesiredWhy, a.ReplacedBy = structs.DesiredStop, stop.Why, stop.By
		})
	}
	for _, u := range s.Update {
		i := slices.IndexFunc(r.Allocs, func(a *structs.Allocation) bool { return a.ID == u.Alloc })
		r.Change(r.Allocs[i], func(a *structs.Allocation) { a.Version = u.Version })
	}
	for group, ranges := range s.Finished {
		r.note(&r.Want.Record.Finished, group, ranges)
	}
	for group, ranges := range s.FailedFor {
		r.note(&r.Want.Record.FailedFor, group, ranges)
	}
}

func (r *Region) note(into *map[string][]structs.Range, group string, ranges []structs.Range) {
	if *into == nil {
		*into = map[string][]structs.Range{}
	}
	for _, x := range ranges {
		for i := x.First; i <= x.Last; i++ {
			(*into)[group] = structs.WithIndex((*into)[group], int(i))
		}
	}
}

// Begin forgets what of a gang is finished when it is placed anew, as the state does.
func (r *Region) Begin(s scheduler.Steps) {
	if r.Want.Job.Gang != nil && len(s.Place) > 0 {
		r.Want.Record.Finished = nil
	}
}

// Place carries one placement out on a node.
func (r *Region) Place(p scheduler.Placement, node structs.NodeID) *structs.Allocation {
	key := fmt.Sprintf("%s%d", p.Group, p.Index)
	r.made[key]++
	r.index++
	a := &structs.Allocation{ID: structs.AllocID(fmt.Sprintf("%s.%d", key, r.made[key])), Job: "j", Group: p.Group, Index: p.Index,
		Version: r.Want.Record.Version, Node: node, Incarnation: uint64(r.made[key]), Desired: structs.DesiredRun, Status: structs.AllocPending,
		Previous: p.Previous, Failures: p.Failures, Created: r.Now, Modified: r.Now, CreateIndex: r.index, OnLost: r.Group().OnLost}
	r.Allocs = append(r.Allocs, a)
	return a
}

// Run executes one command of a scenario:
//
//	job count=3 max_parallel=1 …      changes the job without a new version
//	version [in_place]                a new version of the job
//	restart | stop | scale N          as the user does
//	next                              shows the steps and carries them out; placements go to nodes in turn, avoided ones last
//	running|failed|complete|lost I…   what happens to the newest allocation of indexes ("all" for every one), or to one by its ID
//	unplaced                          counts the steps, and carries out what needs no place
//	ended I…                          stopping allocations end
//	drain NODE [deadline=D]           and undrain NODE
//	after D
//	state                             what there is
func (r *Region) Run(line string) string {
	words := strings.Fields(line)
	args := map[string]string{}
	for _, w := range words {
		if k, v, ok := strings.Cut(w, "="); ok {
			args[k] = v
		}
	}
	duration := func(s string) structs.Duration {
		d, err := structs.ParseDuration(s)
		if err != nil {
			panic(err)
		}
		return d
	}
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		if err != nil {
			panic(err)
		}
		return n
	}
	group, update := r.Group(), r.Want.Job.Update
	switch words[0] {
	case "job":
		for k, v := range args {
			switch k {
			case "count":
				n := number(v)
				group.Count = &n
			case "gang":
				r.Want.Job.Gang = &structs.Gang{}
			case "image":
				group.Tasks[0].Config = map[string]any{structs.ImageKey: v}
			case "rack_spread":
				group.Spreads = []*structs.Spread{{Attribute: "rack"}}
			case "on_lost":
				group.OnLost = v
			case "order":
				group.Migrate = &structs.Migrate{Order: v}
			case "max_parallel":
				update.MaxParallel = number(v)
			case "min_healthy_time":
				update.MinHealthyTime = duration(v)
			case "healthy_timeout":
				update.HealthyTimeout = duration(v)
			case "attempts", "interval", "delay":
				if group.Reschedule == nil {
					group.Reschedule = &structs.Reschedule{}
				}
				switch k {
				case "attempts":
					n := number(v)
					group.Reschedule.Attempts = &n
				case "interval":
					group.Reschedule.Interval = duration(v)
				default:
					group.Reschedule.Delay = duration(v)
				}
			default:
				return "unknown " + k
			}
		}
	case "version":
		r.Want.Record.Version++
		r.InPlace[r.Want.Record.Version] = len(words) > 1
		if len(words) == 1 {
			r.Want.Record.Finished, r.Want.Record.FailedFor = nil, nil
		}
	case "restart":
		r.index++
		r.Want.Record.Restart = r.index
		r.Want.Record.Finished, r.Want.Record.FailedFor = nil, nil
	case "stop":
		r.Want.Record.Stopped = true
	case "scale":
		r.Want.Record.Counts = map[string]int{"g": number(words[1])}
	case "next":
		return r.show()
	case "unplaced": // the steps, when there is no place for anything
		s := r.Steps()
		r.Stop(s)
		return fmt.Sprintf("%d to be placed, %d to be stopped", len(s.Place), len(s.Stop))
	case "running", "failed", "complete", "lost", "ended":
		for _, id := range words[1:] { // one of several that have an index
			if i := slices.IndexFunc(r.Allocs, func(a *structs.Allocation) bool { return string(a.ID) == id }); i >= 0 {
				r.Happen(r.Allocs[i], words[0])
			}
		}
		for _, index := range r.indexes(words[1:]) {
			if a := r.Find(index); a != nil {
				r.Happen(a, words[0])
			}
		}
	case "drain":
		n := *r.Nodes[structs.NodeID(words[1])]
		n.Drain = &structs.Drain{Started: r.Now}
		if d := args["deadline"]; d != "" {
			n.Drain.Deadline = r.Now.Add(duration(d))
		}
		r.Nodes[n.ID] = &n
	case "undrain":
		n := *r.Nodes[structs.NodeID(words[1])]
		n.Drain = nil
		r.Nodes[n.ID] = &n
	case "after":
		r.Now = r.Now.Add(duration(words[1]))
	case "forget":
		r.Allocs = slices.DeleteFunc(r.Allocs, func(a *structs.Allocation) bool { return a.Ended() })
	case "state":
		var b strings.Builder
		for _, a := range r.Allocs {
			fmt.Fprintf(&b, "%s version %d on %s: %s, %s\n", a.ID, a.Version, a.Node, a.Desired, a.Status)
		}
		return b.String()
	default:
		return "unknown command " + words[0]
	}
	return ""
}

func (r *Region) indexes(words []string) (out []int) {
	for _, w := range words {
		if w == "all" {
			for _, a := range r.Allocs {
				if !slices.Contains(out, a.Index) {
					out = append(out, a.Index)
				}
			}
			continue
		}
		if n, err := strconv.Atoi(w); err == nil {
			out = append(out, n)
		}
	}
	return out
}

// Happen lets something happen to an allocation.
func (r *Region) Happen(a *structs.Allocation, what string) {
	r.Change(a, func(a *structs.Allocation) {
		switch what {
		case "running":
			a.Status = structs.AllocRunning
			if a.Started == 0 {
				a.Started = r.Now
			}
		case "failed":
			a.Status = structs.AllocFailed
		case "complete", "ended":
			a.Status = structs.AllocComplete
		case "lost":
			a.Status = structs.AllocLost
		}
	})
}

// PickNode returns the node for a placement: the one with the fewest allocations that is neither drained nor avoided, if
// there is one.
func (r *Region) PickNode(p scheduler.Placement) structs.NodeID {
	load := map[structs.NodeID]int{}
	for _, a := range r.Allocs {
		if !a.Ended() {
			load[a.Node]++
		}
	}
	ids := make([]structs.NodeID, 0, len(r.Nodes))
	for id := range r.Nodes {
		ids = append(ids, id)
	}
	worse := func(id structs.NodeID) int {
		switch {
		case id == p.Prefer && r.Nodes[id].Drain == nil:
			return -1
		case r.Nodes[id].Drain != nil:
			return 2
		case slices.Contains(p.Avoid, id):
			return 1
		}
		return 0
	}
	return slices.MinFunc(ids, func(x, y structs.NodeID) int {
		return cmp.Or(cmp.Compare(worse(x), worse(y)), cmp.Compare(load[x], load[y]), cmp.Compare(x, y))
	})
}

func (r *Region) show() string {
	s := r.Steps()
	var b strings.Builder
	for _, stop := range s.Stop {
		fmt.Fprintf(&b, "stop %s: %s", stop.Alloc, stop.Why)
		if stop.By != 0 {
			fmt.Fprintf(&b, ", once the images of version %d are there", stop.By)
		}
		b.WriteString("\n")
	}
	for _, u := range s.Update {
		fmt.Fprintf(&b, "update %s to version %d\n", u.Alloc, u.Version)
	}
	r.Stop(s)
	r.Begin(s)
	for _, p := range s.Place {
		a := r.Place(p, r.PickNode(p))
		fmt.Fprintf(&b, "place %s on %s", a.ID, a.Node)
		if p.Previous != "" {
			fmt.Fprintf(&b, " after %s", p.Previous)
		}
		if len(p.Avoid) > 0 {
			fmt.Fprintf(&b, ", not on %v", p.Avoid)
		}
		if p.Prefer != "" {
			b.WriteString(", where its images are")
		}
		b.WriteString("\n")
	}
	if len(s.Finished["g"]) > 0 {
		fmt.Fprintf(&b, "finished %v\n", s.Finished["g"])
	}
	if len(s.FailedFor["g"]) > 0 {
		fmt.Fprintf(&b, "failed for good %v\n", s.FailedFor["g"])
	}
	fmt.Fprintf(&b, "%s", s.Status)
	if s.Why != "" {
		fmt.Fprintf(&b, ": %s", s.Why)
	}
	if s.WakeAt != 0 {
		fmt.Fprintf(&b, " (again in %s)", s.WakeAt.Sub(r.Now))
	}
	return b.String()
}
