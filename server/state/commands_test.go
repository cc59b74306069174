package state

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

func TestRegisterNode(t *testing.T) {
	r := newRegion(t)
	n := &structs.Node{ID: "n1", Name: "one", Resources: structs.Resources{CPU: 4000}}
	first := r.must(&RegisterNode{Node: n}).(*Registered)
	if first.Incarnation != 1 || !first.Changed {
		t.Errorf("first: %+v", first)
	}
	if again := r.must(&RegisterNode{Node: n}).(*Registered); again.Changed || r.store.Snapshot().Node("n1").ModifyIndex != first.Index {
		t.Errorf("the same fingerprint changed something: %+v", again)
	}
	r.must(&SetEligibility{Node: "n1"})
	r.must(&SetNodeStatus{Node: "n1", Status: structs.NodeLost, Why: "its lease ended"})
	r.fails(structs.Conflict, &Observe{Node: "n1", NodeIncarnation: 1})
	back := r.must(&RegisterNode{Node: n}).(*Registered)
	if got := r.store.Snapshot().Node("n1"); back.Incarnation != 2 || got.Status != structs.NodeReady || got.Eligible || got.Reason != "" {
		t.Errorf("after it was lost: %+v %+v", back, got)
	}
	// It gets no work before it told all that it runs, whatever else it says of itself and in which session.
	r.must(&SetEligibility{Node: "n1", Eligible: true})
	r.must(&Observe{Node: "n1", NodeIncarnation: 2})
	if again := r.must(&RegisterNode{Node: n, Open: true}).(*Registered); first.Untold || !back.Untold || !again.Untold || r.store.Snapshot().Node("n1").Schedulable() {
		t.Errorf("before it told: %+v, %+v, %+v", first, back, again)
	}
	r.must(&Observe{Node: "n1", NodeIncarnation: 2, Told: true})
	if !r.store.Snapshot().Node("n1").Schedulable() || r.must(&RegisterNode{Node: n}).(*Registered).Untold {
		t.Errorf("it told, and %+v", r.store.Snapshot().Node("n1"))
	}
	r.fails(structs.Conflict, &SetNodeStatus{Node: "n1", Incarnation: 1, Status: structs.NodeLost})
	r.fails(structs.Conflict, &RemoveNode{Node: "n1"})
	r.must(&SetNodeStatus{Node: "n1", Status: structs.NodeLeft})
	r.must(&RemoveNode{Node: "n1"})
	r.fails(structs.NotFound, &RemoveNode{Node: "n1"})
	if r.must(&RegisterNode{Node: n}).(*Registered).Untold {
		t.Error("a node that had no work has to tell what it runs")
	}
	images := map[string]structs.Bytes{}
	for i := range structs.MaxImages + 1 {
		images[fmt.Sprint("web:", i)] = 1
	}
	r.fails(structs.Invalid, &RegisterNode{Node: &structs.Node{ID: "n2", Drivers: map[string]*structs.Driver{"docker": {Healthy: true, Images: images}}}})
}

// What an older session of a node says does not count, and the longer of two leases stays until it has passed.
func TestSessionsOfANode(t *testing.T) {
	r := newRegion(t)
	n := &structs.Node{ID: "n1", Name: "one"}
	open := func(lease structs.Duration) *Registered {
		t.Helper()
		return r.must(&RegisterNode{Node: n, Open: true, Lease: lease}).(*Registered)
	}
	first, second := open(60), open(15)
	if first.Lease != 60 || second.Lease != 60 || second.Session <= first.Session || second.Incarnation != 1 {
		t.Errorf("opened as %+v and %+v", first, second)
	}
	for _, session := range []uint64{first.Session, second.Session + 1} {
		r.fails(structs.Conflict, &Observe{Node: "n1", NodeIncarnation: 1, Session: session})
		r.fails(structs.Conflict, &RegisterNode{Node: n, Session: session})
		r.fails(structs.Conflict, &SetNodeStatus{Node: "n1", Session: session, Status: structs.NodeLeft})
		r.fails(structs.Conflict, &SetLease{Node: "n1", Session: session, Lease: 15})
	}
	r.must(&Observe{Node: "n1", NodeIncarnation: 1, Session: second.Session})
	if again := r.must(&RegisterNode{Node: n, Session: second.Session}).(*Registered); again.Changed || again.Lease != 60 {
		t.Errorf("the same fingerprint in the session: %+v", again)
	}
	r.must(&SetLease{Node: "n1", Session: second.Session, Lease: 15})
	if third := open(10); third.Lease != 15 {
		t.Errorf("after the longer lease has passed: %+v", third)
	}
	// Two of them in one entry are two.
	answers := r.store.Apply(r.index+1, &Entry{Envelopes: []Envelope{{Command: &RegisterNode{Node: n, Open: true}}, {Command: &RegisterNode{Node: n, Open: true}}}})
	if a, b := answers[0].Answer.(*Registered), answers[1].Answer.(*Registered); a.Session == b.Session {
		t.Errorf("both are session %d", a.Session)
	}
}

// Of two operators who saw the same state of a node, the second is told.
// Who closed a node, and why, stays known until it takes work again, through the end of its drain.
func TestClosedWithAReason(t *testing.T) {
	r := newRegion(t)
	id := r.disks("1", 1<<40)
	closed := func() *structs.Closed { return r.store.Snapshot().Node(id).Closed }
	r.must(&SetEligibility{Node: id, Reason: "slow disk"})
	first := closed()
	if first == nil || first.Reason != "slow disk" || first.Since.IsZero() {
		t.Fatalf("%+v", first)
	}
	r.must(&SetEligibility{Node: id})
	r.must(&SetDrain{Node: id, Drain: &structs.Drain{}})
	r.disks("1", 1<<40) // it says again what it has
	r.must(&SetDrain{Node: id})
	if got := closed(); got == nil || *got != *first {
		t.Errorf("%+v, not %+v", got, first)
	}
	r.must(&SetDrain{Node: id, Drain: &structs.Drain{}, Reason: "new disk"})
	if got := closed(); got == nil || got.Reason != "new disk" {
		t.Errorf("%+v", got)
	}
	r.must(&SetDrain{Node: id, Eligible: true})
	if got := closed(); got != nil {
		t.Errorf("it takes work: %+v", got)
	}
}

