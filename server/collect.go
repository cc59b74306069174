package server

import (
	"context"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// collectSlack is how many ended allocations there may be beyond the bound before the next collection, so that under a
// steady stream of short work one entry removes many.
const collectSlack = 512

// collect keeps finished work within its bounds, for one term: by count as soon as there is too much of it, by age now
// and then.
func (s *Server) collect(term context.Context) {
	const every = time.Minute
	next := time.Now()
	for term.Err() == nil {
		snap, keep := s.store.Snapshot(), s.retention.Load()
		_, ended := snap.AllocCount()
		if over := max(ended, snap.EndedJobCount()) - keep.max; over < collectSlack && time.Now().Before(next) {
			wait, cancel := context.WithTimeout(term, min(time.Until(next), every))
			s.store.Wait(wait, snap.Index(), state.OfTable(state.Allocs), state.OfTable(state.Jobs))
			cancel()
			// A pause bounds how often a busy region is looked at.
			select {
			case <-time.After(100 * time.Millisecond):
			case <-term.Done():
			}
			continue
		}
		answer, _, err := s.raft.Propose(term, structs.NewID(), "server "+s.config.Name, &state.Collect{
			Before: structs.At(time.Now().Add(-keep.age)), MaxFinished: keep.max,
		})
		if err != nil {
			if term.Err() == nil {
				s.log.Warn("cannot remove finished work from the state", "err", err)
			}
			next = time.Now().Add(every)
			continue
		}
		if !answer.(*state.Collected).More {
			next = time.Now().Add(every)
		}
	}
}
