package client

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proffer/proffer/client/session"
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

// TestVariablesSayWhatImagesAreAskedForWith: a start waits for the variable that its job names, says so, and asks with what that holds, which is in
// nothing else: not in the job, not in a file, not in what the region is told. Another start needs no server, and what a
// newer version needs is got likewise.
func TestVariablesSayWhatImagesAreAskedForWith(t *testing.T) {
	bubble(t, func(w *world) {
		var asked []string
		take := func() (all []string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			all, asked = asked, nil
			return all
		}
		w.prepare = func(_ context.Context, spec *drivers.Spec) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			l := spec.Task.Logins()
			said := fmt.Sprintf("%s: %s %s", spec.ID, l[""].Username, l[""].Password)
			if m := l["/models"]; m != nil {
				said += fmt.Sprintf(", %s %s", m.Username, m.Password)
				asked = append(asked, said)
				return structs.Errorf(structs.Invalid, "image", "that is all of it")
			}
			asked = append(asked, said)
			return nil
		}
		named := func(change func(*structs.Task)) func(*structs.Group) {
			return func(g *structs.Group) {
				g.Tasks[0].Config["image"], g.Tasks[0].Config["auth"] = "registry.example.com/shop:1", map[string]any{"variable": "default/registry"}
				change(g.Tasks[0])
			}
		}
		registry := func(values map[string]string) *session.Item {
			i := &session.Item{Ref: session.VariableRef("default/registry"), Secret: true, Values: values}
			if values == nil {
				i.Missing = "there is none"
			}
			return i
		}
		waits := func(id, what string) {
			t.Helper()
			w.expect(id, structs.AllocPending, "")
			if got := w.task(id, "main").Why; !strings.Contains(got, what) || strings.Contains(got, "hunter") {
				t.Errorf("%s waits: %q, want %q", id, got, what)
			}
			if got := take(); len(got) > 0 {
				t.Errorf("images were asked for: %v", got)
			}
		}
		job := w.templated("job", secretFile(structs.ChangeNone))
		named(func(x *structs.Task) { x.Config["run_for"] = "1h" })(job.Job.Groups[0])
		w.run("a1", job)
		after(time.Minute)
		waits("a1", "auth: it waits for variable default/registry (no server has said what it is yet)")
		w.offer(registry(nil))
		after(time.Minute)
		waits("a1", "auth: it waits for variable default/registry (there is none)")
		w.offer(registry(map[string]string{"username": "me"}))
		after(time.Minute)
		waits("a1", `auth: it waits for variable default/registry (it has no item "password")`)
		w.offer(registry(map[string]string{"username": "", "password": "hunter2"}))
		after(time.Minute)
		waits("a1", `auth: it waits for variable default/registry (its item "username" is empty)`)
		if got := w.wanted(); !slices.Equal(got, []string{"variable:default/registry"}) {
			t.Errorf("the node wants %v: templates are for when the image is there", got)
		}
		w.offer(registry(map[string]string{"username": "me", "password": "hunter2"}), password("one"))
		after(time.Second)
		w.offer(password("one")) // once it is asked for
		after(time.Second)
		w.expect("a1", structs.AllocRunning, "")
		if got := take(); len(got) == 0 || slices.ContainsFunc(got, func(s string) bool { return s != "a1/main/1: me hunter2" }) {
			t.Errorf("its image was asked for with %q", got)
		}
		if got := w.wanted(); !slices.Equal(got, []string{"variable:default/db", "variable:default/registry"}) {
			t.Errorf("the node wants %v", got)
		}

		w.offer(registry(map[string]string{"username": "me", "password": "hunter3"}))
		after(30 * time.Minute)
		if s := w.task("a1", "main"); s.Restarts != 0 || s.Status != structs.TaskRunning {
			t.Errorf("another password made of the task %+v", s)
		}
		after(time.Hour)
		if got := take(); !slices.Equal(got, []string{"a1/main/2: me hunter3"}) {
			t.Errorf("for another start its image was asked for with %q", got)
		}
		w.expect("a1", structs.AllocRunning, "")

		// A restarted agent asks for what another start of its tasks needs, also of one without templates, before that start.
		w.run("a0", w.service("plain", named(func(x *structs.Task) { x.Config["auth"] = map[string]any{"variable": "default/plain"} })))
		after(time.Second)
		w.offer(&session.Item{Ref: session.VariableRef("default/plain"), Secret: true, Values: map[string]string{"username": "x", "password": "hunter0"}})
		after(time.Minute)
		w.expect("a0", structs.AllocRunning, "")
		if got := take(); !slices.Equal(got, []string{"a0/main/1: x hunter0"}) {
			t.Errorf("its image was asked for with %q", got)
		}
		w.stop()
		w.start()
		after(time.Second)
		if got := w.wanted(); !slices.Equal(got, []string{"variable:default/db", "variable:default/plain", "variable:default/registry"}) {
			t.Errorf("a restarted agent wants %v", got)
		}
		w.offer(registry(map[string]string{"username": "me", "password": "hunter4"}), password("one"))
		after(time.Hour)
		if got := take(); !slices.Equal(got, []string{"a1/main/3: me hunter4"}) {
			t.Errorf("after a restart its image was asked for with %q", got)
		}

		next := w.templated("job", secretFile(structs.ChangeNone))
		named(func(x *structs.Task) { x.Config["image"] = "registry.example.com/shop:2" })(next.Job.Groups[0])
		w.up.node.Desired(&session.Desired{Index: w.index + 1, Jobs: []*structs.JobVersion{job, next}, Allocs: []*structs.Allocation{w.change("a1", func(a *structs.Allocation) {
			stopped(a)
			a.ReplacedBy = 2
		})}})
		after(time.Minute)
		if got := take(); !slices.Equal(got, []string{"a1/main/next: me hunter4"}) {
			t.Errorf("before it is replaced, the image was asked for with %q", got)
		}
		w.expect("a1", structs.AllocComplete, "the user stopped it")

		// Of images that are mounted likewise; what one cannot read it does not get.
		mounts := w.service("mounts", named(func(x *structs.Task) {
			x.ImageMounts = []*structs.ImageMount{{Image: "other.example.com/models:7", Destination: "/models", Auth: &structs.ImageLogin{Variable: "default/models"}}}
		}))
		w.run("a2", mounts)
		after(time.Second)
		w.offer(registry(map[string]string{"username": "me", "password": "hunter4"}),
			&session.Item{Ref: session.VariableRef("default/models"), Secret: true, Values: map[string]string{"username": "us", "password": "gatherer"}})
		after(time.Minute)
		if got := take(); !slices.Equal(got, []string{"a2/main/1: me hunter4, us gatherer"}) {
			t.Errorf("its images were asked for with %q", got)
		}
		w.run("a3", w.service("others", func(g *structs.Group) {
			g.Tasks[0].Config["auth"] = map[string]any{"variable": "eng/registry"}
		}))
		after(time.Minute)
		if got := w.task("a3", "main").Why; !strings.Contains(got, `variable "eng/registry": work of role "default" may not read it`) || len(take()) > 0 {
			t.Errorf("of another role: %q", got)
		}

		if a := mounts.Job.Groups[0].Tasks[0]; a.Config["auth"].(map[string]any)["password"] != nil || a.ImageMounts[0].Auth.Password != "" {
			t.Errorf("the job has it: %v", a)
		}
		err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			if raw, err := os.ReadFile(path); err != nil || strings.Contains(string(raw), "hunter") || strings.Contains(string(raw), "gatherer") {
				t.Errorf("it is in %s, or %v", path, err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		for _, id := range []string{"a0", "a1", "a2", "a3"} {
			if told := fmt.Sprintf("%+v", w.task(id, "main")); strings.Contains(told, "hunter") {
				t.Errorf("the region is told %s", told)
			}
		}
	})
}
