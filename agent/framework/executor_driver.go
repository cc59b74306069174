package framework

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/drivers/pause"
	"github.com/proffer/proffer/structs"
)

// Bounds of an executor.
const (
	mostUnacknowledged = 1024    // updates
	mostUnackedBytes   = 4 << 20 // of them: they all go into one SUBSCRIBE
	mostStatus         = 64 << 10
	executorCallWithin = 60 * time.Second
)

// ExecutorDriver connects one Executor with its node: it subscribes, again after the agent was restarted, with the tasks and updates that the
// node may not have, and repeats updates until the node has them on its disk. Its methods may be called from any goroutine.
type ExecutorDriver struct {
	config ExecutorConfig
	http   *http.Client
	inbox  chan *wire.ExecutorEvent // for the executor
	more   chan struct{}            // capacity 1: there is something to send
	ended  chan struct{}            // closed when Run returns

	mu      sync.Mutex
	running bool
	tasks   map[string]*wire.TaskInfo // of which the node was told nothing that it has
	updates []*unacked                // in their order
	bytes   int                       // of updates
	room    chan struct{}             // closed and replaced when updates are acknowledged, or full changes
	live    bool                      // there is a subscription
	full    bool                      // the inbox is
}

// unacked is an update that the node has not said to have.
type unacked struct {
	status wire.TaskStatus
	size   int
	sent   bool // in this subscription
}

