package session

import (
	"testing"

	"github.com/proffer/proffer/structs"
)

// What waits together for a node is one message, with the newest word on each volume.
func TestVolumesOfWaitingDeltas(t *testing.T) {
	d := &Desired{}
	d.join(&Desired{Index: 1, Volumes: []*structs.Volume{{ID: "a", Status: structs.VolumeReady}, {ID: "b"}}})
	d.join(&Desired{Index: 2, Volumes: []*structs.Volume{{ID: "a", Status: structs.VolumePurging}}})
	if len(d.Volumes) != 2 || d.Volumes[0].ID != "b" || d.Volumes[1].Status != structs.VolumePurging || d.Index != 2 {
		t.Errorf("%+v", d.Volumes)
	}
}
