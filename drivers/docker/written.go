package docker

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/moby/client"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// written is how a container's writable layer is measured.
type written struct {
	asked bool
	dir   string // of the layer, on this machine; empty: the engine measures
	size  structs.Bytes
	again time.Time // not before
}

// restFactor is by how much an engine that measures rests longer than it works.
const restFactor = 19

// Written is what the container wrote to its root. Where the engine is on this machine and says in which folder that is, it is measured
// there, as all of the node is; otherwise the engine is asked, which goes through it in one go, and so the less often the longer it takes.
func (t *task) Written(ctx context.Context, _ bool, sizes drivers.Sizes) (structs.Bytes, error) {
	t.measuring.Lock()
	defer t.measuring.Unlock()
	w := &t.written
	if !w.asked {
		dir, err := t.layer(ctx)
		if err != nil {
			return 0, err
		}
		w.asked, w.dir = true, dir
	}
	if w.dir != "" {
		return sizes(ctx, w.dir)
	}
	begun := time.Now()
	if begun.Before(w.again) {
		return w.size, nil
	}
	var size int64
	err := t.d.engine.look(ctx, t.object(), "measure what it wrote", func(ctx context.Context, api *client.Client) error {
		r, err := api.ContainerInspect(ctx, t.id, client.ContainerInspectOptions{Size: true})
		if err == nil && r.Container.SizeRw != nil {
			size = *r.Container.SizeRw
		}
		return err
	})
	w.again = time.Now().Add(restFactor * time.Since(begun))
	if err == nil {
		w.size = structs.Bytes(size)
	}
	return w.size, err
}

// layer is the folder that the container's root is written to; empty: it cannot be told, or seen from here.
func (t *task) layer(ctx context.Context) (dir string, err error) {
	if !strings.HasPrefix(t.d.opts.Endpoint, "unix://") {
		return "", nil
	}
	err = t.d.engine.look(ctx, t.object(), "look at its container", func(ctx context.Context, api *client.Client) error {
		r, err := api.ContainerInspect(ctx, t.id, client.ContainerInspectOptions{})
		if err == nil && r.Container.GraphDriver != nil {
			dir = r.Container.GraphDriver.Data["UpperDir"]
		}
		return err
	})
	if info, missing := os.Stat(dir); !filepath.IsAbs(dir) || missing != nil || !info.IsDir() {
		return "", err
	}
	return dir, err
}
