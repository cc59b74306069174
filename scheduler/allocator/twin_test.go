package allocator

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

// twin is the written contract, computed from scratch for each single decision.
type twin struct {
	nodes      map[structs.NodeID]*structs.Node
	ord        func(structs.NodeID) int
	roles      map[string]*structs.Role
	requests   map[string]*twinRequest
	gangs      map[string]*twinGang
	holds      []*twinHold
	offers     []*twinHold // oldest first
	frameworks map[structs.FrameworkID][]string
	suppressed map[string]bool // framework and role
	filters    []twinFilter
	twinOffers
	inverse    map[string]*twinInverse // by node and framework
	lastID     uint64
	lastOffer  uint64
	out        []string
	ripe       map[structs.NodeID]bool // its claims are to be looked at
	most       int                     // victims at a time
	crowded    bool                    // nodes are there and full of small work, and gangs want them
	calm       bool                    // all is of one band, and gangs stay
	brief      bool                    // gangs are small and end soon
	now        structs.Time
	claimed    uint64
	waits      map[twinKey]*twinWait
	kept       []*twinKept // oldest first
	keepAfter  structs.Duration
	lastServed [bands]structs.Time
	options    Options
	served     uint64
	last       map[string]uint64      // when what is on a line was served, or came
	chances    map[string]*twinChance // by the line to what takes turns by chance
	clocks     map[string]*big.Int    // by the line to what is above
	random     map[string]bool        // what was sorted by chance after the last input
	byShare    bool                   // sorters are not asked

	reservations map[structs.ReservationID]*structs.Reservation
	slack        map[structs.NodeID]*twinSlack
}

type twinRequest struct {
	Request
	since   structs.Time   // since when its clock runs; 0: it does not
	now     *placement.Ask // in force
	pending []Slot
	gang    *twinGang
}

type twinHold struct {
	node      structs.NodeID
	framework structs.FrameworkID
	role      string
	amount    structs.Resources
	ports     []structs.AssignedPort
	job       string
	group     string
	tag       tag
	marks     *structs.Marks
	ask       *placement.Ask // of a claim
	band      structs.Band
	leaving   bool
	victim    bool
	claim     bool
	ordered   structs.Band // of a claim
	seq       uint64
	check     structs.Time
	created   structs.Time
	maxRun    structs.Duration
	decision  uint64
	request   string
	slot      Slot
	wanted    bool
	ready     bool   // of a gang's claim
	gang      string // of a decision or an allocation of one
	with      uint64 // of a gang's decision or claim: the same for all that were made with it
	alloc     structs.AllocID
	offer     structs.OfferID
	named     []structs.Range // ports of an offer beside reserved ones
	expires   structs.Time
	slack     structs.Slack
	back      structs.Reclaim
	yields    structs.Slack
}

type twinFilter struct {
	client  string
	slack   bool
	node    structs.NodeID
	refused structs.Resources
	until   structs.Time
	firm    structs.Time
}

func newTwin() *twin {
	return &twin{nodes: map[structs.NodeID]*structs.Node{}, roles: map[string]*structs.Role{}, requests: map[string]*twinRequest{},
		gangs:      map[string]*twinGang{},
		frameworks: map[structs.FrameworkID][]string{}, suppressed: map[string]bool{}, ripe: map[structs.NodeID]bool{},
		last: map[string]uint64{}, chances: map[string]*twinChance{}, clocks: map[string]*big.Int{}, waits: map[twinKey]*twinWait{}, reservations: map[structs.ReservationID]*structs.Reservation{},
		slack: map[structs.NodeID]*twinSlack{}, twinOffers: newTwinOffers(), inverse: map[string]*twinInverse{}}
}

func clientKey(f structs.FrameworkID, role string) string { return string(f) + " " + role }

func (w *twin) held() []*twinHold { return append(slices.Clone(w.holds), w.offers...) }

// books builds the nodes as a role sees them, without some offers, and the peers of a job.
func (w *twin) books(role, job string, without []*twinHold) (map[structs.NodeID]*placement.Node, *placement.Peers) {
	return w.booksBut(role, job, without, func(*twinKept) bool { return false })
}

// booksBut is books without some of what is kept.
func (w *twin) booksBut(role, job string, without []*twinHold, given func(*twinKept) bool) (map[structs.NodeID]*placement.Node, *placement.Peers) {
	nodes, work := map[structs.NodeID]*placement.Node{}, placement.NewWork()
	for id, spec := range w.nodes {
		nodes[id] = placement.NewNode(id, spec)
	}
	for _, h := range w.held() {
		if slices.Contains(without, h) {
			continue
		}
		n := nodes[h.node]
		if n == nil {
			n = placement.NewNode(h.node, nil) // not known, and yet its work keeps others away when it comes
		}
		n.Hold(h.booked(), h.ports)
		if h.offer == "" && h.job != "" {
			work.Add(n, h.job, h.group, h.marks, 1)
		}
	}
	for _, k := range w.kept {
		if n := nodes[k.node]; n != nil && !given(k) {
			n.Hold(k.room, nil)
		}
	}
	for id, n := range nodes {
		ports := w.portsOn(id, without)
		n.SetReserved(rangesOf(ports, func(twinPort) bool { return true }),
			rangesOf(ports, func(x twinPort) bool { return !x.taken && under(role, x.role) }))
		for reserved, amount := range w.unusedOn(id, without, given) {
			if !under(role, reserved.role) {
				n.Hold(amount, nil)
			}
		}
	}
	return nodes, work.Look(job)
}

func under(role, top string) bool {
	return top == "" || role == top || strings.HasPrefix(role, top+"/")
}

