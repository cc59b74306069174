package server_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// scheduler is one of an external framework. It takes its events as they come.
type scheduler struct {
	r    *region
	host *host
	sub  *server.Subscription
	done chan struct{}

	mu      sync.Mutex
	offers  map[structs.OfferID]*server.FrameworkOffer // that are good
	news    []*server.TaskNews
	lost    []structs.NodeID
	dropped []structs.OfferID
	err     error

	started map[string]bool // UUIDs of starts that it acknowledged, of the test
}

// subscribe has a framework subscribe with the leader.
func (r *region) subscribe(f *structs.Framework) *scheduler {
	r.t.Helper()
	s := &scheduler{r: r, done: make(chan struct{}), offers: map[structs.OfferID]*server.FrameworkOffer{}, started: map[string]bool{}}
	r.eventually("framework "+f.Name+" is subscribed", func() bool {
		s.host = r.leader()
		sub, err := s.host.server.Subscribe(context.Background(), "test", f)
		if kind := structs.KindOf(err); kind == structs.Unavailable || kind == structs.Unknown {
			return false
		}
		check(r.t, err)
		s.sub = sub
		return true
	})
	go func() {
		defer close(s.done)
		for {
			events, err := s.sub.Next(context.Background())
			s.mu.Lock()
			for _, e := range events {
				switch {
				case e.Offer != nil:
					s.offers[e.Offer.ID] = e.Offer
				case e.Rescind != "":
					delete(s.offers, e.Rescind)
					s.dropped = append(s.dropped, e.Rescind)
				case e.Update != nil:
					s.news = append(s.news, e.Update)
				case e.Lost != "":
					s.lost = append(s.lost, e.Lost)
				}
			}
			s.err = err
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	r.t.Cleanup(func() { s.close() })
	return s
}

// close ends the subscription, as a scheduler does that is killed.
func (s *scheduler) close() {
	s.sub.Close()
	<-s.done
}

// offer waits for a good offer of a node, any when node is empty, and takes it.
func (s *scheduler) offer(node structs.NodeID) (o *server.FrameworkOffer) {
	s.r.t.Helper()
	s.r.eventually("an offer", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for id, x := range s.offers {
			if node == "" || x.Node == node {
				o = x
				delete(s.offers, id)
				return true
			}
		}
		return false
	})
	return o
}

// told waits until the framework was told so of a task, and returns what it was told. That the task starts, which comes before that, it
// acknowledges on the way.
func (s *scheduler) told(task string, state structs.TaskStatus) (n *server.TaskNews) {
	s.r.t.Helper()
	s.r.eventually("task "+task+" is "+string(state), func() bool {
		for _, x := range s.heard(task) {
			if x.State == structs.TaskStarting && state != structs.TaskStarting && x.UUID != nil && !s.started[string(x.UUID)] {
				s.started[string(x.UUID)] = true
				s.acknowledge(x)
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, x := range s.news {
			if x.Task == task && x.State == state {
				n = x
				return true
			}
		}
		return false
	})
	return n
}

func (s *scheduler) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.news = nil
}

// heard returns what was told of a task, in order.
func (s *scheduler) heard(task string) (out []*server.TaskNews) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.news {
		if n.Task == task {
			out = append(out, n)
		}
	}
	return out
}

func (s *scheduler) acknowledge(n *server.TaskNews) {
	s.r.t.Helper()
	check(s.r.t, s.host.server.Acknowledge(context.Background(), s.sub.Framework, s.sub.Connection,
		state.Acknowledged{Task: n.Task, Node: n.Node, UUID: n.UUID}))
}

func (s *scheduler) accept(o *server.FrameworkOffer, ops ...*server.FrameworkOperation) (*server.Accepted, error) {
	return s.host.server.Accept(context.Background(), s.sub.Framework, s.sub.Connection, []structs.OfferID{o.ID}, ops, allocator.Filter{})
}

// launches starts a task of so many cores.
func launches(task string, cores int64) *server.FrameworkOperation {
	amount := structs.Resources{CPU: structs.Milli(1000 * cores), Memory: 64 << 20}
	return &server.FrameworkOperation{Launch: &server.Launch{
		Group: &structs.Group{Name: "task", Tasks: []*structs.Task{{Name: "main", Driver: "mock",
			Resources: &structs.TaskResources{CPU: amount.CPU, Memory: amount.Memory}}}},
		External: &structs.External{Tasks: []*structs.ExternalTask{{ID: task, Name: "main"}}}, Resources: amount}}
}

func reserves(role string, cores int64) *structs.Reservation {
	return &structs.Reservation{Role: role, Resources: structs.Resources{CPU: structs.Milli(1000 * cores)}}
}

func eng(name string) *structs.Framework {
	return &structs.Framework{Name: name, User: "root", Roles: []string{"eng"}, FailoverTimeout: structs.Duration(10 * time.Minute)}
}

// snapshot returns the leader's state.
func (r *region) snapshot() *state.Snapshot { return r.leader().server.Store().Snapshot() }

// A framework reserves, launches on what it reserved in the same accept, hears of its task, and kills it.
func TestFrameworkReservesLaunchesAndKills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 1)
		s := r.subscribe(eng("spark"))
		o := s.offer("")
		if len(o.Ports) == 0 || o.On == nil || o.On.ID != o.Node {
			t.Errorf("the offer has ports %v of %v", o.Ports, o.On)
		}
		room := reserves("eng", 8)
		done, err := s.accept(o, &server.FrameworkOperation{Reserve: room}, launches("one", 6))
		check(t, err)
		check(t, errors.Join(done.Faults...))
		a := r.snapshot().Alloc(done.Allocs[1])
		if a == nil || a.Framework != s.sub.Framework || a.Role != "eng" || r.snapshot().Version("", a.Version) == nil {
			t.Fatalf("the allocation is %+v", a)
		}
		rooms := slices.Collect(r.snapshot().Reservations())
		if len(rooms) != 1 || rooms[0].Owner != s.sub.Framework || rooms[0].Role != "eng" {
			t.Fatalf("reserved is %+v", rooms)
		}
		running := s.told("one", structs.TaskRunning)
		if len(running.UUID) != 16 || running.Node != o.Node || running.Alloc != a.ID {
			t.Errorf("it was told %+v", running)
		}
		// What is left of the room comes back as an offer, and says that it is reserved.
		rest := s.offer("")
		if len(rest.Reserved) != 1 || rest.Reserved[0].Resources.CPU != 2000 || len(rest.Rooms) != 1 || rest.Rooms[0] == nil {
			t.Errorf("the rest is offered as %+v", rest.Reserved)
		}
		s.acknowledge(running)
		check(t, s.host.server.KillTask(context.Background(), s.sub.Framework, s.sub.Connection, server.TaskName{Task: "one"}))
		s.acknowledge(s.told("one", structs.TaskKilled))
		// Released in one accept with work that takes what is free then.
		done, err = s.accept(rest, &server.FrameworkOperation{Unreserve: reserves("eng", 2)}, launches("two", 2))
		check(t, err)
		check(t, errors.Join(done.Faults...))
		if left := r.snapshot().Reservation(rooms[0].ID); left == nil || left.Resources.CPU != 6000 {
			t.Errorf("reserved is still %+v", left)
		}
	})
}

