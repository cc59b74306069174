package state

import (
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

// Each role that contradicts itself or the region is refused with what is wrong, and changes nothing. Names are paths, so a
// role cannot be above itself: what would say so is no name.
func TestBadRolesChangeNothing(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 8000)
	r.must(&PutRole{Role: roleOf("eng", 4000, 8000)})
	r.must(&PutRole{Role: roleOf("eng/web", 2000, -1)})
	j := in("eng/web", job("web", "service", 3, "a"))
	r.must(&SubmitJob{Job: j})
	for i := range 3 {
		r.place("web", "a", i, id)
	}
	used := r.store.Snapshot().RoleUse("eng").Resources.CPU
	amount := func(v structs.Milli) *structs.Quota {
		return &structs.Quota{Limit: &structs.QuotaAmount{CPU: &v}}
	}
	memory := structs.Bytes(-1)
	before := r.store.Snapshot()
	for name, x := range map[string]struct {
		kind structs.Kind
		want string
		cmd  Command
	}{
		"negative limit":        {structs.Invalid, "quota.limit.cpu: -1 cores are out of range", &PutRole{Role: &structs.Role{Name: "x", Quota: amount(-1000)}}},
		"negative memory":       {structs.Invalid, "quota.limit.memory: -1B is out of range", &PutRole{Role: &structs.Role{Name: "x", Quota: &structs.Quota{Limit: &structs.QuotaAmount{Memory: &memory}}}}},
		"overflowing limit":     {structs.Invalid, "quota.limit.cpu", &PutRole{Role: &structs.Role{Name: "x", Quota: amount(1 << 62)}}},
		"overflowing custom":    {structs.Invalid, "max_ask.custom.gpus", &PutRole{Role: &structs.Role{Name: "x", MaxAsk: &structs.QuotaAmount{Custom: map[string]structs.Milli{"gpus": 1 << 62}}}}},
		"negative weight":       {structs.Invalid, "weight: -1 is out of range", &PutRole{Role: &structs.Role{Name: "x", Weight: -1000}}},
		"overflowing weight":    {structs.Invalid, "weight", &PutRole{Role: &structs.Role{Name: "x", Weight: 1 << 62}}},
		"negative user limit":   {structs.Invalid, "user_limit: -0.5 is out of range (0.001 to 1; 0: no bound)", &PutRole{Role: &structs.Role{Name: "x", UserLimit: -500}}},
		"user limit above 1":    {structs.Invalid, "user_limit: 1.001 is out of range", &PutRole{Role: &structs.Role{Name: "x", UserLimit: 1001}}},
		"framework share":       {structs.Invalid, "max_framework_share: 2 is out of range", &PutRole{Role: &structs.Role{Name: "x", MaxFrameworkShare: 2000}}},
		"sorter":                {structs.Invalid, `sorter: "a b" is not a name`, &PutRole{Role: &structs.Role{Name: "x", Sorter: "a b"}}},
		"a cycle by ..":         {structs.Invalid, "its name is not valid", &PutRole{Role: &structs.Role{Name: "eng/../eng"}}},
		"a cycle by .":          {structs.Invalid, "its name is not valid", &PutRole{Role: &structs.Role{Name: "eng/."}}},
		"too deep":              {structs.Invalid, "its name is not valid", &PutRole{Role: &structs.Role{Name: strings.Repeat("a/", 8) + "a"}}},
		"limit below use":       {structs.Conflict, "is in use", &PutRole{Role: &structs.Role{Name: "eng", Quota: amount(used - 1)}}},
		"limit below guarantee": {structs.Conflict, "is less than the 2 that is guaranteed in it", &PutRole{Role: roleOf("eng", -1, 1000)}},
		"guarantee above":       {structs.Conflict, "is less than the 5 that the roles below it are guaranteed", &PutRole{Role: roleOf("eng/ci", 3000, -1)}},
		"removal in use":        {structs.Conflict, `job "web" uses it`, &DeleteRole{Name: "eng/web"}},
		"removal of a parent":   {structs.Conflict, `role "eng/web" is below it`, &DeleteRole{Name: "eng"}},
		"removal of none":       {structs.NotFound, "there is no such role", &DeleteRole{Name: "nobody"}},
		"one bad of two":        {structs.Invalid, "weight", &PutRoles{Roles: []*structs.Role{{Name: "good"}, {Name: "x", Weight: -1}}}},
	} {
		if err := r.fails(x.kind, x.cmd); !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: got %q, want %q", name, err, x.want)
		}
	}
	after := r.store.Snapshot()
	for _, name := range []string{"x", "good", "eng/ci"} {
		if after.Role(name) != nil {
			t.Errorf("role %s is stored", name)
		}
	}
	for _, name := range []string{"eng", "eng/web"} {
		if after.Role(name) != before.Role(name) {
			t.Errorf("role %s changed", name)
		}
	}
}

// What one owner, or the schedulers of frameworks, could never have is refused when it is submitted.
func TestWhatAPartCouldNeverHave(t *testing.T) {
	r := newRegion(t)
	limit := structs.Milli(1000)
	r.must(&PutRole{Role: &structs.Role{Name: "eng", UserLimit: 500, MaxFrameworkShare: 100, Quota: &structs.Quota{Limit: &structs.QuotaAmount{CPU: &limit}}}})
	of := func(owner string, cpu structs.Milli) *structs.Job {
		j := in("eng/web", job("web", "service", 1, "a"))
		j.Owner, j.Groups[0].Tasks[0].Resources = owner, &structs.TaskResources{CPU: cpu, Memory: 1 << 20}
		return j
	}
	r.says(structs.Invalid, `it has no owner, and role "eng" has a user_limit`, &SubmitJob{Job: of("", 100)})
	r.says(structs.Exhausted, `an allocation asks for cpu 0.501 and the user_limit of role "eng" leaves 0.5: it could never run`, &SubmitJob{Job: of("ann", 501)})
	r.must(&SubmitJob{Job: of("ann", 500)})
	master := of("ann", 101)
	master.FrameworkScheduler = true
	r.says(structs.Exhausted, `the max_framework_share of role "eng" leaves 0.1`, &SubmitJob{Job: master})
	// What follows from the nodes may change: it waits.
	r.must(&PutRole{Role: &structs.Role{Name: "eng", UserLimit: 500, MaxFrameworkShare: 100}})
	r.must(&SubmitJob{Job: master})
}

func TestPartOf(t *testing.T) {
	for _, x := range []struct {
		amount int64
		share  structs.Milli
		want   int64
	}{{1000, 500, 500}, {1, 999, 0}, {3, 333, 0}, {3, 334, 1}, {1 << 60, 1000, 1 << 60}, {1 << 60, 1, 1 << 60 / 1000}, {-5, 500, 0}, {5, 0, 0}} {
		if got := structs.PartOf(x.amount, x.share); got != x.want {
			t.Errorf("%s of %d is %d, not %d", x.share, x.amount, got, x.want)
		}
	}
}