// NewExecutor returns a driver that does nothing yet.
func NewExecutor(c ExecutorConfig) *ExecutorDriver {
	c.fill()
	return &ExecutorDriver{config: c, inbox: make(chan *wire.ExecutorEvent, mostEvents), more: make(chan struct{}, 1), ended: make(chan struct{}), tasks: map[string]*wire.TaskInfo{}, room: make(chan struct{}),
		http: &http.Client{Transport: c.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Run subscribes and calls the executor until its node wants it to end (nil), ctx ends, or the node was not reached for
// ExecutorConfig.Recovery (Unavailable). After SHUTDOWN it goes on until the node has what was said of the tasks, for Grace at most.
// It is called once.
func (d *ExecutorDriver) Run(ctx context.Context, x Executor) error {
	d.mu.Lock()
	if d.running {
		d.mu.Unlock()
		return structs.Errorf(structs.Conflict, "executor "+d.config.ID, "its driver was run before").Advise("make a new one with NewExecutor")
	}
	d.running = true
	d.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan error, 1)
	var work sync.WaitGroup
	defer d.http.CloseIdleConnections()
	defer close(d.ended)
	defer work.Wait()
	defer cancel()
	work.Go(func() { over <- d.connect(ctx) })
	for {
		select {
		case e := <-d.inbox:
			if e.Type != nil && *e.Type == wire.ExecutorEventShutdown {
				d.shutdown(ctx, x)
				return nil
			}
			d.handle(ctx, x, e)
		case err := <-over:
			return err
		}
	}
}

// connect keeps a subscription until ctx ends, or the executor has been without its node for too long.
func (d *ExecutorDriver) connect(ctx context.Context) error {
	alone := time.Now() // since when it has been without its node
	for n := 1; ; n++ {
		began := time.Now()
		subscribed, err := d.session(ctx)
		if subscribed {
			if alone = time.Now(); alone.Sub(began) > d.config.Pause {
				n = 1
			}
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case time.Since(alone) >= d.config.Recovery:
			return structs.Errorf(structs.Unavailable, "executor "+d.config.ID, "its node did not answer for %s: %w", structs.Duration(d.config.Recovery), err)
		}
		d.config.Log.Info("the executor is not subscribed", "executor", d.config.ID, "after", time.Since(began), "err", err)
		wait := min(firstPause<<min(n, 10), d.config.Pause)
		pause.For(ctx, wait/4+d.config.Jitter(wait*3/4))
	}
}

// session is one subscription.
func (d *ExecutorDriver) session(parent context.Context) (subscribed bool, err error) {
	ctx, end := context.WithCancelCause(parent)
	defer end(nil)
	first := time.AfterFunc(firstWithin, func() { end(errors.New("the node does not answer")) })
	defer first.Stop()
	response, err := d.post(ctx, d.subscribeCall())
	if err != nil {
		return false, cause(ctx, err)
	}
	defer response.Body.Close()
	defer d.alive(false)
	read := bufio.NewReader(response.Body)
	var work sync.WaitGroup
	defer work.Wait()
	defer end(nil)
	for {
		e, err := nextEvent(read)
		switch {
		case err != nil:
			return subscribed, cause(ctx, err)
		case e.Error != nil:
			return subscribed, fmt.Errorf("the node says: %.1000s", e.Error.Message)
		case e.Subscribed != nil:
			if first.Stop(); subscribed {
				continue
			}
			subscribed = true
			d.alive(true)
			d.config.Log.Info("the executor is subscribed", "executor", d.config.ID)
			work.Go(func() { d.say(ctx, end) })
		case e.Acknowledged != nil:
			d.acknowledged(e.Acknowledged)
		default:
			d.push(ctx, e)
		}
	}
}

// push gives an event to the executor. Acknowledgements do not go this way: an executor that says something while it is called must not wait
// for an event behind the one that it is called with. For the same reason it need not wait for room while events cannot be taken in.
func (d *ExecutorDriver) push(ctx context.Context, e *wire.ExecutorEvent) {
	tasks := launchedBy(e)
	d.mu.Lock()
	for i := range tasks {
		d.tasks[tasks[i].TaskID.Value] = &tasks[i]
	}
	d.mu.Unlock()
	select {
	case d.inbox <- e:
		return
	default:
	}
	d.fill(true)
	defer d.fill(false)
	select {
	case d.inbox <- e:
	case <-ctx.Done(): // the executor never gets these, and the next SUBSCRIBE says so
		d.mu.Lock()
		for i := range tasks {
			delete(d.tasks, tasks[i].TaskID.Value)
		}
		d.mu.Unlock()
	}
}

func launchedBy(e *wire.ExecutorEvent) []wire.TaskInfo {
	switch {
	case e.Launch != nil:
		return []wire.TaskInfo{e.Launch.Task}
	case e.LaunchGroup != nil:
		return e.LaunchGroup.Tasks.Tasks
	}
	return nil
}

// fill notes whether the inbox is full.
func (d *ExecutorDriver) fill(is bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = is
	d.wake()
}

// wake lets those go on who wait for room. The caller holds mu.
func (d *ExecutorDriver) wake() {
	close(d.room)
	d.room = make(chan struct{})
}

func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (d *ExecutorDriver) alive(is bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live = is
}

func nextEvent(r *bufio.Reader) (*wire.ExecutorEvent, error) {
	raw, err := wire.ReadRecord(r)
	if err != nil {
		return nil, err
	}
	e := &wire.ExecutorEvent{}
	return e, wire.Protobuf.Unmarshal(raw, e)
}

// shutdown has the executor end, and waits until the node has what was said.
func (d *ExecutorDriver) shutdown(ctx context.Context, x Executor) {
	ctx, cancel := context.WithTimeout(ctx, d.config.Grace)
	defer cancel()
	if c, ok := x.(Closer); ok {
		c.Shutdown(ctx)
	}
	for {
		d.mu.Lock()
		left, room := len(d.updates), d.room
		d.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-room:
		case <-ctx.Done():
			return
		}
	}
}

// handle passes one event on.
func (d *ExecutorDriver) handle(ctx context.Context, x Executor, e *wire.ExecutorEvent) {
	switch {
	case e.Launch != nil:
		x.Launch(ctx, launchedOf(&e.Launch.Task, nil))
	case e.LaunchGroup != nil:
		tasks := e.LaunchGroup.Tasks.Tasks
		var group []string
		for i := range tasks {
			group = append(group, tasks[i].TaskID.Value)
		}
		for i := range tasks {
			x.Launch(ctx, launchedOf(&tasks[i], group))
		}
	case e.Kill != nil:
		var grace time.Duration
		if p := e.Kill.KillPolicy; p != nil && p.GracePeriod != nil {
			grace = time.Duration(p.GracePeriod.Nanoseconds)
		}
		x.Kill(ctx, e.Kill.TaskID.Value, grace)
	case e.Message != nil:
		if l, ok := x.(Listener); ok {
			l.Message(ctx, e.Message.Data)
		}
	}
}

func (d *ExecutorDriver) acknowledged(a *wire.ExecutorAcknowledged) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.tasks, a.TaskID.Value)
	d.updates = slices.DeleteFunc(d.updates, func(u *unacked) bool {
		same := bytes.Equal(u.status.UUID, a.UUID)
		if same {
			d.bytes -= u.size
		}
		return same
	})
	d.wake()
}