// An offer that was accepted, timed out, is another framework's or holds less than is asked: a clear error, and nothing changes.
func TestBadAcceptsChangeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1)
		s := r.subscribe(eng("spark"))
		o := s.offer("")
		other := r.subscribe(eng("storm"))
		begun := r.snapshot().TableIndex(state.Allocs)
		fails := func(what, want string, s *scheduler, kind structs.Kind, ops ...*server.FrameworkOperation) {
			t.Helper()
			done, err := s.accept(o, ops...)
			if err == nil {
				err = errors.Join(done.Faults...)
			}
			if structs.KindOf(err) != kind || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", what, err)
			}
			if at := r.snapshot().TableIndex(state.Allocs); at != begun {
				t.Errorf("%s changed allocations", what)
			}
		}
		fails("of another framework", "another framework", other, structs.Forbidden, launches("x", 1))
		fails("more than it holds", "the offers have", s, structs.Invalid, launches("big", 9))
		fails("answered before", "no longer valid", s, structs.Conflict, launches("x", 1))
		o = s.offer("")
		time.Sleep(allocator.DefaultOfferTimeout.Std() + time.Second)
		fails("timed out", "no longer valid", s, structs.Conflict, launches("x", 1))
		o = s.offer("")
		twice, err := s.accept(o, launches("a", 1), launches("a", 1))
		check(t, err)
		var refused *server.RefusedOperation
		if twice.Faults[0] != nil || !errors.As(twice.Faults[1], &refused) || refused.Reason != state.RefusedTask {
			t.Errorf("one task twice: %v", twice.Faults)
		}
	})
}

