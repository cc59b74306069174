package structs

import (
	"iter"
	"slices"
)

// External is what is kept of an allocation that an external framework launched: what the framework calls its tasks, and
// what it has not yet been told of them for certain.
//
// An allocation is what Mesos calls an executor with its tasks. One that was launched for a single command has one task. Of one with
// an executor tasks come and go, and with them what it holds: Own, and what the tasks hold that did not end.
type External struct {
	Executor string `json:"executor,omitempty"` // what the framework calls the allocation; empty: a command task
	// Custom says that the executor is a process of the framework: the only task that the node runs. It runs the others, as their Info
	// tells it. Otherwise the node runs all of them.
	Custom bool `json:"custom,omitempty"`
	// Info and Framework are the ExecutorInfo and the FrameworkInfo, as protobuf.
	Info      []byte         `json:"info,omitempty"`
	Framework []byte         `json:"framework,omitempty"`
	Own       Resources      `json:"own,omitzero"`        // of the executor itself
	OwnPorts  []AssignedPort `json:"own_ports,omitempty"` // likewise: those that are mapped into its network, too
	// OwnRevocable is what of Own others reserved and do not use; nil when nothing is.
	OwnRevocable *Slack `json:"own_revocable,omitempty"`
	// Secrets are values that the framework sent for the process of a custom executor, sealed as variables are.
	Secrets []*SentSecret   `codec:"secrets,omitempty" json:"-"`
	Tasks   []*ExternalTask `json:"tasks"`
	Made    uint64          `json:"made,omitempty"` // tasks so far, also those that were forgotten
	// Numbered is the highest number at the end of a name that a forgotten task had, or that was given to a task to tell it apart.
	Numbered uint64 `json:"numbered,omitempty"`
	// Preempted says that it is stopped to make room for other work.
	Preempted bool `json:"preempted,omitempty"`
	// Drained says that it is stopped because its node is emptied.
	Drained bool `json:"drained,omitempty"`
	// MaxGrace is the longest that each of its tasks may take to end once it is stopped; nil: as long as it asks for.
	MaxGrace *Duration `json:"max_grace,omitempty"`
}

// ExternalTask is one task of it. It is immutable: who changes one makes a copy.
type ExternalTask struct {
	ID   string `json:"id"`   // the framework's own, unique among its tasks that did not end
	Name string `json:"name"` // of the task in the allocation
	// Info is the TaskInfo as protobuf, of a task that a custom executor runs.
	Info []byte `json:"info,omitempty"`
	// About is what a framework says of another one and the node has no use for: a TaskInfo as protobuf with name, labels and
	// discovery, and the user of its command when that is not the user of the framework.
	About     []byte         `json:"about,omitempty"`
	Resources Resources      `json:"resources,omitzero"` // with an executor: that it holds until its end
	Ports     []AssignedPort `json:"ports,omitempty"`    // likewise
	// Revocable is what of Resources others reserved and do not use; nil when nothing is. The allocation has the sum.
	Revocable *Slack `json:"revocable,omitempty"`
	// Mounts say where the process of a custom executor sees the volumes that a task of it brings, as long as it runs: below the sandbox.
	Mounts []*VolumeMount `json:"mounts,omitempty"`
	// CPULimit and MemoryMax are how much more a task of a custom executor may use than it holds: its executor may, with what it says of
	// its other tasks. 0: it does not say; Boundless or more: all there is.
	CPULimit  Milli `json:"cpu_limit,omitempty"`
	MemoryMax Bytes `json:"memory_max,omitempty"`
	// Launch numbers what was launched at once; Together: as a group, which begins and ends together.
	Launch   uint64        `json:"launch,omitempty"`
	Together bool          `json:"together,omitempty"`
	Secrets  []*SentSecret `codec:"secrets,omitempty" json:"-"` // as External.Secrets, for the task
	MaxRun   Duration      `json:"max_run,omitempty"`           // how long it may run, with the default executor; 0: for ever
	Terminal *Terminal     `json:"terminal,omitempty"`
	Check    *Check        `json:"check,omitempty"` // whose answers are told and change nothing, of a task that the node runs; Port is an address, as the task sees it
	Kill     *TaskKill     `json:"kill,omitempty"`  // its framework wants it killed
	// TakenBack says why what it runs on is taken back, of a task of a pod of which the rest stays: it is killed.
	TakenBack string `json:"taken_back,omitempty"`
	// Updates are those that the framework did not acknowledge, oldest first, at most MaxUpdates. Only the first one is
	// outstanding: the next is sent when it was acknowledged.
	Updates []*TaskUpdate `json:"updates,omitempty"`
	Made    uint64        `json:"made,omitempty"` // updates so far
	Said    uint64        `json:"said,omitempty"` // the newest TaskSaid.Seq among them
	Over    bool          `json:"over,omitempty"` // the newest update is of its end
}

