package server

import (
	"context"
	"slices"
	"sync"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// What a scheduler is told, on its way to it: a bounded queue of events, and of tasks and operations only that there is something to tell,
// which is looked up when it is taken.

const (
	// maxQueued bounds the events of a subscription that its scheduler has not taken.
	maxQueued = 100_000
	// maxSaid bounds the bytes of messages of executors among them.
	maxSaid = 16 << 20
	// eventsAtOnce bounds the events of one Next.
	eventsAtOnce = 256
)

// FrameworkEvent is one thing that a framework is told. Exactly one field is set.
type FrameworkEvent struct {
	Offer          *FrameworkOffer
	Rescind        structs.OfferID
	Inverse        *structs.InverseOffer
	RescindInverse structs.OfferID
	Update         *TaskNews
	Lost           structs.NodeID // a node is gone
	Executor       *ExecutorEnd
	Message        *ExecutorMessage // from an executor
	Operation      *OperationNews
}

// FrameworkOffer is an offer with what frameworks must know beside it.
type FrameworkOffer struct {
	structs.Offer
	Ports []structs.Range // of the node; as many as Resources says
	On    *structs.Node   // nil: it is gone
	Rooms []*structs.Reservation
	// Volumes are those of the node that the framework may use: the items of Resources, and shared ones.
	Volumes []OfferedVolume
	// Executors are those that the framework has on the node.
	Executors []string
}

// Subscription is one subscription of an external framework. It lives on the leader, at most as long as that leads. Its events
// are taken by one goroutine, and Close is called when nobody takes them any more.
type Subscription struct {
	Framework  structs.FrameworkID
	Connection string
	Again      bool // the framework was known

	server *Server
	active chan struct{} // closed when the loop has it
	done   chan struct{} // closed when it ended
	wake   chan struct{} // holds one

	mu    sync.Mutex
	queue []FrameworkEvent
	said  int // bytes of messages in queue
	due   map[subject]tellKind
	order []subject // of due
	err   error     // why it ended
	taken bool      // another scheduler subscribed for the framework
}

// subject names what a framework is told of: a task, or an operation.
type subject struct {
	alloc structs.AllocID // of the task; empty: it is an operation
	id    string          // as the framework calls it
}

// named is the name of a subject among those of all frameworks, for deadlines.
func (s subject) named(of structs.FrameworkID) structs.NodeID {
	if s.alloc == "" {
		return structs.NodeID("operation/" + string(of) + "/" + s.id)
	}
	return structs.NodeID(string(s.alloc) + "/" + s.id)
}

// tellKind says what a framework is told of a task, or of an operation; bits.
type tellKind int

const (
	tellUpdate    tellKind = 1 << iota // what it must acknowledge next
	tellStart                          // that it starts, which it must acknowledge before that
	tellReconcile                      // how it is, since it asked
	tellAway                           // how it is, since its node went
	tellBack                           // how it is, since its node came back
)

// Next waits for events and returns them, in order. After the subscription has ended it returns why: Conflict when the
// framework was taken over or removed, Exhausted when the scheduler was too slow, Unavailable when this server leads no more.
func (sub *Subscription) Next(ctx context.Context) ([]FrameworkEvent, error) {
	for {
		events, err := sub.take()
		if len(events) > 0 || err != nil {
			return events, err
		}
		select {
		case <-sub.wake:
		case <-sub.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take returns what there is.
func (sub *Subscription) take() (events []FrameworkEvent, err error) {
	sub.mu.Lock()
	if sub.err != nil {
		defer sub.mu.Unlock()
		return nil, sub.err
	}
	n := min(len(sub.queue), eventsAtOnce)
	events = append(events, sub.queue[:n]...)
	if sub.queue = sub.queue[n:]; len(sub.queue) == 0 {
		sub.queue = nil
	}
	for i := range events {
		if m := events[i].Message; m != nil {
			sub.said -= len(m.Data)
		}
	}
	type told struct {
		subject
		kind tellKind
	}
	var tell []told
	for len(sub.order) > 0 && len(events)+len(tell) < eventsAtOnce {
		key := sub.order[0]
		sub.order = sub.order[1:]
		tell = append(tell, told{key, sub.due[key]})
		delete(sub.due, key)
	}
	sub.mu.Unlock()
	if len(events)+len(tell) == 0 {
		return nil, nil
	}
	snap := sub.server.store.Snapshot()
	for i := range events {
		if o := events[i].Offer; o != nil {
			o.On = snap.Node(o.Node)
			o.Executors = append(o.Executors, snap.ExecutorsOn(o.Node, o.Framework)...)
			slices.Sort(o.Executors)
			o.Executors = slices.Compact(o.Executors)
			for _, part := range o.Reserved {
				o.Rooms = append(o.Rooms, snap.Reservation(part.Reservation))
			}
			o.Volumes = volumesIn(snap, o)
		}
	}
	for _, t := range tell {
		if t.alloc == "" {
			events = append(events, outcomesOf(snap, sub.Framework, t.id, t.kind)...)
			continue
		}
		for _, news := range newsOf(snap, t.subject, t.kind) {
			events = append(events, FrameworkEvent{Update: news})
		}
	}
	return events, nil
}

// push adds an event, and reports whether it did. A scheduler that lets too many wait is cut off.
func (sub *Subscription) push(e FrameworkEvent) (queued bool) {
	sub.mu.Lock()
	switch {
	case sub.err != nil:
	case len(sub.queue) >= maxQueued:
		sub.endLocked(structs.Errorf(structs.Exhausted, frameworkObject(sub.Framework), "its scheduler does not take its events: %d wait", maxQueued))
	case e.Message != nil && sub.said+len(e.Message.Data) > maxSaid:
		// Messages arrive at most once: this one does not.
	default:
		if e.Message != nil {
			sub.said += len(e.Message.Data)
		}
		sub.queue, queued = append(sub.queue, e), true
	}
	sub.mu.Unlock()
	sub.poke()
	return queued
}

// tell has the framework told of a task or an operation. What waits already is not told twice.
func (sub *Subscription) tell(key subject, kind tellKind) {
	sub.mu.Lock()
	if sub.err == nil {
		if sub.due[key] == 0 {
			sub.order = append(sub.order, key)
		}
		sub.due[key] |= kind
	}
	sub.mu.Unlock()
	sub.poke()
}

func (sub *Subscription) poke() {
	select {
	case sub.wake <- struct{}{}:
	default:
	}
}

// end ends it; the first reason counts.
func (sub *Subscription) end(err error) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	sub.endLocked(err)
}

func (sub *Subscription) endLocked(err error) {
	if sub.err == nil {
		sub.err = err
		sub.queue, sub.order, sub.due = nil, nil, nil
		close(sub.done)
	}
}

// Done is closed when it ended; Err says why then.
func (sub *Subscription) Done() <-chan struct{} { return sub.done }

// Err returns why it ended, or nil.
func (sub *Subscription) Err() error {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	return sub.err
}

// Close ends it and records that the framework is away, unless it is subscribed anew, or another server leads: that one finds
// out by itself. It returns when that is recorded, or cannot be.
func (sub *Subscription) Close() {
	sub.end(structs.Errorf(structs.Unavailable, frameworkObject(sub.Framework), "its scheduler ended the subscription"))
	sub.mu.Lock()
	taken := sub.taken
	sub.mu.Unlock()
	if taken {
		return
	}
	cmd := &state.DisconnectFrameworks{Connections: []state.Connection{{Framework: sub.Framework, Connection: sub.Connection}}}
	sub.server.untilLed(func(ctx context.Context) error {
		_, _, err := sub.server.raft.Propose(ctx, "", "server "+sub.server.config.Name, cmd)
		return err
	})
}