func kindsOf(r structs.Resources) map[string]int64 {
	m := map[string]int64{"cpu": int64(r.CPU), "memory": int64(r.Memory), "disk": int64(r.Disk)}
	for k, v := range r.Custom {
		m[k] = int64(v)
	}
	return m
}

func (w *twin) used(match func(h *twinHold) bool) map[string]int64 {
	sum := map[string]int64{}
	for _, h := range w.held() {
		if match(h) {
			for k, v := range kindsOf(h.amount) {
				sum[k] += v
			}
		}
	}
	return sum
}

func (w *twin) share(match func(h *twinHold) bool, weight structs.Milli) *big.Rat {
	total := map[string]int64{}
	for _, n := range w.nodes {
		if n.Status == structs.NodeReady {
			for k, v := range kindsOf(placement.Available(n)) {
				total[k] += v
			}
		}
	}
	best := new(big.Rat)
	for k, v := range w.used(match) {
		if v <= 0 || slices.Contains(w.options.Exclude, k) {
			continue
		}
		r := big.NewRat(1<<62, 1) // of what the region has none of
		if total[k] > 0 {
			r = new(big.Rat).SetFrac(big.NewInt(v), new(big.Int).Mul(big.NewInt(total[k]), big.NewInt(int64(weight))))
		}
		if r.Cmp(best) > 0 {
			best = r
		}
	}
	return best
}

func (w *twin) weight(role string) structs.Milli {
	if r := w.roles[role]; r != nil && r.Weight != 0 {
		return r.Weight
	}
	return 1000
}

func ancestors(role string) (out []string) {
	for {
		out = append(out, role)
		i := strings.LastIndexByte(role, '/')
		if i < 0 {
			return out
		}
		role = role[:i]
	}
}

func named(q *structs.QuotaAmount) map[string]int64 {
	m := map[string]int64{}
	if q == nil {
		return m
	}
	if q.CPU != nil {
		m["cpu"] = int64(*q.CPU)
	}
	if q.Memory != nil {
		m["memory"] = int64(*q.Memory)
	}
	for k, v := range q.Custom {
		m[k] = int64(v)
	}
	return m
}

// shut reports whether a role by itself takes no more work.
func (w *twin) shut(role string) bool { return w.full(role, 1) }

// full reports whether a role by itself takes no more allocations.
func (w *twin) full(role string, more int) bool {
	r, n := w.roles[role], more-1
	for _, h := range w.holds {
		if under(h.role, role) {
			n++
		}
	}
	return r != nil && (r.State == structs.RoleClosed || r.MaxRunning > 0 && n >= r.MaxRunning)
}

func (w *twin) closed(role string) bool {
	return slices.ContainsFunc(ancestors(role), func(name string) bool {
		return w.roles[name] != nil && w.roles[name].State == structs.RoleClosed
	})
}

func (w *twin) withinLimit(role string, amount structs.Resources, n int, offersToo bool) bool {
	for _, r := range ancestors(role) {
		if w.full(r, n) {
			return false
		}
		spec := w.roles[r]
		if spec == nil || spec.Quota == nil {
			continue
		}
		used := w.used(func(h *twinHold) bool { return under(h.role, r) && (offersToo || h.offer == "") })
		for k, limit := range named(spec.Quota.Limit) {
			if v := kindsOf(amount)[k]; v > 0 && used[k]+v > limit {
				return false
			}
		}
	}
	return true
}

func (w *twin) guaranteed(role string, amount structs.Resources) bool {
	covered := false
	for _, r := range ancestors(role) {
		spec := w.roles[r]
		if spec == nil || spec.Quota == nil {
			continue
		}
		used := w.counts(r, func(h *twinHold) bool { return h.high() })
		for k, bound := range named(spec.Quota.Guarantee) {
			if v := kindsOf(amount)[k]; v > 0 {
				covered = true
				if used[k]+v > bound {
					return false
				}
			}
		}
	}
	return covered
}

// candidate is something that could be served now.
type candidate struct {
	band      structs.Band
	role      string
	framework structs.FrameworkID
	level     int8
	seq       uint64
	id        string
	request   *twinRequest // nil for an offer
	gang      *twinGang
	node      structs.NodeID
	rescind   []*twinHold
	victims   []*twinHold // what has to end, of it what leaves already
	revocable bool
	bundle    structs.Resources
}

func (w *twin) candidates(now structs.Time) (out []candidate) {
	for _, r := range w.requests {
		if len(r.pending) == 0 || r.gang != nil {
			continue
		}
		c := candidate{band: r.Priority.Band, role: r.Role, framework: r.Framework, level: r.Priority.Level, seq: r.Seq, id: r.ID, request: r}
		if c.band >= structs.Production && !w.guaranteed(r.Role, r.Ask.Resources) {
			c.band = structs.BatchBand
		}
		if !w.mayHold(r) {
			continue
		}
		nodes, peers := w.books(r.Role, r.Ask.Job, nil)
		if n := w.best(nodes, peers, r); n != nil {
			c.node = n.ID
			out = append(out, c)
			continue
		}
		if n := w.backfill(r); n != nil {
			c.node = n.ID
			out = append(out, c)
			continue
		}
		if n := w.borrow(r); n != nil {
			c.node = n.ID
			out = append(out, c)
			continue
		}
		if n := w.onSlack(r); n != nil {
			c.node, c.revocable = n.ID, true
			out = append(out, c)
			continue
		}
		if c.rescind = w.inTheWay(r); c.rescind != nil {
			out = append(out, c)
			continue
		}
		if c.rescind = w.slackInTheWay(r); c.rescind != nil {
			c.revocable = true
			out = append(out, c)
			continue
		}
		if c.node, c.victims = w.preemptFor(r, c.band); c.victims != nil {
			out = append(out, c)
		}
	}
	out = append(out, w.gangsWaiting()...)
	for f, roles := range w.frameworks {
		for _, role := range roles {
			if w.suppressed[clientKey(f, role)] {
				continue
			}
			if id, bundle, ok := w.offerFor(f, role, now); ok {
				out = append(out, candidate{band: structs.BatchBand, role: role, framework: f, seq: 1<<64 - 1, node: id, bundle: bundle})
			}
			if id, bundle, ok := w.slackFor(f, role, now); ok {
				out = append(out, candidate{band: structs.BestEffort, role: role, framework: f, seq: 1<<64 - 1, node: id, bundle: bundle, revocable: true})
			}
		}
	}
	return out
}

