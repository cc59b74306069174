package server

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/proffer/proffer/scheduler"
	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/scheduler/simulate"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Change is what a simulation makes different from a state. It is applied in the order of the fields.
type Change struct {
	Add    int    // nodes, as Like is, empty
	Like   string // id or name of a node
	Remove []string
	Roles  []*structs.Role
	Force  bool // of roles: also when a limit is below what is in use, or more is guaranteed than the nodes have
	Jobs   []*structs.Job

	Options allocator.Options              // of the allocator
	slacks  map[structs.NodeID]slackReport // what nodes said is reserved and not used
	// Replaces is that of Config.
	Replaces func(old, new *structs.Job, group string) bool
}

// Bounds of a simulation.
const (
	mostAdded     = 100_000 // nodes
	mostExplained = 100     // groups that go on waiting, with a look at every node for each; the others without
	mostStops     = 1000    // that are listed
	mostTurns     = 1000    // groups whose place in the order is counted
	simulateChunk = 4096    // decisions between two looks at the context
)

// Simulation is what the allocator would do with a state, if nothing else happened and all victims of preemption ended at
// once.
type Simulation struct {
	Index     uint64
	Time      structs.Time // of the last change in the state
	Nodes     int          // that take work
	Asked     int          // slots that waited at the beginning
	Placed    int          // victims that are placed again among them
	Preempted int
	Waiting   int // slots that wait at the end
	Later     int // jobs that ask again at a later time, after failures
	Groups    []*SimulatedGroup
	Stops     []*SimulatedStop // the first mostStops of them
}

// SimulatedGroup is a group to which something happens, or which waits.
type SimulatedGroup struct {
	Job, Group string
	Role       string
	Priority   structs.Priority
	Asked      int
	Placed     int
	Preempted  int            // of what ran before
	On         map[string]int // placements by name of the node
	Waiting    *allocator.Waiting
	Explained  bool // Waiting.Placement is there
}

// SimulatedStop is an allocation that would be stopped, and the job for which.
type SimulatedStop struct {
	Alloc *structs.Allocation
	For   string
}

// Simulate says what the allocator would do with this server's state, which may be behind, after a change. Nothing but the
// answer comes of it. One simulation runs at a time.
func (s *Server) Simulate(ctx context.Context, change *Change) (*Simulation, error) {
	if !s.simulating.TryLock() {
		return nil, structs.Errorf(structs.Exhausted, "simulation", "another one runs on this server").Advise("try again when it is done, or save a snapshot and simulate with it")
	}
	defer s.simulating.Unlock()
	snap, err := s.Read(ctx, true)
	if err != nil {
		return nil, err
	}
	change.Options, change.Replaces, change.slacks = s.sharing(0), s.config.Replaces, s.slacks(ctx)
	return Simulate(ctx, snap, change, structs.At(time.Now()))
}

// Simulate says what the allocator would do with a state at a time, after a change, which is checked as if it were made.
func Simulate(ctx context.Context, snap *state.Snapshot, change *Change, now structs.Time) (*Simulation, error) {
	s, err := prepare(snap, change, now)
	if err != nil {
		return nil, err
	}
	if err := s.run(ctx, now); err != nil {
		return nil, err
	}
	s.explain()
	return s.out, nil
}

