package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/proffer/proffer/structs"
)

// checkVariables checks that what roles and spaces take is what their variables add up to, that the keys in use are known, and that
// the index of services is that of the versions.
func (r *region) checkVariables(s *Snapshot, count func(Table, int)) {
	n, use := 0, map[string]structs.VariableUse{}
	for v := range s.Variables("") {
		n++
		if r.twin[Variables][v.Path] != any(v) {
			r.t.Fatalf("variable %s differs from the feed", v.Path)
		}
		if s.RegionKey(v.Sealed.Key) == nil {
			r.t.Fatalf("variable %s is sealed with key %q, which is not known", v.Path, v.Sealed.Key)
		}
		for _, owner := range []string{"", structs.VariableOwner(v.Path)} {
			u := use[owner]
			u.Count, u.Size = u.Count+1, u.Size+v.Size
			use[owner] = u
		}
	}
	count(Variables, n)
	paths, _ := s.Expired(1<<62, 1<<30)
	for v := range s.Variables("") {
		if v.Expires != 0 {
			i := slices.Index(paths, v.Path)
			if i < 0 {
				r.t.Fatalf("%s expires and is not in the index", v.Path)
			}
			paths = slices.Delete(paths, i, i+1)
		}
	}
	if len(paths) > 0 {
		r.t.Fatalf("%v are in the index of what expires", paths)
	}
	got := map[string]structs.VariableUse{}
	s.variableUse.Scan(func(owner string, u *structs.VariableUse) bool {
		got[owner] = *u
		return true
	})
	if !maps.Equal(got, use) {
		r.t.Fatalf("variables take %v, want %v", got, use)
	}
	n = 0
	active := 0
	for k := range s.RegionKeys() {
		n++
		if k.Active {
			active++
		}
	}
	count(RegionKeys, n)
	if active > 1 {
		r.t.Fatalf("%d keys are active", active)
	}
	var want []serviceKey
	s.versions.Scan(func(v *structs.JobVersion) bool {
		for _, name := range servicesOf(v.Job) {
			want = append(want, serviceKey{name, v.Job.Name, v.Version})
		}
		return true
	})
	if s.byService.Len() != len(want) {
		r.t.Fatalf("%d services in the index, want %d", s.byService.Len(), len(want))
	}
	for _, k := range want {
		if _, ok := s.byService.Get(k); !ok {
			r.t.Fatalf("%v is not in the index of services", k)
		}
	}
}

func sealed(key, data string) structs.Sealed { return structs.Sealed{Key: key, Data: []byte(data)} }

func put(path, data string) *PutVariable {
	return &PutVariable{Path: path, Sealed: sealed("k1", data), Size: structs.Bytes(len(data))}
}

func at(version uint64) *uint64 { return &version }

// A variable is put, compared and set, renewed and deleted; who saw an older one is told.
func TestVariables(t *testing.T) {
	r := newRegion(t)
	r.fails(structs.Conflict, put("eng/web/db", "1")) // with a key that is none of the region
	r.must(&UseKey{ID: "k1"})
	v1 := r.must(put("eng/web/db", "1")).(*Receipt).Index
	if v := r.store.Snapshot().Variable("eng/web/db"); v.Version != v1 || string(v.Sealed.Data) != "1" || v.Actor != "ann" || r.store.Snapshot().Role("eng/web") == nil {
		t.Errorf("%+v", v)
	}
	c := put("eng/web/db", "22")
	c.Check = at(0)
	r.fails(structs.Conflict, c)
	c.Check, c.Secret = at(v1), true
	v2 := r.must(c).(*Receipt).Index
	r.fails(structs.Conflict, c)
	r.must(put("eng/web/db", "333"))
	if v := r.store.Snapshot().Variable("eng/web/db"); !v.Secret || v.CreateIndex != v1 || v.Version == v2 {
		t.Errorf("a secret became none: %+v", v)
	}
	if u := r.store.Snapshot().VariableUse("eng"); u != (structs.VariableUse{Count: 1, Size: 3}) {
		t.Errorf("%+v", u)
	}
	r.fails(structs.Conflict, &DeleteVariable{Path: "eng/web/db", Check: at(v2)})
	r.fails(structs.Conflict, &DeleteRole{Name: "eng/web"})
	r.must(&DeleteVariable{Path: "eng/web/db"})
	r.fails(structs.NotFound, &DeleteVariable{Path: "eng/web/db"})
	if got := r.must(&Collect{}).(*Collected); got.Roles != 1 {
		t.Errorf("the role that a variable made stays: %+v", got)
	}
	r.check()
}

