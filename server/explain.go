package server

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// GroupExplanation says why the allocations of a group are where they are, and why some wait.
type GroupExplanation struct {
	Group    string
	Ask      structs.Resources
	Count    int
	Held     []*structs.Allocation              // those that did not end
	Scores   map[structs.NodeID]placement.Parts // of their nodes as all else is now, for at most scoreLimit of them
	Waiting  int
	Fit      placement.Explanation // of one more
	Wait     string                // what the group waits for when it is not room
	Finished int                   // indexes of a batch group that are done
	Standing *allocator.Waiting    // of its request on the leader's books; nil: it has none
	Role     *structs.RoleStanding // of what waits
	Expected *structs.Expected     // of what waits
	Claims   int                   // of a plan: of those that wait, how many get room by preemption
	Stops    []*structs.Allocation // what is stopped for them
	Avoided  []*structs.Node       // it fits there, and goes there only when it fits on no other: the windows of maintenance come too early
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
	now := structs.At(time.Now())
	groups, books, err := explainWith(snap, version.Job, record, group)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		books.avoid(g, now)
	}
	if slices.ContainsFunc(groups, func(g *GroupExplanation) bool { return g.Waiting > 0 }) {
		orders, err := s.orders(ctx, name)
		if err != nil {
			return nil, err
		}
		ends := sync.OnceValue(func() map[structs.NodeID][]placement.Ending { return endings(snap, now) })
		for _, g := range groups {
			if x := orders[g.Group]; g.Waiting > 0 && x != nil {
				g.Standing, g.Role = x.Waiting, x.Role
				text := x.Refused
				if x.Waiting != nil {
					text = OrderText(x.Waiting)
				}
				g.Wait = cmp.Or(text, g.Wait)
			}
			books.expect(g, ends, now)
		}
	}
	return groups, nil
}

// OrderText says what holds a request back beside the nodes, which the explanation has anyway.
func OrderText(w *allocator.Waiting) string {
	bounds := func(list []allocator.QuotaShort) string {
		var parts []string
		for _, q := range list {
			parts = append(parts, fmt.Sprintf("role %s: %s", q.Role, q))
		}
		return strings.Join(parts, "; ")
	}
	if len(w.Claims) > 0 {
		c := w.Claims[max(0, slices.IndexFunc(w.Claims, func(c allocator.Claim) bool { return len(c.Leaving) > 0 }))] // of a gang, some only keep room
		text := fmt.Sprintf("index %d gets room on node %s when what is being stopped there has ended (%d allocations)", c.Index, c.Name, len(c.Leaving))
		if more := len(w.Claims) - 1; more > 0 {
			text += fmt.Sprintf("; %d more wait likewise", more)
		}
		return text
	}
	return joinText(becauseText(w, bounds), changesText(w.Changes))
}

func joinText(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "; ")
}

// changesText says which constraints will relax or harden, or did.
func changesText(changes []allocator.Change) string {
	var parts []string
	for _, c := range changes {
		parts = append(parts, c.Text(structs.At(time.Now())))
	}
	return strings.Join(parts, "; ")
}

func becauseText(w *allocator.Waiting, bounds func([]allocator.QuotaShort) string) string {
	switch w.Because {
	case allocator.OfBound:
		return "as much work as is allowed at a time is being stopped for others"
	case allocator.OfClosed:
		return "role " + w.Closed + " is closed"
	case allocator.OfQuota:
		return "the limit is reached: " + bounds(w.Quota)
	case allocator.ItsTurn:
		return cmp.Or(demotedText(w, bounds), "it may be placed when its turn comes")
	case allocator.OfGang:
		return "others of its gang are being placed"
	case allocator.OfNoNode:
		text := "no node takes it"
		if w.Gang != nil {
			text = w.Gang.String()
			if len(w.Placement.Reasons) > 0 {
				text += "; the next one: " + w.Placement.Reasons[0].String()
			}
		}
		return joinText(slices.Concat([]string{text, demotedText(w, bounds)}, w.KeptText(), w.ReservedText(), w.SlackText())...)
	}
	return ""
}

// demotedText says why production or monitoring is served, and stops others, only as batch does; nothing when it is not so.
func demotedText(w *allocator.Waiting, bounds func([]allocator.QuotaShort) string) string {
	switch {
	case w.Ordered == w.Priority.Band:
		return ""
	case len(w.Guarantee) == 0:
		return fmt.Sprintf("it is served as %s: no guarantee covers it", w.Ordered)
	}
	return fmt.Sprintf("it is served as %s, since the guarantee is used up: %s", w.Ordered, bounds(w.Guarantee))
}

