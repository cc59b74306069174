package allocator

import (
	"strings"
	"testing"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// offersOf is a region of one node with 4 cores and 8GiB, and frameworks that want offers, each in a role of its name.
type offersOf struct {
	*testing.T
	a    *Allocator
	now  structs.Time
	node structs.Node
}

func newOffers(t *testing.T, frameworks ...string) *offersOf {
	return newOffersWith(t, Options{}, frameworks...)
}

func newOffersWith(t *testing.T, options Options, frameworks ...string) *offersOf {
	o := &offersOf{T: t, a: New(options), now: 1e9, node: structs.Node{ID: "a", Name: "a", Status: structs.NodeReady, Eligible: true,
		Resources: structs.Resources{CPU: 4000, Memory: 8 << 30}, PortRange: structs.Range{First: 100, Last: 199}}}
	o.grow(0)
	for _, f := range frameworks {
		o.must(o.a.SetFramework(&structs.Framework{ID: structs.FrameworkID(f), Roles: []string{f}}))
	}
	return o
}

func (o *offersOf) must(err error) {
	o.Helper()
	if err != nil {
		o.Fatal(err)
	}
}

// grow gives the node more cores.
func (o *offersOf) grow(cpu structs.Milli) {
	o.node.Resources.CPU += cpu
	n := o.node
	o.a.SetNode(&n)
}

// step returns the offers that are made when some time has passed.
func (o *offersOf) step(after structs.Duration) (made []*structs.Offer) {
	o.now = o.now.Add(after)
	for _, d := range o.a.Step(o.now, 0) {
		if d.Offer != nil {
			made = append(made, d.Offer)
		}
	}
	return made
}

// one returns the only offer that is made now.
func (o *offersOf) one(to structs.FrameworkID) *structs.Offer {
	o.Helper()
	made := o.step(0)
	if len(made) != 1 || made[0].Framework != to {
		o.Fatalf("%d offers, not one to %s: %s", len(made), to, o.a.Describe())
	}
	return made[0]
}

func (o *offersOf) none() {
	o.Helper()
	if made := o.step(0); len(made) != 0 {
		o.Fatalf("offered %+v", made[0])
	}
}

func cores(n structs.Milli) []Operation {
	return []Operation{{Priority: structs.DefaultPriority, Resources: structs.Resources{CPU: n * 1000, Memory: 1 << 30}}}
}

// TestWrongAnswers: each is refused with its kind and a reason that says what is wrong, and changes nothing.
func TestWrongAnswers(t *testing.T) {
	const second = structs.Duration(1e9)
	for name, c := range map[string]struct {
		kind structs.Kind
		says string
		do   func(o *offersOf, x *structs.Offer) error
	}{
		"an offer accepted twice": {structs.Conflict, "no longer valid", func(o *offersOf, x *structs.Offer) error {
			_, err := o.a.Accept("spark", []structs.OfferID{x.ID}, cores(1), Filter{}, o.now)
			o.must(err)
			o.a.Step(o.now, 0)
			_, err = o.a.Accept("spark", []structs.OfferID{x.ID}, cores(1), Filter{}, o.now)
			return err
		}},
		"an offer accepted after its time-out": {structs.Conflict, "past its time", func(o *offersOf, x *structs.Offer) error {
			_, err := o.a.Accept("spark", []structs.OfferID{x.ID}, cores(1), Filter{}, o.now.Add(DefaultOfferTimeout))
			return err
		}},
		"an offer accepted by another framework": {structs.Forbidden, "another framework", func(o *offersOf, x *structs.Offer) error {
			_, err := o.a.Accept("storm", []structs.OfferID{x.ID}, cores(1), Filter{}, o.now)
			return err
		}},
		"an offer accepted for more than it holds": {structs.Invalid, "needs cpu 5", func(o *offersOf, x *structs.Offer) error {
			_, err := o.a.Accept("spark", []structs.OfferID{x.ID}, cores(5), Filter{}, o.now)
			return err
		}},
		"an offer accepted for more than it holds together": {structs.Invalid, "operation 1", func(o *offersOf, x *structs.Offer) error {
			_, err := o.a.Accept("spark", []structs.OfferID{x.ID}, append(cores(2), cores(3)...), Filter{}, o.now)
			return err
		}},
		"an offer named twice": {structs.Invalid, "named twice", func(o *offersOf, x *structs.Offer) error {
			_, err := o.a.Accept("spark", []structs.OfferID{x.ID, x.ID}, cores(5), Filter{}, o.now)
			return err
		}},
		"an offer declined by another framework": {structs.Forbidden, "another framework", func(o *offersOf, x *structs.Offer) error {
			return o.a.Decline("storm", []structs.OfferID{x.ID}, Filter{second}, o.now)
		}},
		"an offer returned by another framework": {structs.Forbidden, "another framework", func(o *offersOf, x *structs.Offer) error {
			return o.a.Return("storm", []structs.OfferID{x.ID})
		}},
		"a role revived that is none of its own": {structs.Invalid, "none of its roles", func(o *offersOf, x *structs.Offer) error {
			return o.a.Revive("spark", "storm")
		}},
		"a role suppressed that is none of its own": {structs.Invalid, "none of its roles", func(o *offersOf, x *structs.Offer) error {
			return o.a.Suppress("spark", "spark", "storm")
		}},
		"a framework revived that nobody knows": {structs.NotFound, "not registered", func(o *offersOf, x *structs.Offer) error {
			return o.a.Revive("nobody")
		}},
		"a demand for less than nothing": {structs.Invalid, "negative", func(o *offersOf, x *structs.Offer) error {
			return o.a.Demand("spark", []Want{{Resources: structs.Resources{CPU: -1}}})
		}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			o := newOffers(t, "spark", "storm")
			x := o.one("spark")
			twice := strings.HasSuffix(name, "twice") && !strings.Contains(name, "named")
			before := o.a.Describe()
			err := c.do(o, x)
			if structs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, not %s with %q", err, c.kind, c.says)
			}
			if after := o.a.Describe(); after != before && !twice {
				t.Errorf("changed\n%s\nto\n%s", before, after)
			}
		})
	}
}

