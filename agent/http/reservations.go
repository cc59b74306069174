package http

import (
	"strings"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

func reservationList(c *call) (any, error) {
	keys := []state.Key{state.OfTable(state.Reservations), state.OfTable(state.Nodes)}
	return c.read(keys, func(snap *state.Snapshot) (any, error) {
		return page(c, reservationKey, func(from string) seq[*structs.Reservation] {
			return func(yield func(*structs.Reservation) bool) {
				for r := range snap.AllReservations() {
					if string(r.ID) >= from && !yield(r) {
						return
					}
				}
			}
		})
	})
}

func reservationKey(r *structs.Reservation) string { return string(r.ID) }

// reservation returns the reservation of the path.
func (c *call) reservation(snap *state.Snapshot) (*structs.Reservation, error) {
	given := c.r.PathValue("id")
	if node, ok := strings.CutPrefix(given, "static:"); ok {
		node, _, _ = strings.Cut(node, ":")
		if n := snap.Node(structs.NodeID(node)); n != nil {
			for _, r := range n.StaticReservations() {
				if string(r.ID) == given {
					return r, nil
				}
			}
		}
		return nil, structs.Errorf(structs.NotFound, "reservation "+quoted(given), "there is none")
	}
	return byPrefix("reservation", given, reservationKey, func(id string) seq[*structs.Reservation] {
		return snap.ReservationsFrom(structs.ReservationID(id))
	})
}

func reservationGet(c *call) (any, error) {
	keys := []state.Key{state.OfTable(state.Reservations), state.OfTable(state.Nodes)}
	return c.read(keys, func(snap *state.Snapshot) (any, error) { return c.reservation(snap) })
}

func reservationCreate(c *call) (any, error) {
	var body structs.Reservation
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if err := body.Problems().Err(); err != nil {
		return nil, err
	}
	snap, err := c.snapshot()
	if err != nil {
		return nil, err
	}
	n, err := nodeByPrefix(snap, string(body.Node))
	if err != nil {
		return nil, err
	}
	body.ID, body.Node = structs.ReservationID(structs.NewID()), n.ID
	if body.Principal == "" {
		body.Principal = c.actor
	}
	result, err := c.propose(&state.PutReservation{Reservation: &body, Force: c.yes("force")})
	if err != nil {
		return nil, err
	}
	done := result.Answer.(*state.Reserved)
	return &api.Reserved{ID: done.ID, Index: result.Index}, nil
}

func reservationDelete(c *call) (any, error) {
	snap, err := c.snapshot()
	if err != nil {
		return nil, err
	}
	r, err := c.reservation(snap)
	if err != nil {
		return nil, err
	}
	if r.Static {
		return nil, structs.Errorf(structs.Conflict, "reservation "+string(r.ID), "the configuration of node %s makes it", r.NodeName).
			Advise("take it out of the client block there, and reload the agent")
	}
	return c.written(&state.DeleteReservations{IDs: []structs.ReservationID{r.ID}}, "")
}
