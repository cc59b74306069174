package allocator

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

// gangInputs are the kinds of input that matter to gangs, the frequent ones several times: nodes, gangs, work that somebody else
// committed, what ends or is answered, now and then a request, an offer, a role, a reservation.
var gangInputs = []int{0, 0, 19, 19, 19, 15, 15, 15, 15, 15, 15, 10, 10, 6, 4, 11, 13, 17, 18, 20}

// TestGangsEqualContract is TestEqualsContract with lives in which most is about gangs.
func TestGangsEqualContract(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		liveTwice(t, func(t *rapid.T, a *Allocator, w *twin, seq uint64, now structs.Time) {
			w.crowded = true
			inputOf(t, a, w, seq, now, rapid.SampledFrom(gangInputs).Draw(t, "kind"))
		})
	})
}

// TestKeptGangsEqualContract is about gangs that small work of the same band overtakes.
func TestKeptGangsEqualContract(t *testing.T) { keptGangs(t, false) }

// TestBackfilledGangsEqualContract is that with small gangs that end soon, and work that ends later.
func TestBackfilledGangsEqualContract(t *testing.T) {
	keptGangs(t, true)
}

func keptGangs(t *testing.T, brief bool) {
	kinds := []int{0, 6, 6, 6, 6, 6, 15, 15, 15, 10, 10, 10, 10, 10, 11, 13}
	rapid.Check(t, func(t *rapid.T) {
		liveTwice(t, func(t *rapid.T, a *Allocator, w *twin, seq uint64, now structs.Time) {
			w.crowded, w.calm, w.brief = true, true, brief
			kind := 19
			if len(w.gangs) > 0 && rapid.IntRange(0, 9).Draw(t, "other") > 0 || len(w.nodes) == 0 {
				kind = rapid.SampledFrom(kinds).Draw(t, "kind")
			}
			inputOf(t, a, w, seq, now, kind)
		})
	})
}

// key names a gang among those for which room may be kept.
func (g *twinGang) key() twinKey {
	r := g.parts[0]
	return twinKey{r.Framework, r.Role, r.Priority.Band, "gang " + g.id, tag{r.Owner, r.FrameworkScheduler}}
}

// gangOf returns the gang of a key, or nil.
func (w *twin) gangOf(k twinKey) *twinGang {
	id, is := strings.CutPrefix(k.shape, "gang ")
	if g := w.gangs[id]; is && g != nil && g.key() == k {
		return g
	}
	return nil
}

// wants reports whether something of a key waits.
func (w *twin) wants(k twinKey) bool {
	g := w.gangOf(k)
	if g == nil {
		return w.firstOf(k) != nil
	}
	_, n := g.whole()
	return n > 0 && !slices.ContainsFunc(g.parts, func(r *twinRequest) bool { return w.inFlight(r.ID) })
}

func (w *twin) keyMayHold(k twinKey) bool {
	g := w.gangOf(k)
	if g == nil {
		return w.mayHold(w.firstOf(k))
	}
	amount, n := g.whole()
	return w.withinLimit(k.role, amount, n, false) && w.withinParts(g.parts[0], amount)
}

func (w *twin) bandOfKey(k twinKey) structs.Band {
	g := w.gangOf(k)
	if g == nil {
		return w.bandOf(w.firstOf(k))
	}
	if amount, _ := g.whole(); k.band >= structs.Production && !w.guaranteed(k.role, amount) {
		return structs.BatchBand
	}
	return k.band
}

// gathers reports whether room is kept for such a gang.
func (g *twinGang) gathers() bool {
	return !slices.ContainsFunc(g.parts, func(r *twinRequest) bool { return len(r.pending) > 0 && (r.now.Elsewhere() || r.Ask.Fixed()) })
}

// mayKeep reports whether room may be kept on so many nodes more.
func (w *twin) mayKeep(nodes int) bool {
	return len(w.kept) == 0 || len(w.kept)+nodes <= max(1, len(w.nodes)/keptPart)
}

// gather finds where the last slot of a gang is expected first: each slot, the largest first, goes where it is expected first.
func (w *twin) gather(g *twinGang) (best []twinLanding, nodes int, least structs.Time) {
	if !g.gathers() {
		return nil, 0, 0
	}
	as, parts, values := twinAs{g.key().role, g.key()}, w.largestFirst(g), map[string]bool{}
	for _, n := range w.nodes {
		if value, ok := g.parts[0].Ask.ValueOn(n); ok {
			values[value] = true
		}
	}
	saved := w.holds
next:
	for _, value := range slices.Sorted(maps.Keys(values)) {
		w.holds = saved
		var on []twinLanding
		used, all, known := map[structs.NodeID]bool{}, structs.Time(0), true
		for _, r := range parts {
			for _, slot := range r.pending {
				at, first, bounded := structs.NodeID(""), structs.Time(0), false
				for _, id := range slices.Sorted(maps.Keys(w.nodes)) {
					in, ok := r.Ask.ValueOn(w.nodes[id])
					if !ok || in != value || slices.ContainsFunc(w.holds, func(h *twinHold) bool { return h.claim && h.node == id }) ||
						slices.ContainsFunc(w.kept, func(k *twinKept) bool { return k.node == id && k.key != as.key }) {
						continue
					}
					if guess, _, is, ok := w.startOn(id, r, as); ok && (at == "" || guess < first) {
						at, first, bounded = id, guess, is
					}
				}
				if at == "" {
					continue next
				}
				used[at], all, known = true, max(all, first), known && bounded
				on = append(on, twinLanding{part: r, slot: slot, node: at})
				w.try(on[len(on)-1])
			}
		}
		horizon := structs.Duration(12)
		if known {
			horizon = 288
		}
		if all <= w.now.Add(horizon*w.keepAfter) && (best == nil || all < least) {
			best, nodes, least = on, len(used), all
		}
	}
	w.holds = saved
	return best, nodes, least
}

