package allocator

import (
	"math/bits"

	"github.com/proffer/proffer/structs"
)

// Share is the exact ratio Num / (Den × Weight) by which siblings are ordered; the smaller one is served first. All
// fields are at least 0. Den 0 stands for a share that is larger than all others, unless Num is 0 too.
type Share struct{ Num, Den, Weight int64 }

// Policy turns what an account holds into the share by which it is ordered among its siblings: the roles below one role,
// and the frameworks in a role. used and total have one number for each kind of scalar resource (see Allocator.Kinds);
// used may be shorter. It must be pure: a share changes only when used, total or weight does.
type Policy interface {
	Share(used, total []int64, weight structs.Milli) Share
}

// DRF is Dominant Resource Fairness (Ghodsi et al., NSDI 2011) with weights: the share is the largest part that an
// account has of any resource, divided by its weight.
type DRF struct{}

// Share implements Policy.
func (DRF) Share(used, total []int64, weight structs.Milli) Share {
	best := Share{Num: 0, Den: 1, Weight: max(1, int64(weight))}
	for i, u := range used {
		if u <= 0 {
			continue
		}
		var t int64
		if i < len(total) {
			t = max(0, total[i])
		}
		if s := (Share{u, t, best.Weight}); best.less(s) {
			best = s
		}
	}
	return best
}

// less compares exactly: a.Num × b.Den × b.Weight < b.Num × a.Den × a.Weight, in 192 bits.
func (a Share) less(b Share) bool {
	switch {
	case b.Num == 0:
		return false
	case a.Num == 0:
		return true
	case a.Den == 0:
		return false
	case b.Den == 0:
		return true
	}
	return product(a.Num, b.Den, b.Weight).less(product(b.Num, a.Den, a.Weight))
}

// wide is an unsigned number of 192 bits.
type wide struct{ high, mid, low uint64 }

func product(x, y, z int64) wide {
	hi, lo := bits.Mul64(uint64(x), uint64(y))
	carry, low := bits.Mul64(lo, uint64(z))
	high, mid := bits.Mul64(hi, uint64(z))
	mid, c := bits.Add64(mid, carry, 0)
	return wide{high + c, mid, low}
}

func (a wide) less(b wide) bool {
	if a.high != b.high {
		return a.high < b.high
	}
	if a.mid != b.mid {
		return a.mid < b.mid
	}
	return a.low < b.low
}

// Milli returns the share in thousandths before its weight, for people: 500 is a half.
func (a Share) Milli() structs.Milli {
	if a.Num == 0 {
		return 0
	}
	if a.Den == 0 {
		return 1000
	}
	hi, lo := bits.Mul64(uint64(a.Num), 1000)
	if hi >= uint64(a.Den) {
		return 1 << 40
	}
	q, _ := bits.Div64(hi, lo, uint64(a.Den))
	return structs.Milli(q)
}
