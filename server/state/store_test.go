package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/proffer/proffer/structs"
)

// region drives a store with commands and checks after each entry, against the dumbest possible twin, what must hold.
type region struct {
	t     rapid.TB
	store *Store
	other *Store // of a server that restored a snapshot on the way, or nil
	feed  *Feed
	index uint64
	clock structs.Time

	twin  map[Table]map[string]any // records by key, kept up to date from the feed alone
	kept  []kept
	nodes []structs.NodeID
	ids   []structs.AllocID
	keys  []Envelope
	said  map[string]Result
	next  int
	incs  map[string]uint64 // newest incarnation by slot
	exact bool              // nothing is reserved by force, or lent, and no node shrinks
}

type kept struct {
	snapshot *Snapshot
	dump     string
}

func newRegion(t rapid.TB) *region {
	r := &region{t: t, store: New(), said: make(map[string]Result), incs: make(map[string]uint64)}
	_, r.feed = r.store.Subscribe(1 << 20)
	r.twin = make(map[Table]map[string]any)
	for table := Nodes; table <= lastTable; table++ {
		r.twin[table] = make(map[string]any)
	}
	return r
}

// dump writes everything that a snapshot can be asked for.
func dump(s *Snapshot) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	put := func(v any) {
		if err := e.Encode(v); err != nil {
			panic(err)
		}
	}
	put([]any{s.Index(), s.Time(), s.tables, s.Meta()})
	for n := range s.Nodes() {
		put(n)
		u := s.Usage(n.ID)
		// A custom resource that nothing holds any more may be there as a zero or not at all.
		put([]any{u.Allocs, u.Resources.String()})
		for a := range s.AllocsOnNode(n.ID) {
			put(a.ID)
		}
	}
	for j := range s.Jobs() {
		put(j)
		for v := range s.VersionsOf(j.Name) {
			put(v)
		}
		for a := range s.AllocsOfJob(j.Name) {
			put(a.ID)
		}
	}
	for a := range s.Allocs() {
		put(a)
	}
	for r := range s.Roles() {
		put(r)
	}
	for f := range s.Frameworks() {
		put(f)
	}
	for r := range s.Reservations() {
		put([]any{r, len(s.ReservedOn(r.Node))})
	}
	for v := range s.Volumes() {
		put(v)
	}
	for k := range s.RegionKeys() {
		put(k)
	}
	for o := range s.Operations() {
		put(o)
	}
	for v := range s.Variables("") {
		put([]any{v, v.Sealed})
	}
	s.byService.Scan(func(k serviceKey) bool { fmt.Fprintln(&b, k); return true })
	s.byOutside.Scan(func(k outsideKey) bool { fmt.Fprintln(&b, k); return true })
	s.ended.Scan(func(k endedKey) bool { fmt.Fprintln(&b, k); return true })
	s.endedJobs.Scan(func(k endedJobKey) bool { fmt.Fprintln(&b, k); return true })
	s.ports.Scan(func(k portKey) bool { fmt.Fprintln(&b, k); return true })
	return b.String()
}

// commit applies commands as one entry, as the state machine does: encoded and decoded.
func (r *region) commit(envelopes ...Envelope) []Result {
	r.index++
	r.clock += 1e9
	raw := AppendHeader(nil, r.clock)
	for _, e := range envelopes {
		one, err := EncodeEnvelope(e)
		if err != nil {
			r.t.Fatal(err)
		}
		raw = append(raw, one...)
	}
	before := r.store.Snapshot()
	results, err := r.store.ApplyEntry(r.index, raw)
	if err != nil {
		r.t.Fatal(err)
	}
	after := r.store.Snapshot()
	r.same(raw, results)
	if len(results) != len(envelopes) {
		r.t.Fatalf("%d results for %d commands", len(results), len(envelopes))
	}
	failed := true
	for i, res := range results {
		failed = failed && (res.Err != nil || res.Again)
		if res.Err != nil && structs.KindOf(res.Err) == structs.Internal {
			r.t.Fatalf("%s: %v", envelopes[i].Command.Kind(), res.Err)
		}
	}
	if failed {
		// Only the index and the time may differ.
		b, a := *before, *after
		a.index, a.now = b.index, b.now
		if x, y := dump(&b), dump(&a); x != y {
			r.t.Fatalf("a failed entry changed the state:\n%s\n---\n%s", x, y)
		}
	}
	r.follow()
	r.check()
	return results
}

