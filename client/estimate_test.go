package client

import (
	"testing"
	"time"

	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

func drawPolicy(t *rapid.T) *Revocable {
	return &Revocable{Margin: new(structs.Milli(rapid.IntRange(0, 1000).Draw(t, "margin"))), Hold: time.Duration(rapid.IntRange(0, 600).Draw(t, "hold")) * time.Second,
		Decay: time.Duration(rapid.IntRange(1, 1200).Draw(t, "decay")) * time.Second}
}

// An estimate is never below what is used and what is needed of the reservation, never above both of what was reserved and what was
// once used, is all of the reservation while the task is young, and falls no faster than agreed, however usage moves.
func TestEstimates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t)
		reserved := rapid.Int64Range(0, 1<<46).Draw(t, "reserved")
		began := structs.Time(1e18)
		e, now, most := newEstimate(reserved, began, p), began, reserved
		lazy := e // of a task that uses less
		for range rapid.IntRange(1, 30).Draw(t, "looks") {
			passed := time.Duration(rapid.IntRange(0, 900).Draw(t, "seconds")) * time.Second
			now = now.Add(structs.Duration(passed))
			used := rapid.Int64Range(0, reserved*2).Draw(t, "used")
			most = max(most, used)
			before := e.amount
			e = e.next(reserved, used, now, p)
			lazy = lazy.next(reserved, rapid.Int64Range(0, used).Draw(t, "less"), now, p)
			need := min(used+scale(reserved, int64(*p.Margin), 1000), reserved)
			switch {
			case e.amount < used || e.amount < need:
				t.Fatalf("%d of %d when %d is used and %d needed", e.amount, reserved, used, need)
			case e.amount > most:
				t.Fatalf("%d, and never more than %d was reserved or used", e.amount, most)
			case now < began.Add(structs.Duration(p.Hold)) && e.amount < reserved:
				t.Fatalf("%d of %d, %v after its start", e.amount, reserved, now-began)
			case passed < p.Decay && e.amount < before-scale(reserved, int64(passed), int64(p.Decay)):
				t.Fatalf("it fell from %d to %d of %d in %v", before, e.amount, reserved, passed)
			case lazy.amount > e.amount:
				t.Fatalf("who uses less is taken to need more: %d and %d", lazy.amount, e.amount)
			}
		}
		// What it uses from then on is all that counts in the end, and it does not matter how often is looked, but for what is rounded.
		used := rapid.Int64Range(0, reserved*2).Draw(t, "at last")
		once := e.next(reserved, used, now.Add(structs.Duration(p.Hold+p.Decay)), p)
		looks := int64(rapid.IntRange(1, 50).Draw(t, "looks at last"))
		often := e
		for i := range looks {
			often = often.next(reserved, used, now.Add(structs.Duration(int64(p.Hold+p.Decay)*(i+1)/looks)), p)
		}
		if often.amount < once.amount || often.amount > once.amount+looks {
			t.Fatalf("%d when looked once, %d when looked %d times", once.amount, often.amount, looks)
		}
		settled := once.next(reserved, used, once.at.Add(structs.Duration(2*p.Decay)), p) // the second one is for what was beyond
		if need := max(used, min(used+scale(reserved, int64(*p.Margin), 1000), reserved)); settled.amount != need {
			t.Fatalf("%d at last, and %d is needed", settled.amount, need)
		}
	})
}

// When a task reserves more, that is taken to be needed for a time, and falls no faster than agreed after that; when it reserves less, no more
// than that is. Equal changes later leave the same.
func TestEstimatesFollowWhatIsReserved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t)
		reserved, used, now := rapid.Int64Range(0, 1<<46).Draw(t, "reserved"), int64(0), structs.Time(1e18)
		e := newEstimate(reserved, now, p)
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			now = now.Add(structs.Duration(rapid.IntRange(1, 900).Draw(t, "seconds")) * 1e9)
			before, was := e, reserved
			reserved = rapid.Int64Range(0, 1<<46).Draw(t, "now reserved")
			e = e.reserves(was, reserved, now, p)
			switch {
			case reserved >= was && (e.amount != before.amount+reserved-was || e.next(reserved, used, now.Add(structs.Duration(p.Hold)-1), p).amount < e.amount):
				t.Fatalf("%d more, and it is %d after %d", reserved-was, e.amount, before.amount)
			case reserved < was && (e.amount > reserved || e.amount < min(before.amount, reserved)):
				t.Fatalf("%d of %d reserved, after %d", e.amount, reserved, before.amount)
			}
			used = rapid.Int64Range(0, reserved).Draw(t, "used")
			if e = e.next(reserved, used, now, p); e.amount < used || e.amount > reserved {
				t.Fatalf("%d of %d when %d is used", e.amount, reserved, used)
			}
		}
	})
}

// What a task uses on the slack of its node does not lessen that, and what it uses of its own does: what is left beside all that is held is what
// nobody uses, as long as it does not use more than it has.
func TestWhatIsLeftBesideRevocableTasks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		own, slack := rapid.Int64Range(0, 1<<46).Draw(t, "own"), rapid.Int64Range(0, 1<<46).Draw(t, "slack")
		used := rapid.Int64Range(0, own+slack).Draw(t, "used")
		if left := own - ofOwn(used, own, slack) - slack; slack > 0 && used >= slack && left != own-used {
			t.Fatalf("%d is left of %d when %d is used and %d is held", left, own, used, slack)
		}
		if more := ofOwn(own+slack+used, own, slack); slack > 0 && more != own {
			t.Fatalf("what it uses beyond is %d", more-own)
		}
		if ofOwn(used, own, 0) != used {
			t.Fatal("without slack all it uses is of its own")
		}
	})
}

// What is told is never more than there is, and is told again only when that moved by a step.
func TestWhatIsTold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		step := rapid.Int64Range(1, 100).Draw(t, "step")
		var told, now, at int64 // at is what there was when it was told
		for range 50 {
			now = max(0, now+rapid.Int64Range(-3*step, 3*step).Draw(t, "move"))
			next := tell(told, now, step)
			switch {
			case next > now:
				t.Fatalf("%d is told, and there is %d", next, now)
			case next < now-2*step:
				t.Fatalf("%d is told of %d", next, now)
			case next != told && max(now-at, at-now) < step:
				t.Fatalf("it moved from %d to %d, and %d is told after %d", at, now, next, told)
			}
			if next != told {
				told, at = next, now
			}
		}
	})
}
