package server

import (
	"context"
	"sync"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// leaseWatch gives up nodes whose lease has ended, and then their allocations as each one's on_lost says. It lives for
// one term: a new leader cannot know what its predecessor granted, so every lease counts from its election.
//
// A node counts its lease from before it sent the renewal, the leader from its receipt and with a margin for clocks that
// drift, so the node's ends first: a node that is lost has stopped its fenced work.
type leaseWatch struct {
	server *Server
	kick   chan struct{} // an instant may have become earlier

	mu     sync.Mutex
	leases *deadlines                // of ready nodes
	waits  *deadlines                // of lost nodes: when to look at their allocations
	losing map[structs.NodeID]uint64 // nodes whose lease ended, with the incarnation whose end is being recorded
}

func newLeaseWatch(s *Server) *leaseWatch {
	return &leaseWatch{server: s, kick: make(chan struct{}, 1), leases: newDeadlines(), waits: newDeadlines(),
		losing: make(map[structs.NodeID]uint64)}
}

// leaseOf returns how long the servers count a lease of n from its renewal: what is configured here, or the longer one that
// the node may hold from before a change of the configuration.
func (s *Server) leaseOf(n *structs.Node) time.Duration {
	return s.leaseLength(max(s.config.Lease, n.Lease.Std()))
}

// leaseLength adds the margin for clocks that drift, which grows with the lease.
func (s *Server) leaseLength(lease time.Duration) time.Duration {
	return lease + time.Duration(float64(lease)/float64(s.config.Lease)*float64(s.config.Drift))
}

// run watches until the term ends.
func (w *leaseWatch) run(term context.Context) {
	var following sync.WaitGroup
	following.Go(func() { w.follow(term) })
	defer following.Wait()
	for {
		w.mu.Lock()
		now := time.Now()
		lost, look := w.leases.ended(now), w.waits.ended(now)
		for _, node := range lost {
			if n := w.server.store.Snapshot().Node(node); n != nil {
				w.losing[node] = n.Incarnation
			}
		}
		next := w.leases.next()
		if t := w.waits.next(); next.IsZero() || (!t.IsZero() && t.Before(next)) {
			next = t
		}
		w.mu.Unlock()
		atOnce(lost, func(node structs.NodeID) { w.lose(term, node) })
		atOnce(look, func(node structs.NodeID) { w.look(term, node, now) })
		if len(lost)+len(look) > 0 {
			continue
		}
		wake := time.Now().Add(lookEvery)
		if !next.IsZero() && next.Before(wake) {
			wake = next
		}
		timer := time.NewTimer(time.Until(wake))
		select {
		case <-timer.C:
		case <-w.kick:
		case <-term.Done():
			timer.Stop()
			return
		}
		timer.Stop()
		w.stalled(time.Since(wake))
	}
}

// proposeAtOnce bounds the commands about nodes that are proposed at once.
const proposeAtOnce = 256

// atOnce calls f for each node, for proposeAtOnce of them at a time, and waits: what is proposed at once travels in few
// entries, so that a rack that loses its power is not an entry for each of its nodes.
func atOnce(nodes []structs.NodeID, f func(structs.NodeID)) {
	var running sync.WaitGroup
	slots := make(chan struct{}, proposeAtOnce)
	for _, node := range nodes {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			f(node)
		})
	}
	running.Wait()
}

// lookEvery is how often the watch looks at least, so that it notices when this process did not run for a while.
const lookEvery = time.Second

