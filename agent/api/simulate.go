package api

import (
	"context"

	"github.com/proffer/proffer/structs"
)

// SimulateRequest is what a simulation makes different from the region as it is.
type SimulateRequest struct {
	AddNodes    int             `json:"add_nodes,omitempty"`    // empty nodes as Like is
	Like        string          `json:"like,omitempty"`         // id or name of a node
	RemoveNodes []string        `json:"remove_nodes,omitempty"` // ids or names; what runs on them is lost
	Roles       []*structs.Role `json:"roles,omitempty"`        // new or changed ones
	Force       bool            `json:"force,omitempty"`        // of roles: as in role apply
	Jobs        []*structs.Job  `json:"jobs,omitempty"`         // new or changed ones
}

// Simulated is what the allocator would do, if nothing else happened and what is preempted ended at once.
type Simulated struct {
	Index     uint64            `json:"index"` // of the state
	Time      structs.Time      `json:"time"`  // of the last change in it
	Nodes     int               `json:"nodes"` // that take work
	Asked     int               `json:"asked"` // allocations that waited at the beginning
	Placed    int               `json:"placed"`
	Preempted int               `json:"preempted"`
	Waiting   int               `json:"waiting"`         // at the end
	Later     int               `json:"later,omitempty"` // jobs that ask again at a later time, after failures
	Groups    []*SimulatedGroup `json:"groups"`
	Stops     []*SimulatedStop  `json:"stops"` // at most 1,000
}

// SimulatedGroup is a group to which something happens, or which waits.
type SimulatedGroup struct {
	Job       string           `json:"job"`
	Group     string           `json:"group"`
	Role      string           `json:"role"`
	Priority  structs.Priority `json:"priority"`
	Placed    int              `json:"placed"`
	Preempted int              `json:"preempted,omitempty"`
	Waiting   int              `json:"waiting"`
	On        map[string]int   `json:"on"`                // placements by name of the node
	Because   string           `json:"because,omitempty"` // of what waits, as in an explanation
	Order     string           `json:"order,omitempty"`   // what holds it back beside the nodes, in words
	Turn      *structs.Turn    `json:"turn,omitempty"`
	Bounds    []*Bound         `json:"bounds,omitempty"`
	Nodes     int              `json:"nodes"` // that were looked at for it; 0: it is not explained
	Reasons   []*Reason        `json:"reasons,omitempty"`
	Help      []*Help          `json:"help,omitempty"`
	Advice    string           `json:"advice,omitempty"`
}

// SimulatedStop is an allocation that would be stopped, and the job for which.
type SimulatedStop struct {
	Stopped
	For string `json:"for"`
}

// Simulate says what the allocator would do with an agent's copy of the region after a change. Nothing is changed.
func (c *Client) Simulate(ctx context.Context, change *SimulateRequest) (*Simulated, error) {
	return write[Simulated](ctx, c, "POST", "/v1/operator/simulate", nil, change)
}
