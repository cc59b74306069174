package framework_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/agent/framework"
	"github.com/proffer/proffer/agent/framework/frameworktest"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// launcher launches each of its tasks once, and writes down what it is told. It is only touched by its driver's goroutine, or through Do.
type launcher struct {
	d        *framework.Driver
	waiting  []*framework.Task
	told     map[string][]string
	last     map[string]*framework.Update
	subs     []framework.Subscription
	gone     []error
	lost     []string
	refuse   func(*framework.Update) error
	hold     bool
	held     []*framework.Offer
	rescued  []string
	messages []string
	ended    []string

	operations []framework.Operation // to be done with the next offer
	outcomes   map[string][]string   // what it was told of operations
	unheard    error                 // what Operation returns
}

func shape(cpu structs.Milli) structs.Resources { return structs.Resources{CPU: cpu, Memory: 64 << 20} }

func sh(id, command string) *framework.Task {
	return &framework.Task{ID: id, Resources: shape(500), Command: &framework.Command{Shell: command}}
}

func (l *launcher) add(tasks ...*framework.Task) {
	l.waiting = append(l.waiting, tasks...)
	l.want()
}

func (l *launcher) want() {
	var wants []framework.Want
	for _, t := range l.waiting {
		wants = append(wants, framework.Want{Resources: t.Resources})
	}
	l.d.Want(wants...)
}

func (l *launcher) Offers(ctx context.Context, offers []*framework.Offer) {
	for _, o := range offers {
		if l.hold {
			l.d.Hold(o)
			l.held = append(l.held, o)
			continue
		}
		if len(l.operations) > 0 {
			if err := l.d.Accept(ctx, []*framework.Offer{o}, 0, l.operations...); structs.KindOf(err) != structs.Conflict && structs.KindOf(err) != structs.Unavailable {
				l.operations = nil
			}
			continue
		}
		var now []*framework.Task
		for len(l.waiting) > 0 {
			ports, ok := o.Take(l.waiting[0].Resources)
			if !ok {
				break
			}
			l.waiting[0].Ports = ports
			now, l.waiting = append(now, l.waiting[0]), l.waiting[1:]
		}
		if len(now) == 0 {
			continue
		}
		if err := l.d.Launch(ctx, o, now...); structs.KindOf(err) == structs.Conflict || structs.KindOf(err) == structs.Unavailable {
			l.waiting = append(l.waiting, now...)
		}
	}
	l.want()
}

func (l *launcher) Update(_ context.Context, u *framework.Update) error {
	if l.refuse != nil {
		if err := l.refuse(u); err != nil {
			return err
		}
	}
	l.told[u.Task], l.last[u.Task] = append(l.told[u.Task], string(u.State)), u
	return nil
}

func (l *launcher) Operation(_ context.Context, o *framework.OperationUpdate) error {
	l.outcomes[o.ID] = append(l.outcomes[o.ID], o.State)
	return l.unheard
}

func (l *launcher) Subscribed(_ context.Context, s framework.Subscription) error {
	l.subs = append(l.subs, s)
	return nil
}

func (l *launcher) Disconnected(err error)                    { l.gone = append(l.gone, err) }
func (l *launcher) NodeLost(_ context.Context, node string)   { l.lost = append(l.lost, node) }
func (l *launcher) Rescinded(_ context.Context, offer string) { l.rescued = append(l.rescued, offer) }
func (l *launcher) Message(_ context.Context, m *framework.Message) {
	l.messages = append(l.messages, string(m.Data))
}
func (l *launcher) ExecutorLost(_ context.Context, _, executor string, status int) {
	l.ended = append(l.ended, fmt.Sprint(executor, " ", status))
}

// play is a region with one scheduler.
type play struct {
	*frameworktest.Region
	t   *testing.T
	l   *launcher
	run *frameworktest.Running
	id  framework.IDStore
	c   framework.Config
}

func begin(t *testing.T, c frameworktest.Config, change ...func(*framework.Config)) *play {
	p := &play{Region: frameworktest.Start(t, c), t: t, id: &frameworktest.MemoryID{}}
	p.c = framework.Config{Name: "test", ID: p.id}
	for _, f := range change {
		f(&p.c)
	}
	p.Program("fails", func(ctx context.Context, _ *frameworktest.Process) int {
		frameworktest.Sleep(ctx, time.Second)
		return 1
	})
	p.start()
	p.Until("it is subscribed", func() bool { return p.subscriptions() == 1 })
	return p
}

