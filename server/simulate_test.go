package server

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// tryout is a state that tests apply commands to.
type tryout struct {
	store *state.Store
	index uint64
}

func (x *tryout) apply(c state.Command) (any, error) {
	x.index++
	r := x.store.Apply(x.index, &state.Entry{Time: structs.Time(x.index), Envelopes: []state.Envelope{{Command: c}}})[0]
	return r.Answer, r.Err
}

func (x *tryout) node(i int, cores, gib int64) {
	id := structs.NodeID(fmt.Sprintf("%032d", i))
	_, err := x.apply(&state.RegisterNode{Node: &structs.Node{ID: id, Name: fmt.Sprintf("n%d", i), Datacenter: "dc1", Drivers: map[string]*structs.Driver{"mock": {Healthy: true}},
		Meta: map[string]string{"rack": fmt.Sprint(i % 2)}, Resources: structs.Resources{CPU: structs.Milli(1000 * cores), Memory: structs.Bytes(gib << 30)}}})
	if err != nil {
		panic(err)
	}
}

func tryJob(name, role, priority, kind string, count int, cores int64) *structs.Job {
	j := &structs.Job{Name: name, Role: role, Priority: priority, Type: kind, Groups: []*structs.Group{{Name: "g", Count: &count, Tasks: []*structs.Task{{Name: "t", Driver: "mock",
		Resources: &structs.TaskResources{CPU: structs.Milli(1000 * cores), Memory: 1 << 30}}}}}}
	j.Canonicalize()
	return j
}

func replaceAll(_, _ *structs.Job, _ string) bool { return true }

// loopOf returns the loop of a server that has just become leader with a state, as far as it decides.
func loopOf(store *state.Store, now time.Time) *loop {
	l := &loop{server: &Server{store: store, config: Config{Replaces: replaceAll}}, log: slog.New(slog.DiscardHandler),
		allocator: allocator.New(allocator.Options{}), jobs: map[string]*jobLoop{}, dirty: map[string]struct{}{}, wakes: newDeadlines(),
		placing: map[structs.AllocID]uint64{}, out: newOutbox()}
	l.load(store.Snapshot())
	l.lookAtJobs(now)
	return l
}

func decided(list []allocator.Decision) (out []string) {
	for _, d := range list {
		switch {
		case d.Place != nil:
			out = append(out, fmt.Sprintf("place %s[%d] on %s as %s", d.Place.Request, d.Place.Slot.Index, d.Place.Node, d.Place.Ordered))
		case d.Preempt != nil:
			out = append(out, fmt.Sprintf("preempt for %s[%d] on %s: %v", d.Preempt.Request, d.Preempt.Slot.Index, d.Preempt.Node, d.Preempt.Victims))
		}
	}
	return out
}

// A simulation in which nothing is changed decides what the loop decides, in random states.
func TestSimulatesWhatTheLoopDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := &tryout{store: state.New()}
		for i := range rapid.IntRange(1, 5).Draw(t, "nodes") {
			x.node(i, int64(rapid.IntRange(1, 6).Draw(t, "cores")), 8)
		}
		guarantee := structs.Milli(1000 * rapid.IntRange(0, 4).Draw(t, "guarantee"))
		limit := structs.Milli(1000 * rapid.IntRange(4, 9).Draw(t, "limit"))
		if _, err := x.apply(&state.PutRoles{Force: true, Roles: []*structs.Role{{Name: "web", MaxPriority: "production", Weight: 2000,
			Quota: &structs.Quota{Guarantee: &structs.QuotaAmount{CPU: &guarantee}, Limit: &structs.QuotaAmount{CPU: &limit}}}}}); err != nil {
			t.Fatal(err)
		}
		now := time.Unix(1000, 0)
		for range rapid.IntRange(1, 4).Draw(t, "rounds") {
			for range rapid.IntRange(0, 3).Draw(t, "jobs") {
				role, priority := "science", rapid.SampledFrom([]string{"batch", "best-effort", "batch+5"}).Draw(t, "priority")
				if rapid.Bool().Draw(t, "web") {
					role, priority = "web", "production"
				}
				j := tryJob(fmt.Sprintf("j%d", rapid.IntRange(0, 5).Draw(t, "job")), role, priority, rapid.SampledFrom([]string{"service", "batch"}).Draw(t, "type"),
					rapid.IntRange(0, 5).Draw(t, "count"), int64(rapid.IntRange(1, 3).Draw(t, "ask")))
				if j.Type == structs.BatchJob && rapid.IntRange(0, 2).Draw(t, "gang") == 0 {
					j.Gang = &structs.Gang{}
				}
				_, _ = x.apply(&state.SubmitJob{Job: j}) // it may be refused
			}
			l := loopOf(x.store, now)
			s, err := prepare(x.store.Snapshot(), &Change{Replaces: replaceAll}, structs.At(now))
			if err != nil {
				t.Fatal(err)
			}
			decisions := l.allocator.Step(structs.At(now), 0)
			got, want := decided(s.world.Allocator.Step(structs.At(now), 0)), decided(decisions)
			if !slices.Equal(got, want) {
				t.Fatalf("simulated\n  %s\nthe loop\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
			}
			for i, n := 0, 0; i < len(decisions); i += n {
				if n = 1; decisions[i].Place == nil {
					continue
				}
				if n = together(decisions[i:]); rapid.IntRange(0, 3).Draw(t, "commit") > 0 {
					l.place(decisions[i : i+n])
				}
			}
			for cmd := l.out.take(1 << 20); cmd != nil; cmd = l.out.take(1 << 20) {
				if _, err := x.apply(cmd); err != nil {
					t.Fatal(err)
				}
			}
			if rapid.IntRange(0, 3).Draw(t, "lose") == 0 {
				_, _ = x.apply(&state.SetNodeStatus{Node: structs.NodeID(fmt.Sprintf("%032d", rapid.IntRange(0, 4).Draw(t, "node"))), Status: structs.NodeLost})
			}
		}
	})
}

