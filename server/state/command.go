package state

import (
	"github.com/proffer/proffer/structs"
)

// Command is a change of state as a value. Apply is deterministic: the time is tx.Now, and it uses no randomness, does
// no I/O and calls nothing outside of tx. An error leaves the state as it was. The answer of a command is a pointer to
// the struct named at the command; it is small, because it is remembered under the entry's idempotency key.
//
// Commands and what they point to are immutable from the moment they are proposed.
type Command interface {
	// Kind is the name under which the command is registered and travels: "job.submit".
	Kind() string
	// Apply makes the change.
	Apply(tx *Tx) (answer any, err error)
}

// Envelope is a command on its way.
type Envelope struct {
	Key     string // idempotency key, at most MaxKey bytes; empty: not remembered
	Actor   string // who asked, for the record
	Command Command
}

// MaxKey bounds the length of an idempotency key.
const MaxKey = 128

// Result is what became of one command.
type Result struct {
	Answer any
	Err    error  // a *structs.Error
	Index  uint64 // the Raft index that made the change; an older one when Key was seen before
	Again  bool   // Key was seen before: nothing was done, Answer and Err are those of the first time
}

// Receipt is the answer of commands that have nothing more to say.
type Receipt struct {
	Index   uint64 // the Raft index that made the change
	Version uint64 // of the job, for commands about jobs
}

// FirstFeatureLevel is the level of a new region. The leader raises it once every server is known to know more.
const FirstFeatureLevel = 1

// MaxVersions is how many versions of a job are kept, beside those that running allocations refer to.
const MaxVersions = 20

// Initialize names the region on its first leader. A region that has a generation keeps it. Answer: *Receipt.
type Initialize struct {
	Region     string
	Generation string // random
	Level      int
}

// SetFeatureLevel raises the feature level; a lower one is a conflict. Answer: *Receipt.
type SetFeatureLevel struct{ Level int }

// SetGeneration marks that an operator restored a snapshot: nodes then prove less and quarantine more. Answer: *Receipt.
type SetGeneration struct{ Generation string }

// RegisterNode stores what a node says of itself and makes it ready. A node that was lost or left comes back with the
// next incarnation. The same fingerprint again changes nothing. Answer: *Registered.
type RegisterNode struct {
	Node *structs.Node
	// Open begins a session: it gets the next number, and leases of Lease are granted in it. A longer lease that the node
	// may hold from an older session stays in its record until SetLease.
	Open  bool
	Lease structs.Duration
	// Session is the one in which the node says it; 0: any. A conflict when there is a newer one.
	Session uint64
}

// Registered answers RegisterNode.
type Registered struct {
	Index       uint64
	Incarnation uint64
	Session     uint64           // the newest
	Lease       structs.Duration // the longest that the node may hold
	Changed     bool
	Untold      bool `codec:",omitempty"` // no work is placed on it until an Observe that is Told
	Gone        bool `codec:",omitempty"` // it was marked gone: it is not registered, and nothing else is set
}

// SetLease records that a node holds no lease that is longer than Lease any more, since Session began so long ago. It is a
// conflict when there is a newer session. Answer: *Receipt.
type SetLease struct {
	Node    structs.NodeID
	Session uint64
	Lease   structs.Duration
}

// SetNodeStatus records that a node is lost, left or ready. When it is lost, the allocations with on_lost "replace" are
// lost with it; the others are for LoseAllocs. When it left, all that did not end are lost. Answer: *Receipt.
type SetNodeStatus struct {
	Node        structs.NodeID
	Incarnation uint64 // of the node; 0: any. A conflict when it is another one now
	Session     uint64 // in which the node said it; 0: any. A conflict when there is a newer one
	Status      structs.NodeStatus
	Why         string
}

// LoseAllocs gives allocations of a lost node up: those named, or all that did not end. It is a conflict when the node
// is ready. Answer: *Receipt.
type LoseAllocs struct {
	Node   structs.NodeID
	Allocs []structs.AllocID
	Why    string
}

// SetEligibility lets work be placed on a node, or not. Answer: *Receipt.
type SetEligibility struct {
	Node     structs.NodeID
	Eligible bool
	Reason   string // why not, for people
}

// SetDrain begins (Drain set) or ends (Drain nil) the emptying of a node. Answer: *Receipt.
type SetDrain struct {
	Node     structs.NodeID
	Drain    *structs.Drain // Started is set by Apply
	Eligible bool           // with Drain nil: whether work may be placed again
	Reason   string         // with Drain: why, for people
	// ExpectIndex, when set, is the node's DrainIndex that the caller saw; a conflict when it is another one now.
	ExpectIndex *uint64
}

// SetMaintenance gives a node a window of maintenance, or with Maintenance nil ends or cancels the one that it has: the node
// then takes work again if it did before. One that began stays so when the window is changed. Answer: *Receipt.
type SetMaintenance struct {
	Node        structs.NodeID
	Maintenance *structs.Maintenance // Began and Eligible are set by Apply
	// ExpectStart, unless it is 0, must be the start of the window that the node has: a conflict otherwise.
	ExpectStart structs.Time
}

