package server_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// A server that lost its quorum answers those who ask for stale reads, and nobody else.
func TestStaleReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 0)
		r.propose(&state.SubmitJob{Job: job("old", "service", 0)})
		lonely := r.followers()[0]
		r.eventually("everybody has it", func() bool { return lonely.server.Store().Snapshot().Job("old") != nil })
		r.mesh.Cut([]string{lonely.ip}, slices.DeleteFunc(r.ip(), func(ip string) bool { return ip == lonely.ip }))
		time.Sleep(time.Minute)
		snap, err := lonely.server.Read(context.Background(), true)
		if err != nil || snap.Job("old") == nil {
			t.Errorf("stale: %v", err)
		}
		if _, err := lonely.server.Read(context.Background(), false); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("not stale: %v", err)
		}
		r.mesh.Heal()
		r.eventually("it is back", func() bool { _, err := lonely.server.Read(context.Background(), false); return err == nil })
	})
}
