package client

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/client/taskdir"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// offer brings items, as the session does; wanted says what the node asked for.
func (w *world) offer(items ...*session.Item) { w.up.node.Items(items) }

func (w *world) wanted() (refs []string) {
	w.up.mu.Lock()
	defer w.up.mu.Unlock()
	for ref := range w.up.wants {
		refs = append(refs, string(ref))
	}
	slices.Sort(refs)
	return refs
}

func password(value string) *session.Item {
	return &session.Item{Ref: session.VariableRef("default/db"), Secret: true, Values: map[string]string{"password": value}}
}

func noPassword() *session.Item {
	return &session.Item{Ref: session.VariableRef("default/db"), Missing: "there is none"}
}

func peers(addresses ...string) *session.Item {
	i := &session.Item{Ref: session.ServiceRef("web")}
	for _, a := range addresses {
		i.Instances = append(i.Instances, &structs.ServiceInstance{Service: "web", Address: a, Port: 80, Alloc: structs.AllocID(a)})
	}
	return i
}

// templated is a service whose one task has a template.
func (w *world) templated(name string, template *structs.Template) *structs.JobVersion {
	if len(w.jobs) == 0 {
		w.t.Cleanup(func() { // of what still runs
			for id := range w.allocs {
				taskdir.At(filepath.Join(w.dir, "allocs"), id).ForgetSecrets("main")
			}
		})
	}
	return w.service(name, func(g *structs.Group) { g.Tasks[0].Templates = []*structs.Template{template} })
}

