package allocator

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// Waiting says how a request stands and why it waits.
type Waiting struct {
	Request   string                `json:"request"`
	Framework structs.FrameworkID   `json:"framework"`
	Role      string                `json:"role"`
	Priority  structs.Priority      `json:"priority"`
	Ordered   structs.Band          `json:"ordered"`          // the band in which it is served
	Pending   int                   `json:"pending"`          // slots that wait
	InFlight  int                   `json:"in_flight"`        // slots that are decided and not yet committed
	Claims    []Claim               `json:"claims,omitempty"` // slots for which room is being made, by index
	Because   Because               `json:"because,omitempty"`
	Closed    string                `json:"closed,omitempty"`    // the role that is closed and in its way
	Quota     []QuotaShort          `json:"quota,omitempty"`     // limits in its way
	Guarantee []QuotaShort          `json:"guarantee,omitempty"` // guarantees that are used up, so that it is served as batch
	Shares    []RoleShare           `json:"shares,omitempty"`    // from the top role down to the framework
	Kept      *KeptRoom             `json:"kept,omitempty"`      // room that is kept for it
	Behind    []KeptRoom            `json:"behind,omitempty"`    // where it would fit but for room that is kept for others
	Reserved  []ReservedRoom        `json:"reserved,omitempty"`  // where it would fit but for room that is reserved for others; not all of it
	Slack     *SlackWaiting         `json:"slack,omitempty"`     // of one that may be revocable
	Changes   []Change              `json:"changes,omitempty"`   // constraints that relax or harden with the time that it waits
	Gang      *GangWaiting          `json:"gang,omitempty"`      // of a request of a gang; then Placement is what the others of it leave
	Placement placement.Explanation `json:"placement"`
	Turn      *structs.Turn         `json:"turn,omitempty"`     // see Order.Turns
	Expected  *structs.Expected     `json:"expected,omitempty"` // when it has room
	asOf      structs.Time          // of Changes
}

// Because is the class of why something waits.
type Because string

const (
	ItsTurn  Because = "turn"    // it may be served, and others come first
	OfQuota  Because = "quota"   // it would exceed the limit of a role
	OfClosed Because = "closed"  // its role, or one above, is closed
	OfNoNode Because = "no_node" // it fits on no node
	OfBound  Because = "bound"   // too many others are being stopped to make room
	OfGang   Because = "gang"    // others of its gang are being placed
)

// Claim is room on a node that a slot gets as soon as enough of what is there has ended.
type Claim struct {
	Index   int               `json:"index"`
	Node    structs.NodeID    `json:"node"`
	Name    string            `json:"node_name"`
	Leaving []structs.AllocID `json:"leaving"` // what is being stopped on the node
}

// QuotaShort is one bound that is in the way, in the unit of its resource.
type QuotaShort struct {
	Role     string `json:"role"`
	Resource string `json:"resource"`
	Bound    int64  `json:"bound"`
	Used     int64  `json:"used"`
	Asked    int64  `json:"asked"`
	Part     string `json:"part,omitempty"` // of the role, when the bound is that of an owner or of framework schedulers
}

// Never reports whether q is in the way even when nothing is used.
func (q QuotaShort) Never() bool { return q.Asked > q.Bound }

// runningKind is the name of how many allocations a role may hold at a time, where resources have theirs.
const runningKind = "max_running"

// RoleShare is the share of a role or framework among its siblings.
type RoleShare struct {
	Name   string        `json:"name"`
	Share  structs.Milli `json:"share"` // of the region, before the weight
	Weight structs.Milli `json:"weight"`
	Sorter string        `json:"sorter,omitempty"` // by which it takes turns with its siblings, when that is not drf
}