// fork lets another server go on from a snapshot. From now on it has to become the same with every entry: what a snapshot
// does not carry, be it the difference between an empty map and none, must not matter.
func (r *region) fork() {
	r.t.Helper()
	var file bytes.Buffer
	if err := r.store.Image().Persist(&file); err != nil {
		r.t.Fatal(err)
	}
	r.other = New()
	if err := r.other.Restore(&file); err != nil {
		r.t.Fatal(err)
	}
}

// same applies an entry to the other server too, and compares.
func (r *region) same(raw []byte, results []Result) {
	r.t.Helper()
	if r.other == nil {
		return
	}
	others, err := r.other.ApplyEntry(r.index, raw)
	if err != nil {
		r.t.Fatal(err)
	}
	for i, a := range results {
		if b := others[i]; fmt.Sprint(a.Err) != fmt.Sprint(b.Err) || !reflect.DeepEqual(a.Answer, b.Answer) || a.Index != b.Index {
			r.t.Fatalf("answers of the two servers: %+v and %+v", a, b)
		}
	}
	if a, b := dump(r.store.Snapshot()), dump(r.other.Snapshot()); a != b {
		r.t.Fatalf("the server that restored a snapshot went another way:\n%s\n---\n%s", a, b)
	}
}

func (r *region) must(c Command) any {
	r.t.Helper()
	res := r.commit(Envelope{Actor: "ann", Command: c})[0]
	if res.Err != nil {
		r.t.Fatalf("%s: %v", c.Kind(), res.Err)
	}
	return res.Answer
}

func (r *region) fails(kind structs.Kind, c Command) *structs.Error {
	r.t.Helper()
	res := r.commit(Envelope{Actor: "ann", Command: c})[0]
	if structs.KindOf(res.Err) != kind {
		r.t.Fatalf("%s: got error %v, want one of kind %s", c.Kind(), res.Err, kind)
	}
	return structs.AsError(res.Err)
}

func keyOf(record any) string {
	switch v := record.(type) {
	case *structs.Node:
		return string(v.ID)
	case *structs.JobRecord:
		return v.Name
	case *structs.JobVersion:
		return fmt.Sprintf("%s/%d", v.Job.Name, v.Version)
	case *structs.Allocation:
		return string(v.ID)
	case *structs.Role:
		return v.Name
	case *structs.Framework:
		return string(v.ID)
	case *structs.Reservation:
		return string(v.ID)
	case *structs.Volume:
		return v.Name
	case *structs.Variable:
		return v.Path
	case *structs.RegionKey:
		return v.ID
	case *structs.Operation:
		return v.Key()
	case *Meta:
		return "meta"
	}
	panic(fmt.Sprintf("%T", record))
}

// follow replays the feed onto the twin.
func (r *region) follow() {
	for {
		b, err := r.feed.Try()
		if err != nil {
			r.t.Fatal(err)
		}
		if b == nil {
			return
		}
		for _, c := range b.Changes {
			table := r.twin[c.Table]
			if c.Old != nil && table[keyOf(c.Old)] != c.Old && c.Table != Metas {
				r.t.Fatalf("change of %s %s does not begin where the last one ended", c.Table, keyOf(c.Old))
			}
			if c.New == nil {
				delete(table, keyOf(c.Old))
			} else {
				table[keyOf(c.New)] = c.New
			}
		}
	}
}