func TestVariablePaths(t *testing.T) {
	r := newRegion(t)
	r.must(&UseKey{ID: "k1"})
	for _, path := range []string{"", "db", "/db", "eng/", "eng//db", "eng/../db", "@/x", "@", "@a", "@a/", "@a//b", "@a/" + strings.Repeat("b/", 16) + "b", "a/b/c/d/e/f/g/h/i/j", "eng/\x00"} {
		r.fails(structs.Invalid, put(path, "1"))
	}
	for _, path := range []string{"eng/db", "a/b/c/d/e/f/g/h/i", "@marathon/leader", "@marathon/state/app:1", "@f.1/a/b/c"} {
		if strings.Contains(path, ":") {
			r.fails(structs.Invalid, put(path, "1"))
			continue
		}
		r.must(put(path, "1"))
	}
	for _, x := range []struct {
		path, role string
		want       bool
	}{{"eng/db", "eng", true}, {"eng/db", "eng/web", true}, {"eng/web/db", "eng", false}, {"eng/db", "engine", false}, {"@f/x", "f", false}, {"eng/db", "", false}} {
		if got := structs.ReadableBy(x.path, x.role); got != x.want {
			t.Errorf("%q reads %q: %v", x.role, x.path, got)
		}
	}
}

// What expires can be taken by who comes next as soon as its time is over, whether it was removed or not. That is how a leader
// is elected.
func TestVariablesExpire(t *testing.T) {
	r := newRegion(t)
	r.must(&UseKey{ID: "k1"})
	claim := func(who string) *PutVariable {
		c := put("@marathon/leader", who)
		c.Check, c.TTL = at(0), 10e9
		return c
	}
	v := r.must(claim("a")).(*Receipt).Index
	r.fails(structs.Conflict, claim("b"))
	r.clock += 5e9
	r.must(&RenewVariable{Path: "@marathon/leader", Check: v, TTL: 10e9})
	if is := r.store.Snapshot().Variable("@marathon/leader"); is.Version != v || is.Expires != r.clock+10e9 {
		t.Errorf("%+v", is)
	}
	r.clock += 6e9
	r.must(&ExpireVariables{Paths: []string{"@marathon/leader", "none"}})
	r.fails(structs.Conflict, claim("b"))
	r.clock += 10e9
	r.fails(structs.NotFound, &RenewVariable{Path: "@marathon/leader", Check: v, TTL: 10e9})
	w := r.must(claim("b")).(*Receipt).Index
	r.fails(structs.Conflict, &RenewVariable{Path: "@marathon/leader", Check: v, TTL: 10e9})
	r.fails(structs.Invalid, &RenewVariable{Path: "@marathon/leader", Check: w, TTL: 1})
	r.clock += 60e9
	r.must(&ExpireVariables{Paths: []string{"@marathon/leader"}})
	if r.store.Snapshot().Variable("@marathon/leader") != nil {
		t.Error("it is still there")
	}
	r.check()
}

func TestVariableBounds(t *testing.T) {
	r := newRegion(t)
	r.must(&UseKey{ID: "k1"})
	r.must(&PutRole{Role: &structs.Role{Name: "eng", MaxVariables: 2, MaxVariableSize: 10}})
	r.must(put("eng/web/a", "1234"))
	r.must(put("eng/b", "1234"))
	if err := r.fails(structs.Exhausted, put("eng/c", "1")); !strings.Contains(err.Error(), `role "eng" has 2 variables and may have 2`) {
		t.Error(err)
	}
	if err := r.fails(structs.Exhausted, put("eng/b", "1234567")); !strings.Contains(err.Error(), `role "eng" has variables of 8B and may have 10B`) {
		t.Error(err)
	}
	r.must(put("eng/b", "123456"))
	r.must(&PutRole{Role: &structs.Role{Name: "eng", MaxVariables: 1, MaxVariableSize: 1}})
	r.must(put("eng/b", "12345")) // less than before
	r.fails(structs.Exhausted, put("eng/b", "123456"))
	big := put("eng/big", "1")
	big.Size = structs.MaxVariableBytes * 2
	r.fails(structs.Invalid, big)
	for i := range structs.MaxKeys {
		r.must(put(fmt.Sprintf("@f/k%d", i), "1"))
	}
	r.fails(structs.Exhausted, put("@f/more", "1"))
	r.must(put("@g/more", "1"))
	r.check()
}

