package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/proffer/proffer/drivers/pause"
	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server/consensus"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// External frameworks: who is subscribed, and for how long who is not may be away. What they are offered and do with it is in
// accept.go, and what they are told of their tasks in tasks.go and on the way in subscription.go.

// reconnectGrace is how long frameworks at least have to find a new leader.
const reconnectGrace = time.Minute

// Subscribe begins a subscription: of a new framework when f has no ID, of a known one, or of one that nobody knows, which is
// made with the id that it claims. One that is connected is taken over. It fails with Unavailable when this server does not
// lead. Where it leads and its offer loop is still being made of the state, that is waited for.
func (s *Server) Subscribe(ctx context.Context, actor string, f *structs.Framework) (*Subscription, error) {
	if err := allocator.CheckTerms(f); err != nil {
		return nil, err
	}
	wish := *f
	if wish.ID == "" {
		wish.ID = structs.FrameworkID(structs.NewID())
	}
	for {
		sub, over, err := s.subscribe(ctx, actor, wish)
		if !over || !s.raft.Leader().Self {
			return sub, err
		}
	}
}

// subscribe tries it with the loop that there is, or is there next. over: the loop ended meanwhile, and whether the subscription is recorded is
// not known; one more, by the same id, takes its place.
func (s *Server) subscribe(ctx context.Context, actor string, wish structs.Framework) (_ *Subscription, over bool, _ error) {
	wish.Connection = structs.NewID()
	sub := &Subscription{Framework: wish.ID, Connection: wish.Connection, server: s, active: make(chan struct{}), done: make(chan struct{}),
		wake: make(chan struct{}, 1), due: map[subject]tellKind{}}
	l, err := s.awaited(ctx, sub)
	if err != nil {
		return nil, false, err
	}
	answer, _, err := s.raft.Propose(ctx, "", actor, s.bounded(&state.ConnectFramework{Framework: &wish}))
	if err != nil {
		sub.end(err)
		l.awaitNoMore(sub)
		if kind := structs.KindOf(err); kind == structs.Unknown || kind == structs.Unavailable {
			sub.Close()
		}
		return nil, false, asLeader(err)
	}
	sub.Again = answer.(*state.Connected).Again
	select {
	case <-sub.active:
		return sub, false, nil
	case <-sub.done:
		err = sub.Err()
	case <-ctx.Done():
		err = ctx.Err()
	}
	l.awaitNoMore(sub)
	sub.Close()
	return nil, ctx.Err() == nil && l.over(), err
}

// awaited makes a subscription known to the loop of this server, once that is there. A server begins to lead before it: what leads to it says so
// already, and a framework that was turned away would not know where else to go.
func (s *Server) awaited(ctx context.Context, sub *Subscription) (*loop, error) {
	for {
		leader, led := s.raft.LeaderChanged()
		l, changed := s.loop.look()
		err := noLoop()
		if l != nil {
			if err = l.await(sub); err == nil {
				return l, nil
			}
		}
		if !leader.Self {
			return nil, err
		}
		select {
		case <-changed:
		case <-led:
		case <-s.ctx.Done():
			return nil, err
		case <-ctx.Done():
			return nil, err
		}
	}
}

// UpdateFramework changes what a framework says of itself, in its subscription: f has its ID. When it returns without an error offers
// follow what it says now, and those that do not are on their way back. Invalid is also what may not change: user, principal and
// checkpoint.
func (s *Server) UpdateFramework(ctx context.Context, actor, connection string, f *structs.Framework) error {
	if err := allocator.CheckTerms(f); err != nil {
		return err
	}
	if err := s.CheckSubscribed(f.ID, connection); err != nil {
		return err
	}
	wish := *f
	wish.Connection = connection
	_, index, err := s.raft.Propose(ctx, "", actor, s.bounded(&state.UpdateFramework{Framework: &wish}))
	if err != nil {
		return asLeader(err)
	}
	var over <-chan struct{}
	known := make(chan struct{})
	err = s.asFramework(f.ID, connection, func(l *loop, sub *Subscription) error {
		over = sub.done
		l.subs.heard = append(l.subs.heard, heard{index, known})
		l.tellHeard()
		return nil
	})
	if err != nil {
		return nil // the subscription is over since, and the change stands
	}
	select {
	case <-known:
	case <-over:
	case <-ctx.Done():
		return structs.Errorf(structs.Unknown, frameworkObject(f.ID), "it is changed, and offers may not follow yet: %w", ctx.Err())
	}
	return nil
}

