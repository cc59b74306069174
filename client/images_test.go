package client

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/mock"
	"github.com/proffer/proffer/structs"
)

// gallery is a driver that keeps images and notes what is asked of it for tasks.
type gallery struct {
	*mock.Driver
	mu    sync.Mutex
	did   []string
	wrong error // of the next mount
	seen  []drivers.Mount
}

func (*gallery) Name() string { return "oci" }

func (g *gallery) note(what string, spec *drivers.Spec) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.did = append(g.did, what+" "+spec.ID)
	if what != "mount" {
		return nil
	}
	wrong := g.wrong
	g.wrong = nil
	return wrong
}

func (g *gallery) PullImages(_ context.Context, spec *drivers.Spec) error {
	return g.note("pull", spec)
}
func (g *gallery) UnmountImages(spec *drivers.Spec) error { return g.note("unmount", spec) }
func (g *gallery) WrittenToImages(context.Context, *drivers.Spec, bool, drivers.Sizes) (structs.Bytes, error) {
	return 0, nil
}

func (g *gallery) MountImages(_ context.Context, spec *drivers.Spec) ([]drivers.Mount, error) {
	if err := g.note("mount", spec); err != nil {
		return nil, err
	}
	return []drivers.Mount{{Source: "/image", Target: spec.Task.ImageMounts[0].Destination, ReadOnly: true}}, nil
}

func (g *gallery) Start(ctx context.Context, spec *drivers.Spec) (drivers.Task, error) {
	g.note("start", spec)
	g.mu.Lock()
	g.seen = spec.Mounts
	g.mu.Unlock()
	return g.Driver.Start(ctx, spec)
}

func (g *gallery) take() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	did := strings.Join(g.did, ", ")
	g.did = nil
	return did
}

// TestImagesOfTasks: what a start mounts is pulled before it and taken away after it, of each start by itself: when it fails, when it ends, when it
// is run again, and when another agent than the one that mounted it sees the end.
func TestImagesOfTasks(t *testing.T) {
	bubble(t, func(w *world) {
		var g *gallery
		w.tune = func(c *Config) {
			g = &gallery{Driver: mock.New(w.machine)}
			c.Drivers = append(c.Drivers, g)
		}
		w.stop()
		w.start()
		with := func(g *structs.Group) {
			g.Tasks[0].Driver = "oci"
			g.Tasks[0].ImageMounts = []*structs.ImageMount{{Image: "models:7", Destination: "/models"}}
		}
		said := func(when, want string) {
			t.Helper()
			if got := g.take(); got != want {
				t.Errorf("%s:\n got  %s\n want %s", when, got, want)
			}
		}
		w.run("a", w.batch("j", script{"run_for": "1m", "fail_first": 1}, with))
		after(90 * time.Second)
		said("after a failure", "pull a/main/1, mount a/main/1, start a/main/1, unmount a/main/1, pull a/main/2, mount a/main/2, start a/main/2")
		if want := []drivers.Mount{{Source: "/image", Target: "/models", ReadOnly: true}}; !slices.Equal(g.seen, want) {
			t.Errorf("the driver was told of %+v", g.seen)
		}
		w.stop()
		w.start()
		w.welcome("g1")
		after(time.Second)
		said("after a restart of the agent", "")
		after(time.Minute)
		w.expect("a", structs.AllocComplete, "")
		said("at the end", "unmount a/main/2")

		w.run("b", w.batch("k", script{"start_error": "no", "start_error_kind": "invalid"}, with))
		after(time.Second)
		w.expect("b", structs.AllocFailed, "")
		said("of a start that failed", "pull b/main/1, mount b/main/1, start b/main/1, unmount b/main/1")

		g.wrong = structs.Errorf(structs.NotFound, "image models:7", "there is none")
		w.run("c", w.batch("l", script{"run_for": "1m"}, with))
		after(time.Second)
		w.expect("c", structs.AllocFailed, "there is none")
		said("without the image", "pull c/main/1, mount c/main/1")

		w.run("d", w.batch("m", script{}, func(g *structs.Group) { with(g); g.Tasks[0].Driver = "mock" }))
		after(time.Second)
		w.expect("d", structs.AllocFailed, "the mock driver mounts no images")
		said("with another driver", "")
	})
}
