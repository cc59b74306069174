package server

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/drivers/pause"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

const (
	sessionMethod = session.Method
	// saidQueue bounds the messages of a node that wait to be committed.
	saidQueue = 16
	// sentJobs bounds how many job versions a session remembers having sent. A forgotten one is sent again; a node keeps
	// at least the newest 1,024 that it does not use.
	sentJobs = 1000
)

// sessions are the nodes that are connected to this server, one session each.
type sessions struct {
	mu     sync.Mutex
	closed bool
	open   map[structs.NodeID]*nodeSession
}

// nodeSession is one node's session with this server. Its goroutines belong to serveSession, which waits for them.
type nodeSession struct {
	server      *Server
	node        structs.NodeID
	name        string
	incarnation uint64
	number      uint64           // of the session; a newer one of the node has a higher number
	lease       structs.Duration // the longest that the node may hold when it begins
	generation  string           // that Welcome named
	conn        *session.Conn
	gone        bool                  // the node was marked gone, and is not taken in
	untold      bool                  // it gets no work before it told all that it runs
	sent        map[jobVersion]uint64 // with the index of the version
	over        chan struct{}         // closed when the session ended
	provides    provides
}

type jobVersion struct {
	job     string
	version uint64
}

// put makes n the session of its node and returns the one that it replaces. It refuses when n is not the newest, or the
// server stops.
func (s *sessions) put(n *nodeSession) (old *nodeSession, refused *structs.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old = s.open[n.node]
	switch {
	case s.closed:
		return nil, structs.Errorf(structs.Unavailable, "server "+n.server.config.Name, "it stops")
	case old != nil && old.number > n.number:
		return nil, anotherSession(n.name)
	case s.open == nil:
		s.open = make(map[structs.NodeID]*nodeSession)
	}
	s.open[n.node] = n
	return old, nil
}

func anotherSession(node string) *structs.Error {
	return structs.Errorf(structs.Conflict, "session of node "+node, "the node opened another one")
}

func (s *sessions) drop(n *nodeSession) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[n.node] == n {
		delete(s.open, n.node)
	}
}

// closeAll says Bye to every node and takes no more.
func (s *sessions) closeAll(why *structs.Error) {
	s.mu.Lock()
	s.closed = true
	var all []*nodeSession
	for _, n := range s.open {
		all = append(all, n)
	}
	s.mu.Unlock()
	var closing sync.WaitGroup // together: one whose node takes nothing needs a second
	for _, n := range all {
		closing.Go(func() { n.conn.Close(why) })
	}
	closing.Wait()
}