// Update says how a task is. It returns when that is on its way, and will arrive: the driver repeats it until the node has it. While 1,024
// updates, or 4 MiB of them, are on their way it waits, but not while 1,024 events wait for the executor: it may be called from there.
func (d *ExecutorDriver) Update(ctx context.Context, n TaskNews) error {
	what := "update of task " + n.Task
	state, ok := stateOut(n.State)
	if !ok || state == wire.TaskStaging {
		return structs.Errorf(structs.Invalid, what, "an executor cannot say that it is %.100q", n.State)
	}
	uuid := make([]byte, 16)
	rand.Read(uuid)
	u := &unacked{status: wire.TaskStatus{TaskID: wire.ID{Value: n.Task}, State: state, Message: wire.Optional(n.Message), Data: n.Data, Healthy: n.Healthy,
		Labels: wire.LabelsOf(n.Labels), UUID: uuid, Source: new(wire.SourceExecutor), Timestamp: new(float64(time.Now().UnixNano()) / 1e9)}}
	if u.size = len(wire.Protobuf.Marshal(&u.status)); u.size > mostStatus {
		return structs.Errorf(structs.Invalid, what, "it has %d bytes, and %d are taken", u.size, mostStatus)
	}
	for {
		d.mu.Lock()
		room := d.room
		if len(d.updates) < mostUnacknowledged && d.bytes+u.size <= mostUnackedBytes || d.full {
			d.updates, d.bytes = append(d.updates, u), d.bytes+u.size
			d.mu.Unlock()
			select {
			case d.more <- struct{}{}:
			default:
			}
			return nil
		}
		d.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-d.ended:
			return structs.Errorf(structs.Unavailable, what, "the executor's driver has ended")
		}
	}
}

// Message sends something to the scheduler. It arrives at most once.
func (d *ExecutorDriver) Message(ctx context.Context, data []byte) error {
	d.mu.Lock()
	live := d.live
	d.mu.Unlock()
	if !live {
		return structs.Errorf(structs.Unavailable, "executor "+d.config.ID, "it is not subscribed now")
	}
	ctx, cancel := context.WithTimeout(ctx, executorCallWithin)
	defer cancel()
	_, err := d.post(ctx, &wire.ExecutorCall{Type: new(wire.ExecutorCallMessage), Message: &wire.ExecutorMessage{Data: data}})
	if err != nil {
		return structs.Errorf(structs.Unknown, "executor "+d.config.ID, "its message was not taken: %w", err)
	}
	return nil
}

// say sends what was not sent in this subscription, in order.
func (d *ExecutorDriver) say(ctx context.Context, end context.CancelCauseFunc) {
	for {
		d.mu.Lock()
		var next *unacked
		if i := slices.IndexFunc(d.updates, func(u *unacked) bool { return !u.sent }); i >= 0 {
			next = d.updates[i]
		}
		d.mu.Unlock()
		if next == nil {
			select {
			case <-d.more:
				continue
			case <-ctx.Done():
				return
			}
		}
		within, cancel := context.WithTimeout(ctx, executorCallWithin)
		_, err := d.post(within, &wire.ExecutorCall{Type: new(wire.ExecutorCallUpdate), Update: &wire.Update{Status: next.status}})
		cancel()
		if err != nil {
			end(fmt.Errorf("an update was not taken: %w", err)) // the next SUBSCRIBE has it
			return
		}
		d.mu.Lock()
		next.sent = true
		d.mu.Unlock()
	}
}

// subscribeCall has what the node may not have. The updates in it need not be sent beside.
func (d *ExecutorDriver) subscribeCall() *wire.ExecutorCall {
	s := &wire.ExecutorSubscribe{}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.tasks {
		s.Tasks = append(s.Tasks, *t)
	}
	slices.SortFunc(s.Tasks, func(a, b wire.TaskInfo) int { return strings.Compare(a.TaskID.Value, b.TaskID.Value) })
	size := 0
	for _, u := range d.updates { // what there is no room for follows by itself
		if size += u.size; size <= mostUnackedBytes {
			s.Updates = append(s.Updates, wire.Update{Status: u.status})
		}
		u.sent = size <= mostUnackedBytes
	}
	return &wire.ExecutorCall{Type: new(wire.ExecutorCallSubscribe), Subscribe: s}
}

// post sends a call; the caller closes the body of a SUBSCRIBE.
func (d *ExecutorDriver) post(ctx context.Context, c *wire.ExecutorCall) (*http.Response, error) {
	c.FrameworkID, c.ExecutorID = wire.ID{Value: d.config.Framework}, wire.ID{Value: d.config.ID}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.config.Node+"/api/v1/executor", bytes.NewReader(wire.Protobuf.Marshal(c)))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", wire.Protobuf.ContentType())
	r.Header.Set("Accept", wire.Protobuf.ContentType())
	if d.config.Token != "" {
		r.Header.Set("Authorization", "Bearer "+d.config.Token)
	}
	response, err := d.http.Do(r)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK && *c.Type == wire.ExecutorCallSubscribe {
		return response, nil
	}
	defer response.Body.Close()
	raw, _ := io.ReadAll(io.LimitReader(response.Body, mostAnswer))
	if response.StatusCode/100 != 2 {
		return nil, &refused{status: response.StatusCode, why: strings.TrimSpace(string(raw))}
	}
	return response, nil
}
