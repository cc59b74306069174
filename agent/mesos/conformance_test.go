package mesos_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// Each rule of the Mesos v1 APIs that clients in use depend on, against real servers with real node sessions, in both encodings. What
// Proffer does otherwise is listed in website/docs/frameworks.md.

// rules are the tests of the suite, with the servers and nodes that they need.
var rules = []struct {
	name           string
	servers, nodes int
	holds          func(r *region, e wire.Encoding)
	alone          func(t *testing.T, e wire.Encoding) // in the place of holds: it makes its own region
}{
	{"01 each wrong request has its status, and the first check that fails counts", 1, 0, wrongRequests, nil},
	{"02 SUBSCRIBE begins a chunked stream with SUBSCRIBED and HEARTBEAT, and the next beat is 15 s later", 1, 0, streams, nil},
	{"03 a standby answers 307 with the leader, and 503 without one", 3, 0, standbys, nil},
	{"04 bad roles are 200 with ERROR, unknown frameworks and old streams 400, those that are away 403", 1, 0, refusals, nil},
	{"05 a second SUBSCRIBE ends the first stream with Framework failed over", 1, 1, takeOver, nil},
	{"06 offers have the shape of the capabilities", 1, 1, offerShapes, nil},
	{"07 ACCEPT twice with one offer is 202, and its tasks are lost", 1, 1, acceptTwice, nil},
	{"08 what a LAUNCH of nothing leaves is refused for refuse_seconds, more than that is offered", 1, 1, refusedOffers, nil},
	{"09 FINISHED waits for the acknowledgement of RUNNING, which repeats with its uuid", 1, 1, updatesInOrder, nil},
	{"10 RECONCILE answers by what is known", 3, 2, reconciliation, nil},
	{"11 a framework finds its tasks with the next leader, and what it did not acknowledge", 3, 1, nextLeader, nil},
	{"12 failover_timeout 0 ends the tasks of a scheduler that went, more keeps them", 1, 1, failoverTimeout, nil},
	{"13 executors have their environment, outlive the agent, and what is acknowledged to them is stored", 0, 0, nil, executors},
	{"14 SUPPRESS, REVIVE and DECLINE need no payload to speak of", 1, 1, emptyPayloads, nil},
	{"15 operators are answered 202 for operations on resources, else 200, empty without a type", 1, 2, operatorAnswers, nil},
	{"16 FAILURE has agent_id, and status with executor_id", 1, 2, failures, nil},
	{"17 what became of operations with an id repeats until it is acknowledged, also over the leader and the scheduler", 3, 2, outcomes, nil},
	{"18 RECONCILE_OPERATIONS answers by what is known", 1, 2, reconciledOperations, nil},
	{"19 a check is told with each update, and by an update of its own when it changes", 1, 1, checks, nil},
	{"20 a framework of many roles may have none, and say so later", 1, 1, noRoles, nil},
	{"21 what the agent runs is STARTING, then RUNNING, each until it is acknowledged", 1, 1, startsInOrder, nil},
	{"22 tasks of an agent that an operator gave up are GONE_BY_OPERATOR, and so is whatever was there", 1, 2, givenUp, nil},
	{"23 revocable resources are offered apart, used by tasks and executors, and taken back with CONTAINER_PREEMPTED", 1, 1, revocables, nil},
	{"24 resources of a launch are allocated to one role, that of the offers", 1, 1, roleOfLaunches, nil},
	{"25 offers accepted together are of one agent, each once, or the tasks are lost and what is good is offered again", 1, 2, acceptTogether, nil},
	{"26 what cannot be launched is TASK_ERROR with a reason, a group as a whole, and nothing else suffers", 1, 1, badLaunches, nil},
	{"27 a second SUBSCRIBE says what is suppressed, and filters end with the connection", 1, 1, subscribedAgain, nil},
	{"28 KILL of what nobody knows is answered as RECONCILE, and a call that is of no use is 202", 1, 1, killed, nil},
	{"29 when an agent goes its tasks are UNREACHABLE, its offers rescinded, and every framework hears of it", 1, 1, agentLost, nil},
	{"30 a window is asked for by inverse offers, and draining ends tasks with AGENT_DRAINING", 1, 1, drains, nil},
	{"31 refuse_seconds is 5 unless it is said and makes sense", 1, 1, refuseSeconds, nil},
	{"32 a container is in the networks that it names, and is told of them in that order; one that it names twice fails it", 1, 1, severalNetworks, nil},
	{"33 agents with GPUs are for frameworks with GPU_RESOURCES", 1, 2, withGPUs, nil},
	{"34 shared volumes are for frameworks with SHARED_RESOURCES", 1, 1, sharedVolumes, nil},
	{"35 what is reserved out of a reservation is for frameworks with RESERVATION_REFINEMENT", 1, 1, refined, nil},
	{"36 an offer has at least what min_allocatable_resources or offer_filters say", 1, 1, smallestOffers, nil},
	{"37 offer_constraints choose the agents that are offered, by role", 1, 2, constrained, nil},
	{"38 SUBSCRIBED and offers say who is where, and which executors are there", 1, 1, whoIsWhere, nil},
	{"39 SUPPRESS and REVIVE are of the roles that they name, and of none where one is not the framework's", 1, 1, byRole, nil},
	{"40 REQUEST ends filters of agents that have what it asks for", 1, 1, requested, nil},
	{"41 that a task is STAGING is told when it is asked, and by no update", 1, 1, staging, nil},
	{"42 what operations make is offered again at once, whatever refuse_seconds says of the rest", 1, 1, madeAnew, nil},
	{"43 an executor is given each task of a LAUNCH by itself, messages, and its end; a newer stream ends the older one", 0, 0, nil, executorEvents},
	{"44 MESSAGE of an executor reaches its scheduler as it was", 1, 1, messages, nil},
	{"45 a framework is shown with its labels, also those that it says later", 1, 1, labelled, nil},
	{"46 ports are reserved, offered as such, used and released, in both forms", 1, 1, reservedPorts, nil},
}

