package scheduler

import (
	"testing"

	"github.com/proffer/proffer/structs"
)

func TestReschedule(t *testing.T) {
	const s, hour = structs.Time(1e9), structs.Time(3600e9)
	three := 3
	limited := &structs.Reschedule{Attempts: &three, Interval: structs.Duration(hour), Delay: structs.Duration(s), MaxDelay: structs.Duration(3 * s)}
	for _, c := range []struct {
		name    string
		policy  *structs.Reschedule
		jobType string
		earlier []structs.Time
		failed  structs.Time
		at      structs.Time
		used    bool
	}{
		{"service by default", nil, structs.ServiceJob, nil, hour, hour + 5*s, false},
		{"doubles", nil, structs.ServiceJob, []structs.Time{1, 2}, hour, hour + 20*s, false},
		{"up to the bound", limited, structs.ServiceJob, []structs.Time{hour - 2, hour - 1}, hour, hour + 3*s, false},
		{"batch by default tries once more", nil, structs.BatchJob, nil, hour, hour + 5*s, false},
		{"and then no more", nil, structs.BatchJob, []structs.Time{1}, hour, 24*hour + 1, true},
		{"attempts used up until the oldest is out", limited, structs.ServiceJob, []structs.Time{hour, hour + 1, hour + 2}, hour + 3, 2 * hour, true},
		{"what is older than the interval is forgotten", limited, structs.ServiceJob, []structs.Time{1, 2, 3}, 2 * hour, 2*hour + s, false},
	} {
		r := Reschedule(c.policy, c.jobType, c.earlier, c.failed)
		if r.At != c.at || r.Used != c.used {
			t.Errorf("%s: at %s (used up: %v), not %s", c.name, r.At, r.Used, c.at)
		}
		if r.Failures[len(r.Failures)-1] != c.failed {
			t.Errorf("%s: %v", c.name, r.Failures)
		}
	}
}