func TestSeveralOffersOfANodeInOneAccept(t *testing.T) {
	o := newOffers(t, "spark")
	first := o.one("spark")
	o.grow(2000)
	second := o.step(0)
	if len(second) != 0 {
		t.Fatalf("two cores without memory and ports beside an offer were offered: %+v", second[0])
	}
	o.node.Resources.Memory += 4 << 30
	o.node.PortRange.Last += 50
	o.grow(0)
	more := o.one("spark")
	if more.Node != first.Node || more.Resources.CPU != 2000 || more.Resources.Ports != 50 {
		t.Fatalf("the second offer is %+v", more)
	}
	places, err := o.a.Accept("spark", []structs.OfferID{first.ID, more.ID}, cores(5), Filter{DefaultRefuse}, o.now)
	o.must(err)
	if len(places) != 1 || places[0].Resources.CPU != 5000 {
		t.Fatalf("%+v", places)
	}
	o.none() // the core that is left has the filter of the accept
	if made := o.step(DefaultRefuse); len(made) != 1 || made[0].Resources.CPU != 1000 {
		t.Fatalf("after the filter: %+v", made)
	}
}

func TestOffersOfTwoNodesInOneAccept(t *testing.T) {
	o := newOffers(t, "spark")
	b := o.node
	b.ID, b.Name = "b", "b"
	o.a.SetNode(&b)
	made := o.step(0)
	before := o.a.Describe()
	_, err := o.a.Accept("spark", []structs.OfferID{made[0].ID, made[1].ID}, cores(5), Filter{}, o.now)
	if structs.KindOf(err) != structs.Invalid || before != o.a.Describe() {
		t.Errorf("%v", err)
	}
}

func TestMoreThanWhatWasRefusedIsOffered(t *testing.T) {
	o := newOffers(t, "spark")
	x := o.one("spark")
	o.must(o.a.Decline("spark", []structs.OfferID{x.ID}, Filter{MaxRefuse}, o.now))
	o.none()
	o.grow(1)
	o.one("spark")
}

func TestSuppressAndRevivePerRole(t *testing.T) {
	o := newOffers(t)
	f := &structs.Framework{ID: "spark", Roles: []string{"x", "y"}}
	o.must(o.a.SetFramework(f))
	x := o.one("spark")
	o.must(o.a.Decline("spark", []structs.OfferID{x.ID}, Filter{MaxRefuse}, o.now))
	if x.Role != "x" {
		t.Fatalf("the first is for %s", x.Role)
	}
	y := o.one("spark")
	o.must(o.a.Suppress("spark", "y"))
	o.must(o.a.Decline("spark", []structs.OfferID{y.ID}, Filter{}, o.now))
	o.none()
	o.must(o.a.Revive("spark", "y"))
	if again := o.one("spark"); again.Role != "y" {
		t.Fatalf("revived y, and %s was offered", again.Role)
	}
}

