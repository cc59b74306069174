package mesos_test

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// acceptOf is an ACCEPT of offers, whose rest is refused for ever.
func acceptOf(op wire.Operation, offers ...string) *wire.Call {
	c := &wire.Call{Type: new(wire.CallAccept), Accept: &wire.Accept{Operations: []wire.Operation{op}, Filters: &wire.Filters{RefuseSeconds: new(1e9)}}}
	for _, id := range offers {
		c.Accept.OfferIDs = append(c.Accept.OfferIDs, wire.ID{Value: id})
	}
	return c
}

func acceptTogether(r *region, e wire.Encoding) {
	f := r.framework(home, e).begin()
	other := r.framework("10.0.2.2", e)
	for i, offers := range []func(a, b string) []string{
		func(a, b string) []string { return nil },
		func(a, b string) []string { return []string{a, a} },
		func(a, b string) []string { return []string{a, b} },
		func(a, b string) []string { return []string{"gone", a, b} },
		func(a, b string) []string { return []string{a, "gone"} },
	} {
		// What was good in the one before is back at once, and nothing of it is refused.
		at := time.Now()
		a, b := f.offer(r.nodes[0].id), f.offer(r.nodes[1].id)
		if took := time.Since(at); took > 5*time.Second {
			r.t.Errorf("%d: it took %s until all is offered", i, took)
		}
		f.call(acceptOf(launch(task(a, "one")), offers(a.ID.Value, b.ID.Value)...))
		if x := f.update("one", wire.TaskLost); *x.Reason != wire.ReasonInvalidOffers || *x.Source != wire.SourceMaster || x.UUID != nil || x.Message == nil {
			r.t.Errorf("%d: it is told %s", i, wire.JSON.Marshal(x))
		}
		for _, o := range []wire.Offer{a, b} { // the others are
			if !slices.Contains(offers(a.ID.Value, b.ID.Value), o.ID.Value) {
				f.call(&wire.Call{Type: new(wire.CallDecline), Decline: &wire.Decline{OfferIDs: []wire.ID{o.ID}, Filters: &wire.Filters{RefuseSeconds: new(0.0)}}})
			}
		}
	}
	// An offer of another framework stays with it.
	a := f.offer(r.nodes[0].id)
	other.begin()
	other.call(acceptOf(launch(task(a, "one")), a.ID.Value))
	other.update("one", wire.TaskLost)
	f.accept(a, 0, launch(task(a, "one")))
	f.told("one", wire.TaskRunning)
}

