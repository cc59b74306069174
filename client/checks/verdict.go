package checks

import (
	"time"

	"github.com/proffer/proffer/structs"
)

// Answer is what one check said; Why is empty when it passed.
type Answer struct {
	OK   bool
	Why  string
	Code *int // see structs.CheckAnswer
}

// verdict is what the answers to one check amount to. It is a value; next gives the one that follows.
type verdict struct {
	status structs.CheckStatus
	ok     bool // the last answer that counted
	row    int  // how many like it came in a row
	tries  int  // answers while it is pending
}

// next takes the answer to a check of a task that has run for age.
func (v verdict) next(c *structs.Check, age time.Duration, a Answer) verdict {
	if v.status == structs.CheckPending {
		v.tries++
		if !a.OK && age < c.Grace.Std() {
			v.row = 0
			return v
		}
	}
	if a.OK != v.ok {
		v.row = 0
	}
	v.ok, v.row = a.OK, v.row+1
	switch {
	case a.OK && v.row >= c.Successes:
		v.status = structs.CheckPassing
	case !a.OK && v.row >= c.Failures:
		v.status = structs.CheckFailing
	}
	return v
}

// firstPause is the time between the first two checks of a task.
const firstPause = 100 * time.Millisecond

// pause is how long after the last check the next one is made. As long as it is pending that is soon, and later each time, so
// that what starts fast is known to be ready at once.
func (v verdict) pause(c *structs.Check) time.Duration {
	interval := c.Interval.Std()
	if v.status != structs.CheckPending || v.tries > 20 {
		return interval
	}
	return min(interval, firstPause<<max(0, v.tries-1))
}
