package allocator

import (
	"maps"
	"slices"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

// withinParts reports whether an amount more of a request stays within what its roles leave its owner, and framework schedulers.
func (w *twin) withinParts(r *twinRequest, amount structs.Resources) bool {
	total := map[string]int64{}
	for _, n := range w.nodes {
		if n.Status == structs.NodeReady {
			for k, v := range kindsOf(placement.Available(n)) {
				total[k] += v
			}
		}
	}
	for _, name := range ancestors(r.Role) {
		spec := w.roles[name]
		if spec == nil {
			continue
		}
		within := func(share structs.Milli, in func(tag) bool) bool {
			used := w.used(func(h *twinHold) bool { return h.offer == "" && under(h.role, name) && in(h.tag) })
			for k, v := range kindsOf(amount) {
				most := total[k]
				for _, above := range ancestors(name) {
					if w.roles[above] != nil {
						if limit, is := named(w.roles[above].Limited())[k]; is {
							most = limit
							break
						}
					}
				}
				if v > 0 && (used[k]+v)*1000 > most*int64(share) {
					return false
				}
			}
			return true
		}
		if spec.UserLimit > 0 && r.Owner != "" && !within(spec.UserLimit, func(t tag) bool { return t.owner == r.Owner }) {
			return false
		}
		if spec.MaxFrameworkShare > 0 && r.FrameworkScheduler && !within(spec.MaxFrameworkShare, func(t tag) bool { return t.scheduler }) {
			return false
		}
	}
	return true
}

func (w *twin) mayHold(r *twinRequest) bool {
	return w.withinLimit(r.Role, r.Ask.Resources, 1, false) && w.withinParts(r, r.Ask.Resources)
}

func drawTag(t *rapid.T) tag {
	return tag{owner: rapid.SampledFrom([]string{"", "ann", "bob"}).Draw(t, "owner"), scheduler: rapid.IntRange(0, 3).Draw(t, "scheduler") == 0}
}

// limitsUsers reports whether a role, or one above, bounds what an owner has.
func (w *twin) limitsUsers(role string) bool {
	return slices.ContainsFunc(ancestors(role), func(name string) bool { return w.roles[name] != nil && w.roles[name].UserLimit > 0 })
}

// partsLeft is what a role leaves an owner, by resource; nothing where it does not say.
func (w *twin) partsLeft(role, owner string) map[string]int64 {
	left, spec := map[string]int64{}, w.roles[role]
	if spec == nil || spec.UserLimit == 0 || owner == "" {
		return left
	}
	for _, n := range w.nodes {
		if n.Status == structs.NodeReady {
			for k, v := range kindsOf(placement.Available(n)) {
				left[k] += v
			}
		}
	}
	for _, above := range slices.Backward(ancestors(role)) {
		if w.roles[above] != nil {
			maps.Copy(left, named(w.roles[above].Limited()))
		}
	}
	used := w.used(func(h *twinHold) bool { return h.offer == "" && under(h.role, role) && h.tag.owner == owner })
	for k := range left {
		left[k] = max(0, left[k]*int64(spec.UserLimit)/1000-used[k])
	}
	return left
}
