package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/proffer/proffer/client/cluster"
	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/structs"
)

// fakeNode records what the session tells it.
type fakeNode struct {
	events  chan string
	desired chan *Desired
	items   chan []*Item
	lease   chan Instant
	full    []*structs.AllocUpdate
	refuse  error
}

func newFakeNode() *fakeNode {
	return &fakeNode{events: make(chan string, 100), desired: make(chan *Desired, 2000), items: make(chan []*Item, 100), lease: make(chan Instant, 1000)}
}

func (n *fakeNode) Hello() *Hello                    { return &Hello{Region: "global", Node: &structs.Node{ID: "n1"}} }
func (n *fakeNode) Observed() []*structs.AllocUpdate { return n.full }
func (n *fakeNode) Desired(d *Desired)               { n.desired <- d }
func (n *fakeNode) Lease(until Instant)              { n.lease <- until }
func (n *fakeNode) Items(items []*Item)              { n.items <- items }
func (n *fakeNode) Lost(err error)                   { n.events <- "lost: " + err.Error() }
func (n *fakeNode) MarkedGone(g *Gone) bool {
	n.events <- "gone in " + g.Generation
	return g.Generation == "mine"
}
func (n *fakeNode) Welcome(w *Welcome) error {
	n.events <- "welcome by " + w.Server
	return n.refuse
}

// fakeClock is moved by hand on top of the bubble's time: it runs on while the machine is suspended.
type fakeClock struct {
	Clock
	mu    sync.Mutex
	extra time.Duration
}

func (c *fakeClock) Now() Instant {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Clock.Now().Add(c.extra)
}

func (c *fakeClock) suspended(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.extra += d
}

// stage has servers s1, s2, … at 10.0.0.1, … and a node, on a mesh.
type stage struct {
	t      *testing.T
	mesh   *cluster.Mesh
	node   *fakeNode
	client *Client
	clock  *fakeClock
	ran    chan error
	stop   context.CancelFunc
}

// serve starts a server whose sessions are run by f, which gets the Conn before Welcome.
func (s *stage) serve(i int, f func(ctx context.Context, c *Conn, h *Hello) error) {
	l, err := s.mesh.Host(fmt.Sprintf("10.0.0.%d", i)).Listen(":5052")
	if err != nil {
		s.t.Fatal(err)
	}
	srv := rpc.NewServer(rpc.Options{})
	srv.HandleStream(Method, func(ctx context.Context, st *rpc.Stream) error {
		c, hello, err := Accept(ctx, st)
		if err != nil {
			return err
		}
		defer c.Close(nil)
		return f(ctx, c, hello)
	})
	go srv.Serve(l)
	s.t.Cleanup(func() { srv.Close() })
}

const lease = 15 * time.Second

// welcomes is a server that takes everybody, grants every renewal, and passes the other messages on.
func welcomes(name string, messages chan *FromNode, conns chan *Conn) func(context.Context, *Conn, *Hello) error {
	return func(_ context.Context, c *Conn, h *Hello) error {
		if err := c.Welcome(&Welcome{Server: name, Lease: structs.Duration(lease)}); err != nil {
			return err
		}
		if conns != nil {
			conns <- c
		}
		for {
			m, err := c.Recv()
			if err != nil {
				return nil
			}
			if m.Renew != nil {
				c.Send(&FromServer{Renewed: &Renewed{Seq: m.Renew.Seq}})
				continue
			}
			messages <- m
			if m.Leave {
				return nil
			}
		}
	}
}

// onStage runs f in a bubble. start begins the node's session with the servers given by number.
func onStage(t *testing.T, f func(t *testing.T, s *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{t: t, mesh: cluster.NewMesh(), node: newFakeNode(), clock: &fakeClock{Clock: MonotonicClock()}}
		f(t, s)
		if s.stop != nil {
			s.stop()
			<-s.ran
		}
	})
}

