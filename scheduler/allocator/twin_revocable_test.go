package allocator

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

// twinSlack is what a node said that is reserved and not used.
type twinSlack struct {
	session uint64
	size    structs.Slack
}

func (h *twinHold) booked() structs.Resources {
	return h.amount.Sub(structs.Resources{CPU: h.slack.CPU, Memory: h.slack.Memory})
}

// drawSlack is a part of an amount that is revocable, often none.
func drawSlack(t *rapid.T, of structs.Resources) (s structs.Slack) {
	switch rapid.IntRange(0, 5).Draw(t, "revocable") {
	case 0:
		s = of.Slack()
	case 1:
		s.CPU = of.CPU / 2
	case 2:
		s.Memory = of.Memory
	}
	return s
}

// drawExecutor draws what an allocation is of: none, one that ends as a whole, or a pod that may lose a part.
func drawExecutor(t *rapid.T, slack structs.Slack) *structs.External {
	x := &structs.External{Executor: "x", Tasks: []*structs.ExternalTask{{Name: "soft", Revocable: new(slack)}, {Name: "firm"}}}
	switch rapid.IntRange(0, 4).Draw(t, "executor") {
	case 0:
		x.Custom = true
	case 1:
		x.Tasks[0].TakenBack = "it is"
	case 2, 3:
	default:
		return nil
	}
	return x
}

// beyond is what of a request is not free on a node.
func (w *twin) beyond(r *twinRequest, seen *placement.Node) (s structs.Slack) {
	nodes, _ := w.books("", "", nil)
	free := nodes[seen.ID].Free()
	if more := r.Ask.Resources.CPU - max(free.CPU, 0); more > 0 {
		s.CPU = more
	}
	if more := r.Ask.Resources.Memory - max(free.Memory, 0); more > 0 {
		s.Memory = more
	}
	return s
}

// slackOf is how much may be revocable on a node, and how much of it is not being stopped, and all that is; false when nothing is known.
func (w *twin) slackOf(id structs.NodeID) (size, stay, held structs.Slack, known bool) {
	for _, h := range w.holds {
		if h.node == id {
			held = held.Add(h.slack)
			if !h.leaving {
				stay = stay.Add(h.slack).Sub(h.yields)
			}
		}
	}
	n, said := w.nodes[id], w.slack[id]
	if n == nil || said == nil || n.Status != structs.NodeReady || n.Session != said.session {
		return size, stay, held, false
	}
	most := placement.Available(n)
	return structs.Slack{CPU: min(said.size.CPU, most.CPU), Memory: min(said.size.Memory, most.Memory)}, stay, held, true
}

// onSlack returns the node for a request that may be revocable, some offers of slack taken back, or nil.
func (w *twin) onSlack(r *twinRequest, without ...*twinHold) *placement.Node {
	if r.Priority.Band != structs.BestEffort || w.exempt(&twinHold{role: r.Role}) {
		return nil
	}
	nodes, peers := w.books("", r.Ask.Job, nil)
	avoid := w.avoid(nodes, r.Ask, r.pending[0]) // by what the nodes are, whatever is free
	for id, n := range nodes {
		size, _, held, known := w.slackOf(id)
		if !known {
			delete(nodes, id)
			continue
		}
		left := size.Sub(held).Sub(w.slackOffered(id, without))
		n.Drop(structs.Resources{CPU: max(left.CPU, 0), Memory: max(left.Memory, 0)}, nil)
	}
	if n := nodes[r.pending[0].Prefer]; n != nil && !w.outlasts(n, r.Ask) && placement.Fits(n, peers, r.now, placement.First).OK {
		return n
	}
	return placement.Best(slices.Collect(maps.Values(nodes)), peers, r.now, avoid)
}

// roomOffers are the offers of what is free, slackOffers those of slack, oldest first.
func (w *twin) roomOffers() []*twinHold {
	return slices.DeleteFunc(slices.Clone(w.offers), func(o *twinHold) bool { return !o.slack.IsZero() })
}

func (w *twin) slackOffers() []*twinHold {
	return slices.DeleteFunc(slices.Clone(w.offers), func(o *twinHold) bool { return o.slack.IsZero() })
}

func (w *twin) slackOffered(id structs.NodeID, without []*twinHold) (sum structs.Slack) {
	for _, o := range w.slackOffers() {
		if o.node == id && !slices.Contains(without, o) {
			sum = sum.Add(o.slack)
		}
	}
	return sum
}

