package framework

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// Driver connects one Scheduler with a region. Its methods may be called from any goroutine, from those of the scheduler too, and
// before Run; those that talk to the region return Unavailable while there is no subscription. Nothing is lost by that: what was
// offered is gone, and will be offered again.
type Driver struct {
	config Config
	http   *http.Client
	events chan event
	todo   chan func()
	ended  chan struct{} // closed when Run returns
	wanted chan struct{} // capacity 1: wants are not what they were

	mu         sync.Mutex
	running    bool
	id         string
	now        *session // nil: there is none
	tasks      *tasks
	operations *operations
	about      Config // what the framework says of itself: see Change
	said       uint64 // how often that changed
	wants      []Want
	choosy     bool   // Want was called
	wished     uint64 // how often
	leaving    bool   // Teardown was called, and may have happened
}

// event is one thing for the scheduler.
type event struct {
	of         *session
	subscribed *Subscription
	wire       *wire.Event
	over       error // of stopped
	fatal      error // Run ends with it
}

// New returns a driver that does nothing yet.
func New(c Config) (*Driver, error) {
	if err := c.fill(); err != nil {
		return nil, err
	}
	return &Driver{config: c, about: c, events: make(chan event, mostEvents), todo: make(chan func(), mostCalls), ended: make(chan struct{}),
		wanted: make(chan struct{}, 1), tasks: newTasks(), operations: newOperations(),
		http: &http.Client{Transport: c.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// Run subscribes and calls the scheduler until ctx ends (then it returns its cause, and the framework's tasks run on for
// Config.Failover), the framework was torn down (nil), or it cannot go on: Conflict when another scheduler took the framework over or
// the region removed it, Forbidden, Invalid, or an error of Config.ID or of Subscribed. Servers that cannot be reached are waited for. It
// is called once.
func (d *Driver) Run(ctx context.Context, s Scheduler) error {
	d.mu.Lock()
	if d.running {
		d.mu.Unlock()
		return structs.Errorf(structs.Conflict, "framework "+d.config.Name, "its driver was run before").Advise("make a new one with New")
	}
	d.running = true
	d.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer d.http.CloseIdleConnections()
	defer close(d.ended)
	defer work.Wait()
	defer cancel()
	if err := d.load(ctx); err != nil {
		return err
	}
	work.Go(func() { d.connect(ctx) })
	for {
		var err error
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case f := <-d.todo:
			f()
		case e := <-d.events:
			if e.fatal != nil {
				if errors.Is(e.fatal, errTornDown) {
					return nil
				}
				return e.fatal
			}
			err = d.handle(ctx, s, e)
		}
		if err != nil {
			return err
		}
	}
}

func (d *Driver) load(ctx context.Context) error {
	if d.config.ID == nil {
		return nil
	}
	id, err := d.config.ID.Load(ctx)
	if err == nil && id != "" && !structs.ValidOutsideID(id) {
		err = structs.Errorf(structs.Invalid, "framework "+d.config.Name, "the id that was kept is not one: %.100q", id)
	}
	d.mu.Lock()
	d.id = id
	d.mu.Unlock()
	return err
}

// Do has f called as the methods of the scheduler are, and returns when it was. When ctx or Run ended before f began it never will, and Do
// says why; when f began it is waited for. It is for what comes from elsewhere, such as a request of a user or a timer; from a method of the
// scheduler it would wait for itself.
func (d *Driver) Do(ctx context.Context, f func()) error {
	var taken atomic.Bool // by who calls f, or by who gives up
	done := make(chan struct{})
	call := func() {
		if taken.CompareAndSwap(false, true) {
			defer close(done)
			f()
		}
	}
	select {
	case d.todo <- call:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-d.ended:
		return d.stopped()
	}
	err := error(nil)
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-d.ended:
		err = d.stopped()
	}
	if taken.CompareAndSwap(false, true) {
		return err
	}
	<-done
	return nil
}

func (d *Driver) stopped() error {
	return structs.Errorf(structs.Unavailable, "framework "+d.config.Name, "its driver has ended")
}

// Framework returns the id of the framework; empty before its first subscription.
func (d *Driver) Framework() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.id
}

// Track tells the driver of tasks that were launched before it was made, by where they were, empty when that is not known. Those of them
// that the region does not know are then told of as such. A scheduler that keeps its tasks calls it before or in Subscribed.
func (d *Driver) Track(tasks map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, node := range tasks {
		d.tasks.track(id, node, false)
	}
}

// Want says what the framework has use for, in the place of what was said before. With nothing it gets no offers at all; when that
// changes, offers come at once, also of what it declined shortly before. A framework that never calls Want gets all offers.
func (d *Driver) Want(wants ...Want) {
	d.mu.Lock()
	d.wants, d.choosy, d.wished = append([]Want(nil), wants...), true, d.wished+1
	d.mu.Unlock()
	d.poke()
}

// wishes says how often the framework said what it wants.
func (d *Driver) wishes() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.wished
}

func (d *Driver) poke() {
	select {
	case d.wanted <- struct{}{}:
	default:
	}
}