func (s *stage) start(servers ...int) {
	var addrs []string
	for _, i := range servers {
		addrs = append(addrs, fmt.Sprintf("10.0.0.%d:5052", i))
	}
	pool := rpc.NewPool(s.mesh.Host("10.0.1.1").Dial, rpc.Options{})
	s.t.Cleanup(func() { pool.Close() })
	s.client = New(Config{
		Node:    s.node,
		Servers: func() []string { return addrs },
		Clock:   s.clock,
		Dial: func(ctx context.Context, addr string) (Stream, error) {
			st, err := pool.Stream(ctx, addr, Method, nil)
			if err != nil {
				return nil, err
			}
			return st, nil
		},
	})
	ctx, stop := context.WithCancel(s.t.Context())
	s.stop, s.ran = stop, make(chan error, 1)
	go func() { s.ran <- s.client.Run(ctx); close(s.ran) }()
}

func (s *stage) expect(event string) {
	s.t.Helper()
	if got := <-s.node.events; !strings.HasPrefix(got, event) {
		s.t.Errorf("%q, not %q", got, event)
	}
}

func update(id string, status structs.AllocStatus) *structs.AllocUpdate {
	return &structs.AllocUpdate{ID: structs.AllocID(id), Status: status}
}

func TestASession(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		messages, conns := make(chan *FromNode, 100), make(chan *Conn, 1)
		s.serve(1, welcomes("s1", messages, conns))
		s.node.full = []*structs.AllocUpdate{update("a", structs.AllocComplete)}
		s.start(1)
		s.expect("welcome by s1")
		if m := <-messages; !m.Observed.Full || len(m.Observed.Updates) != 1 || m.Observed.Updates[0].ID != "a" {
			t.Errorf("first: %+v", m.Observed)
		}
		conn := <-conns
		conn.Send(&FromServer{Desired: &Desired{Index: 7, Full: true}})
		if d := <-s.node.desired; d.Index != 7 || !d.Full {
			t.Errorf("desired: %+v", d)
		}

		// What comes after a quiet time is sent at once, without time passing.
		quiet := time.Now()
		s.client.Observe(update("first", structs.AllocRunning))
		if m := <-messages; len(m.Observed.Updates) != 1 || m.Observed.Updates[0].ID != "first" || time.Since(quiet) != 0 {
			t.Errorf("first: %+v after %v", m.Observed, time.Since(quiet))
		}

		// What comes together soon after is sent together, merged.
		for i := range 100 {
			s.client.Observe(&structs.AllocUpdate{ID: "b", Time: structs.Time(i),
				Tasks: map[string]*structs.TaskState{fmt.Sprint("t", i%3): {Restarts: i}}})
		}
		s.client.Fingerprint(&structs.Node{ID: "n1", Name: "older"})
		s.client.Fingerprint(&structs.Node{ID: "n1", Name: "newer"})
		if m := <-messages; m.Node == nil || m.Node.Name != "newer" {
			t.Errorf("fingerprint: %+v", m)
		}
		m := <-messages
		if len(m.Observed.Updates) != 1 || m.Observed.Full {
			t.Fatalf("batch: %+v", m.Observed)
		}
		u := m.Observed.Updates[0]
		if u.Time != 99 || len(u.Tasks) != 3 || u.Tasks["t0"].Restarts != 99 || u.Tasks["t1"].Restarts != 97 {
			t.Errorf("merged: %+v", u)
		}
		synctest.Wait()
		if len(messages) > 0 {
			t.Errorf("more: %+v", <-messages)
		}

		conn.Close(structs.Errorf(structs.Unavailable, "server s1", "lost its quorum"))
		s.expect("lost: server s1: lost its quorum")
		s.expect("welcome by s1")
	})
}

// A node that changes while a session begins is what its Hello does not say yet.
func TestANodeThatChangesBeforeTheWelcome(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		messages := make(chan *FromNode, 100)
		take := welcomes("s1", messages, nil)
		s.serve(1, func(ctx context.Context, c *Conn, h *Hello) error {
			s.client.Fingerprint(&structs.Node{ID: "n1", Name: "changed"})
			return take(ctx, c, h)
		})
		s.start(1)
		s.expect("welcome by s1")
		for range 2 { // and the full state, in any order
			if m := <-messages; m.Node != nil && m.Node.Name == "changed" {
				return
			}
		}
		t.Error("the change is lost")
	})
}

