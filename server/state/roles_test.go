package state

import (
	"fmt"
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

// quotaOf is a guarantee and a limit of cores; negative: none.
func quotaOf(guarantee, limit structs.Milli) *structs.Quota {
	q := &structs.Quota{}
	if guarantee >= 0 {
		q.Guarantee = &structs.QuotaAmount{CPU: &guarantee}
	}
	if limit >= 0 {
		q.Limit = &structs.QuotaAmount{CPU: &limit}
	}
	return q
}

func roleOf(name string, guarantee, limit structs.Milli) *structs.Role {
	return &structs.Role{Name: name, Quota: quotaOf(guarantee, limit)}
}

func (r *region) refuses(want string, c Command) {
	r.t.Helper()
	if err := r.fails(structs.Conflict, c); !strings.Contains(err.Error(), want) {
		r.t.Errorf("got %q, want %q", err, want)
	}
}

func TestGuaranteesAddUp(t *testing.T) {
	r := newRegion(t)
	r.node("1", 8000)
	r.node("2", 8000)
	lost := r.node("3", 8000)
	r.must(&SetNodeStatus{Node: lost, Status: structs.NodeLost})
	r.refuses(`all guarantees together would be cpu 16.001 and the ready nodes have 16`, &PutRole{Role: roleOf("eng", 16001, -1)})
	r.must(&PutRole{Role: roleOf("eng", 10000, -1)})
	r.refuses(`all guarantees together would be cpu 17`, &PutRole{Role: roleOf("ops", 7000, -1)})
	r.refuses(`role "eng": its guarantee of cpu 10 is less than the 11 that the roles below it are guaranteed`,
		&PutRoles{Roles: []*structs.Role{roleOf("eng/web", 6000, -1), roleOf("eng/db/main", 5000, -1)}})
	if r.store.Snapshot().Role("eng/web") != nil {
		t.Error("one of several refused roles was stored")
	}
	r.must(&PutRoles{Roles: []*structs.Role{roleOf("eng/web", 6000, -1), roleOf("eng/db/main", 4000, -1)}})
	r.refuses(`role "eng": its guarantee of cpu 9`, &PutRole{Role: roleOf("eng", 9000, -1), Force: true})
	r.refuses(`role "eng/db": its limit of cpu 3 is less than the 4 that is guaranteed in it`, &PutRole{Role: roleOf("eng/db", -1, 3000), Force: true})
	// A role without a guarantee stands for the sum of those below it.
	r.must(&PutRole{Role: roleOf("eng", -1, -1)})
	r.refuses(`all guarantees together would be cpu 17`, &PutRole{Role: roleOf("ops/a", 7000, -1)})
	r.must(&PutRole{Role: roleOf("ops/a", 7000, -1), Force: true})
	// What is too much already stands in the way of what does not raise it.
	r.must(&PutRole{Role: &structs.Role{Name: "ops/a", Weight: 2000, Quota: quotaOf(7000, -1)}})
	r.must(&PutRole{Role: roleOf("eng/web", 5900, -1)})
	r.refuses(`all guarantees together would be cpu 17`, &PutRole{Role: roleOf("eng/web", 6000, -1)})
	r.fails(structs.Invalid, &PutRole{Role: roleOf("x", 2, 1)})
	r.fails(structs.Invalid, &PutRole{Role: &structs.Role{Name: "x", Weight: -1}})
	r.fails(structs.Invalid, &PutRoles{Roles: []*structs.Role{roleOf("x", -1, -1), roleOf("x", -1, -1)}})
	r.fails(structs.Invalid, &PutRoles{})
	r.fails(structs.Invalid, &PutRoles{Roles: []*structs.Role{nil}})
}

func TestALimitBelowUseNeedsForce(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 8000)
	j := job("web", "service", 3, "a")
	j.Role = "eng/web"
	r.must(&SubmitJob{Job: j})
	for i := range 3 {
		r.place("web", "a", i, id)
	}
	used := r.store.Snapshot().RoleUse("eng").Resources.CPU
	if used == 0 {
		t.Fatal("nothing is in use")
	}
	r.refuses(fmt.Sprintf("its limit would be cpu %s and %s is in use", used-1, used), &PutRole{Role: roleOf("eng", -1, used-1)})
	r.must(&PutRole{Role: roleOf("eng", -1, used)})
	r.refuses("is in use", &PutRole{Role: roleOf("eng", -1, used-1)})
	r.must(&PutRole{Role: roleOf("eng", -1, used-1), Force: true})
	r.must(&PutRole{Role: &structs.Role{Name: "eng", Weight: 2000, Quota: quotaOf(-1, used-1)}}) // it is no lower than before
	r.fails(structs.Conflict, &DeleteRole{Name: "eng/web"})
	r.fails(structs.Conflict, &DeleteRole{Name: "eng", Force: true}) // there is one below it
	r.must(&DeleteRole{Name: "eng/web", Force: true})
	if r.store.Snapshot().Role("eng/web") != nil || r.store.Snapshot().Job("web").Role != "eng/web" {
		t.Error("the role is there, or its job is not")
	}
	if got := r.store.Snapshot().RoleUse("eng").Resources.CPU; got != used {
		t.Errorf("%s is in use, not %s", got, used)
	}
}

