package state

import (
	"github.com/proffer/proffer/structs"
)

// Apply has an allocation stopped.
func (c *StopAlloc) Apply(tx *Tx) (any, error) {
	a, err := tx.alloc(c.ID)
	if err != nil {
		return nil, err
	}
	if a.Ended() {
		return nil, structs.Errorf(structs.Conflict, "allocation "+structs.Short(c.ID), "it ended (%s)", a.Status)
	}
	tx.stop(a, c.Why)
	return tx.receipt(), nil
}

// Apply has tasks restarted.
func (c *RestartAlloc) Apply(tx *Tx) (any, error) {
	a, err := tx.alloc(c.ID)
	if err != nil {
		return nil, err
	}
	if a.Ended() || a.Desired == structs.DesiredStop {
		return nil, structs.Errorf(structs.Conflict, "allocation "+structs.Short(c.ID), "it ended or is being stopped")
	}
	if c.Task != "" {
		v := tx.version(a.Job, a.Version)
		known := a.Tasks[c.Task] != nil
		if v != nil && v.Job.Group(a.Group) != nil {
			known = known || v.Job.Group(a.Group).Task(c.Task) != nil
		}
		if !known {
			return nil, structs.Errorf(structs.NotFound, "allocation "+structs.Short(c.ID), "it has no task %q", c.Task)
		}
	}
	next := *a
	next.RestartTask, next.Restarts, next.WantIndex = c.Task, a.Restarts+1, tx.Index
	tx.putAlloc(a, next)
	return tx.receipt(), nil
}
