package oci

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/oci/images"
	"github.com/proffer/proffer/drivers/remove"
	"github.com/proffer/proffer/drivers/timing"
	"github.com/proffer/proffer/structs"
)

// Keep removes what was left over, and images that nobody uses, again and again until ctx ends.
func (d *Driver) Keep(ctx context.Context, known func(id string) bool) {
	tick := time.NewTicker(d.opts.CleanEvery)
	defer tick.Stop()
	for {
		if err := d.Sweep(ctx, known); err != nil && ctx.Err() == nil {
			d.log.Warn("leftovers of containers cannot be removed now", "err", err)
		}
		gone, err := d.store.Clean(time.Now())
		d.removed(gone)
		if err != nil {
			d.log.Warn("images cannot be cleaned up now", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (d *Driver) removed(gone []images.Removed) {
	for _, g := range gone {
		d.log.Info("an image was removed", "image", g.Image, "names", strings.Join(g.Names, " "), "why", g.Why)
	}
}

var _ drivers.Pruner = (*Driver)(nil)

// Pulls is of drivers.Puller.
func (d *Driver) Pulls() timing.Summary { return d.store.Pulls() }

// Prune is for drivers.Pruner.
func (d *Driver) Prune(_ context.Context, keep []string) error {
	gone, err := d.store.Prune(time.Now(), keep)
	d.removed(gone)
	return err
}

// Sweep removes containers that do not run and that known does not know, and releases images that no container uses.
func (d *Driver) Sweep(ctx context.Context, known func(id string) bool) error {
	entries, err := os.ReadDir(d.opts.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return structs.Errorf(structs.Unavailable, "containers", "%w", err)
	}
	var errs []error
	there := map[string]bool{}
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join(d.opts.Dir, e.Name(), "id"))
		id := string(raw)
		if err != nil || id == "" {
			if e.IsDir() && e.Name() != "state" && e.Name() != probeName {
				errs = append(errs, d.sweepNameless(e))
			}
			continue
		}
		there[id] = true
		if start, _ := startOf(id); !known(start) {
			errs = append(errs, d.sweep(ctx, id))
		}
	}
	holds, err := d.store.Holds()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, h := range holds {
		if there[h.Holder] {
			continue
		}
		if release, ok := d.hold(h.Holder, true); ok {
			if _, err := os.Stat(d.container(h.Holder).dir); errors.Is(err, os.ErrNotExist) { // it was not made meanwhile
				errs = append(errs, d.store.Release(h.Image, h.Holder))
			}
			release()
		}
	}
	return errors.Join(errs...)
}

// sweep removes one container unless it runs, or one mount unless its task does.
func (d *Driver) sweep(ctx context.Context, id string) error {
	release, ok := d.hold(id, true)
	if !ok {
		return nil
	}
	defer release()
	start, mount := startOf(id)
	status, err := d.sup.Status(ctx, start)
	switch {
	case err == nil && status.Exit == nil:
		return nil // the node decides about what runs
	case err == nil && mount: // its driver has it forgotten
	case err == nil:
		if err := d.sup.Forget(ctx, id); err != nil {
			return err
		}
	case structs.KindOf(err) != structs.NotFound:
		return err
	}
	return d.container(id).remove()
}

// sweepNameless removes a folder whose agent died before it could write down whose it is, or after that was removed: none that is
// being made or removed now.
func (d *Driver) sweepNameless(e os.DirEntry) error {
	if d.working(e.Name()) {
		return nil
	}
	dir := filepath.Join(d.opts.Dir, e.Name())
	if _, err := os.Stat(filepath.Join(dir, "id")); err == nil {
		return nil // it was made meanwhile
	}
	if err := errors.Join((&container{dir: dir}).detach(), unmount(filepath.Join(dir, "rootfs"))); err != nil {
		return err
	}
	return remove.All(dir)
}

// working reports whether the container of a folder's name is being worked on.
func (d *Driver) working(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id := range d.busy {
		if d.container(id).name == name {
			return true
		}
	}
	return false
}
