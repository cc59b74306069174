package cluster

import (
	"log/slog"
	"sync"
	"time"
)

// quietLog passes on one warning a second, so that whoever hammers the port does not fill the disk with our log.
type quietLog struct {
	log  *slog.Logger
	mu   sync.Mutex
	last time.Time
	kept int // back since the last one
}

func (q *quietLog) warn(text string, args ...any) {
	q.mu.Lock()
	now := time.Now()
	if !q.last.IsZero() && now.Sub(q.last) < time.Second {
		q.kept++
		q.mu.Unlock()
		return
	}
	kept := q.kept
	q.last, q.kept = now, 0
	q.mu.Unlock()
	if kept > 0 {
		args = append(args, "and_like_it", kept)
	}
	q.log.Warn(text, args...)
}