func TestDrainOnTopOfWhatWasSeen(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 4000)
	seen := r.store.Snapshot().Node(id).DrainIndex
	r.must(&SetDrain{Node: id, Drain: &structs.Drain{Deadline: 99}, ExpectIndex: &seen})
	r.fails(structs.Conflict, &SetDrain{Node: id, Drain: &structs.Drain{Deadline: 7}, ExpectIndex: &seen})
	if d := r.store.Snapshot().Node(id).Drain; d == nil || d.Deadline != 99 {
		t.Errorf("drain %+v", d)
	}
	seen = r.store.Snapshot().Node(id).DrainIndex
	r.must(&RegisterNode{Node: &structs.Node{ID: id, Name: "1", Version: "2"}, Open: true}) // is no change of the drain
	r.must(&SetDrain{Node: id, Eligible: false, ExpectIndex: &seen})
	seen = r.store.Snapshot().Node(id).DrainIndex
	r.must(&SetEligibility{Node: id, Eligible: true})
	r.fails(structs.Conflict, &SetDrain{Node: id, Eligible: false, ExpectIndex: &seen})
}

func TestDrain(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 4000)
	r.must(&SubmitJob{Job: job("web", "service", 1, "a")})
	r.must(&SetDrain{Node: id, Drain: &structs.Drain{Deadline: 99}})
	r.refused(RefusedNode, r.placement("web", "a", 0, id))
	r.fails(structs.Conflict, &SetEligibility{Node: id, Eligible: true})
	r.must(&SetDrain{Node: id, Eligible: true})
	r.place("web", "a", 0, id)
}

// While its node drains, an index may be held by what is there and by one that follows it, and never where it has to be one.
func TestWhatDrainsMayBeFollowed(t *testing.T) {
	for _, fenced := range []bool{false, true} {
		r := newRegion(t)
		id, to := r.node("1", 4000), r.node("2", 4000)
		j := job("web", "service", 1, "a")
		if fenced {
			j.Groups[0].OnLost = structs.OnLostFence
		}
		r.must(&SubmitJob{Job: j})
		old := r.place("web", "a", 0, id)
		follow := func() *Placement {
			p := r.placement("web", "a", 0, to)
			p.Replaces = old.ID
			return p
		}
		r.refused(RefusedHeld, follow())
		r.must(&SetDrain{Node: id, Drain: &structs.Drain{}})
		r.refused(RefusedHeld, r.placement("web", "a", 0, to))
		if fenced {
			r.refused(RefusedHeld, follow())
			continue
		}
		first := follow()
		r.must(&Place{Placements: []*Placement{first}})
		r.refused(RefusedChanged, follow())
		r.observe(r.store.Snapshot().Alloc(first.Alloc.ID), structs.AllocFailed, structs.TaskFailed)
		second := follow()
		r.must(&Place{Placements: []*Placement{second}})
		if a := r.store.Snapshot().Alloc(old.ID); a.Next != second.Alloc.ID || a.Desired != structs.DesiredRun {
			t.Errorf("the old one: %+v", a)
		}
	}
}

// A job that is submitted while work of a purged one of its name still ends begins with another version.
func TestSubmitAfterPurge(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 4000)
	r.must(&SubmitJob{Job: job("web", "batch", 1, "a")})
	r.place("web", "a", 0, id)
	r.must(&StopJob{Name: "web", Purge: true})
	if v := r.must(&SubmitJob{Job: job("web", "batch", 1, "a")}).(*Receipt).Version; v != 2 {
		t.Errorf("version %d", v)
	}
	if got := r.store.Snapshot().Job("web"); got.FinishedSince != 2 || len(got.Finished) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestSubmitVersions(t *testing.T) {
	r := newRegion(t)
	version := func(v uint64) *uint64 { return &v }
	submit := func(j *structs.Job, expect *uint64) uint64 {
		t.Helper()
		return r.must(&SubmitJob{Job: j, ExpectVersion: expect}).(*Receipt).Version
	}
	if v := submit(job("web", "service", 1, "a"), version(0)); v != 1 {
		t.Errorf("version %d", v)
	}
	r.fails(structs.Conflict, &SubmitJob{Job: job("web", "service", 2, "a"), ExpectVersion: version(0)})
	if v := submit(job("web", "service", 1, "a"), nil); v != 1 {
		t.Errorf("the same text made version %d", v)
	}
	if v := submit(job("web", "service", 2, "a"), version(1)); v != 2 {
		t.Errorf("version %d", v)
	}
	err := r.fails(structs.Conflict, &SubmitJob{Job: job("web", "service", 3, "a"), ExpectVersion: version(1)})
	if !strings.Contains(err.Error(), "it has version 2") {
		t.Error(err)
	}
	r.must(&StopJob{Name: "web"})
	if j := r.store.Snapshot().Job("web"); !j.Stopped || j.Status != structs.JobStopped || j.Ended == 0 {
		t.Errorf("stopped: %+v", j)
	}
	r.fails(structs.Conflict, &ScaleJob{Name: "web", Group: "a", Count: 3})
	if v := submit(job("web", "service", 2, "a"), nil); v != 2 || r.store.Snapshot().Job("web").Stopped {
		t.Errorf("started again as version %d: %+v", v, r.store.Snapshot().Job("web"))
	}
	for i := range 2 * MaxVersions {
		submit(job("web", "service", 10+i, "a"), nil)
	}
	n, newest := 0, uint64(0)
	for v := range r.store.Snapshot().VersionsOf("web") {
		n++
		newest = v.Version
	}
	if n != MaxVersions || newest != 2+2*MaxVersions {
		t.Errorf("%d versions are kept, the newest %d", n, newest)
	}
	if r.store.Snapshot().Role("default") == nil {
		t.Error("the role was not made on first use")
	}
}

