package framework

import (
	"context"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/drivers/pause"
)

// tend does what a session needs done beside what its stream brings: it tells what is wanted, and asks how tasks are.
func (s *session) tend() {
	select {
	case <-s.begun:
	case <-s.ctx.Done():
		return
	}
	d := s.d
	every := d.config.ReconcileEvery
	asking := &reconciling{every: every - d.config.Jitter(every/5), all: time.Now()}
	look := time.NewTimer(0)
	defer look.Stop()
	s.demand() // what is wanted is not in SUBSCRIBE
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-d.wanted:
			s.demand()
			pause.For(s.ctx, reviveEvery) // the newest of what is said meanwhile is told then
		case <-look.C:
			look.Reset(time.Until(s.ask(asking)))
		}
	}
}

// ask asks for what is due, and returns when to ask again.
func (s *session) ask(r *reconciling) time.Time {
	d := s.d
	d.mu.Lock()
	ids, operations := d.tasks.unheard(), d.operations.unheard()
	all, again := r.next(time.Now(), len(ids)+len(operations) > 0)
	if all {
		d.tasks.ask()
		ids = nil // one question for all, those included that the driver does not know
	}
	d.mu.Unlock()
	err := error(nil)
	switch {
	case all:
		err = s.reconcile(s.ctx, nil)
	case len(ids) > 0:
		err = d.Reconcile(s.ctx, ids...)
	}
	for len(operations) > 0 && err == nil {
		n := min(len(operations), reconcileOnce)
		err = s.reconcileOperations(s.ctx, operations[:n])
		operations = operations[n:]
	}
	if err != nil {
		d.config.Log.Debug("cannot ask how tasks and operations are", "err", err)
	}
	return again
}

// reconcileOperations asks what became of operations, of which there is one at least.
func (s *session) reconcileOperations(ctx context.Context, operations []string) error {
	c := &wire.ReconcileOps{}
	s.d.mu.Lock()
	for _, id := range operations {
		o := wire.ReconcileOp{OperationID: wire.ID{Value: id}}
		if x := s.d.operations.open[id]; x != nil && x.node != "" {
			o.AgentID = &wire.ID{Value: x.node}
		}
		c.Operations = append(c.Operations, o)
	}
	s.d.mu.Unlock()
	return s.call(ctx, &wire.Call{Type: new(wire.CallReconcileOperations), ReconcileOps: c})
}

func (s *session) reconcile(ctx context.Context, tasks []string) error {
	c := &wire.Reconcile{}
	s.d.mu.Lock()
	for _, id := range tasks {
		t := wire.ReconcileTask{TaskID: wire.ID{Value: id}}
		if x := s.d.tasks.live[id]; x != nil && x.node != "" {
			t.AgentID = &wire.ID{Value: x.node}
		}
		c.Tasks = append(c.Tasks, t)
	}
	s.d.mu.Unlock()
	return s.call(ctx, &wire.Call{Type: new(wire.CallReconcile), Reconcile: c})
}

// demand tells the region what is wanted: nothing, or what, so that what fits it is offered again before its time.
func (s *session) demand() {
	d := s.d
	if s.begin(s.ctx) != nil {
		return
	}
	defer s.done()
	d.mu.Lock()
	wants, choosy := d.wants, d.choosy
	d.mu.Unlock()
	if !choosy {
		return
	}
	var err error
	switch {
	case len(wants) == 0 && s.open:
		err = s.call(s.ctx, &wire.Call{Type: new(wire.CallSuppress), Suppress: &wire.Roles{}})
	case len(wants) > 0 && !s.open:
		err = s.call(s.ctx, &wire.Call{Type: new(wire.CallRevive), Revive: &wire.Roles{}})
	}
	if err == nil {
		s.open = len(wants) > 0
	}
	if err == nil && s.open {
		c := &wire.Requests{}
		for _, w := range wants {
			r := wire.Request{Resources: resources(w.Resources, nil, false)}
			if w.Node != "" {
				r.AgentID = &wire.ID{Value: w.Node}
			}
			c.Requests = append(c.Requests, r)
		}
		err = s.call(s.ctx, &wire.Call{Type: new(wire.CallRequest), Request: c})
	}
	if err != nil {
		d.config.Log.Debug("cannot tell what is wanted", "err", err)
		d.poke() // it is told again
	}
}