func TestSimulate(t *testing.T) {
	x := &tryout{store: state.New()}
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	x.node(0, 4, 16)
	x.node(1, 4, 16)
	guarantee := structs.Milli(4000)
	must(x.apply(&state.PutRoles{Roles: []*structs.Role{{Name: "web", MaxPriority: "production", Quota: &structs.Quota{Guarantee: &structs.QuotaAmount{CPU: &guarantee}}}}}))
	must(x.apply(&state.SubmitJob{Job: tryJob("sums", "science", "batch", "batch", 9, 1)}))
	var at []*state.Placement
	for i := range 8 {
		at = append(at, &state.Placement{NodeIncarnation: 1, Alloc: &structs.Allocation{ID: structs.AllocID(fmt.Sprintf("a%d", i)), Framework: "batch", Role: "science", Job: "sums", Version: 1,
			Group: "g", Index: i, Node: structs.NodeID(fmt.Sprintf("%032d", i/4)), NodeName: fmt.Sprintf("n%d", i/4), Priority: structs.DefaultPriority,
			Resources: structs.Resources{CPU: 1000, Memory: 1 << 30}}})
	}
	must(x.apply(&state.Place{Placements: at}))
	before := x.store.Snapshot()
	run := func(c Change) *Simulation {
		t.Helper()
		c.Replaces = replaceAll
		s, err := Simulate(context.Background(), x.store.Snapshot(), &c, 100)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := run(Change{}); s.Nodes != 2 || s.Asked != 1 || s.Placed != 0 || s.Waiting != 1 || s.Groups[0].Waiting.Because != allocator.OfNoNode || s.Groups[0].Waiting.Turn.At != 1 {
		t.Errorf("as it is: %+v", s)
	}
	if s := run(Change{Add: 2, Like: "n1"}); s.Nodes != 4 || s.Placed != 1 || s.Waiting != 0 || s.Groups[0].On["n1+1"] != 1 {
		t.Errorf("with two nodes: %+v %+v", s, s.Groups[0])
	}
	if s := run(Change{Remove: []string{"n0"}}); s.Nodes != 1 || s.Asked != 5 || s.Placed != 0 || s.Waiting != 5 {
		t.Errorf("without a node: %+v", s)
	}
	s := run(Change{Jobs: []*structs.Job{tryJob("shop", "web", "production", "service", 2, 2)}})
	if s.Placed != 2 || s.Preempted != 4 || s.Waiting != 5 || len(s.Stops) != 4 || s.Stops[0].For != "shop" || s.Stops[0].Alloc.Job != "sums" {
		t.Errorf("with production: %+v", s)
	}
	most := &structs.Role{Name: "science", MaxRunning: 8}
	if s := run(Change{Add: 1, Like: "n0", Roles: []*structs.Role{most}}); s.Waiting != 1 || s.Groups[0].Waiting.Because != allocator.OfQuota {
		t.Errorf("with a bound: %+v", s)
	}
	// A gang comes whole or not at all, and has one place in the order.
	gang := tryJob("mpi", "science", "batch+1", "batch", 5, 1)
	gang.Gang = &structs.Gang{}
	s = run(Change{Add: 1, Like: "n0", Jobs: []*structs.Job{gang, tryJob("late", "science", "batch", "batch", 5, 1)}})
	if s.Placed != 4 || s.Waiting != 7 {
		t.Errorf("with a gang that does not fit: %+v", s)
	}
	for _, g := range s.Groups {
		switch w := g.Waiting; {
		case g.Job == "mpi" && (w == nil || w.Turn.At != 1 || w.Gang == nil || w.Gang.Fit != 0):
			t.Errorf("the gang: %+v", w)
		case g.Job == "late" && (w == nil || w.Turn.At != 2 || w.Turn.Ahead[0].Gangs != 1 || w.Turn.Ahead[0].CPU != 5000):
			t.Errorf("behind the gang: %+v", w)
		}
	}
	if s := run(Change{Add: 2, Like: "n0", Jobs: []*structs.Job{gang}}); s.Placed != 6 || s.Waiting != 0 {
		t.Errorf("with a gang that fits: %+v", s)
	}
	for _, bad := range []Change{{Add: 1, Like: "n7"}, {Remove: []string{"n7"}}, {Add: -1}, {Jobs: []*structs.Job{tryJob("x", "science", "production", "batch", 1, 1)}}} {
		bad.Replaces = replaceAll
		if _, err := Simulate(context.Background(), x.store.Snapshot(), &bad, 100); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if after := x.store.Snapshot(); after != before || after.NodeCount() != 2 || after.Job("shop") != nil {
		t.Error("the state was changed")
	}
}