func TestVersionsInUseAreKept(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 4000)
	r.must(&SubmitJob{Job: job("web", "service", 1, "a")})
	a := r.place("web", "a", 0, id)
	for i := range 2 * MaxVersions {
		r.must(&SubmitJob{Job: job("web", "service", 10+i, "a")})
	}
	if r.store.Snapshot().Version("web", a.Version) == nil {
		t.Error("the version of a running allocation is gone")
	}
}

func TestPriorityNeedsTheRole(t *testing.T) {
	r := newRegion(t)
	j := job("web", "service", 1, "a")
	j.Role, j.Priority = "eng/web", "production"
	r.fails(structs.Forbidden, &SubmitJob{Job: j})
	if r.store.Snapshot().Role("eng/web") != nil {
		t.Error("a refused job made a role")
	}
	r.must(&PutRole{Role: &structs.Role{Name: "eng/web", MaxPriority: "production+10"}})
	r.must(&SubmitJob{Job: j})
	r.fails(structs.Conflict, &DeleteRole{Name: "eng/web"})
	r.must(&PutRole{Role: &structs.Role{Name: "eng"}})
	r.fails(structs.Conflict, &DeleteRole{Name: "eng"})
	r.must(&StopJob{Name: "web", Purge: true})
	r.must(&DeleteRole{Name: "eng/web"})
	r.must(&DeleteRole{Name: "eng"})
	r.fails(structs.NotFound, &DeleteRole{Name: "eng"})
}

func TestPlacementsAreChecked(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 2000)
	r.refused(RefusedJob, r.placement("web", "a", 0, id))
	r.must(&SubmitJob{Job: job("web", "service", 3, "a")})
	r.refused(RefusedNode, r.placement("web", "a", 0, "node-9"))
	p := r.placement("web", "a", 0, id)
	p.NodeIncarnation++
	r.refused(RefusedNode, p)
	p = r.placement("web", "a", 0, id)
	p.Alloc.Version = 7
	r.refused(RefusedJob, p)
	r.refused(RefusedJob, r.placement("web", "b", 0, id))
	r.refused(RefusedFinished, r.placement("web", "a", 3, id))
	first := r.place("web", "a", 0, id)
	if first.NodeName != "1" || first.Role != "default" || first.Status != structs.AllocPending || first.Desired != structs.DesiredRun {
		t.Errorf("made %+v", first)
	}
	r.refused(RefusedHeld, r.placement("web", "a", 0, id))
	p = r.placement("web", "a", 1, id)
	p.Alloc.ID = first.ID
	r.refused(RefusedInvalid, p)
	second := r.placement("web", "a", 1, id)
	second.Alloc.Ports = []structs.AssignedPort{{Host: "10.0.0.1", Port: 80}}
	third := r.placement("web", "a", 2, id)
	third.Alloc.Resources.CPU = 1
	got := r.must(&Place{Placements: []*Placement{second, third}}).(*Placed)
	if got.Placements[0].Refused != "" || got.Placements[1].Refused != RefusedResources {
		t.Errorf("one of two fits: %+v", got.Placements)
	}
	third.Alloc.Resources = structs.Resources{}
	third.Alloc.Ports = []structs.AssignedPort{{Host: "10.0.0.1", Port: 80}}
	r.refused(RefusedPorts, third)
	third.Alloc.Ports[0].Host = "10.0.0.2"
	r.must(&Place{Placements: []*Placement{third}})
	r.must(&StopJob{Name: "web"})
	r.refused(RefusedJob, r.placement("web", "a", 0, id))
}

// An allocation that is being stopped holds its resources until its node says that it ended.
func TestStoppedHoldsUntilItEnds(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 1000)
	r.must(&SubmitJob{Job: job("web", "service", 2, "a")})
	a := r.place("web", "a", 0, id)
	r.observe(a, structs.AllocRunning, structs.TaskRunning)
	r.must(&StopAlloc{ID: a.ID, Why: "by hand"})
	r.refused(RefusedResources, r.placement("web", "a", 1, id))
	r.observe(a, structs.AllocComplete, structs.TaskKilled)
	r.fails(structs.Conflict, &StopAlloc{ID: a.ID})
	r.place("web", "a", 1, id)
}

func TestRollingReplacement(t *testing.T) {
	for _, onLost := range []string{"replace", "fence"} {
		r := newRegion(t)
		id := r.node("1", 4000)
		j := job("web", "service", 1, "a")
		j.Groups[0].OnLost = onLost
		r.must(&SubmitJob{Job: j})
		old := r.place("web", "a", 0, id)
		decided := old.ModifyIndex
		next := r.placement("web", "a", 0, id)
		next.Replaces, next.ReplacesIndex = old.ID, decided
		stop := []*Stop{{ID: old.ID, Why: "replaced"}}
		res := r.must(&Place{Stops: stop, Placements: []*Placement{next}}).(*Placed).Placements[0]
		if onLost == "fence" {
			if res.Refused != RefusedHeld {
				t.Errorf("fence: a second one was started beside the first: %+v", res)
			}
			next = r.placement("web", "a", 0, id)
			next.Replaces, next.ReplacesIndex = old.ID, decided
			r.refused(RefusedChanged, next)
			old = r.observe(r.store.Snapshot().Alloc(old.ID), structs.AllocComplete, structs.TaskKilled)
			next.ReplacesIndex = old.ModifyIndex
			res = r.must(&Place{Placements: []*Placement{next}}).(*Placed).Placements[0]
		}
		if res.Refused != "" {
			t.Errorf("%s: refused: %+v", onLost, res)
		}
		s := r.store.Snapshot()
		was, is := s.Alloc(old.ID), s.Alloc(next.Alloc.ID)
		if was.Next != is.ID || is.Previous != was.ID || is.Incarnation <= was.Incarnation {
			t.Errorf("%s: %+v then %+v", onLost, was, is)
		}
		p := r.placement("web", "a", 0, id)
		p.Replaces = old.ID
		r.refused(RefusedChanged, p)
	}
}

