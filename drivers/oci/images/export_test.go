//go:build linux

package images

import "runtime"

// WithStep returns options with a seam before each change of the disk.
func WithStep(o Options, step func(what string) error) Options {
	o.step = step
	return o
}

// AwaitWaiters returns when so many wait for one layer.
func AwaitWaiters(s *Store, n int) {
	for {
		s.pulls.mu.Lock()
		most := 0
		for _, f := range s.pulls.m {
			most = max(most, f.waiters)
		}
		s.pulls.mu.Unlock()
		if most >= n {
			return
		}
		runtime.Gosched()
	}
}
