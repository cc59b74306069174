package operator

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// post sends a call in an encoding.
func (r *region) post(s *Servers, encoding wire.Encoding, c *wire.OperatorCall) *httptest.ResponseRecorder {
	req := httptest.NewRequestWithContext(r.t.Context(), http.MethodPost, "/api/v1", bytes.NewReader(encoding.Marshal(c)))
	req.Header.Set("Content-Type", encoding.ContentType())
	req.Header.Set("Accept", encoding.ContentType())
	w := httptest.NewRecorder()
	s.Call(w, req, mesos.Caller{Actor: "op", Principal: "alice"})
	return w
}

func (r *region) answers(s *Servers, c *wire.OperatorCall, status int, want string) {
	r.t.Helper()
	w := r.post(s, wire.Protobuf, c)
	if w.Code != status || !strings.Contains(w.Body.String(), want) {
		r.t.Errorf("%s: %d %q, want %d with %q", c.Type, w.Code, w.Body.String(), status, want)
	}
	if status < 300 && w.Header().Get("Content-Type") != "" {
		r.t.Errorf("%s: a call that has no answer has the type %q", c.Type, w.Header().Get("Content-Type"))
	}
}

// Each call that asks for something, in both encodings: they say the same, and every required field is there.
func TestCallsThatAsk(t *testing.T) {
	r := peopled(t)
	s := r.servers()
	r.must(&state.SetMaintenance{Node: "n1", Maintenance: &structs.Maintenance{Window: structs.Window{Start: structs.Time(1e15), Duration: 60e9}}})
	for number, name := range wire.OperatorCallType(0).Names() {
		kind := wire.OperatorCallType(number)
		if !strings.HasPrefix(name, "GET_") {
			continue
		}
		var said []string
		for _, encoding := range []wire.Encoding{wire.JSON, wire.Protobuf} {
			w := r.post(s, encoding, &wire.OperatorCall{Type: &kind})
			answer := &wire.OperatorResponse{}
			if err := encoding.Unmarshal(w.Body.Bytes(), answer); err != nil || w.Code != 200 || w.Header().Get("Content-Type") != encoding.ContentType() {
				t.Fatalf("%s: %d %q, %v: %s", name, w.Code, w.Header().Get("Content-Type"), err, w.Body)
			}
			if answer.Type == nil || answer.Type.String() != name {
				t.Errorf("%s is answered as %s", name, answer.Type)
			}
			answer.Metrics = nil // they change
			said = append(said, string(wire.JSON.Marshal(answer)))
		}
		if said[0] != said[1] {
			t.Errorf("%s: in JSON %s\nin protobuf %s", name, said[0], said[1])
		}
	}
}