// In a bubble: the server takes two seconds to answer.
func TestTheLeaseCountsFromBeforeTheRenewal(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.serve(1, func(_ context.Context, c *Conn, _ *Hello) error {
			c.Welcome(&Welcome{Server: "s1", Lease: structs.Duration(lease)})
			for {
				m, err := c.Recv()
				if err != nil {
					return nil
				}
				if m.Renew != nil {
					time.Sleep(2 * time.Second) // its quorum is slow
					c.Send(&FromServer{Renewed: &Renewed{Seq: m.Renew.Seq}})
				}
			}
		})
		begin := s.clock.Now()
		s.start(1)
		s.expect("welcome by s1")
		last := <-s.node.lease
		if d := last.Sub(begin); d < lease || d > lease+time.Second {
			t.Errorf("the first lease ends after %v", d)
		}
		for range 5 {
			next := <-s.node.lease
			if d := next.Sub(last); d != lease/3 {
				t.Errorf("it grew by %v", d)
			}
			if d := next.Sub(s.clock.Now()); d != lease-2*time.Second {
				t.Errorf("%v of it are left", d)
			}
			last = next
		}
		// The machine is suspended for a minute: the lease is over, and so is the session.
		s.clock.suspended(time.Minute)
		s.expect("lost: session: the server did not renew the lease")
		s.expect("welcome by s1")
		if next := <-s.node.lease; next.Sub(s.clock.Now()) > lease {
			t.Error("the lease is longer than it may be")
		}
	})
}

func TestAServerThatDoesNotRenewIsLeft(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.serve(1, func(ctx context.Context, c *Conn, _ *Hello) error {
			c.Welcome(&Welcome{Server: "s1", Lease: structs.Duration(lease)})
			for {
				if _, err := c.Recv(); err != nil {
					return nil
				}
			}
		})
		messages := make(chan *FromNode, 100)
		s.serve(2, welcomes("s2", messages, nil))
		s.start(1, 2)
		begin := time.Now()
		s.expect("welcome by s1")
		s.expect("lost: session: the server did not renew")
		s.expect("welcome by s2")
		if took := time.Since(begin); took > lease+lease/3+time.Second {
			t.Errorf("after %v", took)
		}
	})
}

func TestTheNextServer(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		messages := make(chan *FromNode, 100)
		refused := make(chan bool, 100)
		s.serve(1, func(_ context.Context, c *Conn, _ *Hello) error {
			refused <- true
			return c.Refuse(structs.Errorf(structs.Unavailable, "server s1", "no leader"))
		})
		s.serve(2, welcomes("s2", messages, nil))
		s.serve(3, welcomes("s3", messages, nil))
		s.start(1, 2, 3)
		s.expect("welcome by s2")
		if len(refused) != 1 {
			t.Errorf("%d were refused", len(refused))
		}
		<-messages
		s.client.Observe(update("x", structs.AllocRunning))
		<-messages
		s.mesh.Crash("10.0.0.2")
		s.expect("lost: ")
		s.expect("welcome by s3")
		if m := <-messages; !m.Observed.Full {
			t.Errorf("not the full state: %+v", m)
		}
		// A cut is found out by the lease, or by the connection.
		s.mesh.PowerOff("10.0.0.3")
		begin := time.Now()
		s.expect("lost: ")
		if took := time.Since(begin); took > 2*lease {
			t.Errorf("after %v", took)
		}
		synctest.Wait()
	})
}