// That a task starts is told before that it runs, again until it is acknowledged, and to nobody who may know already that it runs.
func TestStartingComesBeforeRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1)
		s := r.subscribe(eng("spark"))
		_, err := s.accept(s.offer(""), launches("one", 1), launches("two", 1))
		check(t, err)
		first := s.told("one", structs.TaskStarting)
		other := s.told("two", structs.TaskStarting)
		wrong := *first
		wrong.UUID, wrong.Node = other.UUID, ""
		s.acknowledge(&wrong)
		wrong = *first
		wrong.Node = "elsewhere"
		s.acknowledge(&wrong)
		s.forget()
		time.Sleep(15 * time.Second)
		if all := s.heard("one"); len(all) != 1 || all[0].State != structs.TaskStarting || string(all[0].UUID) != string(first.UUID) || first.Server {
			t.Errorf("%d more were sent within a quarter of a minute: %+v", len(all), all)
		}
		before := s.host.server.Store().Snapshot().Index()
		s.acknowledge(first)
		s.acknowledge(first)
		runs := s.told("one", structs.TaskRunning)
		s.forget()
		time.Sleep(11 * time.Second) // less than STARTING would have been sent again after
		if all := s.heard("one"); len(all) != 1 || string(all[0].UUID) != string(runs.UUID) {
			t.Errorf("%d more were sent within eleven seconds: %+v", len(all), all)
		}
		if n := s.host.server.Store().Snapshot().Index() - before; n != 0 {
			t.Errorf("it took %d entries of the log", n)
		}
		s.acknowledge(runs)
		f := eng("spark")
		f.ID = s.sub.Framework
		s = r.subscribe(f)
		s.told("two", structs.TaskRunning)
		time.Sleep(time.Minute)
		if all := s.heard("one"); len(all) != 0 {
			t.Errorf("it is still told %+v", all[0])
		}
		for _, n := range s.heard("two") {
			if n.State != structs.TaskRunning {
				t.Errorf("the next scheduler is told %+v", n)
			}
		}
	})
}

// Updates come one at a time for each task, again until they are acknowledged, and survive the scheduler and the leader.
func TestUpdatesUntilAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 1)
		s := r.subscribe(eng("spark"))
		done, err := s.accept(s.offer(""), launches("one", 1))
		check(t, err)
		first := s.told("one", structs.TaskRunning)
		r.nodes[0].finish(done.Allocs[0])
		s.forget()
		time.Sleep(9 * time.Second)
		if all := s.heard("one"); len(all) != 0 {
			t.Errorf("%d more were sent within nine seconds", len(all))
		}
		time.Sleep(2 * time.Second)
		if all := s.heard("one"); len(all) != 1 || string(all[0].UUID) != string(first.UUID) {
			t.Errorf("%d more were sent within eleven seconds", len(all))
		}
		time.Sleep(20 * time.Second)
		if all := s.heard("one"); len(all) != 2 || all[1].State != structs.TaskRunning {
			t.Errorf("%d more were sent within half a minute", len(all))
		}
		// Who asks hears what was sent: not that it ended, after which it would run again.
		s.forget()
		check(t, s.host.server.Reconcile(s.sub.Framework, s.sub.Connection, nil))
		time.Sleep(time.Second)
		if all := s.heard("one"); len(all) != 1 || all[0].State != structs.TaskRunning || all[0].UUID != nil {
			t.Errorf("it asked, and was told %+v", all)
		}
		old := s.host
		old.crash()
		f := eng("spark")
		f.ID = s.sub.Framework
		s = r.subscribe(f)
		if !s.sub.Again || s.sub.Framework != f.ID {
			t.Error("it is another framework")
		}
		again := s.told("one", structs.TaskRunning)
		if string(again.UUID) != string(first.UUID) {
			t.Error("the update has another name with another leader")
		}
		s.acknowledge(again)
		s.acknowledge(again) // once more changes nothing
		end := s.told("one", structs.TaskFinished)
		s.acknowledge(end)
		s.forget()
		time.Sleep(3 * time.Minute)
		if all := s.heard("one"); len(all) != 0 {
			t.Errorf("it is still told %+v", all[0])
		}
		old.start(3)
	})
}

