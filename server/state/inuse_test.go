package state

import (
	"testing"

	"github.com/proffer/proffer/structs"
)

// A bound that is new or lower, and that what is there is beyond, needs force; one that is no lower than before does not.
func TestABoundBelowUseNeedsForce(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 8000)
	r.must(&PutRole{Role: &structs.Role{Name: "eng/web", MaxPriority: "production+50"}})
	j := in("eng/web", job("web", "service", 3, "a"))
	j.Owner, j.FrameworkScheduler, j.Priority = "ann", true, "production+3"
	j.Groups[0].Tasks[0].Resources = &structs.TaskResources{CPU: 1000} // as place places it
	r.must(&SubmitJob{Job: j})
	for i := range 3 {
		r.place("web", "a", i, id)
	}
	ask, half, part := structs.Milli(1000), structs.Milli(500), structs.Milli(375)
	web := func(change func(*structs.Role)) *structs.Role {
		x := &structs.Role{Name: "eng/web", MaxPriority: "production+50"}
		change(x)
		return x
	}
	for _, c := range []struct {
		want           string
		beyond, within *structs.Role
	}{
		{`role "eng": its max_running would be 2 and 3 allocations run`,
			&structs.Role{Name: "eng", MaxRunning: 2}, &structs.Role{Name: "eng", MaxRunning: 3}},
		{`role "eng/web": its work could have priority production+2 at most, and job "web" has production+3`,
			web(func(x *structs.Role) { x.MaxPriority = "production+2" }), web(func(x *structs.Role) { x.MaxPriority = "production+3" })},
		{`role "eng/web": its work could have priority batch+100 at most`, web(func(x *structs.Role) { x.MaxPriority = "" }), nil},
		{`role "eng": its max_ask would be cpu ` + half.String() + ` and an allocation of job "web" asks for ` + ask.String(),
			&structs.Role{Name: "eng", MaxAsk: &structs.QuotaAmount{CPU: &half}}, &structs.Role{Name: "eng", MaxAsk: &structs.QuotaAmount{CPU: &ask}}},
		{`role "eng": its user_limit would leave cpu `, &structs.Role{Name: "eng", UserLimit: part - 1}, &structs.Role{Name: "eng", UserLimit: part}},
		{`role "eng/web": its max_framework_share would leave cpu `,
			web(func(x *structs.Role) { x.MaxFrameworkShare = part - 1 }), web(func(x *structs.Role) { x.MaxFrameworkShare = part })},
	} {
		before := r.store.Snapshot().Role(c.beyond.Name)
		r.refuses(c.want, &PutRole{Role: c.beyond})
		if now := r.store.Snapshot().Role(c.beyond.Name); now != before {
			t.Errorf("%s: the role was changed to %+v", c.want, now)
		}
		if c.within != nil {
			r.must(&PutRole{Role: c.within})
			r.refuses(c.want, &PutRole{Role: c.beyond})
		}
		r.must(&PutRole{Role: c.beyond, Force: true})
		again := *c.beyond
		again.Weight = 2000
		r.must(&PutRole{Role: &again}) // it is no lower than before
		r.must(&PutRole{Role: web(func(*structs.Role) {})})
		r.must(&PutRole{Role: &structs.Role{Name: "eng"}})
	}
	// What does not run any more is beyond nothing.
	r.must(&StopJob{Name: "web"})
	r.must(&PutRole{Role: &structs.Role{Name: "eng/web"}})
}

// Below a sealed role nothing is made on first use.
func TestASealedRole(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 8000)
	r.must(&SubmitJob{Job: in("eng/old", job("old", "service", 1, "a"))})
	r.must(&PutRoles{Roles: []*structs.Role{{Name: "eng", Sealed: true}, {Name: "eng/web"}}})
	want := `role "eng/wbe": there is none, and below role "eng" none is made on first use`
	r.says(structs.Forbidden, want, &SubmitJob{Job: in("eng/wbe", job("new", "service", 1, "a"))})
	r.says(structs.Forbidden, `role "eng/web/x"`, &SubmitJob{Job: in("eng/web/x", job("new", "service", 1, "a"))})
	r.says(structs.Forbidden, want, &PutFramework{Framework: &structs.Framework{ID: "f", Name: "f", Roles: []string{"eng/web", "eng/wbe"}}})
	r.says(structs.Forbidden, want, &PutReservation{Reservation: &structs.Reservation{ID: "r", Role: "eng/wbe", Node: id, Resources: structs.Resources{CPU: 1000}}})
	for role := range r.store.Snapshot().Roles() {
		if role.Name == "eng/wbe" {
			t.Error("what was refused made the role")
		}
	}
	for _, role := range []string{"eng", "eng/web", "eng/old", "engine"} { // made before, or not below it
		r.must(&SubmitJob{Job: in(role, job("new", "service", 1, "a"))})
	}
	r.must(&SubmitJob{Job: in("eng/old", job("old", "service", 2, "a"))})
	// Where the top is sealed, that is so for what is at the top.
	want = `role "egn": there is none, and at the top none is made on first use`
	r.says(structs.Forbidden, want, &SubmitJob{Job: in("egn/web", job("newer", "service", 1, "a")), Sealed: true})
	r.says(structs.Forbidden, want, &PutFramework{Framework: &structs.Framework{ID: "f", Name: "f", Roles: []string{"egn"}}, Sealed: true})
	r.says(structs.Forbidden, want, &PutReservation{Sealed: true,
		Reservation: &structs.Reservation{ID: "r", Role: "egn", Node: id, Resources: structs.Resources{CPU: 1000}}})
	r.says(structs.Forbidden, `role "default"`, &SubmitJob{Job: job("newer", "service", 1, "a"), Sealed: true})
	r.must(&SubmitJob{Job: in("engine", job("newer", "service", 1, "a")), Sealed: true})
}
