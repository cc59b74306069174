package allocator

import (
	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// Request asks for allocations of one shape: one for each slot.
type Request struct {
	ID        string // unique; the host names it, such as "job/group"
	Framework structs.FrameworkID
	Role      string
	Priority  structs.Priority
	Seq       uint64 // FIFO order inside a framework and level: smaller first, such as the Raft index of the submission
	Ask       *placement.Ask
	Owner     string // whose user_limit it counts for; empty: nobody's
	// FrameworkScheduler says that it is the scheduler of a framework: it counts for max_framework_share.
	FrameworkScheduler bool

	Slots []Slot // what waits for placement; the allocator ignores the indexes that it has in flight
}

// Slot is one allocation that is wanted.
type Slot struct {
	Index    int
	Previous structs.AllocID  // carried to the decision
	Avoid    []structs.NodeID // taken only when nothing else fits
	Prefer   structs.NodeID   // taken when it fits
}

// Decision is one thing that the allocator decided. Exactly one field is set.
type Decision struct {
	Place   *Place
	Offer   *structs.Offer
	Rescind *Rescind
	Preempt *Preempt
	Keep    *Keep
	Hoard   *Hoard
	Inverse *structs.InverseOffer
}

// Place puts one allocation on a node. Its resources are held from now on; the host commits it and answers with Confirm
// or Refuse.
type Place struct {
	ID          uint64 // of the decision
	Request     string
	Framework   structs.FrameworkID
	Role        string
	Priority    structs.Priority // as asked
	Ordered     structs.Band     // as served: batch when production or monitoring was beyond its guarantee
	Job         string
	Group       string
	Marks       *structs.Marks // of the allocation
	Gang        string         // when it is of one: its other placements come with it, and the host commits all or refuses one of them
	Slot        Slot
	Node        structs.NodeID
	NodeName    string
	Incarnation uint64 // of the node, that Apply checks
	Resources   structs.Resources
	Ports       []structs.AssignedPort
	MaxRun      structs.Duration // after its start; 0: it may run for ever
	Revocable   *structs.Slack   // what of its resources is of the node's slack; nil when nothing is
	Keeps       bool             // nothing is placed: see Accept

	Owner              string // these two as asked
	FrameworkScheduler bool
}

// Preempt asks the host to stop allocations, with notice, so that a request has room. The room is held for the request
// from now on: a Place follows when the last of them has ended. The host answers nothing; the ends of the victims, or of
// their node, are the answer.
//
// Without a Request it takes slack of a node back that is used again, and no Place follows. Of Parts only what is revocable ends.
type Preempt struct {
	Request  string
	Job      string
	Role     string
	Priority structs.Priority // as asked
	Slot     Slot
	Node     structs.NodeID
	NodeName string
	Victims  []structs.AllocID // in the order of the contract; empty when work that is being stopped already makes the room
	Parts    []structs.AllocID
}

// Keep tells the host that room on a node is kept free for a request that others would overtake for ever. A Place follows
// when enough has ended there, or when there is room elsewhere. The host answers nothing.
type Keep struct {
	Request  string
	Job      string
	Role     string
	Priority structs.Priority // as asked
	Node     structs.NodeID
	NodeName string
	Nodes    int          // of a gang: on so many; Node is the one that is expected last
	Known    bool         // whether there is a latest time for the start
	Start    structs.Time // that time
}

// Rescind takes an offer back.
type Rescind struct {
	Offer     structs.OfferID
	Framework structs.FrameworkID
	Why       string
	Inverse   bool // it was an inverse offer
}
