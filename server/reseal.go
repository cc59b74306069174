package server

import (
	"context"
	"time"

	"github.com/proffer/proffer/drivers/pause"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// resealLook is how often reseal looks for what was sealed with an older key and came after the newest one.
const resealLook = time.Minute

// reseal seals what is sealed with older keys with the active one, for one term.
func (s *Server) reseal(term context.Context) {
	for term.Err() == nil {
		snap := s.store.Snapshot()
		left, err := s.resealSome(term, snap)
		switch {
		case left:
		case err != nil:
			if term.Err() == nil {
				s.log.Warn("cannot seal all with the newest key", "err", err)
			}
			pause.For(term, collectRest)
		default:
			ctx, cancel := context.WithTimeout(term, resealLook)
			s.store.Wait(ctx, snap.Index(), state.OfTable(state.RegionKeys))
			cancel()
		}
	}
}

// resealSome is reseal for what one entry takes; left says that there may be more. What cannot be opened now is left out, and is the
// error when there is no more.
func (s *Server) resealSome(ctx context.Context, snap *state.Snapshot) (left bool, err error) {
	active := snap.ActiveKey()
	if active == nil {
		return false, nil
	}
	r := &resealing{server: s, key: active.ID, budget: s.entryBytes / 2, lost: map[string]error{}}
	left = r.all(ctx, snap)
	if len(r.command.Variables)+len(r.command.Volumes) > 0 {
		if _, _, err := s.raft.Propose(ctx, "", "server "+s.config.Name, &r.command); err != nil {
			return false, err
		}
	}
	if r.fault != nil && !left {
		return false, structs.Errorf(structs.KindOf(r.fault), "variables and secrets of volumes", "%d cannot be: %w", r.faults, r.fault)
	}
	return left, nil
}

// resealing makes a command that seals with another key.
type resealing struct {
	server  *Server
	key     string
	command state.ResealVariables
	budget  int // bytes that the command may still have

	lost   map[string]error // keys that nobody has, each of which is asked for once
	fault  error            // the first of what cannot be sealed
	faults int
}

// all looks at everything that may be sealed. left: there is more than fits.
func (r *resealing) all(ctx context.Context, snap *state.Snapshot) (left bool) {
	for v := range snap.Variables("") {
		if v.Sealed.Key == r.key {
			continue
		}
		sealed, ok := r.sealed(ctx, v.Path, v.Sealed, nil)
		if ok && !r.fits(v.Path, sealed) {
			return true
		}
		if ok {
			r.command.Variables = append(r.command.Variables, &state.Resealed{Path: v.Path, Version: v.Version, Sealed: sealed})
		}
	}
	for v := range snap.Volumes() {
		if v.CSI == nil || v.CSI.Sealed.Key == r.key || v.CSI.Sealed.Key == "" && len(v.CSI.Secrets) == 0 {
			continue
		}
		sealed, ok := r.sealed(ctx, volumePath(v.Name), v.CSI.Sealed, v.CSI.Secrets)
		if ok && !r.fits(v.Name, sealed) {
			return true
		}
		if ok {
			r.command.Volumes = append(r.command.Volumes, &state.ResealedVolume{Name: v.Name, ID: v.ID, Was: v.CSI.Sealed.Key, Sealed: sealed})
		}
	}
	return false
}

// fits takes so much of the budget. The first one always fits.
func (r *resealing) fits(name string, sealed structs.Sealed) bool {
	r.budget -= partBytes + len(name) + len(sealed.Data)
	return r.budget >= 0 || len(r.command.Variables)+len(r.command.Volumes) == 0
}

// sealed seals with the key what is sealed for a path with another one, or in clear when it has none; false: it is among the faults.
func (r *resealing) sealed(ctx context.Context, path string, was structs.Sealed, clear map[string]string) (structs.Sealed, bool) {
	sealed, err := r.try(ctx, path, was, clear)
	if err == nil {
		return sealed, true
	}
	if r.faults++; r.fault == nil {
		r.fault = err
	}
	return structs.Sealed{}, false
}

func (r *resealing) try(ctx context.Context, path string, was structs.Sealed, clear map[string]string) (structs.Sealed, error) {
	if err := r.has(ctx, r.key); err != nil {
		return structs.Sealed{}, err
	}
	if was.Key != "" {
		if err := r.has(ctx, was.Key); err != nil {
			return structs.Sealed{}, err
		}
		var err error
		if clear, err = r.server.ring.Open(path, was); err != nil {
			return structs.Sealed{}, err
		}
	}
	return r.server.ring.Seal(r.key, path, clear)
}

// has makes sure that this server has a key.
func (r *resealing) has(ctx context.Context, id string) error {
	if err := r.lost[id]; err != nil {
		return err
	}
	err := r.server.fetchKey(ctx, id)
	if err != nil {
		r.lost[id] = err
	}
	return err
}
