package placement

import (
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

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
