package server_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/seal"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// put puts a variable through a server, and tries again while there is no leader.
func (r *region) put(h *host, path string, items map[string]string, change ...func(*server.VariablePut)) uint64 {
	r.t.Helper()
	p := &server.VariablePut{Path: path, Items: items}
	for _, f := range change {
		f(p)
	}
	var index uint64
	key := structs.NewID()
	r.eventually("a variable", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		i, err := h.server.PutVariable(ctx, key, "test", p)
		if kind := structs.KindOf(err); err != nil && kind != structs.Unavailable && kind != structs.Unknown {
			r.t.Fatal(err)
		}
		index = i
		return err == nil
	})
	return index
}

// get reads a variable through a server; nil: it cannot be read there now.
func (r *region) get(h *host, path string) map[string]string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	snap, err := h.server.Read(ctx, false)
	if err != nil {
		return nil
	}
	_, items, err := h.server.OpenVariable(ctx, snap, path)
	if err != nil {
		return nil
	}
	return items
}

// Every server reads what any server put, the one that was away when the key was made included, after a change of leader, and after
// all of them were killed. Neither state nor key file of one alone has the value.
func TestVariablesAndKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 0)
		leader := r.leader()
		away := r.servers[slices.IndexFunc(r.servers, func(h *host) bool { return h != leader })]
		away.crash()
		var other *host
		for _, h := range r.servers {
			if h != leader && h != away {
				other = h
			}
		}
		want := map[string]string{"password": "correct horse"}
		r.put(other, "eng/db", want)
		if raw, err := os.ReadFile(other.keys); err != nil || !strings.Contains(string(raw), "keys") {
			t.Errorf("%q %v: the key is not on most servers", raw, err)
		}
		var image bytes.Buffer
		if err := other.server.Store().Image().Persist(&image); err != nil || strings.Contains(image.String(), "correct horse") || !strings.Contains(image.String(), "eng/db") {
			t.Errorf("the state has it in clear, or not at all: %v", err)
		}
		away.start(3)
		r.eventually("the key on the server that was away", func() bool {
			raw, _ := os.ReadFile(away.keys)
			return len(raw) > 0
		})
		if got := r.get(away, "eng/db"); !maps.Equal(got, want) {
			t.Errorf("%v", got)
		}
		leader.crash()
		r.leader()
		if got := r.get(away, "eng/db"); !maps.Equal(got, want) {
			t.Errorf("after a change of leader: %v", got)
		}
		for _, h := range r.servers {
			h.crash()
		}
		for _, h := range r.servers {
			h.start(3)
		}
		r.leader()
		r.eventually("the value after all were killed", func() bool { return maps.Equal(r.get(leader, "eng/db"), want) })
		// One that lost its keys gets them from the others.
		away.crash()
		os.Remove(away.keys)
		away.start(3)
		r.eventually("the value on a server that lost its keys", func() bool { return maps.Equal(r.get(away, "eng/db"), want) })
	})
}

// A rotation seals everything anew; then the old key can go, and nobody noticed.
func TestKeyRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 0)
		h := r.leader()
		versions := map[string]uint64{}
		for i := range 20 {
			path := fmt.Sprintf("eng/v%d", i)
			versions[path] = r.put(h, path, map[string]string{"x": strings.Repeat("y", 100<<10), "n": path})
		}
		old := h.server.Store().Snapshot().ActiveKey().ID
		if err := h.server.RotateKey(t.Context(), "another"); structs.KindOf(err) != structs.Conflict {
			t.Errorf("%v", err)
		}
		if err := h.server.RotateKey(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		r.eventually("everything sealed with the new key", func() bool {
			for v := range h.server.Store().Snapshot().Variables("") {
				if v.Sealed.Key == old {
					return false
				}
			}
			return true
		})
		for path, version := range versions {
			if got := r.get(h, path); got["n"] != path || h.server.Store().Snapshot().Variable(path).Version != version {
				t.Errorf("%s: %v", path, got["n"])
			}
		}
		r.propose(&state.DropKey{ID: old})
		keys, err := h.server.Keys(t.Context())
		if err != nil || len(keys) != 1 || keys[0].Variables != 20 || len(keys[0].Servers) != 1 {
			t.Errorf("%+v %v", keys, err)
		}
		r.eventually("the old key gone from the disk", func() bool { ids := h.keyIDs(); return len(ids) == 1 && ids[0] != old })
	})
}

