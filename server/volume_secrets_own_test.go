package server

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/proffer/proffer/server/seal"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// A node is told the secrets of a volume while that is attached there, and those of a state from before they were sealed are sealed with the others.
func TestSecretsOfVolumesAreOpened(t *testing.T) {
	ring, err := seal.Open("")
	if err != nil {
		t.Fatal(err)
	}
	key, other := seal.NewKey(), seal.NewKey()
	if err := ring.Add(key, other); err != nil {
		t.Fatal(err)
	}
	s := &Server{ring: ring, log: slog.New(slog.DiscardHandler), store: state.New()}
	clear := &structs.Volume{Name: "v", CSI: &structs.CSIVolume{Plugin: "p", Secrets: structs.Secrets{"password": "hunter2"},
		Attached: map[structs.NodeID]*structs.Attachment{"n": {State: structs.Attached}}}}
	sealed, err := ring.Seal(seal.ID(key), volumePath("v"), clear.CSI.Secrets)
	if err != nil {
		t.Fatal(err)
	}
	v := *clear
	v.CSI = &structs.CSIVolume{Plugin: "p", Sealed: sealed, Attached: clear.CSI.Attached}
	for _, x := range []struct {
		of   *structs.Volume
		node structs.NodeID
		want string
	}{{clear, "n", "map[password:hunter2]"}, {&v, "n", "map[password:hunter2]"}, {clear, "other", "map[]"}, {&v, "other", "map[]"}} {
		told := x.of.For(x.node)
		s.openFor(t.Context(), told)
		if got := fmt.Sprint(map[string]string(told.CSI.Secrets)); got != x.want || told.CSI.Sealed.Key != "" {
			t.Errorf("node %s is told %s of %+v, want %s", x.node, got, x.of.CSI, x.want)
		}
	}
	if v.CSI.Secrets != nil || v.CSI.Sealed.Key == "" {
		t.Error("the record was changed")
	}
	other2 := v
	other2.Name = "w"
	if _, err := s.volumeSecrets(t.Context(), &other2); err == nil {
		t.Error("what is sealed for one volume opens for another")
	}
}
