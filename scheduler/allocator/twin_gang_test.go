package allocator

import (
	"cmp"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

// twinGang is a gang as the contract has it.
type twinGang struct {
	id    string
	parts []*twinRequest // by id
	tried structs.Band   // the highest band in which it did not fit since it was roused; -1: none
	at    int            // decisions of the step at that time

	throttled bool // it needed more victims than it may have
	left      int  // that it might have
	short     int64
	again     structs.Time
}

type twinLanding struct {
	part  *twinRequest
	slot  Slot
	node  structs.NodeID
	ports []structs.AssignedPort

	forced  bool
	victims []*twinHold
}

// whole is what waits of a gang together.
func (g *twinGang) whole() (amount structs.Resources, n int) {
	for _, r := range g.parts {
		for range r.pending {
			amount = amount.Add(r.Ask.Resources)
			n++
		}
	}
	return amount, n
}

func (w *twin) inFlight(request string) bool {
	return slices.ContainsFunc(w.holds, func(h *twinHold) bool { return (h.decision != 0 || h.claim) && h.request == request })
}

// gangsWaiting are those that may be tried now, whether they fit or not.
func (w *twin) gangsWaiting() []candidate {
	return slices.DeleteFunc(w.gangsThatMay(), func(c candidate) bool { return c.band <= c.gang.tried })
}

// gangsThatMay are those that wait and that guarantees and limits allow.
func (w *twin) gangsThatMay() (out []candidate) {
	for _, g := range w.gangs {
		amount, n := g.whole()
		if n == 0 || slices.ContainsFunc(g.parts, func(r *twinRequest) bool { return w.inFlight(r.ID) }) {
			continue
		}
		r := g.parts[0]
		c := candidate{band: r.Priority.Band, role: r.Role, framework: r.Framework, level: r.Priority.Level, seq: r.Seq, id: g.id, gang: g}
		if c.band >= structs.Production && !w.guaranteed(r.Role, amount) {
			c.band = structs.BatchBand
		}
		if w.withinLimit(r.Role, amount, n, false) && w.withinParts(r, amount) {
			out = append(out, c)
		}
	}
	return out
}

// rouse lets gangs be tried again: all of them, or those after whose try something was decided.
func (w *twin) rouse(all bool) (some bool) {
	for _, g := range w.gangs {
		if g.tried < 0 {
			continue
		}
		if g.throttled {
			most, going := w.mostPreempted()
			all := w.missing(g) < g.short || most-going > g.left || w.now >= g.again
			if !all {
				continue
			}
		} else if !all && g.at == len(w.out) {
			continue
		}
		g.tried, some = -1, true
	}
	return some
}

// missing is how many of a gang have no room by their amounts alone, in the value where that is fewest.
func (w *twin) missing(g *twinGang) int64 {
	defer w.withoutKept(g)()
	parts := w.largestFirst(g)
	if len(parts) == 0 {
		return 0
	}
	rooms := w.roomsFor(parts, w.offers)
	least := int64(len(parts[0].pending))
	for _, room := range rooms {
		lacks := int64(0)
		for i, r := range parts {
			lacks = max(lacks, int64(len(r.pending))-room[i])
		}
		least = min(least, lacks)
	}
	return max(0, least)
}

// roomsFor is how many allocations of each part would fit by their amounts alone, by value of the attribute, without some offers.
func (w *twin) roomsFor(parts []*twinRequest, without []*twinHold) map[string][]int64 {
	rooms := map[string][]int64{}
	books, _ := w.books(parts[0].Role, "", without)
	for _, n := range books {
		for i, r := range parts {
			if value, ok := r.Ask.ValueOn(n.Spec()); ok {
				if rooms[value] == nil {
					rooms[value] = make([]int64, len(parts))
				}
				rooms[value][i] += placement.Times(n, r.Ask, nil)
			}
		}
	}
	return rooms
}

// serveGang places a gang whose turn it is, when it fits.
func (w *twin) serveGang(c candidate) {
	g := c.gang
	amount, n := g.whole()
	found := w.land(g, nil)
	if found == nil {
		found = w.landBackfilled(g)
	}
	if found == nil && len(w.roomOffers()) > 0 {
		if found = w.land(g, w.offers); found != nil {
			for _, o := range w.roomOffers() {
				if slices.ContainsFunc(found, func(f twinLanding) bool { return f.node == o.node }) {
					w.rescind(o)
				}
			}
		}
	}
	if found == nil {
		w.claimGang(c)
		return
	}
	w.makeLimitRoom(c.role, amount, n)
	w.placeGang(c, found)
}

func (w *twin) placeGang(c candidate, found []twinLanding) {
	g := c.gang
	w.got(g.key())
	first := w.lastID + 1
	for _, f := range found {
		w.lastID++
		r := f.part
		h := &twinHold{node: f.node, framework: r.Framework, role: r.Role, amount: r.Ask.Resources, ports: f.ports,
			job: r.Ask.Job, group: r.Ask.Group, band: r.Priority.Band, decision: w.lastID, request: r.ID, slot: f.slot, wanted: true, gang: g.id, with: first,
			maxRun: r.Ask.MaxRun, tag: tag{r.Owner, r.FrameworkScheduler}, marks: r.Ask.Marks}
		w.lastServed[c.band] = w.now
		w.serving(c)
		w.holds = append(w.holds, h)
		w.out = append(w.out, fmt.Sprintf("place %d %s[%d] on %s as %s %v", h.decision, h.request, h.slot.Index, h.node, c.band, f.ports))
	}
	for _, r := range g.parts {
		r.pending = nil
	}
}

// dominant is the largest part of what the region has that an amount takes.
func (w *twin) dominant(amount structs.Resources) *big.Rat {
	w.holds = append(w.holds, &twinHold{role: "\x00", amount: amount})
	defer func() { w.holds = w.holds[:len(w.holds)-1] }()
	exclude := w.options.Exclude
	w.options.Exclude = nil
	defer func() { w.options.Exclude = exclude }()
	return w.share(func(h *twinHold) bool { return h.role == "\x00" }, 1)
}

func (w *twin) largestFirst(g *twinGang) []*twinRequest {
	parts := slices.DeleteFunc(slices.Clone(g.parts), func(r *twinRequest) bool { return len(r.pending) == 0 })
	slices.SortFunc(parts, func(x, y *twinRequest) int {
		return cmp.Or(w.dominant(y.Ask.Resources).Cmp(w.dominant(x.Ask.Resources)), strings.Compare(x.ID, y.ID))
	})
	return parts
}

// land finds a node for each slot: the largest part first, in the value of the attribute with the least room for it that has enough.
func (w *twin) land(g *twinGang, without []*twinHold) []twinLanding {
	defer w.withoutKept(g)()
	parts := w.largestFirst(g)
	offers, saved := w.offers, w.holds
	defer func() { w.offers, w.holds = offers, saved }()
	if without != nil {
		w.offers = nil
	}
	rooms := w.roomsFor(parts, nil)
	values := slices.SortedFunc(maps.Keys(rooms), func(x, y string) int {
		return cmp.Or(cmp.Compare(rooms[x][0], rooms[y][0]), strings.Compare(x, y))
	})
next:
	for _, value := range values {
		for i, r := range parts {
			if rooms[value][i] < int64(len(r.pending)) {
				continue next
			}
		}
		w.holds = saved
		var found []twinLanding
		for _, r := range parts {
			for _, slot := range r.pending {
				nodes, peers := w.within(r, value)
				n := w.best(nodes, peers, &twinRequest{Request: r.Request, now: r.now, pending: []Slot{slot}})
				if n == nil {
					continue next
				}
				f := twinLanding{part: r, slot: slot, node: n.ID}
				f.ports, _ = n.Assign(r.Ask)
				found = append(found, f)
				w.try(f)
			}
		}
		return found
	}
	return nil
}

// within is the nodes with one value of the attribute of a gang, as work of its role sees them.
func (w *twin) within(r *twinRequest, value string) (map[structs.NodeID]*placement.Node, *placement.Peers) {
	nodes, peers := w.books(r.Role, r.Ask.Job, nil)
	maps.DeleteFunc(nodes, func(_ structs.NodeID, n *placement.Node) bool {
		in, ok := r.Ask.ValueOn(n.Spec())
		return !ok || in != value
	})
	return nodes, peers
}

// try holds what a slot would.
func (w *twin) try(f twinLanding) {
	r := f.part
	w.holds = append(slices.Clone(w.holds), &twinHold{node: f.node, role: r.Role, amount: r.Ask.Resources, ports: f.ports,
		job: r.Ask.Job, group: r.Ask.Group, marks: r.Ask.Marks})
}

// refuse takes a decision back, and those that were made with it and are not answered.
func (w *twin) refuse(h *twinHold) {
	gone := slices.DeleteFunc(slices.Clone(w.holds), func(o *twinHold) bool {
		return o != h && (h.with == 0 || o.with != h.with)
	})
	w.drop(func(o *twinHold) bool { return slices.Contains(gone, o) })
	for _, o := range gone {
		if r := w.requests[o.request]; r != nil && o.wanted {
			r.pending = append(r.pending, o.slot)
			slices.SortFunc(r.pending, compareSlots)
		}
	}
}

func (w *twin) removeGang(id string) {
	g := w.gangs[id]
	if g == nil {
		return
	}
	delete(w.gangs, id)
	delete(w.waits, g.key())
	w.kept = slices.DeleteFunc(w.kept, func(k *twinKept) bool { return k.key == g.key() })
	for _, r := range g.parts {
		delete(w.requests, r.ID)
		w.drop(func(h *twinHold) bool { return h.claim && h.request == r.ID })
		for _, h := range w.holds {
			if h.request == r.ID {
				h.wanted = false
			}
		}
	}
}

func drawGangID(t *rapid.T) string { return rapid.SampledFrom([]string{"g0", "g1"}).Draw(t, "gang") }

// drawGang gives both a gang of one or two shapes.
func (w *twin) drawGang(t *rapid.T, a *Allocator, seq uint64) {
	id := drawGangID(t)
	g := &Gang{ID: id}
	job := &structs.Job{Name: rapid.SampledFrom([]string{"j", id}).Draw(t, "job"), Gang: &structs.Gang{}}
	if rapid.Bool().Draw(t, "within") {
		job.Gang.Within = "${meta.rack}"
	}
	framework, role := rapid.SampledFrom(testFrameworks).Draw(t, "framework"), rapid.SampledFrom(testRoles).Draw(t, "role")
	owner := drawTag(t)
	lowest := 0
	if w.crowded {
		lowest = int(structs.BatchBand)
	}
	highest := int(structs.Monitoring)
	if w.calm {
		highest = lowest
	}
	priority := structs.Priority{Band: structs.Band(rapid.IntRange(lowest, highest).Draw(t, "band")), Level: int8(rapid.IntRange(-1, 1).Draw(t, "level"))}
	if rapid.IntRange(0, 5).Draw(t, "spread") == 0 {
		job.Spreads = []*structs.Spread{{Attribute: "${meta.rack}"}}
	}
	least, most, parts := 0, 4, 2
	if w.calm {
		least = 2
	}
	if w.brief {
		least, most, parts = 1, 2, 1
	}
	for i := range rapid.IntRange(1, parts).Draw(t, "parts") {
		group := &structs.Group{Name: fmt.Sprintf("g%d", i), Tasks: []*structs.Task{{Name: "t", Resources: &structs.TaskResources{
			CPU:    structs.Milli(250 * rapid.IntRange(least, most).Draw(t, "cpu")),
			Memory: structs.Bytes(rapid.IntRange(1, most-1).Draw(t, "memory")) << 28, Ports: rapid.IntRange(0, 1).Draw(t, "ports")}}}}
		if group.MaxRunDuration = drawMaxRun(t, false); w.brief {
			group.MaxRunDuration = min(group.MaxRunDuration, 4e9)
		}
		switch rapid.IntRange(0, 7).Draw(t, "rule") {
		case 0:
			group.Constraints = []*structs.Constraint{{Operator: "distinct_hosts"}}
		case 1:
			group.Constraints = []*structs.Constraint{{Operator: "distinct_property", Attribute: "${meta.rack}", Value: "2"}}
		case 2:
			group.Constraints = []*structs.Constraint{{Attribute: "${meta.rack}", Value: "1"}}
		case 3:
			group.Network = &structs.Network{Ports: []*structs.Port{{Label: "http", Static: 80}}}
		}
		ask, err := placement.Compile(job, group)
		if err != nil {
			t.Fatal(err)
		}
		r := &Request{ID: fmt.Sprintf("%s/%d", id, i), Framework: framework, Role: role, Priority: priority, Seq: seq, Ask: ask,
			Owner: owner.owner, FrameworkScheduler: owner.scheduler}
		for k := range rapid.IntRange(least, most).Draw(t, "count") {
			s := Slot{Index: k}
			if rapid.IntRange(0, 4).Draw(t, "prefer") == 0 {
				s.Prefer = drawID(t)
			}
			if rapid.IntRange(0, 4).Draw(t, "avoid") == 0 {
				s.Avoid = []structs.NodeID{drawID(t)}
			}
			r.Slots = append(r.Slots, s)
		}
		g.Requests = append(g.Requests, r)
	}
	if err := a.SetGang(g); err != nil {
		t.Fatal(err)
	}
	if w.asks(g) {
		return
	}
	w.removeGang(id)
	made := &twinGang{id: id, tried: -1}
	w.gangs[id] = made
	for _, r := range g.Requests {
		x := &twinRequest{Request: *r, gang: made}
		for _, s := range r.Slots {
			i := slices.IndexFunc(w.holds, func(h *twinHold) bool { return h.decision != 0 && h.request == r.ID && h.slot.Index == s.Index })
			if i < 0 {
				x.pending = append(x.pending, s)
			} else {
				w.holds[i].slot, w.holds[i].wanted = s, true
			}
		}
		_, peers := w.books("", "", nil)
		x.now = r.Ask.Among(peers.Work())
		w.requests[r.ID] = x
		made.parts = append(made.parts, x)
	}
}

// asks reports whether a gang asks for that already, or has it in flight.
func (w *twin) asks(g *Gang) bool {
	old := w.gangs[g.ID]
	if old == nil || len(old.parts) != len(g.Requests) {
		return false
	}
	for i, r := range g.Requests {
		x := old.parts[i]
		if x.Framework != r.Framework || x.Role != r.Role || x.Priority != r.Priority || x.Seq != r.Seq || x.Ask.Key() != r.Ask.Key() ||
			x.Owner != r.Owner || x.FrameworkScheduler != r.FrameworkScheduler {
			return false
		}
		have := slices.Clone(x.pending)
		for _, h := range w.holds {
			if (h.decision != 0 || h.claim) && h.request == r.ID && h.wanted {
				have = append(have, h.slot)
			}
		}
		slices.SortFunc(have, compareSlots)
		if fmt.Sprint(have) != fmt.Sprint(r.Slots) {
			return false
		}
	}
	return true
}

// claimGang has a gang claim room for all its slots, where work of lower bands can be stopped.
func (w *twin) claimGang(c candidate) {
	g := c.gang
	found, throttled := w.landByForce(g, c.band)
	if found == nil {
		most, going := w.mostPreempted()
		g.tried, g.at, g.throttled, g.left, g.short, g.again = c.band, len(w.out), throttled, most-going, w.missing(g), w.now.Add(ClaimCheck)
		return
	}
	for _, o := range w.roomOffers() {
		if slices.ContainsFunc(found, func(f twinLanding) bool { return f.node == o.node }) {
			w.rescind(o)
		}
	}
	amount, n := g.whole()
	w.makeLimitRoom(c.role, amount, n)
	w.got(g.key())
	with := 1<<62 + w.claimed
	for _, f := range found {
		r := f.part
		h := &twinHold{node: f.node, framework: r.Framework, role: r.Role, amount: r.Ask.Resources, job: r.Ask.Job, group: r.Ask.Group,
			band: r.Priority.Band, claim: true, ports: w.static(f.node, r), ordered: c.band, request: r.ID, slot: f.slot, wanted: true, gang: g.id, with: with, ready: !f.forced,
			maxRun: r.Ask.MaxRun, tag: tag{r.Owner, r.FrameworkScheduler}, marks: r.Ask.Marks, ask: r.Ask}
		if f.forced {
			for _, k := range w.keptBelow(f.node, c.band) {
				w.unkeep(k)
				w.ripe[f.node] = true
			}
			var ids []structs.AllocID
			for _, v := range f.victims {
				ids = append(ids, v.alloc)
				v.leaving, v.victim = true, true
			}
			w.out = append(w.out, fmt.Sprintf("preempt %s[%d] on %s: %v", h.request, h.slot.Index, h.node, ids))
		}
		w.serving(c)
		w.claimed++
		h.seq, h.check = w.claimed, w.now.Add(ClaimCheck)
		w.holds = append(w.holds, h)
	}
	for _, r := range g.parts {
		r.pending = nil
	}
}

// landByForce finds the best free node for each slot, or the one where room costs least.
func (w *twin) landByForce(g *twinGang, band structs.Band) (found []twinLanding, throttled bool) {
	offers := w.offers
	w.offers = nil
	defer func() { w.offers = offers }()
	defer w.withoutKept(g)()
	parts := w.largestFirst(g)
	free, forced := map[string]int64{}, map[string][]int64{}
	books, _ := w.books(parts[0].Role, "", nil)
	for id, n := range books {
		more := structs.Resources{}
		for _, k := range w.keptBelow(id, band) {
			more = more.Add(k.room)
		}
		for _, h := range w.holds {
			if h.node != id || h.alloc == "" {
				continue
			}
			if as := w.givesWayAs(h, nil); as < band && as <= structs.BatchBand && (h.leaving || !slices.ContainsFunc(w.goingWith(h), w.exempt)) {
				more = more.Add(h.booked())
			}
		}
		for i, r := range parts {
			value, ok := r.Ask.ValueOn(n.Spec())
			if !ok {
				continue
			}
			if forced[value] == nil {
				forced[value] = make([]int64, len(parts))
			}
			forced[value][i] += placement.Times(n, r.Ask, &more)
			if i == 0 {
				free[value] += placement.Times(n, r.Ask, nil)
			}
		}
	}
	values := slices.SortedFunc(maps.Keys(forced), func(x, y string) int {
		return cmp.Or(cmp.Compare(free[y], free[x]), strings.Compare(x, y))
	})
next:
	for _, value := range values {
		for i, r := range parts {
			if forced[value][i] < int64(len(r.pending)) {
				continue next
			}
		}
		found, over := w.forceWithin(parts, value, band)
		if found != nil {
			return found, false
		}
		throttled = throttled || over
	}
	return nil, throttled
}

func (w *twin) forceWithin(parts []*twinRequest, value string, band structs.Band) (found []twinLanding, throttled bool) {
	saved := w.holds
	var marked []*twinHold
	defer func() {
		w.holds = saved
		for _, v := range marked {
			v.leaving = false
		}
	}()
	most, going := w.mostPreempted()
	for _, r := range parts {
		for _, slot := range r.pending {
			nodes, peers := w.within(r, value)
			one := &twinRequest{Request: r.Request, now: r.now, pending: []Slot{slot}}
			f := twinLanding{part: r, slot: slot}
			if n := w.best(nodes, peers, one); n != nil {
				f.node = n.ID
				f.ports, _ = n.Assign(r.Ask)
			} else {
				best, victims, _ := w.cheapest(slices.Sorted(maps.Keys(nodes)), one, band)
				if victims == nil {
					return nil, false
				}
				f.node, f.forced, f.victims, f.ports = best, true, w.fresh(victims), nodes[best].Static(r.Ask)
				for _, v := range f.victims {
					v.leaving = true
				}
				marked = append(marked, f.victims...)
				if len(f.victims) > 0 && going+len(marked) > most {
					return nil, true
				}
			}
			found = append(found, f)
			w.try(f)
		}
	}
	return found, false
}

// takeClaims removes the claims of a gang; those of the node that is being looked at are not looked at again.
func (w *twin) takeClaims(with uint64, looked structs.NodeID) (gone []*twinHold) {
	w.holds = slices.DeleteFunc(w.holds, func(h *twinHold) bool {
		if !h.claim || h.with != with {
			return false
		}
		if h.node != looked {
			w.ripe[h.node] = true
		}
		gone = append(gone, h)
		return true
	})
	return gone
}

func (w *twin) giveUp(with uint64, looked structs.NodeID) {
	for _, h := range w.takeClaims(with, looked) {
		r := w.requests[h.request]
		r.pending = append(r.pending, h.slot)
		slices.SortFunc(r.pending, compareSlots)
	}
}

func (w *twin) settleGangClaim(h *twinHold) {
	if w.closed(h.role) {
		w.giveUp(h.with, h.node)
		return
	}
	saved := w.holds
	w.holds = slices.DeleteFunc(slices.Clone(saved), func(o *twinHold) bool { return o == h })
	nodes, peers := w.books(h.role, h.job, w.laterClaims(h))
	w.holds = saved
	n := nodes[h.node]
	h.ready = n != nil && placement.Fits(n, peers, h.ask.Among(peers.Work()), placement.First).OK
	leaving := slices.ContainsFunc(w.holds, func(o *twinHold) bool { return o.node == h.node && o.leaving })
	if !h.ready && (n == nil || !n.Spec().Schedulable() || !leaving) {
		w.giveUp(h.with, h.node)
		return
	}
	if slices.ContainsFunc(w.holds, func(o *twinHold) bool { return o.claim && o.with == h.with && !o.ready }) {
		return
	}
	gone := w.takeClaims(h.with, h.node)
	saved = w.holds
	for _, o := range gone {
		x := w.requests[o.request]
		nodes, peers := w.books(h.role, h.job, w.laterClaims(o))
		n := nodes[o.node]
		if n == nil || !placement.Fits(n, peers, o.ask.Among(peers.Work()), placement.First).OK {
			w.holds = saved
			for _, o := range gone {
				x := w.requests[o.request]
				x.pending = append(x.pending, o.slot)
				slices.SortFunc(x.pending, compareSlots)
			}
			return
		}
		o.ports, _ = n.Assign(x.Ask)
		w.try(twinLanding{part: x, node: o.node, ports: o.ports})
	}
	w.holds = saved
	first := w.lastID + 1
	for _, o := range gone {
		w.lastID++
		o.decision, o.claim, o.with = w.lastID, false, first
		w.lastServed[o.ordered] = w.now
		w.holds = append(w.holds, o)
		w.out = append(w.out, fmt.Sprintf("place %d %s[%d] on %s as %s %v", o.decision, o.request, o.slot.Index, o.node, o.ordered, o.ports))
	}
}

// checkGang gives claims up for which there is free room for all of the gang.
func (w *twin) checkGang(with uint64, now structs.Time) {
	saved := w.holds
	var all []*twinHold
	w.holds = slices.DeleteFunc(slices.Clone(saved), func(h *twinHold) bool {
		if h.claim && h.with == with {
			all = append(all, h)
			return true
		}
		return false
	})
	g := w.requests[all[0].request].gang
	for _, h := range all {
		r := w.requests[h.request]
		r.pending = append(r.pending, h.slot)
		slices.SortFunc(r.pending, compareSlots)
	}
	free := w.land(g, nil) != nil
	w.holds = saved
	for _, h := range all {
		w.requests[h.request].pending = nil
		h.check = now.Add(ClaimCheck)
	}
	if free {
		w.giveUp(with, "")
	}
}
