package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/proffer/proffer/client/gossip"
	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/server/seal"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Keys that variables are sealed with are never in the state, so neither in the log nor in snapshots. A key is on the disks of most
// servers before anything is sealed with it, and a server that lacks one gets it from a peer: as many servers can be lost as of the log.

const keyCall = 5 * time.Second // to another server

// opKeep marks the error of keys that too few servers keep: all of them were asked just now.
const opKeep = "keep"

// unseal opens what is sealed for a path. When this server lacks the key it asks the others for it.
func (s *Server) unseal(ctx context.Context, path string, sealed structs.Sealed) (map[string]string, error) {
	items, err := s.ring.Open(path, sealed)
	if missing := (*seal.Missing)(nil); errors.As(err, &missing) {
		if err := s.fetchKey(ctx, sealed.Key); err != nil {
			return nil, err
		}
		items, err = s.ring.Open(path, sealed)
	}
	return items, err
}

// fetchKey gets a key from another server.
func (s *Server) fetchKey(ctx context.Context, id string) error {
	if _, has := s.ring.Key(id); has {
		return nil
	}
	asked := 0
	for _, m := range s.servers(gossip.Alive) {
		if m.Addr == s.config.Address {
			continue
		}
		asked++
		ctx, cancel := context.WithTimeout(ctx, keyCall)
		var key []byte
		err := s.config.Pool.Call(ctx, m.Addr, "Server.Key", &id, &key)
		cancel()
		if err == nil && seal.ID(key) == id {
			return s.ring.Add(key)
		}
	}
	return structs.Errorf(structs.Unavailable, "key "+structs.Short(id), "this server has not got it, and neither has any of the %d others that were asked", asked).
		Advise("start a server that has it, or bring it back with operator key import")
}

// keepKeys gets the keys that the state names and this server lacks, so that it has them when it is needed, and forgets those that the
// state named before and were removed since. One that a restored snapshot does not name was not removed.
func (s *Server) keepKeys() {
	wait := time.Second
	var before *state.Snapshot
	for s.ctx.Err() == nil {
		snap, missing := s.store.Snapshot(), 0
		if before != nil && before.Meta().Generation == snap.Meta().Generation {
			for k := range before.RegionKeys() {
				if snap.RegionKey(k.ID) == nil {
					s.forgetKey(k.ID)
				}
			}
		}
		before = snap
		for k := range snap.RegionKeys() {
			if err := s.fetchKey(s.ctx, k.ID); err != nil {
				missing++
				if wait == time.Second && s.ctx.Err() == nil {
					s.log.Warn("a key of the region is missing: what is sealed with it cannot be read from this server", "key", structs.Short(k.ID), "err", err)
				}
			}
		}
		if missing == 0 {
			wait = time.Second
			s.store.Wait(s.ctx, snap.Index(), state.OfTable(state.RegionKeys))
			continue
		}
		ctx, cancel := context.WithTimeout(s.ctx, wait)
		s.store.Wait(ctx, snap.Index(), state.OfTable(state.RegionKeys))
		cancel()
		wait = min(2*wait, time.Minute)
	}
}

func (s *Server) forgetKey(id string) {
	if err := s.ring.Drop(id); err != nil {
		s.log.Warn("a key of the region that was removed is still on the disk", "key", structs.Short(id), "err", err)
	}
}

// activeKey returns the id of the key to seal with, which this server has then. The first one is made by the leader.
func (s *Server) activeKey(ctx context.Context) (string, error) {
	snap := s.store.Snapshot()
	k := snap.ActiveKey()
	if k == nil {
		if err := s.RotateKey(ctx, ""); err != nil && structs.KindOf(err) != structs.Conflict {
			return "", err
		}
		snap, err := s.Read(ctx, false)
		if err != nil {
			return "", err
		}
		if k = snap.ActiveKey(); k == nil {
			return "", structs.Errorf(structs.Unavailable, "key of the region", "there is none").Advise("try again")
		}
	}
	return k.ID, s.fetchKey(ctx, k.ID)
}

// RotateKey makes a new key the active one in the place of expect (empty: there is none). What is sealed with others is sealed with
// it then, by and by; nobody who reads notices. It is a conflict when another one is active.
func (s *Server) RotateKey(ctx context.Context, expect string) error {
	return s.onLeader(ctx, once, func(ctx context.Context) error { return s.newKey(ctx, expect) },
		func(ctx context.Context, leader string) error {
			if err := s.config.Pool.Call(ctx, leader, "Server.RotateKey", &expect, &struct{}{}); err != nil {
				return err
			}
			_, err := s.Read(ctx, false)
			return err
		})
}

// newKey makes a key, has most servers keep it, and makes it the active one. The leader calls it.
func (s *Server) newKey(ctx context.Context, expect string) error {
	s.rotating.Lock()
	defer s.rotating.Unlock()
	if k := s.store.Snapshot().ActiveKey(); k != nil && k.ID != expect || k == nil && expect != "" {
		return structs.Errorf(structs.Conflict, "key of the region", "another key became the active one meanwhile").Advise("try again")
	}
	// A key that servers keep and that was not put to use is the next one: tries that fail do not fill the rings.
	if s.candidate == nil || s.store.Snapshot().RegionKey(seal.ID(s.candidate)) != nil {
		s.candidate = seal.NewKey()
	}
	if err := s.spreadKeys(ctx, s.candidate); err != nil {
		return err
	}
	_, _, err := s.raft.Propose(ctx, "", "server "+s.config.Name, &state.UseKey{ID: seal.ID(s.candidate), Expect: expect})
	if err == nil {
		s.candidate = nil
	}
	return err
}

