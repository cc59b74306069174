package server

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/drivers/pause"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// items are the variables and services that nodes in session with this server want. There is one watch for each, however many nodes
// and tasks want it: it looks when the state changed, opens or gathers once, and tells the sessions only when something is different.
type items struct {
	mu      sync.Mutex
	watched map[session.Ref]*watchedItem
	closed  bool
	work    sync.WaitGroup
}

type watchedItem struct {
	stop context.CancelFunc
	by   map[*nodeSession]struct{}
	now  *session.Item // nil: nobody has looked yet
}

// gather is how long changes of a service may wait for company: each is a look at all allocations of its jobs.
const gather = 200 * time.Millisecond

// want has a session told of an item, now and whenever it is another.
func (x *items) want(s *Server, n *nodeSession, ref session.Ref) {
	x.mu.Lock()
	defer x.mu.Unlock()
	w := x.watched[ref]
	if x.closed {
		return
	}
	if w == nil {
		if x.watched == nil {
			x.watched = map[session.Ref]*watchedItem{}
		}
		ctx, cancel := context.WithCancel(s.ctx)
		w = &watchedItem{stop: cancel, by: map[*nodeSession]struct{}{}}
		x.watched[ref] = w
		x.work.Go(func() { s.watchItem(ctx, ref, w) })
	}
	w.by[n] = struct{}{}
	if w.now != nil {
		n.provides.put(w.now) // under mu: a newer one does not come before it
	}
}

func (x *items) drop(n *nodeSession, ref session.Ref) {
	x.mu.Lock()
	defer x.mu.Unlock()
	w := x.watched[ref]
	if w == nil {
		return
	}
	if delete(w.by, n); len(w.by) == 0 {
		w.stop()
		delete(x.watched, ref)
	}
}

// close ends all watches.
func (x *items) close() {
	x.mu.Lock()
	x.closed = true
	for _, w := range x.watched {
		w.stop()
	}
	x.mu.Unlock()
	x.work.Wait()
}

// tell gives an item that was looked at to the sessions that want it, when it is another than before.
func (x *items) tell(w *watchedItem, item *session.Item) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if w.now != nil && reflect.DeepEqual(w.now, item) {
		return
	}
	w.now = item
	for n := range w.by {
		n.provides.put(item)
	}
}

// watchItem looks at an item whenever it may have changed, until ctx ends.
func (s *Server) watchItem(ctx context.Context, ref session.Ref, w *watchedItem) {
	for ctx.Err() == nil {
		snap := s.store.Snapshot()
		item, keys, again := s.lookAt(ctx, snap, ref)
		if ctx.Err() != nil {
			return
		}
		s.items.tell(w, item)
		waiting, cancel := ctx, context.CancelFunc(func() {})
		if again > 0 {
			waiting, cancel = context.WithTimeout(ctx, again)
		}
		s.store.Wait(waiting, snap.Index(), keys...)
		cancel()
		if _, service := ref.Service(); service {
			pause.For(ctx, gather)
		}
	}
}

// lookAt says what there is of an item, what it hangs on, and after how long to look again when nothing of that changed; 0: never.
func (s *Server) lookAt(ctx context.Context, snap *state.Snapshot, ref session.Ref) (item *session.Item, keys []state.Key, again time.Duration) {
	item = &session.Item{Ref: ref}
	if name, ok := ref.Service(); ok {
		item.Instances, _, _ = snap.ServiceInstances(name)
		return item, snap.ServiceKeys(name), 0
	}
	if alloc, name, ok := ref.Secret(); ok {
		item, again := s.lookAtSecret(ctx, snap.Alloc(alloc), ref, name)
		return item, []state.Key{state.OfAlloc(alloc)}, again
	}
	path, ok := ref.Variable()
	if !ok {
		item.Missing = "there is no such thing"
		return item, keys, 0
	}
	keys = append(keys, state.OfVariable(path))
	v := snap.Variable(path)
	if v == nil {
		item.Missing = "there is none"
		return item, keys, 0
	}
	values, err := s.unseal(ctx, v.Path, v.Sealed)
	if err != nil {
		item.Missing, item.Unknown = err.Error(), true
		return item, keys, 10 * time.Second
	}
	item.Version, item.Values, item.Secret = v.Version, values, v.Secret
	return item, keys, 0
}

// provides are the items that a session is to send.
type provides struct {
	mu     sync.Mutex
	wanted map[session.Ref]struct{} // up to session.MaxWants
	beyond map[session.Ref]struct{} // as many again, for which there is no room
	queue  map[session.Ref]*session.Item
	more   chan struct{} // capacity 1
}

