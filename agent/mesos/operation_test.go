package mesos_test

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// inEng has a framework be of role eng, in which it may reserve.
func inEng(info *wire.FrameworkInfo) { info.Role = new("eng") }

// reserved is an amount of cores that is reserved for role eng, with a label or without.
func reserved(cpus float64, label string) wire.Resource {
	x := scalar("cpus", cpus)
	x.Role, x.Reservation = new("eng"), &wire.Reservation{}
	if label != "" {
		x.Reservation.Labels = &wire.Labels{Labels: []wire.Label{{Key: "for", Value: &label}}}
	}
	return x
}

func reserve(id string, what ...wire.Resource) wire.Operation {
	op := wire.Operation{Type: new(wire.OperationReserve), Reserve: &wire.Reserve{Resources: what}}
	if id != "" {
		op.ID = &wire.ID{Value: id}
	}
	return op
}

func unreserve(id string, what ...wire.Resource) wire.Operation {
	return wire.Operation{Type: new(wire.OperationUnreserve), ID: &wire.ID{Value: id}, Unreserve: &wire.Unreserve{Resources: what}}
}

// outcome waits until it is told so of an operation; uuid: with one, or without.
func (f *framework) outcome(id string, state wire.OperationState, uuid bool) *wire.OperationStatus {
	f.r.t.Helper()
	return &f.await("operation "+id+" is "+state.String(), func(e *wire.Event) bool {
		if e.OperationNews == nil || e.OperationNews.Status.ID.Value != id || (e.OperationNews.Status.UUID != nil) != uuid {
			return false
		}
		if got := e.OperationNews.Status.State; got != state {
			f.r.t.Fatalf("operation %s is %s: %s", id, got, wire.JSON.Marshal(&e.OperationNews.Status))
		}
		return true
	}).OperationNews.Status
}

func (f *framework) hears(s *wire.OperationStatus) {
	f.r.t.Helper()
	f.call(&wire.Call{Type: new(wire.CallAcknowledgeOperationStatus), AckOperation: &wire.AckOperation{AgentID: s.AgentID, OperationID: *s.ID, UUID: s.UUID.Value}})
}

func reconcileOperations(names ...string) *wire.Call {
	c := &wire.Call{Type: new(wire.CallReconcileOperations), ReconcileOps: &wire.ReconcileOps{}}
	for _, name := range names {
		id, node, _ := strings.Cut(name, "@")
		ask := wire.ReconcileOp{OperationID: wire.ID{Value: id}}
		if node != "" {
			ask.AgentID = &wire.ID{Value: node}
		}
		c.ReconcileOps.Operations = append(c.ReconcileOps.Operations, ask)
	}
	return c
}

// cores returns how many cores are reserved for a framework.
func (r *region) cores(id string) (sum structs.Milli) {
	for x := range r.snapshot().Reservations() {
		if x.Owner == structs.FrameworkID(id) {
			sum += x.Resources.CPU
		}
	}
	return sum
}

