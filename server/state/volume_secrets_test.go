package state

import (
	"testing"

	"github.com/proffer/proffer/structs"
)

// Sealed secrets of a volume keep their key, and are sealed with another one, also those that were in clear; what was changed meanwhile is left alone.
func TestSecretsOfVolumes(t *testing.T) {
	r := newRegion(t)
	put := func(name string, c structs.CSIVolume) *structs.Volume {
		t.Helper()
		c.Plugin, c.External = "p", name
		r.must(&PutVolume{Volume: &structs.Volume{Name: name, Role: "eng", Size: 1 << 20, Access: structs.AccessExclusive, CSI: &c}})
		return r.store.Snapshot().Volume(name)
	}
	r.must(&UseKey{ID: "one"})
	a := put("a", structs.CSIVolume{Sealed: structs.Sealed{Key: "one", Data: []byte("x")}})
	b := put("b", structs.CSIVolume{Secrets: structs.Secrets{"k": "hidden"}}) // of an older state
	r.fails(structs.Conflict, &PutVolume{Volume: &structs.Volume{Name: "c", Role: "eng", Size: 1 << 20, Access: structs.AccessExclusive,
		CSI: &structs.CSIVolume{Plugin: "p", External: "c", Sealed: structs.Sealed{Key: "gone"}}}})
	r.must(&UseKey{ID: "two", Expect: "one"})
	r.fails(structs.Conflict, &DropKey{ID: "one"})
	sealed := structs.Sealed{Key: "two", Data: []byte("y")}
	r.must(&ResealVariables{Volumes: []*ResealedVolume{{Name: "a", ID: a.ID, Was: "other", Sealed: sealed}, {Name: "a", ID: "other", Was: "one", Sealed: sealed},
		{Name: "b", ID: b.ID, Was: "one", Sealed: sealed}, {Name: "b", ID: b.ID, Sealed: structs.Sealed{Key: "gone"}}, {Name: "none", Sealed: sealed}}})
	if v := r.store.Snapshot().Volume("a"); v != a {
		t.Errorf("a was changed: %+v", v.CSI)
	}
	if v := r.store.Snapshot().Volume("b"); v != b {
		t.Errorf("b was changed: %+v", v.CSI)
	}
	r.must(&ResealVariables{Volumes: []*ResealedVolume{{Name: "a", ID: a.ID, Was: "one", Sealed: sealed}, {Name: "b", ID: b.ID, Sealed: sealed}}})
	for _, name := range []string{"a", "b"} {
		if c := r.store.Snapshot().Volume(name).CSI; c.Secrets != nil || c.Sealed.Key != "two" || string(c.Sealed.Data) != "y" {
			t.Errorf("%s has %+v", name, c)
		}
	}
	r.must(&DropKey{ID: "one"})
}
