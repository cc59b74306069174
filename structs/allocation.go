package structs

import (
	"fmt"
	"maps"
	"slices"
)

// Allocation is an envelope of resources on one node with tasks inside it: the unit of placement. It refers to its job
// by name and version and carries no copy of it. What a decision leaves empty takes no room in the log.
type Allocation struct {
	ID          AllocID        `json:"id"`
	Framework   FrameworkID    `json:"framework"`
	Role        string         `json:"role"`
	Priority    Priority       `json:"priority"`
	Job         string         `json:"job" codec:"job,omitempty"`
	Version     uint64         `json:"version" codec:"version,omitempty"` // of the job
	Group       string         `json:"group"`
	Index       int            `json:"index" codec:"index,omitempty"` // 0 to count-1 in its group
	Node        NodeID         `json:"node"`
	NodeName    string         `json:"node_name" codec:"node_name,omitempty"`
	Incarnation uint64         `json:"incarnation" codec:"incarnation,omitempty"` // fencing number: larger for each later allocation of job, group, index
	Resources   Resources      `json:"resources"`
	Ports       []AssignedPort `json:"ports,omitempty"`
	Volumes     []AllocVolume  `json:"volumes,omitempty"` // that it has claimed, in the order of its group
	OnLost      string         `json:"on_lost,omitempty"`
	Marks       *Marks         `json:"marks,omitempty"`
	// MaxRunDuration is how long it may run after its start, as its group says; zero: for ever.
	MaxRunDuration Duration `json:"max_run_duration,omitempty"`
	Owner          string   `json:"owner,omitempty"` // of its job
	// FrameworkScheduler says that its job is the scheduler of a framework.
	FrameworkScheduler bool `json:"framework_scheduler,omitempty"`
	Gang               bool `json:"gang,omitempty"` // it goes with all other allocations of its job, or not at all
	// Revocable is what of its resources others reserved and do not use; nil when nothing is. With an executor it comes and goes with
	// tasks. What has any is best-effort work.
	Revocable *Slack `json:"revocable,omitempty"`
	// External is what an external framework launched it with; nil for work of jobs. Such an allocation has no job, and its
	// version is of a job without a name, which goes with it.
	External *External `json:"external,omitempty"`

	Desired    Desired `json:"desired" codec:"desired,omitempty"`
	DesiredWhy string  `json:"desired_why,omitempty"`
	// ReplacedBy is the version of its job that takes its place, when it is stopped for that and the version has images: its node
	// gets them before it stops the allocation. 0: none.
	ReplacedBy  uint64 `json:"replaced_by,omitempty"`
	RestartTask string `json:"restart_task,omitempty"` // with Restarts: the task to restart, all when empty
	Restarts    uint64 `json:"restarts,omitempty"`     // counts restarts that were asked for

	Status   AllocStatus           `json:"status" codec:"status,omitempty"`
	Why      string                `json:"why,omitempty"`
	Tasks    map[string]*TaskState `json:"tasks,omitempty"`
	Started  Time                  `json:"started,omitempty"` // since when all its tasks run and are ready, without a restart; zero: one is started again or is not ready
	Previous AllocID               `json:"previous,omitempty"`
	Next     AllocID               `json:"next,omitempty"`     // what replaced it
	Failures []Time                `json:"failures,omitempty"` // of its predecessors, newest last; for reschedule

	Created     Time   `json:"created" codec:"created,omitempty"`
	Modified    Time   `json:"modified" codec:"modified,omitempty"`
	CreateIndex uint64 `json:"create_index" codec:"create_index,omitempty"`
	ModifyIndex uint64 `json:"modify_index" codec:"modify_index,omitempty"` // of any change
	WantIndex   uint64 `json:"want_index" codec:"want_index,omitempty"`     // of the last change that its node must learn
}

// Desired is what the region wants of an allocation.
type Desired string

const (
	DesiredRun  Desired = "run"
	DesiredStop Desired = "stop"
)

// AllocStatus is the state of an allocation as last known.
type AllocStatus string

const (
	AllocPending  AllocStatus = "pending"
	AllocRunning  AllocStatus = "running"
	AllocComplete AllocStatus = "complete" // every main task ended well, or it was stopped as wanted
	AllocFailed   AllocStatus = "failed"
	AllocLost     AllocStatus = "lost" // its node is gone; its end is not known
)

// Ended reports whether nothing of a runs, as far as known.
func (a *Allocation) Ended() bool { return a.Status.Ended() }

// Ended reports whether s is one of the last states.
func (s AllocStatus) Ended() bool { return s == AllocComplete || s == AllocFailed || s == AllocLost }

// Holds reports whether a's resources are taken on its node. A stopped allocation holds them until its node says that
// it ended.
func (a *Allocation) Holds() bool { return !a.Ended() }

// HoldsAs reports whether a and b hold the same: only what frameworks launched with an executor ever changes that.
func (a *Allocation) HoldsAs(b *Allocation) bool {
	return a.OfSlack() == b.OfSlack() && a.Resources.Fits(b.Resources) && b.Resources.Fits(a.Resources) && slices.Equal(a.Ports, b.Ports)
}

// RefusedStart says which task could not be started last time, and why; empty: none.
func (a *Allocation) RefusedStart() string {
	for _, name := range slices.Sorted(maps.Keys(a.Tasks)) {
		if t := a.Tasks[name]; !t.Status.Ended() && t.Why != "" {
			return fmt.Sprintf("task %q: %s", name, t.Why)
		}
	}
	return ""
}

