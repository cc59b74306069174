package allocator

import (
	"slices"

	"github.com/proffer/proffer/structs"
)

// filter keeps a node from being offered as long as it has no more than what was refused.
type filter struct {
	wish    *wish
	node    *node
	refused structs.Resources
	until   structs.Time
	firm    structs.Time // not before then does Revive end it
	at      int          // in byUntil
}

// maxFilters bounds the filters that a framework has on one node; the oldest is forgotten first.
const maxFilters = 8

// Filter is what a decline says: the same or less of the node is not offered to the framework and role again for Refuse.
// Zero means no filter.
type Filter struct{ Refuse structs.Duration }

// Back-off: who does not use what it is offered of a node, again and again, is offered that node less often, so that
// others see it.
const (
	// PatientRefusals is how many offers of a node in a row a framework may leave unused without any back-off.
	PatientRefusals = 3
	// FirstBackoff is for how long the node is not offered to it after the next one; it doubles with each that follows, up
	// to Options.Backoff.
	FirstBackoff = structs.Duration(1e9)
	// FirmRefusals is how many in a row make the back-off firm: Revive does not end it.
	FirmRefusals = 10
)

// refused reports whether a filter covers a bundle of a node.
func (w *wish) refused(n *node, bundle structs.Resources, now structs.Time) bool {
	for _, f := range w.filters[n] {
		if f.until > now && f.refused.Fits(bundle) {
			return true
		}
	}
	return false
}

// unused notes that a framework used nothing of what it was offered of a node, and makes the filter: for as long as it
// asked, and at least for its back-off.
func (a *Allocator) unused(w *wish, n *node, what structs.Resources, f Filter, now structs.Time) {
	streak := w.streaks.add(n.Ord)
	wait := a.backoff(streak)
	var firm structs.Time
	if wait > 0 && streak >= FirmRefusals {
		firm = now.Add(wait)
	}
	a.refuse(w, n, what, max(min(f.Refuse, MaxRefuse), wait), firm, now)
}

// backoff returns for how long a node is not offered to a framework that left so many offers of it in a row unused.
func (a *Allocator) backoff(streak int) structs.Duration {
	beyond := streak - PatientRefusals
	if beyond <= 0 {
		return 0
	}
	return max(0, min(FirstBackoff<<min(beyond-1, 20), a.options.Backoff))
}

// refuse makes a filter.
func (a *Allocator) refuse(w *wish, n *node, what structs.Resources, refuse structs.Duration, firm, now structs.Time) {
	if refuse <= 0 {
		return
	}
	if w.filters == nil {
		w.filters = map[*node][]*filter{}
	}
	made := &filter{wish: w, node: n, refused: what, until: now.Add(refuse), firm: firm, at: -1}
	for i, g := range slices.Clone(w.filters[n]) {
		// A filter that the new one covers says nothing.
		covered := g.until <= made.until && g.firm <= made.firm && what.Fits(g.refused)
		if covered || i == 0 && len(w.filters[n]) >= maxFilters {
			a.endFilter(g)
		}
	}
	w.filters[n] = append(w.filters[n], made)
	w.refusals++
	a.byUntil.push(made)
}

func (a *Allocator) endFilter(f *filter) {
	a.byUntil.remove(f)
	f.wish.refusals--
	list := slices.DeleteFunc(f.wish.filters[f.node], func(g *filter) bool { return g == f })
	if len(list) == 0 {
		delete(f.wish.filters, f.node)
		return
	}
	f.wish.filters[f.node] = list
}

// endFilters ends the filters of a wish for which want holds, but for what is firm of them, and has it look at their
// nodes again.
func (a *Allocator) endFilters(w *wish, want func(*filter) bool) {
	for n, list := range w.filters {
		for _, f := range slices.Clone(list) {
			switch {
			case !want(f):
			case f.firm > a.now:
				f.until = min(f.until, f.firm)
				a.byUntil.fix(f)
			default:
				a.endFilter(f)
				w.todo.add(n.Ord)
			}
		}
	}
}

// unfilter forgets what a framework refused of a node.
func (a *Allocator) unfilter(w *wish, n *node) {
	for _, f := range slices.Clone(w.filters[n]) {
		a.endFilter(f)
	}
	w.streaks.end(n.Ord)
}

func (a *Allocator) unfilterAll(w *wish) {
	for n := range w.filters {
		a.unfilter(w, n)
	}
}

// Filters says how many filters frameworks have in each of their roles.
func (a *Allocator) Filters() map[string]int {
	out := map[string]int{}
	for _, f := range a.frameworks {
		for _, c := range f.clients {
			for _, w := range c.wishes {
				if w != nil {
					out[c.account.path] += w.refusals
				}
			}
		}
	}
	return out
}
