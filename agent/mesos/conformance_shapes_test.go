package mesos_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/structs"
)

// updates changes what a framework says of itself.
func (f *framework) updates(change ...func(*wire.FrameworkInfo)) {
	f.r.t.Helper()
	for _, c := range change {
		c(&f.info)
	}
	res, err := f.post(context.Background(), f.at, &wire.Call{FrameworkID: f.info.ID, Type: new(wire.CallUpdateFramework), Update: &wire.UpdateFramework{FrameworkInfo: f.info}}, f.stream)
	f.refused("UPDATE_FRAMEWORK", 200, "", res, err)
}

// decline refuses offers for ever.
func (f *framework) decline(offers ...wire.Offer) {
	f.r.t.Helper()
	c := &wire.Decline{Filters: &wire.Filters{RefuseSeconds: new(1e9)}}
	for _, o := range offers {
		c.OfferIDs = append(c.OfferIDs, o.ID)
	}
	f.call(&wire.Call{Type: new(wire.CallDecline), Decline: c})
}

// quiet demands that nothing is offered for a while.
func (f *framework) quiet(when string) {
	f.r.t.Helper()
	f.r.pass(10 * time.Second)
	if f.offered() {
		f.r.t.Errorf("%s: it is offered %s", when, wire.JSON.Marshal(new(f.offer(""))))
	}
}

// named returns the resource of an offer with a name, nil when it has none.
func named(o *wire.Offer, name string) *wire.Resource {
	for i := range o.Resources {
		if o.Resources[i].Name == name {
			return &o.Resources[i]
		}
	}
	return nil
}

func withGPUs(r *region, e wire.Encoding) {
	plain, other := r.nodes[0], r.nodes[1]
	other.becomes(func(n *structs.Node) { n.Resources.Custom = map[string]structs.Milli{"gpus": 2000} })
	r.eventually("the region knows of the GPUs", func() bool { return r.snapshot().Node(other.id).Resources.Custom["gpus"] == 2000 })
	f := r.framework(home, e).begin()
	f.decline(f.offer(plain.id))
	f.quiet("without GPU_RESOURCES")
	f.updates(can(wire.CapabilityGpuResources))
	o := f.offer(other.id)
	if x := named(&o, "gpus"); x == nil || x.Type != wire.ValueScalar || x.Scalar.Value != 2 {
		r.t.Errorf("it is offered %s", wire.JSON.Marshal(&o))
	}
	runs := task(o, "one")
	runs.Resources = append(runs.Resources, scalar("gpus", 1))
	half := task(o, "half")
	half.Resources = append(half.Resources, scalar("gpus", 0.5))
	f.accept(o, 0, launch(runs, half))
	f.told("one", wire.TaskRunning)
	f.update("half", wire.TaskError)
	if o = f.offer(other.id); named(&o, "gpus") == nil || named(&o, "gpus").Scalar.Value != 1 {
		r.t.Errorf("it is offered %s", wire.JSON.Marshal(&o))
	}
	f.decline(o)
	// Another one, which begins with the capability.
	f = r.framework("10.0.2.2", e, can(wire.CapabilityGpuResources)).begin()
	if o = f.offer(other.id); named(&o, "gpus") == nil {
		r.t.Errorf("it is offered %s", wire.JSON.Marshal(&o))
	}
}

// volumesOf are the persistent volumes of an offer.
func volumesOf(o *wire.Offer) (out []wire.Resource) {
	for _, x := range o.Resources {
		if x.Disk != nil && x.Disk.Persistence != nil {
			out = append(out, x)
		}
	}
	return out
}

