package client

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/client/store/faultdisk"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/mock"
	"github.com/proffer/proffer/structs"
)

func kindIs(t *testing.T, what string, err error, want structs.Kind) {
	t.Helper()
	if got := structs.KindOf(err); got != want {
		t.Errorf("%s: %v (%s), want %s", what, err, got, want)
	}
}

func TestFilesOfAnAllocation(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.service("j", nil))
		after(time.Second)
		c, ctx, dir := w.agent, w.t.Context(), filepath.Join(w.dir, "allocs", "a")
		write := func(name, text string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		outside := filepath.Join(w.dir, "outside")
		os.WriteFile(outside, []byte("not yours"), 0o644)
		write("main/local/f", "0123456789")
		write("main/secrets/s", "secret")
		os.Symlink("f", filepath.Join(dir, "main/local/inside"))
		os.Symlink(outside, filepath.Join(dir, "main/local/out"))
		os.Symlink("../../..", filepath.Join(dir, "main/local/up"))

		files, err := c.List(ctx, "a", "/")
		if err != nil || len(files) != 2 || files[0].Name != "alloc" || !files[0].Dir || files[1].Name != "main" {
			t.Errorf("list: %+v, %v", files, err)
		}
		read := func(name string, offset, limit int64) (string, error) {
			var b bytes.Buffer
			err := c.ReadFile(ctx, "a", name, offset, limit, &b)
			return b.String(), err
		}
		for _, r := range []struct {
			name          string
			offset, limit int64
			want          string
		}{{"main/local/f", 0, 0, "0123456789"}, {"/main//local/./f", 3, 4, "3456"}, {"main/local/inside", 8, 100, "89"}, {"../../main/local/f", 20, 0, ""}} {
			if got, err := read(r.name, r.offset, r.limit); err != nil || got != r.want {
				t.Errorf("%s: %q, %v", r.name, got, err)
			}
		}
		for name, kind := range map[string]structs.Kind{"main/local/out": structs.Forbidden, "main/local/up/outside": structs.Forbidden,
			"main/secrets/s": structs.Forbidden, "main/none": structs.NotFound, "main/local": structs.Invalid} {
			_, err := read(name, 0, 0)
			kindIs(t, name, err, kind)
		}
		_, err = c.List(ctx, "a", "main/secrets")
		kindIs(t, "list secrets", err, structs.Forbidden)
		_, err = c.List(ctx, "a", "main/local/f")
		kindIs(t, "list a file", err, structs.Invalid)
		if f, err := c.Stat(ctx, "a", "main/local/f"); err != nil || f.Size != 10 || f.Dir {
			t.Errorf("stat: %+v, %v", f, err)
		}
		links := map[string]string{"sec": "../secrets", "key": "../secrets/s", "seen": "/local/f", "share": "/alloc", "seensec": "/secrets/s", "round": "round", "gone": "none"}
		for name, target := range links {
			os.Symlink(target, filepath.Join(dir, "main/local", name))
		}
		write("alloc/shared", "by all")
		for name, want := range map[string]string{"main/local/seen": "0123456789", "main/local/share/shared": "by all"} { // as the task sees it
			if got, err := read(name, 0, 0); err != nil || got != want {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		for name, kind := range map[string]structs.Kind{"main/local/sec/s": structs.Forbidden, "main/local/key": structs.Forbidden, "main/local/seensec": structs.Forbidden,
			"main/local/sec/../secrets/s": structs.NotFound, "main/local/round": structs.Invalid, "main/local/gone": structs.NotFound, "main/local/f/x": structs.NotFound,
			"main/local/" + strings.Repeat("x", 300): structs.Invalid} {
			got, err := read(name, 0, 0)
			if kindIs(t, name, err, kind); got != "" {
				t.Errorf("%s: %q", name, got)
			}
			var b bytes.Buffer
			if err := c.Pack(ctx, "a", name, "", &b); err == nil || b.Len() > 0 {
				t.Errorf("%s is packed: %v", name, err)
			}
		}
		_, err = c.List(ctx, "a", "main/local/sec")
		kindIs(t, "list secrets behind a link", err, structs.Forbidden)
		_, err = c.Unpack(ctx, "a", "main/local/sec", strings.NewReader(""))
		kindIs(t, "write to secrets behind a link", err, structs.Forbidden)
		for name, target := range links { // a link is described, whatever it leads to
			f, err := c.Stat(ctx, "a", "main/local/"+name)
			if err != nil || f.Name != name || f.Target != target || f.Dir != (name == "share") || (f.Size == 10) != (name == "seen" || name == "sec" || name == "seensec") {
				t.Errorf("stat %s: %+v, %v", name, f, err)
			}
		}
		files, err = c.List(ctx, "a", "main/local")
		for _, f := range files {
			if err != nil || f.Target != links[f.Name] && links[f.Name] != "" {
				t.Errorf("list: %+v, %v", f, err)
			}
		}
		var b bytes.Buffer
		if err := c.Pack(ctx, "a", "main/local/seen", "", &b); err != nil {
			t.Error(err)
		}
		if h, err := tar.NewReader(&b).Next(); err != nil || h.Name != "seen" || h.Size != 10 {
			t.Errorf("a link that is named is packed as %+v, %v", h, err)
		}
		_, err = c.Stat(ctx, "../state", "/")
		kindIs(t, "an id with a path", err, structs.NotFound)
		_, err = read("main/local/f", -1, 0)
		kindIs(t, "offset", err, structs.Invalid)
	})
}