func TestConformance(t *testing.T) {
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			for name, e := range map[string]wire.Encoding{"json": wire.JSON, "protobuf": wire.Protobuf} {
				t.Run(name, func(t *testing.T) {
					if rule.alone != nil {
						synctest.Test(t, func(t *testing.T) { rule.alone(t, e) })
						return
					}
					bubble(t, rule.servers, rule.nodes, func(r *region) { rule.holds(r, e) })
				})
			}
		})
	}
}

const home = "10.0.2.1" // of the framework of most rules

// refused demands a status and a text.
func (f *framework) refused(what string, status int, text string, res *http.Response, err error) *http.Response {
	f.r.t.Helper()
	got, said := f.answer(res, err)
	if got != status || !strings.Contains(said, text) {
		f.r.t.Errorf("%s: %d %q, want %d with %q", what, got, said, status, text)
	}
	return res
}

func wrongRequests(r *region, e wire.Encoding) {
	f, at, ctx, kind := r.framework(home, e), r.leader(), context.Background(), e.ContentType()
	send := func(what string, status int, text, method string, body []byte, header ...string) *http.Response {
		r.t.Helper()
		res, err := f.send(ctx, at, method, body, header...)
		return f.refused(what, status, text, res, err)
	}
	if got := send("GET", 405, "POST", "GET", nil).Header.Get("Allow"); got != "POST" {
		r.t.Errorf("GET may be %q", got)
	}
	send("no type", 400, "Content-Type", "POST", []byte("{}"))
	send("text/plain", 415, kind, "POST", []byte("{}"), "Content-Type", "text/plain")
	send("no message", 400, "Failed to parse", "POST", []byte{0xff}, "Content-Type", kind)
	send("too much", 413, "more than", "POST", make([]byte, 8<<20+1), "Content-Type", kind)
	post := func(what string, status int, text string, call *wire.Call) {
		r.t.Helper()
		res, err := f.post(ctx, at, call, "")
		f.refused(what, status, text, res, err)
	}
	id := &wire.ID{Value: "nobody"}
	post("no call", 400, "'type'", &wire.Call{FrameworkID: id})
	post("no id", 400, "'framework_id'", &wire.Call{Type: new(wire.CallRevive)})
	for kind, payload := range map[wire.CallType]string{wire.CallSubscribe: "subscribe", wire.CallAccept: "accept", wire.CallDecline: "decline",
		wire.CallKill: "kill", wire.CallShutdown: "shutdown", wire.CallAcknowledge: "acknowledge", wire.CallReconcile: "reconcile",
		wire.CallMessage: "message", wire.CallRequest: "request", wire.CallAcceptInverseOffers: "accept_inverse_offers",
		wire.CallDeclineInverseOffers: "decline_inverse_offers", wire.CallReconcileOperations: "reconcile_operations",
		wire.CallAcknowledgeOperationStatus: "acknowledge_operation_status", wire.CallUpdateFramework: "update_framework"} {
		post(kind.String()+" without a payload", 400, "'"+payload+"'", &wire.Call{FrameworkID: id, Type: &kind})
	}
	post("a short uuid", 400, "not 16", &wire.Call{FrameworkID: id, Type: new(wire.CallAcknowledge), Acknowledge: &wire.Acknowledge{UUID: []byte("x")}})
	subscribe := f.encoding.Marshal(f.subscribeCall())
	send("nothing acceptable", 406, "Accept", "POST", subscribe, "Content-Type", kind, "Accept", "text/html")
	operations := f.encoding.Marshal(&wire.Call{FrameworkID: id, Type: new(wire.CallReconcileOperations), ReconcileOps: &wire.ReconcileOps{}})
	send("operations, nothing acceptable", 406, "Accept", "POST", operations, "Content-Type", kind, "Accept", "text/html")
	packed := func(raw []byte) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		z.Write(raw)
		r.check(z.Close())
		return out.Bytes()
	}
	send("packed, and nothing acceptable", 406, "Accept", "POST", packed(subscribe), "Content-Type", kind, "Accept", "text/html", "Content-Encoding", "gzip")
	send("too much of it, packed", 413, "more than", "POST", packed(make([]byte, 8<<20+1)), "Content-Type", kind, "Content-Encoding", "gzip")
	send("said to be packed", 400, "Failed to read body", "POST", subscribe, "Content-Type", kind, "Content-Encoding", "gzip")
	send("packed, and not all of it", 400, "Failed to read body", "POST", packed(subscribe)[:30], "Content-Type", kind, "Content-Encoding", "gzip")
	send("packed in another way", 415, "gzip", "POST", subscribe, "Content-Type", kind, "Content-Encoding", "br")
	send("not acceptable", 406, "Accept", "POST", subscribe, "Content-Type", kind, "Accept", kind+";q=0")
	send("with a stream id", 400, "Mesos-Stream-Id", "POST", subscribe, "Content-Type", kind, "Mesos-Stream-Id", "x")
	other := f.subscribeCall()
	other.FrameworkID, other.Subscribe.FrameworkInfo.ID = id, &wire.ID{Value: "another"}
	post("two ids", 400, "differs", other)
	other = f.subscribeCall()
	other.Subscribe.FrameworkInfo.Principal = new("bob")
	post("another principal", 400, "does not match", other)
	f.begin()
	if status, _ := f.says(&wire.Call{Type: new(wire.CallUnknown)}); status != 501 {
		r.t.Errorf("UNKNOWN is %d", status)
	}
	req, err := http.NewRequest("POST", "http://"+at.ip+":5050/api/v1/scheduler", bytes.NewReader(subscribe))
	r.check(err)
	res, err := f.client.Do(req)
	if f.refused("nobody", 401, "", res, err); !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Basic ") {
		r.t.Errorf("nobody is told %q", res.Header.Get("WWW-Authenticate"))
	}
}