func (w *twin) best(nodes map[structs.NodeID]*placement.Node, peers *placement.Peers, r *twinRequest) *placement.Node {
	slot := r.pending[0]
	if n := nodes[slot.Prefer]; n != nil && !w.outlasts(n, r.Ask) && placement.Fits(n, peers, r.now, placement.First).OK {
		return n
	}
	mine, avoid := w.reservedNodes(r.Role), w.avoid(nodes, r.Ask, slot)
	for _, avoided := range []bool{false, true} {
		for _, reserved := range []bool{true, false} {
			var some []*placement.Node
			for id, n := range nodes {
				if slices.Contains(avoid, id) == avoided && mine[id] == reserved {
					some = append(some, n)
				}
			}
			if n := placement.Best(some, peers, r.now, nil); n != nil {
				return n
			}
		}
	}
	return nil
}

// inTheWay returns the offers to rescind for a request, or nil.
func (w *twin) inTheWay(r *twinRequest) []*twinHold {
	sorted := w.lowestFirst(w.roomOffers())
	for i, o := range sorted {
		var back []*twinHold
		for _, p := range sorted[:i+1] {
			if p.node == o.node {
				back = append(back, p)
			}
		}
		nodes, peers := w.books(r.Role, r.Ask.Job, back)
		if n := nodes[o.node]; n != nil && placement.Fits(n, peers, r.now, placement.First).OK {
			return back
		}
	}
	return nil
}

// lowestFirst sorts offers by the order of their frameworks, last first; of one framework the newest first.
func (w *twin) lowestFirst(offers []*twinHold) (out []*twinHold) {
	w.byShare = true
	defer func() { w.byShare = false }()
	var clients []candidate
	seen := map[string]bool{}
	for _, o := range offers {
		if k := clientKey(o.framework, o.role); !seen[k] {
			seen[k] = true
			clients = append(clients, candidate{role: o.role, framework: o.framework})
		}
	}
	for len(clients) > 0 {
		first := w.first(clients)
		i := slices.IndexFunc(clients, func(c candidate) bool { return c.role == first.role && c.framework == first.framework })
		clients = slices.Delete(clients, i, i+1)
		for _, o := range offers { // oldest first: reversed below
			if o.framework == first.framework && o.role == first.role {
				out = append(out, o)
			}
		}
	}
	slices.Reverse(out)
	return out
}

// first returns whose turn it is.
func (w *twin) first(all []candidate) candidate {
	top := slices.MaxFunc(all, func(x, y candidate) int { return cmp.Compare(x.band, y.band) }).band
	all = slices.DeleteFunc(slices.Clone(all), func(c candidate) bool { return c.band != top })
	for level := 0; level < len(w.lineOf(all[0])); level++ {
		if w.sorterAt(all[0], level) == SorterFIFO && !w.byShare {
			return w.oldest(all)
		}
		best := slices.MinFunc(all, func(x, y candidate) int {
			return cmp.Or(w.turn(x, level).Cmp(w.turn(y, level)), cmp.Compare(w.last[w.key(x, level)], w.last[w.key(y, level)]), strings.Compare(w.lineOf(x)[level], w.lineOf(y)[level]))
		})
		all = slices.DeleteFunc(all, func(c candidate) bool { return w.lineOf(c)[level] != w.lineOf(best)[level] })
	}
	return slices.MinFunc(all, func(x, y candidate) int {
		return cmp.Or(cmp.Compare(y.level, x.level), cmp.Compare(x.seq, y.seq), cmp.Compare(x.id, y.id))
	})
}

func (w *twin) rescind(o *twinHold) {
	w.offers = slices.DeleteFunc(w.offers, func(p *twinHold) bool { return p == o })
	w.out = append(w.out, "rescind "+string(o.offer))
}