// After a rotation all is sealed with the new key, and only then the old one can go; nobody who reads sees a change.
func TestKeysRotate(t *testing.T) {
	r := newRegion(t)
	r.must(&UseKey{ID: "k1"})
	r.fails(structs.Conflict, &UseKey{ID: "k2"})
	v := r.must(put("eng/db", "1")).(*Receipt).Index
	r.must(&UseKey{ID: "k2", Expect: "k1"})
	if k := r.store.Snapshot().ActiveKey(); k.ID != "k2" {
		t.Errorf("%+v", k)
	}
	r.fails(structs.Conflict, &DropKey{ID: "k1"})
	r.fails(structs.Conflict, &DropKey{ID: "k2"})
	r.must(&ResealVariables{Variables: []*Resealed{{"eng/db", v + 1, sealed("k2", "x")}, {"none", 1, sealed("k2", "x")}, {"eng/db", v, sealed("k3", "x")}}})
	if is := r.store.Snapshot().Variable("eng/db"); is.Sealed.Key != "k1" {
		t.Errorf("%+v", is)
	}
	r.must(&ResealVariables{Variables: []*Resealed{{"eng/db", v, sealed("k2", "y")}}})
	if is := r.store.Snapshot().Variable("eng/db"); is.Sealed.Key != "k2" || is.Version != v || is.ModifyIndex != v {
		t.Errorf("%+v", is)
	}
	r.must(&DropKey{ID: "k1"})
	r.check()
}

// A persisted state carries what is sealed, and nothing of it is in what is shown.
func TestSealedIsPersisted(t *testing.T) {
	r := newRegion(t)
	r.must(&UseKey{ID: "k1"})
	r.must(put("eng/db", "ciphertext"))
	var out bytes.Buffer
	if err := r.store.Image().Persist(&out); err != nil {
		t.Fatal(err)
	}
	other := New()
	if err := other.Restore(&out); err != nil {
		t.Fatal(err)
	}
	v := other.Snapshot().Variable("eng/db")
	if v == nil || string(v.Sealed.Data) != "ciphertext" || v.Sealed.Key != "k1" {
		t.Errorf("%+v", v)
	}
	if shown := dumpOf(v); strings.Contains(shown, "Y2lwaGVy") || strings.Contains(shown, "cipher") || strings.Contains(shown, "ealed") {
		t.Errorf("shown: %s", shown)
	}
}

// Random commands leave what a map with versions would hold, on a server that was restored in between as well.
func TestVariablesAgainstMap(t *testing.T) {
	type held struct {
		data    string
		version uint64
		expires structs.Time
	}
	rapid.Check(t, func(t *rapid.T) {
		r := newRegion(t)
		r.must(&UseKey{ID: "k1"})
		model, key, keys := map[string]held{}, "k1", 1
		paths := rapid.SampledFrom([]string{"eng/db", "eng/web/db", "ops/x", "@f/leader", "@f/a/b"})
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 15).Draw(t, "fork") == 0 {
				r.fork()
			}
			path := paths.Draw(t, "path")
			next := r.clock + 1e9 // when the command is applied
			old, has := model[path]
			if has && old.expires != 0 && old.expires <= next {
				has, old = false, held{}
			}
			check := at(old.version + uint64(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "off")))
			want := structs.Kind("")
			switch rapid.IntRange(0, 6).Draw(t, "command") {
			case 0, 1:
				data := rapid.StringMatching("[a-z]{0,9}").Draw(t, "data")
				c := put(path, data)
				c.Sealed.Key, c.TTL = key, rapid.SampledFrom([]structs.Duration{0, 3e9, 20e9}).Draw(t, "ttl")
				if rapid.Bool().Draw(t, "checked") {
					if c.Check = check; *check != old.version {
						want = structs.Conflict
					}
				}
				if want != "" {
					r.fails(want, c)
					break
				}
				now := held{data: data, version: r.must(c).(*Receipt).Index}
				if c.TTL > 0 {
					now.expires = next.Add(c.TTL)
				}
				model[path] = now
			case 2:
				c := &RenewVariable{Path: path, Check: *check, TTL: 5e9}
				switch {
				case !has:
					r.fails(structs.NotFound, c)
				case *check != old.version:
					r.fails(structs.Conflict, c)
				default:
					r.must(c)
					old.expires = next.Add(5e9)
					model[path] = old
				}
			case 3:
				c := &DeleteVariable{Path: path, Check: check}
				switch {
				case *check != old.version:
					r.fails(structs.Conflict, c)
				case !has:
					r.fails(structs.NotFound, c)
				default:
					r.must(c)
					delete(model, path)
				}
			case 4:
				r.must(&ExpireVariables{Paths: slices.Collect(maps.Keys(model))})
				maps.DeleteFunc(model, func(_ string, h held) bool { return h.expires != 0 && h.expires <= r.clock })
			case 5:
				keys++
				r.must(&UseKey{ID: fmt.Sprint("k", keys), Expect: key})
				key = fmt.Sprint("k", keys)
			case 6:
				c := &ResealVariables{}
				for v := range r.store.Snapshot().Variables("") {
					c.Variables = append(c.Variables, &Resealed{v.Path, v.Version, sealed(key, string(v.Sealed.Data))})
				}
				r.must(c)
			}
			r.follow()
			r.check()
			snap, n := r.store.Snapshot(), 0
			for v := range snap.Variables("") {
				n++
				if want, ok := model[v.Path]; !ok || string(v.Sealed.Data) != want.data || v.Version != want.version || v.Expires != want.expires {
					t.Fatalf("%s is %+v, want %+v", v.Path, v, want)
				}
			}
			if n != len(model) {
				t.Fatalf("%d variables, want %d", n, len(model))
			}
		}
	})
}

