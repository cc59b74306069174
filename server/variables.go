package server

import (
	"context"
	"strconv"
	"time"

	"github.com/proffer/proffer/drivers/pause"
	"github.com/proffer/proffer/server/seal"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// VariablePut is what is to be put.
type VariablePut struct {
	Path   string
	Items  map[string]string
	Secret bool
	TTL    structs.Duration
	Check  *uint64 // see state.PutVariable
}

// PutVariable seals values and puts them. The key is as in Propose.
func (s *Server) PutVariable(ctx context.Context, key, actor string, p *VariablePut) (index uint64, err error) {
	if err := structs.VariableProblem(p.Path); err != nil {
		return 0, err
	}
	if err := structs.ItemsProblems(p.Items).Err(); err != nil {
		return 0, structs.Errorf(structs.Invalid, "variable "+p.Path, "%w", err)
	}
	id, err := s.activeKey(ctx)
	if err != nil {
		return 0, err
	}
	sealed, err := s.ring.Seal(id, p.Path, p.Items)
	if err != nil {
		return 0, err
	}
	_, index, err = s.Propose(ctx, key, actor, &state.PutVariable{Path: p.Path, Secret: p.Secret, Sealed: sealed, Size: seal.Size(p.Items), TTL: p.TTL, Check: p.Check})
	return index, err
}

// OpenVariable returns what a variable holds; NotFound when it is not there, or its time is over.
func (s *Server) OpenVariable(ctx context.Context, snap *state.Snapshot, path string) (*structs.Variable, map[string]string, error) {
	v := snap.Variable(path)
	if v == nil || v.Gone(structs.At(time.Now())) {
		return nil, nil, structs.Errorf(structs.NotFound, "variable "+strconv.Quote(path), "there is none")
	}
	items, err := s.openVariable(ctx, v)
	return v, items, err
}

// expireMost bounds how many variables one entry removes.
const expireMost = 1000

// expire removes variables whose time is over, for one term.
func (s *Server) expire(term context.Context) {
	for term.Err() == nil {
		snap, now := s.store.Snapshot(), structs.At(time.Now())
		due, next := snap.Expired(now, expireMost)
		if len(due) == 0 {
			ctx, cancel := term, context.CancelFunc(func() {})
			if next != 0 {
				ctx, cancel = context.WithTimeout(term, next.Std().Sub(now.Std()))
			}
			s.store.Wait(ctx, snap.Index(), state.OfTable(state.Variables))
			cancel()
			continue
		}
		if _, _, err := s.raft.Propose(term, "", "server "+s.config.Name, &state.ExpireVariables{Paths: due}); err != nil {
			if term.Err() == nil {
				s.log.Warn("cannot remove variables whose time is over", "err", err)
			}
			pause.For(term, collectRest)
		}
	}
}

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
	c, budget := &state.ResealVariables{}, s.entryBytes/2
	var fault error // of the first one
	faults, lost := 0, map[string]error{}
	for v := range snap.Variables("") {
		if v.Sealed.Key == active.ID {
			continue
		}
		size := partBytes + len(v.Path) + len(v.Sealed.Data)
		if size > budget && len(c.Variables) > 0 {
			left = true
			break
		}
		sealed, err := s.resealed(ctx, v, active.ID, lost)
		if err != nil {
			if faults++; fault == nil {
				fault = err
			}
			continue
		}
		budget -= size
		c.Variables = append(c.Variables, &state.Resealed{Path: v.Path, Version: v.Version, Sealed: sealed})
	}
	more, err := s.resealVolumes(ctx, snap, active.ID, budget, c)
	left = left || more
	if err != nil {
		if faults++; fault == nil {
			fault = err
		}
	}
	if len(c.Variables)+len(c.Volumes) > 0 {
		if _, _, err := s.raft.Propose(ctx, "", "server "+s.config.Name, c); err != nil {
			return false, err
		}
	}
	if fault != nil && !left {
		return false, structs.Errorf(structs.KindOf(fault), "variables and secrets of volumes", "%d cannot be: %w", faults, fault)
	}
	return left, nil
}

// resealed seals a variable with another key. Of the keys that are lost each is asked for once.
func (s *Server) resealed(ctx context.Context, v *structs.Variable, key string, lost map[string]error) (structs.Sealed, error) {
	for _, id := range []string{key, v.Sealed.Key} {
		err, asked := lost[id]
		if !asked {
			if err = s.fetchKey(ctx, id); err != nil {
				lost[id] = err
			}
		}
		if err != nil {
			return structs.Sealed{}, err
		}
	}
	items, err := s.ring.Open(v.Path, v.Sealed)
	if err != nil {
		return structs.Sealed{}, err
	}
	return s.ring.Seal(key, v.Path, items)
}