// step returns the decisions as text.
func (w *twin) step(now structs.Time) []string {
	w.now = now
	w.startClocks()
	w.refresh()
	for _, o := range slices.Clone(w.offers) {
		if o.expires <= now {
			w.unused(o, DefaultRefuse, now)
			w.rescind(o)
			w.ignore(o.framework)
		}
	}
	w.now = now
	w.checkClaims(now)
	w.askToLeave(now)
	w.observe()
	w.review()
	w.reclaimSlack()
	w.rouse(true)
	for {
		w.settleClaims()
		w.refresh()
		w.settleKept()
		w.refresh()
		all := w.candidates(now)
		if len(all) == 0 {
			if w.rouse(false) || w.unkeepIdle() || w.keep() {
				continue
			}
			break
		}
		c := w.first(all)
		if c.gang != nil {
			w.serveGang(c)
			continue
		}
		if c.request == nil {
			w.lastOffer++
			w.serving(c)
			o := &twinHold{node: c.node, framework: c.framework, role: c.role, amount: c.bundle,
				offer: structs.OfferID(fmt.Sprintf("%016x%016x", 0, w.lastOffer)), expires: now.Add(cmp.Or(w.options.OfferTimeout, DefaultOfferTimeout))}
			w.out = append(w.out, fmt.Sprintf("offer %s %s %s %s %s", o.offer, o.framework, o.role, o.node, o.amount))
			if c.revocable {
				o.slack = o.amount.Slack()
				w.out[len(w.out)-1] += " revocable"
			}
			w.offers = append(w.offers, o)
			w.lastServed[c.band] = w.now
			continue
		}
		for _, o := range slices.SortedFunc(slices.Values(c.rescind), func(x, y *twinHold) int { return cmp.Compare(x.offer, y.offer) }) {
			w.rescind(o)
		}
		r := c.request
		if c.victims != nil {
			for _, o := range slices.Backward(w.roomOffers()) {
				if o.node == c.node {
					w.rescind(o)
				}
			}
		}
		nodes, peers := w.books(r.Role, r.Ask.Job, nil)
		n := w.best(nodes, peers, r) // before limits take offers back
		if n == nil && c.victims == nil {
			n = w.backfill(r)
		}
		if n == nil && c.victims == nil {
			n = w.borrow(r)
		}
		if c.revocable {
			n = w.onSlack(r)
		}
		w.makeLimitRoom(r.Role, r.Ask.Resources, 1)
		if c.victims != nil {
			w.claim(c)
			continue
		}
		ports, _ := n.Assign(r.Ask)
		beyond := w.beyond(r, n)
		w.place(r, n.ID, ports, c.band)
		if c.revocable {
			w.holds[len(w.holds)-1].slack = beyond
			w.out[len(w.out)-1] += " of slack " + beyond.String()
		}
	}
	w.startClocks()
	out := w.out
	w.out = nil
	return out
}

// place decides that the first slot of a request goes on a node.
func (w *twin) place(r *twinRequest, id structs.NodeID, ports []structs.AssignedPort, ordered structs.Band) {
	w.lastID++
	w.serving(candidate{role: r.Role, framework: r.Framework, request: r})
	h := &twinHold{node: id, framework: r.Framework, role: r.Role, amount: r.Ask.Resources, ports: ports, job: r.Ask.Job,
		group: r.Ask.Group, tag: tag{r.Owner, r.FrameworkScheduler}, marks: r.now.Marks, band: r.Priority.Band, maxRun: r.Ask.MaxRun, decision: w.lastID, request: r.ID, slot: r.pending[0], wanted: true}
	w.got(r.key())
	w.taken(r)
	w.restartClock(r, id)
	w.lastServed[ordered] = w.now
	w.holds = append(w.holds, h)
	w.out = append(w.out, fmt.Sprintf("place %d %s[%d] on %s as %s %v", h.decision, h.request, h.slot.Index, h.node, ordered, ports))
}

// makeLimitRoom takes offers back until an amount is within all limits.
func (w *twin) makeLimitRoom(from string, amount structs.Resources, n int) {
	for !w.withinLimit(from, amount, n, true) {
		// The first role from the leaf up that is over its limit gives the last offer below it.
		for _, role := range ancestors(from) {
			if !w.withinOne(role, amount) {
				below := slices.DeleteFunc(slices.Clone(w.offers), func(o *twinHold) bool { return !under(o.role, role) })
				w.rescind(w.lowestFirst(below)[0])
				break
			}
		}
	}
}

func (w *twin) withinOne(role string, amount structs.Resources) bool {
	spec := w.roles[role]
	if spec == nil || spec.Quota == nil {
		return true
	}
	used := w.used(func(h *twinHold) bool { return under(h.role, role) })
	for k, limit := range named(spec.Quota.Limit) {
		if v := kindsOf(amount)[k]; v > 0 && used[k]+v > limit {
			return false
		}
	}
	return true
}

// misnamed reports whether an offer has ports that are reserved since, or not for it any more.
func (w *twin) misnamed(o *twinHold) bool {
	ports := w.portsOn(o.node, nil)
	for _, r := range o.amount.PortRanges() {
		for p := int(r.First); p <= int(r.Last); p++ {
			if x, is := ports[p]; !is || !under(o.role, x.role) {
				return true
			}
		}
	}
	return len(structs.CommonRanges(o.named, rangesOf(ports, func(twinPort) bool { return true }))) > 0
}

// settle rescinds the offers of a node that may not be used or is overdrawn.
func (w *twin) settle(id structs.NodeID) {
	for {
		var last *twinHold
		for _, o := range w.roomOffers() {
			if o.node != id {
				continue
			}
			nodes, _ := w.books(o.role, "", nil)
			if n := nodes[id]; n == nil || !n.Spec().Schedulable() || overdrawn(n.Free()) || w.misnamed(o) {
				last = o
			}
		}
		if last == nil {
			w.settleSlack(id)
			return
		}
		w.rescind(last)
	}
}

func texts(decisions []Decision) (out []string) {
	for _, d := range decisions {
		switch {
		case d.Place != nil:
			p := d.Place
			text := fmt.Sprintf("place %d %s[%d] on %s as %s %v", p.ID, p.Request, p.Slot.Index, p.Node, p.Ordered, p.Ports)
			if p.Revocable != nil {
				text += " of slack " + p.Revocable.String()
			}
			out = append(out, text)
		case d.Offer != nil:
			o := d.Offer
			text := fmt.Sprintf("offer %s %s %s %s %s", o.ID, o.Framework, o.Role, o.Node, o.Resources)
			if o.Revocable {
				text += " revocable"
			}
			out = append(out, text)
		case d.Preempt != nil:
			p := d.Preempt
			text := fmt.Sprintf("preempt %s[%d] on %s: %v", p.Request, p.Slot.Index, p.Node, p.Victims)
			if p.Request == "" {
				text += fmt.Sprintf(" %v", p.Parts)
			}
			out = append(out, text)
		case d.Keep != nil:
			k := d.Keep
			out = append(out, fmt.Sprintf("keep %s for %s: %v %v", k.Node, k.Request, k.Known, k.Start))
		case d.Inverse != nil:
			i := d.Inverse
			out = append(out, fmt.Sprintf("leave %s %s %s %v %s", i.ID, i.Framework, i.Node, i.Unavailable, i.Resources))
		case d.Hoard != nil:
			out = append(out, fmt.Sprintf("hoard %s %v %d %d", d.Hoard.Framework, d.Hoard.Over, d.Hoard.Ignored, d.Hoard.Held))
		default:
			out = append(out, "rescind "+string(d.Rescind.Offer))
		}
	}
	return out
}