func badLaunches(r *region, e wire.Encoding) {
	f := r.framework(home, e).begin()
	o := f.offer("")
	f.accept(o, 0, launch(guest(o, "runs", "x")))
	r.nodes[0].says(r.nodes[0].custom("x"), "runs", structs.TaskRunning)
	f.told("runs", wire.TaskRunning)

	tasks := map[string]func(*wire.TaskInfo){
		"no resources":    func(t *wire.TaskInfo) { t.Resources = nil },
		"less than none":  func(t *wire.TaskInfo) { t.Resources[0].Scalar.Value = -1 },
		"more than there": func(t *wire.TaskInfo) { t.Resources[0].Scalar.Value = 1000 },
		"another port": func(t *wire.TaskInfo) {
			t.Resources = append(t.Resources, wire.Resource{Name: "ports", Type: wire.ValueRanges, Ranges: &wire.Ranges{Range: []wire.Range{{Begin: 80, End: 80}}}})
		},
		"half a gpu":       func(t *wire.TaskInfo) { t.Resources = append(t.Resources, scalar("gpus", 0.5)) },
		"another agent":    func(t *wire.TaskInfo) { t.AgentID.Value = "another" },
		"too long":         func(t *wire.TaskInfo) { t.Command.Value = new(strings.Repeat("x", 200<<10)) },
		"nothing to do":    func(t *wire.TaskInfo) { t.Command = nil },
		"two things to do": func(t *wire.TaskInfo) { t.Executor = guest(o, "", "y").Executor },
		"no grace": func(t *wire.TaskInfo) {
			t.KillPolicy = &wire.KillPolicy{GracePeriod: &wire.DurationInfo{Nanoseconds: -1}}
		},
		"no time":         func(t *wire.TaskInfo) { t.MaxCompletionTime = &wire.DurationInfo{Nanoseconds: -1} },
		"a check of none": func(t *wire.TaskInfo) { t.Check = &wire.Check{Type: new(wire.CheckByHTTP)} },
		"ill of nothing":  func(t *wire.TaskInfo) { t.HealthCheck = &wire.HealthCheck{Type: new(wire.CheckByTCP)} },
		"a low limit":     func(t *wire.TaskInfo) { t.Limits = map[string]*wire.Scalar{"mem": {Value: 1}} },
		"a limit of disk": func(t *wire.TaskInfo) { t.Limits = map[string]*wire.Scalar{"disk": {Value: 1000}} },
		"the default": func(t *wire.TaskInfo) {
			*t = guest(o, t.TaskID.Value, "y")
			t.Executor.Type = new(wire.ExecutorDefault)
		},
		"no program": func(t *wire.TaskInfo) { *t = guest(o, t.TaskID.Value, "y"); t.Executor.Command = nil },
		"of another": func(t *wire.TaskInfo) {
			*t = guest(o, t.TaskID.Value, "y")
			t.Executor.FrameworkID = &wire.ID{Value: "f"}
		},
		"not the same": func(t *wire.TaskInfo) { *t = guest(o, t.TaskID.Value, "x"); t.Executor.Command.Value = new("./other") },
		"a/b":          func(*wire.TaskInfo) {},
		"..":           func(*wire.TaskInfo) {},
		"runs":         func(*wire.TaskInfo) {},
	}
	wrong := func(id string, reason wire.StatusReason) {
		r.t.Helper()
		if x := f.update(id, wire.TaskError); x.Reason == nil || *x.Reason != reason || *x.Source != wire.SourceMaster || x.UUID != nil || x.AgentID == nil || wire.TextOf(x.Message) == "" || strings.Contains(*x.Message, "operation") {
			r.t.Errorf("of %s it is told %s", id, wire.JSON.Marshal(x))
		}
	}
	o = f.offer("")
	var all []wire.TaskInfo
	for id, change := range tasks {
		t := task(o, id)
		change(&t)
		all = append(all, t)
	}
	named := launch(task(o, "named"))
	named.ID = &wire.ID{Value: "op"}
	f.accept(o, 0, launch(all...), named, launch(task(o, "good")))
	f.told("good", wire.TaskRunning) // whatever is beside it
	for id := range tasks {
		wrong(id, wire.ReasonTaskInvalid)
	}
	wrong("named", wire.ReasonTaskInvalid)

	groups := map[string]func(*wire.LaunchGroup){
		"of no type":     func(g *wire.LaunchGroup) { g.Executor.Type = nil },
		"with a command": func(g *wire.LaunchGroup) { g.Executor.Command = &wire.CommandInfo{Value: new("true")} },
		"in docker": func(g *wire.LaunchGroup) {
			g.Tasks.Tasks[1].Container = &wire.ContainerInfo{Type: wire.ContainerDocker, Docker: &wire.DockerInfo{Image: "x"}}
		},
		"with executors": func(g *wire.LaunchGroup) { g.Tasks.Tasks[1].Executor = guest(o, "", "y").Executor },
		"too much":       func(g *wire.LaunchGroup) { g.Tasks.Tasks[1].Resources[0].Scalar.Value = 1000 },
		"of two agents":  func(g *wire.LaunchGroup) { g.Tasks.Tasks[1].AgentID.Value = "another" },
	}
	o = f.offer("")
	var ops []wire.Operation
	for id, change := range groups {
		g := &wire.LaunchGroup{Executor: wire.ExecutorInfo{ExecutorID: wire.ID{Value: "pod " + id}, Type: new(wire.ExecutorDefault)},
			Tasks: wire.TaskGroupInfo{Tasks: []wire.TaskInfo{task(o, id+" 1"), task(o, id+" 2")}}}
		change(g)
		ops = append(ops, wire.Operation{Type: new(wire.OperationLaunchGroup), Group: g})
	}
	f.accept(o, 0, ops...)
	for id := range groups {
		wrong(id+" 1", wire.ReasonTaskGroupInvalid)
		wrong(id+" 2", wire.ReasonTaskGroupInvalid)
	}
	r.pass(time.Second)
	f.none(wire.EventUpdate)
}