func TestLeaving(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		messages := make(chan *FromNode, 100)
		s.serve(1, welcomes("s1", messages, nil))
		s.start(1)
		s.expect("welcome by s1")
		<-messages
		s.client.Observe(update("x", structs.AllocComplete))
		if err := s.client.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		if m := <-messages; m.Observed == nil {
			t.Errorf("the last update was lost: %+v", m)
		}
		if m := <-messages; !m.Leave {
			t.Errorf("no goodbye: %+v", m)
		}
		if err := <-s.ran; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// A node that is marked gone tells the ends of its work in the session in which it learns it, and looks for no other one; one that does not
// take it, or is refused for another reason, does.
func TestMarkedGone(t *testing.T) {
	for name, told := range map[string]func(context.Context, *Conn, *Hello) error{
		"in a session": func(_ context.Context, c *Conn, h *Hello) error {
			if err := c.Welcome(&Welcome{Server: "s1", Lease: structs.Duration(lease)}); err != nil {
				return err
			}
			c.Send(&FromServer{Gone: &Gone{"another"}})
			c.Send(&FromServer{Gone: &Gone{"mine"}})
			for {
				m, err := c.Recv()
				if err != nil || m.Observed != nil && len(m.Observed.Updates) > 0 {
					return c.Close(nil)
				}
			}
		},
		"at hello": func(_ context.Context, c *Conn, h *Hello) error {
			return c.RefuseGone(&Gone{"mine"}, structs.Errorf(structs.Forbidden, "node", "it is marked gone"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(t *testing.T, s *stage) {
				tries := 0
				s.serve(1, func(ctx context.Context, c *Conn, h *Hello) error {
					if tries++; tries == 1 {
						return c.RefuseGone(&Gone{"another"}, structs.Errorf(structs.Forbidden, "node", "it is marked gone"))
					}
					return told(ctx, c, h)
				})
				s.start(1)
				for e := range s.node.events {
					if e == "gone in mine" {
						s.client.Observe(update("x", structs.AllocComplete))
						break
					}
				}
				if err := <-s.ran; err != nil || tries != 2 {
					t.Errorf("run: %v, after %d tries", err, tries)
				}
			})
		})
	}
}

func TestLeavingWithoutServers(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.start(1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.client.Leave(ctx); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("got %v", err)
		}
		// A server comes up after all.
		messages := make(chan *FromNode, 100)
		s.serve(1, welcomes("s1", messages, nil))
		if err := <-s.ran; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// stuck is a stream that takes nothing.
type stuck struct{ closed chan struct{} }

func (s *stuck) Send(any) error { <-s.closed; return io.ErrClosedPipe }
func (s *stuck) Recv(any) error { <-s.closed; return io.ErrClosedPipe }
func (s *stuck) Close() error {
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	return nil
}

func TestASlowNodeIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, messages := range []int{1, 3 * maxQueue} {
			c := &Conn{stream: &stuck{make(chan struct{})}, work: make(chan struct{}, 1), writing: true}
			c.wg.Go(c.write)
			var err error
			for range messages {
				err = c.Send(&FromServer{Renewed: &Renewed{}})
			}
			_, recv := c.Recv() // waits until it is cut off
			if structs.KindOf(recv) != structs.Exhausted {
				t.Errorf("%d messages: receive: %v", messages, recv)
			}
			if messages > 1 && structs.KindOf(err) != structs.Exhausted {
				t.Errorf("%d messages: send: %v", messages, err)
			}
			if err := c.Send(&FromServer{}); structs.KindOf(err) != structs.Exhausted {
				t.Errorf("afterwards: %v", err)
			}
			c.Close(nil)
		}
	})
}

func TestCloseDoesNotWaitForASlowNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Conn{stream: &stuck{make(chan struct{})}, work: make(chan struct{}, 1), writing: true}
		c.wg.Go(c.write)
		c.Send(&FromServer{Renewed: &Renewed{}})
		begin := time.Now()
		c.Close(structs.Errorf(structs.Unavailable, "server", "goes"))
		if took := time.Since(begin); took > 2*closeTime {
			t.Errorf("took %v", took)
		}
		if _, err := c.Recv(); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("receive: %v", err)
		}
	})
}