// heard is somebody who waits until the loop has taken the feed up to an index.
type heard struct {
	index uint64
	done  chan struct{}
}

// tellHeard lets those go on who wait for what the loop has taken by now. The caller holds mu.
func (l *loop) tellHeard() {
	l.subs.heard = slices.DeleteFunc(l.subs.heard, func(h heard) bool {
		if h.index > l.subs.taken {
			return false
		}
		close(h.done)
		return true
	})
}

// untilLed tries again until it is done, for as long as this server leads and runs.
func (s *Server) untilLed(do func(context.Context) error) {
	for s.ctx.Err() == nil {
		err := do(s.ctx)
		var notLeader *consensus.NotLeader
		if err == nil || errors.As(err, &notLeader) {
			return
		}
		switch structs.KindOf(err) {
		case structs.Unavailable, structs.Exhausted, structs.Unknown:
		default:
			s.log.Warn("cannot record that a framework is away", "err", err)
			return
		}
		pause.For(s.ctx, 100*time.Millisecond)
	}
}

func frameworkObject(id structs.FrameworkID) string { return "framework " + string(id) }

// subscriptions are those of one loop. The fields belong to the loop's mu.
type subscriptions struct {
	ended   error                                        // the loop ended
	waiting map[string]*Subscription                     // by connection: not committed yet
	active  map[structs.FrameworkID]*Subscription        //
	repeats *deadlines                                   // when updates are sent again that nobody acknowledged
	repeat  map[structs.NodeID]*repeat                   // by their names in repeats
	accepts map[*state.Accept]*accepting                 // in flight
	keeping []kept                                       // decisions that are answered once the feed is so far
	owed    map[structs.FrameworkID]map[subject]struct{} // see owe; of those that are subscribed
	heard   []heard                                      // who waits for the feed
	taken   uint64                                       // the index up to which the feed was taken
}

func newSubscriptions() subscriptions {
	return subscriptions{waiting: map[string]*Subscription{}, active: map[structs.FrameworkID]*Subscription{}, repeats: newDeadlines(),
		repeat: map[structs.NodeID]*repeat{}, accepts: map[*state.Accept]*accepting{}, owed: map[structs.FrameworkID]map[subject]struct{}{}}
}

// await makes a subscription known to the loop before it is committed.
func (l *loop) await(sub *Subscription) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.subs.ended != nil {
		return l.subs.ended
	}
	l.subs.waiting[sub.Connection] = sub
	return nil
}

func (l *loop) awaitNoMore(sub *Subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.subs.waiting, sub.Connection)
}

// over says whether the loop has ended.
func (l *loop) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.subs.ended != nil
}

// endSubscriptions ends all of them with the loop.
func (l *loop) endSubscriptions() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subs.ended = &structs.Error{Kind: structs.Unavailable, Op: opNotLeader, Why: "the offer loop ended here"}
	for _, sub := range l.subs.waiting {
		sub.end(l.subs.ended)
	}
	for _, sub := range l.subs.active {
		sub.end(l.subs.ended)
	}
	for _, a := range l.subs.accepts {
		a.fail(structs.Errorf(structs.Unknown, "accept", "the offer loop ended before its outcome was known"))
	}
}

