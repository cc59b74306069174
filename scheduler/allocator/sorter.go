package allocator

import (
	"cmp"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// A sorter says how the children of a role take turns: its sub-roles and its own work, and the frameworks in that.
type sorter struct {
	name   string
	order  order
	policy Policy // by whose shares, with byShare; the others only show them
}

type order uint8

const (
	byShare  order = iota
	byAge          // all work of the role and below it by level and age
	atRandom       // each child by chance, in proportion to its weight
)

// Sorters that there always are. Options.Policies has others, each by its name.
const (
	SorterDRF    = "drf"
	SorterRandom = "random"
	SorterFIFO   = "fifo"
)

// Sorters returns the names by which roles may choose, in order.
func Sorters(policies map[string]Policy) []string {
	names := []string{SorterDRF, SorterRandom, SorterFIFO}
	for name := range policies {
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func sortersOf(policies map[string]Policy) map[string]*sorter {
	all := map[string]*sorter{}
	for name, p := range policies {
		all[name] = &sorter{name: name, policy: p}
	}
	all[SorterDRF] = &sorter{name: SorterDRF, policy: DRF{}}
	all[SorterRandom] = &sorter{name: SorterRandom, order: atRandom, policy: DRF{}}
	all[SorterFIFO] = &sorter{name: SorterFIFO, order: byAge, policy: DRF{}}
	return all
}

// shown is its name, and empty for what everybody expects.
func (s *sorter) shown() string {
	if s.name == SorterDRF {
		return ""
	}
	return s.name
}

// less orders children in a heap.
func (s *sorter) less(band structs.Band) func(x, y *account) bool {
	switch s.order {
	case byShare:
		return serveFirst
	case atRandom:
		return func(x, y *account) bool {
			return cmp.Or(x.due.compare(y.due), cmp.Compare(x.last, y.last), strings.Compare(x.name, y.name)) < 0
		}
	}
	return func(x, y *account) bool {
		g, o := x.oldest(band), y.oldest(band)
		if g.before(o) {
			return true
		}
		return !o.before(g) && x.name < y.name
	}
}

// sorterOf returns how the children of a role take turns: as it says, or as the role above has it, whose fifo counts for
// all below.
func (a *Allocator) sorterOf(acc *account) *sorter {
	above := a.sorters[cmp.Or(a.options.Sorter, SorterDRF)]
	if acc.parent != nil {
		above = acc.parent.sorter
	}
	if acc.spec == nil || above.order == byAge {
		return above
	}
	if own := a.sorters[acc.spec.Sorter]; own != nil {
		return own
	}
	return above
}

// resort has the children of an account, and those below that do not say otherwise, take turns in another way.
func (a *Allocator) resort(acc *account) {
	s := a.sorterOf(acc)
	if acc.sorter == s {
		return
	}
	if acc.sorter = s; s.order == atRandom {
		a.drawAll(acc)
	}
	for child := range acc.children() {
		child.policy = s.policy
		child.share = a.shareOf(child)
		a.resort(child)
	}
	for b := range acc.active {
		acc.active[b].less = s.less(structs.Band(b))
		acc.active[b].init()
	}
}

// shareOf is the share of an account among its siblings, without the resources that do not count.
func (a *Allocator) shareOf(acc *account) Share {
	used := acc.used
	if len(a.excluded) > 0 {
		used = append(a.counted[:0], used...)
		a.counted = used
		for _, kind := range a.excluded {
			if kind < len(used) {
				used[kind] = 0
			}
		}
	}
	return acc.policy.Share(used, a.total, acc.weight)
}

// oldest returns what comes first by level and age below an account of a role that is sorted so.
func (acc *account) oldest(band structs.Band) *group {
	for acc.client == nil {
		acc = acc.active[band].top()
	}
	return acc.client.queue[band].top()
}

// reage restores the order above a framework whose first request changed, where roles are sorted by age.
func (acc *account) reage(band structs.Band) {
	for x := acc; x.parent != nil && x.parent.sorter.order == byAge; x = x.parent {
		if x.at[band] >= 0 {
			x.parent.active[band].fix(x)
		}
	}
}
