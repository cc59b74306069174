package conformance

import (
	"fmt"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// limit: the limits of what runs change, and its memory is not taken from it.
func limit(s *suite) {
	const mib = 1 << 20
	spec := s.spec(Script{Forever: true, Hold: true})
	task := s.start(spec)
	has := func(want structs.Bytes) {
		s.Helper()
		stats, err := task.Stats(s.ctx)
		if err != nil {
			s.Fatal(err)
		}
		all := want == 0 && stats.Limit > 512*mib // that of the machine
		if s.h.Limits && stats.Limit != want && !all {
			s.Errorf("its memory limit is %v, want %v", stats.Limit, want)
		}
	}
	to := func(l drivers.Limits) {
		s.Helper()
		for range 2 { // it may be repeated
			if err := task.Limit(s.ctx, l); err != nil {
				s.Errorf("limit %+v: %v", l, err)
			}
		}
		has(l.Hard())
	}
	has(64 * mib)
	to(drivers.Limits{CPU: 500, Memory: 256 * mib})
	to(drivers.Limits{CPU: 2000, CPULimit: 500, Memory: 64 * mib, MemoryMax: 128 * mib})
	to(drivers.Limits{CPU: 100, Memory: 96 * mib})
	if s.h.Limits {
		s.kind("a limit below what it uses", task.Limit(s.ctx, drivers.Limits{CPU: 200, Memory: 6 * mib}), structs.Exhausted)
		has(96 * mib)
	}
	// Another agent goes on with it.
	task, err := s.h.New(s.T).Recover(s.ctx, spec, task.Handle())
	if err != nil {
		s.Fatal(err)
	}
	to(drivers.Limits{CPU: 1000, Memory: 128 * mib})
	to(drivers.Limits{})
	if err := task.Stop(s.ctx, "SIGKILL", 0); err != nil {
		s.Fatal(err)
	}
	if exit := s.wait(task); exit.OOM || exit.Signal != 9 {
		s.Errorf("it ended by %+v", exit)
	}
	s.kind("limits of an ended task", task.Limit(s.ctx, drivers.Limits{CPU: 100}), structs.Conflict)
}

// hold is a script that keeps 8 MiB in a variable.
var hold = fmt.Sprintf("x=0123456789abcdef; i=0; while [ $i -lt %d ]; do x=$x$x; i=$((i+1)); done\n", 19)
