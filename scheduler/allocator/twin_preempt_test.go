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

func (h *twinHold) high() bool { return h.band >= structs.Production }

// counts is what counts towards the guarantee of a role: its own, and of each role below no more than that one is guaranteed.
func (w *twin) counts(role string, which func(*twinHold) bool) map[string]int64 {
	sum := w.used(func(h *twinHold) bool { return h.role == role && h.offer == "" && which(h) })
	children := map[string]bool{}
	add := func(name string) {
		if rest, below := strings.CutPrefix(name, role+"/"); below {
			child, _, _ := strings.Cut(rest, "/")
			children[role+"/"+child] = true
		}
	}
	for name := range w.roles {
		add(name)
	}
	for _, h := range w.holds {
		add(h.role)
	}
	for child := range children {
		guarantee := map[string]int64{}
		if r := w.roles[child]; r != nil {
			guarantee = named(r.Guaranteed())
		}
		for k, v := range w.counts(child, which) {
			if g, is := guarantee[k]; is {
				v = min(g, v)
			}
			sum[k] += v
		}
	}
	return sum
}

// drop removes holds, and has the claims on their nodes looked at.
func (w *twin) drop(which func(*twinHold) bool) {
	w.holds = slices.DeleteFunc(w.holds, func(h *twinHold) bool {
		if which(h) {
			w.ripe[h.node] = true
			return true
		}
		return false
	})
}

// reclaimedAs is the band by which a hold is protected, when some production work is gone already.
func (w *twin) reclaimedAs(h *twinHold, gone []*twinHold) structs.Band {
	if !h.high() {
		return h.band
	}
	if h.leaving {
		return structs.BatchBand
	}
	covered, amount := false, structs.Resources{}
	for _, o := range w.goingWith(h) {
		amount = amount.Add(o.amount)
	}
	for _, r := range ancestors(h.role) {
		spec := w.roles[r]
		if spec == nil || spec.Quota == nil {
			continue
		}
		stay := w.counts(r, func(o *twinHold) bool { return o.high() && !o.leaving && !slices.Contains(gone, o) })
		for k, g := range named(spec.Quota.Guarantee) {
			v := kindsOf(amount)[k]
			if v == 0 {
				continue
			}
			covered = true
			if stay[k]*10 > g*11 && stay[k]-v >= g {
				return structs.BatchBand
			}
		}
	}
	if covered {
		return h.band
	}
	return structs.BatchBand
}

func (w *twin) exempt(h *twinHold) bool {
	for _, r := range ancestors(h.role) {
		if w.roles[r] != nil && w.roles[r].PreemptionExempt {
			return true
		}
	}
	return false
}

// victims is what has to end on a node, or nil.
func (w *twin) victims(id structs.NodeID, r *twinRequest, band structs.Band) []*twinHold {
	if n := w.nodes[id]; n == nil || !n.Schedulable() {
		return nil
	}
	type victim struct {
		*twinHold
		as structs.Band
	}
	var all []victim
	for _, h := range w.holds {
		if h.node != id || h.alloc == "" || h.offer != "" {
			continue
		}
		if as := w.givesWayAs(h, nil); as < band && as <= structs.BatchBand && (h.leaving || !slices.ContainsFunc(w.goingWith(h), w.exempt)) {
			all = append(all, victim{h, as})
		}
	}
	stays := map[bool]int{true: 0, false: 1}
	slices.SortFunc(all, func(x, y victim) int {
		return cmp.Or(cmp.Compare(stays[x.leaving], stays[y.leaving]), cmp.Compare(x.as, y.as), cmp.Compare(y.created, x.created),
			cmp.Compare(y.alloc, x.alloc))
	})
	fits := func(without []*twinHold) bool {
		// The peers count all that is there, also what is about to go.
		_, peers := w.books(r.Role, r.Ask.Job, nil)
		var offers []*twinHold
		for _, o := range w.offers {
			if o.node == id {
				offers = append(offers, o)
			}
		}
		nodes, _ := w.booksBut(r.Role, r.Ask.Job, append(offers, without...), func(k *twinKept) bool { return k.node == id && k.band < band })
		return placement.Fits(nodes[id], peers, r.now, placement.First).OK
	}
	if len(w.keptBelow(id, band)) > 0 && fits(nil) {
		return []*twinHold{}
	}
	var units [][]*twinHold // what goes together, on this node
	var gone []*twinHold    // everywhere
	for i, v := range all {
		if slices.Contains(gone, v.twinHold) {
			continue
		}
		if !v.leaving && w.givesWayAs(v.twinHold, gone) > structs.BatchBand {
			continue
		}
		unit := []*twinHold{v.twinHold}
		if !v.leaving {
			with := w.goingWith(v.twinHold)
			for _, o := range all[i+1:] {
				if slices.Contains(with, o.twinHold) {
					unit = append(unit, o.twinHold)
				}
			}
			gone = append(gone, with...)
		}
		units = append(units, unit)
		if !fits(slices.Concat(units...)) {
			continue
		}
		for i := len(units) - 2; i >= 0 && !units[i][0].leaving; i-- {
			if without := slices.Delete(slices.Clone(units), i, i+1); fits(slices.Concat(without...)) {
				units = without
			}
		}
		return slices.Concat(units...)
	}
	return nil
}

