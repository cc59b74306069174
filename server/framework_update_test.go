package server_test

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/structs"
)

// has waits until the good offers of a framework are those of so many nodes, each in the role, and returns them.
func (s *scheduler) has(role string, nodes int) (out map[structs.OfferID]*server.FrameworkOffer) {
	s.r.t.Helper()
	s.r.eventually("it has its offers", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		out = map[structs.OfferID]*server.FrameworkOffer{}
		for id, o := range s.offers {
			if o.Role != role {
				return false
			}
			out[id] = o
		}
		return len(out) == nodes
	})
	return out
}

func (s *scheduler) update(f *structs.Framework) error {
	return s.host.server.UpdateFramework(context.Background(), "test", s.sub.Connection, f)
}

// A framework changes what it wants without a new subscription: offers that no longer fit are taken back, the others stay.
func TestFrameworkChangesWhatItWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 2)
		f := eng("spark")
		f.Principal = "ann"
		s := r.subscribe(f)
		f.ID = s.sub.Framework
		both := s.has("eng", 2)

		only := *f
		only.Name, only.Principal = "spark-2", "" // it has one
		only.Terms = map[string]*structs.OfferTerms{"eng": {Where: [][]*structs.Constraint{{{Attribute: "${node.name}", Operator: "=", Value: "node1"}}}}}
		check(t, s.update(&only))
		for id, o := range s.has("eng", 1) {
			if both[id] == nil || o.NodeName != "node1" {
				t.Errorf("offer %s of %s is left", id, o.NodeName)
			}
		}

		several := only
		several.Terms, several.Roles, several.Capabilities = nil, []string{"web"}, []string{structs.CanHaveRoles}
		check(t, s.update(&several))
		left := s.has("web", 2)

		shared := several
		shared.Capabilities = []string{structs.CanHaveRoles, structs.CanShare}
		check(t, s.update(&shared))
		r.eventually("offers are made anew for who understands more", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			for id := range left {
				if s.offers[id] != nil {
					return false
				}
			}
			return len(s.offers) == 2
		})

		// What it suppressed meanwhile is revived, since it does not say so again.
		check(t, s.host.server.Suppress(s.sub.Framework, s.sub.Connection, nil))
		for id := range s.has("web", 2) {
			check(t, s.host.server.Decline(s.sub.Framework, s.sub.Connection, []structs.OfferID{id}, allocator.Filter{}))
			s.mu.Lock()
			delete(s.offers, id)
			s.mu.Unlock()
		}
		time.Sleep(time.Minute)
		s.has("web", 0)
		check(t, s.update(&shared))
		s.has("web", 2)
		quiet := shared
		quiet.Terms = map[string]*structs.OfferTerms{"web": {Suppressed: true}}
		check(t, s.update(&quiet))

		check(t, s.host.server.TransferLeadership(context.Background(), ""))
		<-s.done
		var kept *structs.Framework
		r.eventually("another server leads", func() bool {
			kept = r.snapshot().Framework(f.ID)
			return kept != nil && !kept.Connected
		})
		if kept.Name != "spark-2" || kept.Principal != "ann" || !slices.Equal(kept.Roles, shared.Roles) || !slices.Equal(kept.Capabilities, shared.Capabilities) ||
			!kept.Terms["web"].Suppressed {
			t.Errorf("the next leader has %+v", kept)
		}
	})
}

// What may not change, is wrong or is asked by somebody else alters nothing.
func TestRefusedChangesOfAFramework(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1)
		f := eng("spark")
		s := r.subscribe(f)
		f.ID = s.sub.Framework
		had := s.has("eng", 1)
		was := r.snapshot().Framework(f.ID)
		for _, c := range []struct {
			name   string
			change func(*structs.Framework)
			kind   structs.Kind
			want   string
		}{
			{"user", func(f *structs.Framework) { f.User = "ann" }, structs.Invalid, "'FrameworkInfo.user' is not supported"},
			{"principal", func(f *structs.Framework) { f.Principal = "ann" }, structs.Invalid, "'FrameworkInfo.principal' is not supported"},
			{"checkpoint", func(f *structs.Framework) { f.Checkpoint = true }, structs.Invalid, "'FrameworkInfo.checkpoint' is not supported"},
			{"no role", func(f *structs.Framework) { f.Roles = nil }, structs.Invalid, "roles"},
			{"a bad role", func(f *structs.Framework) { f.Roles = []string{"a//b"} }, structs.Invalid, "role"},
			{"terms of another role", func(f *structs.Framework) { f.Terms = map[string]*structs.OfferTerms{"web": {}} }, structs.Invalid, "web"},
			{"an unknown id", func(f *structs.Framework) { f.ID = "nobody" }, structs.NotFound, "cannot be found"},
		} {
			wish := *f
			c.change(&wish)
			if err := s.update(&wish); structs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if err := s.host.server.UpdateFramework(context.Background(), "test", "another", f); structs.KindOf(err) != structs.Invalid {
			t.Errorf("in another subscription: %v", err)
		}
		if now := r.snapshot().Framework(f.ID); now != was {
			t.Errorf("it is %+v", now)
		}
		if now := s.has("eng", 1); !reflect.DeepEqual(had, now) {
			t.Errorf("its offers are %v", now)
		}
	})
}
