package server

import (
	"testing"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// A node is told of a volume of a plugin while it is attached there, and then to forget it, whatever became of it.
func TestVolumesThatAreTakenBack(t *testing.T) {
	with := func(node structs.NodeID) *structs.Volume {
		return &structs.Volume{Name: "v", ID: "v", CSI: &structs.CSIVolume{Plugin: "p", Secrets: structs.Secrets{"k": "hidden"},
			Attached: map[structs.NodeID]*structs.Attachment{node: {}}}}
	}
	n := &nodeSession{node: "n"}
	told := func(old, v any) []*structs.Volume {
		return n.changes(&state.Batch{Changes: []state.Change{{Table: state.Volumes, Old: old, New: v}}}).Volumes
	}
	if d := told(nil, with("n")); len(d) != 1 || d[0].CSI.Secrets["k"] != "hidden" || d[0].AttachedTo("n") == nil {
		t.Errorf("%+v", d)
	}
	for name, v := range map[string]any{"elsewhere": with("m"), "gone": nil} {
		if d := told(with("n"), v); len(d) != 1 || d[0].CSI.Secrets != nil || d[0].CSI.Attached != nil || d[0].ID != "v" {
			t.Errorf("%s: %+v", name, d)
		}
		if d := told(with("m"), v); d != nil {
			t.Errorf("%s: %+v", name, d)
		}
	}
}
