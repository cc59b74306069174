package oci

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/oci/images"
	"github.com/proffer/proffer/structs"
)

// Images that tasks of any driver mount. Each is like a container of which nothing runs: a folder with a root, found by an id, so that what
// removes leftovers of containers removes those of mounts.

var _ drivers.Imager = (*Driver)(nil)

// mountID names one mount of a start.
func mountID(start string, i int) string { return fmt.Sprintf("image %d of %s", i, start) }

// startOf returns the start that an id is of: its container, or a mount of it.
func startOf(id string) (start string, mount bool) {
	if _, start, mount = strings.Cut(id, " of "); mount && strings.HasPrefix(id, "image ") {
		return start, true
	}
	return id, false
}

func wanted(object string, m *structs.ImageMount, spec *drivers.Spec) (images.Want, error) {
	ref, err := images.ParseReference(object, m.Image)
	want := images.Want{Ref: ref, Fresh: m.ForcePull, Local: spec.TaskDir}
	if m.Auth != nil {
		want.Username, want.Password = m.Auth.Username, m.Auth.Password
	}
	return want, err
}

// PullImages gets what the task mounts.
func (d *Driver) PullImages(ctx context.Context, spec *drivers.Spec) error {
	for i, m := range spec.Task.ImageMounts {
		want, err := wanted(fmt.Sprintf("task %s.image_mount[%d]", spec.ID, i), m, spec)
		if err == nil {
			err = d.pull(ctx, want, "prepare "+mountID(spec.ID, i), spec)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// MountImages mounts it.
func (d *Driver) MountImages(ctx context.Context, spec *drivers.Spec) (out []drivers.Mount, err error) {
	if err := d.ready(); err != nil {
		return nil, err
	}
	for i, m := range spec.Task.ImageMounts {
		at, err := d.mountImage(ctx, spec, i, m)
		if err != nil {
			if left := d.UnmountImages(spec); left != nil {
				d.log.Error("images that were mounted for a task that was not started are left", "task", spec.ID, "err", left)
			}
			return nil, err
		}
		out = append(out, drivers.Mount{Source: at, Target: m.Destination, ReadOnly: !m.Writable})
	}
	return out, nil
}

func (d *Driver) mountImage(ctx context.Context, spec *drivers.Spec, i int, m *structs.ImageMount) (at string, err error) {
	object := fmt.Sprintf("task %s.image_mount[%d]", spec.ID, i)
	want, err := wanted(object, m, spec)
	if err != nil {
		return "", err
	}
	ct := d.container(mountID(spec.ID, i))
	release, ok := d.hold(ct.id, true)
	if !ok {
		return "", structs.Errorf(structs.Unavailable, object, "its mount is being removed")
	}
	defer release()
	if err := ct.remove(); err != nil { // of an agent that died before this one
		return "", err
	}
	im, err := d.store.Ensure(ctx, want, ct.id, nil)
	if err != nil {
		return "", err
	}
	// No setuid program of it counts: whoever runs the task did not choose to run that image.
	if err := ct.folder(im, spec.Project, unix.MS_NOSUID); err != nil {
		return "", drivers.DiskError(object, err)
	}
	return ct.path("rootfs"), nil
}

// UnmountImages takes away what a start was given.
func (d *Driver) UnmountImages(spec *drivers.Spec) error {
	for i := range spec.Task.ImageMounts {
		id := mountID(spec.ID, i)
		release, ok := d.hold(id, true)
		if !ok {
			return structs.Errorf(structs.Unavailable, "task "+spec.ID, "something else is being done with its mounts")
		}
		err := d.container(id).remove()
		release()
		if err != nil {
			return err
		}
	}
	return nil
}

// WrittenToImages is what the task wrote to them.
func (d *Driver) WrittenToImages(ctx context.Context, spec *drivers.Spec, project bool, sizes drivers.Sizes) (sum structs.Bytes, err error) {
	for i, m := range spec.Task.ImageMounts {
		if !m.Writable {
			continue
		}
		n, err := d.container(mountID(spec.ID, i)).written(ctx, project, sizes)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}
