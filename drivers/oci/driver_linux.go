package oci

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/drivers/oci/images"
	"github.com/proffer/proffer/structs"
)

// Driver runs containers. It implements drivers.Driver.
type Driver struct {
	sup     exec.Supervisor
	store   *images.Store
	opts    Options
	log     *slog.Logger
	runtime runtimes

	probing sync.Mutex
	probed  bool
	copies  bool   // there is no overlayfs: roots are copies
	copyWhy string // why not

	mu    sync.Mutex
	busy  map[string]int // ids that are being started, prepared or removed: nothing of them is left over
	wrote bool           // the program for init is there
}

// New makes the driver over the node's supervisor and its images. The caller closes the store, after the driver.
func New(sup exec.Supervisor, store *images.Store, opts Options) *Driver {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.StartTimeout <= 0 {
		opts.StartTimeout = 2 * time.Minute
	}
	if opts.CleanEvery <= 0 {
		opts.CleanEvery = 10 * time.Minute
	}
	return &Driver{sup: sup, store: store, opts: opts, log: opts.Logger, runtime: runtimes{asked: opts.Runtime}, busy: map[string]int{}}
}

// Fingerprint says which runtime there is and what the host lets it do.
func (d *Driver) Fingerprint(ctx context.Context) *structs.Driver {
	f, err := d.sup.Features(ctx)
	switch {
	case err != nil:
		return &structs.Driver{Why: err.Error()}
	case !f.Root:
		return &structs.Driver{Why: "containers need root"}
	case f.CgroupBase == "":
		return &structs.Driver{Why: "containers need cgroups: " + f.Lacks}
	}
	path, version, err := d.runtime.find(ctx, f.Cgroups)
	if err != nil {
		return &structs.Driver{Why: err.Error()}
	}
	if err := d.ready(); err != nil {
		return &structs.Driver{Why: err.Error()}
	}
	attrs := map[string]string{"runtime": path, "runtime.version": version, "cgroups": strconv.Itoa(f.Cgroups), "root": "overlay",
		"namespaces.host": strings.Join(slices.Sorted(slices.Values(d.opts.HostNamespaces)), ",")}
	d.opts.Profiles.Tell(attrs)
	exec.Exclusive(f, attrs)
	if d.copies {
		attrs["root"], attrs["overlay.missing"] = "copy", d.copyWhy
	}
	names, err := d.store.Names()
	if err != nil {
		return &structs.Driver{Why: err.Error(), Attributes: attrs}
	}
	return &structs.Driver{Healthy: true, Attributes: attrs, Images: names}
}

// ready makes the driver's folders and finds out how to make roots.
func (d *Driver) ready() error {
	for _, dir := range []string{d.opts.Dir, d.state()} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return drivers.DiskError("containers", err)
		}
	}
	d.probing.Lock()
	defer d.probing.Unlock()
	if d.probed {
		return nil
	}
	err := canOverlay(d.opts.Dir)
	if err != nil {
		if full := drivers.DiskError("containers", err); structs.KindOf(full) == structs.Exhausted {
			return full // it says nothing about overlayfs, and passes
		}
		d.copies, d.copyWhy = true, err.Error()
		d.log.Warn("there is no overlayfs: each container gets a copy of its image", "why", err)
	}
	d.probed = true
	return nil
}

// GivePorts has the supervisor keep other ports for an allocation than those that its containers were started with.
func (d *Driver) GivePorts(ctx context.Context, alloc structs.AllocID, ports []structs.AssignedPort) error {
	return d.sup.GivePorts(ctx, alloc, ports)
}

// HostPaths are the folders that tasks may mount.
func (d *Driver) HostPaths() []string { return d.opts.HostPaths }

func (d *Driver) state() string { return filepath.Join(d.opts.Dir, "state") }

// hold marks an id as being worked on, so that Keep and Sweep leave it alone. alone: fail when it is already.
func (d *Driver) hold(id string, alone bool) (release func(), ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if alone && d.busy[id] > 0 {
		return nil, false
	}
	d.busy[id]++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.busy[id]--; d.busy[id] == 0 {
			delete(d.busy, id)
		}
	}, true
}