// TestReplacedBy: a stop for a newer version says so; one for another reason overrides that, and nothing else does.
func TestReplacedBy(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 4000)
	r.must(&SubmitJob{Job: job("web", "service", 1, "a")})
	a := r.place("web", "a", 0, id)
	look := func(by uint64, why string) uint64 {
		t.Helper()
		now := r.store.Snapshot().Alloc(a.ID)
		if now.Desired != structs.DesiredStop || now.ReplacedBy != by || now.DesiredWhy != why {
			t.Errorf("%+v", now)
		}
		return now.WantIndex
	}
	r.must(&Place{Stops: []*Stop{{ID: a.ID, Why: "replaced", By: 2}}})
	first := look(2, "replaced")
	r.must(&Place{Stops: []*Stop{{ID: a.ID, Why: "replaced again", By: 3}}})
	if now := look(2, "replaced"); now != first {
		t.Errorf("its node is told again at %d", now)
	}
	r.must(&StopAlloc{ID: a.ID, Why: "now"})
	if now := look(0, "now"); now <= first {
		t.Errorf("its node is not told that it is urgent: %d, %d", now, first)
	}
	r.must(&StopAlloc{ID: a.ID, Why: "once more"})
	look(0, "now")
}

func TestUpdateInPlace(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 4000)
	r.must(&SubmitJob{Job: job("web", "service", 1, "a")})
	a := r.place("web", "a", 0, id)
	j := job("web", "service", 1, "a")
	j.Priority, j.Groups[0].OnLost = "batch+5", "fence"
	r.must(&SubmitJob{Job: j})
	got := r.must(&Place{Updates: []*Update{{a.ID, 1}, {a.ID, 2}, {"none", 2}}}).(*Placed)
	if len(got.Updates) != 2 || got.Updates[0].Refused != RefusedJob || got.Updates[1].Refused != RefusedChanged {
		t.Errorf("updates: %+v", got.Updates)
	}
	b := r.store.Snapshot().Alloc(a.ID)
	if b.Version != 2 || b.OnLost != "fence" || b.Priority.Level != 5 || b.WantIndex != got.Index || b.Incarnation != a.Incarnation {
		t.Errorf("updated: %+v", b)
	}
}

func TestIncarnationNeverGoesBack(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 4000)
	newest := uint64(0)
	for range 3 {
		r.must(&SubmitJob{Job: job("web", "service", 1, "a")})
		a := r.place("web", "a", 0, id)
		if a.Incarnation <= newest {
			t.Fatalf("incarnation %d after %d", a.Incarnation, newest)
		}
		newest = a.Incarnation
		r.must(&StopJob{Name: "web", Purge: true})
		r.observe(a, structs.AllocComplete, structs.TaskKilled)
		r.must(&Collect{MaxFinished: -1})
		if r.store.Snapshot().Alloc(a.ID) != nil || r.store.Snapshot().Job("web") != nil {
			t.Fatal("it was not collected")
		}
	}
}

func TestLostNode(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 8000)
	allocs := map[string]*structs.Allocation{}
	for _, onLost := range []string{"replace", "wait(5m)", "fence"} {
		j := job("job-"+onLost[:4], "service", 1, "a")
		j.Groups[0].OnLost = onLost
		r.must(&SubmitJob{Job: j})
		allocs[onLost] = r.place(j.Name, "a", 0, id)
	}
	r.fails(structs.Conflict, &LoseAllocs{Node: id})
	r.must(&SetNodeStatus{Node: id, Status: structs.NodeLost})
	status := func(onLost string) structs.AllocStatus { return r.store.Snapshot().Alloc(allocs[onLost].ID).Status }
	if status("replace") != structs.AllocLost || status("wait(5m)") != structs.AllocPending || status("fence") != structs.AllocPending {
		t.Errorf("after the node was lost: %s %s %s", status("replace"), status("wait(5m)"), status("fence"))
	}
	r.must(&LoseAllocs{Node: id, Allocs: []structs.AllocID{allocs["fence"].ID}})
	if status("fence") != structs.AllocLost || status("wait(5m)") != structs.AllocPending {
		t.Error("LoseAllocs took the wrong ones")
	}
	r.must(&LoseAllocs{Node: id})
	if status("wait(5m)") != structs.AllocLost || r.store.Snapshot().Usage(id).Allocs != 0 {
		t.Error("LoseAllocs left some")
	}
}

// A node comes back with work that was given up: what was replaced is stopped, what was not goes on, and what ended
// well meanwhile is known to have.
func TestLostWorkComesBack(t *testing.T) {
	r := newRegion(t)
	one, two := r.node("1", 8000), r.node("2", 8000)
	r.must(&SubmitJob{Job: job("web", "service", 2, "a")})
	r.must(&SubmitJob{Job: job("nightly", "batch", 1, "a")})
	replaced, kept := r.place("web", "a", 0, one), r.place("web", "a", 1, one)
	work := r.place("nightly", "a", 0, one)
	r.must(&SetNodeStatus{Node: one, Status: structs.NodeLost})
	p := r.placement("web", "a", 0, two)
	p.Replaces = replaced.ID
	r.must(&Place{Placements: []*Placement{p}})
	p = r.placement("nightly", "a", 0, two)
	p.Replaces = work.ID
	r.must(&Place{Placements: []*Placement{p}})
	r.node("1", 8000)
	got := r.observe(replaced, structs.AllocRunning, structs.TaskRunning)
	if got.Status != structs.AllocLost || got.Desired != structs.DesiredStop || got.WantIndex != r.index {
		t.Errorf("the replaced one: %+v", got)
	}
	if got := r.observe(kept, structs.AllocRunning, structs.TaskRunning); got.Status != structs.AllocRunning || got.Desired != structs.DesiredRun {
		t.Errorf("the one that nobody replaced: %+v", got)
	}
	if got := r.observe(work, structs.AllocComplete, structs.TaskFinished); got.Status != structs.AllocComplete {
		t.Errorf("the one that ended while its node was away: %+v", got)
	}
	if j := r.store.Snapshot().Job("nightly"); !structs.HasIndex(j.Finished["a"], 0) || j.Status != structs.JobDone {
		t.Errorf("its work counts: %+v", j)
	}
}