// Explain says how a request stands; false when there is none of that id. It changes nothing, and costs a look at every
// node.
func (a *Allocator) Explain(id string) (Waiting, bool) {
	w, ok := a.Standing(id)
	if !ok {
		return w, false
	}
	r := a.requests[id]
	if r.gang != nil {
		w.Gang, w.Placement = a.explainGang(r)
		if w.Because == ItsTurn || w.Because == OfNoNode {
			w.Because = OfNoNode
			if w.Gang.Fit == w.Gang.Slots {
				w.Because = ItsTurn
			}
		}
		return w, true
	}
	nodes := make([]*placement.Node, 0, len(a.byOrd))
	for _, n := range a.byOrd {
		nodes = append(nodes, n.seen(r.group.shape.view, true, n.kept != nil && n.kept.group == r.group)) // offers give way
	}
	w.Placement = placement.Explain(nodes, a.work.Look(r.Ask.Job), a.inForce(r))
	if w.Because == ItsTurn || w.Because == OfNoNode {
		w.Because = OfNoNode
		if w.Placement.Fits > 0 {
			w.Because = ItsTurn
		}
	}
	return w, true
}

// Standing is Explain without a look at the nodes: whether it fits is what the last Step found.
func (a *Allocator) Standing(id string) (Waiting, bool) {
	r := a.requests[id]
	if r == nil {
		return Waiting{}, false
	}
	acc, s := r.group.client.account, r.group.shape
	amount, n := s.amount, 1
	if r.gang != nil {
		amount, n = r.gang.whole()
	}
	w := Waiting{Request: id, Framework: r.Framework, Role: acc.path, Priority: r.Priority, Ordered: r.Priority.Band,
		Pending: len(r.pending), InFlight: len(a.placing[id]), Claims: a.claimsOf(id)}
	w.InFlight -= len(w.Claims)
	for _, x := range acc.line() {
		if x.name != "." {
			w.Shares = append(w.Shares, RoleShare{x.title(), a.shareOf(x).Milli(), x.weight, x.parent.sorter.shown()})
		}
	}
	if r.Priority.Band >= structs.Production && acc.beyondGuarantee(amount) != nil {
		w.Ordered = structs.BatchBand
		w.Guarantee = a.short(acc, amount, func(x *account) (bound, []int64) { return x.guarantee, x.high })
	}
	w.Kept, w.Behind = a.keptFor(r)
	w.Reserved = a.reservedForOthers(s)
	w.Slack = a.slackFor(r.group)
	w.Changes, w.asOf = a.changesOf(r), a.now
	w.Quota = a.short(acc, amount, func(x *account) (bound, []int64) { return x.limit, x.used })
	for role := acc.roleOf(); role != nil; role = role.parent {
		if role.most > 0 && role.running+n > role.most {
			w.Quota = append(w.Quota, QuotaShort{Role: role.path, Resource: runningKind, Bound: int64(role.most), Used: int64(role.running), Asked: int64(n)})
		}
		w.Quota = append(w.Quota, a.partsShort(role, r.group.tag, amount)...)
	}
	if role := acc.inClosed(); role != nil {
		w.Closed = role.path
	}
	w.Because, _ = a.because(r)
	return w, true
}

// Because says why a request waits, as far as the last Step found, and the role whose bounds or state are the reason;
// nothing when it does not wait. It costs next to nothing.
func (a *Allocator) Because(id string) (because Because, role string) {
	r := a.requests[id]
	if r == nil {
		return "", ""
	}
	because, acc := a.because(r)
	if acc != nil {
		role = acc.path
	}
	return because, role
}

func (a *Allocator) because(r *request) (Because, *account) {
	g := r.group
	acc, s := g.client.account, g.shape
	amount, n := s.amount, 1
	if r.gang != nil {
		s = r.gang.lead.group.shape
		amount, n = r.gang.whole()
	}
	if len(r.pending) == 0 {
		return "", nil
	}
	if role := acc.inClosed(); role != nil {
		return OfClosed, role
	}
	if role := a.overPart(g, amount); role != nil {
		return OfQuota, role
	}
	if role := acc.overLimit(amount, n); role != nil {
		return OfQuota, role
	}
	band := g.band
	if band >= structs.Production && acc.beyondGuarantee(amount) != nil {
		band = structs.BatchBand
	}
	switch {
	case r.gang != nil && a.inFlightOf(r.gang):
		return OfGang, nil
	case a.throttled[s] || r.gang != nil && r.gang.throttled && a.asleep[r.gang]:
		return OfBound, nil
	case s.blocked.has(band):
		return OfNoNode, nil
	}
	return ItsTurn, nil
}