// Terminal is what a task runs on whose framework wants to type for it.
type Terminal struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// TaskKill is the wish of a framework that a task is killed.
type TaskKill struct {
	Grace *Duration `json:"grace,omitempty"` // instead of the task's own; nil: that one
}

// TaskUpdate is one change of a task that its framework must acknowledge.
type TaskUpdate struct {
	UUID    []byte       `json:"uuid"` // 16 bytes
	State   TaskStatus   `json:"state"`
	Message string       `json:"message,omitempty"`
	Reason  string       `json:"reason,omitempty"` // as Mesos names it, without REASON_
	Agent   bool         `json:"agent,omitempty"`  // it comes from the node and not from what runs the task
	Healthy *bool        `json:"healthy,omitempty"`
	Check   *CheckAnswer `json:"check,omitempty"`
	Time    Time         `json:"time"`
	// Status is the TaskStatus that an executor sent, as protobuf; nil when it did not come from one.
	Status []byte `json:"status,omitempty"`
}

// TaskSaid is an update that an executor made, on its way from the node.
type TaskSaid struct {
	Task   string     `json:"task"` // its name in the allocation
	Seq    uint64     `json:"seq"`  // from 1, for each task
	Update TaskUpdate `json:"update"`
}

// Boundless is a limit of CPU or memory that no machine reaches.
const Boundless = 1 << 50

// Bounds of what external frameworks launch.
const (
	// MaxUpdates bounds ExternalTask.Updates. A task that changes more often than its framework acknowledges is told of as it
	// was last: the one before the last gives way.
	MaxUpdates = 16
	// MaxExternalTasks bounds the tasks of one executor whose end its framework does not know for certain.
	MaxExternalTasks = 256
)

// Task returns the task that the framework calls id, or nil: the newest of that name.
func (x *External) Task(id string) *ExternalTask {
	if x == nil {
		return nil
	}
	for _, t := range slices.Backward(x.Tasks) {
		if t.ID == id {
			return t
		}
	}
	return nil
}

