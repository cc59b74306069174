// Package service decides the next steps of a job that keeps count allocations of each group running.
package service

import (
	"github.com/proffer/proffer/scheduler"
	"github.com/proffer/proffer/structs"
)

// Next returns the steps that bring the job's allocations closer to what want asks for. have holds every allocation of
// the job that the state still has, in any order. It is pure: now decides what has been healthy for long enough.
func Next(want scheduler.Want, have []*structs.Allocation, now structs.Time) scheduler.Steps {
	panic("not written yet")
}
