package runner

import (
	"context"

	"github.com/proffer/proffer/structs"
)

// TaskID names one start of a task.
type TaskID struct {
	Alloc structs.AllocID
	Task  string
	Start uint64
}

// Sample is what a running task has and uses.
type Sample struct {
	ID       TaskID
	Reserved structs.Slack // of the node's own room
	Slack    structs.Slack // that it has of what others reserved
	Started  structs.Time
	At       structs.Time
	CPUTime  structs.Duration // since its start
	Memory   structs.Bytes
}

// Samples says what each running task uses. Those that do not answer are left out.
func (a *Alloc) Samples(ctx context.Context) (out []Sample) {
	handles := a.handles()
	for name, h := range handles {
		stats, err := h.Stats(ctx)
		if err != nil || stats == nil {
			continue
		}
		s := Sample{At: stats.Time, CPUTime: stats.CPUTime, Memory: stats.Memory}
		a.mu.Lock()
		t := a.task(name)
		same := t.handle == h
		s.ID, s.Started = TaskID{a.id, name, t.rec.Start}, t.rec.State.Started
		s.Slack = t.slackOf(a.alloc)
		s.Reserved = t.reserves().Sub(s.Slack)
		a.mu.Unlock()
		if same {
			out = append(out, s)
		}
	}
	return out
}

// reserves is the cores and the memory that a task has: of the process of a custom executor, its own and those of its tasks that did not
// end. The caller holds mu.
func (t *task) reserves() (sum structs.Slack) {
	if e := t.alloc.exec; e != nil {
		sum = t.alloc.alloc.External.Own.Slack()
		for _, x := range e.lasting() {
			sum = sum.Add(x.Resources.Slack())
		}
		return sum
	}
	if r := t.def.Resources; r != nil {
		sum = structs.Slack{CPU: r.CPU, Memory: r.Memory}
	}
	return sum
}

// slackOf is what is revocable of what a task runs on, a being its allocation: of an executor's tasks each has its own, those of a custom one
// run in its process. The caller holds mu.
func (t *task) slackOf(a *structs.Allocation) (sum structs.Slack) {
	switch e := t.alloc.exec; {
	case e != nil:
		sum = a.External.OwnRevocable.Amount()
		for _, x := range e.lasting() {
			sum = sum.Add(x.Revocable.Amount())
		}
		return sum
	case a.External != nil && a.External.Executor != "":
		if x := a.External.Named(t.name); x != nil {
			sum = x.Revocable.Amount()
		}
		return sum
	}
	return a.OfSlack()
}