// stalled gives every lease the time for which this process stood still, when it did: renewals that came meanwhile wait
// to be read, and nobody is to be lost for that. It is safe, since it only makes the servers wait longer.
func (w *leaseWatch) stalled(late time.Duration) {
	if late < lookEvery {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leases.delay(late + lookEvery)
	w.server.log.Warn("this server stood still: leases are extended", "by", (late + lookEvery).Round(time.Millisecond).String())
}

// follow keeps the instants like the nodes in the state.
func (w *leaseWatch) follow(term context.Context) {
	s := w.server
	for term.Err() == nil {
		snap, feed := s.store.Subscribe(1<<16, state.OfTable(state.Nodes))
		w.mu.Lock()
		for n := range snap.Nodes() {
			w.changed(n)
		}
		w.mu.Unlock()
		w.serve(w)
		w.wake()
		for {
			batch, err := feed.Next(term)
			if err != nil {
				break
			}
			w.mu.Lock()
			for _, c := range batch.Changes {
				if n, _ := c.New.(*structs.Node); n != nil {
					w.changed(n)
				} else if old, _ := c.Old.(*structs.Node); old != nil {
					w.leases.drop(old.ID)
					w.waits.drop(old.ID)
					delete(w.losing, old.ID)
				}
			}
			w.mu.Unlock()
			w.wake()
		}
		feed.Close()
	}
	w.serve(nil)
}

// serve makes w (or nothing) what renewals reach.
func (w *leaseWatch) serve(watch *leaseWatch) {
	r := w.server.renewals
	r.mu.Lock()
	r.watch = watch
	r.mu.Unlock()
}

func (w *leaseWatch) wake() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// changed takes a node's new record. Call it with the lock held.
func (w *leaseWatch) changed(n *structs.Node) {
	now := time.Now()
	switch n.Status {
	case structs.NodeReady:
		w.waits.drop(n.ID)
		_, leased := w.leases.nodes[n.ID]
		if !leased && !w.isLosing(n) {
			w.leases.set(n.ID, now.Add(w.server.leaseOf(n)))
		}
	case structs.NodeLost:
		delete(w.losing, n.ID)
		w.leases.drop(n.ID)
		w.waits.set(n.ID, now)
	default:
		delete(w.losing, n.ID)
		w.leases.drop(n.ID)
		w.waits.drop(n.ID)
	}
}

// isLosing reports whether this incarnation of n is being given up. Call it with the lock held.
func (w *leaseWatch) isLosing(n *structs.Node) bool {
	incarnation, ok := w.losing[n.ID]
	return ok && incarnation == n.Incarnation
}

// renew grants leases that count from now, and returns the nodes that get none: the region gave them up, or is about to,
// and their fenced work may be started elsewhere, or they ask in a session that is not their newest, which may grant a
// longer lease than is recorded. snap has everything that was acknowledged before now.
func (w *leaseWatch) renew(snap *state.Snapshot, asks []leaseAsk, now time.Time) (refused []leaseAsk) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ask := range asks {
		n := snap.Node(ask.Node)
		if n == nil || n.Status != structs.NodeReady || n.Session != ask.Session || w.isLosing(n) {
			refused = append(refused, ask)
			continue
		}
		ends := now.Add(w.server.leaseOf(n))
		if _, ok := w.leases.nodes[n.ID]; !ok {
			w.leases.set(n.ID, ends) // it has just registered, and follow has not seen it
			w.wake()
			continue
		}
		w.leases.extend(n.ID, ends)
	}
	return refused
}

// later has a lost node looked at again.
func (w *leaseWatch) later(node structs.NodeID, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waits.set(node, at)
}

// lose records that a node is lost; what follows from it comes back through follow.
func (w *leaseWatch) lose(term context.Context, id structs.NodeID) {
	s := w.server
	n := s.store.Snapshot().Node(id)
	w.mu.Lock()
	over := n == nil || n.Status != structs.NodeReady || !w.isLosing(n) // or it came back as another incarnation
	if over {
		delete(w.losing, id)
	}
	w.mu.Unlock()
	if over {
		return
	}
	_, _, err := s.raft.Propose(term, "", "server "+s.config.Name, &state.SetNodeStatus{
		Node: id, Incarnation: n.Incarnation, Status: structs.NodeLost,
		Why: "no lease renewal for " + structs.Duration(s.leaseOf(n)).String(),
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && structs.KindOf(err) != structs.Conflict {
		if term.Err() == nil {
			s.log.Warn("cannot record that a node is lost", "node", n.Name, "err", err)
		}
		w.leases.set(id, time.Now().Add(time.Second)) // it may have happened: no lease meanwhile
		return
	}
	delete(w.losing, id)
	if err == nil {
		s.log.Warn("node lost: its lease ended", "node", n.Name, "id", id, "after", s.leaseOf(n).String())
	}
}

// loseChunk bounds the allocations in one command, far below the cap of an entry; the next look finds the others.
const loseChunk = 4096

// look gives up the allocations of a lost node whose time has come: "fence" at once, since the node has stopped them,
// and "wait(d)" when d has passed.
func (w *leaseWatch) look(term context.Context, id structs.NodeID, now time.Time) {
	s := w.server
	snap := s.store.Snapshot()
	n := snap.Node(id)
	if n == nil || n.Status != structs.NodeLost {
		return
	}
	var due []structs.AllocID
	var next time.Time
	for a := range snap.HeldOnNode(id) {
		policy, _ := structs.ParseOnLost(a.OnLost) // validated when the job was submitted; the zero value waits for nothing
		at := n.Changed.Std().Add(policy.Wait.Std())
		switch {
		case !at.After(now):
			due = append(due, a.ID)
		case next.IsZero() || at.Before(next):
			next = at
		}
	}
	if !next.IsZero() {
		w.later(id, next)
	}
	if len(due) == 0 {
		return
	}
	if len(due) > loseChunk {
		due = due[:loseChunk]
		w.later(id, now)
	}
	_, _, err := s.raft.Propose(term, "", "server "+s.config.Name, &state.LoseAllocs{
		Node: id, Allocs: due, Why: "its node is lost",
	})
	if err != nil && term.Err() == nil && structs.KindOf(err) != structs.Conflict {
		s.log.Warn("cannot give up the work of a lost node", "node", n.Name, "err", err)
		w.later(id, time.Now().Add(time.Second))
	}
}