func sharedVolumes(r *region, e wire.Encoding) {
	disk := func(size float64) wire.Resource {
		x := scalar("disk", size)
		x.Role, x.Reservation = new("eng"), &wire.Reservation{}
		return x
	}
	volume := func(id string, shared bool) wire.Resource {
		x := disk(64)
		if x.Disk = (&wire.DiskInfo{Persistence: &wire.Persistence{ID: id}, Volume: &wire.Volume{ContainerPath: "data", Mode: wire.VolumeRW}}); shared {
			x.Shared = &wire.Shared{}
		}
		return x
	}
	create := func(id string, shared bool) wire.Operation {
		return wire.Operation{Type: new(wire.OperationCreate), ID: &wire.ID{Value: "create " + id}, Create: &wire.Volumes{Volumes: []wire.Resource{volume(id, shared)}}}
	}
	f := r.framework(home, e, inEng).begin()
	f.accept(f.offer(""), 0, reserve("", disk(256)), create("refused", true), create("own", false))
	f.outcome("create refused", wire.OperationError, false)
	f.hears(f.outcome("create own", wire.OperationFinished, true))
	f.decline(f.offer("")) // else it would be taken back by the change, which may be told later
	f.updates(can(wire.CapabilitySharedResources))
	f.call(&wire.Call{Type: new(wire.CallRevive)})
	var o wire.Offer
	offered := func(f *framework, ids ...string) {
		r.t.Helper()
		r.eventually("offered are "+strings.Join(ids, ", "), func() bool {
			if o = f.offer(""); len(volumesOf(&o)) != len(ids) {
				f.accept(o, 0)
				return false
			}
			for _, x := range volumesOf(&o) {
				if id := x.Disk.Persistence.ID; !slices.Contains(ids, id) || (x.Shared != nil) != (id == "both") {
					r.t.Errorf("offered is %s", wire.JSON.Marshal(&x))
				}
			}
			return true
		})
	}
	offered(f, "own")
	f.accept(o, 0, create("both", true))
	f.hears(f.outcome("create both", wire.OperationFinished, true))
	offered(f, "own", "both")
	// Two tasks have it at a time, and it is offered all the same.
	at := func(o wire.Offer, id string) wire.TaskInfo {
		t := task(o, id)
		t.Resources = append(t.Resources, volume("both", true))
		return t
	}
	f.accept(o, 0, launch(at(o, "one"), at(o, "two")))
	f.told("one", wire.TaskRunning)
	f.told("two", wire.TaskRunning)
	offered(f, "own", "both")
	f.accept(o, 1e9)
	// A framework of the role that does not have the capability is offered what is left.
	other := r.framework("10.0.2.2", e, inEng).begin()
	offered(other, "own")
	other.accept(o, 0)
	other.updates(can(wire.CapabilitySharedResources))
	offered(other, "own", "both")
}

func refined(r *region, e wire.Encoding) {
	in := func(refined bool, role string) func(*wire.FrameworkInfo) {
		return func(info *wire.FrameworkInfo) {
			if info.Role = &role; refined {
				can(wire.CapabilityReservationRefinement)(info)
			}
		}
	}
	stack := func(cpus float64, roles ...string) wire.Resource {
		x := scalar("cpus", cpus)
		for _, role := range roles {
			x.Reservations = append(x.Reservations, wire.Reservation{Type: new(wire.ReservationDynamic), Role: &role})
		}
		return x
	}
	f := r.framework(home, e, in(true, "eng/web")).begin()
	f.accept(f.offer(""), 0, reserve("outer", stack(2, "eng")), reserve("inner", stack(1, "eng", "eng/web")))
	f.hears(f.outcome("outer", wire.OperationFinished, true))
	f.hears(f.outcome("inner", wire.OperationFinished, true))
	depths := func(f *framework) (out string) {
		o := f.offer("")
		f.accept(o, 0)
		for _, x := range o.Resources {
			if x.Name == "cpus" {
				depth := string('0' + rune(len(x.Reservations)))
				if x.Reservation != nil {
					depth = "old"
				}
				out += " " + depth
			}
		}
		return out
	}
	r.eventually("all of it is offered", func() bool { return depths(f) == " 2 1 0" || depths(f) == " 1 2 0" })
	f.close()
	old := r.framework("10.0.2.2", e, in(false, "eng/web")).begin()
	r.eventually("what is refined is not offered", func() bool { return depths(old) == " old 0" || depths(old) == " old" })
	r.pass(time.Minute)
	if got := depths(old); strings.Count(got, "old") != 1 {
		r.t.Errorf("it is offered%s", got)
	}
}

