package client

import (
	"slices"
	"strings"

	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/structs"
)

// Hello says who the node is and what it holds. The session calls it.
func (c *Client) Hello() *session.Hello {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &session.Hello{Version: session.Version, Region: c.config.Region, Node: c.Node(), Generation: c.memory.Generation,
		Index: c.memory.Index, Work: len(c.held)}
}

// Welcome begins a session. The session calls it.
func (c *Client) Welcome(w *session.Welcome) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.jobs.session()
	c.server, c.welcome = w.Server, w.Generation
	if c.memory.Generation == "" && len(c.held) == 0 {
		c.memory.Generation = w.Generation
		c.rememberLocked()
	}
	c.foreign = c.memory.Generation != w.Generation
	if c.foreign {
		c.log.Warn("the region was restored since the last session: work that it does not know is quarantined, not stopped",
			"was", c.memory.Generation, "is", w.Generation)
	}
	c.log.Info("session begun", "server", w.Server)
	return nil
}

// Lost ends a session. The session calls it.
func (c *Client) Lost(err error) {
	c.mu.Lock()
	server := c.server
	c.server = ""
	c.mu.Unlock()
	if server != "" && c.watching.Err() == nil {
		c.log.Warn("session lost; tasks go on", "server", server, "err", err)
	}
}

// Observed returns the state of all allocations, ended ones included. The session calls it.
func (c *Client) Observed() []*structs.AllocUpdate {
	c.mu.Lock()
	defer c.mu.Unlock()
	updates := make([]*structs.AllocUpdate, 0, len(c.held)+len(c.ended))
	for _, h := range c.held {
		updates = append(updates, h.run.Full())
	}
	for id, e := range c.ended {
		if u := c.endOf(id); u != nil && !e.gone {
			updates = append(updates, u)
		}
	}
	return updates
}

// endOf reads the report of an end.
func (c *Client) endOf(id structs.AllocID) *structs.AllocUpdate {
	e, err := c.store.Ended(id)
	if err != nil {
		c.log.Error("the record of an end cannot be read", "alloc", id, "err", err)
		return nil
	}
	return &e.Update
}

// Desired acts on what the region wants. The session calls it, one after the other.
func (c *Client) Desired(d *session.Desired) {
	c.jobs.add(d.Jobs)
	if c.config.Volumes != nil && (d.Full || len(d.Volumes) > 0) {
		c.config.Volumes.Take(d.Volumes, d.Full)
	}
	c.mu.Lock()
	if c.stopped {
		c.mu.Unlock()
		return
	}
	todo := Decide(c.viewLocked(d), d)
	for _, e := range todo.Stop {
		c.stopLocked(e)
	}
	for _, a := range todo.Update {
		c.updateLocked(a)
	}
	for _, e := range todo.Refuse {
		c.refuseLocked(e)
	}
	for _, a := range todo.Start {
		c.startLocked(a)
	}
	for _, id := range todo.Repeat {
		if u := c.endOf(id); u != nil {
			c.report(u)
		}
	}
	for _, id := range todo.Forget {
		c.forgetLocked(id)
	}
	for _, id := range todo.Quarantine {
		c.held[id].run.Quarantine(todo.Why)
	}
	if len(todo.Quarantine) > 0 {
		c.log.Error("allocations are quarantined: they run on, and the region does not know them", "count", len(todo.Quarantine), "why", todo.Why)
	}
	// Work that the region knows is work of its generation, now that all other is quarantined.
	if d.Full && d.Confirmed && c.foreign {
		c.foreign = false
		c.memory.Generation = c.welcome
		c.memory.Index = d.Index
		c.rememberLocked()
	}
	if d.Index > c.memory.Index {
		c.memory.Index = d.Index
		c.rememberLocked()
	}
	c.mu.Unlock()
	if d.Full {
		c.noteState()
	}
	if len(todo.Forget) > 0 {
		c.nudgeCollector()
	}
}