var (
	testRoles      = []string{"a", "a/x", "a/y", "b", "b/z/q"}
	testFrameworks = []structs.FrameworkID{"batch", "service"}
	offerers       = []structs.FrameworkID{"spark", "storm"}
)

func drawSpec(t *rapid.T, id structs.NodeID) *structs.Node {
	n := &structs.Node{ID: id, Name: string(id), Status: structs.NodeReady, Eligible: rapid.IntRange(0, 7).Draw(t, "eligible") > 0,
		Resources: structs.Resources{CPU: structs.Milli(500 * rapid.IntRange(0, 6).Draw(t, "cpu")), Memory: structs.Bytes(rapid.IntRange(0, 6).Draw(t, "memory")) << 28},
		PortRange: structs.Range{First: 100, Last: 100 + int64(rapid.IntRange(1, 4).Draw(t, "ports"))},
		Drivers:   map[string]*structs.Driver{"exec": {Healthy: true}},
		Meta:      map[string]string{"rack": rapid.SampledFrom([]string{"1", "2"}).Draw(t, "rack")}}
	if rapid.IntRange(0, 8).Draw(t, "lost") == 0 {
		n.Status = structs.NodeLost
	}
	n.Session = uint64(rapid.IntRange(0, 5).Draw(t, "session") / 5)
	if rapid.IntRange(0, 2).Draw(t, "gpus") == 0 {
		n.Resources.Custom = map[string]structs.Milli{"gpus": 1000}
	}
	if rapid.IntRange(0, 3).Draw(t, "disk") == 0 {
		n.Resources = n.Resources.Add(structs.OnDisk("ssd", 3<<20))
		n.Volumes = map[string]*structs.NodeVolume{}
		for _, name := range []string{"u", "v"}[:rapid.IntRange(0, 2).Draw(t, "volumes")] {
			n.Volumes[name] = &structs.NodeVolume{Disk: "ssd", Size: structs.Bytes(rapid.IntRange(0, 2).Draw(t, "size")) << 20,
				Role: rapid.SampledFrom(testRoles).Draw(t, "of"), Offered: rapid.IntRange(0, 2).Draw(t, "offered") > 0}
		}
	}
	if rapid.IntRange(0, 5).Draw(t, "static") == 0 {
		n.ReservedFor = map[string]*structs.Resources{rapid.SampledFrom(testRoles).Draw(t, "for"): drawReserved(t)}
	}
	if rapid.IntRange(0, 2).Draw(t, "image") == 0 {
		n.Drivers["exec"].Images = map[string]structs.Bytes{structs.ImageName(testImage): structs.Bytes(rapid.IntRange(0, 2).Draw(t, "size")) << 29}
	}
	if rapid.IntRange(0, 9).Draw(t, "unwell") == 0 {
		n.Problems = []string{"the disk is full"}
	}
	n.Maintenance = drawMaintenance(t)
	return n
}

const testImage = "web:1"

func drawRequest(t *rapid.T, seq uint64, brief bool) *Request {
	id := fmt.Sprintf("r%d", rapid.IntRange(0, 7).Draw(t, "request"))
	job, group := &structs.Job{Name: rapid.SampledFrom([]string{"j", "k"}).Draw(t, "job")}, &structs.Group{Name: "g"}
	task := &structs.Task{Name: "t", Resources: &structs.TaskResources{CPU: structs.Milli(250 * rapid.IntRange(0, 4).Draw(t, "cpu")),
		Memory: structs.Bytes(rapid.IntRange(1, 3).Draw(t, "memory")) << 28, Ports: rapid.IntRange(0, 1).Draw(t, "ports")}}
	if rapid.IntRange(0, 5).Draw(t, "gpu") == 0 {
		task.Resources.Custom = map[string]structs.Milli{"gpus": 500}
	}
	group.Tasks = []*structs.Task{task}
	if rapid.IntRange(0, 3).Draw(t, "image") == 0 {
		task.Config = map[string]any{structs.ImageKey: testImage}
	}
	if rapid.IntRange(0, 2).Draw(t, "tagged") == 0 {
		job.Tags = []string{"noisy"}
	}
	switch rapid.IntRange(0, 11).Draw(t, "rule") {
	case 0:
		group.Constraints = []*structs.Constraint{{Operator: "distinct_hosts"}}
	case 1:
		group.Constraints = []*structs.Constraint{{Operator: "distinct_property", Attribute: "${meta.rack}"}}
	case 2:
		job.Spreads = []*structs.Spread{{Attribute: "${meta.rack}"}}
	case 3:
		job.Constraints = []*structs.Constraint{{Attribute: "${meta.rack}", Value: "1"}}
	case 4:
		group.Network = &structs.Network{Ports: []*structs.Port{{Label: "http", Static: rapid.SampledFrom([]int{80, 101, 102}).Draw(t, "static"), Protocol: rapid.SampledFrom([]string{"", structs.TCP, structs.UDP}).Draw(t, "protocol")}}}
	case 5, 6, 7:
		drawNeighbour(t, group)
	case 8:
		drawChanging(t, group)
	}
	group.MaxRunDuration = drawMaxRun(t, brief)
	ask, err := placement.Compile(job, group)
	if err != nil {
		t.Fatal(err)
	}
	r := &Request{ID: id, Framework: rapid.SampledFrom(testFrameworks).Draw(t, "framework"), Role: rapid.SampledFrom(testRoles).Draw(t, "role"),
		Priority: structs.Priority{Band: structs.Band(rapid.IntRange(0, 3).Draw(t, "band")), Level: int8(rapid.IntRange(-1, 1).Draw(t, "level"))},
		Seq:      seq, Ask: ask}
	drawn := drawTag(t)
	r.Owner, r.FrameworkScheduler = drawn.owner, drawn.scheduler
	for i := range rapid.IntRange(0, 4).Draw(t, "count") {
		s := Slot{Index: i}
		if rapid.IntRange(0, 4).Draw(t, "prefer") == 0 {
			s.Prefer = drawID(t)
		}
		if rapid.IntRange(0, 4).Draw(t, "avoid") == 0 {
			s.Avoid = []structs.NodeID{drawID(t)}
		}
		r.Slots = append(r.Slots, s)
	}
	return r
}

