package client

import (
	"context"
	"sync"
	"time"

	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/session"
)

// lease is until when the node may run fenced work, on the clock that counts while the machine is suspended.
type lease struct {
	clock session.Clock

	mu      sync.Mutex
	until   session.Instant
	changed chan struct{} // closed and replaced when until moves
}

func newLease(clock session.Clock) *lease { return &lease{clock: clock, changed: make(chan struct{})} }

// left returns how long the lease holds; zero or less when it is over. changed is closed when that becomes wrong.
func (l *lease) left() (left time.Duration, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until == 0 {
		return 0, l.changed
	}
	return time.Duration(l.until - l.clock.Now()), l.changed
}

// extend moves the end; it never moves back.
func (l *lease) extend(until session.Instant) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until <= l.until {
		return false
	}
	l.until = until
	close(l.changed)
	l.changed = make(chan struct{})
	return true
}

func (l *lease) end() session.Instant {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until
}

func (l *lease) holds() bool {
	left, _ := l.left()
	return left > 0
}

// hold waits until the lease holds.
func (l *lease) hold(ctx context.Context) error {
	for {
		left, changed := l.left()
		if left > 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// leaseLook bounds how late the end of a lease is noticed after the machine was suspended: timers do not count then.
const leaseLook = time.Second

// watchLease stops fenced work when the lease ends. A lease that never was has ended.
func (c *Client) watchLease(ctx context.Context) {
	for {
		left, changed := c.lease.left()
		if left <= 0 {
			c.fence()
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
			continue
		}
		timer := time.NewTimer(min(left, leaseLook))
		select {
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// fence stops what must not run without a lease: what began before a moment at which there is none.
func (c *Client) fence() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var begun []*runner.Alloc
	for _, h := range c.held {
		if h.alloc.OnLost == onLostFence && h.run.Begun() {
			begun = append(begun, h.run)
		}
	}
	if c.lease.holds() {
		return // renewed meanwhile, and perhaps that is why they began
	}
	for _, run := range begun {
		run.Fence("the node's lease ended, and on_lost is fence")
	}
}

const onLostFence = "fence"

// renewFencers passes the end of the lease on to those who hold it outside the agent.
func (c *Client) renewFencers(ctx context.Context) {
	for {
		left, changed := c.lease.left()
		if until := c.lease.end(); left > 0 {
			for _, f := range c.config.Fencers {
				passing, cancel := context.WithTimeout(ctx, left)
				err := f.Renew(passing, time.Duration(until))
				cancel()
				if err != nil && ctx.Err() == nil {
					c.log.Warn("the deadline of the lease cannot be passed on; fenced tasks may end early", "err", err)
				}
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// Lease says until when the node holds its lease. The session calls it.
func (c *Client) Lease(until session.Instant) {
	if !c.lease.extend(until) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.held {
		if h.alloc.OnLost == onLostFence {
			c.rememberLeaseLocked()
			break
		}
	}
}

// rememberLeaseLocked writes down until when fenced work may go on, for an agent that is started again. When that is lost
// the older one counts, which is earlier.
func (c *Client) rememberLeaseLocked() {
	until := int64(c.lease.end())
	if until == 0 || c.memory.Boot == c.config.BootID && c.memory.Lease == until {
		return
	}
	c.memory.Boot, c.memory.Lease = c.config.BootID, until
	c.rememberLocked()
}
