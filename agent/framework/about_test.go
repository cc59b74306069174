package framework_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/framework"
	"github.com/proffer/proffer/agent/framework/frameworktest"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// viewer is a scheduler that looks at its offers, and keeps the newest when it is to.
type viewer struct {
	d          *framework.Driver
	seen       map[string]bool // node and role
	keep       bool
	newest     *framework.Offer
	subs       int
	operations map[string]string
}

func (v *viewer) Offers(_ context.Context, offers []*framework.Offer) {
	for _, o := range offers {
		v.seen[o.Attributes["name"]+" "+o.Role] = true
		if v.keep {
			v.d.Hold(o)
			v.newest = o
		}
	}
}

func (v *viewer) Rescinded(_ context.Context, offer string) {
	if v.newest != nil && v.newest.ID == offer {
		v.newest = nil
	}
}

func (v *viewer) Operation(_ context.Context, o *framework.OperationUpdate) error {
	v.operations[o.ID] = o.State + " " + o.Message
	return nil
}
func (v *viewer) Subscribed(context.Context, framework.Subscription) error { v.subs++; return nil }
func (v *viewer) Update(context.Context, *framework.Update) error          { return nil }

// view is a region, in a bubble, of nodes 1, 2 and 3, the first in one rack and the others in another, whose scheduler declines what it is
// offered for a second.
type view struct {
	*frameworktest.Region
	t   *testing.T
	v   *viewer
	run *frameworktest.Running
}

func look(t *testing.T, change ...func(*framework.Config)) *view {
	v := &view{Region: frameworktest.Start(t, frameworktest.Config{Nodes: 3, Meta: func(i int) map[string]string {
		return map[string]string{"name": string(rune('1' + i)), "rack": []string{"r1", "r2", "r2"}[i]}
	}}), t: t, v: &viewer{seen: map[string]bool{}, operations: map[string]string{}}}
	c := framework.Config{Name: "test", ID: &frameworktest.MemoryID{}, Refuse: time.Second}
	for _, f := range change {
		f(&c)
	}
	v.run = v.Run(c, func(d *framework.Driver) framework.Scheduler { v.v.d = d; return v.v })
	v.Until("it is subscribed", func() bool { return v.subscriptions() == 1 })
	return v
}

func (v *view) do(f func(*viewer)) {
	v.t.Helper()
	if err := v.run.Driver.Do(v.t.Context(), func() { f(v.v) }); err != nil {
		v.t.Fatal(err)
	}
}

func (v *view) subscriptions() (n int) {
	v.do(func(v *viewer) { n = v.subs })
	return n
}

// sees demands that these are offered in the next while, and no others.
func (v *view) sees(want string) {
	v.t.Helper()
	time.Sleep(5 * time.Second) // for what was on its way
	v.do(func(v *viewer) { clear(v.seen) })
	time.Sleep(20 * time.Second)
	v.do(func(x *viewer) {
		if got := strings.Join(slices.Sorted(maps.Keys(x.seen)), ", "); got != want {
			v.t.Errorf("it is offered %q, want %q", got, want)
		}
	})
}

func TestOffersComeOfNodesThatMeetTheConstraints(t *testing.T) {
	rack := framework.Attribute("rack")
	for want, where := range map[string][]framework.Group{
		"1 *":           {{rack.Equals("r1")}},
		"2 *, 3 *":      {{rack.Differs("r1"), rack.Exists()}},
		"1 *, 2 *, 3 *": {{rack.Matches("r.")}, {rack.Missing()}},
		"1 *, 3 *":      {{rack.Equals("r1")}, {framework.Hostname.Matches("node3"), framework.Zone.MatchesNot("nowhere")}},
	} {
		bubble(t, func(t *testing.T) {
			look(t, func(c *framework.Config) { c.Constraints = framework.Constraints{"*": where} }).sees(want)
		})
	}
}

