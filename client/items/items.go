// Package items keeps what the work of a node asks the region for, variables and services: one watch for each, however many tasks
// want it. What came stays in memory only, and stays there without a server, so that a task can be started again then.
package items

import (
	"sync"

	"github.com/proffer/proffer/client/session"
)

// Items are those of one node. Its methods may be called from any goroutine.
type Items struct {
	want func(add, drop []session.Ref) // tells the servers; it does not block and does not call back

	mu sync.Mutex
	of map[session.Ref]*entry
}

type entry struct {
	item *session.Item // nil: nothing came yet
	by   map[Holder]struct{}
}

// Holder is told of changes; its Changed must not call Items, and is called without a lock of it.
type Holder interface{ Changed(*session.Item) }

// New makes an empty one; want tells the servers what is wanted, as session.Client.Want does.
func New(want func(add, drop []session.Ref)) *Items {
	return &Items{want: want, of: map[session.Ref]*entry{}}
}

// Item returns what is known of an item, or nil.
func (x *Items) Item(ref session.Ref) *session.Item {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.of[ref]; e != nil {
		return e.item
	}
	return nil
}

// Hold has h told of refs, and of nothing else, from now on: before is what it held until now. One that is not there is asked for again
// when somebody new wants it, who may be allowed to have it.
func (x *Items) Hold(h Holder, before, refs []session.Ref) {
	var add, drop []session.Ref
	x.mu.Lock()
	keep := make(map[session.Ref]bool, len(refs))
	for _, ref := range refs {
		keep[ref] = true
		e := x.of[ref]
		if e == nil {
			e = &entry{by: map[Holder]struct{}{}}
			x.of[ref] = e
		}
		if _, held := e.by[h]; held {
			continue
		}
		if e.by[h] = struct{}{}; len(e.by) == 1 || e.item == nil || e.item.Missing != "" {
			add = append(add, ref)
		}
	}
	for _, ref := range before {
		e := x.of[ref]
		if e == nil || keep[ref] {
			continue
		}
		if delete(e.by, h); len(e.by) == 0 {
			delete(x.of, ref)
			drop = append(drop, ref)
		}
	}
	if len(add)+len(drop) > 0 { // under the lock: in the order in which it happened
		x.want(add, drop)
	}
	x.mu.Unlock()
}

// Take notes what the servers sent, and tells who holds it when it is other than before. That nobody can say what there is now does not
// take the place of what there was.
func (x *Items) Take(list []*session.Item) {
	type news struct {
		to   Holder
		item *session.Item
	}
	var tell []news
	x.mu.Lock()
	for _, item := range list {
		e := x.of[item.Ref]
		if e == nil || same(e.item, item) || item.Unknown && e.item != nil && e.item.Missing == "" {
			continue
		}
		e.item = item
		for h := range e.by {
			tell = append(tell, news{h, item})
		}
	}
	x.mu.Unlock()
	for _, n := range tell {
		n.to.Changed(n.item)
	}
}

// Len is how many items are wanted.
func (x *Items) Len() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.of)
}