// check compares every table and index with what a scan over the twin finds.
func (r *region) check() {
	s := r.store.Snapshot()
	equal := func(what string, got, want []string) {
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			r.t.Fatalf("%s: got %v, want %v", what, got, want)
		}
	}
	count := func(table Table, n int) {
		if n != len(r.twin[table]) {
			r.t.Fatalf("%d %s in the store, %d by the feed", n, table, len(r.twin[table]))
		}
	}
	n := 0
	for v := range s.Nodes() {
		n++
		if r.twin[Nodes][keyOf(v)] != any(v) {
			r.t.Fatalf("node %s differs from the feed", v.ID)
		}
	}
	count(Nodes, n)
	n = 0
	for v := range s.Jobs() {
		n++
		if r.twin[Jobs][keyOf(v)] != any(v) {
			r.t.Fatalf("job %s differs from the feed", v.Name)
		}
	}
	count(Jobs, n)
	n = 0
	s.versions.Scan(func(v *structs.JobVersion) bool {
		n++
		if r.twin[Versions][keyOf(v)] != any(v) {
			r.t.Fatalf("version %s differs from the feed", keyOf(v))
		}
		return true
	})
	count(Versions, n)
	n = 0
	onNode, ofJob := map[structs.NodeID][]string{}, map[string][]string{}
	usage, wanted := map[structs.NodeID]structs.Resources{}, map[structs.NodeID]structs.Resources{}
	slack := map[structs.NodeID]structs.Slack{}
	live, inRole := map[string]structs.AllocID{}, map[string]RoleUse{}
	ended, ports := 0, 0
	for a := range s.Allocs() {
		n++
		if r.twin[Allocs][keyOf(a)] != any(a) {
			r.t.Fatalf("allocation %s differs from the feed", a.ID)
		}
		onNode[a.Node] = append(onNode[a.Node], string(a.ID))
		ofJob[a.Job] = append(ofJob[a.Job], string(a.ID))
		slot := fmt.Sprintf("%s/%s/%d", a.Job, a.Group, a.Index)
		if a.CreateIndex == r.index && a.ModifyIndex == r.index && a.Incarnation <= r.incs[slot] && r.incs[slot]>>16 < r.index {
			r.t.Fatalf("incarnation of %s went back", slot)
		}
		r.incs[slot] = max(r.incs[slot], a.Incarnation)
		if a.Ended() {
			ended++
			continue
		}
		usage[a.Node], slack[a.Node] = usage[a.Node].Add(a.Booked()), slack[a.Node].Add(a.OfSlack())
		for role := range upwards(a.Role) {
			use := inRole[role]
			use.add(&RoleUse{Usage: Usage{a.Resources, a.OfSlack(), 1}})
			if placed(a) {
				use.Placed++
			}
			inRole[role] = use
		}
		if a.Desired == structs.DesiredRun {
			wanted[a.Node] = wanted[a.Node].Add(a.Booked())
		}
		ports += len(a.Ports)
		if a.Desired == structs.DesiredRun {
			if other, twice := live[slot]; twice && a.Next != other && s.Alloc(other).Next != a.ID { // one moves from a node that drained
				r.t.Fatalf("%s is held by %s and %s", slot, other, a.ID)
			}
			live[slot] = a.ID
		}
	}
	count(Allocs, n)
	if all, e := s.AllocCount(); all != n || e != ended {
		r.t.Fatalf("AllocCount %d, %d; want %d, %d", all, e, n, ended)
	}
	n = 0
	reserved := map[structs.NodeID][]string{}
	for v := range s.Reservations() {
		n++
		if r.twin[Reservations][keyOf(v)] != any(v) || s.Node(v.Node) == nil {
			r.t.Fatalf("reservation %s differs from the feed, or outlived its node", v.ID)
		}
		reserved[v.Node] = append(reserved[v.Node], string(v.ID))
	}
	count(Reservations, n)
	n = 0
	for v := range s.Operations() {
		n++
		if r.twin[Operations][keyOf(v)] != any(v) || (len(v.UUID) == 16) == (v.State == structs.OperationPending) || s.framework(v.Framework) == nil {
			r.t.Fatalf("operation %s differs from the feed, or outlived its framework", v.Key())
		}
	}
	count(Operations, n)
	r.checkVolumes(s, count)
	r.checkOutside(s)
	r.checkVariables(s, count)
	if s.ports.Len() != ports {
		r.t.Fatalf("%d ports in the index, want %d", s.ports.Len(), ports)
	}
	for j := range s.Jobs() {
		n := 0
		if v := s.Version(j.Name, j.Version); v != nil && !j.Stopped && j.Ended == 0 {
			for _, g := range v.Job.Groups {
				for i := range j.CountOf(g) {
					is := func(x structs.Range) bool { return x.First <= int64(i) && int64(i) <= x.Last }
					if !slices.ContainsFunc(j.Finished[g.Name], is) && !slices.ContainsFunc(j.FailedFor[g.Name], is) {
						n++
					}
				}
			}
		}
		for role := range upwards(j.Role) {
			use := inRole[role]
			use.Jobs++
			use.Wanted += n
			inRole[role] = use
		}
	}
	for name, want := range inRole {
		if got := s.RoleUse(name); got.Allocs != want.Allocs || got.Jobs != want.Jobs || got.Placed != want.Placed || got.Wanted != want.Wanted || got.Resources.String() != want.Resources.String() {
			r.t.Fatalf("use of role %s: got %+v, want %+v", name, got, want)
		}
	}
	if s.roleUse.Len() > len(inRole) {
		r.t.Fatalf("%d roles are in use, want %d", s.roleUse.Len(), len(inRole))
	}
	for _, id := range r.nodes {
		var got []string
		for a := range s.AllocsOnNode(id) {
			got = append(got, string(a.ID))
		}
		equal("allocations of node", got, onNode[id])
		if u := s.Usage(id); u.Resources.String() != usage[id].String() || u.Slack != slack[id] {
			r.t.Fatalf("usage of %s: got %s and %s, want %s and %s", id, u.Resources, u.Slack, usage[id], slack[id])
		}
		got = nil
		for _, v := range s.ReservedOn(id) {
			got = append(got, string(v.ID))
		}
		equal("reservations on node", got, reserved[id])
		if node := s.Node(id); r.exact && node != nil && node.Available().CPU-usage[id].CPU < structs.UnusedOf(s.RoomsOn(node)).CPU {
			r.t.Fatalf("node %s has less than is reserved: %+v", id, s.RoomsOn(node))
		}
		if node := s.Node(id); node != nil && !node.Available().Fits(wanted[id]) {
			r.t.Fatalf("node %s: %s are wanted and do not fit in %s", id, wanted[id], node.Available())
		}
	}
	for name, want := range ofJob {
		var got []string
		for a := range s.AllocsOfJob(name) {
			got = append(got, string(a.ID))
		}
		if name != "" {
			equal("allocations of job", got, want)
		}
	}
}

