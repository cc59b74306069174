package docker

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/timing"
	"github.com/proffer/proffer/structs"
)

// Sweep removes ended containers of this node that nobody knows. An engine that is not there has its turn later, in Keep.
func (d *Driver) Sweep(ctx context.Context, known func(id string) bool) error {
	err := d.sweep(ctx, known, false)
	if structs.KindOf(err) == structs.Unavailable {
		return nil
	}
	return err
}

// containers returns those of this node, ended ones too.
func (d *Driver) containers(ctx context.Context) ([]container.Summary, error) {
	var list client.ContainerListResult
	err := d.engine.look(ctx, d.engine.name(), "list containers", func(ctx context.Context, api *client.Client) (err error) {
		list, err = api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", labelOwner+"="+d.opts.Owner)})
		return err
	})
	return list.Items, err
}

func (d *Driver) sweep(ctx context.Context, known func(id string) bool, running bool) error {
	list, err := d.containers(ctx)
	if err != nil {
		return err
	}
	var failed error
	for i := range list {
		c := &list[i]
		id := c.Labels[labelTask]
		up := c.State == container.StateRunning || c.State == container.StatePaused || c.State == container.StateRestarting
		owner := id
		if alloc := c.Labels[labelAlloc]; id == sandboxID(structs.AllocID(alloc)) {
			owner = alloc // no task of it but its network, and there for as long as it is
		}
		if known(owner) || up && !running {
			continue
		}
		if owner != id {
			if err := d.unsandboxUnknown(ctx, structs.AllocID(owner), known); err != nil {
				return err
			}
			continue
		}
		if up {
			d.log.Warn("removing a container whose allocation the node does not know", "task", id, "container", c.ID)
		}
		t := &task{d: d, id: c.ID, spec: id}
		switch err := t.remove(ctx, up); structs.KindOf(err) {
		case "":
			d.forgetOutput(c.ID)
		case structs.Unavailable:
			return err
		default: // another one may go
			failed = err
		}
	}
	return failed
}

// Keep removes containers that nobody knows and images that nobody uses, until ctx ends; then it ends what the driver does.
func (d *Driver) Keep(ctx context.Context, known func(id string) bool) {
	defer d.Close()
	ticker := time.NewTicker(d.opts.KeepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-d.pins.news:
			d.pin(ctx)
			continue
		case <-ctx.Done():
			return
		}
		if err := d.sweep(ctx, known, true); err != nil {
			if ctx.Err() == nil && structs.KindOf(err) != structs.Unavailable { // that the node's health says
				d.log.Warn("containers of this node cannot be cleaned up", "err", err)
			}
			continue
		}
		d.images.clean(ctx, time.Now())
		d.pin(ctx)
	}
}

func newImages(d *Driver) *images {
	im := &images{d: d, pulls: make(map[given]*pull), given: make(map[given]bool), known: make(map[string]*used)}
	raw, err := os.ReadFile(im.file())
	if err == nil {
		err = json.Unmarshal(raw, &im.known)
	}
	if err != nil && !os.IsNotExist(err) && d.opts.Folder != "" {
		d.log.Warn("which images this node pulled is not known any more: they stay", "err", err)
	}
	for name, u := range im.known {
		if u == nil {
			delete(im.known, name)
		}
	}
	return im
}

func (im *images) file() string { return filepath.Join(im.d.opts.Folder, "images.json") }

// see notes where the engine keeps images, for its disk.
func (im *images) see(root string) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.root = root
}

// folder is where that is; empty: not known.
func (im *images) folder() string {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.root
}

// use notes that an image was used.
func (im *images) use(name string) {
	im.mu.Lock()
	defer im.mu.Unlock()
	u, now := im.known[name], time.Now()
	if u == nil || now.Sub(u.Last) < time.Minute {
		return
	}
	u.Last = now
	im.writeLocked()
}