// leftOf is what may still be given away of the slack of a node.
func (w *twin) leftOf(id structs.NodeID) structs.Resources {
	size, _, held, _ := w.slackOf(id)
	left := size.Sub(held).Sub(w.slackOffered(id, nil))
	return structs.Resources{CPU: max(left.CPU, 0), Memory: max(left.Memory, 0)}
}

// slackFor is the offer of slack for a framework.
func (w *twin) slackFor(f structs.FrameworkID, role string, now structs.Time) (structs.NodeID, structs.Resources, bool) {
	client := clientKey(f, role)
	if t := w.terms[client]; t == nil || !t.Revocable || w.spent(f) || w.exempt(&twinHold{role: role}) {
		return "", structs.Resources{}, false
	}
	ids := slices.SortedFunc(maps.Keys(w.nodes), func(x, y structs.NodeID) int { return cmp.Compare(w.ord(x), w.ord(y)) })
	for _, id := range ids {
		free := w.leftOf(id)
		if n := w.nodes[id]; free.IsZero() || !n.Schedulable() || !w.shows(client, n) {
			continue
		}
		most, nothing := w.cut(f, role, free)
		if nothing {
			return "", structs.Resources{}, false
		}
		for _, bundle := range []structs.Resources{twinSlice(free, most), most} {
			if w.enough(client, bundle) && !w.refused(client, true, id, bundle, now) {
				return id, bundle, true
			}
		}
	}
	return "", structs.Resources{}, false
}

// slackInTheWay returns the offers of slack to rescind for a request, or nil.
func (w *twin) slackInTheWay(r *twinRequest) []*twinHold {
	sorted := w.lowestFirst(w.slackOffers())
	for i, o := range sorted {
		var back []*twinHold
		for _, p := range sorted[:i+1] {
			if p.node == o.node {
				back = append(back, p)
			}
		}
		if n := w.onSlack(r, back...); n != nil {
			return back
		}
	}
	return nil
}

// settleSlack rescinds offers of slack of a node that may not be used, or has less.
func (w *twin) settleSlack(id structs.NodeID) {
	offers := slices.DeleteFunc(w.slackOffers(), func(o *twinHold) bool { return o.node != id })
	for _, o := range slices.Backward(offers) {
		size, _, held, _ := w.slackOf(id)
		n := w.nodes[id]
		if n != nil && n.Schedulable() && held.Add(w.slackOffered(id, nil)).Within(size) {
			return
		}
		w.rescind(o)
	}
}

// streak is the key of offers in a row like this one.
func (h *twinHold) streak() string {
	key := clientKey(h.framework, h.role)
	if !h.slack.IsZero() {
		key += " slack"
	}
	return key + " " + string(h.node)
}

// reclaimSlack stops revocable work where more of it is held than there is.
func (w *twin) reclaimSlack() {
	for _, id := range slices.Sorted(maps.Keys(w.nodes)) {
		size, stay, _, known := w.slackOf(id)
		if !known {
			continue
		}
		var all []*twinHold
		for _, h := range w.holds {
			if h.node == id && h.slack != h.yields && h.alloc != "" && !h.leaving {
				all = append(all, h)
			}
		}
		slices.SortFunc(all, func(x, y *twinHold) int {
			firm := map[bool]int{true: 1}
			return cmp.Or(cmp.Compare(x.band, y.band), firm[x.back.Firm]-firm[y.back.Firm], cmp.Compare(y.created, x.created), cmp.Compare(y.alloc, x.alloc))
		})
		fits := func(going []*twinHold) bool {
			rest := stay
			for _, h := range going {
				rest = rest.Sub(h.slack).Add(h.yields)
			}
			return rest.Within(size)
		}
		n := 0
		for n < len(all) && !fits(all[:n]) {
			n++
		}
		going := slices.Clone(all[:n])
		for i := n - 1; i >= 0; i-- {
			if without := slices.Delete(slices.Clone(going), i, i+1); fits(without) {
				going = without
			}
		}
		if len(going) == 0 {
			continue
		}
		var ids, parts []structs.AllocID
		for _, h := range going {
			if h.back.Tasks != nil {
				h.yields = h.slack
				parts = append(parts, h.alloc)
				continue
			}
			h.leaving, h.yields = true, structs.Slack{}
			ids = append(ids, h.alloc)
		}
		w.out = append(w.out, fmt.Sprintf("preempt [0] on %s: %v %v", id, ids, parts))
	}
}

