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
	Reserved structs.Slack
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
		if r := t.def.Resources; r != nil {
			s.Reserved = structs.Slack{CPU: r.CPU, Memory: r.Memory}
		}
		a.mu.Unlock()
		if same {
			out = append(out, s)
		}
	}
	return out
}