// keyIDs are those of the keys on the disk of a server.
func (h *host) keyIDs() []string {
	ring, err := seal.Open(h.keys)
	if err != nil {
		return nil
	}
	return ring.IDs()
}

// What was sealed with the older key and came after the rotation is found, and the same put again has the same answer.
func TestLatePutsAreSealedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 0)
		h := r.leader()
		r.put(h, "eng/a", map[string]string{"x": "y"})
		old := h.server.Store().Snapshot().Variable("eng/a").Sealed
		if err := h.server.RotateKey(t.Context(), old.Key); err != nil {
			t.Fatal(err)
		}
		r.eventually("the new key", func() bool { return h.server.Store().Snapshot().Variable("eng/a").Sealed.Key != old.Key })
		late := &state.PutVariable{Path: "eng/a", Sealed: old, Size: 2}
		_, first, err := h.server.Propose(t.Context(), "late", "ann", late)
		if err != nil {
			t.Fatal(err)
		}
		r.eventually("the late one with the new key", func() bool { return h.server.Store().Snapshot().Variable("eng/a").Sealed.Key != old.Key })
		if _, again, err := h.server.Propose(t.Context(), "late", "ann", late); err != nil || again != first {
			t.Errorf("%d %v, want %d", again, err, first)
		}
	})
}

// A key that too few servers keep is not put to use: the caller hears of it at once, and the next try is with the same key.
func TestFailedRotationsMakeOneKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 0)
		h := r.leader()
		r.put(h, "eng/a", map[string]string{"x": "y"})
		before := h.keyIDs()
		for _, other := range r.servers {
			if other != h {
				other.crash()
			}
		}
		for range 2 {
			h.server.RotateKey(t.Context(), before[0])
		}
		if got := h.keyIDs(); len(got) > 2 {
			t.Errorf("%d keys are kept", len(got))
		}
	})
}

// A variable that cannot be opened does not keep others from being sealed with the new key.
func TestLostKeysHoldUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 0)
		h := r.leader()
		r.put(h, "eng/lost", map[string]string{"x": "y"})
		lost := h.server.Store().Snapshot().ActiveKey().ID
		h.crash()
		os.Remove(h.keys)
		h.start(1)
		r.leader()
		if err := h.server.RotateKey(t.Context(), lost); err != nil {
			t.Fatal(err)
		}
		r.put(h, "eng/a", map[string]string{"x": "y"})
		r.put(h, "eng/z", map[string]string{"x": "y"})
		second := h.server.Store().Snapshot().ActiveKey().ID
		if err := h.server.RotateKey(t.Context(), second); err != nil {
			t.Fatal(err)
		}
		r.eventually("the others sealed with the new key", func() bool {
			for v := range h.server.Store().Snapshot().Variables("") {
				if v.Sealed.Key == second {
					return false
				}
			}
			return true
		})
	})
}

// A restored snapshot does not name the keys that came after it. They stay: the next one may be a newer one.
func TestARestoredSnapshotForgetsNoKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 0)
		h := r.leader()
		var archive bytes.Buffer
		check(t, h.server.SaveSnapshot(t.Context(), &archive))
		r.put(h, "eng/db", map[string]string{"x": "y"})
		before := h.keyIDs()
		_, err := h.server.RestoreSnapshot(t.Context(), &archive)
		check(t, err)
		time.Sleep(time.Minute)
		if got := h.keyIDs(); len(before) != 1 || !slices.Equal(got, before) {
			t.Errorf("%v, want %v", got, before)
		}
	})
}

// A region without the keys of what it has says so; with them from a backup it reads everything, and without them it goes on with a
// new key.
func TestKeysOfABackup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 0)
		h := r.leader()
		r.put(h, "eng/db", map[string]string{"x": "y"})
		backup, err := h.server.ExportKeys(t.Context())
		if err != nil || len(backup) != 1 {
			t.Fatal(err)
		}
		h.crash()
		os.Remove(h.keys)
		h.start(1)
		r.leader()
		snap := h.server.Store().Snapshot()
		if _, _, err := h.server.OpenVariable(t.Context(), snap, "eng/db"); structs.KindOf(err) != structs.Unavailable || !strings.Contains(err.Error(), "operator key import") {
			t.Errorf("%v", err)
		}
		if _, err := h.server.ExportKeys(t.Context()); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("%v", err)
		}
		if keys, err := h.server.Keys(t.Context()); err != nil || len(keys) != 1 || len(keys[0].Servers) != 0 || keys[0].Asked != 1 {
			t.Errorf("%+v %v", keys, err)
		}
		if err := h.server.RotateKey(t.Context(), snap.ActiveKey().ID); err != nil {
			t.Fatal(err)
		}
		r.put(h, "eng/other", map[string]string{"x": "z"})
		if err := h.server.ImportKeys(t.Context(), backup); err != nil {
			t.Fatal(err)
		}
		if got := r.get(h, "eng/db"); got["x"] != "y" {
			t.Errorf("%v", got)
		}
	})
}