func outcomes(r *region, e wire.Encoding) {
	f := r.framework(home, e, inEng).begin()
	o := f.offer("")
	f.accept(o, 0, reserve("one", reserved(1, ""), reserved(1, "b")), reserve("two", reserved(1e6, "")), reserve("three", reserved(1, "")))
	first := f.outcome("one", wire.OperationFinished, true)
	if len(first.UUID.Value) != 16 || first.AgentID.Value != o.AgentID.Value || first.Message != nil {
		r.t.Errorf("it is told %s", wire.JSON.Marshal(first))
	}
	// What never got as far as that is said once, and is known to nobody.
	if x := f.outcome("two", wire.OperationError, false); x.Message == nil {
		r.t.Errorf("it is told %s", wire.JSON.Marshal(x))
	}
	third := f.outcome("three", wire.OperationFinished, true)
	f.hears(third)
	again := func(after time.Duration) {
		r.t.Helper()
		r.pass(after - time.Second)
		f.none(wire.EventUpdateOperationStatus)
		r.pass(2 * time.Second)
		if x := f.outcome("one", wire.OperationFinished, true); !bytes.Equal(x.UUID.Value, first.UUID.Value) {
			r.t.Errorf("it is told %s", wire.JSON.Marshal(x))
		}
	}
	again(10 * time.Second)
	again(19 * time.Second)
	// Another one cannot have its id meanwhile: neither in the state, nor in one ACCEPT.
	o = f.offer(structs.NodeID(o.AgentID.Value))
	f.accept(o, 0, reserve("one", reserved(1, "")), reserve("four", reserved(1, "")), reserve("four", reserved(1, "")))
	f.outcome("one", wire.OperationError, false)
	f.outcome("four", wire.OperationError, false)
	fourth := f.outcome("four", wire.OperationFinished, true)
	if got := r.cores(f.info.ID.Value); got != 4000 {
		r.t.Errorf("%v cores are reserved, not 4", got)
	}
	f.at.crash()
	<-f.done
	f.begin()
	for id, x := range map[string]*wire.OperationStatus{"one": first, "four": fourth} {
		if got := f.outcome(id, wire.OperationFinished, true); !bytes.Equal(got.UUID.Value, x.UUID.Value) {
			r.t.Errorf("the next leader tells %s", wire.JSON.Marshal(got))
		}
	}
	next := r.framework("10.0.2.2", e, inEng, func(info *wire.FrameworkInfo) { info.ID = f.info.ID }).begin()
	f.ended()
	f = next
	for id, x := range map[string]*wire.OperationStatus{"one": first, "four": fourth} {
		if got := f.outcome(id, wire.OperationFinished, true); !bytes.Equal(got.UUID.Value, x.UUID.Value) {
			r.t.Errorf("the next scheduler is told %s", wire.JSON.Marshal(got))
		}
	}
	other := *first
	other.UUID = fourth.UUID
	f.hears(&other) // does not count
	again(10 * time.Second)
	f.hears(first)
	f.hears(fourth)
	f.hears(first) // once more, and one that nobody knows
	other.ID = &wire.ID{Value: "none"}
	f.hears(&other)
	f.forget() // of four, which came again beside one
	r.pass(5 * time.Minute)
	f.none(wire.EventUpdateOperationStatus)
	// The name is free, of one that is done in parts or not at all.
	o = f.offer(structs.NodeID(o.AgentID.Value))
	f.accept(o, 0, unreserve("one", reserved(1, "b"), reserved(1, "c")))
	f.hears(f.outcome("one", wire.OperationError, true))
	if got := r.cores(f.info.ID.Value); got != 4000 {
		r.t.Errorf("%v cores are reserved, not 4", got)
	}
	o = f.offer(structs.NodeID(o.AgentID.Value))
	f.accept(o, 0, unreserve("one", reserved(1, "b"), reserved(3, "")))
	f.hears(f.outcome("one", wire.OperationFinished, true))
	if got := r.cores(f.info.ID.Value); got != 0 {
		r.t.Errorf("%v cores are reserved, not 0", got)
	}
}