// claimsOf returns the claims of a request in order of index.
func (a *Allocator) claimsOf(id string) (out []Claim) {
	for index, h := range a.placing[id] {
		if h.decision != 0 {
			continue
		}
		c := Claim{Index: index, Node: h.node.ID, Name: h.node.Name()}
		for _, o := range h.node.allocs {
			if o.leaving {
				c.Leaving = append(c.Leaving, o.alloc)
			}
		}
		slices.Sort(c.Leaving)
		out = append(out, c)
	}
	slices.SortFunc(out, func(x, y Claim) int { return cmp.Compare(x.Index, y.Index) })
	return out
}

func (a *Allocator) short(acc *account, amount []int64, of func(*account) (bound, []int64)) (out []QuotaShort) {
	kinds := a.Kinds()
	for role := acc.roleOf(); role != nil; role = role.parent {
		bounds, used := of(role)
		for kind, v := range amount {
			if b, named := bounds.at(kind); named && v > 0 && usedOf(used, kind)+v > b {
				out = append(out, QuotaShort{Role: role.path, Resource: kinds[kind], Bound: b, Used: usedOf(used, kind), Asked: v})
			}
		}
	}
	return out
}

// String tells it in a few lines; no line break at the end.
func (w Waiting) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d waiting, %d in flight, role %s, %s", w.Request, w.Pending, w.InFlight, w.Role, w.Priority)
	if w.Pending == 0 {
		w.claims(&b)
		return b.String()
	}
	if w.Ordered != w.Priority.Band {
		fmt.Fprintf(&b, ", served as %s", w.Ordered)
		if len(w.Guarantee) == 0 {
			fmt.Fprintf(&b, ": no guarantee covers it")
		}
	}
	for _, q := range w.Guarantee {
		fmt.Fprintf(&b, "\n  guarantee of %s is used up: %s", q.Role, q)
	}
	for _, q := range w.Quota {
		fmt.Fprintf(&b, "\n  limit of %s: %s", q.Role, q)
	}
	switch w.Because {
	case ItsTurn:
		if w.Turn == nil {
			fmt.Fprintf(&b, "\n  others come first")
		}
	case OfClosed:
		fmt.Fprintf(&b, "\n  role %s is closed", w.Closed)
	case OfGang:
		fmt.Fprintf(&b, "\n  others of its gang are being placed")
	case OfBound:
		fmt.Fprintf(&b, "\n  as much as is allowed at a time is being stopped for others")
	}
	w.claims(&b)
	for _, line := range slices.Concat(w.KeptText(), w.ReservedText(), w.SlackText()) {
		fmt.Fprintf(&b, "\n  %s", line)
	}
	for _, c := range w.Changes {
		fmt.Fprintf(&b, "\n  %s", c.Text(w.asOf))
	}
	if w.Turn != nil {
		fmt.Fprintf(&b, "\n  %s", strings.ReplaceAll(w.Turn.String(), "\n", "\n  "))
		for _, r := range w.Turn.Ranks {
			fmt.Fprintf(&b, "\n  %s", r)
		}
	}
	if w.Expected != nil {
		fmt.Fprintf(&b, "\n  expected %s", w.Expected)
	}
	if w.Gang != nil {
		fmt.Fprintf(&b, "\n  %s", w.Gang)
	}
	fmt.Fprintf(&b, "\n  %s", strings.ReplaceAll(w.Placement.String(), "\n", "\n  "))
	return b.String()
}

// claims tells for which room it waits.
func (w Waiting) claims(b *strings.Builder) {
	for _, c := range w.Claims {
		if len(c.Leaving) == 0 {
			fmt.Fprintf(b, "\n  index %d keeps room on %s until the others of its gang have theirs", c.Index, c.Name)
			continue
		}
		fmt.Fprintf(b, "\n  index %d goes to %s as soon as this has ended there: %s", c.Index, c.Name, joinIDs(c.Leaving))
	}
}

// joinIDs names a few ids and counts the others.
func joinIDs(ids []structs.AllocID) string {
	const few = 4
	var names []string
	for _, id := range ids[:min(few, len(ids))] {
		names = append(names, structs.Short(id))
	}
	if len(ids) > few {
		names = append(names, fmt.Sprintf("and %d more", len(ids)-few))
	}
	return strings.Join(names, ", ")
}