// startOfKept is when what room is kept for starts at the latest.
func (w *twin) startOfKept(k *twinKept) (latest structs.Time, known, ok bool) {
	if k.on == nil {
		r := w.firstOf(k.key)
		_, latest, known, ok = w.startOn(k.node, r, twinAs{r.Role, k.key})
		return latest, known, ok
	}
	latest, known, _, ok = w.startOfGang(k)
	return latest, known, ok
}

// startOfGang also says the node that is expected last.
func (w *twin) startOfGang(k *twinKept) (latest structs.Time, known bool, last structs.NodeID, ok bool) {
	saved := w.holds
	defer func() { w.holds = saved }()
	known = true
	guesses := map[structs.NodeID]structs.Time{}
	for _, f := range k.on {
		guess, at, is, ok := w.startOn(f.node, f.part, twinAs{k.key.role, k.key})
		if !ok {
			return 0, false, "", false
		}
		known, latest, guesses[f.node] = known && is, max(latest, at), max(guesses[f.node], guess)
		w.try(f)
	}
	for _, f := range k.on {
		if last == "" || guesses[f.node] > guesses[last] {
			last = f.node
		}
	}
	if !known {
		latest = 0
	}
	return latest, known, last, true
}

func (w *twin) keepGang(g *twinGang, on []twinLanding) {
	var all []*twinKept
	for _, f := range on {
		i := slices.IndexFunc(all, func(k *twinKept) bool { return k.node == f.node })
		if i < 0 {
			i = len(all)
			all = append(all, &twinKept{key: g.key(), node: f.node, band: w.bandOfKey(g.key()), until: w.now.Add(w.keepAfter), on: on})
			for _, o := range slices.Backward(w.roomOffers()) {
				if o.node == f.node {
					w.rescind(o)
				}
			}
		}
		all[i].room = all[i].room.Add(f.part.Ask.Resources)
	}
	w.kept = append(w.kept, all...)
	latest, known, last, _ := w.startOfGang(all[0])
	w.out = append(w.out, fmt.Sprintf("keep %s for %s: %v %v", last, g.id, known, max(latest, w.now)))
}

// reviewGang is review of what is kept for a gang; it looks at the first of its nodes only.
func (w *twin) reviewGang(k *twinKept) {
	i := slices.IndexFunc(w.kept, func(x *twinKept) bool { return x.key == k.key })
	if i < 0 || w.kept[i] != k {
		return
	}
	for _, x := range w.kept {
		if x.key == k.key && slices.ContainsFunc(w.holds, func(h *twinHold) bool { return h.node == x.node && h.decision != 0 }) {
			return
		}
	}
	if _, _, _, ok := w.startOfGang(k); !ok {
		w.unkeep(k)
		return
	}
	if w.now < k.until {
		return
	}
	for _, x := range w.kept {
		if x.key == k.key {
			x.until = w.now.Add(w.keepAfter)
		}
	}
	g := w.gangOf(k.key)
	on, nodes, _ := w.gather(g)
	if on != nil && slices.EqualFunc(on, k.on, func(x, y twinLanding) bool { return x.part == y.part && x.node == y.node }) {
		return
	}
	w.unkeep(k)
	if on != nil && w.mayKeep(nodes) {
		w.keepGang(g, on)
	}
}

// settleGathered places a gang when all of it fits where room is kept for it.
func (w *twin) settleGathered(k *twinKept) {
	saved := w.holds
	on := slices.Clone(k.on)
	for i := range on {
		f := &on[i]
		nodes, peers := w.booksBut(k.key.role, f.part.Ask.Job, nil, func(x *twinKept) bool { return x.key == k.key })
		n := nodes[f.node]
		if n == nil || !placement.Fits(n, peers, f.part.now.Among(peers.Work()), placement.First).OK {
			w.holds = saved
			return
		}
		f.ports, _ = n.Assign(f.part.now)
		w.try(*f)
	}
	w.holds = saved
	g := w.gangOf(k.key)
	if !w.keyMayHold(k.key) {
		return
	}
	amount, n := g.whole()
	c := candidate{band: w.bandOfKey(k.key), role: k.key.role, framework: k.key.framework, gang: g}
	w.makeLimitRoom(k.key.role, amount, n)
	w.placeGang(c, on)
}

// landBackfilled is land with room in addition that is kept for what starts when all of the gang has ended.
func (w *twin) landBackfilled(g *twinGang) []twinLanding {
	longest := structs.Duration(0)
	for _, r := range g.parts {
		for range r.pending {
			if r.Ask.MaxRun <= 0 {
				return nil
			}
			longest = max(longest, r.Ask.MaxRun)
		}
	}
	saved := w.kept
	defer func() { w.kept = saved }()
	rest := slices.DeleteFunc(slices.Clone(saved), func(k *twinKept) bool {
		latest, known, ok := w.startOfKept(k)
		return k.key != g.key() && ok && known && w.now.Add(longest).Add(EndMargin) <= latest
	})
	if len(rest) == len(saved) {
		return nil
	}
	w.kept = rest
	return w.land(g, nil)
}

// withoutKept has what is kept for a gang count as free, for the time until the function that it returns is called.
func (w *twin) withoutKept(g *twinGang) (back func()) {
	saved := w.kept
	w.kept = slices.DeleteFunc(slices.Clone(saved), func(k *twinKept) bool { return k.key == g.key() })
	return func() { w.kept = saved }
}