func streams(r *region, e wire.Encoding) {
	f := r.framework(home, e)
	r.check(f.subscribe(r.leader()))
	if f.stream == "" || len(f.stream) > 128 || f.header.Get("Content-Type") != e.ContentType() || f.header.Get("Content-Length") != "" {
		r.t.Errorf("the answer has stream %q and %v", f.stream, f.header)
	}
	beat := func(e *wire.Event) bool { return *e.Type == wire.EventHeartbeat }
	r.pass(time.Second)
	if f.take(beat) == nil {
		r.t.Error("no beat comes within a second")
	}
	r.pass(13 * time.Second)
	if f.take(beat) != nil {
		r.t.Error("the second beat comes early")
	}
	r.pass(2 * time.Second)
	if f.take(beat) == nil {
		r.t.Error("no second beat comes")
	}
	// Anything at all is JSON.
	for _, accept := range []string{"", "*/*", "application/*", "application/x-protobuf, application/json"} {
		ctx, cancel := context.WithCancel(context.Background())
		res, err := f.send(ctx, f.at, "POST", e.Marshal(f.subscribeCall()), "Content-Type", e.ContentType()+"; charset=utf-8", "Accept", accept)
		r.check(err)
		if got := res.Header.Get("Content-Type"); got != "application/json" || !slices.Equal(res.TransferEncoding, []string{"chunked"}) {
			r.t.Errorf("accepting %q is answered with %q, %v", accept, got, res.TransferEncoding)
		}
		cancel()
		res.Body.Close()
	}
}

func standbys(r *region, e wire.Encoding) {
	f, leader, standby := r.framework(home, e), r.leader(), r.follower()
	for _, call := range []*wire.Call{f.subscribeCall(), {}} { // that comes before what else is wrong
		var res *http.Response
		r.eventually("the standby knows where the leader serves", func() bool {
			var err error
			res, err = f.post(context.Background(), standby, call, "")
			r.check(err)
			res.Body.Close()
			return res.StatusCode == http.StatusTemporaryRedirect
		})
		if got := res.Header.Get("Location"); got != "//"+leader.ip+":5050/api/v1/scheduler" {
			r.t.Errorf("it points to %q", got)
		}
	}
	for _, h := range r.servers {
		if h != standby {
			h.crash()
		}
	}
	r.eventually("it says that nobody leads", func() bool {
		status, text := f.answer(f.post(context.Background(), standby, f.subscribeCall(), ""))
		return status == http.StatusServiceUnavailable && text == "No leader elected"
	})
}

func refusals(r *region, e wire.Encoding) {
	many := can(wire.CapabilityMultiRole)
	for i, c := range []struct {
		want   string
		change func(*wire.FrameworkInfo)
	}{
		{"MULTI_ROLE", func(f *wire.FrameworkInfo) { many(f); f.Role = new("eng") }},
		{"MULTI_ROLE", func(f *wire.FrameworkInfo) { f.Roles = []string{"eng"} }},
		{"twice", func(f *wire.FrameworkInfo) { many(f); f.Roles = []string{"eng", "eng"} }},
		{"role", func(f *wire.FrameworkInfo) { f.Role = new("a//b") }},
		{"role", func(f *wire.FrameworkInfo) { f.Role = new("-a") }},
		{"invalid", func(f *wire.FrameworkInfo) { f.ID = &wire.ID{Value: "a/b"} }},
		{"failover_timeout", func(f *wire.FrameworkInfo) { f.FailoverTimeout = new(1e300) }},
	} {
		f := r.framework(fmt.Sprintf("10.0.3.%d", i+1), e, c.change)
		if err := f.subscribe(r.leader()); err == nil || !strings.Contains(err.Error(), "ERROR") || !strings.Contains(err.Error(), c.want) {
			r.t.Errorf("%d: it is told %v, want an ERROR with %q", i, err, c.want)
		}
	}
	f := r.framework(home, e).begin()
	revive := &wire.Call{FrameworkID: &wire.ID{Value: "nobody"}, Type: new(wire.CallRevive)}
	post := func(what string, status int, text, stream string) {
		r.t.Helper()
		res, err := f.post(context.Background(), f.at, revive, stream)
		f.refused(what, status, text, res, err)
	}
	post("an unknown framework", 400, "Framework cannot be found", "")
	revive.FrameworkID = f.info.ID
	post("no stream", 400, "stream id", "")
	post("another stream", 400, "stream id", "old")
	post("its stream", 202, "", f.stream)
	f.close()
	r.pass(time.Second)
	post("one that is away", 403, "Framework is not subscribed", f.stream)
	unknown := r.framework("10.0.2.2", e, func(info *wire.FrameworkInfo) { info.ID = &wire.ID{Value: "made-elsewhere"} }).begin()
	if unknown.info.ID.Value != "made-elsewhere" {
		r.t.Errorf("an id that nobody knows becomes %s", unknown.info.ID.Value)
	}
	unknown.call(&wire.Call{Type: new(wire.CallTeardown)})
	if said := unknown.ended(); said != "" {
		r.t.Errorf("TEARDOWN is told %q", said)
	}
	if err := unknown.subscribe(unknown.at); err == nil || !strings.Contains(err.Error(), "Framework has been removed") {
		r.t.Errorf("one that was removed is told %v", err)
	}
}