// A framework that is away for longer than it may be is removed with all that it runs, even when the leader changes meanwhile;
// one that comes back in time goes on.
func TestFailoverTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 1)
		f := eng("spark")
		f.FailoverTimeout = structs.Duration(4 * time.Minute)
		s := r.subscribe(f)
		f.ID = s.sub.Framework
		_, err := s.accept(s.offer(""), &server.FrameworkOperation{Reserve: reserves("eng", 2)}, launches("one", 1))
		check(t, err)
		s.told("one", structs.TaskRunning)
		s.close()
		time.Sleep(3 * time.Minute)
		s = r.subscribe(f)
		if r.witness.count() != 1 {
			t.Fatal("its task ended while it was away")
		}
		s.close()
		time.Sleep(2 * time.Minute)
		old := r.leader()
		old.crash()
		time.Sleep(time.Minute)
		if r.snapshot().Framework(f.ID).Ended != 0 {
			t.Error("it is removed too early")
		}
		time.Sleep(2 * time.Minute)
		if gone := r.snapshot().Framework(f.ID); gone.Ended == 0 {
			t.Errorf("it is not removed: %+v", gone)
		}
		r.eventually("its task is stopped", func() bool { return r.witness.count() == 0 })
		for x := range r.snapshot().Reservations() {
			if x.Orphaned == 0 {
				t.Errorf("what it reserved is not orphaned: %+v", x)
			}
		}
		_, err = r.leader().server.Subscribe(context.Background(), "test", f)
		if structs.KindOf(err) != structs.Conflict || !strings.Contains(err.Error(), state.WhyFrameworkRemoved) {
			t.Errorf("it subscribes again: %v", err)
		}
		old.start(3)
	})
}

// One that was connected has a minute to find the next leader, whatever its time-out.
func TestChangeOfLeaderRemovesNoFramework(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 1)
		f := &structs.Framework{Name: "short", User: "root", Roles: []string{"eng"}}
		s := r.subscribe(f)
		f.ID = s.sub.Framework
		_, err := s.accept(s.offer(""), launches("one", 1))
		check(t, err)
		s.told("one", structs.TaskRunning)
		check(t, s.host.server.TransferLeadership(context.Background(), ""))
		<-s.done
		if structs.KindOf(s.err) != structs.Unavailable {
			t.Errorf("its stream ended with %v", s.err)
		}
		time.Sleep(30 * time.Second)
		s = r.subscribe(f)
		if !s.sub.Again || r.witness.count() != 1 {
			t.Error("it was removed")
		}
		s.close()
		r.eventually("it is removed at once when it leaves", func() bool { return r.snapshot().Framework(f.ID).Ended != 0 && r.witness.count() == 0 })
	})
}

// The second scheduler of a framework takes over: the first one is told, offers are made anew, and nothing else changes.
func TestSchedulerIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1)
		f := eng("spark")
		first := r.subscribe(f)
		f.ID = first.sub.Framework
		o := first.offer("")
		second := r.subscribe(f)
		<-first.done
		if !strings.Contains(first.err.Error(), "Framework failed over") {
			t.Errorf("the first one ended with %v", first.err)
		}
		if _, err := first.accept(o, launches("x", 1)); structs.KindOf(err) != structs.Invalid {
			t.Errorf("the first one accepts: %v", err)
		}
		first.close() // changes nothing
		if n := second.offer(""); n.ID == o.ID {
			t.Error("an offer of the first one is offered to the second")
		}
		second.mu.Lock()
		if len(second.dropped) != 0 {
			t.Error("offers that the second one never saw are rescinded to it")
		}
		second.mu.Unlock()
		if !r.snapshot().Framework(f.ID).Connected {
			t.Error("it is not connected")
		}
	})
}