// An answer that the host refuses for other reasons gives the offers back without any filter.
func TestReturnHasNoConsequence(t *testing.T) {
	o := newOffers(t, "spark")
	for range 2 * FirmRefusals {
		x := o.one("spark")
		o.must(o.a.Return("spark", []structs.OfferID{x.ID}))
	}
	o.one("spark")
}

// A framework that declines at once, without a filter, and revives, may come first again and again. Others must get the node
// all the same.
func TestADeclinerDoesNotStarveOthers(t *testing.T) {
	o := newOffersWith(t, Options{Sorter: SorterFIFO}, "decliner", "patient")
	for i := range 2 * FirmRefusals {
		made := o.step(0)
		if len(made) == 1 && made[0].Framework == "patient" {
			return
		}
		if len(made) != 1 {
			t.Fatalf("round %d: %d offers", i, len(made))
		}
		o.must(o.a.Decline("decliner", []structs.OfferID{made[0].ID}, Filter{}, o.now))
		o.must(o.a.Revive("decliner"))
	}
	t.Fatalf("nobody else saw the node: %s", o.a.Describe())
}

// A hoarder is named once, and no more when it answers.
func TestAHoarderIsNamed(t *testing.T) {
	o := newOffers(t, "spark")
	named := []Hoard{}
	look := func(after structs.Duration) {
		o.now = o.now.Add(after)
		for _, d := range o.a.Step(o.now, 0) {
			if d.Hoard != nil {
				named = append(named, *d.Hoard)
			}
		}
	}
	for range 3 * HoardAfter {
		look(DefaultOfferTimeout)
		look(DefaultBackoff)
	}
	if len(named) != 1 || named[0].Framework != "spark" || named[0].Over || named[0].Ignored != HoardAfter {
		t.Fatalf("named %+v", named)
	}
	if s, _ := o.a.Offered("spark", false); !s.Hoarding || s.Expired < HoardAfter {
		t.Errorf("%+v", s)
	}
	look(DefaultBackoff)
	live := o.a.Offers()
	if len(live) != 1 {
		t.Fatalf("%d offers", len(live))
	}
	o.must(o.a.Decline("spark", []structs.OfferID{live[0].ID}, Filter{}, o.now))
	look(0)
	if len(named) != 2 || !named[1].Over {
		t.Errorf("named %+v", named)
	}
}

// When a constraint relaxes is told in whole seconds, and never as now when it is not yet.
func TestChangeIsToldInSeconds(t *testing.T) {
	c := Change{Change: placement.Change{Rule: "${meta.rack} = r1", After: structs.Duration(600e9)}, At: 600e9}
	for now, want := range map[structs.Time]string{2_483_234_918: "in 9m58s it no longer insists on ${meta.rack} = r1",
		600e9 - 1: "in 1s it no longer insists on ${meta.rack} = r1", 600e9: "it no longer insists on ${meta.rack} = r1, since it waited 10m"} {
		if got := c.Text(now); got != want {
			t.Errorf("at %d: %q, not %q", now, got, want)
		}
	}
}

// An offer says when its node will not be there.
func TestOffersSayTheWindow(t *testing.T) {
	a := New(Options{})
	window := structs.Window{Start: 3600e9, Duration: 60e9}
	a.SetNode(&structs.Node{ID: "n", Name: "n", Status: structs.NodeReady, Eligible: true, Resources: structs.Resources{CPU: 1000, Memory: 1 << 30, Ports: 1},
		Maintenance: &structs.Maintenance{Window: window}})
	if err := a.SetFramework(&structs.Framework{ID: "spark", Roles: []string{"eng"}}); err != nil {
		t.Fatal(err)
	}
	d := a.Step(1, 0)
	if len(d) != 1 || d[0].Offer == nil || d[0].Offer.Unavailable == nil || *d[0].Offer.Unavailable != window {
		t.Errorf("%+v", d)
	}
}