func TestReportsThatDoNotCount(t *testing.T) {
	r := newRegion(t)
	one, two := r.node("1", 8000), r.node("2", 8000)
	r.must(&SubmitJob{Job: job("web", "service", 2, "a")})
	a := r.place("web", "a", 0, one)
	report := func(node structs.NodeID, incarnation uint64, status structs.AllocStatus) int {
		return r.must(&Observe{Node: node, NodeIncarnation: 1, Updates: []*structs.AllocUpdate{
			{ID: a.ID, Incarnation: incarnation, Status: status}, {ID: "nobody", Status: status}, nil}}).(*Observed).Changed
	}
	if report(two, a.Incarnation, "running") != 0 || report(one, a.Incarnation-1, "running") != 0 || report(one, a.Incarnation, "dancing") != 0 {
		t.Error("a report of another node, of another incarnation or without sense counted")
	}
	if report(one, a.Incarnation, "running") != 1 || report(one, a.Incarnation, "running") != 0 {
		t.Error("a report counts once")
	}
	if started := r.store.Snapshot().Alloc(a.ID).Started; started != r.clock-1e9 {
		t.Errorf("started at %d, want %d", started, r.clock-1e9)
	}
	report(one, a.Incarnation, "failed")
	if report(one, a.Incarnation, "running") != 0 || report(one, a.Incarnation, "complete") != 0 {
		t.Error("an end is final")
	}
	r.fails(structs.Conflict, &Observe{Node: one, NodeIncarnation: 2})
	r.fails(structs.NotFound, &Observe{Node: "node-9", NodeIncarnation: 1})
}

// Since when it runs is since its last restart: a service that falls over and over again does not become healthy.
func TestStartedCountsFromTheLastRestart(t *testing.T) {
	r := newRegion(t)
	one := r.node("1", 8000)
	r.must(&SubmitJob{Job: job("web", "service", 1, "a")})
	a := r.place("web", "a", 0, one)
	report := func(status structs.TaskStatus, restarts int) structs.Time {
		r.must(&Observe{Node: one, NodeIncarnation: 1, Updates: []*structs.AllocUpdate{{ID: a.ID, Incarnation: a.Incarnation, Status: "running",
			Tasks: map[string]*structs.TaskState{"t": {Status: status, Restarts: restarts, Started: structs.Time(5 + restarts)}}}}})
		return r.store.Snapshot().Alloc(a.ID).Started
	}
	first := report(structs.TaskRunning, 0)
	if first == 0 {
		t.Error("it runs")
	}
	if at := report(structs.TaskStarting, 1); at != 0 {
		t.Errorf("between two starts it says %d", at)
	}
	second := report(structs.TaskRunning, 1)
	if second <= first {
		t.Errorf("started at %d, and again at %d", first, second)
	}
	if third := report(structs.TaskRunning, 2); third <= second {
		t.Errorf("a restart that was over when it was reported: %d after %d", third, second)
	}
}

// What is not ready is not healthy, and counts from when it is ready again.
func TestStartedCountsFromWhenItIsReady(t *testing.T) {
	r := newRegion(t)
	one := r.node("1", 8000)
	r.must(&SubmitJob{Job: job("web", "service", 1, "a")})
	a := r.place("web", "a", 0, one)
	report := func(statuses ...structs.CheckStatus) structs.Time {
		task := &structs.TaskState{Status: structs.TaskRunning, Started: 5}
		for _, s := range statuses {
			task.Checks = append(task.Checks, structs.CheckState{Name: "c", Status: s})
		}
		r.must(&Observe{Node: one, NodeIncarnation: 1, Updates: []*structs.AllocUpdate{{ID: a.ID, Incarnation: a.Incarnation, Status: "running",
			Tasks: map[string]*structs.TaskState{"t": task}}}})
		return r.store.Snapshot().Alloc(a.ID).Started
	}
	for _, not := range [][]structs.CheckStatus{{structs.CheckPending}, {structs.CheckPassing, structs.CheckPending}} {
		if at := report(not...); at != 0 {
			t.Errorf("%v: healthy since %d", not, at)
		}
	}
	first := report(structs.CheckPassing, structs.CheckPassing)
	if first == 0 {
		t.Error("it is ready")
	}
	if at := report(structs.CheckPassing, structs.CheckFailing); at != 0 {
		t.Errorf("one fails, and it is healthy since %d", at)
	}
	if again := report(structs.CheckPassing, structs.CheckPassing); again <= first {
		t.Errorf("ready at %d, and again at %d", first, again)
	}
}

func TestLongReportsAreCut(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 8000)
	r.must(&SubmitJob{Job: job("web", "service", 1, "a")})
	a := r.place("web", "a", 0, id)
	long := strings.Repeat("x", 1<<16)
	tasks := map[string]*structs.TaskState{}
	for i := range 200 {
		tasks[fmt.Sprint("task", i)] = &structs.TaskState{Why: long, Reason: long, Events: make([]structs.TaskEvent, 100)}
	}
	tasks["main"] = &structs.TaskState{Events: []structs.TaskEvent{{Type: long, Text: long}}}
	tasks["checked"] = &structs.TaskState{Checks: slices.Repeat([]structs.CheckState{{Name: long, Status: structs.CheckStatus(long), Why: long}}, 100)}
	r.must(&Observe{Node: id, NodeIncarnation: 1, Updates: []*structs.AllocUpdate{{ID: a.ID, Incarnation: a.Incarnation, Status: "failed", Why: long, Tasks: tasks}}})
	got := r.store.Snapshot().Alloc(a.ID)
	size := len(got.Why)
	for _, task := range got.Tasks {
		size += len(task.Why) + len(task.Reason) + 64*len(task.Events)
		for _, e := range task.Events {
			size += len(e.Type) + len(e.Text)
		}
	}
	if len(got.Tasks) > maxTasks || size > 200_000 {
		t.Errorf("%d tasks and %d bytes are kept", len(got.Tasks), size)
	}
}