// rememberLocked writes the node's own record soon.
func (c *Client) rememberLocked() { c.store.Enqueue(store.PutNode(&c.memory)) }

// viewLocked collects what a decision needs.
func (c *Client) viewLocked(d *session.Desired) View {
	v := View{Held: make(map[structs.AllocID]Held), Ended: make(map[structs.AllocID]bool), Same: !c.foreign}
	see := func(id structs.AllocID) {
		if h := c.held[id]; h != nil {
			state := h.run.State()
			v.Held[id] = Held{Alloc: h.alloc, Stopping: state.Stop != "", Quarantined: state.Quarantined != ""}
		}
		if c.ended[id] != nil {
			v.Ended[id] = true
		}
	}
	if d.Full {
		for id := range c.held {
			see(id)
		}
		for id := range c.ended {
			see(id)
		}
		return v
	}
	for _, a := range d.Allocs {
		see(a.ID)
	}
	for _, id := range d.Gone {
		see(id)
	}
	return v
}

func (c *Client) stopLocked(e Ending) {
	h := c.held[e.ID]
	if e.Alloc == nil {
		c.log.Warn("stopping an allocation that the region does not know any more", "alloc", e.ID, "job", h.alloc.Job)
	}
	h.run.Quarantine("")
	if e.Alloc != nil && e.Alloc.ReplacedBy != 0 {
		if next := c.jobs.find(jobKey{e.Alloc.Job, e.Alloc.ReplacedBy}); next != nil {
			c.routines.Go(func() { h.run.Replace(c.watching, next, e.Why) })
			return
		}
	}
	if e.Alloc != nil && e.Alloc.External != nil && (e.Alloc.External.Executor == "" || e.Alloc.External.MaxGrace != nil) {
		c.updateLocked(e.Alloc) // what its framework, or who drains the node, says of the kill
	}
	h.run.Stop(e.Why)
}

// updateLocked takes a newer version of an allocation that is held.
func (c *Client) updateLocked(a *structs.Allocation) {
	h := c.held[a.ID]
	job := c.jobs.find(jobKey{a.Job, a.Version})
	if job == nil {
		c.log.Error("the servers sent an allocation without its job; it runs on as it was", "alloc", a.ID, "job", a.Job, "version", a.Version)
		return
	}
	h.run.Quarantine("")
	var ops []store.Op
	if key := keyOf(job); key != h.job {
		if c.jobs.refer(job) {
			ops = append(ops, store.PutJob(job))
		}
		if c.jobs.release(h.job) {
			ops = append(ops, store.DeleteJob(h.job.name, h.job.version))
		}
		h.job = key
	}
	// In one frame: an allocation without its job cannot be read.
	if a.WantIndex != h.alloc.WantIndex || len(ops) > 0 {
		c.store.Enqueue(append([]store.Op{store.PutAlloc(a)}, ops...)...)
	}
	h.alloc = a
	if a.OnLost == onLostFence {
		c.rememberLeaseLocked()
	}
	h.run.Update(a, job)
}

// refuseLocked notes and reports the end of an allocation that never ran here.
func (c *Client) refuseLocked(e Ending) {
	u := e.Update(now())
	c.store.Enqueue(store.End(e.ID, &store.Ended{Update: *u, Job: e.Alloc.Job, Group: e.Alloc.Group, Index: e.Alloc.Index})...)
	c.ended[e.ID] = &ended{at: u.Time}
	c.report(u)
	c.log.Warn("refused an allocation", "alloc", e.ID, "job", e.Alloc.Job, "why", e.Why)
}

