// Package batch decides the next steps of a job that runs each index of its groups to completion, once.
package batch

import (
	"github.com/proffer/proffer/scheduler"
	"github.com/proffer/proffer/structs"
)

// Next returns the steps that bring the job's allocations closer to completion. have holds every allocation of the job
// that the state still has, in any order. It is pure, and linear in count and len(have).
func Next(want scheduler.Want, have []*structs.Allocation, now structs.Time) scheduler.Steps {
	panic("not written yet")
}
