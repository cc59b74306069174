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
	items, err := s.unseal(ctx, v.Path, v.Sealed)
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