// startLocked begins an allocation.
func (c *Client) startLocked(a *structs.Allocation) {
	job := c.jobs.find(jobKey{a.Job, a.Version})
	switch {
	case c.leaving:
		c.refuseLocked(Ending{ID: a.ID, Alloc: a, Failed: true, Why: "the node leaves the region"})
		return
	case job == nil:
		c.refuseLocked(Ending{ID: a.ID, Alloc: a, Failed: true, Why: "the servers did not send its job"})
		return
	}
	run, err := runner.New(c.node, &store.Alloc{Alloc: a, Job: job})
	if err != nil {
		c.refuseLocked(Ending{ID: a.ID, Alloc: a, Failed: true, Why: err.Error()})
		return
	}
	h := &held{alloc: a, job: keyOf(job), run: run}
	for _, other := range c.slots[slotOf(h.alloc)] {
		if other.alloc.Incarnation > a.Incarnation {
			c.refuseLocked(Ending{ID: a.ID, Alloc: a, Failed: true, Why: "a newer incarnation of it runs here"})
			return
		}
	}
	ops := []store.Op{store.PutAlloc(a)}
	if c.jobs.refer(job) {
		ops = append(ops, store.PutJob(job))
	}
	c.store.Enqueue(ops...) // durable before the first start, whose number is recorded after it
	if a.OnLost == onLostFence {
		c.rememberLeaseLocked() // the next renewal may be far
	}
	c.holdLocked(h)
	c.launch(h)
}

// holdLocked and dropLocked keep held and slots together.
func (c *Client) holdLocked(h *held) {
	c.held[h.alloc.ID] = h
	at := slotOf(h.alloc)
	c.slots[at] = append(c.slots[at], h)
}

func (c *Client) dropLocked(h *held) {
	delete(c.held, h.alloc.ID)
	at := slotOf(h.alloc)
	rest := slices.DeleteFunc(c.slots[at], func(o *held) bool { return o == h })
	if c.slots[at] = rest; len(rest) == 0 {
		delete(c.slots, at)
	}
}

// launch runs an allocation in a goroutine of its own, after the older incarnations of it, which it stops. The caller
// holds mu.
func (c *Client) launch(h *held) {
	var older []*runner.Alloc
	for _, o := range c.slots[slotOf(h.alloc)] {
		if o.alloc.Incarnation < h.alloc.Incarnation {
			o.run.Stop("a newer incarnation of it is confirmed")
			older = append(older, o.run)
		}
	}
	c.routines.Go(func() {
		for _, o := range older {
			select {
			case <-o.Done():
			case <-c.watching.Done():
			}
		}
		if h.run.Run(c.watching) {
			c.over(h)
		}
	})
}

// over moves an allocation to the ended ones.
func (c *Client) over(h *held) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := h.run.ID()
	c.dropLocked(h)
	c.ended[id] = &ended{at: now(), folder: true}
	c.counts.end(h.run.Now())
	if c.jobs.release(h.job) {
		c.store.Enqueue(store.DeleteJob(h.job.name, h.job.version))
	}
	c.nudgeCollector()
}

// forgetLocked drops what is kept of an ended allocation once the region did; its folder goes with the next collection.
func (c *Client) forgetLocked(id structs.AllocID) {
	e := c.ended[id]
	if e == nil {
		return
	}
	if !e.folder {
		c.store.Enqueue(store.Forget(id))
		delete(c.ended, id)
		return
	}
	e.gone = true
}

// StopQuarantined ends work that was quarantined because the region did not know it.
func (c *Client) StopQuarantined(allocs []structs.AllocID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range allocs {
		h := c.held[id]
		switch {
		case h == nil:
			return notFound(id)
		case h.run.State().Quarantined == "":
			return structs.Errorf(structs.Conflict, "allocation "+structs.Short(id), "it is not quarantined").
				Advise("stop it with alloc stop")
		}
	}
	for _, id := range allocs {
		c.held[id].run.Stop("an operator stopped the quarantined work")
	}
	return nil
}

// cutTask splits the id of a driver's spec.
func cutTask(id string) (alloc structs.AllocID, task, start string) {
	first, rest, _ := strings.Cut(id, "/")
	task, start, _ = strings.Cut(rest, "/")
	return structs.AllocID(first), task, start
}