// subscribed returns the subscription in which a framework asks: NotFound when nobody knows the framework, Forbidden when it
// is not subscribed, Invalid when it asks in another subscription. The caller holds mu.
func (l *loop) subscribed(id structs.FrameworkID, connection string) (*Subscription, error) {
	sub := l.subs.active[id]
	f := l.server.store.Snapshot().Framework(id)
	switch {
	case f == nil || f.Ended != 0 || f.BuiltIn:
		return nil, structs.Errorf(structs.NotFound, frameworkObject(id), "Framework cannot be found")
	case sub == nil || sub.Err() != nil:
		return nil, structs.Errorf(structs.Forbidden, frameworkObject(id), "Framework is not subscribed")
	case sub.Connection != connection:
		return nil, structs.Errorf(structs.Invalid, frameworkObject(id), "the stream id is missing, or not that of its subscription").
			Advise("send the one that the answer to its last SUBSCRIBE has: each of them has another, also that of a second scheduler with its id")
	}
	return sub, nil
}

// CheckSubscribed says whether a framework may ask in a subscription: NotFound when nobody knows the framework, Forbidden when
// it is not subscribed, Invalid when it asks in another subscription, Unavailable when this server does not lead.
func (s *Server) CheckSubscribed(id structs.FrameworkID, connection string) error {
	return s.asFramework(id, connection, func(*loop, *Subscription) error { return nil })
}

// toAllocator tells the allocator something for a framework that is subscribed, with the loop's lock held, and has the loop look at it.
func (s *Server) toAllocator(id structs.FrameworkID, connection string, do func(*loop, *Subscription) error) error {
	return s.asFramework(id, connection, func(l *loop, sub *Subscription) error {
		defer l.wake()
		return do(l, sub)
	})
}

// asFramework does something for a framework that is subscribed, with the loop's lock held. The loop sleeps on: most of what frameworks send is
// acknowledgements, with nothing to decide.
func (s *Server) asFramework(id structs.FrameworkID, connection string, do func(*loop, *Subscription) error) error {
	l, err := s.loop.get()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	sub, err := l.subscribed(id, connection)
	if err == nil {
		err = do(l, sub)
	}
	return err
}

// wake has the loop look at what others than it told the allocator.
func (l *loop) wake() {
	select {
	case l.nudge <- struct{}{}:
	default:
	}
}

// subscribe makes a committed subscription the framework's only one, or finds out that it is none of this loop.
func (l *loop) subscribe(now *structs.Framework) {
	sub := l.subs.waiting[now.Connection]
	delete(l.subs.waiting, now.Connection)
	if old := l.subs.active[now.ID]; old != nil {
		old.mu.Lock()
		old.taken = true
		old.endLocked(structs.Errorf(structs.Conflict, frameworkObject(now.ID), "Framework failed over"))
		old.mu.Unlock()
		l.unsubscribe(now.ID)
	}
	if sub == nil || sub.Err() != nil {
		l.allocator.Disconnect(now.ID) // until who has it, or had it, says so
		return
	}
	if err := l.allocator.Resubscribe(now); err != nil {
		l.log.Error("a stored framework cannot be used", "framework", now.Name, "err", err)
	}
	l.subs.active[now.ID] = sub
	for a, x := range l.server.store.Snapshot().TasksOf(now.ID) {
		if x.Outstanding() != nil {
			l.send1(sub, subject{a.ID, x.ID}, tellUpdate)
		}
		l.owe(now.ID, subject{a.ID, x.ID}, over(x))
	}
	for o := range l.server.store.Snapshot().OperationsOf(now.ID) {
		l.takeOperation(nil, o)
	}
	close(sub.active)
}

// unsubscribe forgets a subscription.
func (l *loop) unsubscribe(id structs.FrameworkID) {
	delete(l.subs.active, id)
	delete(l.subs.owed, id)
	for name, r := range l.subs.repeat {
		if r.framework == id {
			l.subs.repeats.drop(name)
			delete(l.subs.repeat, name)
		}
	}
}

// pushTo tells a framework something when it is subscribed, and reports whether it will hear it. The caller holds mu.
func (l *loop) pushTo(id structs.FrameworkID, e FrameworkEvent) bool {
	sub := l.subs.active[id]
	return sub != nil && sub.push(e)
}

