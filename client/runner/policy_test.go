package runner

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

func TestPolicyDefaults(t *testing.T) {
	if p := PolicyOf(structs.ServiceJob, nil); p != (Policy{2, 30 * time.Minute, time.Second, false, true}) {
		t.Errorf("service: %+v", p)
	}
	if p := PolicyOf(structs.BatchJob, nil); p != (Policy{3, 30 * time.Minute, time.Second, false, false}) {
		t.Errorf("batch: %+v", p)
	}
	five := 5
	if p := PolicyOf(structs.BatchJob, &structs.Restart{Attempts: &five, Interval: 7, Delay: 3, Mode: "delay"}); p != (Policy{5, 7, 3, true, false}) {
		t.Errorf("set: %+v", p)
	}
}

func TestBackOff(t *testing.T) {
	p := Policy{Delay: time.Second}
	for n, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 4: 8 * time.Second, 5: 10 * time.Second,
		1000: 10 * time.Second} {
		if got := p.backOff(n); got != want {
			t.Errorf("after %d: %s, want %s", n, got, want)
		}
	}
}

// TestPolicyKeepsItsWord runs failures through a policy: never more than Attempts restarts begin within an Interval, whatever
// the mode; and in mode fail a restart is refused only when that many failures are in the window.
func TestPolicyKeepsItsWord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Policy{Attempts: rapid.IntRange(0, 5).Draw(t, "attempts"), Interval: time.Duration(rapid.IntRange(10, 100).Draw(t, "interval")) * time.Second,
			Delay: time.Second, Wait: rapid.Bool().Draw(t, "wait")}
		now := structs.Time(1e18)
		var failures, restarts, all []structs.Time
		for range rapid.IntRange(1, 40).Draw(t, "failures") {
			now = now.Add(structs.Duration(rapid.IntRange(0, 30e9).Draw(t, "ran for")))
			all = append(all, now)
			v := p.Next(failures, now)
			failures = v.Failures
			within := 0
			for _, at := range all {
				if now.Sub(at).Std() < p.Interval {
					within++
				}
			}
			if !v.Restart {
				if p.Wait || within <= p.Attempts {
					t.Fatalf("refused with %d failures in the window: %s", within, v.Why)
				}
				return
			}
			now = now.Add(structs.Duration(v.After))
			restarts = append(restarts, now)
			recent := 0
			for _, at := range restarts {
				if now.Sub(at).Std() < p.Interval {
					recent++
				}
			}
			if recent > max(p.Attempts, 1)+1 {
				t.Fatalf("%d restarts within %s, %d are allowed", recent, p.Interval, p.Attempts)
			}
		}
	})
}

func TestClassify(t *testing.T) {
	for err, want := range map[error]class{
		fmt.Errorf("fork: %w", syscall.EAGAIN): shortage, structs.Errorf(structs.Internal, "x", "%w", syscall.EMFILE): shortage,
		structs.Errorf(structs.Exhausted, "x", "y"): shortage, structs.Errorf(structs.Unavailable, "x", "y"): shortage,
		structs.Errorf(structs.Invalid, "x", "y"): permanent, structs.Errorf(structs.NotFound, "x", "y"): permanent,
		structs.Errorf(structs.Internal, "x", "y"): failed, errors.New("x"): failed,
	} {
		if got := classify(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}
