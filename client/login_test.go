package client

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/mock"
	"github.com/proffer/proffer/structs"
)

// dock is a driver that notes what images are asked for with.
type dock struct {
	*mock.Driver
	mu    sync.Mutex
	asked []any
}

func (*dock) Name() string { return "docker" }

func (d *dock) Prepare(_ context.Context, spec *drivers.Spec) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, spec.Task.Config["auth"])
	return nil
}

func (d *dock) take() (all []any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all, d.asked = d.asked, nil
	return all
}

// TestFilesOfATaskSayWhatItsImageIsAskedForWith: as with Mesos, files of docker login among those of a framework's task are there before its image is
// asked for, and count for an engine alone. Those of jobs do not, and what is no such file is said without what is in it.
func TestFilesOfATaskSayWhatItsImageIsAskedForWith(t *testing.T) {
	bubble(t, func(w *world) {
		files := t.TempDir()
		put := func(name, text string) *structs.Artifact {
			if err := os.WriteFile(filepath.Join(files, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			return &structs.Artifact{Source: "file://" + files + "/" + name, Destination: "local", Name: name, Mode: "0644"}
		}
		const login = `{"auths": {"registry.example.com": {"auth": "bWU6aHVudGVy"}}}`
		older := put(".dockercfg", `{"registry.example.com": {"auth": "bWU6aHVudGVy"}}`)
		newer := put("config.json", login)
		newer.Destination = "local/.docker"
		other := put("other.json", strings.ReplaceAll(login, "registry", "elsewhere"))
		other.Destination, other.Name = "local/.docker", "config.json"
		broken := put("broken", "hunter")
		broken.Name = ".dockercfg"
		token := put("token", `{"auths": {"registry.example.com": {"identitytoken": "hunter"}}}`)
		token.Name = ".dockercfg"
		large := put("large", `"`+strings.Repeat(" ", 1<<20))
		large.Name = ".dockercfg"

		var d *dock
		w.tune = func(c *Config) {
			d = &dock{Driver: mock.New(w.machine)}
			c.Drivers, c.Fetch.Folders = append(c.Drivers, d), []string{files}
		}
		w.stop()
		w.start()
		launch := func(id string, artifact *structs.Artifact, change func(*structs.Allocation)) {
			a := w.alloc(id, w.batch("j-"+id, script{"run_for": "1s", "fail_first": 1}, func(g *structs.Group) {
				g.Tasks[0].Driver, g.Tasks[0].Artifacts = "docker", []*structs.Artifact{artifact}
				g.Tasks[0].Config["image"] = "registry.example.com/shop/web:1"
			}))
			a.External = &structs.External{Tasks: []*structs.ExternalTask{{ID: id, Name: "main"}}}
			if change != nil {
				change(a)
			}
			w.want(a)
			after(5 * time.Minute)
		}
		with := map[string]any{"username": "me", "password": "hunter"}
		for id, x := range map[string]struct {
			artifact *structs.Artifact
			job      bool
			want     any
		}{"older": {older, false, with}, "newer": {newer, false, with}, "other": {other, false, nil}, "job": {newer, true, nil}} {
			launch(id, x.artifact, func(a *structs.Allocation) {
				if x.job {
					a.External = nil
				}
			})
			got := d.take()
			if len(got) == 0 {
				t.Errorf("%s: nothing was prepared: %+v", id, w.task(id, "main"))
			}
			for _, auth := range got { // of each start
				if x.want == nil && auth != nil || x.want != nil && !reflect.DeepEqual(auth, x.want) {
					t.Errorf("%s: its image was asked for with %v", id, got)
				}
			}
		}
		for id, x := range map[string]struct {
			artifact *structs.Artifact
			why      string
		}{"broken": {broken, "it is not JSON as docker login writes it"}, "token": {token, "has no user name and password"}, "large": {large, "is larger than 1MiB"}} {
			launch(id, x.artifact, nil)
			if got := w.task(id, "main").Why; !strings.Contains(got, x.why) || strings.Contains(got, "hunter") || len(d.take()) > 0 {
				t.Errorf("%s: it failed with %q", id, got)
			}
		}
	})
}