// The instances of a service are the allocations that run and are ready, whatever happened before.
func TestServices(t *testing.T) {
	r := newRegion(t)
	node := r.node("1", 64000)
	j := job("web", "service", 3, "a")
	j.Groups[0].Network = &structs.Network{Ports: []*structs.Port{{Label: "http"}}}
	j.Groups[0].Services = []*structs.Service{{Name: "api", Port: "http", Tags: []string{"v1"}}}
	r.must(&SubmitJob{Job: j})
	ready := func() (out []string) {
		list, _, _ := r.store.Snapshot().ServiceInstances("api")
		for _, i := range list {
			out = append(out, fmt.Sprintf("%s:%d %v", i.Address, i.Port, i.Tags))
		}
		return out
	}
	var allocs []*structs.Allocation
	for i := range 3 {
		p := r.placement("web", "a", i, node)
		p.Alloc.Ports = []structs.AssignedPort{{Label: "http", Host: "10.0.0.1", Port: 8000 + i}}
		p.Alloc.Resources.Ports = 1
		r.must(&Place{Placements: []*Placement{p}})
		allocs = append(allocs, r.store.Snapshot().Alloc(p.Alloc.ID))
	}
	if got := ready(); got != nil {
		t.Errorf("%v before anything runs", got)
	}
	if got, want := r.store.Snapshot().ServiceKeys("api"), []Key{OfService("api"), OfJobAllocs("web"), OfNode(node)}; !slices.Equal(got, want) {
		t.Errorf("it hangs on %v, want %v", got, want)
	}
	run := func(a *structs.Allocation, passing bool) {
		status := structs.CheckPassing
		if !passing {
			status = structs.CheckFailing
		}
		r.must(&Observe{Node: a.Node, NodeIncarnation: 1, Updates: []*structs.AllocUpdate{{ID: a.ID, Incarnation: a.Incarnation, Status: structs.AllocRunning,
			Tasks: map[string]*structs.TaskState{"main": {Status: structs.TaskRunning, Started: r.clock, Checks: []structs.CheckState{{Name: "c", Status: status}}}}}}})
	}
	run(allocs[0], true)
	run(allocs[1], false)
	if got := ready(); !slices.Equal(got, []string{"10.0.0.1:8000 [v1]"}) {
		t.Errorf("%v", got)
	}
	run(allocs[1], true)
	run(allocs[0], false)
	if got := ready(); !slices.Equal(got, []string{"10.0.0.1:8001 [v1]"}) {
		t.Errorf("%v", got)
	}
	run(allocs[0], true)
	run(allocs[2], true)
	r.must(&StopAlloc{ID: allocs[0].ID}) // it is told to nobody from now on
	if got := ready(); len(got) != 2 {
		t.Errorf("%v", got)
	}
	next := *j
	group := *j.Groups[0]
	group.Services = []*structs.Service{{Name: "api", Port: "http", Tags: []string{"v2"}}}
	next.Groups = []*structs.Group{&group}
	r.must(&SubmitJob{Job: &next})
	r.must(&Place{Updates: []*Update{{ID: allocs[1].ID, Version: 2}}})
	if got := ready(); !slices.Equal(got, []string{"10.0.0.1:8001 [v2]", "10.0.0.1:8002 [v1]"}) {
		t.Errorf("%v", got)
	}
	r.must(&SetNodeStatus{Node: node, Status: structs.NodeLost})
	if got := ready(); got != nil {
		t.Errorf("%v on a node that is lost", got)
	}
	r.must(&StopJob{Name: "web", Purge: true})
	r.must(&Collect{MaxFinished: -1})
	r.check()
}

func dumpOf(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(raw)
}