func TestWhatAFrameworkSaysOfItselfChanges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := look(t, func(c *framework.Config) {
			c.Constraints = framework.Constraints{"*": {{framework.Attribute("rack").Equals("r1")}}}
		})
		p.sees("1 *")
		change := func(f func(*framework.Config)) error { return p.run.Driver.Change(t.Context(), f) }
		for what, f := range map[string]func(*framework.Config){
			"a group without conditions": func(c *framework.Config) { c.Constraints["*"] = append(c.Constraints["*"], framework.Group{}) },
			"a role that is not one":     func(c *framework.Config) { c.Roles = append(c.Roles, "a//b") },
			"a pattern that is none":     func(c *framework.Config) { c.Constraints["*"] = []framework.Group{{framework.Hostname.Matches("(")}} },
			"no such capability":         func(c *framework.Config) { c.Capabilities = []string{"FLYING"} },
			"a time that is past":        func(c *framework.Config) { c.Failover = -1 },
			"constraints of no role":     func(c *framework.Config) { c.Roles = []string{"eng"} },
		} {
			if err := change(f); structs.KindOf(err) != structs.Invalid {
				t.Errorf("%s: %v", what, err)
			}
		}
		p.sees("1 *") // nothing changed, and the subscription goes on
		err := change(func(c *framework.Config) {
			c.Roles = append(c.Roles, "eng")
			c.Constraints = framework.Constraints{"*": {{framework.Hostname.Equals("node9")}}, "eng": {{framework.Hostname.Equals("node2")}}}
			c.WebURL, c.Name = "http://here/", "another"
		})
		if err != nil {
			t.Fatal(err)
		}
		p.sees("2 eng")
		if n := p.subscriptions(); n != 1 {
			t.Errorf("it subscribed %d times", n)
		}
		// The next subscription says the same.
		var said *wire.Subscribe
		p.OnCalls(func(c *wire.Call) frameworktest.Fault {
			if c.Subscribe != nil {
				said = c.Subscribe
			}
			return frameworktest.Arrives
		})
		p.Disconnect()
		p.Until("it is subscribed again", func() bool { return p.subscriptions() == 2 })
		p.sees("2 eng")
		p.OnCalls(nil)
		if said.FrameworkInfo.Name != "test" || *said.FrameworkInfo.WebURL != "http://here/" || len(said.OfferConstraints.RoleConstraints) != 2 {
			t.Errorf("it says %s", wire.JSON.Marshal(said))
		}
	})
}

func TestAChangeThatIsNotAnsweredIsUndone(t *testing.T) {
	for what, becomes := range map[string]frameworktest.Fault{"lost": frameworktest.LoseAnswer, "given up": frameworktest.Arrives} {
		bubble(t, func(t *testing.T) {
			p := look(t)
			p.sees("1 *, 2 *, 3 *")
			p.OnCalls(func(c *wire.Call) frameworktest.Fault {
				if c.Update != nil {
					time.Sleep(5 * time.Second)
					return becomes
				}
				return frameworktest.Arrives
			})
			patience := time.Second
			if becomes == frameworktest.LoseAnswer {
				patience = time.Minute
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err := p.run.Driver.Change(ctx, func(c *framework.Config) {
				c.Constraints = framework.Constraints{"*": {{framework.Hostname.Equals("node1")}}}
			})
			if structs.KindOf(err) != structs.Unknown {
				t.Fatalf("%s: it is told %v", what, err)
			}
			p.sees("1 *, 2 *, 3 *")
			if n := p.subscriptions(); n != 2 {
				t.Errorf("%s: it subscribed %d times", what, n)
			}
		})
	}
}

// What is wanted while a change is under way is not undone by it: the change says that nothing was.
func TestWhatIsWantedDuringAChangeIsOffered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := look(t)
		p.run.Driver.Want()
		p.sees("")
		p.OnCalls(func(c *wire.Call) frameworktest.Fault {
			if c.Update != nil {
				p.run.Driver.Want(framework.Want{Resources: shape(100)})
				time.Sleep(5 * time.Second)
			}
			return frameworktest.Arrives
		})
		if err := p.run.Driver.Change(t.Context(), func(c *framework.Config) { c.WebURL = "http://here/" }); err != nil {
			t.Fatal(err)
		}
		p.sees("1 *, 2 *, 3 *")
	})
}

