package framework_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/framework"
	"github.com/proffer/proffer/agent/framework/frameworktest"
	"github.com/proffer/proffer/agent/mesos/wire"
)

// inEng has a framework be of role eng.
func inEng(c *framework.Config) { c.Roles = []string{"eng"} }

// reserve reserves cores for role eng.
func reserve(id string, cpus float64) framework.Operation {
	return framework.Other{Type: new(wire.OperationReserve), ID: &wire.ID{Value: id}, Reserve: &wire.Reserve{Resources: []wire.Resource{{Name: "cpus", Type: wire.ValueScalar,
		Scalar: &wire.Scalar{Value: cpus}, Reservations: []wire.Reservation{{Type: new(wire.ReservationDynamic), Role: new("eng")}}}}}}
}

// does has the scheduler use the next offer for operations.
func (p *play) does(ops ...framework.Operation) {
	p.do(func(l *launcher) {
		l.operations = ops
		l.d.Want(framework.Want{Resources: shape(100)})
	})
}

// outcome waits until the scheduler was told exactly this of an operation.
func (p *play) outcome(id, want string) {
	p.t.Helper()
	got := ""
	defer func() {
		if p.t.Failed() {
			p.t.Logf("of %s it was told: %s", id, got)
		}
	}()
	p.Until("of operation "+id+": "+want, func() bool {
		p.do(func(l *launcher) { got = strings.Join(l.outcomes[id], " ") })
		return got == want
	})
}

// What became of an operation is told once and acknowledged, however often the acknowledgement is lost.
func TestOutcomesAreAcknowledged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{}, inEng)
		p.does(reserve("two", 1e6)) // refused before it is decided, and so said once
		p.outcome("two", "ERROR")
		var mu sync.Mutex
		acks := 0
		p.OnCalls(func(c *wire.Call) frameworktest.Fault {
			mu.Lock()
			defer mu.Unlock()
			if *c.Type == wire.CallAcknowledgeOperationStatus {
				if acks++; acks <= 3 {
					return []frameworktest.Fault{frameworktest.LoseCall, frameworktest.LoseCall, frameworktest.LoseAnswer}[acks-1]
				}
			}
			return frameworktest.Arrives
		})
		p.does(reserve("one", 1))
		p.outcome("one", "FINISHED")
		time.Sleep(time.Hour)
		p.outcome("one", "FINISHED")
		p.outcome("two", "ERROR")
		mu.Lock()
		defer mu.Unlock()
		if acks != 3 {
			t.Errorf("%d acknowledgements were sent", acks)
		}
	})
}

// A scheduler that does not take it is told again, also one that was restarted.
func TestOutcomesAreToldUntilTheyWereTaken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{}, inEng)
		p.do(func(l *launcher) { l.unheard = errTest })
		p.does(reserve("one", 1))
		p.outcome("one", "FINISHED")
		p.outcome("one", "FINISHED FINISHED")
		p.run.Stop()
		p.start()
		p.outcome("one", "FINISHED")
		time.Sleep(time.Hour)
		p.outcome("one", "FINISHED")
		p.does(reserve("one", 1)) // the name is free
		p.outcome("one", "FINISHED FINISHED")
	})
}

// An operation whose ACCEPT was in doubt is done or unknown: either way the scheduler hears of it.
func TestOperationsInDoubt(t *testing.T) {
	for fault, want := range map[frameworktest.Fault]string{frameworktest.LoseCall: "UNKNOWN", frameworktest.LoseAnswer: "FINISHED"} {
		bubble(t, func(t *testing.T) {
			p := begin(t, frameworktest.Config{}, inEng)
			p.first(wire.CallAccept, fault)
			p.does(reserve("one", 1))
			p.outcome("one", want)
			time.Sleep(time.Hour)
			p.outcome("one", want)
		})
	}
}