func (r *region) node(name string, cpu structs.Milli) structs.NodeID {
	id := structs.NodeID("node-" + name)
	if !slices.Contains(r.nodes, id) {
		r.nodes = append(r.nodes, id)
	}
	r.must(&RegisterNode{Node: &structs.Node{ID: id, Name: name, Resources: structs.Resources{CPU: cpu, Memory: 1 << 30, Ports: 100}}})
	return id
}

func job(name, kind string, count int, groups ...string) *structs.Job {
	j := &structs.Job{Name: name, Type: kind}
	for _, g := range groups {
		j.Groups = append(j.Groups, &structs.Group{Name: g, Count: &count,
			Tasks: []*structs.Task{{Name: "main", Driver: "mock", Config: map[string]any{"run_for": "1s", "n": 3}}}})
	}
	return j
}

func (r *region) placement(job, group string, index int, node structs.NodeID) *Placement {
	s := r.store.Snapshot()
	r.next++
	a := &structs.Allocation{ID: structs.AllocID(fmt.Sprintf("a%06d", r.next)), Framework: "service", Job: job, Group: group,
		Index: index, Node: node, Version: 1, Resources: structs.Resources{CPU: 1000, Memory: 1 << 20}}
	if j := s.Job(job); j != nil {
		a.Version = j.Version
	}
	p := &Placement{Alloc: a}
	if n := s.Node(node); n != nil {
		p.NodeIncarnation = n.Incarnation
	}
	r.ids = append(r.ids, a.ID)
	return p
}

