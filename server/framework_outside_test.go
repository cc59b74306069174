package server_test

import (
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
