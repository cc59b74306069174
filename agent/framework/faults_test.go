package framework_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/framework"
	"github.com/proffer/proffer/agent/framework/frameworktest"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// first loses the first call of a type, or its answer.
func (p *play) first(kind wire.CallType, fault frameworktest.Fault) {
	done := make(chan struct{}, 1)
	p.OnCalls(func(c *wire.Call) frameworktest.Fault {
		if *c.Type == kind {
			select {
			case done <- struct{}{}:
				return fault
			default:
			}
		}
		return frameworktest.Arrives
	})
}

// count counts the calls from now on.
func (p *play) count() (now func() map[wire.CallType]int) {
	var mu sync.Mutex
	calls := map[wire.CallType]int{}
	p.OnCalls(func(c *wire.Call) frameworktest.Fault {
		mu.Lock()
		defer mu.Unlock()
		calls[*c.Type]++
		return frameworktest.Arrives
	})
	return func() map[wire.CallType]int {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(calls)
	}
}

func TestAnAcceptWhoseAnswerIsLostLaunchedItsTasks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{})
		p.first(wire.CallAccept, frameworktest.LoseAnswer)
		p.add(sh("a", "sleep infinity"))
		p.tells("a", "running")
		if n := p.subscriptions(); n != 2 {
			t.Errorf("%d subscriptions: what is not known for sure must end one", n)
		}
	})
}

func TestAnAcceptThatIsLostIsToldOf(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{})
		p.first(wire.CallAccept, frameworktest.LoseCall)
		p.add(sh("a", "sleep infinity"))
		p.tells("a", "gone")
		if n := p.Started("a"); n != 0 {
			t.Errorf("it was started %d times", n)
		}
	})
}

func TestANewSchedulerIsToldOfTheTasksOfTheLastOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{})
		p.add(sh("a", "sleep infinity"), sh("b", "sleep 60"))
		p.tells("a", "starting running")
		p.tells("b", "starting running")
		p.run.Stop()
		time.Sleep(5 * time.Minute)
		p.start()
		p.do(func(l *launcher) { l.d.Track(map[string]string{"never": ""}) })
		p.tells("a", "running")
		p.tells("b", "finished")
		p.tells("never", "unknown")
		if n := p.Started("a"); n != 1 {
			t.Errorf("it was started %d times", n)
		}
	})
}

func TestASchedulerThatWasTakenOverEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{})
		p.add(sh("a", "sleep infinity"))
		p.tells("a", "starting running")
		first := p.run
		p.start()
		p.tells("a", "running")
		if err := first.Wait(); structs.KindOf(err) != structs.Conflict {
			t.Errorf("the first one ended with %v", err)
		}
	})
}

func TestTeardownIsTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{})
		p.add(sh("a", "sleep infinity"))
		p.tells("a", "starting running")
		if err := p.run.Driver.Teardown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.run.Wait(); err != nil {
			t.Errorf("it ended with %v", err)
		}
		p.Until("nothing runs", func() bool { return len(p.Running()) == 0 })
		p.start()
		if err := p.run.Wait(); structs.KindOf(err) != structs.Conflict {
			t.Errorf("its id was taken again: %v", err)
		}
		if err := p.run.Driver.Do(t.Context(), func() {}); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("Do after the end: %v", err)
		}
	})
}

func TestTeardownWhoseAnswerIsLostIsTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{})
		p.first(wire.CallTeardown, frameworktest.LoseAnswer)
		if err := p.run.Driver.Teardown(t.Context()); structs.KindOf(err) != structs.Unknown {
			t.Errorf("it is said to have gone so: %v", err)
		}
		if err := p.run.Wait(); err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
}

func TestANodeThatIsCutOffAndOneThatFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{})
		p.add(sh("a", "sleep infinity"))
		p.tells("a", "starting running")
		p.Node(0).Cut()
		p.tells("a", "starting running unreachable")
		p.do(func(l *launcher) {
			if len(l.lost) != 1 || l.lost[0] != p.Node(0).ID() {
				t.Errorf("lost nodes: %v", l.lost)
			}
		})
		p.Node(0).Mend()
		p.tells("a", "starting running unreachable running")
		p.Node(0).PowerOff()
		p.tells("a", "starting running unreachable running unreachable")
		p.Node(0).Boot()
		p.Until("its end is told", func() (over bool) {
			p.do(func(l *launcher) { over = l.last["a"].Over() })
			return over
		})
		p.add(sh("b", "sleep infinity"))
		p.tells("b", "starting running")
	})
}

func TestANodeThatIsDrained(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{Nodes: 2})
		p.add(sh("a", "sleep infinity"))
		p.tells("a", "starting running")
		p.Running()[0].Node.Drain(0)
		p.Until("it is stopped", func() bool { return len(p.Running()) == 0 })
		p.Until("its end is told", func() (over bool) {
			p.do(func(l *launcher) { over = l.last["a"].Over() })
			return over
		})
	})
}

func TestOffersComeWhenThereIsUseForThem(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{})
		count := p.count()
		p.do(func(l *launcher) { l.d.Want() })
		time.Sleep(10 * time.Minute)
		if n := count()[wire.CallDecline]; n > 1 {
			t.Errorf("%d offers were declined that nobody wants", n)
		}
		began := time.Now()
		p.add(sh("a", "sleep infinity"))
		p.tells("a", "starting running")
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("it took %s until it ran", d)
		}
		time.Sleep(5 * time.Second) // until it is told that there is no use for offers any more
		if calls := count(); calls[wire.CallSuppress] == 0 || calls[wire.CallRevive] == 0 || calls[wire.CallRequest] == 0 {
			t.Errorf("the calls were %v", calls)
		}
	})
}