// place places one allocation and returns it, or fails the test.
func (r *region) place(job, group string, index int, node structs.NodeID) *structs.Allocation {
	r.t.Helper()
	p := r.placement(job, group, index, node)
	got := r.must(&Place{Placements: []*Placement{p}}).(*Placed)
	if got.Placements[0].Refused != "" {
		r.t.Fatalf("refused: %+v", got.Placements[0])
	}
	return r.store.Snapshot().Alloc(p.Alloc.ID)
}

func (r *region) refused(want Refusal, p *Placement) {
	r.t.Helper()
	got := r.must(&Place{Placements: []*Placement{p}}).(*Placed).Placements[0]
	if got.Refused != want {
		r.t.Fatalf("got %q (%s), want %q", got.Refused, got.Why, want)
	}
}

func (r *region) observe(a *structs.Allocation, status structs.AllocStatus, task structs.TaskStatus) *structs.Allocation {
	r.t.Helper()
	s := r.store.Snapshot()
	r.must(&Observe{Node: a.Node, NodeIncarnation: s.Node(a.Node).Incarnation, Told: true, Updates: []*structs.AllocUpdate{{ID: a.ID,
		Incarnation: a.Incarnation, Status: status, Tasks: map[string]*structs.TaskState{"main": {Status: task}}}}})
	return r.store.Snapshot().Alloc(a.ID)
}