// saySlack has a node say what is not used on it, in this session or another one.
func (w *twin) saySlack(t *rapid.T, a *Allocator) {
	id := drawID(t)
	said := &twinSlack{uint64(rapid.IntRange(0, 5).Draw(t, "session") / 5), structs.Slack{
		CPU:    structs.Milli(250 * rapid.IntRange(0, 8).Draw(t, "slack cpu")),
		Memory: structs.Bytes(rapid.IntRange(0, 6).Draw(t, "slack memory")) << 28}}
	if n := a.nodes[id]; w.nodes[id] != nil && (!said.size.IsZero() || n.spare != nil) {
		w.slack[id] = said
	}
	a.SetSlack(id, said.session, said.size)
	w.settleSlack(id)
}

// auditSlack compares what is held of the slack with sums.
func auditSlack(t *rapid.T, a *Allocator, w *twin) {
	for id, n := range a.nodes {
		_, stay, held, _ := w.slackOf(id)
		var x spare
		if n.spare != nil {
			x = *n.spare
		}
		if x.offered != w.slackOffered(id, nil) {
			t.Fatalf("node %s: %s of its slack is offered, the sum is %s", id, x.offered, w.slackOffered(id, nil))
		}
		if x.held != held || x.held.Sub(x.leaving) != stay {
			t.Fatalf("node %s: %s of its slack is held, %s of that being stopped; the sums are %s and %s", id, x.held, x.leaving, held, held.Sub(stay))
		}
	}
}

