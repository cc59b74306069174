package client

import (
	"math/bits"
	"time"

	"github.com/proffer/proffer/structs"
)

// An estimate is how much of one resource a task is taken to need: all that it reserved for a time after its start, then what it uses
// and a margin, which it rises to at once and falls to slowly. It is Borg's resource reclamation. Amounts are in the unit of the
// resource.
type estimate struct {
	amount int64
	at     structs.Time // as of when; it falls from then on, or from then on from which it may
}

// newEstimate is that of a task with a reservation that started at a time.
func newEstimate(reserved int64, started structs.Time, p *Revocable) estimate {
	return estimate{reserved, started.Add(structs.Duration(p.Hold))}
}

// next returns the estimate at now, when the task uses an amount. It is at least that, also beyond the reservation, and a part of the
// reservation more, but for that margin never beyond it. It falls by the reservation in p.Decay at the fastest. Both amounts are not
// negative and below 2^53.
func (e estimate) next(reserved, used int64, now structs.Time, p *Revocable) estimate {
	need := max(used, min(used+scale(reserved, int64(*p.Margin), 1000), reserved))
	if e.at > now { // too young, or the clock was set back
		return estimate{max(e.amount, need), e.at}
	}
	passed := time.Duration(now - e.at)
	times := min(int64(passed/p.Decay), 1<<8) // more only when what was used was far beyond the reservation
	fall := reserved*times + scale(reserved, int64(passed%p.Decay), int64(p.Decay))
	return estimate{max(e.amount-fall, need), now}
}

// reserves returns the estimate when the task reserves another amount from now on, as a custom executor does whose tasks come and go. What is
// more of it is taken to be needed for a time, as that of a task which starts.
func (e estimate) reserves(before, after int64, now structs.Time, p *Revocable) estimate {
	if after < before {
		return estimate{min(e.amount, after), e.at}
	}
	return estimate{e.amount + after - before, now.Add(structs.Duration(p.Hold))}
}

// ofOwn returns what of the use of a task counts for what it reserved, when it runs on what others reserved as well. That is taken to be used
// first: then what is left of the slack, all that is held of it subtracted, is what nobody uses. What it uses beyond both it yields.
func ofOwn(used, reserved, slack int64) int64 {
	if slack == 0 {
		return used
	}
	return min(max(used-slack, 0), reserved)
}

// scale returns a·b/c, rounded down; b is at most c.
func scale(a, b, c int64) int64 {
	high, low := bits.Mul64(uint64(a), uint64(b))
	q, _ := bits.Div64(high, low, uint64(c))
	return int64(q)
}

// tell returns what is said of an amount of which told was said last. It is never more than there is, and a step less, so that it need
// not be said again when usage trembles: only when there is less than was said, or more by two steps.
func tell(told, now, step int64) int64 {
	if now < told || now > told+2*step {
		return max(0, now-step)
	}
	return told
}