// serveSession is the life of one session: the node is registered, gets all that the region wants of it, and then each
// change as it commits; what it observes is committed in the order in which it came.
func (s *Server) serveSession(ctx context.Context, stream *rpc.Stream) error {
	conn, hello, err := session.Accept(ctx, stream)
	if err != nil {
		return err
	}
	n, err := s.openSession(ctx, conn, hello)
	if err != nil {
		return conn.Refuse(structs.AsError(err))
	}
	if n.gone {
		return conn.RefuseGone(n.isGone(s.store.Snapshot()), structs.Errorf(structs.Forbidden, "node "+n.name, "an operator marked it gone"))
	}
	defer close(n.over)
	old, refused := s.sessions.put(n)
	if refused != nil {
		return conn.Refuse(refused)
	}
	defer s.sessions.drop(n)
	if old != nil {
		old.conn.Close(anotherSession(n.name))
		// What the old session had not committed must not come after what this one says.
		select {
		case <-old.over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n.generation = s.store.Snapshot().Meta().Generation
	var pushing sync.WaitGroup
	err = conn.Welcome(&session.Welcome{
		Server: s.config.Name, Generation: n.generation, Servers: s.addresses(),
		Lease: structs.Duration(s.config.Lease), Drift: structs.Duration(s.config.Drift), Incarnation: n.incarnation,
	})
	if err != nil {
		return err
	}
	s.log.Debug("session opened", "node", n.name, "id", n.node)
	pushing.Go(func() {
		if err := n.push(ctx); err != nil && ctx.Err() == nil {
			conn.Close(structs.AsError(err))
		}
	})
	pushing.Go(func() { n.shortenLease(ctx) })
	pushing.Go(func() {
		if err := n.provide(ctx); err != nil && ctx.Err() == nil {
			conn.Close(structs.AsError(err))
		}
	})
	defer n.wantNothing()
	err = n.receive(ctx)
	cancel()
	conn.Close(nil)
	pushing.Wait()
	s.log.Debug("session ended", "node", n.name, "id", n.node, "err", err)
	return err
}

// openSession checks who says hello and registers it. When it returns, this server's state has everything that was
// committed before, so what it sends is what the leader confirmed.
func (s *Server) openSession(ctx context.Context, conn *session.Conn, hello *session.Hello) (*nodeSession, error) {
	if hello.Node == nil || hello.Node.ID == "" {
		return nil, structs.Errorf(structs.Invalid, "hello", "it has no node id")
	}
	object := "node " + hello.Node.Name
	if hello.Region != s.config.Region {
		return nil, structs.Errorf(structs.Invalid, object, "it belongs to region %q and this is %q", hello.Region, s.config.Region).
			Advise("set region = %q on the node, or give it the servers of its own region", s.config.Region)
	}
	if hello.Version != session.Version {
		return nil, structs.Errorf(structs.Invalid, object, "it speaks session protocol %d and this server %d", hello.Version, session.Version).
			Advise("upgrade servers before clients")
	}
	answer, _, err := s.Propose(ctx, "", "node "+hello.Node.Name, &state.RegisterNode{Node: hello.Node, Open: true,
		Lease: structs.Duration(s.config.Lease)})
	if err != nil {
		return nil, err
	}
	if s.store.Snapshot().Meta().Generation == "" {
		return nil, structs.Errorf(structs.Unavailable, "region "+s.config.Region, "it is just being made")
	}
	is := answer.(*state.Registered)
	return &nodeSession{server: s, node: hello.Node.ID, name: hello.Node.Name, conn: conn, gone: is.Gone, untold: is.Untold, incarnation: is.Incarnation,
		number: is.Session, lease: is.Lease, sent: make(map[jobVersion]uint64), over: make(chan struct{}),
		provides: provides{more: make(chan struct{}, 1)}}, nil
}

// shortenLease records the lease of this session as the longest that the node may hold, once a longer one that it may have
// been granted before has passed. Until then the leader waits for the longer one, so that lowering it breaks no fence.
func (n *nodeSession) shortenLease(ctx context.Context) {
	granted := structs.Duration(n.server.config.Lease)
	if n.lease <= granted {
		return
	}
	pause.For(ctx, n.server.leaseLength(n.lease.Std()))
	if ctx.Err() != nil {
		return
	}
	_, err := n.propose(ctx, &state.SetLease{Node: n.node, Session: n.number, Lease: granted})
	if err != nil && ctx.Err() == nil {
		n.server.log.Info("the node's lease is not shortened: the next session tries again", "node", n.name, "err", err)
	}
}

// addresses returns those of the living servers, for nodes that have no gossip.
func (s *Server) addresses() (out []string) {
	for _, m := range s.servers("alive") {
		out = append(out, m.Addr)
	}
	return out
}

// push sends what the region wants: all of it first, then what changes.
func (n *nodeSession) push(ctx context.Context) error {
	for {
		feed, err := n.all()
		if err == nil {
			err = n.follow(ctx, feed)
		}
		var lagged *state.Lagged
		if !errors.As(err, &lagged) {
			return err
		}
		// The store was restored, or the node is slow: say all of it again. After a restore the state may be older than what
		// the node was told: only what the leader confirms counts.
		if _, err := n.server.Read(ctx, false); err != nil {
			return err
		}
	}
}

// all sends all that the region wants and returns the feed of what follows. The snapshot ends with it: a session is long,
// and one that kept its first state would keep every record that has been replaced since.
func (n *nodeSession) all() (*state.Feed, error) {
	snap, feed := n.server.store.Subscribe(0, state.OfNode(n.node), state.OfNodeAllocs(n.node), state.OfNodeVolumes(n.node))
	if snap.Meta().Generation != n.generation {
		// In a new generation the node must say anew what it holds.
		feed.Close()
		return nil, structs.Errorf(structs.Conflict, "region "+n.server.config.Region, "a snapshot was restored")
	}
	all := &session.Desired{Index: snap.Index(), Full: true, Confirmed: true, Allocs: slices.Collect(snap.AllocsOnNode(n.node))}
	if node := snap.Node(n.node); node != nil {
		for _, v := range snap.VolumesOn(node) {
			all.Volumes = append(all.Volumes, v.For(n.node))
		}
	}
	err := n.send(all)
	if gone := n.isGone(snap); gone != nil && err == nil {
		err = n.conn.Send(&session.FromServer{Gone: gone})
	}
	if err != nil {
		feed.Close()
		return nil, err
	}
	return feed, nil
}

// isGone returns what to tell a node that was marked gone; nil: it was not.
func (n *nodeSession) isGone(snap *state.Snapshot) *session.Gone {
	if !snap.MarkedGone(n.node) {
		return nil
	}
	return &session.Gone{Generation: snap.Meta().Generation}
}

// goes reports whether a batch may have marked the node gone.
func (n *nodeSession) goes(batch *state.Batch) bool {
	return slices.ContainsFunc(batch.Changes, func(c state.Change) bool {
		if old, _ := c.Old.(*structs.Node); old == nil || old.ID != n.node {
			return false
		}
		now, _ := c.New.(*structs.Node)
		return now == nil || now.Gone != nil
	})
}

// follow sends what changes until the feed ends, and closes it.
func (n *nodeSession) follow(ctx context.Context, feed *state.Feed) error {
	defer feed.Close()
	for {
		batch, err := feed.Next(ctx)
		if err != nil {
			return err
		}
		if err := n.send(n.changes(batch)); err != nil {
			return err
		}
		if !n.goes(batch) {
			continue
		}
		if gone := n.isGone(n.server.store.Snapshot()); gone != nil {
			if err := n.conn.Send(&session.FromServer{Gone: gone}); err != nil {
				return err
			}
		}
	}
}

// changes picks what the node must learn from a batch: what the region wants of an allocation, and what left the state.
func (n *nodeSession) changes(batch *state.Batch) *session.Desired {
	d := &session.Desired{Index: batch.Index}
	at := map[structs.AllocID]int{} // in d.Allocs: one entry may change an allocation several times
	for _, c := range batch.Changes {
		old, _ := c.Old.(*structs.Volume)
		switch v, _ := c.New.(*structs.Volume); {
		case v != nil && (v.Node == n.node || v.AttachedTo(n.node) != nil):
			d.Volumes = append(d.Volumes, v.For(n.node))
		case old.AttachedTo(n.node) != nil: // the node forgets what it was told of it
			d.Volumes = append(d.Volumes, &structs.Volume{Name: old.Name, ID: old.ID, CSI: &structs.CSIVolume{Plugin: old.CSI.Plugin}})
		}
		if c.Table != state.Allocs {
			continue
		}
		alloc, _ := c.New.(*structs.Allocation)
		if alloc == nil {
			d.Gone = append(d.Gone, c.Old.(*structs.Allocation).ID)
			continue
		}
		if i, known := at[alloc.ID]; known {
			d.Allocs[i] = alloc
		} else if alloc.Node == n.node && alloc.WantIndex == batch.Index {
			at[alloc.ID] = len(d.Allocs)
			d.Allocs = append(d.Allocs, alloc)
		}
	}
	return d
}

// send adds the job versions that the node has not seen, and sends. An empty message is not sent.
func (n *nodeSession) send(d *session.Desired) error {
	if !d.Full && len(d.Allocs) == 0 && len(d.Gone) == 0 && len(d.Volumes) == 0 {
		return nil
	}
	var snap *state.Snapshot
	for _, a := range d.Allocs {
		if a.Job == "" && a.External == nil || a.Ended() {
			continue
		}
		if snap == nil {
			snap = n.server.store.Snapshot()
		}
		for _, version := range []uint64{a.Version, a.ReplacedBy} {
			v, job := jobVersion{a.Job, version}, snap.Version(a.Job, version)
			if job == nil || n.sent[v] == job.Index { // nil: stopped and purged since; the node will be told to stop it
				continue
			}
			if a.External == nil { // otherwise nothing else is of that version
				if len(n.sent) >= sentJobs {
					clear(n.sent)
				}
				n.sent[v] = job.Index
			}
			d.Jobs = append(d.Jobs, job)
		}
	}
	for _, v := range d.Volumes {
		n.server.openFor(n.server.ctx, v)
	}
	return n.conn.Send(&session.FromServer{Desired: d})
}

// receive takes what the node says until the session ends. Renewals are passed on at once: a busy region must not cost a
// node its lease.
func (n *nodeSession) receive(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	said := make(chan *session.FromNode, saidQueue)
	left := false
	var committing sync.WaitGroup
	committing.Go(func() {
		defer cancel()
		var err error
		if left, err = n.commit(ctx, said); left {
			n.conn.Close(nil)
		} else if err != nil {
			n.conn.Close(structs.AsError(err))
		}
	})
	err := n.read(ctx, said)
	cancel() // what was not committed comes again with the next session
	committing.Wait()
	if left {
		return nil
	}
	return err
}

// read gives renewals to the leader and all else to commit.
func (n *nodeSession) read(ctx context.Context, said chan<- *session.FromNode) error {
	for {
		m, err := n.conn.Recv()
		if err != nil {
			return err
		}
		if m.Renew != nil {
			if err := n.server.renewals.ask(n, m.Renew); err != nil {
				n.conn.Close(structs.AsError(err))
				return err
			}
			continue
		}
		if m.Wants != nil {
			n.takeWants(m.Wants)
			continue
		}
		select {
		case said <- m: // when the queue is full, the node waits
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// commit records what the node says, in the order in which it came; left tells that it said goodbye.
func (n *nodeSession) commit(ctx context.Context, said <-chan *session.FromNode) (left bool, err error) {
	for err == nil && !left {
		select {
		case m := <-said:
			switch {
			case m.Observed != nil:
				err = n.observed(ctx, m.Observed)
			case m.Node != nil:
				err = n.registered(ctx, m.Node)
			case m.Purged != nil:
				_, err = n.propose(ctx, &state.ForgetVolumes{Node: n.node, IDs: m.Purged})
			case m.Leave:
				_, err = n.propose(ctx, &state.SetNodeStatus{Node: n.node, Incarnation: n.incarnation, Session: n.number,
					Status: structs.NodeLeft, Why: "it left"})
				left = err == nil
			}
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
	return left, err
}

// propose commits a command of this node. While the region's queue is full it waits, and the node with it.
func (n *nodeSession) propose(ctx context.Context, cmd state.Command) (any, error) {
	key := state.BriefKey()
	for {
		answer, _, err := n.server.Propose(ctx, key, "node "+n.name, cmd)
		if structs.KindOf(err) != structs.Exhausted || ctx.Err() != nil {
			return answer, err
		}
		pause.For(ctx, 100*time.Millisecond)
	}
}

// observed commits updates in commands that an entry takes. With the last one of all that the node runs, it may get new work.
func (n *nodeSession) observed(ctx context.Context, o *session.Observed) error {
	updates := slices.DeleteFunc(o.Updates, func(u *structs.AllocUpdate) bool { return u == nil })
	for told := !o.Full || !n.untold; len(updates) > 0 || !told; {
		budget := n.server.entryBytes / 2
		if len(updates) > 0 {
			updates[0] = fitting(updates[0], budget)
			if first, rest := splitSaid(updates[0], budget); rest != nil {
				updates = append([]*structs.AllocUpdate{first, rest}, updates[1:]...)
			}
		}
		chunk := part(&updates, &budget, updateBytes)
		told = told || len(updates) == 0
		if _, err := n.propose(ctx, &state.Observe{Node: n.node, NodeIncarnation: n.incarnation, Session: n.number, Updates: chunk,
			Told: o.Full && len(updates) == 0}); err != nil {
			return err
		}
	}
	return nil
}

// updateBytes is what an update takes in an entry, or a little more.
func updateBytes(u *structs.AllocUpdate) int {
	n := partBytes + len(u.Why)
	for name, t := range u.Tasks {
		if n += partBytes + len(name); t == nil {
			continue
		}
		n += len(t.Why)
		for _, e := range t.Events {
			n += 32 + len(e.Type) + len(e.Text)
		}
		for _, c := range t.Checks {
			n += 48 + len(c.Name) + len(c.Why)
		}
	}
	for _, s := range u.Said {
		n += saidBytes(s)
	}
	return n
}

func saidBytes(s *structs.TaskSaid) int {
	return 128 + len(s.Task) + len(s.Update.Message) + len(s.Update.Reason) + len(s.Update.Status)
}

// splitSaid takes as many of the statements of executors as an entry has room for out of an update; rest is nil when that is all of them.
func splitSaid(u *structs.AllocUpdate, budget int) (first, rest *structs.AllocUpdate) {
	n, size := 0, 0
	for n < len(u.Said) && (n == 0 || size+saidBytes(u.Said[n]) <= budget/2) {
		size += saidBytes(u.Said[n])
		n++
	}
	if n == len(u.Said) {
		return u, nil
	}
	head, tail := *u, *u
	head.Said, head.Tasks, tail.Said = u.Said[:n], nil, u.Said[n:]
	if head.Status.Ended() {
		head.Status, head.Why = structs.AllocRunning, "" // it ends with the last of it
	}
	return &head, &tail
}

// fitting returns u, without events of tasks and with shorter texts when it takes more than budget.
func fitting(u *structs.AllocUpdate, budget int) *structs.AllocUpdate {
	quiet := *u
	quiet.Said = nil
	if updateBytes(&quiet) <= budget/2 || len(u.Said) == 0 && updateBytes(u) <= budget {
		return u
	}
	cut := *u
	cut.Why = cut.Why[:min(len(cut.Why), 1024)]
	cut.Tasks = make(map[string]*structs.TaskState, len(u.Tasks))
	for name, t := range u.Tasks {
		if t != nil {
			short := *t
			short.Events, short.Why = nil, t.Why[:min(len(t.Why), 256)]
			short.Checks = slices.Clone(t.Checks[:min(len(t.Checks), structs.MaxChecks)])
			for i := range short.Checks {
				c := &short.Checks[i]
				c.Name, c.Why = c.Name[:min(len(c.Name), 128)], c.Why[:min(len(c.Why), 256)]
			}
			t = &short
		}
		cut.Tasks[name] = t
	}
	return &cut
}

func (n *nodeSession) registered(ctx context.Context, node *structs.Node) error {
	if node.ID != n.node {
		return structs.Errorf(structs.Invalid, "node "+n.name, "it changed its id in a session")
	}
	answer, err := n.propose(ctx, &state.RegisterNode{Node: node, Session: n.number})
	if err == nil && answer.(*state.Registered).Incarnation != n.incarnation {
		err = structs.Errorf(structs.Conflict, "node "+n.name, "the region gave it up meanwhile").Advise("it connects again")
	}
	return err
}
