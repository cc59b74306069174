package cluster

import (
	"context"
	"time"
)

// contextWithTimeout returns a context that ends after timeout or when done closes.
func contextWithTimeout(done <-chan struct{}, timeout time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(untilClosed{context.Background(), done}, timeout)
}

// untilClosed is a context that ends when a channel closes.
type untilClosed struct {
	context.Context
	done <-chan struct{}
}

func (c untilClosed) Done() <-chan struct{} { return c.done }

func (c untilClosed) Err() error {
	select {
	case <-c.done:
		return context.Canceled
	default:
		return nil
	}
}
