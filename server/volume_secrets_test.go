package server_test

import (
	"bytes"
	"testing"
	"testing/synctest"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Secrets of a volume are in clear in no record: they are sealed before they are in the log, and again with each new key.
func TestSecretsOfVolumesAreSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 0)
		h := r.leader()
		volume := func(name string) *state.PutVolume {
			return &state.PutVolume{Volume: &structs.Volume{Name: name, Role: "eng", Size: 1 << 20, Access: structs.AccessExclusive,
				CSI: &structs.CSIVolume{Plugin: "p", External: "x-" + name, Secrets: structs.Secrets{"password": "hunter2"}}}}
		}
		asked := volume("new")
		_, _, err := r.servers[0].server.Propose(t.Context(), "", "ann", asked)
		check(t, err)
		if v := r.servers[0].server.Store().Snapshot().Volume("new"); v.CSI.Secrets != nil || v.CSI.Sealed.Key == "" {
			t.Error("it was recorded in clear")
		}
		if asked.Volume.CSI.Secrets["password"] != "hunter2" {
			t.Error("the command of the caller was changed")
		}
		sealed := func(key string) {
			t.Helper()
			r.eventually("all are sealed with the key", func() bool {
				for v := range h.server.Store().Snapshot().Volumes() {
					if v.CSI.Sealed.Key != key || v.CSI.Secrets != nil {
						return false
					}
				}
				return true
			})
			var out bytes.Buffer
			check(t, h.server.Store().Image().Persist(&out))
			if bytes.Contains(out.Bytes(), []byte("hunter2")) {
				t.Error("a secret is in the state in clear")
			}
		}
		first := h.server.Store().Snapshot().ActiveKey().ID
		sealed(first)
		check(t, h.server.RotateKey(t.Context(), first))
		sealed(h.server.Store().Snapshot().ActiveKey().ID)
		if _, _, err := h.server.Propose(t.Context(), "", "ann", &state.DropKey{ID: first}); err != nil {
			t.Errorf("a key that nothing is sealed with: %v", err)
		}
	})
}
