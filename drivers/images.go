package drivers

import (
	"context"

	"github.com/proffer/proffer/drivers/timing"
	"github.com/proffer/proffer/structs"
)

// Pruner is a driver that keeps images on the node, for tasks that may need them again.
type Pruner interface {
	// Prune removes those at once that no task uses, but for the ones that keep names, as tasks name them. What cannot be removed now is an
	// error, and has its turn when images are cleaned up next.
	Prune(ctx context.Context, keep []string) error
}

// Puller is a driver that pulls images.
type Puller interface {
	// Pulls says how long pulls took that succeeded. What was here already counts for none.
	Pulls() timing.Summary
}

// Imager is a driver that keeps images and mounts them for the tasks of any driver whose processes the supervisor has: their ImageMounts.
type Imager interface {
	// PullImages gets what the task mounts, as Preparer.Prepare gets its image.
	PullImages(ctx context.Context, spec *Spec) error
	// MountImages mounts it for the start of Spec.ID and says where, for Spec.Mounts. Errors are those of Start; after one nothing is left.
	// The images stay on the node, whatever cleans up, until UnmountImages, or until a Sweep finds that neither the node nor the supervisor
	// knows the start.
	MountImages(ctx context.Context, spec *Spec) ([]Mount, error)
	// UnmountImages takes away what that start was given, and what it wrote there; nothing of the task may run. It may be repeated.
	UnmountImages(spec *Spec) error
	// WrittenToImages is Layered.Written of those mounts.
	WrittenToImages(ctx context.Context, spec *Spec, project bool, sizes Sizes) (structs.Bytes, error)
}