// drawMaxRun draws for how long something may run, more often later than gangs do when those are brief.
func drawMaxRun(t *rapid.T, brief bool) structs.Duration {
	from := []structs.Duration{0, 4e9, 100e9, 300e9}
	if brief {
		from = []structs.Duration{0, 100e9, 300e9, 300e9, 300e9}
	}
	return rapid.SampledFrom(from).Draw(t, "max run")
}

func drawID(t *rapid.T) structs.NodeID {
	return structs.NodeID(fmt.Sprintf("n%d", rapid.IntRange(0, 4).Draw(t, "node")))
}

func drawQuota(t *rapid.T, label string) *structs.QuotaAmount {
	if rapid.IntRange(0, 2).Draw(t, label) > 0 {
		return nil
	}
	q := &structs.QuotaAmount{}
	if rapid.Bool().Draw(t, label+" cpu") {
		v := structs.Milli(500 * rapid.IntRange(0, 6).Draw(t, label+" cpu"))
		q.CPU = &v
	}
	if rapid.Bool().Draw(t, label+" memory") {
		v := structs.Bytes(rapid.IntRange(0, 6).Draw(t, label+" memory")) << 28
		q.Memory = &v
	}
	if rapid.Bool().Draw(t, label+" gpus") {
		q.Custom = map[string]structs.Milli{"gpus": structs.Milli(500 * rapid.IntRange(0, 3).Draw(t, label+" gpus"))}
	}
	return q
}

// TestEqualsContract lives a random life in the allocator and in the twin: every decision is the same, in the same order.
// The twin serves whatever can be served, so equality also says that nothing that fits is left waiting.
func TestEqualsContract(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { liveTwice(t, input) })
}

// liveTwice lives a life of such inputs in the allocator and in the twin.
func liveTwice(t *rapid.T, input func(t *rapid.T, a *Allocator, w *twin, seq uint64, now structs.Time)) {
	w := newTwin()
	w.options = drawOptions(t)
	drawOffering(t, &w.options)
	w.most = rapid.IntRange(0, 3).Draw(t, "most preempted")
	w.options.MostPreempted = w.most
	w.keepAfter = rapid.SampledFrom([]structs.Duration{4e9, 12e9}).Draw(t, "keep after")
	w.options.KeepAfter = w.keepAfter
	if rapid.Bool().Draw(t, "small") { // no index is kept
		w.options.IndexBytes = 1
	}
	a := New(w.options)
	w.ord = func(id structs.NodeID) int { return a.nodes[id].Ord }
	now, seq := structs.Time(1e9), uint64(0)
	for range rapid.IntRange(1, 30).Draw(t, "steps") {
		seq++
		for range rapid.IntRange(1, 3).Draw(t, "inputs") {
			input(t, a, w, seq, now)
			w.forgetGroups()
			w.comeAndGo()
		}
		now += structs.Time(rapid.IntRange(0, 3).Draw(t, "time")) * 4e9
		got, want := texts(a.Step(now, 0)), w.step(now)
		if !slices.Equal(got, want) {
			t.Fatalf("decided\n  %s\ncontract\n  %s\n%s", strings.Join(got, "\n  "), strings.Join(want, "\n  "), a.Describe())
		}
		if d := sameGroups(a, w); d != "" {
			t.Fatal(d)
		}
		audit(t, a, w)
		if again := w.step(now); len(again) != 0 { // it sees asks that changed after the first look at who waits
			t.Fatalf("a second step of the contract decided %v", again)
		}
		if again := a.Step(now, 0); len(again) != 0 {
			t.Fatalf("a second step decided %v", texts(again))
		}
	}
}

// input gives both the same random input.
func input(t *rapid.T, a *Allocator, w *twin, seq uint64, now structs.Time) {
	inputOf(t, a, w, seq, now, rapid.IntRange(0, 24).Draw(t, "input"))
}

