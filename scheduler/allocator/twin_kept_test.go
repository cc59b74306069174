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

// twinKey names a group of the twin: requests of one framework, role, band and shape.
type twinKey struct {
	framework structs.FrameworkID
	role      string
	band      structs.Band
	shape     string
	tag       tag
}

// twinWait is how long a group waits, and the room that is kept for it.
type twinWait struct {
	since structs.Time
	retry structs.Time
}

type twinKept struct {
	key   twinKey
	node  structs.NodeID
	room  structs.Resources
	band  structs.Band
	until structs.Time
	on    []twinLanding // of a gang: where all of it goes
}

func (r *twinRequest) key() twinKey {
	return twinKey{r.Framework, r.Role, r.Priority.Band, r.now.Key(), tag{r.Owner, r.FrameworkScheduler}}
}

// firstOf returns the request of a group that is served first, or nil when none of them wants anything.
func (w *twin) firstOf(k twinKey) (first *twinRequest) {
	for _, r := range w.requests {
		if r.gang == nil && r.key() == k && len(r.pending) > 0 && (first == nil || cmp.Or(cmp.Compare(first.Priority.Level, r.Priority.Level),
			cmp.Compare(r.Seq, first.Seq), cmp.Compare(r.ID, first.ID)) < 0) {
			first = r
		}
	}
	return first
}

// forgetGroups forgets groups without a request.
func (w *twin) forgetGroups() {
	live := map[twinKey]bool{}
	for _, r := range w.requests {
		live[r.key()] = live[r.key()] || r.gang == nil
	}
	for _, g := range w.gangs {
		live[g.key()] = true
	}
	maps.DeleteFunc(w.waits, func(k twinKey, _ *twinWait) bool { return !live[k] })
	w.kept = slices.DeleteFunc(w.kept, func(k *twinKept) bool { return !live[k.key] })
}

// observe notes since when groups want something.
func (w *twin) observe() {
	w.forgetGroups()
	for k := range w.waits {
		if !w.wants(k) {
			delete(w.waits, k)
		}
	}
	w.kept = slices.DeleteFunc(w.kept, func(k *twinKept) bool { return !w.wants(k.key) })
	for _, g := range w.gangs {
		if w.wants(g.key()) && w.waits[g.key()] == nil {
			w.waits[g.key()] = &twinWait{since: w.now}
		}
	}
	for _, r := range w.requests {
		if r.gang == nil && len(r.pending) > 0 && w.waits[r.key()] == nil {
			w.waits[r.key()] = &twinWait{since: w.now}
		}
	}
}

// got notes that a group got something.
func (w *twin) got(k twinKey) {
	if w.waits[k] == nil {
		w.waits[k] = &twinWait{}
	}
	w.waits[k].since = w.now
	w.kept = slices.DeleteFunc(w.kept, func(x *twinKept) bool { return x.key == k })
}

func (w *twin) bandOf(r *twinRequest) structs.Band {
	if r.Priority.Band >= structs.Production && !w.guaranteed(r.Role, r.Ask.Resources) {
		return structs.BatchBand
	}
	return r.Priority.Band
}

// keptBelow returns the room on a node that something served in a band may take.
func (w *twin) keptBelow(id structs.NodeID, band structs.Band) []*twinKept {
	return slices.DeleteFunc(slices.Clone(w.kept), func(k *twinKept) bool { return k.node != id || k.band >= band })
}

func (w *twin) unkeep(k *twinKept) {
	w.kept = slices.DeleteFunc(w.kept, func(x *twinKept) bool { return x.key == k.key })
}

// unkeepOn gives up what is kept on a node, of a gang all.
func (w *twin) unkeepOn(id structs.NodeID) {
	for _, k := range slices.Clone(w.kept) {
		if k.node == id {
			w.unkeep(k)
		}
	}
}

// as is who sees the nodes when it is looked where something starts.
type twinAs struct {
	role string
	key  twinKey
}