func (w *world) file(id, name string) string {
	raw, err := os.ReadFile(filepath.Join(w.dir, "allocs", id, "main", name))
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

func (w *world) events(id, kind string) (texts []string) {
	for _, e := range w.task(id, "main").Events {
		if e.Type == kind {
			texts = append(texts, e.Text)
		}
	}
	return texts
}

func secretFile(mode string) *structs.Template {
	return &structs.Template{Destination: "secrets/db", Data: `{{ var "default/db" "password" }}`, ChangeMode: mode, ChangeSignal: "SIGHUP"}
}

// A task waits for a variable that is not there, says so, and starts when it comes; when it changes, and stays so for a while, the file
// is written again and the task is told. One watch does for all tasks, and goes with the last one.
func TestTasksWaitForVariables(t *testing.T) {
	bubble(t, func(w *world) {
		for _, id := range []string{"a1", "a2"} {
			w.run(id, w.templated("job-"+id, secretFile(structs.ChangeSignal)))
		}
		after(10 * time.Millisecond)
		if got := w.wanted(); !slices.Equal(got, []string{"variable:default/db"}) {
			t.Errorf("the node wants %v", got)
		}
		w.offer(noPassword())
		after(time.Second)
		w.expect("a1", structs.AllocPending, "")
		if why := w.task("a1", "main").Why; !strings.Contains(why, "they wait for variable default/db (there is none)") {
			t.Errorf("it waits: %q", why)
		}
		after(time.Hour)
		w.expectStarts()
		w.offer(password("one"))
		after(10 * time.Millisecond)
		w.expect("a1", structs.AllocRunning, "")
		w.expect("a2", structs.AllocRunning, "")
		if got := w.file("a1", "secrets/db"); got != "one" {
			t.Errorf("%q", got)
		}
		w.offer(password("two"))
		after(900 * time.Millisecond)
		w.offer(password("three"))
		after(900 * time.Millisecond)
		if got := w.file("a1", "secrets/db"); got != "one" {
			t.Errorf("%q before it was quiet for a second", got)
		}
		after(time.Second)
		if got := w.file("a2", "secrets/db"); got != "three" {
			t.Errorf("%q", got)
		}
		if got := w.events("a1", "template"); !slices.Equal(got, []string{"secrets/db changed", "SIGHUP sent"}) {
			t.Errorf("%q", got)
		}
		for _, id := range []string{"a1", "a2"} {
			for _, e := range w.task(id, "main").Events {
				if strings.Contains(e.Text, "three") {
					t.Errorf("a value is in an event: %q", e.Text)
				}
			}
		}
		w.offer(noPassword()) // what was written stays
		after(5 * time.Second)
		w.expect("a1", structs.AllocRunning, "")
		if got := w.file("a1", "secrets/db"); got != "three" {
			t.Errorf("%q", got)
		}
		w.want(w.change("a1", stopped))
		after(time.Second)
		if got := w.wanted(); len(got) != 1 {
			t.Errorf("the node wants %v", got)
		}
		w.want(w.change("a2", stopped))
		after(time.Second)
		if got := w.wanted(); len(got) != 0 {
			t.Errorf("the node still wants %v", got)
		}
		if got := w.file("a1", "secrets/db"); os.Geteuid() == 0 && !strings.Contains(got, "no such file") {
			t.Errorf("the secret outlived the task: %q", got)
		}
	})
}

// Changes that never stop are acted upon after the longest wait.
func TestTheLongestQuiet(t *testing.T) {
	bubble(t, func(w *world) {
		template := &structs.Template{Destination: "local/peers", Data: `{{ range service "web" }}{{ .Address }}:{{ .Port }} {{ end }}`, ChangeMode: structs.ChangeNone,
			Wait: &structs.Quiet{Min: structs.Duration(2 * time.Second), Max: structs.Duration(5 * time.Second)}}
		w.run("a1", w.templated("j", template))
		after(10 * time.Millisecond)
		w.offer(peers())
		after(time.Second)
		w.expect("a1", structs.AllocRunning, "")
		if got := w.file("a1", "local/peers"); got != "" {
			t.Errorf("%q", got)
		}
		began := time.Now()
		for i := range 100 {
			w.offer(peers("10.0.0.1", "10.0.1."+string(rune('0'+i%10))))
			after(time.Second)
			if strings.HasPrefix(w.file("a1", "local/peers"), "10.0.0.1:80 10.0.1.") {
				break
			}
		}
		if d := time.Since(began); d < 5*time.Second || d > 7*time.Second {
			t.Errorf("the file was written after %v", d)
		}
		w.expectStarts("a1/main/1")
	})
}

// What a variable says may restart a task and be in its environment; a task that shall not wait fails.
func TestModesOfVariables(t *testing.T) {
	bubble(t, func(w *world) {
		env := secretFile(structs.ChangeRestart)
		env.Data, env.Env = `PASSWORD={{ var "default/db" "password" }}`, true
		w.run("a1", w.templated("env", env))
		fails := secretFile(structs.ChangeRestart)
		fails.OnMissing = structs.MissingFail
		w.run("a2", w.templated("fails", fails))
		open := secretFile(structs.ChangeRestart)
		open.Destination = "local/db"
		w.run("a3", w.templated("open", open))
		foreign := secretFile(structs.ChangeRestart)
		foreign.Data = `{{ var "ops/db" "password" }}`
		w.run("a4", w.templated("foreign", foreign))
		item := secretFile(structs.ChangeRestart)
		item.Data = `{{ var "default/db" "user" }}`
		w.run("a5", w.templated("item", item))
		has := secretFile(structs.ChangeRestart)
		has.Data = `{{ hasVar "default/db" }} {{ hasVar "default/db" "user" }} {{ range $k, $v := var "default/db" }}{{ $k }}={{ $v }}{{ end }}`
		w.run("a6", w.templated("has", has))
		after(10 * time.Millisecond)
		w.expect("a4", structs.AllocFailed, `work of role "default" may not read it`)
		w.offer(noPassword())
		after(time.Second)
		w.expect("a2", structs.AllocFailed, "they wait for variable default/db (there is none)")
		w.offer(password("one"))
		after(time.Second)
		w.expect("a3", structs.AllocFailed, "it reads a secret, which is written below secrets/ only")
		w.expect("a1", structs.AllocRunning, "")
		w.expect("a5", structs.AllocPending, "")
		if why := w.task("a5", "main").Why; !strings.Contains(why, `it has no item "user"`) {
			t.Errorf("%q", why)
		}
		if got := w.file("a6", "secrets/db"); got != "true false password=one" {
			t.Errorf("%q", got)
		}
		w.offer(password("two"))
		after(10 * time.Second)
		if got := w.task("a1", "main"); got.Restarts != 1 || got.Status != structs.TaskRunning {
			t.Errorf("%+v", got)
		}
	})
}

// An agent that was restarted writes only what is other than in the files, and acts only upon that.
func TestRestartedAgentComparesFiles(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a1", w.templated("j1", secretFile(structs.ChangeRestart)))
		after(10 * time.Millisecond)
		w.offer(password("one"))
		after(time.Second)
		w.expect("a1", structs.AllocRunning, "")
		w.stop()
		w.start()
		w.full(w.allocs["a1"])
		after(time.Second)
		if got := w.wanted(); !slices.Equal(got, []string{"variable:default/db"}) {
			t.Fatalf("the node wants %v", got)
		}
		w.offer(password("one"))
		after(time.Minute)
		if got := w.task("a1", "main"); got.Restarts != 0 {
			t.Errorf("restarted for nothing: %+v", got)
		}
		w.stop()
		w.start()
		w.full(w.allocs["a1"])
		after(time.Second)
		w.offer(password("two"))
		after(time.Minute)
		if got := w.task("a1", "main"); got.Restarts != 1 || w.file("a1", "secrets/db") != "two" {
			t.Errorf("%+v, %q", got, w.file("a1", "secrets/db"))
		}
	})
}