func smallestOffers(r *region, e wire.Encoding) {
	filters := func(all ...map[string]*wire.Scalar) func(*wire.FrameworkInfo) {
		return func(info *wire.FrameworkInfo) {
			m := &wire.MinAllocatable{}
			for _, q := range all {
				m.Quantities = append(m.Quantities, wire.Quantities{Quantities: q})
			}
			info.OfferFilters = map[string]*wire.OfferFilters{"*": {Smallest: m}}
		}
	}
	is := func(name string, x float64) map[string]*wire.Scalar { return map[string]*wire.Scalar{name: {Value: x}} }
	f := r.framework(home, e, filters(map[string]*wire.Scalar{"cpus": {Value: 4}, "mem": {Value: 20000}})).begin() // 8 cores, 16384 MB
	f.quiet("one of two amounts is not there")
	f.updates(filters(is("cpus", 9), is("mem", 1e6)))
	f.quiet("neither of two bundles is there")
	f.updates(filters(is("cpus", 9), is("mem", 16000)))
	o := f.offer("")
	hog := task(o, "hog") // leaves 8 MB and hardly a core
	hog.Resources = []wire.Resource{scalar("cpus", 7.995), scalar("mem", 16384-8)}
	f.accept(o, 0, launch(hog))
	f.told("hog", wire.TaskRunning)
	f.quiet("what is left is too small for it")
	f.updates(func(info *wire.FrameworkInfo) { info.OfferFilters = nil })
	f.quiet("what is left is too small for anybody")
	f.updates(filters(is("disk", 1)))
	if o = f.offer(""); named(&o, "cpus") == nil || named(&o, "cpus").Scalar.Value != 0.005 || named(&o, "mem").Scalar.Value != 8 {
		r.t.Errorf("it is offered %s", wire.JSON.Marshal(&o))
	}
	f.decline(o)
	// What cannot be is refused, and of a role that is not its own.
	f = r.framework("10.0.2.2", e, filters(is("cpus", -1)))
	if err := f.subscribe(r.leader()); err == nil || !strings.Contains(err.Error(), "ERROR") || !strings.Contains(err.Error(), "Offer filters") {
		r.t.Errorf("a filter of less than nothing: %v", err)
	}
	f = r.framework("10.0.2.3", e, filters(is("cpus", 1)), inEng)
	if err := f.subscribe(r.leader()); err == nil || !strings.Contains(err.Error(), "ERROR") || !strings.Contains(err.Error(), "not one of the framework's roles") {
		r.t.Errorf("a filter of another role: %v", err)
	}
}

func constrained(r *region, e wire.Encoding) {
	near, far := r.nodes[0], r.nodes[1]
	near.becomes(func(n *structs.Node) { n.Meta = map[string]string{"rack": "r1"} })
	far.becomes(func(n *structs.Node) { n.Meta, n.Datacenter = map[string]string{"rack": "r12"}, "dc2" })
	r.eventually("the region knows the racks", func() bool {
		return r.snapshot().Node(near.id).Meta["rack"] == "r1" && r.snapshot().Node(far.id).Meta["rack"] == "r12"
	})
	rack := wire.Selector{Attribute: new("rack")}
	pseudo := func(x wire.PseudoAttribute) wire.Selector { return wire.Selector{Pseudo: &x} }
	one := func(s wire.Selector, p wire.Predicate) []wire.ConstraintGroup {
		return []wire.ConstraintGroup{{Constraints: []wire.AttributeConstraint{{Selector: s, Predicate: p}}}}
	}
	equals := func(text string) wire.Predicate {
		return wire.Predicate{Equals: &wire.Text{Value: text}}
	}
	for name, c := range map[string]struct {
		groups []wire.ConstraintGroup
		is     []*node
	}{
		"a rack":                         {one(rack, equals("r1")), []*node{near}},
		"a pattern, whole":               {one(rack, wire.Predicate{Matches: &wire.TextMatch{Regex: "r[0-9]"}}), []*node{near}},
		"no pattern":                     {one(rack, wire.Predicate{NotMatches: &wire.TextMatch{Regex: "r[0-9]"}}), []*node{far}},
		"any of two groups":              {append(one(rack, equals("r1")), one(rack, equals("r12"))...), []*node{near, far}},
		"a zone":                         {one(pseudo(wire.PseudoZone), equals("dc2")), []*node{far}},
		"a region":                       {one(pseudo(wire.PseudoRegion), equals("global")), []*node{near, far}},
		"another region":                 {one(pseudo(wire.PseudoRegion), equals("moon")), nil},
		"an attribute that no agent has": {one(wire.Selector{Attribute: new("floor")}, wire.Predicate{Exists: &wire.Exists{}}), nil},
	} {
		f := r.framework(home, e)
		f.constraints = &wire.OfferConstraints{RoleConstraints: map[string]*wire.RoleConstraints{"*": {Groups: c.groups}}}
		f.begin()
		for _, n := range c.is {
			f.decline(f.offer(n.id))
		}
		f.quiet(name)
		f.call(&wire.Call{Type: new(wire.CallTeardown)})
		f.close()
	}
}