// BeginMaintenance has a node emptied for its window, until the window starts. It is a conflict when the node has another
// window. Answer: *Receipt.
type BeginMaintenance struct {
	Node  structs.NodeID
	Start structs.Time
}

// RemoveNode forgets a node that is lost or left; what did not end on it is lost. One that is ready is a conflict, unless it is to be
// marked gone, which may be said of one that was removed before, too. Volumes on the disks of one that is marked gone are lost with it; of another one it
// is a conflict while there is one whose data nobody gave up. Answer: *NodeRemoved.
type RemoveNode struct {
	Node structs.NodeID
	// Gone marks it gone, whether it is ready or not: it stops its work, and never registers under its id again. Of one that is marked
	// already nothing changes.
	Gone bool `codec:",omitempty"`
	// ExpectIndex is that of SetDrain.
	ExpectIndex *uint64 `codec:",omitempty"`
}

// NodeRemoved answers RemoveNode.
type NodeRemoved struct {
	Index uint64
	Lost  []string `codec:",omitempty"` // volumes, by name, that were on its disks
}

// SubmitJob stores a job: a first version, the next one when its text changed, or the same one, which is started again
// when it was stopped. The job is normalised and validated. A role that does not exist is made, and forgotten when nothing
// uses it any more, see Collect. Answer: *Receipt.
type SubmitJob struct {
	Job *structs.Job
	// ExpectVersion, when set, is the version that the submitter saw; 0: there must be no such job.
	ExpectVersion *uint64
	// KeepFinished says that work of a batch job that finished in older versions stays finished, because the change is
	// one that running work takes in place.
	KeepFinished bool
	// MaxJobs bounds the jobs that have not ended, when it is set: one more is refused as Exhausted. The leader fills it in.
	MaxJobs int
	// Sealed says that nothing makes a role at the top by naming it. The leader fills it in, here and in other commands.
	Sealed bool
}

// StopJob stops a job. With Purge its record goes too, and what runs of it is stopped at once. Answer: *Receipt.
type StopJob struct {
	Name  string
	Purge bool
}

// ScaleJob sets how many allocations of a group are wanted. Answer: *Receipt.
type ScaleJob struct {
	Name  string
	Group string
	Count int // at most structs' bound; negative: back to the count in the job's text

	MaxJobs int // see SubmitJob: a job that has ended begins again
}

// RestartJob has every allocation that exists now replaced; the work of a batch job runs again. Answer: *Receipt.
type RestartJob struct {
	Name    string
	MaxJobs int // see SubmitJob: a job that has ended begins again
}

// SetJobStatus records what a job looks like. Answer: *Receipt.
type SetJobStatus struct {
	Name    string
	Version uint64 // 0: any; a conflict when the job has another version now
	Status  structs.JobStatus
	Why     string
}

// Place carries decisions of the allocator: what to stop, what to change in place, what will never be tried again, and
// what to start, and what frameworks do with offers, done in this order. Each part is checked against the state that it meets and answered for itself; the
// command as a whole does not fail. Answer: *Placed.
type Place struct {
	Stops      []*Stop         `codec:",omitempty"`
	Updates    []*Update       `codec:",omitempty"`
	GiveUps    []*GiveUp       `codec:",omitempty"`
	Placements []*Placement    `codec:",omitempty"`
	Statuses   []*SetJobStatus `codec:",omitempty"` // one that is a conflict changes nothing
	Accepts    []*Accept       `codec:",omitempty"`
}

// Stop has an allocation stopped. One that ended or is being stopped is left alone.
type Stop struct {
	ID  structs.AllocID
	Why string
	By  uint64 // for Allocation.ReplacedBy
	// Preempted says that it makes room for other work, and Drained that its node is emptied: an external framework is told.
	Preempted bool
	Drained   bool `codec:",omitempty"`
	// MaxGrace bounds, for one that is Drained, how long each task of an external framework may take to end; nil: nothing does.
	MaxGrace *structs.Duration `codec:",omitempty"`
	// Revocable says that only those tasks end that run on what is revocable, where it can be: see structs.Reclaim.
	Revocable bool `codec:",omitempty"`
}

// Update moves a running allocation to the current version of its job in place.
type Update struct {
	ID      structs.AllocID
	Version uint64
}

// GiveUp records that the work of one index of a batch group failed for good.
type GiveUp struct {
	Job     string
	Version uint64
	Group   string
	Index   int
	Why     string
}

// Placement starts an allocation. Of Alloc the decider sets ID, Framework, Job, Version, Group, Index, Node, Resources,
// Ports, Marks and Failures; Role, Priority and OnLost are taken from the job when they are not set, the rest is set by Apply.
type Placement struct {
	Alloc           *structs.Allocation
	NodeIncarnation uint64 // that it relies on
	// Replaces is the allocation that this one follows in its place, with the ModifyIndex that the decision saw; 0: any.
	// It must have ended or be one that is being stopped, and with on_lost "fence" it must have ended.
	Replaces      structs.AllocID `codec:",omitempty"`
	ReplacesIndex uint64          `codec:",omitempty"`
	// Gang is the same for placements that follow each other and are done all or not at all; 0: each for itself.
	Gang uint64 `codec:",omitempty"`
	// Job is what an allocation of an external framework runs, in the group that the allocation names; nil: it has a job.
	Job *structs.Job `codec:",omitempty"`
	// Borrow has volumes of its Alloc that are not there yet, and that no record of another name may have: they are recorded as Borrowed.
	Borrow []*structs.Volume `codec:",omitempty"`
}