func TestStrangeHellos(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		s.serve(1, func(context.Context, *Conn, *Hello) error { t.Error("it was let in"); return nil })
		pool := rpc.NewPool(s.mesh.Host("10.0.1.1").Dial, rpc.Options{})
		defer pool.Close()
		for _, hello := range []*Hello{{Version: Version + 1, Node: &structs.Node{}}, {Version: Version}} {
			st, err := pool.Stream(t.Context(), "10.0.0.1:5052", Method, nil)
			if err != nil {
				t.Fatal(err)
			}
			st.Send(hello)
			var w Welcome
			if err := st.Recv(&w); err != nil || w.Err == nil || w.Err.Kind != structs.Invalid {
				t.Errorf("%+v, %v", w.Err, err)
			}
			st.Close()
		}
		st, _ := pool.Stream(t.Context(), "10.0.0.1:5052", Method, nil)
		begin := time.Now()
		err := st.Recv(&Welcome{}) // it says nothing and is cut off
		if err == nil || time.Since(begin) > helloTime+time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		st.Close()
	})
}

func TestANodeMayRefuse(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		messages := make(chan *FromNode, 100)
		s.serve(1, welcomes("s1", messages, nil))
		s.node.refuse = errors.New("another region")
		s.start(1)
		s.expect("welcome by s1")
		s.expect("welcome by s1")
		if len(messages) > 0 {
			t.Error("it told the server its state")
		}
	})
}

// TestCoalesceChangesNothing checks it against applying one message after the other.
func TestCoalesceChangesNothing(t *testing.T) {
	type state struct {
		Index     uint64
		Confirmed bool
		Allocs    map[structs.AllocID]uint64
		Gone      map[structs.AllocID]bool
		Jobs      map[uint64]bool
		Renewed   uint64
		Full      int
	}
	apply := func(queue []*FromServer) *state {
		s := &state{Allocs: map[structs.AllocID]uint64{}, Gone: map[structs.AllocID]bool{}, Jobs: map[uint64]bool{}}
		for _, m := range queue {
			if m.Renewed != nil {
				s.Renewed = max(s.Renewed, m.Renewed.Seq)
			}
			d := m.Desired
			if d == nil {
				continue
			}
			s.Index, s.Confirmed = d.Index, d.Confirmed
			if d.Full {
				clear(s.Allocs)
				s.Full++
			}
			for _, id := range d.Gone {
				s.Gone[id] = true
				delete(s.Allocs, id)
			}
			for _, a := range d.Allocs {
				s.Allocs[a.ID] = a.ModifyIndex
			}
			for _, j := range d.Jobs {
				s.Jobs[j.Version] = true
			}
		}
		return s
	}
	rapid.Check(t, func(t *rapid.T) {
		var queue []*FromServer
		alive := []structs.AllocID{"a", "b", "c", "d", "e", "f"}
		for i := range rapid.IntRange(0, 20).Draw(t, "messages") {
			n := uint64(i + 1)
			if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
				queue = append(queue, &FromServer{Renewed: &Renewed{Seq: n}})
				continue
			}
			d := &Desired{Index: n, Full: rapid.IntRange(0, 5).Draw(t, "full") == 0, Confirmed: rapid.Bool().Draw(t, "confirmed")}
			if len(alive) > 1 && rapid.IntRange(0, 3).Draw(t, "gone") == 0 {
				at := rapid.IntRange(0, len(alive)-1).Draw(t, "which")
				d.Gone = append(d.Gone, alive[at])
				alive = slices.Delete(alive, at, at+1) // an id does not come back
			}
			for _, id := range alive {
				if rapid.Bool().Draw(t, "changed") {
					d.Allocs = append(d.Allocs, &structs.Allocation{ID: id, ModifyIndex: n})
				}
			}
			d.Jobs = append(d.Jobs, &structs.JobVersion{Version: n})
			queue = append(queue, &FromServer{Desired: d})
		}
		want := apply(queue)
		joined := Coalesce(queue)
		if got := apply(joined); !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v became %+v", want, got)
		}
		if again := apply(queue); !reflect.DeepEqual(again, want) {
			t.Fatal("the messages were changed")
		}
		if len(joined) > len(queue) {
			t.Fatal("there are more messages than before")
		}
	})
}

func TestClocks(t *testing.T) {
	for _, c := range []Clock{BootClock(), MonotonicClock()} {
		a := c.Now()
		b := c.Now()
		if b < a {
			t.Errorf("%T goes back", c)
		}
	}
}
