package server

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/proffer/proffer/server/seal"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// What cannot be sealed with another key is counted one by one, variables and volumes alike, and is in no command.
func TestWhatCannotBeSealedAnew(t *testing.T) {
	ring, err := seal.Open("")
	if err != nil {
		t.Fatal(err)
	}
	first, second := seal.NewKey(), seal.NewKey()
	if err := ring.Add(first, second); err != nil {
		t.Fatal(err)
	}
	store, index := state.New(), uint64(0)
	apply := func(c state.Command) {
		t.Helper()
		index++
		if err := store.Apply(index, &state.Entry{Envelopes: []state.Envelope{{Command: c}}})[0].Err; err != nil {
			t.Fatal(err)
		}
	}
	apply(&state.UseKey{ID: seal.ID(first)})
	bad := structs.Sealed{Key: seal.ID(first), Data: []byte("it was never sealed")}
	for _, name := range []string{"a", "b"} {
		apply(&state.PutVariable{Path: "eng/" + name, Sealed: bad})
		apply(&state.PutVolume{Volume: &structs.Volume{Name: name, Role: "eng", Size: 1 << 20, Access: structs.AccessExclusive,
			CSI: &structs.CSIVolume{Plugin: "p", External: name, Sealed: bad}}})
	}
	apply(&state.UseKey{ID: seal.ID(second), Expect: seal.ID(first)})
	s := &Server{ring: ring, log: slog.New(slog.DiscardHandler), store: store, entryBytes: 1 << 20}
	left, err := s.resealSome(t.Context(), store.Snapshot())
	if left || err == nil || !strings.Contains(err.Error(), "4 cannot be") {
		t.Errorf("left %v, %v", left, err)
	}
}