// fitsAfter returns when r would fit on a node as some of what is there ends; false when it would not.
func (w *twin) fitsAfter(id structs.NodeID, r *twinRequest, as twinAs, ends map[*twinHold]structs.Time) (at structs.Time, ok bool) {
	order := slices.SortedFunc(maps.Keys(ends), func(x, y *twinHold) int {
		return cmp.Or(cmp.Compare(ends[x], ends[y]), cmp.Compare(x.alloc, y.alloc))
	})
	var gone []*twinHold
	for _, o := range w.offers {
		if o.node == id {
			gone = append(gone, o)
		}
	}
	for i := 0; ; i++ {
		_, peers := w.books(as.role, r.Ask.Job, nil)
		nodes, _ := w.booksBut(as.role, r.Ask.Job, gone, func(k *twinKept) bool { return k.key == as.key })
		if placement.Fits(nodes[id], peers, r.now, placement.First).OK {
			return at, true
		}
		if i == len(order) {
			return 0, false
		}
		gone, at = append(gone, order[i]), ends[order[i]]
	}
}

// startOn is when r starts on a node: by guess, and at the latest.
func (w *twin) startOn(id structs.NodeID, r *twinRequest, as twinAs) (guess, latest structs.Time, known, ok bool) {
	if n := w.nodes[id]; n == nil || !n.Schedulable() {
		return 0, 0, false, false
	}
	guesses, ends := map[*twinHold]structs.Time{}, map[*twinHold]structs.Time{}
	for _, h := range w.holds {
		if h.node != id || h.alloc == "" {
			continue
		}
		switch {
		case h.leaving:
			guesses[h], ends[h] = w.now, 0
		case h.maxRun > 0:
			end := h.created.Add(h.maxRun).Add(EndMargin)
			guesses[h], ends[h] = max(end, w.now), end
		default:
			guesses[h] = w.now + max(w.now-h.created, 0)
		}
	}
	if guess, ok = w.fitsAfter(id, r, as, guesses); !ok {
		return 0, 0, false, false
	}
	latest, known = w.fitsAfter(id, r, as, ends)
	return guess, latest, known, true
}

func (w *twin) earliest(r *twinRequest) (best structs.NodeID) {
	var least structs.Time
	for _, id := range slices.Sorted(maps.Keys(w.nodes)) {
		if slices.ContainsFunc(w.holds, func(h *twinHold) bool { return h.claim && h.node == id }) ||
			slices.ContainsFunc(w.kept, func(k *twinKept) bool { return k.node == id && k.key != r.key() }) {
			continue
		}
		guess, _, known, ok := w.startOn(id, r, twinAs{r.Role, r.key()})
		horizon := structs.Duration(12)
		if known {
			horizon = 288
		}
		if ok && guess <= w.now.Add(horizon*w.keepAfter) && (best == "" || guess < least) {
			best, least = id, guess
		}
	}
	return best
}

// unkeepIdle gives up the room of those who may have no more.
func (w *twin) unkeepIdle() bool {
	before := len(w.kept)
	w.kept = slices.DeleteFunc(w.kept, func(k *twinKept) bool { return !w.keyMayHold(k.key) || k.on != nil && !w.gangOf(k.key).gathers() })
	if len(w.kept) == before {
		return false
	}
	for _, g := range w.gangs {
		g.at = -1 // something changed since it was tried
	}
	return true
}

// review gives up kept room that is of no use, or moves it.
func (w *twin) review() {
	for _, k := range slices.Clone(w.kept) {
		if k.on != nil {
			w.reviewGang(k)
			continue
		}
		r := w.firstOf(k.key)
		if slices.ContainsFunc(w.holds, func(h *twinHold) bool { return h.node == k.node && h.decision != 0 }) {
			continue
		}
		if _, _, _, ok := w.startOn(k.node, r, twinAs{r.Role, k.key}); !ok {
			w.unkeep(k)
			continue
		}
		if w.now >= k.until {
			k.until = w.now.Add(w.keepAfter)
			if best := w.earliest(r); best != k.node {
				w.unkeep(k)
				if best != "" {
					w.keepOn(r, best)
				}
			}
		}
	}
}