// What a framework hears of tasks on a node that goes and comes back, and of tasks that it asks for.
func TestLostNodesAndReconciliation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 2)
		s := r.subscribe(eng("spark"))
		one, two := s.offer(r.nodes[0].id), s.offer(r.nodes[1].id)
		_, err := s.accept(one, launches("one", 1))
		check(t, err)
		_, err = s.accept(two, launches("two", 1))
		check(t, err)
		s.acknowledge(s.told("one", structs.TaskRunning))
		s.acknowledge(s.told("two", structs.TaskRunning))
		ask := func(tasks ...server.TaskName) {
			s.forget()
			check(t, s.host.server.Reconcile(s.sub.Framework, s.sub.Connection, tasks))
		}
		ask()
		if n := s.told("one", structs.TaskRunning); n.UUID != nil || n.Reason != "RECONCILIATION" || !n.Server {
			t.Errorf("it was told %+v", n)
		}
		s.told("two", structs.TaskRunning)
		ask(server.TaskName{Task: "x"}, server.TaskName{Task: "y", Node: r.nodes[0].id})
		s.told("x", structs.TaskUnknown)
		s.told("y", structs.TaskGone)
		s.forget()
		r.mesh.Cut([]string{r.nodes[0].ip}, r.ip())
		if n := s.told("one", structs.TaskUnreachable); n.UUID != nil || n.Reason != "AGENT_REMOVED" || n.Unreachable == 0 {
			t.Errorf("it was told %+v", n)
		}
		r.eventually("it hears of the node", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return slices.Equal(s.lost, []structs.NodeID{r.nodes[0].id})
		})
		ask(server.TaskName{Task: "one"}, server.TaskName{Task: "z", Node: r.nodes[0].id})
		s.told("one", structs.TaskUnreachable)
		s.told("z", structs.TaskUnreachable)
		s.forget()
		r.mesh.Heal()
		if n := s.told("one", structs.TaskRunning); n.UUID != nil || n.Reason != "AGENT_REREGISTERED" {
			t.Errorf("it was told %+v", n)
		}
	})
}

// A scheduler that takes nothing is cut off, and its framework is away.
func TestSlowSchedulerIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1)
		sub, err := r.leader().server.Subscribe(context.Background(), "test", eng("slow"))
		check(t, err)
		names := make([]server.TaskName, 60_000)
		for i := range names {
			names[i].Task = "x"
		}
		for range 2 {
			check(t, r.leader().server.Reconcile(sub.Framework, sub.Connection, names))
		}
		<-sub.Done()
		if _, err := sub.Next(context.Background()); structs.KindOf(err) != structs.Exhausted {
			t.Errorf("it ended with %v", err)
		}
		sub.Close()
		if f := r.snapshot().Framework(sub.Framework); f.Connected || f.Until == 0 {
			t.Errorf("it is %+v", f)
		}
	})
}

// A framework whose subscription ended because the loop begins anew subscribes with the same server at once: it is not turned away meanwhile.
func TestSubscribingWhileTheLoopBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1)
		s := r.subscribe(eng("f"))
		var lost atomic.Bool
		s.host.server.Between(func(commit func() (any, error)) (any, error) {
			if !lost.Swap(true) {
				return nil, structs.Errorf(structs.Unknown, "propose", "it may have happened")
			}
			return commit()
		})
		r.propose(&state.SubmitJob{Job: job("web", "service", 1)})
		<-s.sub.Done()
		f := eng("f")
		f.ID = s.sub.Framework
		sub, err := s.host.server.Subscribe(t.Context(), "test", f)
		if err != nil {
			t.Fatal(err)
		}
		sub.Close()
	})
}

// A framework that subscribes with a loop that ends before it has the framework is handed to the next one.
func TestSubscribingWhileTheLoopEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1)
		host := r.leader()
		var lost atomic.Bool
		ends, begun := make(chan struct{}), make(chan struct{})
		host.server.Between(func(commit func() (any, error)) (any, error) {
			if lost.Swap(true) {
				return commit()
			}
			close(begun)
			<-ends
			return nil, structs.Errorf(structs.Unknown, "propose", "it may have happened")
		})
		r.propose(&state.SubmitJob{Job: job("web", "service", 1)})
		<-begun
		var group sync.WaitGroup
		for i := range 20 {
			group.Go(func() {
				if i == 10 {
					close(ends)
				}
				sub, err := host.server.Subscribe(context.Background(), "test", eng(fmt.Sprint("f", i)))
				if err != nil {
					t.Error(err)
					return
				}
				sub.Close()
			})
		}
		group.Wait()
	})
}
