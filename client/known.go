package client

import (
	"cmp"
	"slices"

	"github.com/proffer/proffer/client/logs"
	"github.com/proffer/proffer/structs"
)

// Known is one allocation as the node knows it.
type Known struct {
	Alloc *structs.Allocation // with the states of its tasks; what it points to is not to be changed
	Job   *structs.JobVersion // that it runs; nil: it ended
	Tasks []string            // those that the node runs itself, which have folders and output
	Ended structs.Time        // zero: it did not
}

// Known returns the allocations that the node holds, oldest first, and behind them those that ended and have their folders, newest first
// and at most so many.
func (c *Client) Known(most int) (out []Known) {
	type end struct {
		id structs.AllocID
		at structs.Time
	}
	var ends []end
	c.mu.Lock()
	for _, h := range c.held {
		a, tasks := h.run.Now()
		out = append(out, Known{Alloc: a, Job: h.run.Job(), Tasks: tasks})
	}
	for id, e := range c.ended {
		if e.folder {
			ends = append(ends, end{id, e.at})
		}
	}
	c.mu.Unlock()
	slices.SortFunc(out, func(a, b Known) int {
		return cmp.Or(cmp.Compare(a.Alloc.CreateIndex, b.Alloc.CreateIndex), cmp.Compare(a.Alloc.ID, b.Alloc.ID))
	})
	slices.SortFunc(ends, func(a, b end) int { return cmp.Or(cmp.Compare(b.at, a.at), cmp.Compare(a.id, b.id)) })
	for _, e := range ends[:min(len(ends), most)] {
		if k := c.knownEnd(e.id); k != nil {
			out = append(out, *k)
		}
	}
	return out
}

// Find returns one allocation that the node holds, or that ended and has its folder.
func (c *Client) Find(id structs.AllocID) (Known, error) {
	c.mu.Lock()
	h, e := c.held[id], c.ended[id]
	folder := e != nil && e.folder
	c.mu.Unlock()
	if h != nil {
		a, tasks := h.run.Now()
		return Known{Alloc: a, Job: h.run.Job(), Tasks: tasks}, nil
	}
	if folder {
		if k := c.knownEnd(id); k != nil {
			return *k, nil
		}
	}
	return Known{}, notFound(id)
}

// knownEnd reads what is remembered of an allocation that ended; nil: nothing is that says whose it was.
func (c *Client) knownEnd(id structs.AllocID) *Known {
	record, err := c.store.Ended(id)
	if err != nil || record.Alloc == nil {
		return nil
	}
	a := *record.Alloc
	a.ID, a.Job, a.Group, a.Index, a.Node = id, record.Job, record.Group, record.Index, c.Node().ID
	a.Status, a.Why, a.Tasks, a.Modified = record.Update.Status, record.Update.Why, record.Update.Tasks, record.Update.Time
	k := &Known{Alloc: &a, Ended: record.Update.Time}
	for _, name := range record.Tasks {
		if !a.External.Guest(name) {
			k.Tasks = append(k.Tasks, name)
		}
	}
	return k
}

// Output is what a task wrote to a stream, as a file of which the first bytes may be gone.
type Output struct {
	First, End int64
	Changed    structs.Time // zero: there is nothing
}

// Output describes what a task wrote to a stream.
func (c *Client) Output(alloc structs.AllocID, task, stream string) (out Output, err error) {
	r, _, err := c.output(alloc, task, stream)
	if err != nil {
		return out, err
	}
	defer r.Close()
	return outputOf(r)
}

func outputOf(r *logs.Reader) (out Output, err error) {
	if out.First, out.End, err = r.Bounds(); err != nil {
		return out, err
	}
	at, err := r.Changed()
	if err == nil && !at.IsZero() {
		out.Changed = structs.At(at)
	}
	return out, err
}

// ReadOutput reads some of what a task wrote to a stream, from an offset or from the oldest byte that is kept. It returns where it began,
// and how much there is beside it.
func (c *Client) ReadOutput(alloc structs.AllocID, task, stream string, offset int64, p []byte) (from int64, n int, of Output, err error) {
	r, _, err := c.output(alloc, task, stream)
	if err != nil {
		return 0, 0, of, err
	}
	defer r.Close()
	if of, err = outputOf(r); err != nil {
		return 0, 0, of, err
	}
	if from = max(offset, of.First); from >= of.End || len(p) == 0 {
		return from, 0, of, nil
	}
	for try := 0; ; try++ {
		n, err = r.ReadAt(p[:min(int64(len(p)), of.End-from)], from)
		gone, ok := err.(*logs.Gone)
		if !ok || try == 100 {
			return from, n, of, err
		}
		from = gone.First // rotation was faster
		of.End = max(of.End, from)
		if from == of.End {
			return from, 0, of, nil
		}
	}
}
