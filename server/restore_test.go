package server_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// A restored snapshot does not know what was placed after it was saved. Nothing of that is killed.
func TestARestoredSnapshotKillsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 2)
		r.propose(&state.SubmitJob{Job: job("old", "service", 2)})
		r.eventually("old runs", func() bool { return r.running("old") == 2 })
		var archive bytes.Buffer
		check(t, r.leader().server.SaveSnapshot(context.Background(), &archive))
		was := r.leader().server.Store().Snapshot().Meta().Generation
		r.propose(&state.SubmitJob{Job: job("young", "service", 2)})
		r.eventually("young runs", func() bool { return r.running("young") == 2 })

		leader := r.leader()
		for _, h := range r.servers {
			if h != leader { // through a follower
				_, err := h.server.RestoreSnapshot(context.Background(), &archive)
				check(t, err)
				break
			}
		}
		r.eventually("sessions of the new generation", func() bool {
			is := r.leader().server.Store().Snapshot().Meta().Generation
			for _, n := range r.nodes {
				if n.works() != is {
					return false
				}
			}
			return is != was
		})
		r.eventually("old runs on", func() bool { return r.running("old") == 2 })
		time.Sleep(time.Minute)
		if n := r.witness.count(); n != 4 || len(r.witness.began) != 4 {
			t.Errorf("%d run and %d began, not 4\n%s", n, len(r.witness.began), r.describe())
		}
		quarantined := 0
		for _, n := range r.nodes {
			for _, w := range n.held() {
				if w.quarantined {
					quarantined++
				}
			}
		}
		if quarantined != 2 {
			t.Errorf("%d are quarantined, not 2", quarantined)
		}
		// The region goes on.
		r.propose(&state.SubmitJob{Job: job("next", "service", 2)})
		r.eventually("next runs", func() bool { return r.running("next") == 2 })
	})
}

// works returns the generation that the node's work belongs to.
func (n *node) works() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.generation
}

func (n *node) held() (out []work) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.allocs {
		out = append(out, *w)
	}
	return out
}

// What is wrong with an archive reaches the caller with its kind and its words, through a follower too, whose body the
// leader stops to read.
func TestARefusedRestoreSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 0)
		r.propose(&state.SubmitJob{Job: job("old", "service", 2)})
		var archive bytes.Buffer
		check(t, r.leader().server.SaveSnapshot(context.Background(), &archive))
		damaged := bytes.Clone(archive.Bytes())
		damaged[len(damaged)-10] ^= 1
		leader := r.leader()
		for what, raw := range map[string][]byte{
			"nothing":       nil,
			"damaged":       damaged,
			"cut off":       archive.Bytes()[:archive.Len()-20],
			"other":         []byte("a letter to my aunt"),
			"other and big": bytes.Repeat([]byte("no snapshot "), 1<<20),
		} {
			_, want := leader.server.RestoreSnapshot(context.Background(), bytes.NewReader(raw))
			if structs.KindOf(want) != structs.Invalid || !strings.Contains(want.Error(), "snapshot: ") {
				t.Errorf("%s: the leader says %v", what, want)
			}
			for _, h := range r.servers {
				_, err := h.server.RestoreSnapshot(context.Background(), bytes.NewReader(raw))
				if structs.KindOf(err) != structs.Invalid || err.Error() != want.Error() {
					t.Errorf("%s: %s says %v, the leader %v", what, h.ip, err, want)
				}
			}
		}
		reading := errors.New("the line went dead")
		for _, h := range r.servers {
			_, err := h.server.RestoreSnapshot(context.Background(), io.MultiReader(bytes.NewReader(archive.Bytes()[:50]), iotest.ErrReader(reading)))
			if structs.KindOf(err) != structs.Invalid || !strings.Contains(err.Error(), reading.Error()) {
				t.Errorf("a body that ends early: %s says %v", h.ip, err)
			}
		}
		if r.leader().server.Store().Snapshot().JobCount() != 1 {
			t.Error("something was restored")
		}
	})
}
