package structs

// External is what is kept of an allocation that an external framework launched: what the framework calls its tasks, and
// what it has not yet been told of them for certain.
//
// An allocation is what Mesos calls an executor with its tasks. One that was launched for a single command has one task.
type External struct {
	Executor string          `json:"executor,omitempty"` // what the framework calls the allocation; empty: a command task
	Tasks    []*ExternalTask `json:"tasks"`
}

// ExternalTask is one task of it. It is immutable: who changes one makes a copy.
type ExternalTask struct {
	ID   string `json:"id"`   // the framework's own, unique among its tasks that did not end
	Name string `json:"name"` // of the task in the allocation
	// Updates are those that the framework did not acknowledge, oldest first, at most MaxUpdates. Only the first one is
	// outstanding: the next is sent when it was acknowledged.
	Updates []*TaskUpdate `json:"updates,omitempty"`
	Made    uint64        `json:"made,omitempty"` // updates so far
}

// TaskUpdate is one change of a task that its framework must acknowledge.
type TaskUpdate struct {
	UUID    []byte     `json:"uuid"` // 16 bytes
	State   TaskStatus `json:"state"`
	Message string     `json:"message,omitempty"`
	Reason  string     `json:"reason,omitempty"` // as Mesos names it, without REASON_
	Agent   bool       `json:"agent,omitempty"`  // it comes from the node and not from what runs the task
	Healthy *bool      `json:"healthy,omitempty"`
	Time    Time       `json:"time"`
}

// MaxUpdates bounds ExternalTask.Updates. A task that changes more often than its framework acknowledges is told of as it
// was last: the one before the last gives way.
const MaxUpdates = 16

// Task returns the task that the framework calls id, or nil.
func (x *External) Task(id string) *ExternalTask {
	if x == nil {
		return nil
	}
	for _, t := range x.Tasks {
		if t.ID == id {
			return t
		}
	}
	return nil
}

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

// Outstanding returns the update that the framework is to acknowledge next, or nil.
func (t *ExternalTask) Outstanding() *TaskUpdate {
	if len(t.Updates) == 0 {
		return nil
	}
	return t.Updates[0]
}