func takeOver(r *region, e wire.Encoding) {
	first := r.framework(home, e).begin()
	o := first.offer("")
	second := r.framework("10.0.2.2", e, func(info *wire.FrameworkInfo) { info.ID = first.info.ID }).begin()
	if said := first.ended(); said != "Framework failed over" {
		r.t.Errorf("the first is told %q", said)
	}
	if status, text := first.says(&wire.Call{Type: new(wire.CallRevive)}); status != 400 {
		r.t.Errorf("the first one is answered %d %s", status, text)
	}
	if again := second.offer(""); again.ID == o.ID {
		r.t.Error("the second is offered what the first was")
	}
	second.none(wire.EventRescind)
	if second.stream == first.stream || second.info.ID.Value != first.info.ID.Value {
		r.t.Errorf("the second has stream %s and id %s", second.stream, second.info.ID.Value)
	}
}

func offerShapes(r *region, e wire.Encoding) {
	mine := []wire.Resource{scalar("cpus", 2)}
	mine[0].Role, mine[0].Reservation = new("eng"), &wire.Reservation{Labels: &wire.Labels{Labels: []wire.Label{{Key: "for", Value: new("disks")}}}}
	for i, c := range []struct {
		many, refined bool
	}{{false, false}, {true, false}, {false, true}, {true, true}} {
		f := r.framework(fmt.Sprintf("10.0.3.%d", i+1), e, func(info *wire.FrameworkInfo) {
			if info.Role = new("eng"); c.many {
				info.Role, info.Roles = nil, []string{"eng"}
				can(wire.CapabilityMultiRole)(info)
			}
			if c.refined {
				can(wire.CapabilityReservationRefinement)(info)
			}
		}).begin()
		if i == 0 { // in the old form, whatever comes later
			f.accept(f.offer(""), 0, wire.Operation{Type: new(wire.OperationReserve), Reserve: &wire.Reserve{Resources: mine}})
		}
		var o wire.Offer
		r.eventually("what is reserved is offered", func() bool {
			o = f.offer("")
			kept := func(x wire.Resource) bool { return x.Reservation != nil || len(x.Reservations) > 0 }
			return slices.ContainsFunc(o.Resources, kept)
		})
		if c.many != (o.Allocation != nil && *o.Allocation.Role == "eng") || o.Hostname != r.nodes[0].ip {
			r.t.Errorf("%+v: the offer is %s", c, wire.JSON.Marshal(&o))
		}
		for _, x := range o.Resources {
			kept := x.Name == "cpus" && x.Scalar.Value == 2
			allocated := x.Allocation != nil && *x.Allocation.Role == "eng"
			old := x.Role != nil && len(x.Reservations) == 0 && *x.Role == map[bool]string{true: "eng", false: "*"}[kept] && kept == (x.Reservation != nil)
			fresh := x.Role == nil && x.Reservation == nil && kept == (len(x.Reservations) == 1)
			if fresh && kept {
				fresh = *x.Reservations[0].Role == "eng" && *x.Reservations[0].Type == wire.ReservationDynamic
			}
			if allocated != c.many || old == c.refined || fresh != c.refined {
				r.t.Errorf("%+v: a resource is %s", c, wire.JSON.Marshal(&x))
			}
		}
		f.mu.Lock()
		if e == wire.JSON && !bytes.Contains(f.raw, []byte(`"ranges":{"range":[{"begin":20000,"end":20999}]}`)) {
			r.t.Errorf("ports are no numbers: %s", f.raw)
		}
		f.mu.Unlock()
		f.close()
	}
}

func acceptTwice(r *region, e wire.Encoding) {
	for want, capabilities := range map[wire.TaskState][]wire.CapabilityType{wire.TaskLost: nil, wire.TaskDropped: {wire.CapabilityPartitionAware}} {
		f := r.framework(home, e, can(capabilities...)).begin()
		o := f.offer("")
		f.accept(o, 0, launch(task(o, "one")))
		f.accept(o, 0, launch(task(o, "two"), task(o, "three")))
		for _, id := range []string{"two", "three"} {
			x := f.update(id, want)
			if *x.Reason != wire.ReasonInvalidOffers || *x.Source != wire.SourceMaster || x.UUID != nil || x.AgentID.Value != o.AgentID.Value {
				r.t.Errorf("it is told %s", wire.JSON.Marshal(x))
			}
		}
		f.told("one", wire.TaskRunning)
		f.call(&wire.Call{Type: new(wire.CallTeardown)})
		f.close()
	}
}

func refusedOffers(r *region, e wire.Encoding) {
	f := r.framework(home, e).begin()
	f.accept(f.offer(""), 60, launch())
	r.pass(59 * time.Second)
	if f.offered() {
		r.t.Fatal("it is offered again what it refused")
	}
	r.pass(3 * time.Second)
	if !f.offered() {
		r.t.Fatal("what it refused is not offered again after refuse_seconds")
	}
	o := f.offer("")
	f.accept(o, 1e9, launch(task(o, "one"))) // the rest is refused, for ever
	f.told("one", wire.TaskRunning)
	r.pass(time.Minute)
	if f.offered() {
		r.t.Fatal("it is offered again what it refused")
	}
	r.nodes[0].finish(structs.FrameworkID(f.info.ID.Value), "one")
	f.told("one", wire.TaskFinished)
	r.pass(2 * time.Second)
	if !f.offered() {
		r.t.Fatal("more than it refused is not offered")
	}
}

func roleOfLaunches(r *region, e wire.Encoding) {
	f := r.framework(home, e, func(i *wire.FrameworkInfo) {
		i.Role, i.Roles = nil, []string{"eng", "ops"}
		i.Capabilities = []wire.Capability{{Type: new(wire.CapabilityMultiRole)}}
	}).begin()
	allocated := func(o wire.Offer, id string, roles ...string) wire.TaskInfo {
		t := task(o, id)
		for i, role := range roles {
			t.Resources[i].Allocation = &wire.AllocationInfo{Role: &role}
		}
		return t
	}
	o := f.offer("")
	mine, other := *o.Allocation.Role, "ops"
	if mine == other {
		other = "eng"
	}
	f.accept(o, 0, launch(allocated(o, "other", other, other), allocated(o, "both", mine, other), allocated(o, "none"), allocated(o, "one", mine)))
	for id, why := range map[string]string{"other": "allocated to role \"" + other, "both": "multiple allocation roles"} {
		if u := f.update(id, wire.TaskError); *u.Reason != wire.ReasonTaskInvalid || u.UUID != nil || !strings.Contains(*u.Message, why) {
			r.t.Errorf("it is told %s", wire.JSON.Marshal(u))
		}
	}
	f.told("none", wire.TaskRunning)
	f.told("one", wire.TaskRunning)
}

