package server

import (
	"context"
	"reflect"
	"slices"
	"sync"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// What the loop does for external frameworks, and what is told of their offers.

// Offers returns the outstanding offers, which only the leader knows.
func (s *Server) Offers(ctx context.Context) (offers []*structs.Offer, err error) {
	err = s.onLeader(ctx, repeatable, func(ctx context.Context) error {
		offers, err = s.loop.offers(ctx)
		return err
	}, func(ctx context.Context, leader string) error {
		return s.config.Pool.Call(ctx, leader, "Server.Offers", &struct{}{}, &offers)
	})
	return offers, err
}

// OfferStatus says how a connected framework stands with offers, and why it does not see nodes.
func (s *Server) OfferStatus(ctx context.Context, id structs.FrameworkID) (status *structs.OfferStatus, err error) {
	err = s.onLeader(ctx, repeatable, func(context.Context) error {
		status, err = s.loop.offerStatus(id)
		return err
	}, func(ctx context.Context, leader string) error {
		status = &structs.OfferStatus{}
		return s.config.Pool.Call(ctx, leader, "Server.OfferStatus", &id, status)
	})
	return status, err
}

// OfferFigures returns how all frameworks stand with offers, without what they do not see; nothing on servers that do not
// lead.
func (s *Server) OfferFigures() (all []*structs.OfferStatus) {
	l, err := s.loop.get()
	if err != nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range l.allocator.Frameworks() {
		if status, ok := l.allocator.Offered(id, false); ok {
			all = append(all, status)
		}
	}
	return all
}

// offers returns the outstanding offers, oldest first.
func (o *offerLoop) offers(context.Context) ([]*structs.Offer, error) {
	l, err := o.get()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []*structs.Offer{}
	for _, offer := range l.allocator.Offers() {
		out = append(out, &offer)
	}
	return out, nil
}

func (o *offerLoop) offerStatus(id structs.FrameworkID) (*structs.OfferStatus, error) {
	l, err := o.get()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	status, ok := l.allocator.Offered(id, true)
	if !ok {
		return nil, structs.Errorf(structs.NotFound, "framework "+string(id), "it gets no offers: it is built in, or not connected")
	}
	return status, nil
}

// takeFramework tells the allocator of a framework that came, changed or went. Built-in ones make requests. The caller holds
// mu.
func (l *loop) takeFramework(old, now *structs.Framework) {
	switch {
	case now == nil && old.BuiltIn || now != nil && now.BuiltIn:
	case now == nil || now.Ended != 0:
		if old != nil {
			l.allocator.RemoveFramework(old.ID)
			l.dismiss(old.ID, state.WhyFrameworkRemoved)
		}
	case !now.Connected:
		l.allocator.Disconnect(now.ID)
		l.dismiss(now.ID, "its scheduler is away")
	case now.Connection != "" && (old == nil || old.Connection != now.Connection):
		l.subscribe(now)
	case now.Connection != "" && l.subs.active[now.ID] == nil: // see subscribe
	case old == nil || !old.Connected || old.Since != now.Since || old.Stated != now.Stated || !slices.Equal(old.Roles, now.Roles) || !reflect.DeepEqual(old.Terms, now.Terms):
		if err := l.allocator.SetFramework(now); err != nil {
			l.log.Error("a stored framework cannot be used", "framework", now.Name, "err", err)
		}
		if old != nil {
			l.allocator.Withdraw(now.ID, reshaped(old, now))
		}
	}
}

// reshaped reports whether offers look otherwise to a framework than they did, since it understands more or less.
func reshaped(old, now *structs.Framework) bool {
	return slices.ContainsFunc([]string{structs.CanHaveRoles, structs.CanRefineReservation, structs.CanShare},
		func(c string) bool { return old.Can(c) != now.Can(c) })
}

// dismiss ends the subscription of a framework. The caller holds mu.
func (l *loop) dismiss(id structs.FrameworkID, why string) {
	if sub := l.subs.active[id]; sub != nil {
		sub.end(structs.Errorf(structs.Conflict, frameworkObject(id), "%s", why))
		l.unsubscribe(id)
	}
}

// hoard records that a framework began or ceased to let offers end without an answer: it is shown with the framework, and
// in its events.
func (l *loop) hoard(term context.Context, helpers *sync.WaitGroup, h *allocator.Hoard) {
	cmd := &state.SetHoarding{Framework: h.Framework}
	if h.Over {
		l.log.Info("a framework answers offers again", "framework", h.Framework)
	} else {
		cmd.Hoarding = &h.Hoarding
		l.log.Warn("a framework does not answer its offers", "framework", h.Framework, "in a row", h.Ignored, "outstanding", h.Held)
	}
	helpers.Go(func() {
		_, _, err := l.server.raft.Propose(term, "", "server "+l.server.config.Name, cmd)
		if err != nil && structs.KindOf(err) != structs.NotFound && term.Err() == nil {
			l.log.Warn("cannot record who hoards offers", "framework", h.Framework, "err", err)
		}
	})
}