// TestRevocableEqualsContract lives a life on two nodes where little is free and most is revocable.
func TestRevocableEqualsContract(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newTwin()
		w.keepAfter, w.most = DefaultKeepAfter, rapid.IntRange(0, 2).Draw(t, "most preempted")
		w.options.KeepAfter, w.options.MostPreempted, w.options.Backoff = w.keepAfter, w.most, DefaultBackoff
		a := New(w.options)
		w.ord = func(id structs.NodeID) int { return a.nodes[id].Ord }
		node := func() structs.NodeID { return structs.NodeID(fmt.Sprintf("n%d", rapid.IntRange(0, 1).Draw(t, "node"))) }
		now := structs.Time(1e9)
		w.changeFramework(t, a)
		for i := range 20 {
			for range rapid.IntRange(1, 4).Draw(t, "inputs") {
				switch rapid.IntRange(0, 16).Draw(t, "input") {
				case 15, 16: // tasks of an executor come or end
					some := slices.DeleteFunc(slices.Clone(w.holds), func(h *twinHold) bool { return h.alloc == "" || h.leaving })
					if len(some) == 0 {
						continue
					}
					h := rapid.SampledFrom(some).Draw(t, "which")
					was := *h
					h.amount = structs.Resources{CPU: structs.Milli(250 * rapid.IntRange(0, 4).Draw(t, "cpu")), Memory: structs.Bytes(rapid.IntRange(0, 3).Draw(t, "memory")) << 28, Disk: 1 << 28}
					if h.slack, h.band = drawSlack(t, h.amount), structs.BatchBand; !h.slack.IsZero() {
						h.band = structs.BestEffort
					}
					alloc := &structs.Allocation{ID: h.alloc, Framework: h.framework, Role: h.role, Job: h.job, Group: h.group, Node: h.node, Resources: h.amount, Owner: h.tag.owner,
						Marks: h.marks, Status: structs.AllocRunning, Priority: structs.Priority{Band: h.band}, Created: h.created, Revocable: new(h.slack), External: drawExecutor(t, h.slack)}
					h.back = alloc.Reclaim()
					a.SetAllocation(alloc)
					if !equal(was.amount, h.amount) || was.slack != h.slack || was.band != h.band || was.back.Firm != h.back.Firm || (was.back.Tasks == nil) != (h.back.Tasks == nil) ||
						!h.back.Going.Within(h.yields) {
						h.yields = h.back.Going
						w.drop(func(o *twinHold) bool { return o == h })
						w.comeAndGo()
						w.holds = append(w.holds, h)
						w.settle(h.node)
					}
				case 10:
					w.changeFramework(t, a)
				case 11:
					w.suppressOrRevive(t, a)
				case 12, 13, 14:
					w.answerOffer(t, a, Filter{structs.Duration(rapid.IntRange(0, 1).Draw(t, "refuse")) * 4e9}, now)
				case 0, 1:
					id := node()
					spec := &structs.Node{ID: id, Name: string(id), Status: structs.NodeReady, Eligible: true, Session: uint64(rapid.IntRange(0, 7).Draw(t, "session") / 7),
						Resources: structs.Resources{CPU: structs.Milli(rapid.IntRange(0, 8).Draw(t, "cpu") * 250), Memory: 8 << 28, Disk: structs.Bytes(rapid.IntRange(2, 6).Draw(t, "disk")) << 28},
						Drivers:   map[string]*structs.Driver{"exec": {Healthy: true}}}
					w.setNode(spec)
					a.SetNode(spec)
				case 2, 3, 4:
					w.saySlack(t, a)
				case 5:
					h := &twinHold{node: node(), framework: "batch", role: "a", job: "j", group: "g", alloc: structs.AllocID(fmt.Sprintf("x%d", rapid.IntRange(0, 9).Draw(t, "id"))),
						amount: structs.Resources{CPU: structs.Milli(250 * rapid.IntRange(0, 3).Draw(t, "cpu")), Memory: structs.Bytes(rapid.IntRange(0, 2).Draw(t, "memory")) << 28, Disk: 1 << 28},
						band:   structs.Band(rapid.IntRange(0, 1).Draw(t, "band")), created: structs.Time(rapid.IntRange(0, 3).Draw(t, "created"))}
					h.slack = drawSlack(t, h.amount)
					if slices.ContainsFunc(w.holds, func(o *twinHold) bool { return o.alloc == h.alloc }) {
						continue
					}
					w.holds = append(w.holds, h)
					a.SetAllocation(&structs.Allocation{ID: h.alloc, Framework: h.framework, Role: h.role, Job: h.job, Group: h.group, Node: h.node, Resources: h.amount,
						Status: structs.AllocRunning, Priority: structs.Priority{Band: h.band}, Created: h.created, Revocable: new(h.slack)})
					w.settle(h.node)
				case 6, 7:
					ask, err := placement.Compile(&structs.Job{Name: "k"}, &structs.Group{Name: "g", Disk: 1 << 28, Tasks: []*structs.Task{{Name: "t",
						Resources: &structs.TaskResources{CPU: structs.Milli(250 * rapid.IntRange(0, 3).Draw(t, "cpu")), Memory: structs.Bytes(rapid.IntRange(0, 3).Draw(t, "memory")) << 28}}}})
					if err != nil {
						t.Fatal(err)
					}
					r := &Request{ID: fmt.Sprintf("r%d", rapid.IntRange(0, 1).Draw(t, "request")), Framework: "batch", Role: "a", Seq: uint64(i), Ask: ask,
						Priority: structs.Priority{Band: structs.Band(rapid.IntRange(0, 3).Draw(t, "band") / 3)}}
					if w.requests[r.ID] != nil || slices.ContainsFunc(w.holds, func(h *twinHold) bool { return h.request == r.ID }) {
						continue
					}
					for k := range rapid.IntRange(1, 4).Draw(t, "count") {
						r.Slots = append(r.Slots, Slot{Index: k, Prefer: rapid.SampledFrom([]structs.NodeID{"", "n0", "n1"}).Draw(t, "prefer")})
					}
					if err := a.SetRequest(r); err != nil {
						t.Fatal(err)
					}
					x := &twinRequest{Request: *r, pending: slices.Clone(r.Slots)}
					w.replaced(x, nil)
					w.requests[r.ID] = x
				case 8, 9: // something ends, or is committed
					some := slices.DeleteFunc(slices.Clone(w.holds), func(h *twinHold) bool { return h.claim })
					if len(some) == 0 {
						continue
					}
					h := rapid.SampledFrom(some).Draw(t, "which")
					if h.decision == 0 {
						w.drop(func(o *twinHold) bool { return o == h })
						a.RemoveAllocation(h.alloc)
						continue
					}
					h.alloc, h.created = structs.AllocID(fmt.Sprintf("alloc%d", h.decision)), structs.Time(rapid.IntRange(0, 3).Draw(t, "created"))
					if err := a.Confirm(h.decision, &structs.Allocation{ID: h.alloc, Framework: h.framework, Role: h.role, Priority: structs.Priority{Band: h.band}, Created: h.created,
						Owner: h.tag.owner, Job: h.job, Group: h.group, Node: h.node, Resources: h.amount, Marks: h.marks, Status: structs.AllocPending, Revocable: new(h.slack)}); err != nil {
						t.Fatal(err)
					}
					h.decision, h.request = 0, ""
				}
				w.forgetGroups()
				w.comeAndGo()
			}
			now += structs.Time(rapid.IntRange(0, 3).Draw(t, "time")) * 4e9
			got, want := texts(a.Step(now, 0)), w.step(now)
			if !slices.Equal(got, want) {
				t.Fatalf("decided\n  %s\ncontract\n  %s\n%s", strings.Join(got, "\n  "), strings.Join(want, "\n  "), a.Describe())
			}
			audit(t, a, w)
			if again := a.Step(now, 0); len(again) != 0 {
				t.Fatalf("a second step decided %v", texts(again))
			}
		}
	})
}