// A role that was made on first use goes when nothing uses it any more, at the next collection; one that somebody stored
// stays.
func TestRolesOfFirstUseAreForgotten(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 8000)
	after := func(what string, keep int, want ...string) {
		t.Helper()
		done := r.must(&Collect{MaxFinished: keep}).(*Collected)
		var have []string
		for role := range r.store.Snapshot().Roles() {
			have = append(have, role.Name)
		}
		if strings.Join(have, " ") != strings.Join(want, " ") {
			t.Errorf("after %s (%d forgotten): %v, want %v", what, done.Roles, have, want)
		}
	}
	r.must(&PutRole{Role: &structs.Role{Name: "stored", Implicit: true}}) // whatever it says of itself
	r.must(&SubmitJob{Job: in("eng/web", job("web", "service", 1, "a"))})
	r.must(&SubmitJob{Job: in("stored", job("other", "service", 0, "a"))})
	r.must(&PutFramework{Framework: &structs.Framework{ID: "f1", Name: "f", Roles: []string{"data", "eng/api"}}})
	after("the first use", -1, "data", "eng/api", "eng/web", "stored")
	a := r.place("web", "a", 0, id)
	r.must(&SubmitJob{Job: in("ops", job("other", "service", 0, "a"))})
	r.must(&StopJob{Name: "web"})
	after("a stop", 5, "data", "eng/api", "eng/web", "ops", "stored")
	r.must(&StopJob{Name: "web", Purge: true})
	after("a purge, while the work is being stopped", -1, "data", "eng/api", "eng/web", "ops", "stored")
	r.observe(a, structs.AllocComplete, structs.TaskKilled)
	after("its end", -1, "data", "eng/api", "ops", "stored")
	r.must(&SubmitJob{Job: in("stored", job("other", "service", 0, "a"))})
	after("a move", -1, "data", "eng/api", "stored")
	r.must(&PutRole{Role: &structs.Role{Name: "data", Weight: 2000}})
	r.must(&RemoveFramework{ID: "f1"})
	after("the end of the framework", -1, "data", "stored")
	r.must(&PutReservation{Reservation: &structs.Reservation{ID: "r1", Role: "room", Node: id, Resources: structs.Resources{CPU: 1000}}})
	after("a reservation", -1, "data", "room", "stored")
	r.must(&DeleteReservations{IDs: []structs.ReservationID{"r1"}})
	after("its end", -1, "data", "stored")
	if got := r.store.Snapshot().RoleUse("stored").Jobs; got != 1 {
		t.Errorf("%d jobs use a role, not 1", got)
	}
}

// Whatever roles are stored and removed, the guarantees that are accepted add up, as a naive look at the tree says.
func TestAcceptedGuaranteesAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRegion(t)
		r.node("1", 8000)
		names := []string{"a", "a/b", "a/b/c", "a/b/d", "a/e", "a-b", "f", "f/g/h"}
		for range rapid.IntRange(1, 20).Draw(t, "changes") {
			var roles []*structs.Role
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 3, rapid.ID).Draw(t, "roles") {
				amount := rapid.IntRange(-1, 5)
				roles = append(roles, roleOf(name, structs.Milli(amount.Draw(t, "guarantee"))*1000, structs.Milli(amount.Draw(t, "limit"))*2000))
			}
			if rapid.IntRange(0, 5).Draw(t, "delete") == 0 {
				r.commit(Envelope{Command: &DeleteRole{Name: roles[0].Name}})
			} else {
				r.commit(Envelope{Command: &PutRoles{Roles: roles}})
			}
			s := r.store.Snapshot()
			var need func(name string) int64
			need = func(name string) int64 {
				if x := s.Role(name); x != nil {
					if v, named := x.Guaranteed().Of("cpu"); named {
						return v
					}
				}
				return sumBelow(s, name, need)
			}
			for _, name := range names {
				x := s.Role(name)
				if x == nil {
					continue
				}
				if sum := sumBelow(s, name, need); sum > need(name) {
					t.Fatalf("%s: %d below it, %d its own", name, sum, need(name))
				}
				if limit, named := x.Limited().Of("cpu"); named && need(name) > limit {
					t.Fatalf("%s: %d guaranteed, limit %d", name, need(name), limit)
				}
			}
			if sum := sumBelow(s, "", need); sum > 8000 {
				t.Fatalf("%d guaranteed of 8000", sum)
			}
		}
	})
}

// sumBelow adds up need of the children of a role, made or not.
func sumBelow(s *Snapshot, name string, need func(string) int64) (sum int64) {
	prefix, children := "", map[string]bool{}
	if name != "" {
		prefix = name + "/"
	}
	for x := range s.Roles() {
		if rest, below := strings.CutPrefix(x.Name, prefix); below && x.Name != name {
			first, _, _ := strings.Cut(rest, "/")
			children[prefix+first] = true
		}
	}
	for child := range children {
		sum += need(child)
	}
	return sum
}
