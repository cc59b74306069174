package consensus

import (
	"sync"
	"time"
)

// calls counts goroutines that wait for an answer of raft. Unlike a WaitGroup it may be waited for while others start.
type calls struct {
	mu   sync.Mutex
	open int
	idle chan struct{} // closed when open is 0; nil when nobody waits
}

// Go runs f in a goroutine.
func (c *calls) Go(f func()) {
	c.mu.Lock()
	c.open++
	c.mu.Unlock()
	go func() {
		defer c.done()
		f()
	}()
}

func (c *calls) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open--; c.open == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

// wait waits until no goroutine is left, for patience at most, and tells whether that is so. One caller at a time.
func (c *calls) wait(patience time.Duration) bool {
	c.mu.Lock()
	if c.open == 0 {
		c.mu.Unlock()
		return true
	}
	idle := make(chan struct{})
	c.idle = idle
	c.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-idle:
		return true
	case <-timer.C:
		return false
	}
}