func updatesInOrder(r *region, e wire.Encoding) {
	f := r.framework(home, e).begin()
	o := f.offer("")
	f.accept(o, 0, launch(guest(o, "one", "x")))
	n := r.nodes[0]
	n.says(n.custom("x"), "one", structs.TaskRunning, structs.TaskFinished)
	first := f.update("one", wire.TaskRunning)
	again := func(after time.Duration) {
		r.t.Helper()
		r.pass(after - time.Second)
		f.none(wire.EventUpdate)
		r.pass(2 * time.Second)
		if x := f.update("one", wire.TaskRunning); !bytes.Equal(x.UUID, first.UUID) || len(x.UUID) != 16 {
			r.t.Errorf("it is told %s", wire.JSON.Marshal(x))
		}
	}
	again(10 * time.Second)
	again(19 * time.Second)
	f.acknowledge(first)
	last := f.told("one", wire.TaskFinished)
	if bytes.Equal(last.UUID, first.UUID) || last.ExecutorID == nil || last.ExecutorID.Value != "x" || *last.Source != wire.SourceExecutor {
		r.t.Errorf("it is told %s", wire.JSON.Marshal(last))
	}
	f.acknowledge(last) // once more, and one that nobody knows
	f.acknowledge(&wire.TaskStatus{AgentID: &wire.ID{Value: "no"}, TaskID: wire.ID{Value: "no"}, UUID: make([]byte, 16)})
	r.pass(20 * time.Minute)
	f.none(wire.EventUpdate)
}

func givenUp(r *region, e wire.Encoding) {
	aware := r.framework(home, e, func(i *wire.FrameworkInfo) {
		i.Capabilities = append(i.Capabilities, wire.Capability{Type: new(wire.CapabilityPartitionAware)})
	}).begin()
	other := r.framework("10.0.2.2", e).begin()
	o := aware.offer(r.nodes[0].id)
	aware.accept(o, 0, launch(task(o, "one")))
	aware.told("one", wire.TaskRunning)
	o = other.offer(r.nodes[0].id)
	other.accept(o, 0, launch(task(o, "one")))
	other.told("one", wire.TaskRunning)
	r.nodes[0].powerOff()
	aware.update("one", wire.TaskUnreachable)
	other.update("one", wire.TaskLost)
	away := wire.ID{Value: string(r.nodes[0].id)}
	for range 2 { // what is done already is no fault
		aware.operates(&wire.OperatorCall{Type: new(wire.OperatorMarkAgentGone), MarkGone: &wire.NamedAgent{AgentID: away}}, 200)
	}
	for f, state := range map[*framework]wire.TaskState{aware: wire.TaskGoneByOperator, other: wire.TaskLost} {
		x := f.update("one", state)
		if *x.Reason != wire.ReasonAgentRemovedByOperator || *x.Source != wire.SourceMaster || x.UUID != nil || x.UnreachableTime != nil || *x.AgentID != away {
			r.t.Errorf("it is told %s", wire.JSON.Marshal(x))
		}
		for _, id := range []string{"one", "none@" + away.Value} {
			f.forget()
			f.call(reconcile(id))
			id, _, _ := strings.Cut(id, "@")
			if x := f.update(id, state); *x.Reason != wire.ReasonReconciliation || x.UUID != nil {
				r.t.Errorf("it is told %s", wire.JSON.Marshal(x))
			}
		}
		f.forget()
		f.call(reconcile()) // it does not live
		r.pass(time.Second)
		f.none(wire.EventUpdate)
	}
	aware.call(reconcileOperations("none@" + away.Value))
	aware.outcome("none", wire.OperationGoneByOperator, false)
	// When it comes back all the same, it is sent away.
	r.nodes[0].start()
	r.eventually("the node is told", r.nodes[0].isGone)

	// One that is there is told to end its work, and its end is not news any more.
	there := r.nodes[1]
	for _, f := range []*framework{aware, other} {
		o := f.offer(there.id)
		f.accept(o, 0, launch(task(o, "two")))
		f.told("two", wire.TaskRunning)
		f.forget()
	}
	for range 2 {
		aware.operates(&wire.OperatorCall{Type: new(wire.OperatorMarkAgentGone), MarkGone: &wire.NamedAgent{AgentID: wire.ID{Value: string(there.id)}}}, 200)
	}
	for f, state := range map[*framework]wire.TaskState{aware: wire.TaskGoneByOperator, other: wire.TaskLost} {
		x := f.update("two", state)
		if *x.Reason != wire.ReasonAgentRemovedByOperator || *x.Source != wire.SourceMaster || x.UUID != nil || x.AgentID.Value != string(there.id) {
			r.t.Errorf("it is told %s", wire.JSON.Marshal(x))
		}
		f.await("the agent is lost", func(e *wire.Event) bool {
			return *e.Type == wire.EventFailure && e.Failure.AgentID.Value == string(there.id) && e.Failure.ExecutorID == nil
		})
		f.forget()
	}
	r.eventually("the node is told", there.isGone)
	r.pass(time.Minute)
	for _, f := range []*framework{aware, other} {
		f.none(wire.EventUpdate)
	}
	if n := r.snapshot().Node(there.id); n != nil {
		r.t.Errorf("the node is %+v", n)
	}
}

