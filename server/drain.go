package server

import (
	"context"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// drainStops bounds the stops in one command; the next look finds the others.
const drainStops = 1024

// whyDrained says why work is stopped on a node that is emptied.
func whyDrained(late bool) string {
	if late {
		return "the drain of its node reached its deadline"
	}
	return "its node is drained"
}

// watchDrains ends drains, for one term: at its deadline what is left on the node is stopped, what Drain.Kills says at once, and a node that is empty
// stops draining and stays ineligible, or is marked gone. Moving work away before that is the jobs' own decision.
func (s *Server) watchDrains(term context.Context) {
	for term.Err() == nil {
		snap := s.store.Snapshot()
		now := structs.At(time.Now())
		keys := []state.Key{state.OfTable(state.Nodes)}
		wait := time.Hour
		for n := range snap.Nodes() {
			if n.Drain == nil {
				continue
			}
			keys = append(keys, state.OfNodeAllocs(n.ID))
			left, late := 0, n.Drain.Deadline != 0 && now >= n.Drain.Deadline
			var stops []*state.Stop
			for a := range snap.HeldOnNode(n.ID) {
				left++
				if (late || n.Drain.Kills && a.External != nil) && a.Desired == structs.DesiredRun && len(stops) < drainStops && !(len(n.Attached) > 0 && isPlugin(snap, a)) {
					stops = append(stops, &state.Stop{ID: a.ID, Why: whyDrained(late), Drained: true, MaxGrace: n.Drain.MaxGrace})
				}
			}
			var cmd state.Command
			switch {
			case left == 0 && n.Drain.Gone:
				cmd = &state.RemoveNode{Node: n.ID, Gone: true, ExpectIndex: &n.DrainIndex} // unless an operator was faster
			case left == 0:
				cmd = &state.SetDrain{Node: n.ID, Eligible: false, ExpectIndex: &n.DrainIndex} // likewise
			case len(stops) > 0:
				cmd = &state.Place{Stops: stops}
			case !late && n.Drain.Deadline != 0:
				wait = min(wait, n.Drain.Deadline.Sub(now).Std())
			}
			if cmd == nil {
				continue
			}
			if _, _, err := s.raft.Propose(term, "", "server "+s.config.Name, cmd); err != nil {
				if term.Err() == nil {
					s.log.Warn("cannot go on with a drain", "node", n.Name, "err", err)
				}
				wait = min(wait, time.Second)
			} else if left == 0 {
				s.log.Info("node drained", "node", n.Name, "gone", n.Drain.Gone)
			}
		}
		ctx, cancel := context.WithTimeout(term, wait)
		s.store.Wait(ctx, snap.Index(), keys...)
		cancel()
	}
}