func reconciledOperations(r *region, e wire.Encoding) {
	f := r.framework(home, e, inEng).begin()
	here, there := string(r.nodes[0].id), string(r.nodes[1].id)
	f.accept(f.offer(r.nodes[0].id), 0, reserve("one", reserved(1, "")), reserve("two", reserved(1, "")))
	one := f.outcome("one", wire.OperationFinished, true)
	f.outcome("two", wire.OperationFinished, true)
	ask := func(name string, want wire.OperationState) {
		r.t.Helper()
		f.call(reconcileOperations(name))
		id, _, _ := strings.Cut(name, "@")
		f.outcome(id, want, false)
	}
	ask("one", wire.OperationFinished)
	ask("two@"+there, wire.OperationFinished)
	ask("none", wire.OperationNotKnown)
	ask("none@nowhere", wire.OperationNotKnown)
	ask("none@"+here, wire.OperationNotKnown)
	f.call(reconcileOperations()) // implicit: one for each that is known
	f.outcome("one", wire.OperationFinished, false)
	f.outcome("two", wire.OperationFinished, false)
	f.hears(one)
	f.call(reconcileOperations())
	f.outcome("two", wire.OperationFinished, false)
	r.pass(time.Second)
	f.none(wire.EventUpdateOperationStatus)
	ask("one", wire.OperationNotKnown)
	r.nodes[1].quit()
	r.eventually("the node is lost", func() bool { return r.snapshot().Node(r.nodes[1].id).Status == structs.NodeLost })
	ask("none@"+there, wire.OperationUnreachable)
	ask("two@"+there, wire.OperationFinished)
	// Nobody is told of the operations of others.
	other := r.framework("10.0.2.2", e, inEng).begin()
	other.call(reconcileOperations())
	other.call(reconcileOperations("two"))
	other.outcome("two", wire.OperationNotKnown, false)
	other.none(wire.EventUpdateOperationStatus)
}

func checks(r *region, e wire.Encoding) {
	f := r.framework(home, e).begin()
	o := f.offer("")
	x := task(o, "one")
	x.Check = &wire.Check{Type: new(wire.CheckByCommand), Command: &wire.CheckCommand{Command: wire.CommandInfo{Value: new("/bin/busybox"), Arguments: []string{"sh", "-c", "${HOME}/is up"}, Shell: new(false)}}, Interval: new(1.0)}
	bad := task(o, "bad")
	bad.Check = &wire.Check{Type: new(wire.CheckByHTTP), HTTP: &wire.CheckHTTP{Port: 80, Path: new("up")}}
	f.accept(o, 0, launch(x, bad))
	if u := f.update("bad", wire.TaskError); *u.Reason != wire.ReasonTaskInvalid || !strings.Contains(*u.Message, "HTTP check must start with '/'") {
		r.t.Errorf("it is told %s", wire.JSON.Marshal(u))
	}
	told := func(want string) {
		r.t.Helper()
		u := f.told("one", wire.TaskRunning)
		if got := string(wire.JSON.Marshal(u.CheckStatus)); got != want || len(u.UUID) != 16 {
			r.t.Errorf("the check is %s, not %s", got, want)
		}
		if changed := u.Reason != nil && *u.Reason == wire.ReasonTaskCheckStatusUpdated; changed == (want == `{"type":"COMMAND","command":{}}`) {
			r.t.Errorf("it is told %s", wire.JSON.Marshal(u))
		}
	}
	told(`{"type":"COMMAND","command":{}}`)
	n, id := r.nodes[0], structs.FrameworkID(f.info.ID.Value)
	code, want := 3, `{"type":"COMMAND","command":{"exit_code":3}}`
	answer := &structs.CheckAnswer{Type: "exec", Code: &code}
	asked := n.answers(id, "one", answer)
	if asked == nil || !slices.Equal(asked.Command, []string{"/bin/busybox", "-c", "${HOME}/is up"}) || asked.Arg0 == nil || *asked.Arg0 != "sh" || asked.Interval != structs.Duration(time.Second) ||
		asked.InitialDelay != structs.Duration(15*time.Second) {
		r.t.Errorf("the node is to ask %+v", asked)
	}
	told(want)
	n.answers(id, "one", answer)
	r.pass(time.Second)
	f.none(wire.EventUpdate)
	f.call(reconcile("one"))
	if u := f.update("one", wire.TaskRunning); string(wire.JSON.Marshal(u.CheckStatus)) != want || u.UUID != nil {
		r.t.Errorf("it is told %s", wire.JSON.Marshal(u))
	}
	n.finish(id, "one")
	if u := f.told("one", wire.TaskFinished); *u.CheckStatus.Command.ExitCode != 3 {
		r.t.Errorf("it is told %s", wire.JSON.Marshal(u))
	}
}
