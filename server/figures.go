package server

import (
	"sync"
	"sync/atomic"

	"github.com/proffer/proffer/drivers/timing"
	"github.com/proffer/proffer/server/consensus"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Figures is what a server counted and measured since it began, beside what the state and its tally say. All but Consensus is of the times
// in which it led, and zero on a server that never did.
type Figures struct {
	Consensus consensus.Figures

	Steps   timing.Summary // of the allocator
	Waits   timing.Summary // of committed changes, until the allocator looked at them
	Waiting int            // committed changes that the loop has not taken
	Filters map[string]int // what frameworks declined and are not offered for now, by role

	Passed, Lost uint64                   // messages of executors: queued for their frameworks, and to whom no framework listens
	Refused      map[state.TaskEnd]uint64 // tasks that never were, as frameworks were told
	Offers       []*structs.OfferStatus   // of the frameworks that are connected
}

// counts are those of Figures that are counted.
type counts struct {
	passed, lost atomic.Uint64

	mu      sync.Mutex
	refused map[state.TaskEnd]uint64
}

// refuse counts a task that never was.
func (c *counts) refuse(n *TaskNews) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused == nil {
		c.refused = map[state.TaskEnd]uint64{}
	}
	c.refused[state.TaskEnd{State: n.State, Reason: n.Reason}]++ // there are as many kinds as the code has words for them
}

func (c *counts) into(f *Figures) {
	f.Passed, f.Lost = c.passed.Load(), c.lost.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	f.Refused = make(map[state.TaskEnd]uint64, len(c.refused))
	for end, n := range c.refused {
		f.Refused[end] = n
	}
}

// Figures returns them.
func (s *Server) Figures() Figures {
	f := Figures{Consensus: s.raft.Figures(), Steps: s.loop.steps.Summary(), Waits: s.loop.waits.Summary(), Filters: map[string]int{}}
	s.counts.into(&f)
	l, err := s.loop.get()
	if err != nil {
		return f
	}
	f.Waiting = l.feed.Waiting() + len(l.batches)
	f.Offers = s.OfferFigures()
	l.mu.Lock()
	defer l.mu.Unlock()
	f.Filters = l.allocator.Filters()
	return f
}