// pulled notes that the node pulled an image, for credentials of a task or, when as is empty, of its own. What everybody on the node
// may have is not private any more.
func (im *images) pulled(name, id, as string) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.give(given{name, as})
	u := im.known[name]
	im.known[name] = &used{ID: id, Last: time.Now(), Private: as != "" && (u == nil || u.Private)}
	im.writeLocked()
}

func (im *images) writeLocked() {
	if im.d.opts.Folder == "" {
		return
	}
	err := os.MkdirAll(im.d.opts.Folder, 0o700)
	var raw []byte
	if err == nil {
		raw, err = json.Marshal(im.known)
	}
	if err == nil {
		err = os.WriteFile(im.file()+".new", raw, 0o600)
	}
	if err == nil {
		err = os.Rename(im.file()+".new", im.file())
	}
	if err != nil {
		im.d.log.Warn("which images this node pulled cannot be written down", "err", err)
	}
}

// clean removes images of this node that were not used for long, and the oldest ones while the disk is too full.
func (im *images) clean(ctx context.Context, now time.Time) {
	root := im.folder()
	im.remove(ctx, func(_ string, last time.Time) string {
		idle := now.Sub(last)
		switch {
		case im.d.opts.ImageAge > 0 && idle >= im.d.opts.ImageAge:
			return "it was not used for long"
		case im.d.opts.ImageDisk > 0 && idle >= im.d.opts.KeepEvery && full(root) > im.d.opts.ImageDisk:
			return "the engine's disk is full"
		}
		return ""
	})
}

var _ drivers.Pruner = (*Driver)(nil)

// Pulls is of drivers.Puller.
func (d *Driver) Pulls() timing.Summary { return d.images.took.Summary() }

// Prune is for drivers.Pruner. What others pulled into the engine is theirs.
func (d *Driver) Prune(ctx context.Context, keep []string) error {
	names := map[string]bool{}
	for _, text := range keep {
		if named, err := fullName(text); err == nil { // no image has a name that is none
			names[named.String()] = true
		}
	}
	return d.images.remove(ctx, func(name string, _ time.Time) string {
		if names[name] {
			return ""
		}
		return "an operator wants images removed that no task uses"
	})
}

// remove removes those images of this node for which why has a reason, the least recently used first. An image that a container uses, or that
// has a name that somebody else gave it, stays. An error: the engine could not be asked about all.
func (im *images) remove(ctx context.Context, why func(name string, last time.Time) string) error {
	im.mu.Lock()
	names := slices.SortedFunc(maps.Keys(im.known), func(a, b string) int { return im.known[a].Last.Compare(im.known[b].Last) })
	last := make(map[string]time.Time, len(names))
	for name, u := range im.known {
		last[name] = u.Last
	}
	im.mu.Unlock()
	for _, name := range names {
		reason := why(name, last[name])
		if reason == "" || im.usedSince(name, last[name]) {
			continue
		}
		err := im.d.engine.look(ctx, "image "+name, "remove it", func(ctx context.Context, api *client.Client) error {
			_, err := api.ImageRemove(ctx, name, client.ImageRemoveOptions{PruneChildren: true})
			return err
		})
		switch structs.KindOf(err) {
		case "", structs.NotFound:
			im.d.log.Info("removed an image", "image", name, "why", reason)
			im.mu.Lock()
			if u := im.known[name]; u != nil && u.Last.Equal(last[name]) {
				delete(im.known, name)
				maps.DeleteFunc(im.given, func(g given, _ bool) bool { return g.name == name })
				im.writeLocked()
			}
			im.mu.Unlock()
		case structs.Conflict: // a container uses it
		default:
			return err
		}
	}
	return nil
}

// usedSince reports whether an image was used after it was last used at last, or is none of this node any more.
func (im *images) usedSince(name string, last time.Time) bool {
	im.mu.Lock()
	defer im.mu.Unlock()
	u := im.known[name]
	return u == nil || !u.Last.Equal(last)
}