func (w *twin) keepOn(r *twinRequest, id structs.NodeID) {
	for _, o := range slices.Backward(w.roomOffers()) {
		if o.node == id {
			w.rescind(o)
		}
	}
	_, latest, known, _ := w.startOn(id, r, twinAs{r.Role, r.key()})
	w.kept = append(w.kept, &twinKept{key: r.key(), node: id, room: r.Ask.Resources, band: w.bandOf(r), until: w.now.Add(w.keepAfter)})
	w.out = append(w.out, fmt.Sprintf("keep %s for %s: %v %v", id, r.ID, known, max(latest, w.now)))
}

// settleKept places what fits where room is kept for it.
func (w *twin) settleKept() {
	for _, k := range slices.Clone(w.kept) {
		if !slices.Contains(w.kept, k) {
			continue
		}
		if k.on != nil {
			w.settleGathered(k)
			continue
		}
		r := w.firstOf(k.key)
		nodes, peers := w.booksBut(r.Role, r.Ask.Job, nil, func(x *twinKept) bool { return x == k })
		n := nodes[k.node]
		if n == nil || !placement.Fits(n, peers, r.now.Among(peers.Work()), placement.First).OK || !w.mayHold(r) {
			continue
		}
		band := w.bandOf(r)
		ports, _ := n.Assign(r.Ask)
		w.makeLimitRoom(r.Role, r.Ask.Resources, 1)
		w.place(r, k.node, ports, band)
	}
}

// backfill returns the node for a request that ends before what room is kept for starts, or nil.
func (w *twin) backfill(r *twinRequest) *placement.Node {
	if r.Ask.MaxRun <= 0 {
		return nil
	}
	all, peers := w.booksBut(r.Role, r.Ask.Job, nil, func(*twinKept) bool { return true })
	nodes := map[structs.NodeID]*placement.Node{}
	for _, k := range w.kept {
		if latest, known, ok := w.startOfKept(k); ok && known && w.now.Add(r.Ask.MaxRun).Add(EndMargin) <= latest {
			nodes[k.node] = all[k.node]
		}
	}
	return w.bestOf(nodes, peers, r)
}

// keep keeps room for what waits for too long, and reports whether it did for anything.
func (w *twin) keep() (done bool) {
	var due []twinKey
	for k, x := range w.waits {
		if x.since != 0 && max(x.since.Add(w.keepAfter), x.retry) <= w.now && w.wants(k) && (w.gangOf(k) != nil || !w.firstOf(k).now.Elsewhere()) &&
			!slices.ContainsFunc(w.kept, func(o *twinKept) bool { return o.key == k }) {
			due = append(due, k)
		}
	}
	slices.SortFunc(due, func(x, y twinKey) int {
		return cmp.Or(cmp.Compare(w.bandOfKey(y), w.bandOfKey(x)), cmp.Compare(w.waits[x].since, w.waits[y].since),
			strings.Compare(x.role, y.role), cmp.Compare(x.framework, y.framework), cmp.Compare(y.band, x.band), strings.Compare(x.shape, y.shape), x.tag.compare(y.tag))
	})
	for _, k := range due {
		x := w.waits[k]
		x.retry = w.now.Add(KeepRetry)
		overtaken := false
		for b, at := range w.lastServed {
			overtaken = overtaken || structs.Band(b) <= w.bandOfKey(k) && at > x.since
		}
		if !overtaken || len(w.kept) >= max(1, len(w.nodes)/keptPart) || !w.keyMayHold(k) {
			continue
		}
		if g := w.gangOf(k); g != nil {
			if on, nodes, _ := w.gather(g); on == nil {
				if !slices.ContainsFunc(w.holds, func(h *twinHold) bool { return h.decision != 0 }) {
					x.retry = w.now.Add(w.keepAfter)
				}
			} else if w.mayKeep(nodes) {
				w.keepGang(g, on)
				done = true
			}
			continue
		}
		r := w.firstOf(k)
		if id := w.earliest(r); id != "" {
			w.keepOn(r, id)
			done = true
		} else {
			x.retry = w.now.Add(w.keepAfter)
		}
	}
	return done
}