func TestBatchRunsEachIndexOnce(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 8000)
	r.must(&SubmitJob{Job: job("nightly", "batch", 3, "a")})
	record := func() *structs.JobRecord { return r.store.Snapshot().Job("nightly") }
	first := r.place("nightly", "a", 0, id)
	if r.observe(first, structs.AllocRunning, structs.TaskRunning); record().Status != structs.JobRunning {
		t.Errorf("status %s", record().Status)
	}
	r.observe(first, structs.AllocComplete, structs.TaskFinished)
	r.refused(RefusedFinished, r.placement("nightly", "a", 0, id))
	r.must(&Collect{MaxFinished: -1})
	if r.store.Snapshot().Alloc(first.ID) != nil {
		t.Error("finished work was not collected")
	}
	r.refused(RefusedFinished, r.placement("nightly", "a", 0, id))

	// One that was stopped before it finished is not done.
	second := r.place("nightly", "a", 1, id)
	r.must(&StopAlloc{ID: second.ID})
	r.observe(second, structs.AllocComplete, structs.TaskKilled)
	if structs.HasIndex(record().Finished["a"], 1) {
		t.Error("stopped work counts as finished")
	}
	third := r.place("nightly", "a", 2, id)
	r.observe(third, structs.AllocFailed, structs.TaskFailed)
	r.must(&Place{GiveUps: []*GiveUp{{Job: "nightly", Version: 1, Group: "a", Index: 2, Why: "exit code 1"}}})
	if record().Ended != 0 {
		t.Error("it ended too early")
	}
	second = r.place("nightly", "a", 1, id)
	r.observe(second, structs.AllocComplete, structs.TaskFinished)
	if j := record(); j.Status != structs.JobFailed || j.Ended == 0 || structs.CountIndexes(j.Finished["a"]) != 2 || structs.CountIndexes(j.FailedFor["a"]) != 1 {
		t.Errorf("at the end: %+v", j)
	}

	// A change in place keeps what is finished and tries again what failed; another change begins anew.
	j := job("nightly", "batch", 3, "a")
	j.Priority = "batch+1"
	r.must(&SubmitJob{Job: j, KeepFinished: true})
	if got := record(); structs.CountIndexes(got.Finished["a"]) != 2 || got.FailedFor != nil || got.Status != structs.JobPending || got.Ended != 0 {
		t.Errorf("after a change in place: %+v", got)
	}
	r.must(&SubmitJob{Job: job("nightly", "batch", 3, "a")})
	if got := record(); got.Finished != nil || got.FinishedSince != 3 {
		t.Errorf("after a change: %+v", got)
	}
	r.must(&RestartJob{Name: "nightly"})
	r.must(&ScaleJob{Name: "nightly", Group: "a", Count: 0})
	if got := record(); got.Status != structs.JobDone {
		t.Errorf("a batch job that wants nothing: %+v", got)
	}
}

func TestFinishedRanges(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 1_000_000)
	r.must(&SubmitJob{Job: job("nightly", "batch", 20, "a")})
	for _, i := range []int{5, 7, 6, 0, 19, 1, 3, 2, 4} {
		a := r.place("nightly", "a", i, id)
		before := r.store.Snapshot().Job("nightly")
		had := fmt.Sprint(before.Finished)
		r.observe(a, structs.AllocComplete, structs.TaskFinished)
		if fmt.Sprint(before.Finished) != had {
			t.Fatal("a record changed after it was stored")
		}
	}
	if got := fmt.Sprint(r.store.Snapshot().Job("nightly").Finished["a"]); got != "[{0 7} {19 19}]" {
		t.Errorf("ranges %s", got)
	}
}

func TestCollectKeepsWhatIsNeeded(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 1_000_000)
	r.must(&SubmitJob{Job: job("web", "service", 2, "a")})
	failed := r.place("web", "a", 0, id)
	r.observe(failed, structs.AllocFailed, structs.TaskFailed)
	r.must(&Collect{MaxFinished: -1, Before: r.clock + 1})
	if r.store.Snapshot().Alloc(failed.ID) == nil {
		t.Fatal("a failed allocation that was not replaced is needed for its successor")
	}
	p := r.placement("web", "a", 0, id)
	p.Replaces = failed.ID
	r.must(&Place{Placements: []*Placement{p}})
	r.must(&Collect{MaxFinished: 5, Before: 0})
	if r.store.Snapshot().Alloc(failed.ID) == nil {
		t.Fatal("it is young and not too many")
	}
	r.must(&Collect{MaxFinished: 5, Before: r.clock + 1})
	if r.store.Snapshot().Alloc(failed.ID) != nil {
		t.Fatal("it is old and nobody needs it")
	}
	for i := range 30 {
		r.must(&SubmitJob{Job: job(fmt.Sprintf("one%02d", i), "batch", 1, "a")})
		a := r.place(fmt.Sprintf("one%02d", i), "a", 0, id)
		r.observe(a, structs.AllocComplete, structs.TaskFinished)
	}
	r.must(&Collect{MaxFinished: 10})
	if _, ended := r.store.Snapshot().AllocCount(); ended != 10 || r.store.Snapshot().Job("one19") != nil || r.store.Snapshot().Job("one20") == nil {
		t.Errorf("%d are left, %d jobs", ended, r.store.Snapshot().JobCount())
	}
}

func TestPurgeStopsAtOnce(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 8000)
	r.must(&SubmitJob{Job: job("web", "service", 2, "a")})
	a, b := r.place("web", "a", 0, id), r.place("web", "a", 1, id)
	r.observe(b, structs.AllocFailed, structs.TaskFailed)
	r.must(&StopJob{Name: "web", Purge: true})
	s := r.store.Snapshot()
	if s.Job("web") != nil || s.Version("web", 1) != nil || s.Alloc(b.ID) != nil || s.Alloc(a.ID).Desired != structs.DesiredStop {
		t.Error("the purge left something")
	}
	r.fails(structs.NotFound, &StopJob{Name: "web"})
}