// inputOf gives both the same random input of one kind.
func inputOf(t *rapid.T, a *Allocator, w *twin, seq uint64, now structs.Time, kind int) {
	filter := Filter{structs.Duration(rapid.IntRange(0, 3).Draw(t, "refuse")) * 4e9}
	switch kind {
	case 21, 22:
		w.saySlack(t, a)
	case 24: // how it is shared changes while it goes on
		o := drawOptions(t)
		w.options.Sorter, w.options.Exclude = o.Sorter, o.Exclude
		w.keepAfter = rapid.SampledFrom([]structs.Duration{4e9, 12e9}).Draw(t, "keep after")
		o.KeepAfter = w.keepAfter
		a.SetSharing(o)
	case 17:
		reserve(t, a, w)
	case 18:
		id := drawReservation(t)
		if r := w.reservations[id]; r != nil {
			delete(w.reservations, id)
			w.settle(r.Node)
			w.ripe[r.Node] = true
		}
		a.RemoveReservation(id)
	case 19:
		w.drawGang(t, a, seq)
	case 23:
		w.changeOffering(t, a, now)
	case 20:
		id := drawGangID(t)
		a.RemoveGang(id)
		w.removeGang(id)
	case 15: // an allocation that somebody else committed, even beyond what the node has
		ids, top := 3, structs.Monitoring
		if w.crowded {
			ids, top = 9, structs.BatchBand
		}
		lowest := 0
		if w.calm {
			lowest = int(top)
		}
		h := &twinHold{node: drawID(t), framework: "service", role: rapid.SampledFrom(testRoles).Draw(t, "role"), job: "j", group: "g",
			amount: structs.Resources{CPU: structs.Milli(500 * rapid.IntRange(0, 2).Draw(t, "cpu")), Memory: 1 << 28}, alloc: structs.AllocID(fmt.Sprintf("x%d", rapid.IntRange(0, ids).Draw(t, "id"))),
			band: structs.Band(rapid.IntRange(lowest, int(top)).Draw(t, "band")), created: structs.Time(rapid.IntRange(0, 3).Draw(t, "created")),
			leaving: rapid.IntRange(0, 3).Draw(t, "leaving") == 0, maxRun: drawMaxRun(t, w.brief), tag: drawTag(t), marks: drawMarks(t)}
		if rapid.IntRange(0, 4).Draw(t, "with a port") == 0 {
			h.amount.Ports, h.ports = 1, []structs.AssignedPort{{Label: "http", Port: rapid.IntRange(100, 104).Draw(t, "port")}}
		}
		if rapid.IntRange(0, 2).Draw(t, "ganged") == 0 {
			h.gang = "x"
		} else {
			h.slack = drawSlack(t, h.amount)
		}
		i := slices.IndexFunc(w.holds, func(o *twinHold) bool { return o.alloc == h.alloc })
		if i >= 0 && w.holds[i].node == h.node && w.holds[i].role == h.role && w.holds[i].band == h.band && w.holds[i].created == h.created &&
			w.holds[i].amount.CPU == h.amount.CPU && w.holds[i].maxRun == h.maxRun && w.holds[i].tag == h.tag && w.holds[i].marks.Equal(h.marks) && (w.holds[i].gang == "") == (h.gang == "") && w.holds[i].slack == h.slack && slices.Equal(w.holds[i].ports, h.ports) {
			w.holds[i].leaving = w.holds[i].leaving || h.leaving // it says nothing new, or that it is being stopped
		} else {
			w.drop(func(o *twinHold) bool { return o.alloc == h.alloc })
			w.comeAndGo()
			w.holds = append(w.holds, h)
		}
		w.settle(h.node)
		alloc := &structs.Allocation{ID: h.alloc, Framework: h.framework, Role: h.role, Job: h.job, Group: h.group, Node: h.node, Resources: h.amount, Ports: h.ports, Status: structs.AllocRunning,
			Priority: structs.Priority{Band: h.band}, Created: h.created, MaxRunDuration: h.maxRun, Marks: h.marks,
			Owner: h.tag.owner, FrameworkScheduler: h.tag.scheduler, Gang: h.gang != "", Revocable: new(h.slack)}
		if h.leaving {
			alloc.Desired = structs.DesiredStop
		}
		a.SetAllocation(alloc)
		a.SetAllocation(alloc) // says nothing new
	case 16:
		alloc := &structs.Allocation{ID: structs.AllocID(fmt.Sprintf("x%d", rapid.IntRange(0, 3).Draw(t, "id"))), Status: structs.AllocFailed}
		w.drop(func(o *twinHold) bool { return o.alloc == alloc.ID })
		a.SetAllocation(alloc)
	case 0, 1, 2:
		id := drawID(t)
		spec := drawSpec(t, id)
		if w.crowded {
			spec.Status, spec.Eligible, spec.Resources = structs.NodeReady, true, structs.Resources{CPU: 1500, Memory: 5 << 28}
		}
		w.setNode(spec)
		a.SetNode(spec)
	case 3:
		id := drawID(t)
		delete(w.nodes, id)
		delete(w.slack, id)
		w.unkeepOn(id)
		w.forgetNode(id)
		w.settle(id)
		w.unaskAll(id)
		w.ripe[id] = true
		a.RemoveNode(id)
	case 4:
		r := &structs.Role{Name: rapid.SampledFrom([]string{"a", "a/x", "b", "b/z"}).Draw(t, "role"), Weight: structs.Milli(rapid.IntRange(0, 3).Draw(t, "weight") * 500),
			Quota:  &structs.Quota{Guarantee: drawQuota(t, "guarantee"), Limit: drawQuota(t, "limit")},
			Sorter: drawSorter(t), ShareByOwner: rapid.IntRange(0, 3).Draw(t, "by owner") == 0, PreemptionExempt: rapid.IntRange(0, 5).Draw(t, "exempt") == 0, MaxAsk: drawQuota(t, "max ask")}
		if rapid.IntRange(0, 3).Draw(t, "parts") == 0 {
			r.UserLimit = structs.Milli(rapid.IntRange(0, 4).Draw(t, "user limit") * 250)
			r.MaxFrameworkShare = structs.Milli(rapid.IntRange(0, 4).Draw(t, "framework share") * 250)
		}
		if rapid.IntRange(0, 4).Draw(t, "bounded") == 0 {
			r.MaxRunning = rapid.IntRange(1, 4).Draw(t, "max running")
		}
		if rapid.IntRange(0, 4).Draw(t, "closed") == 0 {
			r.State = structs.RoleClosed
			for _, o := range slices.Backward(slices.Clone(w.offers)) {
				if under(o.role, r.Name) {
					w.rescind(o)
				}
			}
			for _, h := range w.holds {
				if h.claim && under(h.role, r.Name) {
					w.ripe[h.node] = true
				}
			}
		}
		w.roles[r.Name] = r
		if err := a.SetRole(r); err != nil {
			t.Fatal(err)
		}
	case 5:
		name := rapid.SampledFrom([]string{"a", "a/x", "b", "b/z"}).Draw(t, "role")
		delete(w.roles, name)
		a.RemoveRole(name)
	case 6, 7, 8:
		r := drawRequest(t, seq, w.brief)
		if w.calm {
			r.Priority.Band = structs.BatchBand
		}
		if err := a.SetRequest(r); err != nil {
			t.Fatal(err)
		}
		x := &twinRequest{Request: *r}
		if o := w.requests[r.ID]; o != nil && (o.Framework != r.Framework || o.Role != r.Role || o.Priority.Band != r.Priority.Band || o.Ask.Key() != r.Ask.Key() ||
			o.Owner != r.Owner || o.FrameworkScheduler != r.FrameworkScheduler) {
			w.drop(func(h *twinHold) bool { return h.claim && h.request == r.ID })
		}
		for _, h := range w.holds {
			if (h.decision != 0 || h.claim) && h.request == r.ID {
				h.wanted = false
			}
		}
		for _, s := range r.Slots {
			i := slices.IndexFunc(w.holds, func(h *twinHold) bool {
				return (h.decision != 0 || h.claim) && h.request == r.ID && h.slot.Index == s.Index
			})
			if i < 0 {
				x.pending = append(x.pending, s)
			} else {
				w.holds[i].slot, w.holds[i].wanted = s, true
			}
		}
		w.drop(func(h *twinHold) bool { return h.claim && h.request == r.ID && !h.wanted })
		w.replaced(x, w.requests[r.ID])
		w.requests[r.ID] = x
	case 9:
		id := fmt.Sprintf("r%d", rapid.IntRange(0, 7).Draw(t, "request"))
		a.RemoveRequest(id)
		if w.requests[id] != nil {
			delete(w.requests, id)
			w.drop(func(h *twinHold) bool { return h.claim && h.request == id })
			for _, h := range w.holds {
				if h.request == id {
					h.wanted = false
				}
			}
		}
	case 10: // something ends, or an answer to a decision
		answerable := slices.DeleteFunc(slices.Clone(w.holds), func(h *twinHold) bool { return h.claim })
		if len(answerable) == 0 {
			return
		}
		h := rapid.SampledFrom(answerable).Draw(t, "which")
		switch {
		case h.decision == 0:
			w.drop(func(o *twinHold) bool { return o == h })
			a.RemoveAllocation(h.alloc)
		case rapid.Bool().Draw(t, "confirm"):
			h.alloc = structs.AllocID(fmt.Sprintf("alloc%d", h.decision))
			h.created = structs.Time(rapid.IntRange(0, 3).Draw(t, "created"))
			alloc := &structs.Allocation{ID: h.alloc, Framework: h.framework, Role: h.role, Priority: structs.Priority{Band: h.band}, Created: h.created, MaxRunDuration: h.maxRun, Job: h.job,
				Owner: h.tag.owner, FrameworkScheduler: h.tag.scheduler, Marks: h.marks,
				Group: h.group, Node: h.node, Resources: h.amount, Ports: h.ports, Status: structs.AllocPending, Gang: h.gang != "", Revocable: new(h.slack)}
			if err := a.Confirm(h.decision, alloc); err != nil {
				t.Fatal(err)
			}
			h.decision, h.request, h.with = 0, "", 0
		default:
			if err := a.Refuse(h.decision); err != nil {
				t.Fatal(err)
			}
			w.refuse(h)
		}
	case 11:
		w.changeFramework(t, a)
	case 12:
		w.suppressOrRevive(t, a)
	default:
		w.answerOffer(t, a, filter, now)
	}
}

