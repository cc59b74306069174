package http

import (
	"testing"

	"github.com/proffer/proffer/structs"
)

// A node is found by its name or the beginning of its id among those that a volume is attached to, also when the region has forgotten it.
func TestAttachedTo(t *testing.T) {
	v := &structs.Volume{Name: "v", CSI: &structs.CSIVolume{Attached: map[structs.NodeID]*structs.Attachment{
		"aa1": {NodeName: "one"}, "aa2": {NodeName: "two"}, "bb3": {NodeName: "two"}}}}
	for given, want := range map[string]structs.NodeID{"one": "aa1", "aa1": "aa1", "bb": "bb3"} {
		if got, err := attachedTo(v, given); err != nil || got != want {
			t.Errorf("%s: %s, %v", given, got, err)
		}
	}
	for given, kind := range map[string]structs.Kind{"": structs.NotFound, "three": structs.NotFound, "aa": structs.Invalid, "two": structs.Invalid} {
		if got, err := attachedTo(v, given); structs.KindOf(err) != kind {
			t.Errorf("%q: %s, %v", given, got, err)
		}
	}
	if _, err := attachedTo(&structs.Volume{Name: "w"}, "one"); structs.KindOf(err) != structs.NotFound {
		t.Error(err)
	}
}
