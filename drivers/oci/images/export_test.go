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
		if s.pulls.Waiting() >= n {
			return
		}
		runtime.Gosched()
	}
}
