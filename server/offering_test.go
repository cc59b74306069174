package server_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Settings of offers that change count at once on the leader, and on the next one.
func TestSettingsOfOffersChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 3)
		r.propose(&state.PutFramework{Framework: &structs.Framework{ID: "fe01", Name: "spark", Roles: []string{"eng"}, Connected: true}})
		outstanding := func() []*structs.Offer {
			offers, err := r.servers[0].server.Offers(context.Background())
			if err != nil {
				return nil // between leaders
			}
			return offers
		}
		r.eventually("every node is offered", func() bool { return len(outstanding()) == 3 })
		set := func(o allocator.Options) {
			for _, s := range r.servers {
				s.server.SetOffering(o)
			}
		}
		set(allocator.Options{MostOffers: 1, OfferTimeout: structs.Duration(2 * time.Second), Backoff: -1})
		begun := time.Now()
		r.eventually("one is out", func() bool { return len(outstanding()) == 1 })
		// What was out ends after two seconds, and nobody is offered it for five, since nobody answered.
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("the offers that were out ended after %s", took)
		}
		if o := outstanding()[0]; o.Expires != o.Made.Add(structs.Duration(2*time.Second)) {
			t.Errorf("an offer of %s ends at %s", o.Made, o.Expires)
		}
		check(t, r.leader().server.TransferLeadership(context.Background(), ""))
		r.eventually("one of another leader", func() bool {
			o := outstanding()
			return len(o) == 1 && o[0].Expires == o[0].Made.Add(structs.Duration(2*time.Second))
		})
		set(allocator.Options{})
		r.eventually("all again", func() bool { return len(outstanding()) == 3 })
	})
}
