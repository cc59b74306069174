package api

import (
	"encoding/json"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Written is the answer to a change: the index at which the region has it.
type Written struct {
	Index uint64 `json:"index"`
}

// Done is the answer to what has nothing more to say.
type Done struct {
	Done bool `json:"done"`
}

// JobSubmitted is the answer to a submitted job.
type JobSubmitted struct {
	Name    string `json:"name"`
	Version uint64 `json:"version"`
	Changed bool   `json:"changed"` // false: the region had this text already
	Index   uint64 `json:"index"`
}

// JobDispatch asks to dispatch a parameterized job.
type JobDispatch struct {
	Meta    map[string]string `json:"meta,omitempty"`
	Payload []byte            `json:"payload,omitempty"` // in JSON: base64; at most 64 KiB
}

// GroupCounts is how many allocations of a group are in which state. Finished work of a batch job counts as complete
// after its allocations left the state.
type GroupCounts struct {
	Group    string `json:"group"`
	Wanted   int    `json:"wanted"`
	Waiting  int    `json:"waiting"` // not placed
	Pending  int    `json:"pending"`
	Running  int    `json:"running"`
	Complete int    `json:"complete"`
	Failed   int    `json:"failed"`
	Lost     int    `json:"lost"`
}

// JobSummary is a job in a list.
type JobSummary struct {
	structs.JobRecord
	Groups []*GroupCounts `json:"groups"`
}

// JobDetail is one job: what the region knows of it and its text.
type JobDetail struct {
	JobSummary
	Job *structs.Job `json:"job"`
}

// JobStatus is one job with its allocations, newest first, at most 1,000 of them.
type JobStatus struct {
	JobDetail
	Allocations []*structs.Allocation `json:"allocations"`
	Truncated   bool                  `json:"truncated,omitempty"`
}

// JobPlan is what submitting a job would do.
type JobPlan struct {
	Diff        json.RawMessage `json:"diff"`                  // of package agent/spec
	Text        string          `json:"text"`                  // the diff for people
	Version     uint64          `json:"version"`               // that the region has now, 0: none; what check takes
	Explanation *Explanation    `json:"explanation,omitempty"` // where it would go; absent when nobody knows now
	Unexplained string          `json:"unexplained,omitempty"` // why Explanation is absent
}

// JobScale asks for another count of a group.
type JobScale struct {
	Group string `json:"group,omitempty"` // may be empty when the job has one
	Count *int   `json:"count"`           // negative: back to the count in the job's text
}

// JobRevert asks for an older version's text as a new version.
type JobRevert struct {
	Version uint64 `json:"version"`
}

// AllocDetail is one allocation and the names of its tasks, main ones first.
type AllocDetail struct {
	structs.Allocation
	TaskNames []string `json:"task_names"`
}

// AllocRestart asks to restart a task, or all of them.
type AllocRestart struct {
	Task string `json:"task,omitempty"`
}

// AllocSignal asks to send a signal to a task, or to all main tasks.
type AllocSignal struct {
	Task   string `json:"task,omitempty"`
	Signal string `json:"signal"`
}

// AllocStats is what an allocation uses now.
type AllocStats struct {
	Tasks map[string]*drivers.Stats `json:"tasks"`
}

// NodeStats is what a node uses now. Counts of tasks are those of the ones that run.
type NodeStats struct {
	Allocs    int                 `json:"allocs"`
	Tasks     int                 `json:"tasks"`
	Resources structs.Resources   `json:"resources"` // that it has for work
	Held      structs.Resources   `json:"held"`      // by its allocations
	CPU       structs.Milli       `json:"cpu"`       // used by tasks, in cores
	Memory    structs.Bytes       `json:"memory"`    // likewise
	DiskFree  structs.Bytes       `json:"disk_free"` // of the data folder
	DiskTotal structs.Bytes       `json:"disk_total"`
	Throttled structs.Duration    `json:"throttled"`          // of tasks, by their cpu_limit
	OOMKills  int                 `json:"oom_kills"`          // in tasks
	Pids      int                 `json:"pids"`               // of tasks
	IO        drivers.IOStats     `json:"io"`                 // of tasks
	Pressure  *drivers.Pressure   `json:"pressure,omitempty"` // of the machine; absent where the kernel does not measure it
	GPUs      []*drivers.GPUStats `json:"gpus,omitempty"`
}

// NodeEligibility asks to let work be placed on a node, or not.
type NodeEligibility struct {
	Eligible *bool  `json:"eligible"`
	Reason   string `json:"reason,omitempty"` // why not, for people
}

// NodeDrain asks a node to empty itself, or with Off to stop doing so.
type NodeDrain struct {
	Off      bool             `json:"off,omitempty"`
	Deadline structs.Duration `json:"deadline,omitempty"` // after which what is left is stopped; 0: never
	Reason   string           `json:"reason,omitempty"`   // for people
	Gone     bool             `json:"gone,omitempty"`     // once it is empty it is marked gone, as PurgeNode does it
	// Kills has tasks of external frameworks stopped at once: no scheduler is asked to move them.
	Kills bool `json:"kills,omitempty"`
	// MaxGrace is the longest that each of these may take to end, when it asks for more; absent: it has what it asks for. Only with Kills.
	MaxGrace *structs.Duration `json:"max_grace,omitempty"`
	// Keep leaves the node ineligible when Off is set.
	Keep bool `json:"keep,omitempty"`
	// Check, when set, must be the drain_index of the node now: nobody else set its drain or eligibility meanwhile.
	Check *uint64 `json:"check,omitempty"`
}

// NodeMaintenance asks for a window of maintenance, or with Off ends or cancels the one that the node has.
type NodeMaintenance struct {
	Off      bool             `json:"off,omitempty"`
	Start    structs.Time     `json:"start,omitempty"`    // default: In from now
	In       structs.Duration `json:"in,omitempty"`       // instead of Start
	Duration structs.Duration `json:"duration,omitempty"` // 0: until it is ended
	Drain    structs.Duration `json:"drain,omitempty"`    // how long before the start work is moved away; what is left then is stopped
	Reason   string           `json:"reason,omitempty"`
}

// NodeDetail is one node and what it holds.
type NodeDetail struct {
	structs.Node
	Used        structs.Resources     `json:"used"`            // by allocations that have not ended; of those that are revocable without cores and memory
	Slack       *structs.SlackStatus  `json:"slack,omitempty"` // what is reserved and not used, and who has it; without stale
	Rooms       []*ReservedRoom       `json:"rooms,omitempty"`
	Allocations []*structs.Allocation `json:"allocations"`
}

// Reserved is the answer to a reservation.
type Reserved struct {
	ID    structs.ReservationID `json:"id"`
	Index uint64                `json:"index"`
}

// NewVolume is a volume that is wished for.
type NewVolume struct {
	structs.Volume
	Secrets map[string]string `json:"secrets,omitempty"` // for the plugin of the volume; nobody is shown them
}

// NodePurged is the answer to a node that is forgotten, or marked gone.
type NodePurged struct {
	Index uint64 `json:"index"`
	// LostVolumes were on its disks: they are lost with one that is marked gone. The data is where the machine is.
	LostVolumes []string `json:"lost_volumes,omitempty"`
}

// VolumeMade is the answer to a new volume.
type VolumeMade struct {
	ID    structs.VolumeID `json:"id"`
	Index uint64           `json:"index"`
}

// VolumeResize is a new size of a volume.
type VolumeResize struct {
	Size structs.Bytes    `json:"size"`
	ID   structs.VolumeID `json:"id,omitempty"` // when set: only if the volume of the name is this one
}

// VolumeDetach says that nothing on a node writes to a volume of a plugin.
type VolumeDetach struct {
	Node string           `json:"node"`         // its name, or the first characters of its id
	ID   structs.VolumeID `json:"id,omitempty"` // as in VolumeResize
}

// VolumeDetail is a volume and who has it.
type VolumeDetail struct {
	structs.Volume
	Claims []*VolumeClaim `json:"claims"`
}

// VolumeClaim is what an allocation has of a volume until it has ended.
type VolumeClaim struct {
	Alloc       structs.AllocID     `json:"alloc"`
	Incarnation uint64              `json:"incarnation"` // fencing number of the allocation
	Job         string              `json:"job"`
	Group       string              `json:"group"`
	Index       int                 `json:"index"`
	Status      structs.AllocStatus `json:"status"`
	Desired     structs.Desired     `json:"desired"`
	ReadOnly    bool                `json:"read_only,omitempty"`
	Alone       bool                `json:"alone,omitempty"` // no other one like it can have the volume
}

// ReservedRoom is what is reserved on a node for a role, and what of that its work does not hold.
type ReservedRoom struct {
	Role     string            `json:"role"`
	From     structs.Time      `json:"from,omitempty"`
	Reserved structs.Resources `json:"reserved"`
	Unused   structs.Resources `json:"unused"`
}

// FrameworkDetail is one framework, and what it is told of.
type FrameworkDetail struct {
	structs.Framework
	Unacknowledged int `json:"unacknowledged"` // operations with an id of which it did not acknowledge what became
}

// RoleStatus is a role and what it uses.
type RoleStatus struct {
	structs.Role
	Used     structs.Resources `json:"used"`     // by its allocations and those of roles below it
	Reserved structs.Resources `json:"reserved"` // on nodes, for it and roles below it; used or not
	Jobs     int               `json:"jobs"`
	// Standing is how it stands on the leader's books. The API gives it by itself, at /v1/shares.
	Standing *structs.RoleStanding `json:"standing,omitempty"`
}

// QuotaStatus is what a role may have and what it has, with the roles below it.
type QuotaStatus struct {
	Role       string               `json:"role"`
	Guarantee  *structs.QuotaAmount `json:"guarantee,omitempty"`
	Limit      *structs.QuotaAmount `json:"limit,omitempty"`
	Used       structs.Resources    `json:"used"`                  // by allocations that have not ended
	Waiting    structs.Resources    `json:"waiting"`               // asked for by what waits of its jobs
	Running    int                  `json:"running"`               // allocations that have not ended
	MaxRunning int                  `json:"max_running,omitempty"` // 0: no bound
	Pending    int                  `json:"pending"`               // allocations of its jobs that wait
	MaxPending int                  `json:"max_pending,omitempty"` // 0: no bound
	Parts      []*QuotaPart         `json:"parts,omitempty"`       // of one role only, where it bounds some
}

// QuotaPart is what one owner, or the schedulers of frameworks together, hold in a role and those below, and what they may.
type QuotaPart struct {
	Owner              string            `json:"owner,omitempty"`
	FrameworkScheduler bool              `json:"framework_scheduler,omitempty"`
	Running            int               `json:"running"` // allocations that have not ended
	Used               structs.Resources `json:"used"`
	Limit              structs.Resources `json:"limit"` // of cpu, memory and what is used
}

// Leader is who leads the region.
type Leader struct {
	Name    string `json:"name"`
	Address string `json:"address"` // of its HTTP API; may be empty
}

// Health is whether an agent does its work.
type Health struct {
	Healthy bool `json:"healthy"`
}

// Join asks an agent to join others.
type Join struct {
	Addresses []string `json:"addresses"`
}

// ForceLeave says that a member that failed or left does not come back.
type ForceLeave struct {
	Name string `json:"name"`
}

// RaftServer names a member of the Raft group.
type RaftServer struct {
	ID string `json:"id"`
}

// KeyringChange is an operation on the gossip keys.
type KeyringChange struct {
	Op  string `json:"op"`            // install, use or remove
	Key string `json:"key,omitempty"` // 16, 24 or 32 bytes in base64
}

// Events is all that one index changed. A stream has one of them a line; one without events says only that the region
// has come so far.
type Events struct {
	Index  uint64   `json:"index"`
	Events []*Event `json:"events,omitempty"`
	// Err is why the stream ends here: it is the last line.
	Err *structs.Error `json:"error,omitempty"`
}

// Event is one changed record.
type Event struct {
	Topic  string          `json:"topic"`            // job, version, allocation, node, role or framework
	Key    string          `json:"key"`              // name or id
	Job    string          `json:"job,omitempty"`    // that it belongs to
	Node   structs.NodeID  `json:"node,omitempty"`   // that it belongs to
	Gone   bool            `json:"gone,omitempty"`   // it left the state
	Record json.RawMessage `json:"record,omitempty"` // as it is now
}

// Messages of an exec websocket are binary; the first byte says what the rest is.
const (
	ExecStdin  = 0 // to the task; empty: end of input
	ExecResize = 1 // to the task: drivers.Size in JSON
	ExecStdout = 2 // from the task
	ExecStderr = 3 // from the task
	ExecExit   = 4 // the last message: ExecResult in JSON
)

// ExecResult is how a command in a task ended.
type ExecResult struct {
	Code   int            `json:"code"`
	Signal int            `json:"signal,omitempty"`
	Why    string         `json:"why,omitempty"`
	Err    *structs.Error `json:"error,omitempty"` // it could not be run
}
