package client

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/client/disk"
	"github.com/proffer/proffer/client/volumes"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// limited measures what allocations write.
func (w *world) limited() {
	limits, err := disk.Open(w.dir, disk.Measured, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.tune = func(c *Config) { c.Limits = limits }
}

// fill writes to the folder of an allocation.
func (w *world) fill(path string, size int) {
	w.t.Helper()
	path = filepath.Join(w.dir, "allocs", path)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, make([]byte, size), 0o644)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestMoreDiskThanAskedFor: whoever holds more than it asked for is stopped and says what is where, and nobody else; an agent that was killed
// meanwhile does not forget why.
func TestMoreDiskThanAskedFor(t *testing.T) {
	bubble(t, func(w *world) {
		w.stop()
		w.limited()
		w.start()
		w.welcome("g1")
		asking := func(name string, size structs.Bytes) *structs.JobVersion {
			return w.service(name, func(g *structs.Group) {
				g.Tasks[0].Resources = &structs.TaskResources{Disk: size}
				g.Disk = 64 << 10
				g.Tasks[0].Config["stop_delay"] = "3s"
				g.Tasks[0].KillTimeout = structs.Duration(10 * time.Second)
			})
		}
		w.run("greedy", asking("greedy", 1<<20))
		w.run("modest", asking("modest", 4<<20))
		w.run("free", asking("free", 0)) // 64 KiB are those of the group
		w.run("unasked", w.service("unasked", nil))
		after(time.Second)
		w.fill("greedy/main/local/big", 2<<20)
		w.fill("greedy/alloc/small", 100<<10)
		w.fill("modest/main/local/big", 2<<20)
		w.fill("unasked/main/local/big", 2<<20)
		after(11 * time.Second)
		w.expectTask("greedy", "main", structs.TaskKilling, "")
		w.crash(nil, false)
		w.start()
		w.welcome("g1")
		after(4 * time.Second)
		w.expect("greedy", structs.AllocFailed, "")
		w.expectTask("greedy", "main", structs.TaskFailed, "")
		s := w.task("greedy", "main")
		for _, part := range []string{"MiB of the disk and it asked for 1.06MiB", "allocs/greedy has main 2", ", alloc 1"} {
			if !strings.Contains(s.Why, part) {
				t.Errorf("%q does not say %q", s.Why, part)
			}
		}
		if s.Reason != "CONTAINER_LIMITATION_DISK" {
			t.Errorf("%+v", s)
		}
		for _, id := range []string{"modest", "free", "unasked"} {
			w.expect(id, structs.AllocRunning, "")
		}
		if n := w.agent.Node(); n.Attributes["disk.limit"] != "measured" {
			t.Errorf("%v", n.Attributes)
		}
	})
}

// TestMoreInAVolumeThanItsSize: who may write to it is stopped, until it is made larger.
func TestMoreInAVolumeThanItsSize(t *testing.T) {
	bubble(t, func(w *world) {
		w.stop()
		w.limited()
		storage, err := volumes.Open(filepath.Join(w.dir, "volumes"), nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		limit := w.tune
		w.tune = func(c *Config) {
			limit(c)
			c.Volumes, c.Providers = storage, append(c.Providers, storage)
		}
		w.start()
		w.welcome("g1")
		run := func(id string, reads bool) {
			alloc := w.alloc(id, w.service(id, func(g *structs.Group) {
				g.Volumes = []*structs.GroupVolume{{Name: "v", Type: structs.PersistentVolume, Source: "data", Access: structs.AccessShared, ReadOnly: reads}}
			}))
			alloc.Volumes = []structs.AllocVolume{{Group: "v", Name: "data", ID: "0a01", Size: 1 << 20, Access: structs.AccessShared, ReadOnly: reads}}
			w.want(alloc)
		}
		run("writer", false)
		run("reader", true)
		after(time.Second)
		w.fill("../volumes/0a01/data/big", 2<<20)
		after(11 * time.Second)
		w.expect("writer", structs.AllocFailed, `volume "data" holds 2`)
		w.expect("reader", structs.AllocRunning, "")
		storage.Take([]*structs.Volume{{Name: "data", ID: "0a01", Size: 4 << 20}}, false)
		run("again", false)
		after(30 * time.Second)
		w.expect("again", structs.AllocRunning, "")
	})
}

// TestDiskIsOff: nobody looks.
func TestDiskIsOff(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.service("j", func(g *structs.Group) { g.Tasks[0].Resources = &structs.TaskResources{Disk: 1 << 20} }))
		after(time.Second)
		w.fill("a/main/local/big", 2<<20)
		after(time.Minute)
		w.expect("a", structs.AllocRunning, "")
	})
}

// A folder that cannot be read is left alone, whatever layers there are.
func TestMeasureWhatCannotBeRead(t *testing.T) {
	dir, layer := filepath.Join(t.TempDir(), "file"), t.TempDir()
	for _, at := range []string{dir, filepath.Join(layer, "file")} {
		if err := os.WriteFile(at, make([]byte, 1<<16), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	written := func(ctx context.Context, sizes drivers.Sizes) structs.Bytes {
		size, err := sizes(ctx, layer)
		if err != nil {
			t.Error(err)
		}
		return size
	}
	if used, by, err := measure(t.Context(), dir, written); err == nil || used != 0 || by != nil {
		t.Errorf("%d, %v, %v", used, by, err)
	}
	if used, by, err := measure(t.Context(), filepath.Dir(dir), written); err != nil || by["its root"] == 0 || used != by["its root"]+by["file"] {
		t.Errorf("%d, %v, %v", used, by, err)
	}
}