// TestAgainstTwin commits random entries and checks all of the above after each one.
func TestAgainstTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRegion(t)
		r.exact = true
		names := []string{"web", "db", "nightly"}
		groups := []string{"a", "b"}
		for _, n := range []string{"1", "2"} {
			r.node(n, 4000)
		}
		anyJob := rapid.SampledFrom(names)
		anyNode := rapid.SampledFrom(append(slices.Clone(r.nodes), "node-x"))
		count := rapid.IntRange(0, 4)
		anyAlloc := func() *structs.Allocation {
			if len(r.ids) == 0 {
				return &structs.Allocation{ID: "none"}
			}
			if a := r.store.Snapshot().Alloc(rapid.SampledFrom(r.ids).Draw(t, "alloc")); a != nil {
				return a
			}
			return &structs.Allocation{ID: "gone"}
		}
		draw := func() Command {
			switch rapid.IntRange(0, 19).Draw(t, "command") {
			case 18:
				x := reservationOf(fmt.Sprintf("v%d", count.Draw(t, "reservation")), anyNode.Draw(t, "node"),
					rapid.SampledFrom([]string{"default", "eng", "eng/web"}).Draw(t, "role"), 1000*structs.Milli(count.Draw(t, "cpu")))
				if x.Role == "eng/web" && rapid.Bool().Draw(t, "refines") {
					x.Refines = "eng"
				}
				return &PutReservation{Reservation: x}
			case 19:
				return &DeleteReservations{IDs: []structs.ReservationID{structs.ReservationID(fmt.Sprintf("v%d", count.Draw(t, "reservation")))}}
			case 0:
				id := rapid.SampledFrom(r.nodes).Draw(t, "node")
				return &RegisterNode{Node: &structs.Node{ID: id, Name: "n", Version: rapid.SampledFrom([]string{"1", "2"}).Draw(t, "version"),
					Resources: structs.Resources{CPU: 4000, Memory: 1 << 30, Ports: 100}}}
			case 1:
				return &SetNodeStatus{Node: anyNode.Draw(t, "node"),
					Status: rapid.SampledFrom([]structs.NodeStatus{structs.NodeLost, structs.NodeLeft}).Draw(t, "status")}
			case 2:
				return &LoseAllocs{Node: anyNode.Draw(t, "node")}
			case 3:
				return &SetEligibility{Node: anyNode.Draw(t, "node"), Eligible: rapid.Bool().Draw(t, "eligible")}
			case 4:
				d := &SetDrain{Node: anyNode.Draw(t, "node"), Eligible: true}
				if rapid.IntRange(0, 2).Draw(t, "drain") == 0 {
					d.Drain = &structs.Drain{Deadline: r.clock + 5}
				}
				return d
			case 5:
				return &RemoveNode{Node: anyNode.Draw(t, "node")}
			case 6, 7:
				name := anyJob.Draw(t, "job")
				kind := structs.ServiceJob
				if name == "nightly" {
					kind = structs.BatchJob
				}
				j := job(name, kind, count.Draw(t, "count"), groups...)
				j.Groups[0].OnLost = rapid.SampledFrom([]string{"", "fence", "wait(5m)"}).Draw(t, "on_lost")
				j.Role = rapid.SampledFrom([]string{"default", "eng", "eng/web"}).Draw(t, "role")
				if rapid.Bool().Draw(t, "service") {
					j.Groups[0].Services = []*structs.Service{{Name: rapid.SampledFrom([]string{"api", "db"}).Draw(t, "name")}}
				}
				c := &SubmitJob{Job: j, KeepFinished: rapid.Bool().Draw(t, "keep")}
				if rapid.IntRange(0, 3).Draw(t, "cas") == 0 {
					v := uint64(rapid.IntRange(0, 3).Draw(t, "version"))
					c.ExpectVersion = &v
				}
				return c
			case 8:
				return &StopJob{Name: anyJob.Draw(t, "job"), Purge: rapid.Bool().Draw(t, "purge")}
			case 9:
				return &ScaleJob{Name: anyJob.Draw(t, "job"), Group: "a", Count: count.Draw(t, "count") - 1}
			case 10:
				return &RestartJob{Name: anyJob.Draw(t, "job")}
			case 11, 12, 13:
				c := &Place{}
				for range rapid.IntRange(1, 3).Draw(t, "placements") {
					p := r.placement(anyJob.Draw(t, "job"), rapid.SampledFrom(groups).Draw(t, "group"), count.Draw(t, "index"), anyNode.Draw(t, "node"))
					if rapid.Bool().Draw(t, "port") {
						p.Alloc.Ports = []structs.AssignedPort{{Host: "10.0.0.1", Port: 8000 + count.Draw(t, "port")}}
						p.Alloc.Resources.Ports = 1
					}
					if old := anyAlloc(); rapid.IntRange(0, 2).Draw(t, "replaces") == 0 && old.Job != "" {
						p.Alloc.Job, p.Alloc.Group, p.Alloc.Index, p.Replaces = old.Job, old.Group, old.Index, old.ID
						p.ReplacesIndex = old.ModifyIndex
						c.Stops = append(c.Stops, &Stop{ID: old.ID, Why: "replaced"})
					}
					c.Placements = append(c.Placements, p)
				}
				if a := anyAlloc(); rapid.Bool().Draw(t, "update") && a.Job != "" {
					v := uint64(1)
					if j := r.store.Snapshot().Job(a.Job); j != nil {
						v = j.Version
					}
					c.Updates = append(c.Updates, &Update{ID: a.ID, Version: v})
				}
				return c
			case 14, 15:
				a := anyAlloc()
				c := &Observe{Node: a.Node, NodeIncarnation: 1}
				if n := r.store.Snapshot().Node(a.Node); n != nil {
					c.NodeIncarnation = n.Incarnation
				}
				for range rapid.IntRange(1, 3).Draw(t, "updates") {
					c.Updates = append(c.Updates, &structs.AllocUpdate{ID: a.ID, Incarnation: a.Incarnation,
						Status: rapid.SampledFrom([]structs.AllocStatus{"pending", "running", "complete", "failed", "bogus"}).Draw(t, "status"),
						Tasks:  map[string]*structs.TaskState{"main": {Status: structs.TaskRunning, Restarts: count.Draw(t, "restarts")}}})
					a = anyAlloc()
				}
				return c
			case 16:
				a := anyAlloc()
				if rapid.Bool().Draw(t, "stop") {
					return &StopAlloc{ID: a.ID, Why: "by hand"}
				}
				return &RestartAlloc{ID: a.ID}
			default:
				return &Collect{MaxFinished: rapid.IntRange(-1, 3).Draw(t, "keep"), Nodes: []structs.NodeID{anyNode.Draw(t, "node")}, NodesBefore: structs.Time(rapid.Int64().Draw(t, "before"))}
			}
		}
		for range rapid.IntRange(1, 40).Draw(t, "entries") {
			if rapid.IntRange(0, 9).Draw(t, "fork") == 0 {
				r.fork()
			}
			var envelopes []Envelope
			again := map[int]string{}
			for i := range rapid.IntRange(1, 4).Draw(t, "commands") {
				if len(r.keys) > 0 && rapid.IntRange(0, 5).Draw(t, "again") == 0 {
					e := rapid.SampledFrom(r.keys).Draw(t, "old")
					again[i] = e.Key
					envelopes = append(envelopes, e)
					continue
				}
				e := Envelope{Actor: "ann", Command: draw()}
				if rapid.Bool().Draw(t, "keyed") {
					e.Key = fmt.Sprintf("key %d.%d", r.index, i)
				}
				envelopes = append(envelopes, e)
			}
			results := r.commit(envelopes...)
			for i, res := range results {
				key := envelopes[i].Key
				if old, ok := again[i]; ok {
					first := r.said[old]
					if !res.Again || res.Index != first.Index || !reflect.DeepEqual(res.Answer, first.Answer) || fmt.Sprint(res.Err) != fmt.Sprint(first.Err) {
						t.Fatalf("key %q: first %+v, then %+v", old, first, res)
					}
				} else if key != "" {
					r.said[key] = res
					r.keys = append(r.keys, envelopes[i])
				}
			}
			s := r.store.Snapshot()
			for j := range s.Jobs() {
				if s.Role(j.Role) == nil {
					t.Fatalf("role %s of job %s is forgotten", j.Role, j.Name)
				}
			}
			r.kept = append(r.kept, kept{s, dump(s)})
		}
		for _, k := range r.kept {
			if got := dump(k.snapshot); got != k.dump {
				t.Fatalf("a snapshot changed after it was taken:\n%s\n---\n%s", k.dump, got)
			}
		}
		r.restored(t)
	})
}