func TestWhatCallsAnswer(t *testing.T) {
	r := peopled(t)
	s := r.servers()
	ask := func(kind wire.OperatorCallType) *wire.OperatorResponse {
		t.Helper()
		out := &wire.OperatorResponse{}
		if err := wire.Protobuf.Unmarshal(r.post(s, wire.Protobuf, &wire.OperatorCall{Type: &kind}).Body.Bytes(), out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	tasks := ask(wire.OperatorGetTasks).Tasks
	if len(tasks.Tasks) != 3 || len(tasks.Completed) != 1 || tasks.Completed[0].State != wire.TaskFailed {
		t.Errorf("the tasks are %+v", tasks)
	}
	st := ask(wire.OperatorGetState).State
	if len(st.Tasks.Tasks) != 3 || len(st.Agents.Agents) != 2 || len(st.Frameworks.Frameworks) != 2 || len(st.Frameworks.Completed) != 1 {
		t.Errorf("the state is %s", wire.JSON.Marshal(st))
	}
	n2 := st.Agents.Agents[1]
	if n2.Active || n2.Drain == nil || n2.Drain.State != wire.Drained {
		t.Errorf("an agent that is emptied is %s", wire.JSON.Marshal(&n2))
	}
	f := ask(wire.OperatorGetFrameworks).Frameworks.Frameworks[0]
	if f.Info.ID.Value != "f1" || len(f.Offers) != 1 || !f.Connected || f.Info.Capabilities[0].Type.String() != structs.CanHaveRoles {
		t.Errorf("the framework is %s", wire.JSON.Marshal(&f))
	}
	if got := string(wire.JSON.Marshal(st.Agents.Agents[0].Info.Domain)); got != domain("dc2") {
		t.Errorf("an agent is in %s", got)
	}
	if m := ask(wire.OperatorGetMaster).Master; m.Info.Port != 5050 || *m.Elected != 5 || string(wire.JSON.Marshal(m.Info.Domain)) != domain("dc1") {
		t.Errorf("the master is %s", wire.JSON.Marshal(m))
	}
}

// What is wrong with a call as such.
func TestBadCalls(t *testing.T) {
	r := peopled(t)
	s := r.servers()
	at := func(name string, status int, change func(*http.Request)) {
		t.Helper()
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1", strings.NewReader(`{"type":"GET_HEALTH"}`))
		req.Header.Set("Content-Type", "application/json")
		change(req)
		w := httptest.NewRecorder()
		s.Call(w, req, mesos.Caller{})
		if w.Code != status {
			t.Errorf("%s: %d, want %d: %s", name, w.Code, status, w.Body)
		}
	}
	at("a good one", 200, func(*http.Request) {})
	at("another method", 405, func(q *http.Request) { q.Method = http.MethodGet })
	at("no type of the body", 400, func(q *http.Request) { q.Header.Del("Content-Type") })
	at("another type of the body", 415, func(q *http.Request) { q.Header.Set("Content-Type", "text/plain") })
	at("nothing acceptable", 406, func(q *http.Request) { q.Header.Set("Accept", "text/html") })
	r.follows.Store(true)
	at("another server", 307, func(*http.Request) {})
	r.follows.Store(false)
	kind := wire.OperatorDrainAgent
	r.answers(s, &wire.OperatorCall{}, 400, "'type' to be present")
	r.answers(s, &wire.OperatorCall{Type: new(wire.OperatorUnknown)}, 501, "")
	r.answers(s, &wire.OperatorCall{Type: &kind}, 400, "'drain_agent' to be present")
	r.answers(s, &wire.OperatorCall{Type: new(wire.OperatorListFiles), ListFiles: &wire.ListFiles{Path: "/"}}, 404, "no files")
	r.answers(s, &wire.OperatorCall{Type: new(wire.OperatorSetLoggingLevel), SetLoggingLevel: &wire.SetLoggingLevel{}}, 501, "cannot be changed")
	var long time.Duration
	s.Verbose = func(d time.Duration) { long = d }
	r.answers(s, &wire.OperatorCall{Type: new(wire.OperatorSetLoggingLevel),
		SetLoggingLevel: &wire.SetLoggingLevel{Level: 1, Duration: wire.DurationInfo{Nanoseconds: 1e9}}}, 200, "")
	if long != time.Second {
		t.Errorf("the log says more for %v", long)
	}
}

func scalar(name string, x float64) wire.Resource {
	return wire.Resource{Name: name, Type: wire.ValueScalar, Scalar: &wire.Scalar{Value: x}}
}

func TestWeightsAndQuotas(t *testing.T) {
	r := peopled(t)
	s := r.servers()
	weights := func(role string, x float64) *wire.OperatorCall {
		return &wire.OperatorCall{Type: new(wire.OperatorUpdateWeights), UpdateWeights: &wire.Weights{Weights: []wire.WeightInfo{{Weight: x, Role: &role}}}}
	}
	r.answers(s, weights("eng", 2.5), 200, "")
	r.answers(s, weights("new/role", 3), 200, "")
	r.answers(s, weights("eng", 0), 400, "range")
	r.answers(s, weights("a//b", 1), 400, "invalid")
	snap := r.store.Snapshot()
	if snap.Role("eng").Weight != 2500 || snap.Role("new/role").Weight != 3000 {
		t.Errorf("the weights are %v and %v", snap.Role("eng").Weight, snap.Role("new/role").Weight)
	}
	quota := func(c wire.QuotaConfig) *wire.OperatorCall {
		return &wire.OperatorCall{Type: new(wire.OperatorUpdateQuota), UpdateQuota: &wire.UpdateQuota{Configs: []wire.QuotaConfig{c}}}
	}
	one := map[string]*wire.Scalar{"cpus": {Value: 1}, "mem": {Value: 512}}
	r.answers(s, quota(wire.QuotaConfig{Role: "eng", Guarantees: one, Limits: map[string]*wire.Scalar{"cpus": {Value: 4}}}), 200, "")
	if q := r.store.Snapshot().Role("eng").Quota; *q.Guarantee.Memory != 512<<20 || *q.Limit.CPU != 4000 || r.store.Snapshot().Role("eng").Weight != 2500 {
		t.Errorf("the quota is %+v", q)
	}
	r.answers(s, quota(wire.QuotaConfig{Role: "eng", Guarantees: map[string]*wire.Scalar{"cpus": {Value: 1000}}}), 409, "")
	r.answers(s, quota(wire.QuotaConfig{Role: "eng", Guarantees: map[string]*wire.Scalar{"cpus": {Value: -1}}}), 400, "cpus")
	r.answers(s, &wire.OperatorCall{Type: new(wire.OperatorRemoveQuota), RemoveQuota: &wire.RemoveQuota{Role: "eng"}}, 200, "")
	r.answers(s, &wire.OperatorCall{Type: new(wire.OperatorRemoveQuota), RemoveQuota: &wire.RemoveQuota{Role: "eng"}}, 400, "no quota")
	if r.store.Snapshot().Role("eng").Quota != nil {
		t.Error("the quota is still there")
	}
	r.answers(s, &wire.OperatorCall{Type: new(wire.OperatorSetQuota), SetQuota: &wire.SetQuota{Request: wire.QuotaRequest{Role: new("eng"),
		Guarantee: []wire.Resource{scalar("cpus", 2)}}}}, 200, "")
	if q := r.store.Snapshot().Role("eng").Quota; *q.Guarantee.CPU != 2000 || *q.Limit.CPU != 2000 {
		t.Errorf("the quota is %+v", q)
	}
}

func TestReservations(t *testing.T) {
	r := peopled(t)
	s := r.servers()
	r.node("n4", nil)
	reserved := func(x wire.Resource, role string) wire.Resource {
		x.Reservations = []wire.Reservation{{Type: new(wire.ReservationDynamic), Role: &role, Principal: new("alice")}}
		return x
	}
	reserve := func(all ...wire.Resource) *wire.OperatorCall {
		return &wire.OperatorCall{Type: new(wire.OperatorReserveResources), Reserve: &wire.AgentReserve{AgentID: wire.ID{Value: "n4"}, Resources: all}}
	}
	release := func(all ...wire.Resource) *wire.OperatorCall {
		return &wire.OperatorCall{Type: new(wire.OperatorUnreserveResources), Unreserve: &wire.AgentUnreserve{AgentID: wire.ID{Value: "n4"}, Resources: all}}
	}
	on := func() int { return len(r.store.Snapshot().ReservedOn("n4")) }
	r.answers(s, reserve(reserved(scalar("cpus", 2), "eng"), reserved(scalar("mem", 64), "eng")), 202, "")
	if on() != 1 || r.store.Snapshot().ReservedOn("n4")[0].Principal != "alice" {
		t.Fatalf("%d reservations", on())
	}
	r.answers(s, reserve(scalar("cpus", 1)), 400, "not reserved")
	ports := wire.Resource{Name: "ports", Type: wire.ValueRanges, Ranges: &wire.Ranges{Range: []wire.Range{{Begin: 31005, End: 31006}, {Begin: 31000, End: 31001}}}}
	r.answers(s, reserve(reserved(ports, "ops")), 202, "")
	r.answers(s, reserve(reserved(ports, "eng")), 409, "ports [31000-31001,31005-31006] are reserved for role \"ops\"")
	if got := r.store.Snapshot().ReservedOn("n4")[0].Resources.String() + r.store.Snapshot().ReservedOn("n4")[on()-1].Resources.String(); !strings.Contains(got, "ports [31000-31001,31005-31006]") {
		t.Errorf("reserved are %s", got)
	}
	r.answers(s, release(reserved(ports, "ops")), 202, "")
	r.answers(s, reserve(reserved(scalar("cpus", 1), "ops"), reserved(scalar("cpus", 100), "web")), 409, "cpu")
	if on() != 1 {
		t.Errorf("after one that was refused in part there are %d", on())
	}
	bad := reserve(reserved(scalar("cpus", 1), "eng"))
	bad.Reserve.AgentID.Value = "none"
	r.answers(s, bad, 400, "No agent")
	r.answers(s, release(reserved(scalar("cpus", 1), "eng")), 409, "whole")
	r.answers(s, release(reserved(scalar("cpus", 2), "eng"), reserved(scalar("mem", 64), "eng")), 202, "")
	if on() != 0 {
		t.Errorf("%d are left", on())
	}
}

func TestVolumes(t *testing.T) {
	r := peopled(t)
	s := r.servers()
	r.node("n4", nil)
	r.must(&state.PutReservation{Reservation: &structs.Reservation{ID: "r", Node: "n4", Role: "eng", Resources: structs.Resources{Disk: 4 << 30}}})
	v := scalar("disk", 1024)
	v.Reservations = []wire.Reservation{{Type: new(wire.ReservationDynamic), Role: new("eng")}}
	v.Disk = &wire.DiskInfo{Persistence: &wire.Persistence{ID: "db"}, Volume: &wire.Volume{ContainerPath: "data", Mode: wire.VolumeRW}}
	call := func(kind wire.OperatorCallType, all ...wire.Resource) *wire.OperatorCall {
		x := &wire.AgentVolumes{AgentID: wire.ID{Value: "n4"}, Volumes: all}
		if kind == wire.OperatorCreateVolumes {
			return &wire.OperatorCall{Type: &kind, Create: x}
		}
		return &wire.OperatorCall{Type: &kind, Destroy: x}
	}
	size := func() (b structs.Bytes) {
		for v := range r.store.Snapshot().Volumes() {
			if v.Status == structs.VolumeReady {
				b += v.Size
			}
		}
		return b
	}
	r.answers(s, call(wire.OperatorDestroyVolumes, v), 409, "no volume")
	r.answers(s, call(wire.OperatorCreateVolumes, v), 202, "")
	r.answers(s, call(wire.OperatorCreateVolumes, v), 409, "db")
	r.answers(s, call(wire.OperatorCreateVolumes, scalar("disk", 1)), 400, "persistence")
	agent := &wire.ID{Value: "n4"}
	r.answers(s, &wire.OperatorCall{Type: new(wire.OperatorGrowVolume), Grow: &wire.AgentGrow{AgentID: agent, Volume: v, Addition: scalar("disk", 1024)}}, 202, "")
	if size() != 2<<30 {
		t.Errorf("it has %s", size())
	}
	r.answers(s, &wire.OperatorCall{Type: new(wire.OperatorShrinkVolume), Shrink: &wire.AgentShrink{AgentID: agent, Volume: v, Subtract: wire.Scalar{Value: 512}}}, 202, "")
	if size() != 3<<29 {
		t.Errorf("it has %s", size())
	}
	r.answers(s, call(wire.OperatorDestroyVolumes, v), 202, "")
	if size() != 0 {
		t.Errorf("%s are left", size())
	}
}

func TestAgents(t *testing.T) {
	r := peopled(t)
	s := r.servers()
	named := func(kind wire.OperatorCallType, id string) *wire.OperatorCall {
		x := &wire.NamedAgent{AgentID: wire.ID{Value: id}}
		return &wire.OperatorCall{Type: &kind, MarkGone: x, Deactivate: x, Reactivate: x}
	}
	node := func(id structs.NodeID) *structs.Node { return r.store.Snapshot().Node(id) }
	r.answers(s, named(wire.OperatorDeactivateAgent, "n1"), 200, "")
	if node("n1").Eligible {
		t.Error("it takes work")
	}
	r.answers(s, named(wire.OperatorReactivateAgent, "n1"), 200, "")
	r.answers(s, named(wire.OperatorReactivateAgent, "n1"), 400, "not deactivated")
	drain := &wire.OperatorCall{Type: new(wire.OperatorDrainAgent), Drain: &wire.DrainAgent{AgentID: wire.ID{Value: "n1"}, MaxGrace: &wire.Duration{Seconds: new(int64(60))}}}
	r.answers(s, drain, 200, "")
	if d := node("n1").Drain; d == nil || d.Deadline == 0 {
		t.Errorf("its drain is %+v", d)
	}
	r.answers(s, named(wire.OperatorReactivateAgent, "n1"), 400, "DRAINING")
	r.answers(s, named(wire.OperatorReactivateAgent, "n2"), 200, "") // nothing is on it
	if !node("n2").Schedulable() {
		t.Error("it takes no work")
	}
	drain.Drain.MarkGone, drain.Drain.AgentID.Value = new(true), "n2"
	r.answers(s, drain, 200, "")
	if d := node("n2").Drain; d == nil || !d.Gone {
		t.Errorf("its drain is %+v", d)
	}
	r.answers(s, named(wire.OperatorReactivateAgent, "n2"), 400, "DRAINING")
	for _, shown := range []string{r.post(s, wire.JSON, &wire.OperatorCall{Type: new(wire.OperatorGetAgents)}).Body.String(), r.ask(s, "GET", "/slaves").Body.String()} {
		if strings.Count(shown, `"mark_gone":true`) != 1 || !strings.Contains(shown, `"DRAINING"`) {
			t.Errorf("agents are shown as %s", shown)
		}
	}
	r.answers(s, named(wire.OperatorMarkAgentGone, "none"), 404, "No agent")
	for range 2 {
		r.answers(s, named(wire.OperatorMarkAgentGone, "n1"), 200, "") // it has work
	}
	if n := node("n1"); n.Gone == nil || n.Schedulable() || n.Drain != nil {
		t.Errorf("it is %+v", n)
	}
	drain.Drain.AgentID.Value = "n1"
	r.answers(s, drain, 409, "Agent is currently being marked gone")
	r.answers(s, named(wire.OperatorReactivateAgent, "n1"), 409, "marked gone")
	r.answers(s, named(wire.OperatorMarkAgentGone, "n3"), 200, "")
	if node("n3") != nil {
		t.Error("it is still there")
	}
	drain.Drain.AgentID.Value = "n3"
	r.answers(s, drain, 400, "No agent")
	r.answers(s, named(wire.OperatorDeactivateAgent, "none"), 400, "No agent")
}

func TestMaintenance(t *testing.T) {
	r := peopled(t)
	s := r.servers()
	schedule := func(start, length int64, names ...string) *wire.OperatorCall {
		w := wire.Window{Unavailability: wire.Unavailability{Start: wire.TimeInfo{Nanoseconds: start}, Duration: &wire.DurationInfo{Nanoseconds: length}}}
		for _, name := range names {
			w.Machines = append(w.Machines, wire.MachineID{Hostname: &name})
		}
		return &wire.OperatorCall{Type: new(wire.OperatorUpdateMaintenanceSchedule), UpdateSchedule: &wire.MaintenancePlan{Schedule: wire.Schedule{Windows: []wire.Window{w}}}}
	}
	machines := func(kind wire.OperatorCallType, name string) *wire.OperatorCall {
		x := &wire.Machines{Machines: []wire.MachineID{{Hostname: &name}}}
		return &wire.OperatorCall{Type: &kind, StartMachines: x, StopMachines: x}
	}
	window := func(id structs.NodeID) *structs.Maintenance { return r.store.Snapshot().Node(id).Maintenance }
	const far = 4e18
	r.answers(s, schedule(far, 60e9, "n1", "nowhere"), 400, "nowhere")
	if window("n1") != nil {
		t.Error("a schedule that was refused changed something")
	}
	r.answers(s, schedule(far, 60e9, "n1", "n2"), 200, "")
	if window("n1") == nil || window("n2").Start != far {
		t.Errorf("the windows are %+v and %+v", window("n1"), window("n2"))
	}
	r.answers(s, schedule(far, 90e9, "n1"), 200, "")
	if window("n2") != nil || window("n1").Duration != 90e9 {
		t.Errorf("the windows are %+v and %+v", window("n1"), window("n2"))
	}
	r.answers(s, machines(wire.OperatorStartMaintenance, "n2"), 400, "not part")
	r.answers(s, machines(wire.OperatorStartMaintenance, "n1"), 200, "")
	if m := window("n1"); !m.Began || m.Start == far {
		t.Errorf("it is %+v", m)
	}
	status := r.post(s, wire.JSON, &wire.OperatorCall{Type: new(wire.OperatorGetMaintenanceStatus)}).Body.String()
	if !strings.Contains(status, `"draining_machines":[{"id":{"hostname":"10.0.0.9"`) || !strings.Contains(status, `"status":"ACCEPT"`) {
		t.Errorf("the status is %s", status)
	}
	r.answers(s, machines(wire.OperatorStopMaintenance, "n1"), 200, "")
	if window("n1") != nil || !r.store.Snapshot().Node("n1").Schedulable() {
		t.Errorf("it is %+v", window("n1"))
	}
}

func TestTeardown(t *testing.T) {
	r := peopled(t)
	s := r.servers()
	call := func(id string) *wire.OperatorCall {
		return &wire.OperatorCall{Type: new(wire.OperatorTeardown), Teardown: &wire.Teardown{FrameworkID: wire.ID{Value: id}}}
	}
	r.answers(s, call("none"), 400, "No framework")
	r.answers(s, call(structs.ServiceJob), 400, "built in")
	r.answers(s, call("f1"), 200, "")
	r.answers(s, call("f1"), 400, "No framework")
	if f := r.store.Snapshot().Framework("f1"); f.Ended == 0 || r.actors[len(r.actors)-1] != "op" {
		t.Errorf("it is %+v, by %s", f, r.actors[len(r.actors)-1])
	}
}

// drainEnds is a region in which the drain of a node ends just before what is proposed next.
type drainEnds struct {
	*region
	node structs.NodeID
}

func (d *drainEnds) Propose(ctx context.Context, key, actor string, cmd state.Command) (any, uint64, error) {
	if d.node != "" {
		d.must(&state.SetDrain{Node: d.node})
		d.node = ""
	}
	return d.region.Propose(ctx, key, actor, cmd)
}

func TestReactivateWhileADrainEnds(t *testing.T) {
	r := peopled(t)
	s := r.servers()
	s.region = &drainEnds{r, "n2"}
	r.answers(s, &wire.OperatorCall{Type: new(wire.OperatorReactivateAgent), Reactivate: &wire.NamedAgent{AgentID: wire.ID{Value: "n2"}}}, 200, "")
	if n := r.store.Snapshot().Node("n2"); deactivated(n) {
		t.Errorf("the node is %+v", n)
	}
}