// Named returns the task of that name in the allocation, or nil.
func (x *External) Named(name string) *ExternalTask {
	if x == nil {
		return nil
	}
	for _, t := range x.Tasks {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// Guest reports whether a task of the allocation is one that a custom executor runs, and not the node.
func (x *External) Guest(name string) bool { return x != nil && x.Custom && x.Named(name) != nil }

// Told reports whether the framework acknowledged all there is to know.
func (x *External) Told() bool {
	if x == nil {
		return true
	}
	for _, t := range x.Tasks {
		if len(t.Updates) > 0 {
			return false
		}
	}
	return true
}

// AddUp has an allocation with an executor hold what that and those of its tasks hold that did not end, but for volumes.
func (a *Allocation) AddUp() {
	x := a.External
	r, ports, slack := x.Own, slices.Clone(x.OwnPorts), x.OwnRevocable.Amount()
	for _, t := range x.Tasks {
		if s := a.Tasks[t.Name]; s == nil || !s.Status.Ended() {
			r, ports, slack = r.Add(t.Resources), append(ports, t.Ports...), slack.Add(t.Revocable.Amount())
		}
	}
	a.Resources, a.Ports, a.Revocable = r, ports, nil
	if !slack.IsZero() {
		a.Revocable = new(slack)
	}
}

// Recount has an allocation with an executor hold what that and those of its tasks hold that did not end. Its own volumes it has until it
// ends itself.
func (a *Allocation) Recount() {
	ended := func(v AllocVolume) bool {
		s := a.Tasks[v.Task]
		return v.Task != "" && s != nil && s.Status.Ended()
	}
	if slices.ContainsFunc(a.Volumes, ended) {
		a.Volumes = slices.DeleteFunc(slices.Clone(a.Volumes), ended)
	}
	var alone []string
	for _, name := range a.Resources.Sets[VolumeSet] {
		if slices.ContainsFunc(a.Volumes, func(v AllocVolume) bool { return v.Name == name }) {
			alone = append(alone, name)
		}
	}
	a.AddUp()
	if len(alone) > 0 {
		a.Resources = a.Resources.Add(Resources{Sets: map[string][]string{VolumeSet: alone}})
	}
}

// Sound reports whether no part of it is more revocable than it has, or less than nothing.
func (x *External) Sound() bool {
	sound := func(s *Slack, of Resources) bool {
		return s == nil || s.CPU >= 0 && s.Memory >= 0 && s.Within(of.Slack())
	}
	return sound(x.OwnRevocable, x.Own) && !slices.ContainsFunc(x.Tasks, func(t *ExternalTask) bool { return !sound(t.Revocable, t.Resources) })
}

// Reclaim is what ends when what is revocable of an allocation is taken back.
type Reclaim struct {
	Tasks []*ExternalTask // alone, of a pod; nil: all of it ends
	Firm  bool            // also a task that has nothing revocable
	Going Slack           // that is being taken back already, of tasks alone
}

// Reclaim says what ends when what is revocable of it is taken back. Of a pod those tasks do that have some, and what was launched in a
// group with one. An executor that has some itself ends with all its tasks, and so does each custom one: nobody else can end its tasks for certain.
func (a *Allocation) Reclaim() (r Reclaim) {
	x := a.External
	if x == nil || x.Executor == "" || a.OfSlack().IsZero() {
		return r
	}
	has := func(t *ExternalTask) bool { return !t.Revocable.Amount().IsZero() }
	lasts := func(t *ExternalTask) bool { s := a.Tasks[t.Name]; return s == nil || !s.Status.Ended() }
	part, stay := !x.Custom && x.OwnRevocable.Amount().IsZero(), false
	for _, t := range x.Tasks {
		ends := has(t) || slices.ContainsFunc(x.Tasks, func(o *ExternalTask) bool {
			return t.Together && o.Together && o.Launch == t.Launch && has(o) && lasts(o)
		})
		switch {
		case !lasts(t):
			continue
		case part && !ends:
			stay = true
			continue
		}
		r.Tasks, r.Firm = append(r.Tasks, t), r.Firm || !has(t)
		if t.TakenBack != "" {
			r.Going = r.Going.Add(t.Revocable.Amount())
		}
	}
	if !stay {
		r.Tasks = nil
	}
	return r
}

// SentSecret is a value that a framework sent with work. Nobody sees it but that work. It is immutable.
type SentSecret struct {
	Name   string `codec:"name"`   // that says nothing, and that nothing else has
	Sealed Sealed `codec:"sealed"` // without a key: it is in clear, on the way to be sealed
}

// Sent yields the values that the framework sent for it and for its tasks.
func (x *External) Sent() iter.Seq[*SentSecret] {
	return func(yield func(*SentSecret) bool) {
		if x == nil {
			return
		}
		for _, s := range x.Secrets {
			if !yield(s) {
				return
			}
		}
		for _, t := range x.Tasks {
			for _, s := range t.Secrets {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// Outstanding returns the update that the framework is to acknowledge next, or nil.
func (t *ExternalTask) Outstanding() *TaskUpdate {
	if len(t.Updates) == 0 {
		return nil
	}
	return t.Updates[0]
}