func startsInOrder(r *region, e wire.Encoding) {
	f := r.framework(home, e).begin()
	o := f.offer("")
	pod := task(o, "two")
	command := task(o, "one")
	command.Check = &wire.Check{Type: new(wire.CheckByCommand), Command: &wire.CheckCommand{Command: wire.CommandInfo{Value: new("true")}}}
	f.accept(o, 0, launch(command), wire.Operation{Type: new(wire.OperationLaunchGroup), Group: &wire.LaunchGroup{
		Executor: wire.ExecutorInfo{ExecutorID: wire.ID{Value: "pod"}, Type: new(wire.ExecutorDefault), Resources: []wire.Resource{scalar("cpus", 0.1), scalar("mem", 32)}},
		Tasks:    wire.TaskGroupInfo{Tasks: []wire.TaskInfo{pod}}}})
	for id, executor := range map[string]string{"one": "one", "two": "pod"} {
		starts := f.update(id, wire.TaskStarting)
		if len(starts.UUID) != 16 || *starts.Source != wire.SourceExecutor || starts.Reason != nil || starts.ExecutorID.Value != executor ||
			starts.ContainerStatus == nil || (starts.CheckStatus == nil) == (id == "one") {
			r.t.Errorf("it is told %s", wire.JSON.Marshal(starts))
		}
		r.pass(11 * time.Second)
		if again := f.update(id, wire.TaskStarting); !bytes.Equal(again.UUID, starts.UUID) {
			r.t.Errorf("it is told again %s", wire.JSON.Marshal(again))
		}
		if early := f.take(func(e *wire.Event) bool { return e.Update != nil && e.Update.Status.TaskID.Value == id }); early != nil {
			r.t.Errorf("before the acknowledgement it is told %s", wire.JSON.Marshal(early))
		}
		f.acknowledge(starts)
		if runs := f.told(id, wire.TaskRunning); bytes.Equal(runs.UUID, starts.UUID) || len(runs.UUID) != 16 {
			r.t.Errorf("it is told %s", wire.JSON.Marshal(runs))
		}
		f.forget() // the other one started meanwhile, and is told again
	}
	r.pass(20 * time.Minute)
	f.none(wire.EventUpdate)
}

func reconciliation(r *region, e wire.Encoding) {
	aware := r.framework(home, e, can(wire.CapabilityPartitionAware)).begin()
	o := aware.offer(r.nodes[0].id)
	aware.accept(o, 0, launch(task(o, "one")))
	aware.told("one", wire.TaskRunning)
	aware.call(&wire.Call{Type: new(wire.CallSuppress)})
	other := r.framework("10.0.2.2", e).begin()
	o = other.offer(r.nodes[0].id)
	other.accept(o, 0, launch(task(o, "one")))
	other.told("one", wire.TaskRunning)
	here, there := "@"+string(r.nodes[1].id), "@"+string(r.nodes[0].id)
	ask := func(f *framework, task string, states ...wire.TaskState) *wire.TaskStatus {
		r.t.Helper()
		want := states[0] // of one that is aware of partitions
		if f == other {
			want = states[1]
		}
		f.forget()
		f.call(reconcile(task))
		id, _, _ := strings.Cut(task, "@")
		x := f.update(id, want)
		if *x.Reason != wire.ReasonReconciliation || *x.Source != wire.SourceMaster || x.UUID != nil || x.Data != nil || x.Labels != nil || x.Message == nil {
			r.t.Errorf("it is told %s", wire.JSON.Marshal(x))
		}
		return x
	}
	for _, f := range []*framework{aware, other} {
		if x := ask(f, "one", wire.TaskRunning, wire.TaskRunning); x.ContainerStatus == nil {
			r.t.Errorf("it is told %s", wire.JSON.Marshal(x))
		}
		ask(f, "none", wire.TaskUnknown, wire.TaskLost)
		ask(f, "none@nowhere", wire.TaskUnknown, wire.TaskLost)
		ask(f, "none"+here, wire.TaskGone, wire.TaskLost)
		f.forget()
		f.call(reconcile()) // implicit: one for each task that lives
		f.update("one", wire.TaskRunning)
		r.pass(time.Second)
		f.none(wire.EventUpdate)
	}
	r.nodes[0].quit()
	aware.update("one", wire.TaskUnreachable)
	other.update("one", wire.TaskLost)
	for _, f := range []*framework{aware, other} {
		for _, id := range []string{"one", "none" + there} {
			if x := ask(f, id, wire.TaskUnreachable, wire.TaskLost); x.UnreachableTime == nil {
				r.t.Errorf("it is told %s", wire.JSON.Marshal(x))
			}
		}
	}
	// A KILL waits for the node.
	aware.call(&wire.Call{Type: new(wire.CallKill), Kill: &wire.Kill{TaskID: wire.ID{Value: "one"}}})
	ask(aware, "one", wire.TaskUnreachable)
	r.nodes[0].start()
	aware.told("one", wire.TaskKilled)
	if x := other.update("one", wire.TaskRunning); *x.Reason != wire.ReasonAgentReregistered || x.UUID != nil {
		r.t.Errorf("it is told %s", wire.JSON.Marshal(x))
	}
	ask(aware, "one", wire.TaskUnknown)
}

