package drivers

import "context"

// Pruner is a driver that keeps images on the node, for tasks that may need them again.
type Pruner interface {
	// Prune removes those at once that no task uses, but for the ones that keep names, as tasks name them. What cannot be removed now is an
	// error, and has its turn when images are cleaned up next.
	Prune(ctx context.Context, keep []string) error
}