func TestReservationsAndVolumes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := look(t, func(c *framework.Config) {
			c.Roles = []string{"eng"}
			c.Constraints = framework.Constraints{"eng": {{framework.Hostname.Equals("node2")}}}
		})
		p.do(func(v *viewer) { v.keep = true })
		// next is the newest offer, once it is so.
		next := func(what string, is func(*framework.Offer) bool) (found *framework.Offer) {
			t.Helper()
			p.Until(what, func() bool {
				p.do(func(v *viewer) {
					if v.newest != nil && is(v.newest) {
						found, v.newest = v.newest, nil
					}
				})
				return found != nil
			})
			return found
		}
		// accept uses an offer, and waits for what became of its operations.
		accept := func(o *framework.Offer, want map[string]string, operations ...framework.Operation) {
			t.Helper()
			if err := p.run.Driver.Accept(t.Context(), []*framework.Offer{o}, 0, operations...); err != nil {
				t.Fatal(err)
			}
			for id, state := range want {
				var got string
				p.Until("of "+id+" it is told", func() bool {
					p.do(func(v *viewer) { got = v.operations[id] })
					return got != ""
				})
				if !strings.HasPrefix(got, state+" ") {
					t.Errorf("%s is %s, want %s", id, got, state)
				}
			}
		}
		room := framework.Reservation{Labels: map[string]string{"for": "db"}, Resources: structs.Resources{CPU: 1000, Disk: 10 << 30}}
		data := framework.Volume{ID: "data", Size: 4 << 30, Path: "data", Labels: room.Labels}
		accept(next("an offer", func(*framework.Offer) bool { return true }), map[string]string{"reserve": "FINISHED", "create": "FINISHED"},
			framework.Reserve{ID: "reserve", Reservation: room}, framework.Create{ID: "create", Volumes: []framework.Volume{data}})
		o := next("a volume", func(o *framework.Offer) bool { return len(o.Volumes) == 1 })
		if v := o.Volumes[0]; v.ID != "data" || v.Size != 4<<30 || v.Role != "eng" || v.Path != "data" || v.Labels["for"] != "db" {
			t.Errorf("the volume is %+v", v)
		}
		if len(o.Reserved) != 1 || o.Reserved[0].Role != "eng" || o.Reserved[0].Static || o.Reserved[0].Labels["for"] != "db" ||
			o.Reserved[0].Resources.CPU != 1000 || o.Reserved[0].Resources.Disk != 6<<30 {
			t.Errorf("reserved is %+v", o.Reserved)
		}
		accept(o, map[string]string{"grow": "FINISHED"}, framework.Grow{ID: "grow", Volume: o.Volumes[0], By: 2 << 30})
		o = next("it is larger", func(o *framework.Offer) bool { return len(o.Volumes) == 1 && o.Volumes[0].Size == 6<<30 })
		accept(o, map[string]string{"too small": "ERROR"}, framework.Shrink{ID: "too small", Volume: o.Volumes[0], By: 7 << 30})
		o = next("an offer", func(*framework.Offer) bool { return true })
		accept(o, map[string]string{"too much": "ERROR"}, framework.Unreserve{ID: "too much",
			Reservation: framework.Reservation{Labels: room.Labels, Resources: structs.Resources{CPU: 3000}}})
		o = next("an offer", func(*framework.Offer) bool { return true })
		accept(o, map[string]string{"destroy": "FINISHED"}, framework.Destroy{ID: "destroy", Volumes: o.Volumes})
		o = next("it is gone", func(o *framework.Offer) bool {
			return len(o.Volumes) == 0 && len(o.Reserved) == 1 && o.Reserved[0].Resources.Disk == 10<<30
		})
		accept(o, map[string]string{"unreserve": "FINISHED"}, framework.Unreserve{ID: "unreserve", Reservation: o.Reserved[0]})
		next("nothing is reserved", func(o *framework.Offer) bool { return len(o.Reserved) == 0 })
	})
}