func whoIsWhere(r *region, e wire.Encoding) {
	n := r.nodes[0]
	n.becomes(func(n *structs.Node) { n.Meta = map[string]string{"rack": "r1"} })
	r.eventually("the region knows the rack", func() bool { return r.snapshot().Node(n.id).Meta["rack"] == "r1" })
	f := r.framework(home, e).begin()
	m := f.master
	if m == nil || m.ID == "" || m.Port != 5050 || m.IP != 0x0100000a || wire.TextOf(m.Hostname) != "10.0.0.1" || m.Address == nil || m.Address.Port != 5050 {
		r.t.Errorf("the master is %+v", m)
	}
	o := f.offer("")
	f.accept(o, 0, launch(guest(o, "one", "x"), guest(o, "two", "y"), task(o, "three")))
	f.told("three", wire.TaskRunning)
	other := r.framework("10.0.2.2", e).begin()
	for f, want := range map[*framework]string{f: "x y", other: ""} {
		o = f.offer("")
		var ids []string
		for _, id := range o.ExecutorIDs {
			ids = append(ids, id.Value)
		}
		slices.Sort(ids)
		if got := strings.Join(ids, " "); got != want {
			r.t.Errorf("the executors are %q, want %q", got, want)
		}
		if o.FrameworkID != *f.info.ID || o.AgentID.Value != string(n.id) || o.Hostname != n.ip || o.URL == nil || o.URL.Scheme != "http" || wire.TextOf(o.URL.Path) != "/slave(1)" ||
			wire.TextOf(o.URL.Address.IP) != n.ip || o.URL.Address.Port != 5051 {
			r.t.Errorf("it is offered %s", wire.JSON.Marshal(&o))
		}
		if len(o.Attributes) != 1 || o.Attributes[0].Name != "rack" || o.Attributes[0].Text.Value != "r1" {
			r.t.Errorf("the attributes are %+v", o.Attributes)
		}
		if d := o.Domain; d == nil || d.Fault == nil || d.Fault.Region.Name != "global" || d.Fault.Zone.Name != "dc1" {
			r.t.Errorf("the domain is %+v", d)
		}
	}
}

func byRole(r *region, e wire.Encoding) {
	f := r.framework(home, e, func(i *wire.FrameworkInfo) {
		i.Roles = []string{"eng", "ops"}
		can(wire.CapabilityMultiRole)(i)
	})
	f.suppressed = []string{"ops", "eng"}
	f.begin()
	f.quiet("all is suppressed")
	call := func(kind wire.CallType, roles ...string) {
		r.t.Helper()
		f.call(&wire.Call{Type: &kind, Revive: &wire.Roles{Roles: roles}, Suppress: &wire.Roles{Roles: roles}})
	}
	of := func(role string) wire.Offer {
		r.t.Helper()
		o := f.offer("")
		if *o.Allocation.Role != role {
			r.t.Errorf("it is offered %s, want one for %s", wire.JSON.Marshal(&o), role)
		}
		return o
	}
	for _, roles := range [][]string{{"eng", "web"}, {"eng", "a//b"}, {""}} {
		call(wire.CallRevive, roles...)
		f.quiet("a role is not its own")
	}
	call(wire.CallRevive, "ops")
	f.decline(of("ops"))
	f.quiet("the other role is suppressed")
	call(wire.CallRevive, "ops") // which ends its filter
	o := of("ops")
	call(wire.CallSuppress, "ops", "web")
	f.accept(o, 0)
	f.accept(of("ops"), 0)
	f.decline(of("ops"))
	call(wire.CallRevive, "eng")
	o = of("eng")
	call(wire.CallSuppress, "eng")
	f.accept(o, 0)
	f.quiet("one role is suppressed, the other one refused")
}

func requested(r *region, e wire.Encoding) {
	f := r.framework(home, e).begin()
	f.decline(f.offer(""))
	ask := func(node string, resources ...wire.Resource) {
		x := wire.Request{Resources: resources}
		if node != "" {
			x.AgentID = &wire.ID{Value: node}
		}
		f.call(&wire.Call{Type: new(wire.CallRequest), Request: &wire.Requests{Requests: []wire.Request{x}}})
	}
	ask("", scalar("cpus", 9))
	ask("nowhere", scalar("cpus", 1))
	ask("", scalar("cpus", -1))
	f.quiet("no agent has what it asks for")
	ask("", scalar("cpus", 8), scalar("mem", 1024))
	f.decline(f.offer(""))
	ask(string(r.nodes[0].id), scalar("cpus", 1))
	f.offer("")
}