func subscribedAgain(r *region, e wire.Encoding) {
	f := r.framework(home, e, func(i *wire.FrameworkInfo) {
		i.Roles = []string{"eng", "ops"}
		can(wire.CapabilityMultiRole)(i)
	})
	f.suppressed = []string{"ops"}
	f.begin()
	quiet := func(when string) {
		r.t.Helper()
		r.pass(10 * time.Second)
		if f.offered() {
			r.t.Errorf("%s: it is offered %s", when, wire.JSON.Marshal(new(f.offer(""))))
		}
	}
	of := func(role string) (o wire.Offer) {
		r.t.Helper()
		if o = f.offer(""); *o.Allocation.Role != role {
			r.t.Errorf("it is offered %s, want one for %s", wire.JSON.Marshal(&o), role)
		}
		return o
	}
	refuse := func(o wire.Offer) {
		f.call(&wire.Call{Type: new(wire.CallDecline), Decline: &wire.Decline{OfferIDs: []wire.ID{o.ID}, Filters: &wire.Filters{RefuseSeconds: new(1e9)}}})
	}
	refuse(of("eng"))
	quiet("one role is suppressed, and the other one refused")
	f.begin() // it is connected, and so its filters stay
	quiet("again")
	f.suppressed = nil
	f.begin() // that of the role which it suppresses no more does not
	refuse(of("ops"))
	quiet("both are refused")
	f.close()
	r.pass(time.Second) // until the server noticed
	f.suppressed = []string{"ops"}
	f.begin() // a disconnect ends all of them
	o := of("eng")
	f.info.Roles = []string{"ops"}
	res, err := f.post(context.Background(), f.at, &wire.Call{FrameworkID: f.info.ID, Type: new(wire.CallUpdateFramework), Update: &wire.UpdateFramework{FrameworkInfo: f.info}}, f.stream)
	if f.refused("UPDATE_FRAMEWORK", 200, "", res, err); res.Header.Get("Content-Type") != "" {
		r.t.Errorf("UPDATE_FRAMEWORK is answered with the type %q", res.Header.Get("Content-Type"))
	}
	f.await("RESCIND", func(e *wire.Event) bool { return e.Rescind != nil && e.Rescind.OfferID == o.ID })
	of("ops")
}