func (q QuotaShort) String() string {
	if q.Resource == runningKind {
		return fmt.Sprintf("%s %d asked, %d of %d used", q.Resource, q.Asked, q.Used, q.Bound)
	}
	used, bound := structs.AmountsText(q.Resource, q.Used, q.Bound)
	if q.Part != "" {
		return fmt.Sprintf("%s: %s %s asked, %s of %s used", q.Part, q.Resource, structs.AmountText(q.Resource, q.Asked), used, bound)
	}
	return fmt.Sprintf("%s %s asked, %s of %s used", q.Resource, structs.AmountText(q.Resource, q.Asked), used, bound)
}

// Pending returns the ids of the requests that have slots waiting, in order.
func (a *Allocator) Pending() (out []string) {
	for id, r := range a.requests {
		if len(r.pending) > 0 {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// RoleUsage is what a role holds.
type RoleUsage struct {
	Role       string           `json:"role"`
	Weight     structs.Milli    `json:"weight"`
	Share      structs.Milli    `json:"share"` // dominant part of the region, before the weight
	Used       map[string]int64 `json:"used"`  // committed, in flight and offered; in the unit of the resource, with sub-roles
	Guaranteed map[string]int64 `json:"guaranteed,omitempty"`
	Limit      map[string]int64 `json:"limit,omitempty"`
	Frameworks int              `json:"frameworks"` // that hold or want something in this very role
	Waiting    int              `json:"waiting"`    // slots of requests, without sub-roles
}

// Roles returns every role in order of name.
func (a *Allocator) Roles() (out []RoleUsage) {
	waiting := map[string]int{}
	for _, r := range a.requests {
		waiting[r.group.client.account.path] += len(r.pending)
	}
	kinds := a.Kinds()
	named := func(values []int64) map[string]int64 {
		m := map[string]int64{}
		for i, v := range values {
			if v > 0 {
				m[kinds[i]] = v
			}
		}
		return m
	}
	bounds := func(b bound) map[string]int64 {
		if b == nil {
			return nil
		}
		m := map[string]int64{}
		for kind := range b {
			if v, ok := b.at(kind); ok {
				m[kinds[kind]] = v
			}
		}
		return m
	}
	var walk func(acc *account)
	walk = func(acc *account) {
		if acc != a.root {
			out = append(out, RoleUsage{Role: acc.path, Weight: acc.weight, Used: named(acc.used), Guaranteed: bounds(acc.guarantee),
				Share: a.shareOf(acc).Milli(), Limit: bounds(acc.limit),
				Frameworks: acc.own.frameworks(), Waiting: waiting[acc.path]})
		}
		for _, name := range slices.Sorted(maps.Keys(acc.roles)) {
			walk(acc.roles[name])
		}
	}
	walk(a.root)
	return out
}

// Describe draws the state for people and tests: a line a node, a role, an offer and a request.
func (a *Allocator) Describe() string {
	var b strings.Builder
	nodes := slices.SortedFunc(maps.Values(a.nodes), func(x, y *node) int {
		return cmp.Or(strings.Compare(x.Name(), y.Name()), strings.Compare(string(x.ID), string(y.ID)))
	})
	for _, n := range nodes {
		fmt.Fprintf(&b, "node %s: %d held, free %s\n", n.Name(), n.holds, n.Free())
		if x, ok := n.slackStatus(); ok {
			fmt.Fprintf(&b, "  %s\n", x)
		}
	}
	for _, r := range a.Roles() {
		fmt.Fprintf(&b, "role %s: weight %s, share %s, %d waiting\n", r.Role, r.Weight, r.Share, r.Waiting)
	}
	for _, o := range a.Offers() {
		fmt.Fprintf(&b, "offer %s of %s to %s as %s: %s\n", strings.TrimLeft(string(o.ID), "0"), o.NodeName, o.Framework, o.Role, o.Text())
	}
	for _, id := range a.Pending() {
		fmt.Fprintf(&b, "request %s: %d waiting, %d in flight\n", id, len(a.requests[id].pending), len(a.placing[id]))
	}
	return b.String()
}