// Prepare pulls the image. One in the task's folder is taken at the start.
func (d *Driver) Prepare(ctx context.Context, spec *drivers.Spec) error {
	object := "task " + spec.ID
	c, err := parse(object+".config", spec.Task.Config)
	if err != nil {
		return err
	}
	want, err := c.want(object, spec)
	if err != nil {
		return err
	}
	return d.pull(ctx, want, "prepare "+spec.ID, spec)
}

// pull brings an image to the node, and says so to the user of the task.
func (d *Driver) pull(ctx context.Context, want images.Want, holder string, spec *drivers.Spec) error {
	if want.Ref.Local() {
		return nil
	}
	release, _ := d.hold(holder, false)
	defer release()
	var told time.Time
	im, err := d.store.Ensure(ctx, want, holder, func(p images.Progress) {
		if now := time.Now(); now.Sub(told) >= time.Second || p.Done == p.Total {
			told = now
			spec.Say("pulling", fmt.Sprintf("%s: %s of %s", want.Ref, structs.Bytes(p.Done).Human(), structs.Bytes(p.Total).Human()))
		}
	})
	if err != nil {
		return err
	}
	return d.store.Release(im.ID, holder) // the start holds it; until then it is the one that was used last
}

func (c *config) want(object string, spec *drivers.Spec) (images.Want, error) {
	ref, err := images.ParseReference(object, c.image)
	want := images.Want{Ref: ref, Fresh: c.forcePull, Local: spec.TaskDir}
	if c.login != nil {
		want.Username, want.Password = c.login.Username, c.login.Password
	}
	return want, err
}

// Start makes a container and returns once its program runs.
func (d *Driver) Start(ctx context.Context, spec *drivers.Spec) (drivers.Task, error) {
	object := "task " + spec.ID
	c, err := parse(object+".config", spec.Task.Config)
	if err != nil {
		return nil, err
	}
	release, ok := d.hold(spec.ID, true)
	if !ok {
		return nil, structs.Errorf(structs.Conflict, object, "it is being started")
	}
	defer release()
	switch _, err := d.sup.Status(ctx, spec.ID); {
	case err == nil:
		return nil, structs.Errorf(structs.Conflict, object, "it was started already")
	case structs.KindOf(err) != structs.NotFound:
		return nil, structs.Errorf(structs.Unavailable, object, "%w", err)
	}
	ct := d.container(spec.ID)
	launch, err := ct.make(ctx, object, c, spec)
	if err == nil {
		err = ct.run(ctx, object, launch)
	}
	switch structs.KindOf(err) {
	case "":
		if err := ct.detach(); err != nil { // remove tries again
			d.log.Warn("a mount for a container is left until its end", "task", spec.ID, "err", err)
		}
		return d.task(spec.ID), nil
	case structs.Conflict, structs.Unknown: // Recover finds out
		if launch != nil {
			return nil, err
		}
	}
	if gone := ct.remove(); gone != nil {
		d.log.Error("a container that was not started left something behind", "task", spec.ID, "err", gone)
	}
	return nil, err
}

// errSlow ends a start whose runtime hangs.
var errSlow = errors.New("the runtime did not make the container in time")

// run has the supervisor run the runtime, and returns once the container runs. A start that is given up is Unknown: the supervisor
// ends it, and whoever asks it about the task waits for that.
func (ct *container) run(ctx context.Context, object string, launch *exec.Launch) error {
	starting, cancel := context.WithTimeoutCause(ctx, ct.d.opts.StartTimeout, errSlow)
	defer cancel()
	_, err := ct.d.sup.Start(starting, launch)
	switch {
	case err == nil:
		return nil
	case starting.Err() != nil:
		return structs.Errorf(structs.Unknown, object, "its start was given up: %w", context.Cause(starting))
	case structs.KindOf(err) == structs.Conflict || structs.KindOf(err) == structs.Unknown:
		return err
	}
	return ct.explain(object, err)
}

// Recover finds a task by the ID of its spec; it needs no handle.
func (d *Driver) Recover(ctx context.Context, spec *drivers.Spec, handle []byte) (drivers.Task, error) {
	_, err := d.sup.Status(ctx, spec.ID)
	if err == nil {
		return d.task(spec.ID), nil
	}
	if structs.KindOf(err) == structs.NotFound {
		// What is left of a start that did not happen, or of a machine that was switched off.
		if release, ok := d.hold(spec.ID, true); ok {
			defer release()
			if gone := d.container(spec.ID).remove(); gone != nil {
				return nil, gone
			}
		}
	}
	return nil, err
}
