package allocator

import (
	"cmp"
	"math/bits"
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

// less orders children in a heap. By chance there is no order: draw looks at all of them.
func (s *sorter) less(band structs.Band) func(x, y *account) bool {
	if s.order != byAge {
		return serveFirst
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
	acc.sorter = s
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

// turn returns the child whose turn it is; there must be one.
func (a *Allocator) turn(acc *account, band structs.Band) *account {
	if acc.sorter.order == atRandom {
		return a.draw(acc, band)
	}
	return acc.active[band].top()
}

// draw has the children run a race in which each takes a time that is exponentially distributed with its weight as rate:
// each wins with a probability in proportion to its weight, and who else runs does not change the order of the others. So a
// child of which nothing can be served is passed over without a new draw. It costs a look at each child that wants something.
func (a *Allocator) draw(acc *account, band structs.Band) (first *account) {
	var time uint64
	for _, x := range acc.active[band].items {
		t := lot(a.options.Seed, x.hash, a.turns)
		if first == nil || sooner(t, x, time, first) {
			first, time = x, t
		}
	}
	return first
}

func sooner(s uint64, x *account, t uint64, y *account) bool {
	xHigh, xLow := bits.Mul64(s, uint64(y.weight))
	yHigh, yLow := bits.Mul64(t, uint64(x.weight))
	return cmp.Or(cmp.Compare(xHigh, yHigh), cmp.Compare(xLow, yLow), strings.Compare(x.name, y.name)) < 0
}

// lotOf returns what stands for a child in the draws: of a role, of its own work ".", or of a framework in it.
func lotOf(path, name string) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for _, s := range []string{path, "\x00", name} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
	}
	return h
}

// lot returns the time that a child of weight 1 takes in one draw, in some unit: exponentially distributed, and the same
// for the same input.
func lot(seed, child, draw uint64) uint64 {
	// splitmix64 makes equally distributed bits of it.
	z := (seed ^ child) + (draw+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return minusLog2(z ^ z>>31)
}

// minusLog2 returns -log2(u / 2^64) in units of 2^-32; 0 counts as 1.
func minusLog2(u uint64) uint64 {
	u = max(u, 1)
	zeros := bits.LeadingZeros64(u)
	m := u << zeros // from 1 to below 2, in units of 2^-63
	var fraction uint64
	for range 32 {
		high, low := bits.Mul64(m, m)
		fraction <<= 1
		if high>>63 == 1 {
			fraction |= 1
			m = high
		} else {
			m = high<<1 | low>>63
		}
	}
	return uint64(zeros+1)<<32 - fraction
}
