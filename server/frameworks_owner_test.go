package server_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// What a framework runs is its principal's, and counts with the jobs of the same owner, through a change of the leader.
func TestAUserLimitOfFrameworks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 1)
		role := &structs.Role{Name: "eng", UserLimit: 500, Quota: &structs.Quota{Limit: &structs.QuotaAmount{CPU: new(structs.Milli(4000))}}}
		r.propose(&state.PutRole{Role: role})
		f := eng("spark")
		f.Principal = "ann"
		s := r.subscribe(f)
		o := s.offer("")
		if o.Resources.CPU != 2000 {
			t.Errorf("offered is %s, and half of four cores may be ann's", o.Text())
		}
		done, err := s.accept(o, launches("one", 1))
		check(t, err)
		check(t, errors.Join(done.Faults...))
		s.acknowledge(s.told("one", structs.TaskRunning))
		mine := func(cores, most structs.Milli) bool {
			p := r.leader().server.Store().Snapshot().Parts(role)
			return len(p) == 1 && p[0].Owner == "ann" && p[0].Used.CPU == cores && p[0].Limit.CPU == most
		}
		if !mine(1000, 2000) {
			t.Error("it does not count as ann's")
		}
		rest := s.offer("")
		r.propose(&state.SubmitJob{Job: job("mine", "service", 1, func(j *structs.Job) {
			j.Role, j.Owner = "eng", "ann"
			j.Groups[0].Tasks[0].Resources.CPU = 1000
		})})
		r.eventually("her job runs beside it", func() bool { return r.running("mine") == 1 })
		if done, err = s.accept(rest, launches("two", 1)); err == nil {
			err = errors.Join(done.Faults...)
		}
		if err == nil || !strings.Contains(err.Error(), "user_limit") && !strings.Contains(err.Error(), "no longer valid") {
			t.Errorf("more than she may have: %v", err)
		}
		r.leader().crash()
		r.eventually("a new leader counts the same", func() bool { return r.leader() != nil && mine(2000, 2000) })
	})
}
