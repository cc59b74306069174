package state

import (
	"context"
	"sort"
	"sync"
)

// recentChanges bounds the changes that are kept for subscribers that come back and for waiters that look whether they
// missed something.
const recentChanges = 4096

// watches wakes who waits for changes. Its lock is held for moments only: entries are applied outside of it.
type watches struct {
	mu      sync.Mutex
	waiters map[Key]map[*waiter]struct{}
	reached map[*waiter]struct{} // waiters for an index
	keyed   map[Key]map[*Feed]struct{}
	feeds   map[*Feed]struct{} // of all keys

	recent []*Batch // ascending
	count  int      // of changes in recent
	floor  uint64   // changes up to this index are not kept; after a restore it may be beyond the current index
}

// waiter waits for one change behind index.
type waiter struct {
	index uint64
	woken chan struct{} // closed once, under the lock
	done  bool
}

func (w *watches) init() {
	w.waiters = make(map[Key]map[*waiter]struct{})
	w.reached = make(map[*waiter]struct{})
	w.keyed = make(map[Key]map[*Feed]struct{})
	w.feeds = make(map[*Feed]struct{})
}

func (one *waiter) wake() {
	if !one.done {
		one.done = true
		close(one.woken)
	}
}

// publish makes next the current state and tells who waits for what is in b.
func (w *watches) publish(s *Store, next *Snapshot, b *Batch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.current.Store(next)
	for one := range w.reached {
		if next.index >= one.index {
			one.wake()
		}
	}
	if len(b.Changes) == 0 {
		return
	}
	w.keep(b)
	for f := range w.feeds {
		f.push(b)
	}
	if len(w.waiters) == 0 && len(w.keyed) == 0 {
		return
	}
	var parts map[*Feed]*Batch
	for i := range b.Changes {
		c := &b.Changes[i]
		c.keys(func(k Key) {
			for one := range w.waiters[k] {
				if b.Index > one.index {
					one.wake()
				}
			}
			for f := range w.keyed[k] {
				part := parts[f]
				if part == nil {
					if parts == nil {
						parts = make(map[*Feed]*Batch)
					}
					part = &Batch{Index: b.Index, Time: b.Time}
					parts[f] = part
				}
				if n := len(part.Changes); n == 0 || part.last != i {
					part.Changes, part.last = append(part.Changes, *c), i
				}
			}
		})
	}
	for f, part := range parts {
		f.push(part)
	}
}

// keep adds b to the recent changes. A batch that is larger than the bound alone is kept until the next one.
func (w *watches) keep(b *Batch) {
	w.recent = append(w.recent, b)
	w.count += len(b.Changes)
	drop := 0
	for w.count > recentChanges && drop < len(w.recent)-1 {
		w.count -= len(w.recent[drop].Changes)
		w.floor = w.recent[drop].Index
		w.recent[drop] = nil
		drop++
	}
	w.recent = w.recent[drop:]
}

// since returns the kept batches behind index, and whether these are all that there were until now, the current index.
func (w *watches) since(index, now uint64) ([]*Batch, bool) {
	i := sort.Search(len(w.recent), func(i int) bool { return w.recent[i].Index > index })
	return w.recent[i:], index >= w.floor || index == now
}

// restored makes next the current state and ends every feed: the change from before to next is not a list of changes.
func (w *watches) restored(s *Store, next *Snapshot) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.floor = max(w.floor, s.current.Load().index+1, next.index) // whoever saw the state before has missed something
	s.current.Store(next)
	clear(w.recent)
	w.recent, w.count = nil, 0
	for _, set := range w.waiters {
		for one := range set {
			one.wake()
		}
	}
	for one := range w.reached {
		if next.index >= one.index {
			one.wake()
		}
	}
	for f := range w.feeds {
		f.fail()
	}
	for _, set := range w.keyed {
		for f := range set {
			f.fail()
		}
	}
}

// Wait returns a snapshot as soon as something under one of keys changed behind index, or at once when that is not known
// any more. It returns ctx's error when that ends first; take a Snapshot then.
func (s *Store) Wait(ctx context.Context, index uint64, keys ...Key) (*Snapshot, error) {
	w := &s.watches
	w.mu.Lock()
	batches, all := w.since(index, s.Snapshot().index)
	if !all || touches(batches, keys) {
		defer w.mu.Unlock()
		return s.Snapshot(), nil
	}
	one := &waiter{index: index, woken: make(chan struct{})}
	for _, k := range keys {
		insert(w.waiters, k, one)
	}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, k := range keys {
			remove(w.waiters, k, one)
		}
	}()
	return s.await(ctx, one)
}

// WaitIndex returns a snapshot as soon as the store has reached index.
func (s *Store) WaitIndex(ctx context.Context, index uint64) (*Snapshot, error) {
	w := &s.watches
	w.mu.Lock()
	if now := s.Snapshot(); now.index >= index {
		w.mu.Unlock()
		return now, nil
	}
	one := &waiter{index: index, woken: make(chan struct{})}
	w.reached[one] = struct{}{}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.reached, one)
	}()
	return s.await(ctx, one)
}

func (s *Store) await(ctx context.Context, one *waiter) (*Snapshot, error) {
	select {
	case <-one.woken:
		return s.Snapshot(), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func touches(batches []*Batch, keys []Key) (found bool) {
	for _, b := range batches {
		for i := range b.Changes {
			b.Changes[i].keys(func(k Key) {
				for _, want := range keys {
					found = found || k == want
				}
			})
			if found {
				return true
			}
		}
	}
	return false
}

func insert[T comparable](sets map[Key]map[T]struct{}, k Key, v T) {
	set := sets[k]
	if set == nil {
		set = make(map[T]struct{})
		sets[k] = set
	}
	set[v] = struct{}{}
}

func remove[T comparable](sets map[Key]map[T]struct{}, k Key, v T) {
	if set := sets[k]; set != nil {
		delete(set, v)
		if len(set) == 0 {
			delete(sets, k)
		}
	}
}
