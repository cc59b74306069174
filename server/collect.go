package server

import (
	"context"
	"time"

	"github.com/proffer/proffer/drivers/pause"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

const (
	// collectSlack is how many ended allocations there may be beyond the bound before the next collection, so that under a
	// steady stream of short work one entry removes many.
	collectSlack = 512
	// collectEvery is how often work is removed by age.
	collectEvery = time.Minute
	// collectRest is how long a collection that removed little is not repeated: what is left is still needed.
	collectRest = 10 * time.Second
	// collectLook bounds how often a busy region is looked at.
	collectLook = 100 * time.Millisecond
)

// collect keeps finished work within its bounds, for one term: by count as soon as there is too much of it, by age now
// and then.
func (s *Server) collect(term context.Context) {
	byAge, byCount := time.Now(), time.Now() // not before
	for term.Err() == nil {
		snap, keep := s.store.Snapshot(), s.retention.Load()
		_, ended := snap.AllocCount()
		now := time.Now()
		over := max(ended, snap.EndedJobCount()) - keep.max
		if now.Before(byAge) && (over < collectSlack || now.Before(byCount)) {
			wait := byAge.Sub(now)
			if over >= collectSlack {
				wait = min(wait, byCount.Sub(now))
			}
			ctx, cancel := context.WithTimeout(term, wait)
			s.store.Wait(ctx, snap.Index(), state.OfTable(state.Allocs), state.OfTable(state.Jobs))
			cancel()
			pause.For(term, collectLook)
			continue
		}
		cmd := &state.Collect{Before: structs.At(now.Add(-keep.age)), MaxFinished: keep.max}
		if !now.Before(byAge) && keep.nodes > 0 {
			cmd.NodesBefore = structs.At(now.Add(-keep.nodes))
			cmd.Nodes = forgettable(snap, cmd.NodesBefore)
		}
		if !now.Before(byAge) {
			cmd.OperationsBefore = structs.At(now.Add(-time.Duration(s.heedWithin.Load())))
			cmd.Operations = unheeded(snap, cmd.OperationsBefore)
		}
		answer, _, err := s.raft.Propose(term, "", "server "+s.config.Name, cmd)
		if err != nil {
			if term.Err() == nil {
				s.log.Warn("cannot remove finished work from the state", "err", err)
			}
			byAge, byCount = now.Add(collectRest), now.Add(collectRest)
			continue
		}
		done := answer.(*state.Collected)
		if done.Operations > 0 {
			s.log.Warn("outcomes of operations are forgotten: their frameworks did not acknowledge them for too long", "operations", done.Operations)
		}
		if done.Nodes > 0 {
			s.log.Info("nodes that were away for long are forgotten", "nodes", done.Nodes, "after", keep.nodes)
		}
		if !done.More {
			byAge = now.Add(collectEvery)
			if done.Allocs+done.Jobs < collectSlack {
				byCount = now.Add(collectRest)
			}
		}
	}
}

// forgetMost bounds the nodes that one entry forgets.
const forgetMost = 256

// forgettable lists nodes that are lost or left since before t and hold nothing.
func forgettable(snap *state.Snapshot, t structs.Time) (ids []structs.NodeID) {
next:
	for n := range snap.Nodes() {
		if !n.Forgettable(t) {
			continue
		}
		for range snap.HeldOnNode(n.ID) {
			continue next
		}
		if ids = append(ids, n.ID); len(ids) == forgetMost {
			break
		}
	}
	return ids
}