// spreadKeys has most servers of the region keep keys, this one included.
func (s *Server) spreadKeys(ctx context.Context, keys ...[]byte) error {
	if err := s.ring.Add(keys...); err != nil {
		return err
	}
	peers, err := s.raft.Peers()
	if err != nil {
		return err
	}
	addresses := map[string]string{}
	for _, m := range s.servers(gossip.Alive) {
		addresses[m.ID] = m.Addr
	}
	var mu sync.Mutex
	var calls sync.WaitGroup
	voters, kept := 0, 0
	for _, p := range peers {
		if !p.Voter {
			continue
		}
		voters++
		if p.ID == s.config.ID {
			kept++
			continue
		}
		address := addresses[p.ID]
		if address == "" {
			continue
		}
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, keyCall)
			defer cancel()
			if err := s.config.Pool.Call(ctx, address, "Server.KeepKeys", &keys, &struct{}{}); err != nil {
				s.log.Warn("a server does not keep a new key of the region: it gets it later", "server", address, "err", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			kept++
		})
	}
	calls.Wait()
	if kept <= voters/2 {
		return &structs.Error{Kind: structs.Unavailable, Op: opKeep, Object: "key of the region",
			Why: fmt.Sprintf("%d of %d servers keep it, and most must", kept, voters), Do: "check with 'proffer server members' that most servers are alive"}
	}
	return nil
}

// ImportKeys has most servers keep keys that a backup brought.
func (s *Server) ImportKeys(ctx context.Context, keys [][]byte) error {
	return s.onLeader(ctx, repeatable, func(ctx context.Context) error { return s.spreadKeys(ctx, keys...) },
		func(ctx context.Context, leader string) error {
			return s.config.Pool.Call(ctx, leader, "Server.ImportKeys", &keys, &struct{}{})
		})
}

// ExportKeys returns the keys that the state names, for a backup. It is Unavailable when one of them is nowhere.
func (s *Server) ExportKeys(ctx context.Context) (keys [][]byte, err error) {
	snap, err := s.Read(ctx, false)
	if err != nil {
		return nil, err
	}
	for k := range snap.RegionKeys() {
		if err := s.fetchKey(ctx, k.ID); err != nil {
			return nil, err
		}
		key, _ := s.ring.Key(k.ID)
		keys = append(keys, key)
	}
	return keys, nil
}

// KeyStatus is a key of the region and who has it.
type KeyStatus struct {
	Key       *structs.RegionKey
	Variables int      // that are sealed with it
	Servers   []string // names of those that have it
	Asked     int      // servers that answered
}

// Keys says how the keys of the region are, the active one first.
func (s *Server) Keys(ctx context.Context) ([]*KeyStatus, error) {
	snap, err := s.Read(ctx, false)
	if err != nil {
		return nil, err
	}
	byID := map[string]*KeyStatus{}
	for k := range snap.RegionKeys() {
		byID[k.ID] = &KeyStatus{Key: k}
	}
	for v := range snap.Variables("") {
		if k := byID[v.Sealed.Key]; k != nil {
			k.Variables++
		}
	}
	var mu sync.Mutex
	var calls sync.WaitGroup
	for _, m := range s.servers(gossip.Alive) {
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, keyCall)
			defer cancel()
			has := s.ring.IDs()
			if m.Addr != s.config.Address {
				if err := s.config.Pool.Call(ctx, m.Addr, "Server.HasKeys", &struct{}{}, &has); err != nil {
					return
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for id, k := range byID {
				k.Asked++
				if slices.Contains(has, id) {
					k.Servers = append(k.Servers, m.Name)
				}
			}
		})
	}
	calls.Wait()
	list := slices.Collect(maps.Values(byID))
	for _, k := range list {
		slices.Sort(k.Servers)
	}
	slices.SortFunc(list, func(a, b *KeyStatus) int {
		switch {
		case a.Key.Active != b.Key.Active && a.Key.Active:
			return -1
		case a.Key.Active != b.Key.Active:
			return 1
		case a.Key.CreateIndex > b.Key.CreateIndex:
			return -1
		}
		return 1
	})
	return list, nil
}

func (s *Server) serveKeys() {
	rpc.Handle(s.config.RPC, "Server.Key", func(_ context.Context, id *string) (*[]byte, error) {
		key, ok := s.ring.Key(*id)
		if !ok {
			return nil, structs.Errorf(structs.NotFound, "key "+structs.Short(*id), "server %s has not got it", s.config.Name)
		}
		return &key, nil
	})
	rpc.Handle(s.config.RPC, "Server.KeepKeys", func(_ context.Context, keys *[][]byte) (*struct{}, error) {
		return &struct{}{}, s.ring.Add(*keys...)
	})
	rpc.Handle(s.config.RPC, "Server.HasKeys", func(context.Context, *struct{}) (*[]string, error) {
		ids := s.ring.IDs()
		return &ids, nil
	})
	rpc.Handle(s.config.RPC, "Server.RotateKey", func(ctx context.Context, expect *string) (*struct{}, error) {
		return &struct{}{}, asLeader(s.newKey(ctx, *expect))
	})
	rpc.Handle(s.config.RPC, "Server.ImportKeys", func(ctx context.Context, keys *[][]byte) (*struct{}, error) {
		return &struct{}{}, asLeader(s.spreadKeys(ctx, *keys...))
	})
}