// handle passes one event on.
func (d *Driver) handle(ctx context.Context, to Scheduler, e event) error {
	s := e.of
	switch {
	case e.over != nil:
		if x, ok := to.(Disconnecter); ok {
			x.Disconnected(e.over)
		}
		return nil
	case e.subscribed != nil:
		return d.subscribed(ctx, to, s, e.subscribed)
	case s.ctx.Err() != nil:
		return nil // it is told again, or is not true any more
	}
	w := e.wire
	switch {
	case w.Offers != nil:
		d.offers(s, to, w.Offers.Offers)
	case w.Update != nil:
		d.update(s, to, updateOf(&w.Update.Status))
	case w.Rescind != nil:
		if x, ok := to.(Rescinder); s.give(w.Rescind.OfferID.Value) && ok {
			x.Rescinded(s.ctx, w.Rescind.OfferID.Value)
		}
	case w.Message != nil:
		if x, ok := to.(Messenger); ok {
			x.Message(s.ctx, &Message{Node: w.Message.AgentID.Value, Executor: w.Message.ExecutorID.Value, Data: w.Message.Data})
		}
	case w.Failure != nil && w.Failure.ExecutorID != nil:
		if x, ok := to.(ExecutorWatcher); ok {
			status := -1
			if w.Failure.Status != nil {
				status = int(*w.Failure.Status)
			}
			x.ExecutorLost(s.ctx, idOf(w.Failure.AgentID), w.Failure.ExecutorID.Value, status)
		}
	case w.Failure != nil:
		if x, ok := to.(NodeWatcher); ok {
			x.NodeLost(s.ctx, idOf(w.Failure.AgentID))
		}
	case w.OperationNews != nil:
		d.operation(s, to, operationUpdateOf(&w.OperationNews.Status))
	case w.InverseOffers != nil:
		for i := range w.InverseOffers.InverseOffers {
			d.maintain(s, to, &w.InverseOffers.InverseOffers[i])
		}
	}
	return nil
}

// subscribed lets the session begin once the framework's id is kept and the scheduler knows.
func (d *Driver) subscribed(ctx context.Context, to Scheduler, s *session, is *Subscription) error {
	if !is.Again && d.config.ID != nil {
		if err := d.config.ID.Save(ctx, is.Framework); err != nil {
			return err
		}
	}
	d.mu.Lock()
	d.id = is.Framework
	if s.ctx.Err() == nil {
		d.now = s
	}
	if s.said != d.said {
		s.end(errChanged)
	}
	d.mu.Unlock()
	if x, ok := to.(Subscriber); ok && s.ctx.Err() == nil {
		if err := x.Subscribed(s.ctx, *is); err != nil {
			return err
		}
	}
	close(s.begun)
	return nil
}

// offers has the scheduler see offers, and gives back what it neither used nor holds.
func (d *Driver) offers(s *session, to Scheduler, list []wire.Offer) {
	all := make([]*Offer, len(list))
	for i := range list {
		all[i] = offerOf(&list[i])
	}
	s.take(all)
	to.Offers(s.ctx, all)
	if left := s.leave(all); len(left) > 0 {
		wished := d.wishes()
		s.soon(func() {
			if err := s.decline(s.ctx, d.config.Refuse, left, wished); err != nil {
				d.config.Log.Debug("cannot decline offers", "err", err)
			}
		})
	}
}

// update has the scheduler take what is new of a task, and acknowledges what it took, now or before.
func (d *Driver) update(s *session, to Scheduler, u *Update) {
	u.session = s
	d.mu.Lock()
	tell, acknowledge := d.tasks.news(u)
	d.mu.Unlock()
	if tell {
		err := to.Update(s.ctx, u)
		if err != nil && !errors.Is(err, ErrLater) {
			d.config.Log.Warn("the scheduler did not take an update", "task", u.Task, "state", u.State, "err", err)
			return
		}
		acknowledge = u.uuid != nil && err == nil
		d.mu.Lock()
		d.tasks.took(u, err != nil)
		d.mu.Unlock()
	}
	if acknowledge {
		s.soon(func() { s.acknowledge(u.acknowledgement()) })
	}
}

// operation has the scheduler take what became of an operation, and acknowledges what it took, now or before.
func (d *Driver) operation(s *session, to Scheduler, u *OperationUpdate) {
	d.mu.Lock()
	tell, acknowledge := d.operations.news(u)
	d.mu.Unlock()
	if tell {
		if x, ok := to.(OperationWatcher); ok {
			if err := x.Operation(s.ctx, u); err != nil {
				d.config.Log.Warn("the scheduler did not take what became of an operation", "operation", u.ID, "state", u.State, "err", err)
				return
			}
		}
		acknowledge = u.uuid != nil
		d.mu.Lock()
		d.operations.took(u)
		d.mu.Unlock()
	}
	if acknowledge {
		s.soon(func() { s.acknowledge(u.acknowledgement()) })
	}
}

func (d *Driver) maintain(s *session, to Scheduler, w *wire.InverseOffer) {
	leave := true
	if x, ok := to.(Maintainer); ok {
		leave = x.Maintenance(s.ctx, &Window{Node: idOf(w.AgentID), Unavailable: windowOf(&w.Unavailability)})
	}
	c := &wire.Call{Type: new(wire.CallAcceptInverseOffers), AcceptInverse: &wire.AnswerInverse{OfferIDs: []wire.ID{w.ID}}}
	if !leave {
		c = &wire.Call{Type: new(wire.CallDeclineInverseOffers), DeclineInverse: &wire.AnswerInverse{OfferIDs: []wire.ID{w.ID}}}
	}
	s.soon(func() {
		if err := s.call(s.ctx, c); err != nil {
			d.config.Log.Debug("cannot answer for a window of maintenance", "node", idOf(w.AgentID), "err", err)
		}
	})
}

// seconds is a duration as filters have it.
func seconds(d time.Duration) *wire.Filters {
	return &wire.Filters{RefuseSeconds: new(d.Seconds())}
}
