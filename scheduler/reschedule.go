package scheduler

import (
	"github.com/proffer/proffer/structs"
)

// Retry says when something that failed is placed again.
type Retry struct {
	At       structs.Time   // when it may be placed again
	Failures []structs.Time // those inside the interval, this one last; for Allocation.Failures of the next
	Used     bool           // attempts are used up: At is when the oldest failure leaves the interval
}

// Defaults of the reschedule block.
const (
	defaultInterval = structs.Duration(24 * 3600e9)
	defaultDelay    = structs.Duration(5e9)
	defaultMaxDelay = structs.Duration(3600e9)
	maxFailures     = 32 // remembered at most
)

// Reschedule applies the policy of a group to an allocation that failed at a time, after its predecessors failed at
// earlier ones. The pause doubles with each failure inside the interval, up to a bound.
func Reschedule(p *structs.Reschedule, jobType string, earlier []structs.Time, failed structs.Time) Retry {
	if p == nil {
		p = &structs.Reschedule{}
	}
	interval, delay, longest := p.Interval, p.Delay, p.MaxDelay
	if interval <= 0 {
		interval = defaultInterval
	}
	if delay <= 0 {
		delay = defaultDelay
	}
	if longest <= 0 {
		longest = defaultMaxDelay
	}
	attempts, unlimited := 1, jobType != structs.BatchJob && p.Attempts == nil
	if p.Attempts != nil {
		attempts = *p.Attempts
	}
	if p.Unlimited != nil {
		unlimited = *p.Unlimited
	}
	var r Retry
	for _, t := range earlier {
		if t.Add(interval) > failed {
			r.Failures = append(r.Failures, t)
		}
	}
	r.Failures = append(r.Failures, failed)
	if !unlimited && len(r.Failures) > attempts {
		r.Used = true
		r.At = r.Failures[0].Add(interval)
	}
	if len(r.Failures) > maxFailures {
		r.Failures = r.Failures[len(r.Failures)-maxFailures:]
	}
	if r.Used {
		return r
	}
	for range len(r.Failures) - 1 {
		if delay >= longest {
			break
		}
		delay *= 2
	}
	r.At = failed.Add(min(delay, longest))
	return r
}