// A decline that is late does not keep offers away that the framework has use for since.
func TestALateDeclineIsNotTheLastWord(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &play{Region: frameworktest.Start(t, frameworktest.Config{}), t: t, id: &frameworktest.MemoryID{}}
		p.c = framework.Config{Name: "test", ID: p.id, Refuse: time.Hour}
		declined := make(chan struct{})
		var first sync.Once
		p.OnCalls(func(c *wire.Call) frameworktest.Fault {
			if *c.Type == wire.CallDecline {
				first.Do(func() { close(declined); time.Sleep(10 * time.Second) })
			}
			return frameworktest.Arrives
		})
		p.start()
		<-declined
		time.Sleep(time.Second)
		began := time.Now()
		p.add(sh("a", "sleep infinity"))
		p.tells("a", "starting running")
		if d := time.Since(began); d > time.Minute {
			t.Errorf("it took %s until it ran", d)
		}
	})
}

func TestAnOfferThatIsHeldIsGoodUntilItIsRescinded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{})
		var o *framework.Offer
		p.do(func(l *launcher) {
			l.hold = true
			l.d.Want(framework.Want{Resources: shape(100)})
		})
		p.Until("there is an offer", func() bool {
			p.do(func(l *launcher) {
				if len(l.held) > 0 {
					o = l.held[0]
				}
			})
			return o != nil
		})
		if o.Resources.CPU != 4000 || o.Resources.Ports == 0 || o.Role != "*" || o.Node != p.Node(0).ID() {
			t.Errorf("the offer is %+v", o)
		}
		p.Until("it is rescinded", func() (gone bool) {
			p.do(func(l *launcher) { gone = len(l.rescued) > 0 })
			return gone
		})
		if err := p.run.Driver.Launch(t.Context(), o, sh("a", "true")); structs.KindOf(err) != structs.Conflict {
			t.Errorf("it was used: %v", err)
		}
	})
}

func TestASilentNetworkIsNoticed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{})
		p.CutSchedulers()
		began := time.Now()
		p.Until("it noticed", func() (gone bool) {
			p.do(func(l *launcher) { gone = len(l.gone) > 0 })
			return gone
		})
		if d := time.Since(began); d > 80*time.Second {
			t.Errorf("it took %s", d)
		}
		p.MendSchedulers()
		p.Until("it is subscribed again", func() bool { return p.subscriptions() == 2 })
	})
}

func TestWhatWasLostIsFoundByAsking(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{}, func(c *framework.Config) { c.ReconcileEvery = 5 * time.Minute })
		p.add(sh("a", "sleep infinity"))
		p.tells("a", "starting running")
		p.OnEvents(func(e *wire.Event) bool { return e.Update != nil && e.Update.Status.State == wire.TaskUnreachable })
		p.Node(0).Cut()
		time.Sleep(2 * time.Minute)
		p.tells("a", "starting running")
		p.OnEvents(nil)
		p.tells("a", "starting running unreachable")
	})
}

func TestLaterAcknowledgesWhenItIsSaid(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{})
		count := p.count()
		var kept []*framework.Update // of the scheduler
		p.do(func(l *launcher) {
			l.refuse = func(u *framework.Update) error { kept = append(kept, u); return framework.ErrLater }
		})
		told := func() (n int, last *framework.Update) {
			p.do(func(*launcher) {
				if n = len(kept); n > 0 {
					last = kept[n-1]
				}
			})
			return n, last
		}
		p.add(sh("a", "sleep 1"))
		time.Sleep(time.Minute)
		n, last := told()
		if last == nil || last.State != structs.TaskStarting || count()[wire.CallAcknowledge] != 0 {
			t.Fatalf("%d are told, the last is %+v, and %d acknowledged", n, last, count()[wire.CallAcknowledge])
		}
		if err := p.run.Driver.Acknowledge(t.Context(), last); err != nil {
			t.Fatal(err)
		}
		p.Until("the next is told", func() bool {
			_, last = told()
			return last.State == structs.TaskRunning
		})
		if again, _ := told(); again != n+1 {
			t.Errorf("%d more were told", again-n)
		}
	})
}

func TestKillEndsATask(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{})
		p.add(sh("a", "sleep infinity"))
		p.tells("a", "starting running")
		for _, task := range []string{"a", "nobody"} {
			if err := p.run.Driver.Kill(t.Context(), task); err != nil {
				t.Fatal(err)
			}
		}
		p.Until("it is killed", func() (over bool) {
			p.do(func(l *launcher) { over = l.last["a"] != nil && l.last["a"].State == structs.TaskKilled })
			return over
		})
		p.tells("nobody", "unknown")
	})
}

func TestWhoIsNotLetInEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := frameworktest.Start(t, frameworktest.Config{})
		c := r.Configure(framework.Config{Name: "x"})
		c.Token = "wrong"
		d, err := framework.New(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Run(t.Context(), &launcher{}); structs.KindOf(err) != structs.Forbidden {
			t.Errorf("it ended with %v", err)
		}
		c = r.Configure(framework.Config{Name: "x", Roles: []string{"a//b"}})
		if d, err = framework.New(c); err != nil {
			t.Fatal(err)
		}
		if err := d.Run(t.Context(), &launcher{}); structs.KindOf(err) != structs.Invalid {
			t.Errorf("it ended with %v", err)
		}
		if err := d.Run(t.Context(), &launcher{}); structs.KindOf(err) != structs.Conflict {
			t.Errorf("it was run twice: %v", err)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := frameworktest.Start(t, frameworktest.Config{})
		d, err := framework.New(r.Configure(framework.Config{Name: "x"}))
		if err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { end(errTest) })
		if err := d.Run(ctx, &launcher{d: d, told: map[string][]string{}}); !errors.Is(err, errTest) {
			t.Errorf("it ended with %v", err)
		}
	})
}