// cutOff lets the new leader's frameworks find it: every subscription that another leader had is over.
func (s *Server) cutOff(term context.Context) error {
	var gone []state.Connection
	for f := range s.store.Snapshot().Frameworks() {
		if f.Connected && f.Connection != "" {
			gone = append(gone, state.Connection{Framework: f.ID, Connection: f.Connection})
		}
	}
	const chunk = 1000
	for len(gone) > 0 {
		n := min(chunk, len(gone))
		if _, _, err := s.raft.Propose(term, "", "server "+s.config.Name, &state.DisconnectFrameworks{Connections: gone[:n],
			Grace: structs.Duration(reconnectGrace)}); err != nil {
			return err
		}
		gone = gone[n:]
	}
	return nil
}

// watchFrameworks removes frameworks that are away for longer than they may be, for one term.
func (s *Server) watchFrameworks(term context.Context) {
	for term.Err() == nil {
		snap, now := s.store.Snapshot(), structs.At(time.Now())
		next := now.Add(structs.Duration(time.Hour))
		failed := false
		for f := range snap.Frameworks() {
			if f.Until == 0 || f.Ended != 0 {
				continue
			}
			if f.Until > now {
				next = min(next, f.Until)
				continue
			}
			_, _, err := s.raft.Propose(term, "", "server "+s.config.Name, &state.RemoveFramework{ID: f.ID, Expired: true,
				Why: "its framework was away for longer than its failover time-out"})
			if err != nil && structs.KindOf(err) != structs.NotFound && structs.KindOf(err) != structs.Conflict {
				failed = true
				if term.Err() == nil {
					s.log.Warn("cannot remove a framework that is away for too long", "framework", f.Name, "err", err)
				}
			} else if err == nil {
				s.log.Info("a framework is removed: it was away for longer than its failover time-out", "framework", f.Name, "id", f.ID)
			}
		}
		if failed {
			pause.For(term, time.Second)
			continue
		}
		ctx, cancel := context.WithTimeout(term, max(next.Std().Sub(now.Std()), time.Millisecond))
		s.store.Wait(ctx, snap.Index(), state.OfTable(state.Frameworks))
		cancel()
	}
}

// Framework returns what this server knows of a framework, or nil; also of one that was removed.
func (s *Server) Framework(id structs.FrameworkID) *structs.Framework {
	return s.store.Snapshot().Framework(id)
}

// EndSubscription removes a framework as its scheduler asks: what runs of it is stopped, and what it reserved is orphaned. The
// subscription ends.
func (s *Server) EndSubscription(ctx context.Context, actor string, id structs.FrameworkID, connection string) error {
	err := s.asFramework(id, connection, func(_ *loop, sub *Subscription) error {
		sub.end(structs.Errorf(structs.NotFound, frameworkObject(id), "it was torn down"))
		return nil
	})
	if err != nil {
		return err
	}
	_, _, err = s.raft.Propose(ctx, "", actor, &state.RemoveFramework{ID: id, Why: "its framework was torn down"})
	if structs.KindOf(err) == structs.NotFound {
		return nil // its time-out is zero, and was faster
	}
	return asLeader(err)
}

// LeaderHTTP returns where the leader serves HTTP, as host:port, and whether it is this server; empty while there is none.
func (s *Server) LeaderHTTP(ctx context.Context) (address string, self bool, err error) {
	leader := s.raft.Leader()
	switch {
	case leader.Self:
		return s.config.HTTP, true, nil
	case leader.Address == "" || leader.Address == s.config.Address: // elected, and it does not lead yet, or not any more
		return "", false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	address, err = s.httpOf(ctx, leader.Address)
	return address, false, err
}

// NextLeaderHTTP is LeaderHTTP for who has nobody else to ask: it waits for a leader that answers, up to leaderWait.
func (s *Server) NextLeaderHTTP(ctx context.Context) (address string, self bool, err error) {
	err = s.onLeader(ctx, repeatable, func(context.Context) error {
		address, self = s.config.HTTP, true
		return nil
	}, func(ctx context.Context, leader string) error {
		address, err = s.httpOf(ctx, leader)
		return err
	})
	return address, self, err
}

func (s *Server) httpOf(ctx context.Context, leader string) (address string, err error) {
	err = s.config.Pool.Call(ctx, leader, "Server.HTTP", &struct{}{}, &address)
	return address, err
}
