package allocator

import (
	"cmp"
	"math/bits"

	"github.com/proffer/proffer/structs"
)

// Turns by chance: each child of a role that is sorted so has a time at which its turn comes, and the earliest is served. From
// one turn to the next it takes an exponentially distributed time with its weight as rate. Such times have no memory, so as
// long as all want something, each choice falls on each child with a probability in proportion to its weight; and it costs a
// heap, not a draw for each child.

// chance is when the turn of an account comes among its siblings, and when that of the last of its own children came.
type chance struct {
	clock moment // the latest due of what was served below it
	from  moment // the clock of its parent when lot was drawn
	lot   uint64 // see lot
	due   moment // from + lot / weight
}

// moment is a time of 128 bits, in units of 2^-64 of that which a child of the weight 0.001 takes in the mean for one bit.
type moment struct{ high, low uint64 }

func (m moment) compare(o moment) int {
	return cmp.Or(cmp.Compare(m.high, o.high), cmp.Compare(m.low, o.low))
}

// after returns the moment a lot after m for a weight.
func (m moment) after(lot uint64, weight structs.Milli) moment {
	w := uint64(max(1, weight))
	high, low := bits.Mul64(lot, 1<<32)
	quotient, _ := bits.Div64(high%w, low, w)
	sum, carry := bits.Add64(m.low, quotient, 0)
	return moment{m.high + high/w + carry, sum}
}

// draw has the turn of an account come some time after a moment.
func (a *Allocator) draw(acc *account, from moment) {
	acc.from, acc.lot = from, lot(a.options.Seed, acc.hash, a.turns)
	acc.reckon()
}

// reckon computes the turn of an account anew after its weight changed.
func (acc *account) reckon() { acc.due = acc.from.after(acc.lot, acc.weight) }

// tookChance has the clock of a role go on to the turn of a child that is served, and draws the next one. The turn of one that
// wanted nothing when it came is past: it comes at once.
func (a *Allocator) tookChance(acc *account) {
	clock := &acc.parent.clock
	if clock.compare(acc.due) < 0 {
		*clock = acc.due
	}
	a.draw(acc, *clock)
}

// drawAll has the children of an account that is sorted by chance from now on draw their turns.
func (a *Allocator) drawAll(acc *account) {
	acc.clock = moment{}
	for child := range acc.children() {
		a.draw(child, moment{})
	}
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

// lot returns how long a child takes from one turn to the next, for a weight of 1: exponentially distributed, in units of
// 2^-32 of a bit, and the same for the same input.
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