// prepare changes a state and has all wait that its jobs want.
func prepare(was *state.Snapshot, change *Change, now structs.Time) (*simulation, error) {
	snap, err := changed(was, change, now)
	if err != nil {
		return nil, err
	}
	a := allocator.New(change.Options)
	_ = feed(a, snap) // the loop leaves out a role that cannot be used, too
	tell(a, change.slacks)
	s := &simulation{snap: snap, world: simulate.NewWorld(a), asks: map[string]map[string]*placement.Ask{}, groups: map[string]*SimulatedGroup{},
		out: &Simulation{Index: was.Index(), Time: was.Time()}}
	s.world.Origin = s.origin
	for n := range snap.Nodes() {
		if n.Schedulable() {
			s.out.Nodes++
		}
	}
	for record := range snap.Jobs() {
		if err := s.ask(record, change.Replaces, now); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// changed returns the state after a change.
func changed(snap *state.Snapshot, change *Change, now structs.Time) (*state.Snapshot, error) {
	store := snap.Fork()
	index := snap.Index()
	apply := func(c state.Command) error {
		index++
		return store.Apply(index, &state.Entry{Time: now, Envelopes: []state.Envelope{{Actor: "simulation", Command: c}}})[0].Err
	}
	if change.Add < 0 || change.Add > mostAdded {
		return nil, structs.Errorf(structs.Invalid, "add_nodes", "%d is not from 0 to %d", change.Add, mostAdded)
	}
	if change.Add > 0 {
		like, err := nodeNamed(snap, change.Like)
		if err != nil {
			return nil, err
		}
		for i := range change.Add {
			n := *like
			n.ID, n.Name = structs.NodeID(fmt.Sprintf("simulated-%d", i+1)), fmt.Sprintf("%s+%d", like.Name, i+1)
			if err := apply(&state.RegisterNode{Node: &n}); err != nil {
				return nil, err
			}
		}
	}
	for _, name := range change.Remove {
		n, err := nodeNamed(store.Snapshot(), name)
		if err == nil {
			err = apply(&state.SetNodeStatus{Node: n.ID, Status: structs.NodeLeft, Why: "simulated"})
		}
		if err == nil {
			err = apply(&state.RemoveNode{Node: n.ID})
		}
		if err != nil {
			return nil, err
		}
	}
	if len(change.Roles) > 0 {
		if err := apply(&state.PutRoles{Roles: change.Roles, Force: change.Force}); err != nil {
			return nil, err
		}
	}
	for _, job := range change.Jobs {
		keep := false
		if old := store.Snapshot().Current(job.Name); old != nil && job.Type == structs.BatchJob {
			keep = !slices.ContainsFunc(job.Groups, func(g *structs.Group) bool { return change.Replaces(old.Job, job, g.Name) })
		}
		if err := apply(&state.SubmitJob{Job: job, KeepFinished: keep}); err != nil {
			return nil, err
		}
	}
	return store.Snapshot(), nil
}

// nodeNamed finds a node by its id, its name, or the beginning of its id.
func nodeNamed(snap *state.Snapshot, name string) (*structs.Node, error) {
	var found []*structs.Node
	var names []string
	for n := range snap.Nodes() {
		if string(n.ID) == name || n.Name == name {
			return n, nil
		}
		if len(name) >= 4 && strings.HasPrefix(string(n.ID), name) {
			found = append(found, n)
		}
		if len(names) < 1000 {
			names = append(names, n.Name)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	err := structs.Errorf(structs.NotFound, fmt.Sprintf("node %.140q", name), "there is none")
	if near := structs.Nearest(name, names); near != "" {
		err.Advise("did you mean %q?", near)
	}
	return nil, err
}

// simulation is one on its way.
type simulation struct {
	snap   *state.Snapshot
	world  *simulate.World
	asks   map[string]map[string]*placement.Ask // by job and group
	groups map[string]*SimulatedGroup           // by id of the request
	out    *Simulation
}

// asksOf compiles what a job asks for, once.
func (s *simulation) asksOf(job *structs.Job) map[string]*placement.Ask {
	asks := s.asks[job.Name]
	if asks == nil {
		asks, _ = asksOf(s.snap, placedAs(s.snap, job), cmp.Or(job.Role, structs.DefaultRole)) // what does not compile is not placed by the loop either
		s.asks[job.Name] = asks
	}
	return asks
}

// ask has all wait that a job wants now.
func (s *simulation) ask(record *structs.JobRecord, replaces func(old, new *structs.Job, group string) bool, now structs.Time) error {
	version := s.snap.Version(record.Name, record.Version)
	if version == nil {
		return nil
	}
	steps := nextSteps(s.snap, record, version.Job, slices.Collect(s.snap.AllocsOfJob(record.Name)), replaces, now)
	if steps.WakeAt > now && len(steps.Place) == 0 && record.Wanted > 0 {
		s.out.Later++
	}
	byGroup := map[string][]scheduler.Placement{}
	for _, p := range steps.Place {
		byGroup[p.Group] = append(byGroup[p.Group], p)
	}
	asks := s.asksOf(version.Job)
	for _, group := range slices.Sorted(maps.Keys(byGroup)) {
		if asks[group] == nil {
			continue
		}
		r := simulate.Request{Request: requestOf(record, version.Job, group, asks[group], byGroup[group]), Gang: gangOf(version.Job)}
		if err := s.world.Ask(r); err != nil {
			return err
		}
		s.out.Asked += len(r.Slots)
		s.group(r.ID, record, group).Asked = len(r.Slots)
	}
	return nil
}

func (s *simulation) group(id string, record *structs.JobRecord, group string) *SimulatedGroup {
	g := s.groups[id]
	if g == nil {
		g = &SimulatedGroup{Job: record.Name, Group: group, Role: record.Role, Priority: record.Priority, On: map[string]int{}}
		s.groups[id] = g
	}
	return g
}

// origin returns what asks again for an allocation of the state when it was preempted: its job, at once.
func (s *simulation) origin(id structs.AllocID) (r simulate.Request, slot allocator.Slot, ok bool) {
	a := s.snap.Alloc(id)
	if a == nil || a.Desired != structs.DesiredRun {
		return r, slot, false
	}
	record := s.snap.Job(a.Job)
	if record == nil || record.Stopped {
		return r, slot, false
	}
	version := s.snap.Version(a.Job, record.Version)
	if version == nil || version.Job.Group(a.Group) == nil || a.Index >= record.CountOf(version.Job.Group(a.Group)) {
		return r, slot, false
	}
	ask := s.asksOf(version.Job)[a.Group]
	if ask == nil {
		return r, slot, false
	}
	r = simulate.Request{Request: requestOf(record, version.Job, a.Group, ask, nil), Gang: gangOf(version.Job)}
	return r, allocator.Slot{Index: a.Index, Previous: a.ID}, true
}

// gangOf names the gang of which the requests of a job are; empty: each is by itself.
func gangOf(job *structs.Job) string {
	if job.Gang == nil {
		return ""
	}
	return job.Name
}

// run has the allocator decide until nothing happens any more.
func (s *simulation) run(ctx context.Context, now structs.Time) error {
	for {
		if err := ctx.Err(); err != nil {
			return structs.Errorf(structs.Unavailable, "simulation", "it was not done in time: %w", err)
		}
		placed, victims, err := s.world.Step(now, simulateChunk)
		if err != nil {
			return err
		}
		if len(placed) == 0 && len(victims) == 0 {
			return nil
		}
		for _, p := range placed {
			s.out.Placed++
			g := s.group(p.Request, s.snap.Job(p.Job), p.Group)
			g.Placed++
			g.On[p.NodeName]++
		}
		var ids []structs.AllocID
		for _, v := range victims {
			ids = append(ids, v.ID)
			s.stop(v)
		}
		if _, err := s.world.Again(ids...); err != nil {
			return err
		}
	}
}

// stop notes that an allocation is stopped.
func (s *simulation) stop(v simulate.Victim) {
	if p := s.world.Running(v.ID); p != nil { // it was placed in the simulation, and waits as before
		s.out.Placed--
		if g := s.groups[p.Request]; g != nil {
			g.Placed--
			if g.On[p.NodeName]--; g.On[p.NodeName] == 0 {
				delete(g.On, p.NodeName)
			}
		}
		return
	}
	s.out.Preempted++
	a := s.snap.Alloc(v.ID)
	if a == nil {
		return
	}
	if record := s.snap.Job(a.Job); record != nil {
		s.group(a.Job+"/"+a.Group, record, a.Group).Preempted++
	}
	if len(s.out.Stops) < mostStops {
		s.out.Stops = append(s.out.Stops, &SimulatedStop{a, v.For.Job})
	}
}

// explain says why what waits does, and sorts the groups.
func (s *simulation) explain() {
	a := s.world.Allocator
	pending := a.Pending()
	turns := a.Order().Turns(pending[:min(len(pending), mostTurns)], mostCounted)
	explained := 0
	for _, id := range slices.Sorted(maps.Keys(s.groups)) {
		g := s.groups[id]
		if n := s.world.Waiting(id); n > 0 {
			s.out.Waiting += n
			var w allocator.Waiting
			if g.Explained = explained < mostExplained; g.Explained {
				w, _ = a.Explain(id)
				explained++
			} else {
				w, _ = a.Standing(id)
			}
			w.Pending, w.Turn = n, turns[id]
			g.Waiting = &w
		}
		if g.Asked > 0 || g.Placed > 0 || g.Preempted > 0 {
			s.out.Groups = append(s.out.Groups, g)
		}
	}
	slices.SortStableFunc(s.out.Groups, func(x, y *SimulatedGroup) int {
		return cmp.Or(cmp.Compare(x.Job, y.Job), cmp.Compare(x.Group, y.Group))
	})
}