// Plan explains what would happen to job if it were submitted now. It fails as the submission would.
func (s *Server) Plan(ctx context.Context, job *structs.Job) ([]*GroupExplanation, error) {
	snap, err := s.Read(ctx, false)
	if err != nil {
		return nil, err
	}
	if err := s.trySubmit(snap, job); err != nil {
		return nil, err
	}
	record := snap.Job(job.Name)
	if record == nil || record.Stopped {
		record = &structs.JobRecord{Name: job.Name}
	}
	groups, books, err := explainWith(snap, job, record, "")
	if err != nil {
		return nil, err
	}
	let, err := s.admit(ctx, snap, job, groups, books.asks)
	if err != nil {
		return nil, err
	}
	now := structs.At(time.Now())
	ends := sync.OnceValue(func() map[structs.NodeID][]placement.Ending {
		ends := endings(snap, now)
		for _, g := range let {
			addEndings(ends, snap, g.places, now)
		}
		return ends
	})
	for _, g := range groups {
		books.seat(g, let[g.Group].places)
	}
	for _, g := range groups {
		in, ask := let[g.Group], books.asks[g.Group].Among(books.peers.Work()) // what was placed of other groups may keep it away
		g.Fit, g.Wait, g.Claims, g.Stops = placement.Explain(books.nodes, books.peers, ask), in.wait, in.claims, in.stops
		books.avoid(g, now)
		if in.wait == "" && in.claims == 0 {
			books.expect(g, ends, now)
		}
	}
	return groups, nil
}

// trySubmit says why a job would be refused, if it would.
func (s *Server) trySubmit(snap *state.Snapshot, job *structs.Job) error {
	old := snap.Current(job.Name)
	keep := old != nil && job.Type == structs.BatchJob && !slices.ContainsFunc(job.Groups, func(g *structs.Group) bool {
		return s.config.Replaces(old.Job, job, g.Name)
	})
	_, err := snap.Try(s.bounded(&state.SubmitJob{Job: job, KeepFinished: keep}), structs.At(time.Now()))
	return err
}

// planLimit bounds how many placements a plan tries.
const planLimit = 10_000

// books are the nodes and what the job has on them, for trying things out.
type books struct {
	nodes []*placement.Node
	byID  map[structs.NodeID]*placement.Node
	peers *placement.Peers
	asks  map[string]*placement.Ask
}

// scoreLimit bounds the nodes of a group that are scored.
const scoreLimit = 1000

// score writes down what a node is worth for one more of a group.
func (b *books) score(g *GroupExplanation, n *placement.Node) {
	if _, ok := g.Scores[n.ID]; !ok && len(g.Scores) < scoreLimit {
		g.Scores[n.ID] = placement.PartsOf(n, b.peers, b.asks[g.Group])
	}
}

// scoreWithout scores the node of a as if a were not there and had to be placed now.
func (b *books) scoreWithout(g *GroupExplanation, a *structs.Allocation) {
	n := b.byID[a.Node]
	if n == nil || n.Spec() == nil || a.Revocable != nil { // its node was chosen for what others leave of it
		return
	}
	n.Drop(a.Booked(), a.Ports)
	b.peers.Put(n, b.asks[g.Group], -1)
	b.score(g, n)
	b.peers.Put(n, b.asks[g.Group], 1)
	n.Hold(a.Booked(), a.Ports)
}

// seat places what waits of a group where the allocator placed it.
func (b *books) seat(g *GroupExplanation, places []*allocator.Place) {
	ask := b.asks[g.Group]
	for _, p := range places {
		n := b.byID[p.Node]
		b.score(g, n)
		n.Hold(ask.Resources, p.Ports)
		b.peers.Put(n, ask, 1)
		g.Held = append(g.Held, &structs.Allocation{Group: g.Group, Index: p.Slot.Index, Node: n.ID, NodeName: n.Name()})
		g.Waiting--
	}
}

// avoid notes where one more of a group fits and yet goes only when it fits on no other node.
func (b *books) avoid(g *GroupExplanation, now structs.Time) {
	ask := b.asks[g.Group]
	for _, n := range b.nodes {
		if m := n.Spec().Maintenance; m != nil && m.Outlasts(now, ask.MaxRun) && placement.Fits(n, b.peers, ask, placement.First).OK {
			g.Avoided = append(g.Avoided, n.Spec())
		}
	}
}

func explainWith(snap *state.Snapshot, job *structs.Job, record *structs.JobRecord, only string) ([]*GroupExplanation, *books, error) {
	specs := slices.Collect(snap.Nodes())
	var allocs []*structs.Allocation
	for a := range snap.Allocs() {
		if a.Holds() {
			allocs = append(allocs, a)
		}
	}
	b := &books{byID: map[structs.NodeID]*placement.Node{}, asks: map[string]*placement.Ask{}}
	b.nodes, b.peers = placement.Books(specs, allocs, job)
	role := cmp.Or(job.Role, record.Role, structs.DefaultRole)
	for _, n := range b.nodes {
		holdReserved(snap, n, role)
		b.byID[n.ID] = n
	}
	var out []*GroupExplanation
	job = placedAs(snap, job)
	for _, g := range job.Groups {
		if only != "" && g.Name != only {
			continue
		}
		ask, err := placement.Compile(job, g, volumesOf(snap, g, role, firstWaiting(snap, job, g))...)
		if err != nil {
			return nil, nil, err
		}
		ask = ask.Among(b.peers.Work())
		b.asks[g.Name] = ask
		e := &GroupExplanation{Group: g.Name, Ask: g.Ask(), Count: record.CountOf(g), Fit: placement.Explain(b.nodes, b.peers, ask),
			Scores: map[structs.NodeID]placement.Parts{}}
		for a := range snap.AllocsOfGroup(job.Name, g.Name) {
			if a.Holds() && a.Desired == structs.DesiredRun && a.Index < e.Count {
				e.Held = append(e.Held, a)
				b.scoreWithout(e, a)
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
	return out, b, nil
}