// That a variable cannot be opened now is not that it is not there: nothing fails for it, nothing is started without it, and what runs
// goes on with what it was.
func TestVariablesThatCannotBeOpened(t *testing.T) {
	bubble(t, func(w *world) {
		unknown := &session.Item{Ref: session.VariableRef("default/db"), Unknown: true, Missing: "no server has its key"}
		fails := secretFile(structs.ChangeRestart)
		fails.OnMissing = structs.MissingFail
		w.run("a1", w.templated("fails", fails))
		has := secretFile(structs.ChangeRestart)
		has.Data = `{{ hasVar "default/db" }}`
		w.run("a2", w.templated("has", has))
		after(10 * time.Millisecond)
		w.offer(unknown)
		after(time.Hour)
		for _, id := range []string{"a1", "a2"} {
			w.expect(id, structs.AllocPending, "")
			if why := w.task(id, "main").Why; !strings.Contains(why, "they wait for variable default/db (no server has its key)") {
				t.Errorf("it waits: %q", why)
			}
		}
		w.offer(password("one"))
		after(time.Second)
		w.offer(unknown)
		after(time.Hour)
		for id, text := range map[string]string{"a1": "one", "a2": "true"} {
			w.expect(id, structs.AllocRunning, "")
			if got := w.task(id, "main"); got.Restarts != 0 || w.file(id, "secrets/db") != text {
				t.Errorf("%s: %+v, %q", id, got, w.file(id, "secrets/db"))
			}
		}
	})
}

// What came with a task to ask for its image is there before the image is asked for, for the driver alone: no file has it.
func TestImagesAreAskedForWithWhatCameWithTheTask(t *testing.T) {
	bubble(t, func(w *world) {
		var asked []any
		w.prepare = func(_ context.Context, spec *drivers.Spec) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			asked = append(asked, spec.Task.Config["auth"])
			for _, m := range spec.Task.ImageMounts {
				asked = append(asked, m.Image)
				if m.Auth != nil {
					asked = append(asked, *m.Auth)
				}
			}
			return structs.Errorf(structs.Invalid, "image", "that is all of it")
		}
		job := w.templated("job", &structs.Template{Destination: "secrets/image-1", Perms: "0444", ChangeMode: structs.ChangeNone, OnMissing: structs.MissingFail,
			Secret: &structs.Secret{Sealed: "s1", Image: true}})
		task := job.Job.Groups[0].Tasks[0]
		task.Templates = append(task.Templates, &structs.Template{Destination: "secrets/image-2", Perms: "0444", ChangeMode: structs.ChangeNone, OnMissing: structs.MissingFail,
			Secret: &structs.Secret{Sealed: "s2", Image: true, Mount: "/models"}})
		task.Config["image"] = "registry.example.com/shop/web:1"
		task.ImageMounts = []*structs.ImageMount{{Image: "other.example.com/models:7", Destination: "/models"}, {Image: "other.example.com/more:1", Destination: "/more"}}
		w.run("a1", job)
		after(10 * time.Millisecond)
		ref := session.SecretRef("a1", "s1")
		if got := w.wanted(); len(got) != 2 || len(asked) != 0 {
			t.Errorf("the node wants %v; images were asked for with %v", got, asked)
		}
		w.offer(&session.Item{Ref: ref, Secret: true, Values: map[string]string{"": `{"auths": {"registry.example.com": {"auth": "bWU6aHVudGVy"}}}`}},
			&session.Item{Ref: session.SecretRef("a1", "s2"), Secret: true, Values: map[string]string{"": `{"auths": {"other.example.com": {"username": "us", "password": "gatherer"}}}`}})
		after(2 * time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		want := []any{map[string]any{"username": "me", "password": "hunter"}, "other.example.com/models:7", structs.ImageLogin{Username: "us", Password: "gatherer"}, "other.example.com/more:1"}
		if !reflect.DeepEqual(asked, want) {
			t.Errorf("images were asked for with %v, want %v", asked, want)
		}
		if text := w.file("a1", "secrets/image-1"); !strings.Contains(text, "no such file") {
			t.Errorf("the task sees %q", text)
		}
		if task.Config["auth"] != nil || task.ImageMounts[0].Auth != nil {
			t.Errorf("the job has it: %v, %v", task.Config, task.ImageMounts[0])
		}
	})
}