// start starts a scheduler that remembers nothing but its framework's id.
func (p *play) start() {
	p.l = &launcher{told: map[string][]string{}, last: map[string]*framework.Update{}, outcomes: map[string][]string{}}
	p.run = p.Run(p.c, func(d *framework.Driver) framework.Scheduler { p.l.d = d; return p.l })
}

// do runs f as the scheduler does.
func (p *play) do(f func(*launcher)) {
	p.t.Helper()
	if err := p.run.Driver.Do(p.t.Context(), func() { f(p.l) }); err != nil {
		p.t.Fatal(err)
	}
}

func (p *play) add(tasks ...*framework.Task) { p.do(func(l *launcher) { l.add(tasks...) }) }

// tells waits until the scheduler was told exactly this of a task.
func (p *play) tells(task, want string) {
	p.t.Helper()
	defer func() {
		if p.t.Failed() {
			p.t.Logf("of %s it was told: %s", task, p.told(task))
		}
	}()
	p.Until("of "+task+": "+want, func() bool { return p.told(task) == want })
}

func (p *play) told(task string) (got string) {
	p.do(func(l *launcher) { got = strings.Join(l.told[task], " ") })
	return got
}

func (p *play) subscriptions() (n int) {
	p.do(func(l *launcher) { n = len(l.subs) })
	return n
}

func bubble(t *testing.T, f func(t *testing.T)) { synctest.Test(t, f) }

func TestTasksRunAndEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{})
		p.add(sh("good", "sleep 5"), sh("bad", "fails"), sh("missing", "no-such-program"))
		p.tells("good", "starting running finished")
		p.tells("bad", "starting running failed")
		p.tells("missing", "failed")
	})
}

func TestAChangeOfLeaderIsFollowed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{Servers: 3, Nodes: 2})
		p.add(sh("a", "sleep infinity"))
		p.tells("a", "starting running")
		p.Leader().StepDown()
		p.Until("it is subscribed again", func() bool { return p.subscriptions() == 2 })
		p.Leader().Crash()
		p.Until("it is subscribed again", func() bool { return p.subscriptions() == 3 })
		p.add(sh("b", "sleep 1"))
		p.tells("b", "starting running finished")
		p.tells("a", "starting running")
		var ids []string
		p.do(func(l *launcher) {
			for _, s := range l.subs {
				ids = append(ids, s.Framework)
			}
			if l.subs[0].Again || !l.subs[1].Again || !l.subs[2].Again {
				t.Errorf("again: %v", l.subs)
			}
		})
		if ids[0] != ids[1] || ids[1] != ids[2] {
			t.Errorf("its id changed: %v", ids)
		}
	})
}

var errTest = errors.New("not now")

func TestAnUpdateIsToldUntilItWasTaken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{})
		tries := 0 // of the scheduler
		p.do(func(l *launcher) {
			l.refuse = func(u *framework.Update) error {
				if u.State != structs.TaskFinished {
					return nil
				}
				if tries++; tries <= 2 {
					return errTest
				}
				return nil
			}
		})
		began := time.Now()
		p.add(sh("a", "sleep 1"))
		p.tells("a", "starting running finished")
		p.do(func(*launcher) {
			if tries != 3 {
				t.Errorf("it was told %d times", tries)
			}
		})
		if d := time.Since(began); d < 10*time.Second {
			t.Errorf("it was told again after %s", d)
		}
	})
}

func TestALostAcknowledgementIsNoNews(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{})
		var mu sync.Mutex
		acks := map[string]int{}
		p.OnCalls(func(c *wire.Call) frameworktest.Fault {
			mu.Lock()
			defer mu.Unlock()
			if *c.Type == wire.CallAcknowledge {
				if acks[string(c.Acknowledge.UUID)]++; acks[string(c.Acknowledge.UUID)] == 1 {
					return frameworktest.LoseCall
				}
			}
			return frameworktest.Arrives
		})
		p.add(sh("a", "sleep 1"))
		p.tells("a", "starting running finished")
		time.Sleep(time.Minute)
		p.tells("a", "starting running finished")
		mu.Lock()
		defer mu.Unlock()
		if len(acks) != 3 {
			t.Errorf("%d updates were acknowledged", len(acks))
		}
	})
}
