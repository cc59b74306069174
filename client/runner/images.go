package runner

import (
	"context"

	"github.com/proffer/proffer/client/taskdir"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Images that tasks mount (structs.ImageMount). What is mounted is of one start, and named by its number, which is durable before: whatever is
// left of a start that the agent did not live to end, the driver that keeps the images finds and removes.

// pullImages gets what the next start mounts.
func (t *task) pullImages(ctx context.Context, spec *drivers.Spec) error {
	if len(spec.Task.ImageMounts) == 0 {
		return nil
	}
	node := t.alloc.node
	switch {
	case node.Images == nil:
		return structs.Errorf(structs.Invalid, "task "+spec.ID, "this node has no driver that keeps images for tasks to mount").Advise("its %s driver does", structs.ImagesDriver)
	case !structs.ImageMountable(driverOf(spec.Task)):
		return structs.Errorf(structs.Invalid, "task "+spec.ID, "the %s driver mounts no images in its tasks", driverOf(spec.Task))
	}
	return t.unlessUnwanted(ctx, func(ctx context.Context) error { return node.Images.PullImages(ctx, spec) })
}

// mountImages gives a start its images.
func (t *task) mountImages(ctx context.Context, scope *taskdir.Scope, spec *drivers.Spec) error {
	if len(spec.Task.ImageMounts) == 0 {
		return nil
	}
	mounts, err := t.alloc.node.Images.MountImages(ctx, spec)
	if err != nil {
		return err
	}
	dir, name := t.alloc.dir, spec.Task.Name
	err = dir.Create(name, scope.Owner())
	for _, m := range mounts {
		if err == nil {
			err = land(dir, name, m, scope.Owner())
		}
	}
	if err != nil {
		t.unmountImages(spec)
		return err
	}
	spec.Mounts = append(spec.Mounts[:len(spec.Mounts):len(spec.Mounts)], mounts...) // the others are the allocation's
	return nil
}

// unmountImages takes them back once nothing of the start runs.
func (t *task) unmountImages(spec *drivers.Spec) {
	if len(spec.Task.ImageMounts) == 0 {
		return
	}
	if err := t.alloc.node.Images.UnmountImages(spec); err != nil {
		t.alloc.log.Warn("images that a task mounted cannot be taken away now; the driver tries again", "task", t.name, "err", err)
	}
}

// mounted is what names the mounts of the newest start. The caller holds mu.
func (t *task) mounted() *drivers.Spec { return &drivers.Spec{ID: t.specID(t.rec.Start), Task: t.def} }

// mounted is that of the tasks that run and mount images.
func (a *Alloc) mounted() (specs []*drivers.Spec) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.tasks {
		if t.handle != nil && len(t.def.ImageMounts) > 0 && a.node.Images != nil {
			specs = append(specs, t.mounted())
		}
	}
	return specs
}