// What has a time to live goes when it is over, also under another leader; a renewal keeps it.
func TestVariablesGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 0)
		ttl := func(d time.Duration) func(*server.VariablePut) {
			return func(p *server.VariablePut) { p.TTL = structs.Duration(d) }
		}
		h := r.leader()
		r.put(h, "@m/short", map[string]string{"v": "1"}, ttl(30*time.Second))
		version := r.put(h, "@m/kept", map[string]string{"v": "1"}, ttl(30*time.Second))
		h.crash()
		r.leader()
		time.Sleep(10 * time.Second)
		r.propose(&state.RenewVariable{Path: "@m/kept", Check: version, TTL: structs.Duration(time.Hour)})
		other := r.leader()
		r.eventually("the end of its time", func() bool { return other.server.Store().Snapshot().Variable("@m/short") == nil })
		if v := other.server.Store().Snapshot().Variable("@m/kept"); v == nil || v.Version != version {
			t.Errorf("%+v", v)
		}
	})
}

// A node is told of what its work may read, once for each change, by whatever server it is in session with; and of nothing else.
func TestNodesAreToldOfItems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 1)
		r.leader()
		n := r.nodes[0]
		item := func(ref session.Ref) session.Item {
			n.mu.Lock()
			defer n.mu.Unlock()
			if i := n.items[ref]; i != nil {
				return *i
			}
			return session.Item{Missing: "nothing came"}
		}
		db, ops, web := session.VariableRef("eng/db"), session.VariableRef("ops/db"), session.ServiceRef("web")
		r.eventually("a session", func() bool { n.mu.Lock(); defer n.mu.Unlock(); return n.server != "" })
		n.up.Want([]session.Ref{db, ops, web}, nil)
		r.put(r.servers[0], "eng/db", map[string]string{"x": "1"})
		r.put(r.servers[0], "ops/db", map[string]string{"x": "1"})
		r.eventually("that it may not", func() bool { return strings.Contains(item(db).Missing, "may read it") })
		r.propose(&state.SubmitJob{Job: job("web", structs.ServiceJob, 2, func(j *structs.Job) {
			j.Role = "eng/web"
			j.Groups[0].Services = []*structs.Service{{Name: "web"}}
		})})
		r.eventually("work", func() bool { return r.running("web") == 2 })
		n.up.Want([]session.Ref{db, ops}, nil) // as for new work
		r.eventually("the value", func() bool { return item(db).Values["x"] == "1" && strings.Contains(item(ops).Missing, "may read it") })
		r.eventually("both allocations", func() bool { return len(item(web).Instances) == 2 })
		r.put(r.servers[1], "eng/db", map[string]string{"x": "2"})
		r.eventually("the next value", func() bool { return item(db).Values["x"] == "2" })

		n.mu.Lock()
		server, sent := n.server, n.sent
		n.mu.Unlock()
		time.Sleep(time.Minute)
		n.mu.Lock()
		again := n.sent
		n.mu.Unlock()
		if again != sent {
			t.Errorf("%d items were sent while nothing changed", again-sent)
		}
		for _, h := range r.servers {
			if h.server != nil && h.ip == server {
				h.crash()
			}
		}
		left := r.leader()
		r.put(left, "eng/db", map[string]string{"x": "3"})
		r.eventually("the value from another server", func() bool { return item(db).Values["x"] == "3" })
		r.propose(&state.ScaleJob{Name: "web", Group: "g", Count: 3})
		r.eventually("three allocations", func() bool { return len(item(web).Instances) == 3 })
		r.propose(&state.StopJob{Name: "web"})
		r.eventually("none", func() bool { return item(web).Missing == "" && len(item(web).Instances) == 0 })
	})
}