// goingWith is what goes when h does: the other allocations of its gang that are not being stopped.
func (w *twin) goingWith(h *twinHold) (out []*twinHold) {
	if h.gang == "" || h.alloc == "" || h.leaving {
		return []*twinHold{h}
	}
	for _, o := range w.holds {
		if o.gang != "" && o.alloc != "" && !o.leaving && o.job == h.job && o.framework == h.framework {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(x, y *twinHold) int {
		return cmp.Or(cmp.Compare(y.created, x.created), cmp.Compare(y.alloc, x.alloc))
	})
	return out
}

// givesWayAs is the band by which what goes together is protected best.
func (w *twin) givesWayAs(h *twinHold, gone []*twinHold) (as structs.Band) {
	for _, o := range w.goingWith(h) {
		as = max(as, w.reclaimedAs(o, gone))
	}
	return as
}

// fresh is all that has to be stopped for victims.
func (w *twin) fresh(victims []*twinHold) (out []*twinHold) {
	for _, v := range victims {
		if !v.leaving && !slices.Contains(out, v) {
			out = append(out, w.goingWith(v)...)
		}
	}
	return out
}

// cheapest is where room for a request costs least, what has to end there, and how much of it does not yet.
func (w *twin) cheapest(ids []structs.NodeID, r *twinRequest, band structs.Band) (best structs.NodeID, victims []*twinHold, count int) {
	var least [3]int64
	for _, id := range ids {
		v := w.victims(id, r, band)
		if v == nil {
			continue
		}
		price, n := [3]int64{-1, 0, 0}, 0
		for _, h := range w.fresh(v) {
			if n == 0 || int64(h.created) < -price[2] {
				price[2] = -int64(h.created)
			}
			price[0] = max(price[0], int64(w.reclaimedAs(h, nil)))
			n++
		}
		price[1] = int64(n)
		if victims == nil || slices.Compare(price[:], least[:]) < 0 {
			best, victims, least, count = id, v, price, n
		}
	}
	return best, victims, count
}

// mostPreempted is how many victims there may be, and how many there are.
func (w *twin) mostPreempted() (most, going int) {
	committed := 0
	for _, h := range w.holds {
		if h.alloc != "" {
			committed++
		}
		if h.victim {
			going++
		}
	}
	if most = w.most; most == 0 {
		most = max(10, committed/10)
	}
	return most, going
}

// preemptFor is where room for a request costs least, and what has to end there.
func (w *twin) preemptFor(r *twinRequest, band structs.Band) (structs.NodeID, []*twinHold) {
	best, victims, count := w.cheapest(slices.Sorted(maps.Keys(w.nodes)), r, band)
	most, going := w.mostPreempted()
	if all := w.fresh(victims); count > 0 && going+count > most && (going > 0 || all[0].gang == "" || len(w.goingWith(all[0])) != count) {
		return "", nil
	}
	return best, victims
}

// claim holds the room for the first slot, and stops the victims.
func (w *twin) claim(c candidate) {
	r := c.request
	w.serving(c)
	h := &twinHold{node: c.node, framework: r.Framework, role: r.Role, amount: r.Ask.Resources, job: r.Ask.Job, group: r.Ask.Group,
		tag: tag{r.Owner, r.FrameworkScheduler}, marks: r.now.Marks, ask: w.phase(r), band: r.Priority.Band, maxRun: r.Ask.MaxRun, claim: true, ordered: c.band, request: r.ID, slot: r.pending[0], wanted: true,
		ports: w.static(c.node, r)}
	w.claimed++
	h.seq, h.check = w.claimed, w.now.Add(ClaimCheck)
	k := r.key()
	for _, k := range w.keptBelow(c.node, c.band) {
		w.unkeep(k)
		w.ripe[c.node] = true
	}
	w.got(k)
	w.taken(r)
	var ids []structs.AllocID
	for _, v := range w.fresh(c.victims) {
		ids = append(ids, v.alloc)
		v.leaving, v.victim = true, true
	}
	w.holds = append(w.holds, h)
	w.out = append(w.out, fmt.Sprintf("preempt %s[%d] on %s: %v", h.request, h.slot.Index, h.node, ids))
}

// static is the ports on a node that a request names itself.
func (w *twin) static(id structs.NodeID, r *twinRequest) []structs.AssignedPort {
	return placement.NewNode(id, w.nodes[id]).Static(r.Ask)
}

// checkClaims gives up claims, in order of their time, for which there is free room elsewhere.
func (w *twin) checkClaims(now structs.Time) {
	for {
		var first *twinHold
		for _, h := range w.holds {
			if h.claim && h.check <= now && (first == nil || cmp.Or(cmp.Compare(h.check, first.check), cmp.Compare(h.seq, first.seq)) < 0) {
				first = h
			}
		}
		if first == nil {
			return
		}
		r := w.requests[first.request]
		if first.with != 0 {
			w.checkGang(first.with, now)
			continue
		}
		nodes, peers := w.books(first.role, first.job, nil)
		if w.best(nodes, peers, &twinRequest{Request: r.Request, now: r.now, pending: []Slot{first.slot}}) == nil {
			first.check = now.Add(ClaimCheck)
			continue
		}
		w.drop(func(h *twinHold) bool { return h == first })
		r.pending = append(r.pending, first.slot)
		slices.SortFunc(r.pending, compareSlots)
	}
}

// settleClaims looks at the claims of nodes where something ended.
func (w *twin) settleClaims() {
	for len(w.ripe) > 0 {
		ripe := slices.Sorted(maps.Keys(w.ripe))
		clear(w.ripe)
		for _, id := range ripe {
			w.settleClaimsOn(id)
		}
	}
}

// laterClaims are those on the node of a claim that came later and are not of its gang.
func (w *twin) laterClaims(h *twinHold) []*twinHold {
	return slices.DeleteFunc(slices.Clone(w.holds), func(o *twinHold) bool {
		return !o.claim || o.node != h.node || o.seq <= h.seq || h.with != 0 && o.with == h.with
	})
}

func (w *twin) settleClaimsOn(id structs.NodeID) {
	for _, h := range slices.SortedFunc(slices.Values(w.holds), func(x, y *twinHold) int { return cmp.Compare(x.seq, y.seq) }) {
		if !h.claim || h.node != id || !slices.Contains(w.holds, h) {
			continue
		}
		if h.with != 0 {
			w.settleGangClaim(h)
			continue
		}
		r := w.requests[h.request]
		w.holds = slices.DeleteFunc(w.holds, func(o *twinHold) bool { return o == h })
		nodes, peers := w.books(h.role, h.job, w.laterClaims(h))
		n := nodes[id]
		leaving := slices.ContainsFunc(w.holds, func(o *twinHold) bool { return o.node == id && o.leaving })
		switch {
		case w.closed(h.role):
			r.pending = append(r.pending, h.slot)
			slices.SortFunc(r.pending, compareSlots)
		case n != nil && placement.Fits(n, peers, h.ask.Among(peers.Work()), placement.First).OK:
			w.restartClock(r, id)
			h.ports, _ = n.Assign(r.Ask)
			w.lastID++
			h.decision, h.claim = w.lastID, false
			w.lastServed[h.ordered] = w.now
			w.holds = append(w.holds, h)
			w.out = append(w.out, fmt.Sprintf("place %d %s[%d] on %s as %s %v", h.decision, h.request, h.slot.Index, id, h.ordered, h.ports))
		case n != nil && n.Spec().Schedulable() && leaving:
			w.holds = append(w.holds, h)
		default:
			r.pending = append(r.pending, h.slot)
			slices.SortFunc(r.pending, compareSlots)
		}
	}
}
