package state

import (
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

func (r *region) says(kind structs.Kind, want string, c Command) {
	r.t.Helper()
	if err := r.fails(kind, c); !strings.Contains(err.Error(), want) {
		r.t.Errorf("got %q, want %q", err, want)
	}
}

func in(role string, j *structs.Job) *structs.Job {
	j.Role = role
	return j
}

func TestDefaultPriorityOfARole(t *testing.T) {
	r := newRegion(t)
	r.must(&PutRole{Role: &structs.Role{Name: "ops", DefaultPriority: "production+5", MaxPriority: "production+10"}})
	r.must(&SubmitJob{Job: in("ops", job("a", "service", 1, "a"))})
	if p := r.store.Snapshot().Job("a").Priority.String(); p != "production+5" {
		t.Errorf("priority %s", p)
	}
	named := in("ops", job("b", "service", 1, "a"))
	named.Priority = "batch"
	r.must(&SubmitJob{Job: named})
	if p := r.store.Snapshot().Job("b").Priority.String(); p != "batch" {
		t.Errorf("priority %s", p)
	}
	r.fails(structs.Invalid, &PutRole{Role: &structs.Role{Name: "x", DefaultPriority: "production"}})
	r.fails(structs.Invalid, &PutRole{Role: &structs.Role{Name: "x", State: "shut"}})
	r.fails(structs.Invalid, &PutRole{Role: &structs.Role{Name: "x", MaxPending: -1}})
}

func TestARoleThatDrainsTakesNothingNew(t *testing.T) {
	for _, how := range []string{structs.RoleDraining, structs.RoleClosed} {
		r := newRegion(t)
		r.must(&SubmitJob{Job: in("eng/web", job("old", "service", 1, "a"))})
		r.must(&PutFramework{Framework: &structs.Framework{ID: "f1", Name: "f", Roles: []string{"eng/web"}}})
		r.must(&PutRole{Role: &structs.Role{Name: "eng", State: how}})
		want := `role "eng": it is ` + how + ` and takes nothing new`
		r.says(structs.Forbidden, want, &SubmitJob{Job: in("eng/web", job("new", "service", 1, "a"))})
		r.says(structs.Forbidden, want, &PutFramework{Framework: &structs.Framework{ID: "f2", Name: "g", Roles: []string{"eng"}}})
		r.must(&PutFramework{Framework: &structs.Framework{ID: "f1", Name: "f", Roles: []string{"eng/web"}, Connected: true}})
		r.must(&SubmitJob{Job: in("eng/web", job("old", "service", 2, "a"))}) // what is there goes on
		r.must(&StopJob{Name: "old"})
		r.says(structs.Forbidden, want, &SubmitJob{Job: in("eng/web", job("old", "service", 2, "a"))})
		if r.store.Snapshot().Role("eng/api") != nil {
			t.Error("a refused job made a role")
		}
	}
}

// What could never run is refused when it is submitted, with the numbers.
func TestWhatCouldNeverRunIsRefused(t *testing.T) {
	r := newRegion(t)
	j := in("eng/web", job("web", "service", 1, "a"))
	asked, less := structs.Milli(250), structs.Milli(249)
	j.Groups[0].Tasks = []*structs.Task{{Name: "main", Resources: &structs.TaskResources{CPU: asked}}}
	r.must(&PutRole{Role: roleOf("eng", -1, less)})
	r.says(structs.Exhausted, `job "web": group "a": an allocation asks for cpu `+asked.String()+` and the limit of role "eng" is `+less.String()+
		`: it could never run`, &SubmitJob{Job: j})
	r.must(&PutRole{Role: &structs.Role{Name: "eng", MaxAsk: &structs.QuotaAmount{CPU: &less}}})
	r.says(structs.Exhausted, `the max_ask of role "eng" is `+less.String(), &SubmitJob{Job: j})
	r.must(&PutRole{Role: &structs.Role{Name: "eng", MaxAsk: &structs.QuotaAmount{CPU: &asked}, Quota: quotaOf(-1, asked)}})
	r.must(&SubmitJob{Job: j})
}

// What may wait in a role is bounded, with the roles below.
func TestMaxPending(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 8000)
	r.must(&PutRole{Role: &structs.Role{Name: "eng", MaxPending: 3}})
	r.must(&SubmitJob{Job: in("eng/web", job("a", "service", 2, "a"))})
	r.says(structs.Exhausted, `role "eng": 2 allocations wait, with this 4 would, and max_pending is 3`,
		&SubmitJob{Job: in("eng/db", job("b", "service", 2, "a"))})
	if s := r.store.Snapshot(); s.Job("b") != nil || s.Role("eng/db") != nil {
		t.Error("what was refused is there")
	}
	c := in("ops/x", job("c", "service", 20, "a"))
	c.Groups[0].Tasks = []*structs.Task{{Name: "main", Resources: &structs.TaskResources{CPU: 250, Custom: map[string]structs.Milli{"gpus": 500}}}}
	r.must(&SubmitJob{Job: c})
	r.place("c", "a", 3, id)
	if got := r.store.Snapshot().WaitingResources()["ops"]; got.CPU != 19*250 || got.Custom["gpus"] != 19*500 {
		t.Errorf("%s waits", got)
	}
	r.place("a", "a", 0, id)
	r.must(&SubmitJob{Job: in("eng/db", job("b", "service", 2, "a"))})
	r.says(structs.Exhausted, `3 allocations wait, with this 4 would`, &ScaleJob{Name: "a", Group: "a", Count: 3})
	r.must(&ScaleJob{Name: "b", Group: "a", Count: 1})
	r.must(&ScaleJob{Name: "a", Group: "a", Count: 3})
	r.must(&PutRole{Role: &structs.Role{Name: "eng", MaxPending: 1}})
	r.must(&ScaleJob{Name: "a", Group: "a", Count: 2}) // fewer than before may wait, and that is fine
	r.must(&StopJob{Name: "b"})
	// What is done and runs once more waits again.
	nightly := in("eng", job("nightly", "batch", 2, "a"))
	r.must(&PutRole{Role: &structs.Role{Name: "eng", MaxPending: 3}})
	r.must(&SubmitJob{Job: nightly})
	for i := range 2 {
		r.observe(r.place("nightly", "a", i, id), structs.AllocComplete, structs.TaskFinished)
	}
	r.must(&PutRole{Role: &structs.Role{Name: "eng", MaxPending: 2}})
	r.says(structs.Exhausted, `1 allocations wait, with this 3 would, and max_pending is 2`, &RestartJob{Name: "nightly"})
	if u := r.store.Snapshot().RoleUse("eng"); u.Pending != 1 || u.Wanted != 2 || u.Placed != 1 {
		t.Errorf("%+v", u)
	}
}
