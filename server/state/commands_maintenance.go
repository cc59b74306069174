package state

import (
	"cmp"

	"github.com/proffer/proffer/structs"
)

// Apply gives a node a window, or ends it.
func (c *SetMaintenance) Apply(tx *Tx) (any, error) {
	old, err := tx.present(c.Node)
	if err != nil {
		return nil, err
	}
	had := old.Maintenance
	if c.Maintenance == nil && had == nil {
		return nil, structs.Errorf(structs.NotFound, nodeText(old), "it has no maintenance")
	}
	if c.ExpectStart != 0 && (had == nil || had.Start != c.ExpectStart) {
		return nil, structs.Errorf(structs.Conflict, nodeText(old), "its maintenance was changed")
	}
	n := *old
	if c.Maintenance == nil {
		n.Maintenance = nil
		if had.Began {
			n.Drain, n.Eligible, n.DrainIndex = nil, had.Eligible, tx.Index
		}
		tx.putNode(old, n)
		return tx.receipt(), nil
	}
	m := *c.Maintenance
	if err := m.Problems(tx.Now).Err(); err != nil {
		return nil, structs.Errorf(structs.Invalid, nodeText(old), "%w", err)
	}
	m.Began, m.Eligible = false, false
	if had != nil && had.Began {
		m.Began, m.Eligible = true, had.Eligible
		if n.Drain != nil {
			d := *n.Drain
			d.Deadline = m.Start
			n.Drain, n.DrainIndex = &d, tx.Index
		}
	}
	n.Maintenance = &m
	tx.putNode(old, n)
	return tx.receipt(), nil
}

// Apply begins to empty a node for its window. A drain that an operator began goes on, with the earlier deadline.
func (c *BeginMaintenance) Apply(tx *Tx) (any, error) {
	old, err := tx.present(c.Node)
	if err != nil {
		return nil, err
	}
	had := old.Maintenance
	if had == nil || had.Start != c.Start {
		return nil, structs.Errorf(structs.Conflict, nodeText(old), "its maintenance was changed")
	}
	if had.Began {
		return tx.receipt(), nil
	}
	n, m, d := *old, *had, structs.Drain{Deadline: had.Start, Started: tx.Now}
	m.Began, m.Eligible = true, old.Eligible
	if old.Drain != nil {
		d.Started, d.Gone = old.Drain.Started, old.Drain.Gone
		d.Deadline = min(d.Deadline, cmp.Or(old.Drain.Deadline, d.Deadline))
	}
	n.Maintenance, n.Drain, n.Eligible, n.DrainIndex = &m, &d, false, tx.Index
	tx.putNode(old, n)
	return tx.receipt(), nil
}