// tooMuch reports whether an operation of that amount is one too many in the role, or too large.
func (w *twin) tooMuch(role string, amount structs.Resources) bool {
	return slices.ContainsFunc(ancestors(role), func(name string) bool {
		r := w.roles[name]
		if r == nil {
			return false
		}
		for k, most := range named(r.MaxAsk) {
			if kindsOf(amount)[k] > most {
				return true
			}
		}
		return w.shut(name)
	})
}

// audit compares the running totals with sums over what is held.
func audit(t *rapid.T, a *Allocator, w *twin) {
	for _, r := range a.Roles() {
		want := w.used(func(h *twinHold) bool { return under(h.role, r.Role) })
		for k, v := range want {
			if r.Used[k] != v {
				t.Fatalf("role %s: %s is %d, the sum is %d", r.Role, k, r.Used[k], v)
			}
		}
	}
	nodes, _ := w.books("", "", nil)
	for id, n := range nodes {
		if got := a.nodes[id].Free(); !got.Sub(n.Free()).IsZero() {
			t.Fatalf("node %s: free %s, recomputed %s", id, got, n.Free())
		}
	}
	w.namePorts(t, a)
	auditSlack(t, a, w)
	for _, p := range a.Pending() {
		if x, ok := a.Explain(p); !ok || x.Because == ItsTurn || x.Because == "" {
			t.Fatalf("%s waits and nothing is in its way: %s", p, x)
		}
	}
}
