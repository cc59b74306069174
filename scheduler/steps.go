package scheduler

import "github.com/proffer/proffer/structs"

// Want is what a job asks for now.
type Want struct {
	Job    *structs.Job       // the newest version
	Record *structs.JobRecord // Record.Version is the version of Job
	// Replaces reports whether work of version from must be replaced to become version to; otherwise it is updated in
	// place. It is called at most once for each pair of group and version in one Next. Nil replaces always.
	Replaces func(group string, from, to uint64) bool
	// Node returns the node of that id, or nil when the region does not know it (its work is then left to the state that
	// marks it lost). Nil means that no node drains.
	Node func(structs.NodeID) *structs.Node
}

// Steps brings a job closer to what it asks for. They are computed afresh from committed state each time: steps that
// were not carried out come again, steps that were do not.
type Steps struct {
	// Place lists all slots that want an allocation now, also those asked for before and not placed yet.
	Place  []Placement `json:"place,omitempty"`
	Stop   []Stop      `json:"stop,omitempty"`
	Update []Update    `json:"update,omitempty"`

	Status structs.JobStatus `json:"status"`
	Why    string            `json:"why,omitempty"` // of Status, or what a change waits for

	// WakeAt is when Next must be called again although nothing changed; zero: never.
	WakeAt structs.Time `json:"wake_at,omitempty"`

	// Finished and FailedFor have, by group of a batch job, the indexes that ended and that JobRecord does not list yet.
	Finished  map[string][]structs.Range `json:"finished,omitempty"`
	FailedFor map[string][]structs.Range `json:"failed_for,omitempty"`
}

// Placement asks for one allocation.
type Placement struct {
	Group    string           `json:"group"`
	Index    int              `json:"index"`
	Previous structs.AllocID  `json:"previous,omitempty"` // what it replaces
	Avoid    []structs.NodeID `json:"avoid,omitempty"`    // nodes where it failed before: taken only when nothing else fits
	Failures []structs.Time   `json:"failures,omitempty"` // of its predecessors, newest last, for Allocation.Failures
	Prefer   structs.NodeID   `json:"prefer,omitempty"`   // its images were got there for it
}

// Stop ends one allocation.
type Stop struct {
	Alloc structs.AllocID `json:"alloc"`
	Why   string          `json:"why"`
	By    uint64          `json:"by,omitempty"` // for Allocation.ReplacedBy
}

// Update moves one running allocation to a version of its job without restarting it.
type Update struct {
	Alloc   structs.AllocID `json:"alloc"`
	Version uint64          `json:"version"`
}

// Wake lowers WakeAt to t.
func (s *Steps) Wake(t structs.Time) {
	if s.WakeAt == 0 || t < s.WakeAt {
		s.WakeAt = t
	}
}