// restored persists and restores the store and checks that the copy is the same and goes on in the same way.
func (r *region) restored(t rapid.TB) {
	var file bytes.Buffer
	if err := r.store.Image().Persist(&file); err != nil {
		t.Fatal(err)
	}
	other := New()
	other.Apply(3, &Entry{Envelopes: []Envelope{{Command: &PutRole{Role: &structs.Role{Name: "old"}}}}})
	if err := other.Restore(bytes.NewReader(file.Bytes())); err != nil {
		t.Fatal(err)
	}
	if a, b := dump(r.store.Snapshot()), dump(other.Snapshot()); a != b {
		t.Fatalf("restored state differs:\n%s\n---\n%s", a, b)
	}
	summary, err := Inspect(bytes.NewReader(file.Bytes()))
	if err != nil || summary.Records["allocs"] != r.store.Snapshot().allocs.Len() || summary.Bytes != int64(file.Len()) {
		t.Fatalf("inspected %+v, %v", summary, err)
	}
	entry := &Entry{Time: r.clock + 1, Envelopes: []Envelope{{Command: &Collect{MaxFinished: -1}}, {Command: &StopJob{Name: "web", Purge: true}}}}
	entry.Envelopes = append(entry.Envelopes, r.keys...)
	x, y := r.store.Apply(r.index+1, entry), other.Apply(r.index+1, entry)
	for i := range x {
		if fmt.Sprint(x[i].Err) != fmt.Sprint(y[i].Err) || !reflect.DeepEqual(x[i].Answer, y[i].Answer) || x[i].Index != y[i].Index {
			t.Fatalf("after restore: %+v and %+v", x[i], y[i])
		}
	}
	if a, b := dump(r.store.Snapshot()), dump(other.Snapshot()); a != b {
		t.Fatalf("restored state went another way:\n%s\n---\n%s", a, b)
	}
}
