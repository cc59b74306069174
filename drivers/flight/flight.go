// Package flight shares work among those who want the same: it is done once.
package flight

import (
	"context"
	"sync"
)

// Group lets many callers share one piece of work. It ends early when the last of them has given up, and does not begin
// anew before it has ended: there is never more than one of a key.
type Group struct {
	mu sync.Mutex
	m  map[string]*flight
}

type flight struct {
	done    chan struct{}
	err     error // once done is closed
	who     string
	waiters int // 0: given up
	cancel  context.CancelFunc
}

// Do runs f under key, or joins it when it runs already. The failure of somebody else's is no failure of one with another who: it
// is tried again as its own.
func (fs *Group) Do(ctx context.Context, key, who string, f func(context.Context) error) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		fl, joined := fs.join(key, who, f)
		if !joined {
			<-fl.done // soon, as it was given up
			continue
		}
		select {
		case <-fl.done:
			if fl.err != nil && fl.who != who {
				continue
			}
			return fl.err
		case <-ctx.Done():
		}
		fs.mu.Lock()
		fl.waiters--
		last := fl.waiters == 0
		fs.mu.Unlock()
		if last {
			fl.cancel()
			<-fl.done
		}
		return context.Cause(ctx)
	}
}

// Waiting returns how many wait for the piece of work that most wait for.
func (fs *Group) Waiting() (most int) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, fl := range fs.m {
		most = max(most, fl.waiters)
	}
	return most
}

func (fs *Group) join(key, who string, f func(context.Context) error) (fl *flight, joined bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fl := fs.m[key]; fl != nil {
		if fl.waiters == 0 {
			return fl, false
		}
		fl.waiters++
		return fl, true
	}
	ctx, cancel := context.WithCancel(context.Background())
	fl = &flight{done: make(chan struct{}), who: who, waiters: 1, cancel: cancel}
	if fs.m == nil {
		fs.m = map[string]*flight{}
	}
	fs.m[key] = fl
	go func() {
		fl.err = f(ctx)
		cancel()
		fs.mu.Lock()
		delete(fs.m, key)
		fs.mu.Unlock()
		close(fl.done)
	}()
	return fl, true
}