func killed(r *region, e wire.Encoding) {
	f := r.framework(home, e, can(wire.CapabilityPartitionAware)).begin()
	n := r.nodes[0]
	o := f.offer("")
	f.accept(o, 0, launch(task(o, "one"), guest(o, "two", "x")))
	f.told("one", wire.TaskRunning)
	n.says(n.custom("x"), "two", structs.TaskRunning)
	f.told("two", wire.TaskRunning)
	kill := func(id, agent string) {
		r.t.Helper()
		k := &wire.Kill{TaskID: wire.ID{Value: id}}
		if agent != "" {
			k.AgentID = &wire.ID{Value: agent}
		}
		f.call(&wire.Call{Type: new(wire.CallKill), Kill: k})
	}
	// Of one that nobody knows it is told as if it had asked.
	for agent, want := range map[string]wire.TaskState{"": wire.TaskUnknown, "nowhere": wire.TaskUnknown, string(n.id): wire.TaskGone} {
		kill("nobody", agent)
		if x := f.update("nobody", want); *x.Reason != wire.ReasonReconciliation || *x.Source != wire.SourceMaster || x.UUID != nil {
			r.t.Errorf("it is told %s", wire.JSON.Marshal(x))
		}
	}
	// What is of no use is taken all the same: clients that are refused drop their subscription.
	kill("one", "nowhere")
	nobody := wire.ID{Value: "nobody"}
	f.call(&wire.Call{Type: new(wire.CallShutdown), Shutdown: &wire.Shutdown{ExecutorID: nobody, AgentID: nobody}})
	f.call(&wire.Call{Type: new(wire.CallMessage), Message: &wire.Message{ExecutorID: nobody, AgentID: nobody, Data: []byte("x")}})
	f.call(&wire.Call{Type: new(wire.CallDecline), Decline: &wire.Decline{OfferIDs: []wire.ID{nobody, nobody}}})
	f.call(&wire.Call{Type: new(wire.CallAcceptInverseOffers), AcceptInverse: &wire.AnswerInverse{OfferIDs: []wire.ID{nobody}}})
	f.call(&wire.Call{Type: new(wire.CallAcknowledgeOperationStatus), AckOperation: &wire.AckOperation{OperationID: nobody, UUID: make([]byte, 16)}})
	r.pass(15 * time.Second)
	f.none(wire.EventUpdate)
	kill("one", string(n.id))
	if x := f.told("one", wire.TaskKilled); len(x.UUID) != 16 || *x.Source != wire.SourceExecutor {
		r.t.Errorf("it is told %s", wire.JSON.Marshal(x))
	}
	f.call(&wire.Call{Type: new(wire.CallShutdown), Shutdown: &wire.Shutdown{ExecutorID: wire.ID{Value: "x"}, AgentID: o.AgentID}})
	f.told("two", wire.TaskKilled)
}

func agentLost(r *region, e wire.Encoding) {
	f, other := r.framework(home, e, can(wire.CapabilityPartitionAware)).begin(), r.framework("10.0.2.2", e)
	n := r.nodes[0]
	o := f.offer(n.id)
	f.accept(o, 0, launch(task(o, "one")))
	f.told("one", wire.TaskRunning)
	o = f.offer(n.id)
	other.begin()
	n.quit()
	x := f.update("one", wire.TaskUnreachable)
	if *x.Reason != wire.ReasonAgentRemoved || *x.Source != wire.SourceMaster || x.UUID != nil || x.UnreachableTime == nil || x.AgentID.Value != string(n.id) {
		r.t.Errorf("it is told %s", wire.JSON.Marshal(x))
	}
	f.await("RESCIND", func(e *wire.Event) bool { return e.Rescind != nil && e.Rescind.OfferID == o.ID })
	for _, f := range []*framework{f, other} {
		x := f.await("FAILURE", func(e *wire.Event) bool { return e.Failure != nil }).Failure
		if x.AgentID == nil || x.AgentID.Value != string(n.id) || x.ExecutorID != nil || x.Status != nil {
			r.t.Errorf("it is told %+v", x)
		}
	}
}

