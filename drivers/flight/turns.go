package flight

import (
	"context"
	"sync"
)

// Turns lets those who are about the same thing go one after the other. What is zero is ready.
type Turns struct {
	mu sync.Mutex
	m  map[string]*turn
}

type turn struct {
	taken  chan struct{} // holds one while it is somebody's
	wanted int           // by how many, under Turns.mu
}

// Take waits for the turn of the caller and returns what ends it. Its error is why ctx ended.
func (ts *Turns) Take(ctx context.Context, key string) (end func(), err error) {
	ts.mu.Lock()
	t := ts.m[key]
	if t == nil {
		if ts.m == nil {
			ts.m = make(map[string]*turn)
		}
		t = &turn{taken: make(chan struct{}, 1)}
		ts.m[key] = t
	}
	t.wanted++
	ts.mu.Unlock()
	leave := func() {
		ts.mu.Lock()
		defer ts.mu.Unlock()
		if t.wanted--; t.wanted == 0 {
			delete(ts.m, key)
		}
	}
	select {
	case t.taken <- struct{}{}:
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
	return func() {
		<-t.taken
		leave()
	}, nil
}
