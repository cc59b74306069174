package framework

import (
	"context"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

func trim(s, prefix string) string { return strings.TrimPrefix(s, prefix) }

// session returns the present one.
func (d *Driver) session() (*session, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.now == nil {
		return nil, structs.Errorf(structs.Unavailable, "framework "+d.config.Name, "it is not subscribed now").
			Advise("wait for the next offers: the driver subscribes by itself")
	}
	return d.now, nil
}

// Launch launches tasks on an offer. What they leave of it is declined.
func (d *Driver) Launch(ctx context.Context, on *Offer, tasks ...*Task) error {
	return d.Accept(ctx, []*Offer{on}, d.config.Refuse, Launch(tasks))
}

// Accept uses offers, all of one node and one role. The operations are done in their order. What they leave is not offered again for
// refuse. When it returns nil the region has it, and Update tells what came of each task. After Conflict (an offer is not good any more)
// and Unavailable nothing was done. After another error the driver finds out: a task that was launched is told of as such, and one that was
// not is told of as unknown, or dropped; likewise operations with an ID.
func (d *Driver) Accept(ctx context.Context, on []*Offer, refuse time.Duration, operations ...Operation) error {
	s, err := d.session()
	if err != nil {
		return err
	}
	if len(on) == 0 {
		return structs.Errorf(structs.Invalid, "call ACCEPT", "it names no offer")
	}
	call := &wire.Call{Type: new(wire.CallAccept), Accept: &wire.Accept{Filters: seconds(refuse)}}
	var launched []*Task
	var named []string // operations with an ID
	for _, o := range operations {
		operation, tasks := o.operation(on[0])
		if operation.ID != nil {
			named = append(named, operation.ID.Value)
		}
		call.Accept.Operations = append(call.Accept.Operations, operation)
		launched = append(launched, tasks...)
	}
	if call.Accept.OfferIDs, err = s.use(on); err != nil {
		return err
	}
	d.mu.Lock()
	for _, t := range launched {
		d.tasks.track(t.ID, on[0].Node, true)
	}
	for _, id := range named {
		d.operations.sent(id, on[0].Node)
	}
	d.mu.Unlock()
	err = s.call(ctx, call)
	kind := structs.KindOf(err)
	d.mu.Lock()
	for _, t := range launched {
		d.tasks.answered(t.ID, err == nil || kind == structs.Unknown)
	}
	for _, id := range named {
		d.operations.answered(id, err == nil || kind == structs.Unknown)
	}
	d.mu.Unlock()
	return err
}

// use takes offers out of those that are good: all of them, or none.
func (s *session) use(on []*Offer) (ids []wire.ID, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range on {
		if s.offers[o.ID] == nil {
			return nil, structs.Errorf(structs.Conflict, "offer "+string(o.ID), "it is not good any more").Advise("wait for the next offers")
		}
		ids = append(ids, wire.ID{Value: o.ID})
	}
	for _, o := range on {
		delete(s.offers, o.ID)
	}
	return ids, nil
}

// Decline gives offers back. What they had is not offered again for refuse, or until Want says that there is use for it.
func (d *Driver) Decline(ctx context.Context, refuse time.Duration, offers ...*Offer) error {
	s, err := d.session()
	if err != nil {
		return err
	}
	wished := d.wishes()
	var back []wire.ID
	for _, o := range offers {
		if s.give(o.ID) {
			back = append(back, wire.ID{Value: o.ID})
		}
	}
	if len(back) == 0 {
		return nil
	}
	return s.decline(ctx, refuse, back, wished)
}

// Hold keeps an offer beyond Scheduler.Offers, until it is used, declined, or rescinded: the region takes offers back that nobody uses.
func (d *Driver) Hold(o *Offer) {
	s, err := d.session()
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.offers[o.ID]; x != nil {
		x.held = true
	}
}

// Kill ends a task. Update tells when it did; when the region does not know the task, Update tells that.
func (d *Driver) Kill(ctx context.Context, task string) error {
	return d.call(ctx, &wire.Call{Type: new(wire.CallKill), Kill: &wire.Kill{TaskID: wire.ID{Value: task}}})
}

// Shutdown ends an executor with its tasks.
func (d *Driver) Shutdown(ctx context.Context, node, executor string) error {
	return d.call(ctx, &wire.Call{Type: new(wire.CallShutdown), Shutdown: &wire.Shutdown{ExecutorID: wire.ID{Value: executor}, AgentID: wire.ID{Value: node}}})
}

// Message sends something to an executor. It arrives at most once.
func (d *Driver) Message(ctx context.Context, node, executor string, data []byte) error {
	return d.call(ctx, &wire.Call{Type: new(wire.CallMessage),
		Message: &wire.Message{AgentID: wire.ID{Value: node}, ExecutorID: wire.ID{Value: executor}, Data: data}})
}

// Reconcile asks how tasks are, all when none is named. The driver does so by itself, too; Update is called for what is not as it was told last.
func (d *Driver) Reconcile(ctx context.Context, tasks ...string) error {
	s, err := d.session()
	if err != nil {
		return err
	}
	if len(tasks) == 0 {
		return s.reconcile(ctx, nil)
	}
	for len(tasks) > 0 {
		n := min(len(tasks), reconcileOnce)
		if err := s.reconcile(ctx, tasks[:n]); err != nil {
			return err
		}
		tasks = tasks[n:]
	}
	return nil
}

// Acknowledge acknowledges an update for which Scheduler.Update returned ErrLater. A scheduler that was restarted before that is told of it again.
func (d *Driver) Acknowledge(ctx context.Context, u *Update) error {
	d.mu.Lock()
	d.tasks.acknowledged(u)
	d.mu.Unlock()
	if u.uuid == nil {
		return nil
	}
	if u.session.ctx.Err() != nil {
		return nil // the next session tells it again, and the driver knows by then that it was taken
	}
	return u.session.call(ctx, u.acknowledgement())
}

// Teardown ends the framework for good: its tasks are killed, its id is not taken again, and Run returns nil.
func (d *Driver) Teardown(ctx context.Context) error {
	s, err := d.session()
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.leaving = true
	d.mu.Unlock()
	// The stream ends with it, often before it is answered, and that must not look like a subscription that was lost.
	s.mu.Lock()
	s.leaving = true
	s.mu.Unlock()
	if err = s.call(ctx, &wire.Call{Type: new(wire.CallTeardown)}); err != nil {
		s.end(err)
		return err
	}
	s.end(errTornDown)
	return nil
}

func (d *Driver) call(ctx context.Context, c *wire.Call) error {
	s, err := d.session()
	if err != nil {
		return err
	}
	return s.call(ctx, c)
}
