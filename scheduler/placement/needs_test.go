package placement

import (
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

// A profile that a task names is one of its driver on the node, and the reason says which one is missing.
func TestProfilesAreOfDrivers(t *testing.T) {
	compiled := func(config map[string]any) *Ask {
		t.Helper()
		task := &structs.Task{Name: "t", Driver: "oci", Config: config}
		a, err := Compile(&structs.Job{Name: "j", Groups: []*structs.Group{{Name: "g", Tasks: []*structs.Task{task}}}}, &structs.Group{Name: "g", Tasks: []*structs.Task{task}})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	web := compiled(map[string]any{"seccomp": "web"})
	for _, name := range []string{"", "default", "unconfined", "${meta.profile}"} {
		if a := compiled(map[string]any{"seccomp": name}); a.Key() == web.Key() || a.Key() != compiled(nil).Key() {
			t.Errorf("%q: %s", name, a.Key())
		}
	}
	n := testNode()
	n.Drivers = map[string]*structs.Driver{"oci": {Healthy: true, Attributes: map[string]string{}}, "exec": {Healthy: true, Attributes: map[string]string{"seccomp.profile.web": "1"}}}
	e := Explain([]*Node{NewNode("a", n)}, nil, web)
	if len(e.Reasons) != 1 || e.Reasons[0].Kind != ProfileMissing || e.Reasons[0].String() != `seccomp profile "web" of the oci driver missing (node web-1)` || len(e.Help) != 1 {
		t.Errorf("%+v", e)
	}
	n.Drivers["oci"].Attributes["seccomp.profile.web"] = "1"
	if v := Fits(NewNode("a", n), nil, web, All); !v.OK {
		t.Errorf("%+v", v)
	}
}

// What resources ask of a driver is a condition like any other: a node that does not say that it can is refused with the reason, and
// asks that differ in it are of different classes.
func TestResourcesAskOfDrivers(t *testing.T) {
	compiled := func(r *structs.TaskResources) *Ask {
		t.Helper()
		job := &structs.Job{Name: "j", Groups: []*structs.Group{{Name: "g", Tasks: []*structs.Task{{Name: "t", Resources: r}}}}}
		a, err := Compile(job, job.Groups[0])
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	plain := compiled(&structs.TaskResources{CPU: 2000})
	whole := compiled(&structs.TaskResources{CPU: 2000, Cores: 2})
	bound := compiled(&structs.TaskResources{CPU: 2000, IO: &structs.TaskIO{ReadBps: 1}})
	if plain.Key() == whole.Key() || plain.Key() == bound.Key() || whole.Key() == bound.Key() || !whole.Whole || bound.Whole {
		t.Errorf("%q\n%q\n%q", plain.Key(), whole.Key(), bound.Key())
	}
	n := testNode()
	n.Drivers = map[string]*structs.Driver{"exec": {Healthy: true}}
	n.Resources.CPU = 4000
	for ask, attribute := range map[*Ask]string{whole: "driver.exec.cores", bound: "driver.exec.io"} {
		n.Attributes = map[string]string{}
		if v := Fits(NewNode("a", n), nil, ask, All); v.OK || !strings.Contains(v.Reasons[0].String(), attribute) {
			t.Errorf("%s: %+v", attribute, v)
		}
		n.Attributes = map[string]string{attribute: "1"}
		if v := Fits(NewNode("a", n), nil, ask, All); !v.OK {
			t.Errorf("%s: %+v", attribute, v)
		}
	}
}
