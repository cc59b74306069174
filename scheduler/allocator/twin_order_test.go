package allocator

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/proffer/proffer/structs"
)

// order serves what waits of the contract, one slot after the other, as if there were room for each and no offer were out.
func (w *twin) order() (out []string) {
	w.offers = nil
	for {
		var all []candidate
		for _, r := range w.requests {
			if len(r.pending) == 0 || r.gang != nil || !w.mayHold(r) {
				continue
			}
			c := candidate{band: r.Priority.Band, role: r.Role, framework: r.Framework, level: r.Priority.Level, seq: r.Seq, id: r.ID, request: r}
			if c.band >= structs.Production && !w.guaranteed(r.Role, r.Ask.Resources) {
				c.band = structs.BatchBand
			}
			all = append(all, c)
		}
		all = append(all, w.gangsThatMay()...)
		if len(all) == 0 {
			return out
		}
		c := w.first(all)
		if c.gang != nil {
			for _, r := range w.largestFirst(c.gang) {
				for range r.pending {
					w.serving(c)
					w.holds = append(w.holds, &twinHold{node: "nowhere", framework: r.Framework, role: r.Role, tag: tag{r.Owner, r.FrameworkScheduler},
						amount: r.Ask.Resources, band: r.Priority.Band})
				}
				r.pending = nil
			}
			out = append(out, fmt.Sprintf("%s as %s", c.gang.id, c.band))
			continue
		}
		r := c.request
		r.pending = r.pending[1:]
		w.serving(c)
		w.holds = append(w.holds, &twinHold{node: "nowhere", framework: r.Framework, role: r.Role, tag: tag{r.Owner, r.FrameworkScheduler},
			amount: r.Ask.Resources, band: r.Priority.Band})
		out = append(out, fmt.Sprintf("%s as %s", r.ID, c.band))
	}
}

// TestOrderEqualsContract lives a random life, and then serves what waits without nodes: every slot in the order that the
// contract says. The turns are the positions in it, and asking changes nothing.
func TestOrderEqualsContract(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newTwin()
		w.options = drawOptions(t)
		w.keepAfter = 12e9
		w.options.KeepAfter = w.keepAfter
		a := New(w.options)
		w.ord = func(id structs.NodeID) int { return a.nodes[id].Ord }
		now := structs.Time(1e9)
		for seq := range uint64(rapid.IntRange(1, 20).Draw(t, "steps")) {
			for range rapid.IntRange(1, 3).Draw(t, "inputs") {
				input(t, a, w, seq+1, now)
				w.forgetGroups()
				w.comeAndGo()
			}
			now += structs.Time(rapid.IntRange(0, 3).Draw(t, "time")) * 4e9
			if rapid.Bool().Draw(t, "step") {
				w.step(now)
				a.Step(now, 0)
			}
		}
		before := a.Describe()
		var ids []string
		for id := range a.requests {
			ids = append(ids, id)
		}
		turns := a.Order().Turns(ids, 1000)
		standing := a.Order().Roles()
		var got []string
		o := a.Order()
		o.giveWay()
		o.serve(1000, func(of []*request, band structs.Band) bool {
			id := of[0].ID
			if of[0].gang != nil {
				id = of[0].gang.id
			}
			got = append(got, fmt.Sprintf("%s as %s", id, band))
			return true
		})
		if after := a.Describe(); after != before {
			t.Fatalf("asking changed\n%sto\n%s", before, after)
		}
		for _, r := range a.Roles() {
			i := slices.IndexFunc(standing, func(s *structs.RoleStanding) bool { return s.Role == r.Role })
			if i < 0 || standing[i].Share != r.Share || standing[i].Waiting < r.Waiting || standing[i].Rank != nil && standing[i].Rank.At > standing[i].Rank.Of {
				t.Fatalf("%+v, and the standings are %+v", r, standing)
			}
		}
		want := w.order()
		if !slices.Equal(got, want) {
			t.Fatalf("order\n  %s\ncontract\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
		}
		for _, id := range ids {
			thing := id
			if g := a.requests[id].gang; g != nil {
				if thing = g.id; len(a.requests[id].pending) == 0 {
					thing = "nothing"
				}
			}
			at := 1 + slices.IndexFunc(want, func(text string) bool { return strings.HasPrefix(text, thing+" ") })
			turn := turns[id]
			switch {
			case at == 0 && (turn == nil || turn.Held != "" && turn.At == 0):
			case at == 0 || turn == nil || turn.At != at || turn.More:
				t.Fatalf("%s is number %d in\n  %s\nand its turn is %+v", id, at, strings.Join(want, "\n  "), turn)
			}
		}
	})
}

// What an Order copies of an account is written by hand: a new field has to be thought of there.
func TestOrderCopiesAccounts(t *testing.T) {
	for kind, known := range map[reflect.Type][]string{
		reflect.TypeFor[account](): {"name", "path", "parent", "weight", "used", "high", "staying", "share", "policy", "sorter", "hash", "last", "chance",
			"active", "at", "spec", "roles", "own", "limit", "guarantee", "maxAsk", "closed", "parts", "running", "most", "byOwner", "exempt",
			"parked", "demoted", "cut", "userLimit", "schedulerLimit", "clients", "client"},
		reflect.TypeFor[client](): {"account", "framework", "registered", "holds", "view", "groups", "queue", "wishes", "suppressed", "offers",
			"offered", "of", "terms", "seen", "suits"},
	} {
		for f := range kind.Fields() {
			if !slices.Contains(known, f.Name) {
				t.Errorf("%s has a new field %s: see whether Order must copy it (order.go), and note it here", kind, f.Name)
			}
		}
	}
}