func drains(r *region, e wire.Encoding) {
	f := r.framework(home, e).begin()
	n := r.nodes[0]
	o := f.offer(n.id)
	f.accept(o, 0, launch(task(o, "one")))
	f.told("one", wire.TaskRunning)
	start := time.Now().Add(time.Hour).UnixNano()
	plan := func(windows ...wire.Window) {
		f.operates(&wire.OperatorCall{Type: new(wire.OperatorUpdateMaintenanceSchedule), UpdateSchedule: &wire.MaintenancePlan{Schedule: wire.Schedule{Windows: windows}}}, 200)
	}
	away := wire.Window{Machines: []wire.MachineID{{Hostname: new(n.name)}}, Unavailability: wire.Unavailability{Start: wire.TimeInfo{Nanoseconds: start}, Duration: &wire.DurationInfo{Nanoseconds: 1e12}}}
	asked := func() wire.InverseOffer {
		r.t.Helper()
		plan(away)
		in := f.await("INVERSE_OFFERS", func(e *wire.Event) bool { return e.InverseOffers != nil }).InverseOffers.InverseOffers[0]
		if in.ID.Value == "" || in.FrameworkID != *f.info.ID || in.AgentID == nil || in.AgentID.Value != string(n.id) || in.Unavailability.Start.Nanoseconds != start ||
			in.Unavailability.Duration == nil || in.Unavailability.Duration.Nanoseconds != 1e12 {
			r.t.Errorf("it is asked for %s", wire.JSON.Marshal(&in))
		}
		return in
	}
	in := asked()
	plan()
	f.await("RESCIND_INVERSE_OFFER", func(e *wire.Event) bool { return e.RescindInverse != nil && e.RescindInverse.OfferID == in.ID })
	in = asked()
	r.eventually("offers say when their agent will be away", func() bool {
		o = f.offer(n.id)
		return o.Unavailability != nil && o.Unavailability.Start.Nanoseconds == start
	})
	f.call(&wire.Call{Type: new(wire.CallAcceptInverseOffers), AcceptInverse: &wire.AnswerInverse{OfferIDs: []wire.ID{in.ID}}})
	if said := f.operates(&wire.OperatorCall{Type: new(wire.OperatorGetMaintenanceStatus)}, 200); e == wire.JSON && !strings.Contains(said, `"status":"ACCEPT"`) {
		r.t.Errorf("an operator is told %s", said)
	}
	plan()
	drain := &wire.DrainAgent{AgentID: wire.ID{Value: string(n.id)}} // its tasks are killed at once, whatever it says of their grace
	if e == wire.JSON {
		drain.MaxGrace = &wire.Duration{Seconds: new(int64(24 * 3600))}
	}
	f.operates(&wire.OperatorCall{Type: new(wire.OperatorDrainAgent), Drain: drain}, 200)
	if said := f.operates(&wire.OperatorCall{Type: new(wire.OperatorGetAgents)}, 200); e == wire.JSON && !strings.Contains(said, `"max_grace_period":{"nanoseconds":86400000000000}`) {
		r.t.Errorf("an operator is told %s", said)
	}
	if x := f.told("one", wire.TaskKilled); x.Reason == nil || *x.Reason != wire.ReasonAgentDraining || len(x.UUID) != 16 {
		r.t.Errorf("it is told %s", wire.JSON.Marshal(x))
	}
	r.pass(time.Minute)
	f.forget()
	r.pass(time.Minute)
	if f.offered() {
		r.t.Error("an agent that is drained is offered")
	}
}

func refuseSeconds(r *region, e wire.Encoding) {
	f := r.framework(home, e)
	for name, c := range map[string]struct {
		filters       *wire.Filters
		quiet, within time.Duration
	}{
		"nothing":  {nil, 4 * time.Second, time.Minute},
		"no time":  {&wire.Filters{}, 4 * time.Second, time.Minute},
		"-1":       {&wire.Filters{RefuseSeconds: new(-1.0)}, 4 * time.Second, time.Minute},
		"0":        {&wire.Filters{RefuseSeconds: new(0.0)}, 0, 4 * time.Second},
		"a minute": {&wire.Filters{RefuseSeconds: new(60.0)}, 59 * time.Second, 2 * time.Minute},
	} {
		f.begin() // so that nothing of the one before counts
		f.call(&wire.Call{Type: new(wire.CallDecline), Decline: &wire.Decline{OfferIDs: []wire.ID{f.offer("").ID}, Filters: c.filters}})
		r.pass(c.quiet)
		if c.quiet > 0 && f.offered() {
			r.t.Errorf("%s: it is offered within %s", name, c.quiet)
		}
		r.pass(c.within - c.quiet)
		if !f.offered() {
			r.t.Errorf("%s: it is not offered within %s", name, c.within)
		}
		f.close()
		r.pass(time.Second) // until the server noticed
	}
}