func staging(r *region, e wire.Encoding) {
	f := r.framework(home, e).begin()
	o := f.offer("")
	f.accept(o, 0, launch(guest(o, "one", "x")))
	w := r.nodes[0].custom("x")
	r.pass(time.Minute)
	f.none(wire.EventUpdate)
	for _, ask := range []*wire.Call{reconcile("one"), reconcile("one@" + string(r.nodes[0].id)), reconcile()} {
		f.call(ask)
		if x := f.update("one", wire.TaskStaging); *x.Reason != wire.ReasonReconciliation || *x.Source != wire.SourceMaster || x.UUID != nil || x.ExecutorID.Value != "x" {
			r.t.Errorf("it is told %s", wire.JSON.Marshal(x))
		}
		r.pass(time.Second)
		f.none(wire.EventUpdate)
	}
	r.nodes[0].says(w, "one", structs.TaskRunning)
	f.told("one", wire.TaskRunning)
	f.call(reconcile())
	f.update("one", wire.TaskRunning)
}

func messages(r *region, e wire.Encoding) {
	f := r.framework(home, e).begin()
	m := &server.ExecutorMessage{Framework: structs.FrameworkID(f.info.ID.Value), Node: r.nodes[0].id, Executor: "x", Data: []byte(odd)}
	r.check(f.at.server.MessageFramework(context.Background(), m))
	x := f.await("MESSAGE", func(e *wire.Event) bool { return *e.Type == wire.EventMessage }).Message
	if x.AgentID.Value != string(r.nodes[0].id) || x.ExecutorID.Value != "x" || string(x.Data) != odd {
		r.t.Errorf("it is told %+v", x)
	}
	m.Data = make([]byte, server.MaxMessage)
	r.check(f.at.server.MessageFramework(context.Background(), m))
	if x := f.await("MESSAGE", func(e *wire.Event) bool { return *e.Type == wire.EventMessage }).Message; len(x.Data) != len(m.Data) {
		r.t.Errorf("it is told %d bytes", len(x.Data))
	}
}

func madeAnew(r *region, e wire.Encoding) {
	f := r.framework(home, e, inEng).begin()
	f.accept(f.offer(""), 1e9, reserve("", reserved(1, "")))
	at := time.Now()
	o := f.offer("")
	if !slices.ContainsFunc(o.Resources, func(x wire.Resource) bool { return x.Name == "cpus" && x.Reservation != nil }) || time.Since(at) > 5*time.Second {
		r.t.Errorf("after %s it is offered %s", time.Since(at), wire.JSON.Marshal(&o))
	}
	f.accept(o, 1e9, launch())
	f.quiet("it refused all of it")
}

func labelled(r *region, e wire.Encoding) {
	f := r.framework(home, e, func(i *wire.FrameworkInfo) { i.Labels = wire.LabelsOf(map[string]string{"team": "data", "tier": ""}) }).begin()
	shown := func(want map[string]string) {
		r.t.Helper()
		if got := mesos.FrameworkInfo(r.snapshot().Framework(structs.FrameworkID(f.info.ID.Value))).Labels.Map(); !maps.Equal(got, want) {
			r.t.Errorf("it is shown with the labels %v", got)
		}
	}
	shown(map[string]string{"team": "data", "tier": ""})
	f.updates(func(i *wire.FrameworkInfo) { i.Labels = wire.LabelsOf(map[string]string{"team": "ml"}) })
	shown(map[string]string{"team": "ml"})
	f.info.Labels = wire.LabelsOf(map[string]string{"long": strings.Repeat("x", structs.MaxFrameworkLabels)})
	res, err := f.post(context.Background(), f.at, &wire.Call{FrameworkID: f.info.ID, Type: new(wire.CallUpdateFramework), Update: &wire.UpdateFramework{FrameworkInfo: f.info}}, f.stream)
	f.refused("UPDATE_FRAMEWORK", 400, "16384", res, err)
	shown(map[string]string{"team": "ml"})
}