func TestFrameworks(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 8000)
	p := r.placement("", "", 0, id)
	p.Alloc.Framework = "f1"
	r.refused(RefusedJob, p)
	r.must(&PutFramework{Framework: &structs.Framework{ID: "f1", Name: "spark", Roles: []string{"data"}, Connected: true}})
	since := r.store.Snapshot().Framework("f1").Since
	r.must(&PutFramework{Framework: &structs.Framework{ID: "f1", Name: "spark", Roles: []string{"data"}, Connected: true}})
	if f := r.store.Snapshot().Framework("f1"); f.Since != since {
		t.Error("since changed with nothing")
	}
	if got := r.must(&Place{Placements: []*Placement{p}}).(*Placed).Placements[0]; got.Refused != "" {
		t.Errorf("refused: %+v", got)
	}
	r.fails(structs.Conflict, &DeleteRole{Name: "data"})
	r.must(&RemoveFramework{ID: "f1"})
	if a := r.store.Snapshot().Alloc(p.Alloc.ID); a.Desired != structs.DesiredStop {
		t.Errorf("its work goes on: %+v", a)
	}
	r.fails(structs.NotFound, &RemoveFramework{ID: "f1"})
}

// The one who does not answer offers is in its record until it comes back anew.
func TestHoarding(t *testing.T) {
	r := newRegion(t)
	f := structs.Framework{ID: "f1", Name: "spark", Roles: []string{"data"}, Connected: true}
	hoarding := func() *structs.Hoarding { return r.store.Snapshot().Framework("f1").Hoarding }
	r.fails(structs.NotFound, &SetHoarding{Framework: "f1"})
	r.must(&PutFramework{Framework: &f})
	r.must(&SetHoarding{Framework: "f1", Hoarding: &structs.Hoarding{Since: 1, Ignored: 10}})
	r.must(&PutFramework{Framework: &f})
	if h := hoarding(); h == nil || h.Ignored != 10 {
		t.Errorf("it is %+v", h)
	}
	gone := f
	gone.Connected = false
	r.must(&PutFramework{Framework: &gone})
	if h := hoarding(); h != nil {
		t.Errorf("it is still %+v", h)
	}
}

func TestMaintenance(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 8000)
	node := func() *structs.Node { return r.store.Snapshot().Node(id) }
	window := func(start structs.Time) *structs.Maintenance {
		return &structs.Maintenance{Window: structs.Window{Start: start, Duration: 3600e9}, Reason: "disk"}
	}
	hour := structs.Duration(3600e9)
	start := r.clock.Add(hour)
	r.fails(structs.NotFound, &SetMaintenance{Node: id})
	r.fails(structs.Invalid, &SetMaintenance{Node: id, Maintenance: &structs.Maintenance{}})
	r.fails(structs.Invalid, &SetMaintenance{Node: id, Maintenance: window(start.Add(-3 * hour))})
	r.must(&SetMaintenance{Node: id, Maintenance: window(start)})
	if n := node(); n.Maintenance.Began || !n.Schedulable() {
		t.Errorf("before it began: %+v", n)
	}
	r.fails(structs.Conflict, &BeginMaintenance{Node: id, Start: start + 1})
	r.fails(structs.Conflict, &SetMaintenance{Node: id, ExpectStart: start + 1})
	r.must(&BeginMaintenance{Node: id, Start: start})
	r.must(&BeginMaintenance{Node: id, Start: start})
	if n := node(); !n.Maintenance.Began || n.Schedulable() || n.Drain.Deadline != start {
		t.Errorf("it began: %+v, drain %+v", n, n.Drain)
	}
	r.must(&SetMaintenance{Node: id, Maintenance: window(start.Add(hour))})
	if n := node(); !n.Maintenance.Began || n.Drain.Deadline != start.Add(hour) {
		t.Errorf("it was moved: %+v, drain %+v", n.Maintenance, n.Drain)
	}
	r.must(&SetMaintenance{Node: id})
	if n := node(); n.Maintenance != nil || !n.Schedulable() {
		t.Errorf("it ended: %+v", n)
	}
	r.must(&SetEligibility{Node: id, Eligible: false})
	r.must(&SetMaintenance{Node: id, Maintenance: window(start)})
	r.must(&BeginMaintenance{Node: id, Start: start})
	r.must(&SetMaintenance{Node: id, ExpectStart: start})
	if n := node(); n.Eligible {
		t.Error("a node that took no work takes some after maintenance")
	}
}

func TestRestartAlloc(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 8000)
	r.must(&SubmitJob{Job: job("web", "service", 1, "a")})
	a := r.place("web", "a", 0, id)
	r.fails(structs.NotFound, &RestartAlloc{ID: a.ID, Task: "other"})
	r.must(&RestartAlloc{ID: a.ID, Task: "main"})
	if b := r.store.Snapshot().Alloc(a.ID); b.Restarts != 1 || b.RestartTask != "main" || b.WantIndex != r.index {
		t.Errorf("%+v", b)
	}
}

func TestMeta(t *testing.T) {
	r := newRegion(t)
	r.must(&Initialize{Region: "eu", Generation: "g1", Level: 1})
	r.must(&Initialize{Region: "eu", Generation: "g2", Level: 1})
	r.fails(structs.Conflict, &Initialize{Region: "us", Generation: "g3"})
	r.must(&SetFeatureLevel{Level: 2})
	r.fails(structs.Conflict, &SetFeatureLevel{Level: 1})
	if m := r.store.Snapshot().Meta(); m.Region != "eu" || m.Generation != "g1" || m.FeatureLevel != 2 {
		t.Errorf("%+v", m)
	}
	r.must(&SetGeneration{Generation: "g4"})
	if m := r.store.Snapshot().Meta(); m.Generation != "g4" {
		t.Errorf("%+v", m)
	}
	tx := &Tx{trees: &r.store.work}
	if err := tx.atLevel(2, "x"); err != nil {
		t.Error(err)
	}
	if err := tx.atLevel(3, "x"); structs.KindOf(err) != structs.Unavailable {
		t.Error(err)
	}
}

// panics changes something and then panics.
type panics struct{ StopJob }

func (c *panics) Apply(tx *Tx) (any, error) {
	tx.putJob(nil, structs.JobRecord{Name: "half"})
	panic(errors.New("on purpose"))
}

