package server_test

import (
	"bytes"
	"maps"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// outsides has a launch use what a storage has.
func outsides(op *server.FrameworkOperation, wish structs.Volume) *server.FrameworkOperation {
	op.Launch.Group.Volumes = append(op.Launch.Group.Volumes, &structs.GroupVolume{Name: "v", Type: structs.PersistentVolume})
	op.Launch.Volumes = append(op.Launch.Volumes, &server.LaunchVolume{Block: "v", Outside: &wish})
	return op
}

// Launches that name what a storage has use the volume that is registered as that, as its record says, and share one that nobody registered,
// also when they are decided at once.
func TestFrameworkUsesWhatAStorageHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1, func(r *region) {
			r.plugins = map[string]*structs.NodePlugin{"p": {Vendor: "v", Node: &structs.PluginNodePart{Healthy: true, ID: "as-it"}}}
		})
		r.propose(&state.PutVolume{Volume: &structs.Volume{Name: "data", Access: structs.AccessExclusive, Role: "eng", CSI: &structs.CSIVolume{Plugin: "p", External: "x-1"}}})
		s := r.subscribe(eng("spark"))
		of := func(external string, access structs.VolumeAccess, mode int64, block bool) structs.Volume {
			return structs.Volume{Access: access, CSI: &structs.CSIVolume{Plugin: "p", External: external, Mode: mode, Block: block}}
		}
		done, err := s.accept(s.offer(""), outsides(launches("one", 1), of("x-1", structs.AccessShared, 5, false)), outsides(launches("two", 1), of("x-1", structs.AccessShared, 5, false)),
			outsides(launches("three", 1), of("x-1", structs.AccessExclusive, 1, true)), outsides(launches("four", 1), of("x-2", structs.AccessShared, 5, false)),
			outsides(launches("five", 1), of("x-2", structs.AccessShared, 5, false)), outsides(launches("six", 1), of("x-2", structs.AccessExclusive, 1, false)))
		check(t, err)
		for i, want := range []string{"", "is held by allocation", "it is volume \"data\" of the region, with access_type mount", "", "", "another access mode"} {
			got := ""
			if done.Faults[i] != nil {
				got = done.Faults[i].Error()
			}
			if (want == "") != (got == "") || !strings.Contains(got, want) {
				t.Errorf("launch %d: %q, want %q", i+1, got, want)
			}
		}
		snap := r.snapshot()
		shared := snap.Outside("p", "x-2")
		if shared == nil || !shared.CSI.Borrowed || snap.Alloc(done.Allocs[3]).Claim(shared.ID) == nil || snap.Alloc(done.Allocs[4]).Claim(shared.ID) == nil {
			t.Errorf("the two share %+v", shared)
		}
		if a := snap.Alloc(done.Allocs[0]); a.Claim(snap.Volume("data").ID) == nil || a.Volumes[0].Access != structs.AccessExclusive {
			t.Errorf("the first one has %+v", a.Volumes)
		}
	})
}

// What a launch brings for the calls of a plugin, as a value or as a variable, is sealed in the record of the volume as it is when it is taken, and is
// found again under each new key. What it refers to and cannot have refuses that launch alone; what is registered keeps its own.
func TestSecretsOfWhatAStorageHasAreSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1, func(r *region) {
			r.plugins = map[string]*structs.NodePlugin{"p": {Vendor: "v", Node: &structs.PluginNodePart{Healthy: true, ID: "as-it"}}}
		})
		h := r.leader()
		r.propose(&state.PutVolume{Volume: &structs.Volume{Name: "data", Access: structs.AccessShared, Role: "eng", CSI: &structs.CSIVolume{Plugin: "p", External: "x-1"}}})
		_, err := h.server.PutVariable(t.Context(), "", "ann", &server.VariablePut{Path: "eng/db", Secret: true, Items: map[string]string{"password": "hunter3", "user": "me"}})
		check(t, err)
		s := r.subscribe(eng("spark"))
		with := func(name, external string, secrets structs.Secrets, references map[string]*structs.Secret) *server.FrameworkOperation {
			op := outsides(launches(name, 1), structs.Volume{Access: structs.AccessShared, CSI: &structs.CSIVolume{Plugin: "p", External: external, Mode: 5, Secrets: secrets}})
			op.Launch.Volumes[0].References = references
			return op
		}
		of := func(variable, item string) map[string]*structs.Secret {
			return map[string]*structs.Secret{"publish/key": {Variable: variable, Item: item}}
		}
		hunter := structs.Secrets{"stage/key": "hunter2"}
		done, err := s.accept(s.offer(""), with("one", "x-2", hunter, of("eng/db", "password")), with("two", "x-2", hunter, nil), with("three", "x-1", hunter, nil),
			with("four", "x-3", hunter, of("eng/none", "")), with("five", "x-3", hunter, of("eng/db", "none")), with("six", "x-3", hunter, of("eng/db", "")),
			with("seven", "x-3", structs.Secrets{"stage/key": strings.Repeat("hunter2", 1000)}, nil))
		check(t, err)
		for i, want := range []string{"", "", "", "there is none", `it has no item "none"`, "it has 2 items", "a value up to 4096"} {
			got := ""
			if done.Faults[i] != nil {
				got = done.Faults[i].Error()
			}
			if (want == "") != (got == "") || !strings.Contains(got, want) || strings.Contains(got, "hunter") {
				t.Errorf("launch %d: %q, want %q", i+1, got, want)
			}
		}
		if c := r.snapshot().Volume("data").CSI; c.Sealed.Key != "" || c.Secrets != nil {
			t.Errorf("the one that is registered has %+v", c)
		}
		is := func(key string) {
			t.Helper()
			r.eventually("it is sealed with the key", func() bool { v := r.snapshot().Outside("p", "x-2"); return v != nil && v.CSI.Sealed.Key == key })
			v := r.snapshot().Outside("p", "x-2")
			got, err := h.server.VolumeSecrets(t.Context(), v)
			if want := (structs.Secrets{"stage/key": "hunter2", "publish/key": "hunter3"}); err != nil || !maps.Equal(got, want) || v.CSI.Secrets != nil {
				t.Errorf("it has %v, %v", map[string]string(got), err)
			}
			var out bytes.Buffer
			check(t, h.server.Store().Image().Persist(&out))
			if bytes.Contains(out.Bytes(), []byte("hunter")) {
				t.Error("a secret is in the state in clear")
			}
		}
		first := h.server.Store().Snapshot().ActiveKey().ID
		is(first)
		check(t, h.server.RotateKey(t.Context(), first))
		is(h.server.Store().Snapshot().ActiveKey().ID)
	})
}