// What was launched on a node that went before it heard of that is unreachable, and dropped when the node is back without it.
func TestLaunchesThatNeverArrive(t *testing.T) {
	for want, capabilities := range map[wire.TaskState][]wire.CapabilityType{wire.TaskLost: nil, wire.TaskDropped: {wire.CapabilityPartitionAware}} {
		bubble(t, 1, 1, func(r *region) {
			f := r.framework(home, wire.JSON, can(capabilities...)).begin()
			o := f.offer("")
			r.nodes[0].quit()
			f.accept(o, 0, launch(task(o, "one")))
			away := f.update("one", map[bool]wire.TaskState{true: wire.TaskLost, false: wire.TaskUnreachable}[capabilities == nil])
			if away.UUID != nil {
				t.Errorf("it is told %s", wire.JSON.Marshal(away))
			}
			r.nodes[0].start()
			r.eventually("it hears that the task never was", func() bool {
				e := f.take(func(e *wire.Event) bool { return e.Update != nil && e.Update.Status.UUID != nil })
				if e == nil {
					return false
				}
				s := &e.Update.Status
				if s.State != want || *s.Reason != wire.ReasonAgentDisconnected || *s.Source != wire.SourceAgent {
					t.Errorf("it is told %s", wire.JSON.Marshal(s))
				}
				f.acknowledge(s)
				return true
			})
			o = f.offer("")
			f.accept(o, 0, launch(task(o, "one"))) // the name is free
			f.told("one", wire.TaskRunning)
			if n := r.witness.began[f.info.ID.Value+"/one"]; n != 1 {
				t.Errorf("it began %d times", n)
			}
		})
	}
}

func nextLeader(r *region, e wire.Encoding) {
	f := r.framework(home, e).begin()
	o := f.offer("")
	f.accept(o, 0, launch(task(o, "one"), task(o, "two")))
	first := f.update("one", wire.TaskRunning)
	f.told("two", wire.TaskRunning)
	id := f.info.ID.Value
	f.at.crash()
	<-f.done
	f.begin()
	if f.info.ID.Value != id {
		r.t.Errorf("it is %s now, and was %s", f.info.ID.Value, id)
	}
	if x := f.update("one", wire.TaskRunning); !bytes.Equal(x.UUID, first.UUID) {
		r.t.Errorf("it is told %s", wire.JSON.Marshal(x))
	}
	f.acknowledge(first)
	f.call(reconcile())
	for _, id := range []string{"one", "two"} {
		if x := f.update(id, wire.TaskRunning); x.UUID != nil {
			r.t.Errorf("it is told %s", wire.JSON.Marshal(x))
		}
	}
	if len(r.witness.running) != 2 {
		r.t.Errorf("%d tasks run", len(r.witness.running))
	}
	f.offer("")
}

func failoverTimeout(r *region, e wire.Encoding) {
	run := func(ip string, timeout float64) *framework {
		f := r.framework(ip, e, func(info *wire.FrameworkInfo) { info.FailoverTimeout = &timeout }).begin()
		o := f.offer("")
		f.accept(o, 0, launch(task(o, "one")))
		f.told("one", wire.TaskRunning)
		return f
	}
	runs := func() int {
		r.witness.mu.Lock()
		defer r.witness.mu.Unlock()
		return len(r.witness.running)
	}
	run(home, 0).close()
	r.eventually("its task is stopped", func() bool { return runs() == 0 })
	f := run("10.0.2.2", 300)
	f.close()
	r.pass(290 * time.Second)
	if runs() != 1 {
		r.t.Fatal("its task ended before the time")
	}
	f.begin()
	f.call(reconcile("one"))
	f.update("one", wire.TaskRunning)
	f.close()
	r.pass(310 * time.Second)
	if runs() != 0 {
		r.t.Error("its task goes on after the time")
	}
	if err := f.subscribe(r.leader()); err == nil || !strings.Contains(err.Error(), "Framework has been removed") {
		r.t.Errorf("it is told %v", err)
	}
}

func emptyPayloads(r *region, e wire.Encoding) {
	f := r.framework(home, e).begin()
	f.call(&wire.Call{Type: new(wire.CallDecline), Decline: &wire.Decline{OfferIDs: []wire.ID{f.offer("").ID}, Filters: &wire.Filters{RefuseSeconds: new(1e9)}}})
	for _, c := range []*wire.Call{
		{Type: new(wire.CallDecline), Decline: &wire.Decline{}}, {Type: new(wire.CallDecline), Decline: &wire.Decline{Filters: &wire.Filters{}}},
		{Type: new(wire.CallSuppress)}, {Type: new(wire.CallSuppress), Suppress: &wire.Roles{}},
		{Type: new(wire.CallSuppress), Suppress: &wire.Roles{Roles: []string{"not its own"}}}, {Type: new(wire.CallRevive), Revive: &wire.Roles{Roles: []string{"not its own"}}},
		{Type: new(wire.CallReconcile), Reconcile: &wire.Reconcile{}}, {Type: new(wire.CallRequest), Request: &wire.Requests{}},
		{Type: new(wire.CallAcceptInverseOffers), AcceptInverse: &wire.AnswerInverse{}}, {Type: new(wire.CallDeclineInverseOffers), DeclineInverse: &wire.AnswerInverse{}},
		{Type: new(wire.CallReconcileOperations), ReconcileOps: &wire.ReconcileOps{}},
	} {
		c.FrameworkID = f.info.ID
		res, err := f.post(context.Background(), f.at, c, f.stream)
		f.refused(c.Type.String(), 202, "", res, err)
		if got := res.Header.Get("Content-Type"); got != "" {
			r.t.Errorf("%s is answered with the type %q", c.Type, got)
		}
	}
	r.pass(10 * time.Second)
	if f.offered() {
		r.t.Error("it is suppressed, and offered a node")
	}
	for _, revive := range []*wire.Roles{nil, {}} { // which ends filters, too
		f.call(&wire.Call{Type: new(wire.CallRevive), Revive: revive})
		o := f.offer("")
		f.call(&wire.Call{Type: new(wire.CallDecline), Decline: &wire.Decline{OfferIDs: []wire.ID{o.ID}, Filters: &wire.Filters{RefuseSeconds: new(1e9)}}})
	}
}