func TestServicesOfATask(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.service("j", nil))
		w.run("b", w.batch("k", script{"stdout": []any{"one", "two"}}, nil))
		after(time.Second)
		c, ctx := w.agent, w.t.Context()
		var out bytes.Buffer
		exit, err := c.Exec(ctx, "a", "", drivers.Command{Args: []string{"echo", "x"}, Stdout: &out})
		if err != nil || exit.Code != 0 || out.String() != "echo x\n" {
			t.Errorf("exec: %+v %q %v", exit, out.String(), err)
		}
		_, err = c.Exec(ctx, "b", "", drivers.Command{Args: []string{"x"}})
		kindIs(t, "exec in an ended one", err, structs.Conflict)
		_, err = c.Exec(ctx, "z", "", drivers.Command{Args: []string{"x"}})
		kindIs(t, "exec in an unknown one", err, structs.NotFound)
		_, err = c.Exec(ctx, "a", "", drivers.Command{})
		kindIs(t, "exec of nothing", err, structs.Invalid)
		stats, err := c.Stats(ctx, "a")
		if err != nil || stats["main"] == nil || stats["main"].Pids != 1 {
			t.Errorf("stats: %v %v", stats, err)
		}
		u, err := c.Usage(ctx, 1)
		if err != nil || u.Tasks != 1 || len(u.Each) != 1 || u.Each[0].Task != "main" || u.Each[0].Alloc != "a" || u.Allocs != 1 || u.Ended != 1 || u.DiskTotal == 0 {
			t.Errorf("usage: %+v %v", u, err)
		}
		if err := c.Signal(ctx, "a", "main", "SIGHUP"); err != nil {
			t.Error(err)
		}
		after(1500 * time.Millisecond) // the policy's delay
		w.expectRunning("a/main/2")
		kindIs(t, "no such signal", c.Signal(ctx, "a", "", "SIGNONE"), structs.Invalid)
	})
}

func TestFolderOfAnotherRegionOrAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first := w.start()
		_, err := w.tryStart()
		kindIs(t, "a second agent", err, structs.Conflict)
		if id := first.Node().ID; len(id) != 32 {
			t.Errorf("node id %q", id)
		}
		w.agent = first
		w.stop()
		w.tune = func(c *Config) { c.Region = "us" }
		_, err = w.tryStart()
		kindIs(t, "another region", err, structs.Conflict)
		if !strings.Contains(err.Error(), `belongs to region "eu", not "us"`) {
			t.Error(err)
		}
		w.tune = nil
		if again := w.start(); again.Node().ID != first.Node().ID {
			t.Error("the node has another id")
		}
		w.stop()
	})
}

func TestBadConfigurationIsExplained(t *testing.T) {
	_, err := New(context.Background(), Config{Name: "a/b", Region: "eu", GC: GC{MaxDiskUsed: 200}})
	kindIs(t, "config", err, structs.Invalid)
	for _, part := range []string{"client.data_dir", `node.name: "a/b" is not a valid name`, "client.gc"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %v", part, err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o600)
	_, err = New(context.Background(), Config{DataDir: file, Name: "a", Region: "eu", Clock: &world{}, Disk: faultdisk.New()})
	kindIs(t, "a file as folder", err, structs.Unavailable)
	if !strings.Contains(err.Error(), "-data-dir") {
		t.Error(err)
	}
	_, err = New(context.Background(), Config{DataDir: t.TempDir(), Name: "a", Region: "eu", Clock: &world{}, Disk: faultdisk.New(),
		Reserved: structs.Resources{CPU: 1e8}})
	kindIs(t, "reserved", err, structs.Invalid)
}

// TestImagesAreToldRarely: images that come and go are told, at most every five minutes.
func TestImagesAreToldRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.tune = func(c *Config) { c.FingerprintEvery = 10 * time.Second }
		w.machine.Pull("old:1", 1<<20)
		c := w.start()
		has := func(when string, fingerprints int, names ...string) {
			t.Helper()
			w.up.mu.Lock()
			defer w.up.mu.Unlock()
			images := c.Node().Drivers["mock"].Images
			if len(w.up.said) != fingerprints || len(images) != len(names) {
				t.Errorf("%s: %d fingerprints, %v", when, len(w.up.said), images)
			}
			for _, name := range names {
				if _, ok := images[structs.ImageName(name)]; !ok {
					t.Errorf("%s: no %s among %v", when, name, images)
				}
			}
		}
		has("at the start", 0, "old:1")
		w.machine.Pull("web:1", 1<<30)
		after(11 * time.Second)
		has("the first change", 1, "old:1", "web:1")
		w.machine.Pull("web:2", 1<<30)
		w.machine.Remove("old:1")
		after(4 * time.Minute)
		has("soon after it", 1, "old:1", "web:1")
		after(2 * time.Minute)
		has("five minutes later", 2, "web:1", "web:2")
		w.stop()
	})
}

// TestDriverHealthIsPushed changes what a driver says of itself while the node runs.
func TestDriverHealthIsPushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := &moody{Driver: mock.New(nil)}
		w.tune = func(c *Config) { c.Drivers = append(c.Drivers, d) }
		c := w.start()
		if c.Node().Drivers["moody"].Healthy || c.Node().Attributes["driver.moody"] != "" || c.Node().Attributes["driver.mock"] != "1" {
			t.Errorf("at first: %+v", c.Node().Attributes)
		}
		after(5 * time.Minute)
		if len(w.up.said) != 0 {
			t.Errorf("%d fingerprints without a change", len(w.up.said))
		}
		d.mood.Store(true)
		after(time.Minute)
		if len(w.up.said) != 1 || !w.up.said[0].Drivers["moody"].Healthy || c.Node().Attributes["driver.moody"] != "1" {
			t.Errorf("then: %d fingerprints", len(w.up.said))
		}
		w.stop()
	})
}