func TestPanicIsUndone(t *testing.T) {
	s := New()
	res := s.Apply(1, &Entry{Envelopes: []Envelope{
		{Command: &SubmitJob{Job: job("web", "service", 1, "a")}}, {Command: &panics{}}, {Command: &SubmitJob{Job: job("db", "service", 1, "a")}}}})
	if res[0].Err != nil || res[2].Err != nil || structs.KindOf(res[1].Err) != structs.Internal {
		t.Errorf("results %+v", res)
	}
	if now := s.Snapshot(); now.Job("half") != nil || now.Job("web") == nil || now.Job("db") == nil {
		t.Error("the panic spread")
	}
}

func TestMaxJobs(t *testing.T) {
	r := newRegion(t)
	submit := func(name string, count int) Command {
		return &SubmitJob{Job: job(name, "batch", count, "a"), MaxJobs: 2}
	}
	r.must(submit("one", 1))
	r.must(submit("nothing", 0)) // has ended already
	r.must(submit("two", 1))
	if err := r.fails(structs.Exhausted, submit("three", 1)); !strings.Contains(err.Why, "2 jobs") || err.Do == "" {
		t.Errorf("it says %v", err)
	}
	r.must(submit("two", 3))                         // no new one
	r.fails(structs.Exhausted, submit("nothing", 1)) // begins again
	r.fails(structs.Exhausted, &ScaleJob{Name: "nothing", Group: "a", Count: 1, MaxJobs: 2})
	r.fails(structs.Exhausted, &RestartJob{Name: "nothing", MaxJobs: 2})
	r.must(&ScaleJob{Name: "two", Group: "a", Count: 4, MaxJobs: 2}) // it has not ended
	r.must(&RestartJob{Name: "two", MaxJobs: 2})
	r.must(&SubmitJob{Job: job("more", "batch", 1, "a")}) // without a bound
	r.must(&StopJob{Name: "one"})
	r.must(&StopJob{Name: "more"})
	r.must(submit("three", 1))
	r.fails(structs.Exhausted, submit("one", 1))
}

func TestKeys(t *testing.T) {
	r := newRegion(t)
	stop := Envelope{Key: "k", Command: &StopJob{Name: "web"}}
	first := r.commit(stop)[0]
	r.must(&SubmitJob{Job: job("web", "service", 1, "a")})
	if again := r.commit(stop)[0]; !again.Again || structs.KindOf(again.Err) != structs.NotFound || again.Index != first.Index {
		t.Errorf("an error is remembered too: %+v", again)
	}
	if other := r.commit(Envelope{Key: "k", Command: &RestartJob{Name: "web"}})[0]; structs.KindOf(other.Err) != structs.Invalid {
		t.Errorf("the key for another command: %+v", other)
	}
	if _, err := EncodeEnvelope(Envelope{Key: strings.Repeat("k", MaxKey+1), Command: &StopJob{}}); structs.KindOf(err) != structs.Invalid {
		t.Errorf("a long key: %v", err)
	}
}

func TestAnswersAreForgotten(t *testing.T) {
	a := newAnswered()
	remember := func(i int, now structs.Time) { a.remember(fmt.Sprint(i), "x", now, Result{Index: uint64(i)}) }
	for i := range MaxAnswers + 100 {
		remember(i, structs.Time(1e9))
	}
	if len(a.byKey) != MaxAnswers+100 {
		t.Fatalf("%d are kept: those of the last minute are", len(a.byKey))
	}
	remember(-1, structs.Time(100e9))
	if _, ok := a.find("100", "x"); len(a.byKey) != MaxAnswers || ok {
		t.Errorf("%d are kept after a minute", len(a.byKey))
	}
	for i := range maxAnswersHard + 10 {
		remember(i, structs.Time(100e9))
	}
	if len(a.byKey) > maxAnswersHard {
		t.Errorf("%d are kept in one minute", len(a.byKey))
	}
	remember(-2, structs.Time(2*24*3600e9))
	remember(-3, structs.Time(4*24*3600e9))
	if len(a.byKey) != 1 {
		t.Errorf("%d are kept after days", len(a.byKey))
	}
	n := 0
	for _, chunk := range a.image() {
		n += len(chunk)
	}
	if n != len(a.byKey) {
		t.Errorf("the image has %d, the map %d", n, len(a.byKey))
	}
}

// What servers ask for by themselves is far more, and is asked for again soon or never.
func TestBriefAnswersAreForgotten(t *testing.T) {
	a := newAnswered()
	a.remember("ann's", "x", 1e9, Result{Index: 1})
	var keys []string
	for i := range 3 * answerChunk {
		keys = append(keys, BriefKey())
		a.remember(keys[i], "x", structs.Time(i+1)*1e9, Result{Index: uint64(i + 2)})
	}
	within := int(briefAge.Std().Seconds())
	if _, ok := a.find(keys[len(keys)-1-within], "x"); !ok {
		t.Error("one of two minutes ago is forgotten")
	}
	if _, ok := a.find(keys[len(keys)-2-within], "x"); ok || len(a.byKey) != within+2 {
		t.Errorf("%d are kept", len(a.byKey))
	}
	if r, ok := a.find("ann's", "x"); !ok || r.Index != 1 {
		t.Error("the key of a user is forgotten with them")
	}
	n := 0
	for _, chunk := range a.image() {
		n += len(chunk)
	}
	if n != len(a.byKey) {
		t.Errorf("the image has %d, the map %d", n, len(a.byKey))
	}
}

func TestBadEntries(t *testing.T) {
	good, err := EncodeEnvelope(Envelope{Command: &StopJob{Name: "web"}})
	if err != nil {
		t.Fatal(err)
	}
	header := AppendHeader(nil, 1)
	s := New()
	for what, raw := range map[string][]byte{
		"empty": nil, "format": {9, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "cut off": append(header[:9:9], good[:len(good)-1]...),
		"unknown": append(header[:9:9], []byte("\x03foo\x00\x00\x01\x80")...), "body": append(header[:9:9], []byte("\x08job.stop\x00\x00\x02\xdb\xff")...),
	} {
		if _, err := s.ApplyEntry(1, raw); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if s.Snapshot().Index() != 0 {
		t.Error("a bad entry was applied")
	}
}
