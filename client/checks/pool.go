// Package checks asks the running tasks of a node whether they can do their work. Checks cost a place in a queue while they
// wait, and a goroutine while they ask.
package checks

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/proffer/proffer/structs"
)

// Parallel is how many checks may ask at the same time; the others wait.
const Parallel = 64

// Pool makes the checks of one node.
type Pool struct {
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
	wake chan struct{}

	mu     sync.Mutex
	queue  queue
	asking int
	begun  bool
}

// NewPool makes a pool without checks.
func NewPool() *Pool {
	p := &Pool{wake: make(chan struct{}, 1)}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

// Close ends all checks and waits for those that ask. Nothing is reported afterwards. It may be called again.
func (p *Pool) Close() {
	p.stop()
	p.wg.Wait()
}

// Check is one check that is being made. Its owner stops it.
type Check struct {
	pool    *Pool
	what    *structs.Check
	to      Target
	started time.Time
	report  func(structs.CheckStatus, Answer)
	each    func(Answer) // instead of report: of Watch

	due     time.Time // of the next one
	at      int       // in the queue, -1: it is not there
	verdict verdict   // of the goroutine that asks
	told    string    // why it did not pass, by the last report; likewise
	toldAt  time.Time
	ctx     context.Context
	cancel  context.CancelFunc
}

// Add makes a check of a task again and again, from initial_delay after its start on; status is what is known of it. report is
// called when the status changes, once, with CheckPending, when it did not pass at first, and when it does not pass for another reason than
// a minute or more ago. It is called from a goroutine of the pool and may call Stop of other checks, not of its own.
func (p *Pool) Add(what *structs.Check, to Target, started time.Time, status structs.CheckStatus, report func(structs.CheckStatus, Answer)) *Check {
	c := &Check{what: what, to: to, started: started, report: report, verdict: verdict{status: status}, due: started.Add(what.InitialDelay.Std())}
	if status != structs.CheckPending { // the agent was restarted: not all at once
		c.due = time.Now().Add(time.Duration(rand.Int64N(int64(what.Interval) + 1)))
	}
	return p.add(c)
}

func (p *Pool) add(c *Check) *Check {
	c.pool, c.at = p, -1
	c.ctx, c.cancel = context.WithCancel(p.ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	heap.Push(&p.queue, c)
	if !p.begun {
		p.begun = true
		p.wg.Go(p.run)
	}
	p.rouse()
	return c
}

// Watch asks a task again and again, from initial_delay after its start on, and calls each with every answer, as Add calls report. A task that was
// found again is asked at once.
func (p *Pool) Watch(what *structs.Check, to Target, started time.Time, each func(Answer)) *Check {
	return p.add(&Check{what: what, to: to, started: started, each: each, due: started.Add(what.InitialDelay.Std())})
}

// Stop ends a check. It does not wait: report may be running, and is not called again.
func (c *Check) Stop() {
	p := c.pool
	c.cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.at >= 0 {
		heap.Remove(&p.queue, c.at)
	}
}

// rouse has run look at the queue. The caller holds mu.
func (p *Pool) rouse() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *Pool) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-p.wake:
		case <-p.ctx.Done():
			return
		}
		if wait, ok := p.begin(); ok {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
	}
}

// begin has those ask that are due, and returns when the next one is; false: nothing is to be waited for but rouse.
func (p *Pool) begin() (wait time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for now := time.Now(); len(p.queue) > 0 && p.asking < Parallel; {
		c := p.queue[0]
		if wait = c.due.Sub(now); wait > 0 {
			return wait, true
		}
		heap.Pop(&p.queue)
		p.asking++
		p.wg.Go(func() { p.once(c) })
	}
	return 0, false
}

// renewal is how long why a check does not pass may be out of date: a reason with figures in it is another one each time.
const renewal = time.Minute

// once asks and has the check wait for its next time.
func (p *Pool) once(c *Check) {
	ctx, cancel := context.WithTimeout(c.ctx, c.what.Timeout.Std())
	answer := ask(ctx, c.what, c.to)
	cancel()
	switch {
	case c.ctx.Err() != nil:
	case c.each != nil:
		c.each(answer)
	default:
		before := c.verdict
		c.verdict = before.next(c.what, time.Since(c.started), answer)
		news := c.verdict.status != before.status || c.verdict.status == structs.CheckPending && before.tries == 0
		other := c.verdict.status != structs.CheckPassing && !answer.OK && answer.Why != c.told && time.Since(c.toldAt) >= renewal
		if news || other {
			c.told, c.toldAt = answer.Why, time.Now()
			c.report(c.verdict.status, answer)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asking--
	if c.ctx.Err() == nil {
		pause := c.what.Interval.Std()
		if c.each == nil {
			pause = c.verdict.pause(c.what)
		}
		c.due = time.Now().Add(pause - pause/20 + time.Duration(rand.Int64N(int64(pause/10)+1))) // those of many tasks drift apart
		heap.Push(&p.queue, c)
	}
	p.rouse()
}

// queue has what is due first on top.
type queue []*Check

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

func (q *queue) Push(x any) {
	c := x.(*Check)
	c.at = len(*q)
	*q = append(*q, c)
}

func (q *queue) Pop() any {
	old := *q
	c := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	c.at = -1
	return c
}