func failures(r *region, e wire.Encoding) {
	f := r.framework(home, e).begin()
	n := r.nodes[0]
	o := f.offer(n.id)
	f.accept(o, 0, launch(guest(o, "one", "x")))
	w := n.custom("x")
	n.says(w, "one", structs.TaskRunning)
	f.told("one", wire.TaskRunning)
	n.executorEnds(w, 3)
	failure := func(is func(x *wire.Failure) bool) *wire.Failure {
		return f.await("FAILURE", func(e *wire.Event) bool { return e.Failure != nil && is(e.Failure) }).Failure
	}
	x := failure(func(x *wire.Failure) bool { return x.ExecutorID != nil })
	if x.AgentID == nil || x.AgentID.Value != string(n.id) || x.ExecutorID.Value != "x" || x.Status == nil || *x.Status != 3<<8 {
		r.t.Errorf("it is told %+v", x)
	}
	f.told("one", wire.TaskFailed)
	o = f.offer(n.id)
	f.accept(o, 0, launch(task(o, "two"))) // of which there is none
	f.told("two", wire.TaskRunning)
	n.finish(structs.FrameworkID(f.info.ID.Value), "two")
	f.told("two", wire.TaskFinished)
	f.none(wire.EventFailure)
	r.nodes[1].quit()
	if x := failure(func(x *wire.Failure) bool { return x.AgentID != nil }); x.AgentID.Value != string(r.nodes[1].id) || x.ExecutorID != nil || x.Status != nil {
		r.t.Errorf("it is told %+v", x)
	}
}

func noRoles(r *region, e wire.Encoding) {
	f := r.framework(home, e, can(wire.CapabilityMultiRole)).begin()
	r.pass(10 * time.Second)
	if f.offered() {
		r.t.Error("without a role it is offered a node")
	}
	f.call(&wire.Call{Type: new(wire.CallRevive)})
	f.info.Roles = []string{"eng"}
	res, err := f.post(context.Background(), f.at, &wire.Call{FrameworkID: f.info.ID, Type: new(wire.CallUpdateFramework),
		Update: &wire.UpdateFramework{FrameworkInfo: f.info}}, f.stream)
	f.refused("UPDATE_FRAMEWORK", 200, "", res, err)
	if o := f.offer(""); *o.Allocation.Role != "eng" {
		r.t.Errorf("it is offered %s", wire.JSON.Marshal(&o))
	}
	f.close()
	f.info.Roles = nil
	f.begin()
	r.pass(10 * time.Second)
	if f.offered() {
		r.t.Error("it gave its role up, and is offered a node")
	}
}

func severalNetworks(r *region, e wire.Encoding) {
	f := r.framework(home, e).begin()
	o := f.offer("")
	n := r.nodes[0]
	n.first, n.joined = []string{"10.2.0.3"}, []structs.JoinedNetwork{{Name: "a", Interface: "eth1", Addresses: []string{"10.1.0.3", "fd00::3"}}}
	ports := wire.Resource{Name: "ports", Type: wire.ValueRanges, Ranges: &wire.Ranges{Range: []wire.Range{{Begin: 20000, End: 20001}}}}
	in := func(id string, names ...string) wire.TaskInfo {
		t := task(o, id)
		t.Container = &wire.ContainerInfo{Type: wire.ContainerMesos}
		for _, name := range names {
			t.Container.Networks = append(t.Container.Networks, wire.NetworkInfo{Name: &name})
		}
		return t
	}
	both := in("both", "z", "a")
	both.Resources = append(both.Resources, ports)
	both.Container.Networks[0].PortMappings = []wire.PortMapping{{HostPort: 20000, ContainerPort: 80}}
	both.Container.Networks[1].PortMappings = []wire.PortMapping{{HostPort: 20001, ContainerPort: 81}}
	both.Container.Networks[1].Labels = &wire.Labels{Labels: []wire.Label{{Key: "app", Value: new("web")}}}
	pod := in("pod", "z", "a").Container
	f.accept(o, 0, launch(both, in("twice", "a", "z", "a"), in("elsewhere", "z", "nowhere")), wire.Operation{Type: new(wire.OperationLaunchGroup), Group: &wire.LaunchGroup{
		Executor: wire.ExecutorInfo{ExecutorID: wire.ID{Value: "pod"}, Type: new(wire.ExecutorDefault), Container: pod, Resources: []wire.Resource{scalar("cpus", 0.1), scalar("mem", 32)}},
		Tasks:    wire.TaskGroupInfo{Tasks: []wire.TaskInfo{task(o, "member")}}}})
	for id, why := range map[string]string{"twice": "Attempted to join the network 'a' multiple times", "elsewhere": "network.cni.nowhere"} {
		if u := f.update(id, wire.TaskError); *u.Reason != wire.ReasonTaskInvalid || !strings.Contains(*u.Message, why) {
			r.t.Errorf("it is told %s", wire.JSON.Marshal(u))
		}
	}
	address := func(text string, p wire.IPProtocol) wire.IPAddress {
		return wire.IPAddress{IPAddress: &text, Protocol: &p}
	}
	want := []wire.NetworkInfo{{Name: new("z"), IPAddresses: []wire.IPAddress{address("10.2.0.3", wire.IPv4)}},
		{Name: new("a"), IPAddresses: []wire.IPAddress{address("10.1.0.3", wire.IPv4), address("fd00::3", wire.IPv6)}}}
	is := func(id string) {
		r.t.Helper()
		if u := f.told(id, wire.TaskRunning); !reflect.DeepEqual(u.ContainerStatus.NetworkInfos, want) {
			r.t.Errorf("it is told %s", wire.JSON.Marshal(u))
		}
	}
	is("member")
	want[0].PortMappings, want[1].PortMappings, want[1].Labels = both.Container.Networks[0].PortMappings, both.Container.Networks[1].PortMappings, both.Container.Networks[1].Labels
	is("both")
}