// Placed answers Place.
type Placed struct {
	Index      uint64
	Placements []PlaceResult   // one for each placement, in order
	Updates    []PlaceResult   // those that were refused
	Accepts    [][]PlaceResult // for each accept one for each operation, in order
}

// PlaceResult is the answer for one placement or update.
type PlaceResult struct {
	ID      structs.AllocID
	Refused Refusal // empty: done
	Why     string  // for people
}

// Refusal is why a placement was refused.
type Refusal string

const (
	RefusedNode      Refusal = "node"      // the node is gone, not schedulable, or came back as another incarnation
	RefusedJob       Refusal = "job"       // the job is gone, stopped, or has another version
	RefusedHeld      Refusal = "held"      // its index is held by another allocation
	RefusedFinished  Refusal = "finished"  // the work of its index is done, or was given up, or is not wanted any more
	RefusedResources Refusal = "resources" // the node has less free than it asks
	RefusedPorts     Refusal = "ports"     // a port of the host is taken
	RefusedVolume    Refusal = "volume"    // a volume is not there, is elsewhere, or is held by another allocation
	RefusedChanged   Refusal = "changed"   // what it replaces, or the allocation itself, changed
	RefusedInvalid   Refusal = "invalid"   // it can never be accepted as it is
)

// Observe records what a node reports of its allocations. Reports of an ended allocation, of an older incarnation, or
// of an allocation that is not the node's change nothing. It is a conflict when the node is not ready or has another
// incarnation, or a newer session, in which it has said all of it again. Answer: *Observed.
type Observe struct {
	Node            structs.NodeID
	NodeIncarnation uint64
	Session         uint64 // 0: any
	Updates         []*structs.AllocUpdate
	Told            bool `codec:",omitempty"` // with it the node has told of all that it runs
}

// Observed answers Observe.
type Observed struct {
	Index   uint64
	Changed int
}

// StopAlloc has one allocation stopped; its job places another one if it still wants it. Answer: *Receipt.
type StopAlloc struct {
	ID  structs.AllocID
	Why string
}

// RestartAlloc has a task of an allocation, or all of them, restarted on its node. Answer: *Receipt.
type RestartAlloc struct {
	ID   structs.AllocID
	Task string
}

// PutRole stores a role as PutRoles does. Answer: *Receipt.
type PutRole struct {
	Role  *structs.Role
	Force bool
}

// PutRoles stores roles, all or none. It is a conflict when guarantees do not add up: those below a role to at most its
// own, those of the top to at most what the ready nodes have, and none above a limit; and when a limit is below what is
// in use. Answer: *Receipt.
type PutRoles struct {
	Roles []*structs.Role
	Force bool // more may be guaranteed than the nodes have, and a limit may be below what is in use
}

// DeleteRole removes a role that nothing uses. Answer: *Receipt.
type DeleteRole struct {
	Name  string
	Force bool // also one that jobs or frameworks use: their work goes on, with weight 1 and without a quota
}

// PutFramework stores a framework as it is. Answer: *Receipt.
type PutFramework struct {
	Framework *structs.Framework
	Sealed    bool
}

// SetHoarding records that a framework does not answer its offers, or with Hoarding nil that it does. Answer: *Receipt.
type SetHoarding struct {
	Framework structs.FrameworkID
	Hoarding  *structs.Hoarding
}

// Collect removes ended allocations that nothing needs any more, and ended jobs without allocations: the oldest first,
// those that ended before Before, and those beyond MaxFinished; and roles that were made on first use and that no job, held
// allocation, reservation or framework uses any more. What one entry removes is bounded. Answer: *Collected.
type Collect struct {
	Before      structs.Time
	MaxFinished int // allocations kept, and jobs kept; 0: DefaultMaxFinished; negative: none

	Nodes       []structs.NodeID // that may be forgotten: they are lost or left since before NodesBefore, and hold nothing
	NodesBefore structs.Time

	Operations       []OperationName // that may be forgotten: see Unheeded, since before OperationsBefore
	OperationsBefore structs.Time
}

// DefaultMaxFinished is how many ended allocations and how many ended jobs stay in state.
const DefaultMaxFinished = 5000

// OperationName names one among those of all frameworks.
type OperationName struct {
	Framework structs.FrameworkID
	ID        string
}

// Collected answers Collect.
type Collected struct {
	Index      uint64
	Allocs     int
	Jobs       int
	Nodes      int
	Roles      int
	Operations int
	More       bool // the bound of one entry was met: ask again
}
