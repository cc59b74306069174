package state

import (
	"context"
	"fmt"
	"sync"
)

// DefaultFeedLimit is how many changes a feed holds that were not read.
const DefaultFeedLimit = 4096

// Lagged ends a feed whose reader was too slow or whose store was restored, and refuses one that would begin too far
// back: changes behind After are lost to it. Subscribe again and begin from the snapshot.
type Lagged struct{ After uint64 }

func (e *Lagged) Error() string {
	return fmt.Sprintf("changes behind index %d are not kept any more: subscribe again and begin from the snapshot", e.After)
}

// Feed is an ordered stream of changes. It is read by one goroutine and closed by its owner.
type Feed struct {
	store *Store
	keys  []Key
	limit int

	mu     sync.Mutex
	queue  []*Batch
	count  int    // changes in queue
	last   uint64 // index of what was read or, before that, where it began
	lagged bool
	more   chan struct{} // holds a token while the queue is not empty or the feed ended
}

// Waiting says how many batches were not read. It may be called from any goroutine.
func (f *Feed) Waiting() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.queue)
}

// Subscribe returns the state and a feed of the changes that follow it, without a gap: those under keys, or all when
// there are none. The feed holds up to limit changes that were not read; 0 means DefaultFeedLimit. One batch is always
// taken, however large.
func (s *Store) Subscribe(limit int, keys ...Key) (*Snapshot, *Feed) {
	f := s.newFeed(limit, keys)
	w := &s.watches
	w.mu.Lock()
	defer w.mu.Unlock()
	now := s.Snapshot()
	f.last = now.index
	w.add(f)
	return now, f
}

// SubscribeAfter is Subscribe for somebody who has seen the changes up to index: the feed begins behind it, and the
// snapshot may be newer. It is a *Lagged error when those changes are not kept any more.
func (s *Store) SubscribeAfter(index uint64, limit int, keys ...Key) (*Snapshot, *Feed, error) {
	f := s.newFeed(limit, keys)
	w := &s.watches
	w.mu.Lock()
	defer w.mu.Unlock()
	batches, all := w.since(index, s.Snapshot().index)
	if !all {
		return nil, nil, &Lagged{After: index}
	}
	f.last = index
	for _, b := range batches {
		if part := b.only(keys); part != nil {
			f.push(part)
		}
	}
	if f.lagged {
		return nil, nil, &Lagged{After: index}
	}
	w.add(f)
	return s.Snapshot(), f, nil
}

// only returns the part of b that is under keys, or nil.
func (b *Batch) only(keys []Key) *Batch {
	if len(keys) == 0 {
		return b
	}
	part := &Batch{Index: b.Index, Time: b.Time}
	for i := range b.Changes {
		one := Batch{Changes: b.Changes[i : i+1]}
		if touches([]*Batch{&one}, keys) {
			part.Changes = append(part.Changes, b.Changes[i])
		}
	}
	if len(part.Changes) == 0 {
		return nil
	}
	return part
}

func (s *Store) newFeed(limit int, keys []Key) *Feed {
	if limit <= 0 {
		limit = DefaultFeedLimit
	}
	return &Feed{store: s, keys: keys, limit: limit, more: make(chan struct{}, 1)}
}

func (w *watches) add(f *Feed) {
	if len(f.keys) == 0 {
		w.feeds[f] = struct{}{}
	}
	for _, k := range f.keys {
		insert(w.keyed, k, f)
	}
}

// push adds a batch, or lets the feed lag.
func (f *Feed) push(b *Batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lagged {
		return
	}
	if f.count > 0 && f.count+len(b.Changes) > f.limit {
		f.lag()
		return
	}
	f.queue = append(f.queue, b)
	f.count += len(b.Changes)
	f.signal()
}

func (f *Feed) fail() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lag()
}

func (f *Feed) lag() {
	f.queue, f.count, f.lagged = nil, 0, true
	f.signal()
}

func (f *Feed) signal() {
	select {
	case f.more <- struct{}{}:
	default:
	}
}

// Next returns the next batch, which must not be changed. It fails with *Lagged, and with ctx's error.
func (f *Feed) Next(ctx context.Context) (*Batch, error) {
	for {
		select {
		case <-f.more:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if b, err := f.Try(); b != nil || err != nil {
			return b, err
		}
	}
}

// Ready returns a channel that has a token when Try may find something, for use in a select.
func (f *Feed) Ready() <-chan struct{} { return f.more }

// Try returns the next batch, or nil when there is none now. It fails with *Lagged.
func (f *Feed) Try() (*Batch, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lagged {
		f.signal()
		return nil, &Lagged{After: f.last}
	}
	if len(f.queue) == 0 {
		return nil, nil
	}
	b := f.queue[0]
	f.queue[0] = nil
	f.queue = f.queue[1:]
	f.count -= len(b.Changes)
	f.last = b.Index
	if len(f.queue) > 0 {
		f.signal()
	}
	return b, nil
}

// Reached returns the index up to which nothing that is to be read can come any more.
func (f *Feed) Reached() uint64 {
	w := &f.store.watches
	w.mu.Lock() // no entry is made current, and pushed, meanwhile
	defer w.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) > 0 || f.lagged {
		return f.last
	}
	return f.store.Snapshot().index
}

// Close ends the subscription.
func (f *Feed) Close() {
	w := &f.store.watches
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.feeds, f)
	for _, k := range f.keys {
		remove(w.keyed, k, f)
	}
}