func (p *provides) put(item *session.Item) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, wanted := p.wanted[item.Ref]; !wanted {
		return
	}
	p.send(item)
}

// send has an item sent. The caller holds mu.
func (p *provides) send(item *session.Item) {
	p.queue[item.Ref] = item
	select {
	case p.more <- struct{}{}:
	default:
	}
}

// takeWants notes what the node wants now. What is too much is told as not known, and taken when others are dropped: a job that asks for
// more than there is room for waits, and the node's other work does not notice.
func (n *nodeSession) takeWants(w *session.Wants) {
	p := &n.provides
	for _, ref := range w.Drop {
		p.mu.Lock()
		delete(p.wanted, ref)
		delete(p.beyond, ref)
		delete(p.queue, ref)
		p.mu.Unlock()
		n.server.items.drop(n, ref)
	}
	for _, ref := range append(p.again(), w.Add...) {
		if p.takes(ref) {
			n.server.items.want(n.server, n, ref)
		}
	}
}

// takes notes that an item is wanted, and reports whether there is room for it.
func (p *provides) takes(ref session.Ref) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted == nil {
		p.wanted, p.queue, p.beyond = map[session.Ref]struct{}{}, map[session.Ref]*session.Item{}, map[session.Ref]struct{}{}
	}
	if _, again := p.wanted[ref]; again || len(p.wanted) < session.MaxWants {
		p.wanted[ref] = struct{}{}
		return true
	}
	if _, again := p.beyond[ref]; again || len(p.beyond) < session.MaxWants { // of more than that the node hears nothing
		p.beyond[ref] = struct{}{}
		p.send(&session.Item{Ref: ref, Unknown: true,
			Missing: fmt.Sprintf("the work of the node wants more than %d variables and services", session.MaxWants)})
	}
	return false
}

// again takes as many of those that were too much as there is room for now.
func (p *provides) again() (refs []session.Ref) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ref := range p.beyond {
		if len(p.wanted)+len(refs) >= session.MaxWants {
			break
		}
		delete(p.beyond, ref)
		refs = append(refs, ref)
	}
	return refs
}

// wantNothing ends all watches of the session.
func (n *nodeSession) wantNothing() {
	n.provides.mu.Lock()
	wanted := n.provides.wanted
	n.provides.wanted, n.provides.beyond = nil, nil
	n.provides.mu.Unlock()
	for ref := range wanted {
		n.server.items.drop(n, ref)
	}
}

// itemsMost bounds what one message with items takes.
const itemsMost = 1 << 20

// provide sends items that are news until ctx ends.
func (n *nodeSession) provide(ctx context.Context) error {
	p := &n.provides
	for {
		select {
		case <-p.more:
		case <-ctx.Done():
			return ctx.Err()
		}
		p.mu.Lock()
		queue := p.queue
		p.queue = map[session.Ref]*session.Item{}
		p.mu.Unlock()
		var some []*session.Item
		size := 0
		send := func() error {
			if len(some) == 0 {
				return nil
			}
			err := n.conn.Send(&session.FromServer{Items: some})
			some, size = nil, 0
			return err
		}
		var roles map[string]bool
		for _, item := range queue {
			if alloc, _, is := item.Ref.Secret(); is {
				if a := n.server.store.Snapshot().Alloc(alloc); a == nil || a.Node != n.node {
					item = &session.Item{Ref: item.Ref, Missing: "no work on the node has it"}
				}
			} else if path, is := item.Ref.Variable(); is {
				if roles == nil {
					roles = n.roles()
				}
				if !readable(path, roles) {
					item = &session.Item{Ref: item.Ref, Missing: "no work on the node is of a role that may read it"}
				}
			}
			if size += item.Size(); size > itemsMost {
				if err := send(); err != nil {
					return err
				}
				size = item.Size()
			}
			some = append(some, item)
		}
		if err := send(); err != nil {
			return err
		}
	}
}

// roles returns those of the work on the node: a node reads what its allocations may, and nothing else.
func (n *nodeSession) roles() map[string]bool {
	roles := map[string]bool{}
	for a := range n.server.store.Snapshot().HeldOnNode(n.node) {
		roles[a.Role] = true
	}
	return roles
}

func readable(path string, roles map[string]bool) bool {
	for role := range roles {
		if structs.ReadableBy(path, role) {
			return true
		}
	}
	return false
}
