package server

import (
	"context"
	"time"

	"github.com/proffer/proffer/drivers/pause"
	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// takeReservation brings a change of a reservation to the allocator.
func (l *loop) takeReservation(c state.Change) {
	if r, _ := c.New.(*structs.Reservation); r != nil {
		if err := l.allocator.SetReservation(r); err != nil {
			l.log.Error("a stored reservation cannot be used", "reservation", r.ID, "err", err)
		}
		return
	}
	l.allocator.RemoveReservation(c.Old.(*structs.Reservation).ID)
}

// holdReserved takes what is reserved on a node for others than a role, and unused, off its books; of reserved ports the role may name its own.
func holdReserved(snap *state.Snapshot, n *placement.Node, role string) {
	if n.Spec() == nil {
		return
	}
	if rooms := snap.RoomsOn(n.Spec()); rooms != nil {
		mine := structs.UnusedFor(role, rooms)
		n.Hold(structs.UnusedOf(rooms).Sub(mine), nil)
		n.SetReserved(structs.ReservedPorts(rooms), mine.PortRanges())
	}
}

const (
	// releaseEvery is how often it is looked which reservations are to be released.
	releaseEvery = time.Minute
	// releaseMost bounds how many one entry releases.
	releaseMost = 1000
)

// release releases reservations whose time is over, and those of frameworks that are gone for long, for one term.
func (s *Server) release(term context.Context) {
	for term.Err() == nil {
		snap, now := s.store.Snapshot(), structs.At(time.Now())
		due, next := releasable(snap, now, structs.Duration(s.retention.Load().orphans))
		if len(due) == 0 {
			ctx, cancel := context.WithTimeout(term, min(next.Std().Sub(now.Std()), releaseEvery))
			s.store.Wait(ctx, snap.Index(), state.OfTable(state.Reservations))
			cancel()
			continue
		}
		_, _, err := s.raft.Propose(term, "", "server "+s.config.Name, &state.DeleteReservations{IDs: due, Force: true})
		if err != nil {
			if term.Err() == nil {
				s.log.Warn("cannot release reservations", "err", err)
			}
			pause.For(term, collectRest)
			continue
		}
		s.log.Info("reservations are released: their time is over, or their owner is gone", "reservations", len(due))
	}
}

// releasable returns reservations that are to be released now, and when the next one may be.
func releasable(snap *state.Snapshot, now structs.Time, orphans structs.Duration) (due []structs.ReservationID, next structs.Time) {
	next = now.Add(structs.Duration(releaseEvery))
	for r := range snap.Reservations() {
		at := r.Until
		if r.Orphaned != 0 && (at == 0 || r.Orphaned.Add(orphans) < at) {
			at = r.Orphaned.Add(orphans)
		}
		switch {
		case at == 0:
		case at > now:
			next = min(next, at)
		case len(due) < releaseMost:
			due = append(due, r.ID)
		}
	}
	return due, next
}
