package logs

import (
	"errors"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"

	"github.com/proffer/proffer/structs"
)

// watches is the one notifier of this process: kernels bound their number per user, and followers may be many. It lives
// while anybody watches.
var watches struct {
	sync.Mutex
	notifier *fsnotify.Watcher
	done     chan struct{} // closed when the notifier's goroutine ended
	dirs     map[string]map[chan struct{}]bool
}

// watch returns a channel that gets a value, without blocking anybody, after something in dir may have changed. stop must
// be called.
func watch(dir string) (woken <-chan struct{}, stop func(), err error) {
	dir = filepath.Clean(dir)
	watches.Lock()
	defer watches.Unlock()
	if watches.notifier == nil {
		n, err := fsnotify.NewWatcher()
		if err != nil {
			return nil, nil, structs.Errorf(structs.Exhausted, dir, "watch for changes: %w", err).
				Advise("raise fs.inotify.max_user_instances")
		}
		watches.notifier, watches.dirs, watches.done = n, map[string]map[chan struct{}]bool{}, make(chan struct{})
		go wake(n, watches.done)
	}
	ch := make(chan struct{}, 1)
	if watches.dirs[dir] == nil {
		if err := watches.notifier.Add(dir); err != nil {
			closeIdle()
			if errors.Is(err, fs.ErrNotExist) {
				return nil, nil, structs.Errorf(structs.NotFound, dir, "there is no such folder of logs")
			}
			return nil, nil, structs.Errorf(structs.Exhausted, dir, "watch for changes: %w", err).
				Advise("raise fs.inotify.max_user_watches")
		}
		watches.dirs[dir] = map[chan struct{}]bool{}
	}
	watches.dirs[dir][ch] = true
	return ch, func() {
		watches.Lock()
		defer watches.Unlock()
		delete(watches.dirs[dir], ch)
		if len(watches.dirs[dir]) == 0 {
			delete(watches.dirs, dir)
			watches.notifier.Remove(dir) // fails when the folder is gone, with its watch
			closeIdle()
		}
	}, nil
}

// closeIdle ends the notifier when nobody watches, and waits for its goroutine. The lock is held.
func closeIdle() {
	if len(watches.dirs) > 0 {
		return
	}
	n, done := watches.notifier, watches.done
	watches.notifier = nil
	watches.Unlock() // wake takes the lock
	n.Close()
	<-done
	watches.Lock()
}

// wake passes events on. An error means that events were lost: everybody looks.
func wake(n *fsnotify.Watcher, done chan struct{}) {
	defer close(done)
	for {
		dir, all := "", false
		select {
		case e, ok := <-n.Events:
			if !ok {
				return
			}
			dir = filepath.Dir(e.Name)
		case _, ok := <-n.Errors:
			if !ok {
				return
			}
			all = true
		}
		watches.Lock()
		if watches.notifier == n {
			for d, subscribers := range watches.dirs {
				if !all && d != dir {
					continue
				}
				for ch := range subscribers {
					select {
					case ch <- struct{}{}:
					default:
					}
				}
			}
		}
		watches.Unlock()
	}
}