// TaskStatus is one of the Mesos task states.
type TaskStatus string

const (
	TaskStaging     TaskStatus = "staging"
	TaskStarting    TaskStatus = "starting"
	TaskRunning     TaskStatus = "running"
	TaskKilling     TaskStatus = "killing"
	TaskFinished    TaskStatus = "finished"
	TaskFailed      TaskStatus = "failed"
	TaskKilled      TaskStatus = "killed"
	TaskError       TaskStatus = "error"
	TaskLost        TaskStatus = "lost"
	TaskDropped     TaskStatus = "dropped"
	TaskUnreachable TaskStatus = "unreachable"
	TaskGone        TaskStatus = "gone"
	// TaskGoneByOperator is what external frameworks are told of a task whose node an operator gave up.
	TaskGoneByOperator TaskStatus = "gone_by_operator"
	TaskUnknown        TaskStatus = "unknown"
)

// Ended reports whether s is one of the last states.
func (s TaskStatus) Ended() bool {
	switch s {
	case TaskFinished, TaskFailed, TaskKilled, TaskError, TaskLost, TaskDropped, TaskGone, TaskGoneByOperator:
		return true
	}
	return false
}

// Told returns how an external framework is told that a task of a is, of which its node says s: one that could not be started has failed, since
// TaskError is for what was never launched, and so has one that ran for too long. One that made room for other work is gone: TaskKilled is for what
// the framework wanted.
func (a *Allocation) Told(x *ExternalTask, s TaskStatus) TaskStatus {
	switch {
	case s == TaskKilled && (a.External.Preempted || x.TakenBack != ""):
		return TaskGone
	case s == TaskError || s == TaskKilled && a.Desired == DesiredRun && a.MaxRunDuration > 0:
		return TaskFailed
	}
	return s
}

// TaskIs says how a task of a is, of which its node says what said says, as people and tools are told; nil: it said nothing. x is the task of an
// external framework, nil for those of jobs. What is lost and would run is TaskUnreachable, also where its node is not known any more.
func (a *Allocation) TaskIs(x *ExternalTask, said *TaskState) TaskStatus {
	is := TaskStaging
	if said != nil {
		is = said.Status
	}
	if x != nil {
		if is = a.Told(x, is); len(x.Updates) > 0 {
			is = x.Updates[len(x.Updates)-1].State
		}
	}
	switch {
	case is.Ended() || !a.Ended():
		return is
	case a.Status == AllocLost && a.Desired == DesiredRun:
		return TaskUnreachable
	case a.Status == AllocLost:
		return TaskLost
	case a.Status == AllocComplete && a.Desired == DesiredStop:
		return TaskKilled
	case a.Status == AllocComplete:
		return TaskFinished
	}
	return TaskFailed
}

// TaskState is what a node says of one task.
type TaskState struct {
	Status   TaskStatus  `json:"status"`
	Why      string      `json:"why,omitempty"`
	ExitCode int         `json:"exit_code"`          // 128+signal when a signal ended it; -1 when it is not known; 127, 126: no such program
	Signal   int         `json:"signal,omitempty"`   //
	OOM      bool        `json:"oom,omitempty"`      // the kernel killed it for its memory
	Restarts int         `json:"restarts,omitempty"` //
	Started  Time        `json:"started,omitempty"`  // last start
	Ended    Time        `json:"ended,omitempty"`    //
	Events   []TaskEvent `json:"events,omitempty"`   // the newest MaxTaskEvents, oldest first
	// Checks has the ready and live checks of the task in the order of the job. It is not changed in place.
	Checks []CheckState `json:"checks,omitempty"`
	// Answer is what the check of its framework said last, see ExternalTask.Check. It is not changed in place.
	Answer *CheckAnswer `json:"answer,omitempty"`
	// Addresses are those of its network, when that is not the node's; without loopback, IPv4 first.
	Addresses []string `json:"addresses,omitempty"`
	// Joined are the networks that it is in beside that one, in order. It is not changed in place.
	Joined []JoinedNetwork `json:"joined_networks,omitempty"`
	// Cores and Devices are what the node gave the task for itself alone, from its first start to its end. They are not changed in place.
	Cores   []int            `json:"cores,omitempty"`
	Devices []AssignedDevice `json:"devices,omitempty"`
	// Reason is why it ended, as Mesos names it without REASON_, where the rest does not say it; for external frameworks.
	Reason string `json:"reason,omitempty"`
}

// MaxTaskEvents bounds TaskState.Events.
const MaxTaskEvents = 10

// TaskEvent is one thing that happened to a task.
type TaskEvent struct {
	Time Time   `json:"time"`
	Type string `json:"type"` // received, starting, started, ended, restarting, killing, killed, failed, …
	Text string `json:"text"`
}

// AllocUpdate is what a node reports of an allocation; nil Tasks entries did not change.
type AllocUpdate struct {
	ID          AllocID               `json:"id"`
	Incarnation uint64                `json:"incarnation"`
	Status      AllocStatus           `json:"status"`
	Why         string                `json:"why,omitempty"`
	Tasks       map[string]*TaskState `json:"tasks,omitempty"`
	Said        []*TaskSaid           `json:"said,omitempty"` // in order; the region passes over those that it has
	Time        Time                  `json:"time"`
}
