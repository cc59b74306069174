package runner

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/proffer/proffer/structs"
)

// Policy is a restart policy with its defaults filled in.
type Policy struct {
	Attempts int
	Interval time.Duration
	Delay    time.Duration // of the first restart in a window
	Wait     bool          // when attempts are used up: wait for the window to move on, instead of failing
	Always   bool          // an end with exit code 0 is one too many as well: services run on
}

// maxFailures bounds how many failures are remembered of a task.
const maxFailures = 1000

// PolicyOf returns the policy of a group.
func PolicyOf(jobType string, r *structs.Restart) Policy {
	p := Policy{Attempts: 2, Interval: 30 * time.Minute, Delay: time.Second, Always: true}
	if jobType == structs.BatchJob {
		p.Attempts, p.Always = 3, false
	}
	if r == nil {
		return p
	}
	if r.Attempts != nil {
		p.Attempts = min(max(*r.Attempts, 0), maxFailures-1)
	}
	if r.Interval > 0 {
		p.Interval = r.Interval.Std()
	}
	if r.Delay > 0 {
		p.Delay = r.Delay.Std()
	}
	p.Wait = r.Mode == "delay"
	return p
}

// Verdict is what a policy says after a failure.
type Verdict struct {
	Restart  bool
	After    time.Duration
	Failures []structs.Time // those that still count, oldest first
	Why      string
}

// Next says what follows a failure at now. failures are the earlier ones; the slice is not changed.
func (p Policy) Next(failures []structs.Time, now structs.Time) Verdict {
	kept := make([]structs.Time, 0, len(failures)+1)
	for _, at := range failures {
		if now.Sub(at).Std() < p.Interval {
			kept = append(kept, at)
		}
	}
	kept = append(kept, now)
	kept = kept[max(0, len(kept)-maxFailures):]
	n := len(kept)
	v := Verdict{Failures: kept}
	switch {
	case n <= p.Attempts:
		v.Restart, v.After = true, p.backOff(n)
		v.Why = fmt.Sprintf("restart %d of %d within %s, in %s", n, p.Attempts, structs.Duration(p.Interval), structs.Duration(v.After))
	case p.Wait:
		// The window has room again when the oldest of the newest Attempts failures leaves it.
		oldest := kept[n-max(p.Attempts, 1)]
		v.Restart = true
		v.After = max(p.Interval-now.Sub(oldest).Std(), p.Delay)
		v.Why = fmt.Sprintf("%d restarts within %s are used up, next in %s", p.Attempts, structs.Duration(p.Interval),
			structs.Duration(v.After.Round(time.Millisecond)))
	case p.Attempts == 0:
		v.Why = "the restart policy allows none"
	default:
		v.Why = fmt.Sprintf("%d restarts within %s are used up", p.Attempts, structs.Duration(p.Interval))
	}
	return v
}

// backOff doubles the delay with each restart in the window, up to ten times it.
func (p Policy) backOff(n int) time.Duration {
	d := p.Delay
	for range n - 1 {
		if d *= 2; d >= 10*p.Delay {
			return 10 * p.Delay
		}
	}
	return d
}

// class is what a start that failed means.
type class int

const (
	failed    class = iota // the task's own failure: the restart policy decides
	shortage               // the node is short of something, or cannot be asked: it uses up no restart
	permanent              // the same start can never succeed
)

func classify(err error) class {
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN} {
		if errors.Is(err, e) {
			return shortage
		}
	}
	switch structs.KindOf(err) {
	case structs.Exhausted, structs.Unavailable:
		return shortage
	case structs.Invalid, structs.NotFound, structs.Forbidden:
		return permanent
	}
	return failed
}

// nodeBackOff is the pause after the nth try in a row for which the node was short of something.
func nodeBackOff(n int) time.Duration { return min(time.Second<<min(n, 5), 30*time.Second) }

// mostTries is how often what an external framework launched is tried while the node is short of something: for a minute, by nodeBackOff.
// Its scheduler waits for the end of a start that goes wrong, to try elsewhere; nobody else does that for it.
const mostTries = 7

// gaveUp reports whether so many tries in a row, for which the node was short of something, are enough for an allocation.
func gaveUp(a *structs.Allocation, tries int) bool { return a.External != nil && tries >= mostTries }
