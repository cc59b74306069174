// Package pause waits, as all do that try something again.
package pause

import (
	"context"
	"time"
)

// For waits for d. False: ctx ended before.
func For(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
