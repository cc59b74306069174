package http

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

func mustSubmit(j *structs.Job) *state.SubmitJob {
	j.Canonicalize()
	return &state.SubmitJob{Job: j}
}

// The client and the handlers agree on every call: each route is called through the client once.
func TestEveryCallThroughTheClient(t *testing.T) {
	var mu sync.Mutex
	served := map[string]bool{}
	w := newWorld(t)
	for i := range w.service.routes { // before the first request
		r := &w.service.routes[i]
		handle := r.Handle
		r.Handle = func(c *call) (any, error) {
			v, err := handle(c)
			mu.Lock()
			defer mu.Unlock()
			served[r.Name] = true
			if err == nil && v != nil {
				if got, want := reflect.TypeOf(v), reflect.TypeOf(r.Result); got != want && got != reflect.PointerTo(want) {
					t.Errorf("%s answers %v, and the table says %v", r.Name, got, want)
				}
			}
			return v, err
		}
	}
	ctx, c := t.Context(), w.client
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	n := w.node("aa01", "n1")
	lost := w.node("aa02", "n2")
	w.region.offers = []*structs.Offer{{ID: structs.OfferID(id("0f")), Role: "default"}}
	w.propose(&state.PutFramework{Framework: &structs.Framework{ID: structs.FrameworkID(id("fe01")), Name: "spark"}})

	submitted := w.submit(job("web", 2))
	if submitted.Version != 1 || !submitted.Changed {
		t.Errorf("%+v", submitted)
	}
	a := w.place("bb01", n, "web", 0)
	w.observe(a, structs.AllocRunning, map[string]*structs.TaskState{"main": {Status: structs.TaskRunning}})
	jobs, meta, err := c.Jobs(ctx, nil)
	must(err)
	if len(jobs) != 1 || jobs[0].Groups[0].Running != 1 || jobs[0].Groups[0].Waiting != 1 || !meta.KnownLeader || meta.Index != w.region.store.Snapshot().Index() {
		t.Errorf("%+v %+v", jobs[0].Groups[0], meta)
	}
	parsed, err := c.ParseJob(ctx, api.JobText{HCL: []byte("variable \"n\" { default = 1 }\njob \"x\" {\n group \"g\" {\n count = var.n\n task \"t\" { driver = \"mock\" }\n }\n}"), Vars: []string{"n=3"}})
	must(err)
	if parsed.Name != "x" || *parsed.Groups[0].Count != 3 {
		t.Errorf("%+v", parsed)
	}
	plan, err := c.PlanJob(ctx, job("web", 3))
	must(err)
	if plan.Version != 1 || !strings.Contains(plan.Text, "count") || plan.Explanation == nil {
		t.Errorf("%+v", plan)
	}
	detail, _, err := c.Job(ctx, "web", nil)
	must(err)
	if detail.Job.Name != "web" || detail.Name != "web" {
		t.Errorf("%+v", detail)
	}
	status, _, err := c.JobStatus(ctx, "web", nil)
	must(err)
	if len(status.Allocations) != 1 || status.Allocations[0].ID != a.ID {
		t.Errorf("%+v", status)
	}
	explained, err := c.ExplainJob(ctx, "web", "web")
	must(err)
	if explained.Groups[0].Reasons[0].What != "memory" {
		t.Errorf("%+v", explained)
	}
	_, err = c.ScaleJob(ctx, "web", "", 3)
	must(err)
	if got := w.region.store.Snapshot().Job("web").Counts["web"]; got != 3 {
		t.Errorf("count is %d", got)
	}
	_, err = c.RestartJob(ctx, "web")
	must(err)
	if done := w.submit(job("web", 5)); done.Version != 2 {
		t.Errorf("%+v", done)
	}
	if done := w.submit(job("web", 5)); done.Changed {
		t.Errorf("the same text again: %+v", done)
	}
	reverted, err := c.RevertJob(ctx, "web", 1)
	must(err)
	if reverted.Version != 3 {
		t.Errorf("%+v", reverted)
	}
	versions, _, err := c.JobVersions(ctx, "web", nil)
	must(err)
	if len(versions) != 3 || versions[0].Version != 3 || versions[0].Actor != "local/ann" {
		t.Errorf("%d versions, the newest %+v", len(versions), versions[0])
	}
	ofJob, _, err := c.JobAllocations(ctx, "web", nil)
	must(err)
	allocs, _, err := c.Allocations(ctx, &api.Query{Filter: []string{"job=web", "status=running", "node_name!=x"}})
	must(err)
	ofNode, _, err := c.NodeAllocations(ctx, "aa01", nil)
	must(err)
	if len(ofJob) != 1 || len(allocs) != 1 || len(ofNode) != 1 {
		t.Errorf("%d %d %d allocations", len(ofJob), len(allocs), len(ofNode))
	}
	one, _, err := c.Allocation(ctx, "bb01", nil)
	must(err)
	if one.ID != a.ID || !slices.Equal(one.TaskNames, []string{"main"}) {
		t.Errorf("%+v", one)
	}
	node := w.region.nodes[n.ID]
	_, err = c.SignalAllocation(ctx, "bb01", "main", "SIGHUP")
	must(err)
	if !slices.Equal(node.signals, []string{"main:SIGHUP"}) {
		t.Error(node.signals)
	}
	if n, err := c.NodeStats(ctx, "aa01"); err != nil || n.Tasks != 2 || n.CPU != 500 || n.Resources.CPU == 0 {
		t.Errorf("%+v, %v", n, err)
	}
	stats, err := c.AllocationStats(ctx, "bb01")
	must(err)
	if stats.Tasks["main"].CPU != 500 {
		t.Errorf("%+v", stats)
	}
	node.files = map[string]string{"alloc/x": "hello"}
	files, err := c.ListFiles(ctx, "bb01", "alloc")
	must(err)
	info, err := c.StatFile(ctx, "bb01", "./alloc/x")
	must(err)
	file, err := c.ReadFile(ctx, "bb01", "/alloc/x", 1, 3)
	must(err)
	raw, err := io.ReadAll(file)
	must(err)
	if len(files) != 1 || info.Size != 5 || string(raw) != "ell" {
		t.Errorf("%v %v %q", files, info, raw)
	}
	node.frames = []*api.LogFrame{{Stream: "stdout", Data: []byte("out")}, {Stream: "stderr", Data: []byte("err")}}
	var frames []string
	must(c.Logs(ctx, &api.LogsRequest{Alloc: "bb01", Task: "main", Stdout: true, Stderr: true, Follow: true}, func(f *api.LogFrame) error {
		frames = append(frames, f.Stream+":"+string(f.Data))
		return nil
	}))
	if !slices.Equal(frames, []string{"stdout:out", "stderr:err"}) {
		t.Error(frames)
	}
	var out bytes.Buffer
	result, err := c.Exec(ctx, &api.ExecRequest{Alloc: "bb01", Task: "main", Command: []string{"cat"}, Stdin: strings.NewReader("round trip"), Stdout: &out})
	must(err)
	if result.Code != 0 || out.String() != "round trip" {
		t.Errorf("%+v %q", result, out.String())
	}
	copied, err := c.UnpackFiles(ctx, "bb01", "main/local", strings.NewReader("a stream"))
	must(err)
	packed, err := c.PackFiles(ctx, "bb01", "alloc/x", "g")
	must(err)
	raw, err = io.ReadAll(packed)
	must(err)
	if packed.Close(); copied.Size != 8 || string(raw) != "alloc/x as g" {
		t.Errorf("%+v %q", copied, raw)
	}
	if _, err := c.UnpackFiles(ctx, "bb01", "none", strings.NewReader(strings.Repeat("x", 1<<20))); structs.KindOf(err) != structs.NotFound {
		t.Error(err)
	}
	if _, err := c.PackFiles(ctx, "bb01", "none", ""); structs.KindOf(err) != structs.NotFound {
		t.Error(err)
	}
	here, there := pair(t)
	here.CloseWrite()
	must(c.Forward(ctx, "bb01", "echo", there))
	_, err = c.RestartAllocation(ctx, "bb01", "main")
	must(err)
	_, err = c.StopAllocation(ctx, "bb01")
	must(err)
	if got := w.region.store.Snapshot().Alloc(a.ID); got.Desired != structs.DesiredStop || got.DesiredWhy != "stopped by local/ann" || got.Restarts != 1 {
		t.Errorf("%+v", got)
	}

	nodes, _, err := c.Nodes(ctx, nil)
	must(err)
	seen, _, err := c.Node(ctx, "aa01", nil)
	must(err)
	if len(nodes) != 2 || seen.Name != "n1" || len(seen.Allocations) != 1 || seen.Used.IsZero() {
		t.Errorf("%d nodes, %+v", len(nodes), seen)
	}
	_, err = c.SetEligibility(ctx, "aa01", false, "disk")
	must(err)
	if got := w.region.store.Snapshot().Node(n.ID); got.Closed == nil || got.Closed.Reason != "disk" || got.Closed.By == "" || got.Closed.Since.IsZero() {
		t.Errorf("%+v", got.Closed)
	}
	_, err = c.SetMaintenance(ctx, "aa01", api.NodeMaintenance{In: structs.Duration(time.Hour), Duration: structs.Duration(time.Hour), Reason: "disk"})
	must(err)
	windows, _, err := c.Maintenance(ctx, nil)
	must(err)
	if len(windows) != 1 || windows[0].State != "scheduled" || windows[0].Maintenance.Reason != "disk" {
		t.Errorf("%+v", windows)
	}
	for _, bad := range []api.NodeMaintenance{{In: 1, Start: 1}, {Duration: -1}, {Start: 1, Duration: 1}, {Drain: structs.Duration(1e18)}} {
		if _, err := c.SetMaintenance(ctx, "aa01", bad); structs.KindOf(err) != structs.Invalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	_, err = c.SetMaintenance(ctx, "aa01", api.NodeMaintenance{Off: true})
	must(err)
	for _, bad := range []api.NodeDrain{{Off: true, Gone: true}, {Off: true, Kills: true}, {MaxGrace: new(structs.Duration(1))}, {Kills: true, MaxGrace: new(structs.Duration(-1))}} {
		if _, err := c.DrainNode(ctx, "aa01", bad); structs.KindOf(err) != structs.Invalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	_, err = c.DrainNode(ctx, "aa01", api.NodeDrain{Deadline: structs.Duration(time.Hour), Kills: true, MaxGrace: new(structs.Duration(time.Minute))})
	must(err)
	if got := w.region.store.Snapshot().Node(n.ID); got.Eligible || got.Drain == nil || got.Drain.Deadline.IsZero() || !got.Drain.Kills || *got.Drain.MaxGrace != structs.Duration(time.Minute) {
		t.Errorf("%+v", got)
	}
	if _, err := c.DrainNode(ctx, "aa01", api.NodeDrain{Off: true, Check: &seen.DrainIndex}); structs.KindOf(err) != structs.Conflict {
		t.Errorf("on top of what another operator did: %v", err)
	}
	seen, _, err = c.Node(ctx, "aa01", nil)
	must(err)
	_, err = c.DrainNode(ctx, "aa01", api.NodeDrain{Off: true, Check: &seen.DrainIndex})
	must(err)
	w.propose(&state.SetNodeStatus{Node: lost.ID, Status: structs.NodeLeft})
	_, err = c.PurgeNode(ctx, "aa02", false)
	must(err)

	_, err = c.PutRole(ctx, &structs.Role{Name: "eng/web", Weight: 2000})
	must(err)
	roles, _, err := c.Roles(ctx, nil)
	must(err)
	role, _, err := c.Role(ctx, "eng/web", nil)
	must(err)
	def, _, err := c.Role(ctx, "default", nil)
	must(err)
	if len(roles) < 2 || role.Weight != 2000 || def.Jobs != 1 || def.Used.IsZero() {
		t.Errorf("%d roles, %+v, %+v", len(roles), role, def)
	}
	reserved, err := c.Reserve(ctx, &structs.Reservation{Node: "aa01", Role: "eng/web", Resources: structs.Resources{CPU: 100}, Labels: map[string]string{"a": "b"}}, false)
	must(err)
	reservation, _, err := c.Reservation(ctx, string(reserved.ID), nil)
	must(err)
	reservations, _, err := c.Reservations(ctx, &api.Query{Filter: []string{"role=eng/web"}})
	must(err)
	if len(reservations) != 1 || reservation.ID != reserved.ID || reservation.Node != n.ID || reservation.Labels["a"] != "b" || reservation.Principal != "local/ann" {
		t.Errorf("%d reservations, %+v", len(reservations), reservation)
	}
	if seen, _, err = c.Node(ctx, "aa01", nil); err != nil || len(seen.Rooms) != 1 || seen.Rooms[0].Unused.CPU != 100 {
		t.Errorf("%v, %+v", err, seen.Rooms)
	}
	refined, err := c.Reserve(ctx, &structs.Reservation{Node: "aa01", Role: "eng/web/a", Refines: "eng/web", Resources: structs.Resources{CPU: 50}}, false)
	must(err)
	for name, want := range map[string]structs.Milli{"eng/web": 100, "eng/web/a": 50} {
		if role, _, err := c.Role(ctx, name, nil); err != nil || role.Reserved.CPU != want {
			t.Errorf("%s: %v, reserved %+v", name, err, role.Reserved)
		}
	}
	_, err = c.Unreserve(ctx, string(refined.ID))
	must(err)
	_, err = c.DeleteRole(ctx, "eng/web/a", false)
	must(err)
	_, err = c.Unreserve(ctx, string(reserved.ID))
	must(err)
	if _, _, err := c.Reservation(ctx, string(reserved.ID), nil); structs.KindOf(err) != structs.NotFound {
		t.Errorf("it is still there: %v", err)
	}
	volume, err := c.CreateVolume(ctx, &api.NewVolume{Volume: structs.Volume{Name: "data", Size: 1 << 20}})
	must(err)
	_, err = c.ResizeVolume(ctx, "data", &api.VolumeResize{Size: 2 << 20, ID: volume.ID})
	must(err)
	volumes, _, err := c.Volumes(ctx, nil)
	must(err)
	if v, _, err := c.Volume(ctx, "data", nil); err != nil || len(volumes) != 1 || v.ID != volume.ID || v.Size != 2<<20 || v.Role != "default" ||
		v.Access != structs.AccessExclusive || v.Principal != "local/ann" || len(v.Claims) != 0 {
		t.Errorf("%v: %d volumes, %+v", err, len(volumes), v)
	}
	if _, err := c.DetachVolume(ctx, "data", &api.VolumeDetach{Node: "n1"}); structs.KindOf(err) != structs.NotFound {
		t.Errorf("a volume that is attached to no node: %v", err)
	}
	if _, err := c.DetachVolume(ctx, "none", &api.VolumeDetach{Node: "n1"}); structs.KindOf(err) != structs.NotFound {
		t.Errorf("no volume: %v", err)
	}
	_, err = c.UndeleteVolume(ctx, "data")
	must(err)
	_, err = c.DeleteVolume(ctx, "data", nil, false)
	must(err)
	if _, _, err := c.Volume(ctx, "data", nil); structs.KindOf(err) != structs.NotFound {
		t.Errorf("it is still there: %v", err)
	}
	quotas, _, err := c.Quotas(ctx, nil)
	must(err)
	quota, _, err := c.Quota(ctx, "default", nil)
	must(err)
	if len(quotas) != len(roles) || quota.Used.String() != def.Used.String() || quota.Running == 0 {
		t.Errorf("%d quotas, %+v", len(quotas), quota)
	}
	shares, err := c.Shares(ctx, "")
	must(err)
	below, err := c.Shares(ctx, "eng")
	must(err)
	if len(shares) != 3 || len(below) != 2 || below[1].Share != 500 {
		t.Errorf("%d and %d shares", len(shares), len(below))
	}
	if _, err := c.Shares(ctx, "none"); structs.KindOf(err) != structs.NotFound {
		t.Errorf("shares of no role: %v", err)
	}
	simulated, err := c.Simulate(ctx, &api.SimulateRequest{AddNodes: 3, Like: "n1", Jobs: []*structs.Job{job("more", 2)}})
	must(err)
	if simulated.Nodes != 3 || simulated.Asked != 1 {
		t.Errorf("%+v", simulated)
	}
	if _, err := c.Simulate(ctx, &api.SimulateRequest{Roles: []*structs.Role{nil}}); structs.KindOf(err) != structs.Invalid {
		t.Errorf("a role that is null: %v", err)
	}
	cores := func(n structs.Milli) *structs.Quota {
		return &structs.Quota{Guarantee: &structs.QuotaAmount{CPU: &n}}
	}
	both := []*structs.Role{{Name: "eng", Quota: cores(1e9)}, {Name: "eng/web", Quota: cores(1000)}}
	if _, err := c.PutRoles(ctx, both, false); structs.KindOf(err) != structs.Conflict {
		t.Errorf("more is guaranteed than there is: %v", err)
	}
	if got := w.region.store.Snapshot().Role("eng/web"); got.Quota != nil {
		t.Errorf("one of two refused roles was stored: %+v", got)
	}
	_, err = c.PutRoles(ctx, both, true)
	must(err)
	_, err = c.DeleteRole(ctx, "eng/web", false)
	must(err)
	if _, err = c.DeleteRole(ctx, "default", false); structs.KindOf(err) != structs.Conflict {
		t.Errorf("a role in use is removed: %v", err)
	}
	frameworks, _, err := c.Frameworks(ctx, nil)
	must(err)
	w.propose(&state.Place{Accepts: []*state.Accept{{Framework: structs.FrameworkID(id("fe01")), Operations: []*state.Operation{{Unreserve: &structs.Reservation{},
		Feedback: &state.Feedback{ID: "op"}}}}}})
	framework, _, err := c.Framework(ctx, "spark", nil)
	must(err)
	if framework.Unacknowledged != 1 {
		t.Errorf("%d operations are not acknowledged", framework.Unacknowledged)
	}
	byID, _, err := c.Framework(ctx, "fe01", nil)
	must(err)
	if len(frameworks) == 0 || framework.Name != "spark" || byID.Name != "spark" {
		t.Errorf("%v %v", frameworks, framework)
	}
	offered, err := c.FrameworkOffers(ctx, "spark")
	must(err)
	if offered.Framework != framework.ID || offered.Outstanding != 1 {
		t.Errorf("%+v", offered)
	}
	if _, err := c.FrameworkOffers(ctx, "nobody"); structs.KindOf(err) != structs.NotFound {
		t.Errorf("offers of nobody: %v", err)
	}
	offers, _, err := c.Offers(ctx, nil)
	must(err)
	if len(offers) != 1 {
		t.Error(offers)
	}
	if _, err := c.TeardownFramework(ctx, "spark", true); structs.KindOf(err) != structs.Conflict {
		t.Errorf("one that was not removed is forgotten: %v", err)
	}
	_, err = c.TeardownFramework(ctx, "spark", false)
	must(err)
	if f, _, err := c.Framework(ctx, "spark", nil); err != nil || f.Ended == 0 {
		t.Errorf("it is %+v, %v", f, err)
	}
	_, err = c.TeardownFramework(ctx, "spark", true)
	must(err)
	if _, _, err := c.Framework(ctx, "spark", nil); structs.KindOf(err) != structs.NotFound {
		t.Errorf("it is not forgotten: %v", err)
	}
	for what, do := range map[string]func() error{
		"stop":    func() error { _, err := c.StopJob(ctx, "wep", false); return err },
		"purge":   func() error { _, err := c.StopJob(ctx, "wep", true); return err },
		"restart": func() error { _, err := c.RestartJob(ctx, "wep"); return err },
		"scale":   func() error { _, err := c.ScaleJob(ctx, "wep", "web", 1); return err },
	} {
		if e := structs.AsError(do()); e == nil || e.Kind != structs.NotFound || e.Do != `did you mean "web"?` {
			t.Errorf("%s of a mistyped name: %v", what, e)
		}
	}
	if _, err := c.DispatchJob(ctx, "web", api.JobDispatch{}); structs.KindOf(err) != structs.Conflict || !strings.Contains(err.Error(), "not parameterized") {
		t.Errorf("dispatch of what runs by itself: %v", err)
	}
	form := job("form", 1)
	form.Type, form.Parameterized = structs.BatchJob, &structs.Parameterized{MetaRequired: []string{"x"}}
	_, err = c.SubmitJob(ctx, form, nil)
	must(err)
	dispatched, err := c.DispatchJob(ctx, "form", api.JobDispatch{Meta: map[string]string{"x": "y"}, Payload: []byte("p")})
	must(err)
	if made := w.region.store.Snapshot().Current(dispatched.Name); made == nil || made.Job.Meta["x"] != "y" || string(made.Job.Dispatched.Payload) != "p" {
		t.Errorf("%+v", made)
	}
	_, err = c.StopJob(ctx, "web", true)
	must(err)
	if w.region.store.Snapshot().Job("web") != nil {
		t.Error("the job is still there")
	}
	found := errors.New("found")
	zero := uint64(0)
	if err := c.Events(ctx, api.EventQuery{Job: "web", Topics: []string{"job"}, Index: &zero}, func(e *api.Events) error {
		for _, event := range e.Events {
			if event.Topic != "job" || event.Job != "web" {
				t.Errorf("%+v", event)
			}
			if event.Gone {
				return found
			}
		}
		return nil
	}); err != found {
		t.Error(err)
	}

	_, err = c.Leader(ctx)
	must(err)
	_, err = c.Peers(ctx)
	must(err)
	_, err = c.Members(ctx)
	must(err)
	_, err = c.JoinServers(ctx, "10.0.0.1:5052")
	must(err)
	_, err = c.ForceLeave(ctx, "old")
	must(err)
	_, err = c.RaftPeers(ctx)
	must(err)
	_, err = c.RemoveRaftPeer(ctx, "p2")
	must(err)
	_, err = c.TransferLeader(ctx, "")
	must(err)
	if !slices.Equal(w.agent.joined, []string{"10.0.0.1:5052"}) || !slices.Equal(w.agent.left, []string{"old"}) || !slices.Equal(w.agent.removed, []string{"p2"}) {
		t.Errorf("%+v", w.agent)
	}
	saved, err := c.SaveSnapshot(ctx)
	must(err)
	raw, err = io.ReadAll(saved)
	must(err)
	large := strings.Repeat("x", 3<<20) // more than other bodies may have
	inspected, err := c.InspectSnapshot(ctx, strings.NewReader(large))
	must(err)
	_, err = c.RestoreSnapshot(ctx, io.MultiReader(strings.NewReader(large)))
	must(err)
	if string(raw) != "a snapshot" || inspected.Size != 3<<20 || w.agent.snapshot != large {
		t.Errorf("%q %+v", raw, inspected)
	}
	ring, err := c.Keyring(ctx)
	must(err)
	changed, err := c.ChangeKeyring(ctx, "use", "k2")
	must(err)
	if ring.Primary != "list" || changed.Primary != "usek2" {
		t.Errorf("%+v %+v", ring, changed)
	}
	_, err = c.Self(ctx)
	must(err)
	_, err = c.Health(ctx)
	must(err)
	_, err = c.Reload(ctx)
	must(err)
	for _, open := range []func(context.Context) (io.ReadCloser, error){c.Metrics, c.OpenAPI,
		func(ctx context.Context) (io.ReadCloser, error) { return c.Monitor(ctx, "warn", true) }} {
		body, err := open(ctx)
		must(err)
		raw, err := io.ReadAll(body)
		must(err)
		if len(raw) == 0 {
			t.Error("nothing to read")
		}
		body.Close()
	}
	variables(t, w)
	services(t, w)
	for _, r := range w.service.routes {
		if mu.Lock(); !served[r.Name] {
			t.Errorf("%s was not called", r.Name)
		}
		mu.Unlock()
	}
}

func TestCheckAndSet(t *testing.T) {
	w := newWorld(t)
	zero, one := uint64(0), uint64(1)
	if _, err := w.client.SubmitJob(t.Context(), job("web", 1), &one); structs.KindOf(err) != structs.Conflict {
		t.Errorf("version 1 of nothing: %v", err)
	}
	if _, err := w.client.SubmitJob(t.Context(), job("web", 1), &zero); err != nil {
		t.Error(err)
	}
	if _, err := w.client.SubmitJob(t.Context(), job("web", 2), &zero); structs.KindOf(err) != structs.Conflict {
		t.Errorf("a second first version: %v", err)
	}
	if _, err := w.client.SubmitJob(t.Context(), job("web", 2), &one); err != nil {
		t.Error(err)
	}
}

func TestSameKeyHasItsEffectOnce(t *testing.T) {
	w := newWorld(t)
	ctx := api.WithKey(t.Context(), "k1")
	for range 3 {
		done, err := w.client.SubmitJob(ctx, job("web", 1), nil)
		if err != nil || done.Version != 1 || !done.Changed {
			t.Errorf("%+v %v", done, err)
		}
	}
	if status, _, body := w.ask("POST", "/v1/job/web/restart", "", "", "Idempotency-Key", strings.Repeat("k", maxKey+1)); status != 400 {
		t.Errorf("%d %s", status, body)
	}
}

func TestHCLInAndOut(t *testing.T) {
	w := newWorld(t)
	text := "job \"x\" {\n  group \"g\" {\n    task \"t\" {\n      driver = \"mock\"\n    }\n  }\n}\n"
	if status, _, body := w.ask("POST", "/v1/jobs", "application/hcl; charset=utf-8", text); status != 200 || !strings.Contains(body, `"version":1`) {
		t.Errorf("%d %s", status, body)
	}
	status, header, body := w.ask("POST", "/v1/jobs/parse?format=hcl", "application/hcl", text)
	if status != 200 || header.Get("Content-Type") != "application/hcl" || !strings.Contains(body, `job "x"`) {
		t.Errorf("%d %s", status, body)
	}
	status, _, body = w.ask("POST", "/v1/jobs", "application/hcl", strings.Replace(text, "driver", "drivr", 1))
	if status != 400 || !strings.Contains(body, "driver") || !strings.Contains(body, ":4") {
		t.Errorf("%d %s", status, body)
	}
}

func TestPages(t *testing.T) {
	w := newWorld(t)
	for i := range 25 {
		w.propose(mustSubmit(job(fmt.Sprintf("job-%02d", i), 1)))
	}
	w.propose(mustSubmit(job("zeta", 1)))
	names := func(q *api.Query) (names []string) {
		jobs, _, err := api.Collect(t.Context(), q, w.client.Jobs)
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range jobs {
			names = append(names, j.Name)
		}
		return names
	}
	if got := names(&api.Query{Limit: 10}); len(got) != 26 || !slices.IsSorted(got) {
		t.Errorf("%d %v", len(got), got)
	}
	if got := names(&api.Query{Prefix: "job-1", Limit: 3}); len(got) != 10 || got[9] != "job-19" {
		t.Error(got)
	}
	if got := names(&api.Query{Filter: []string{"name~-2", "type=service"}, Limit: 1}); !slices.Equal(got, []string{"job-20", "job-21", "job-22", "job-23", "job-24"}) {
		t.Error(got)
	}
	if got := names(&api.Query{Filter: []string{"priority.level!=0"}}); len(got) != 0 {
		t.Error(got)
	}
	if _, _, body := w.ask("GET", "/v1/jobs?prefix=none", "", ""); body != "[]\n" {
		t.Errorf("an empty list is %q", body)
	}
	_, meta, err := w.client.Jobs(t.Context(), &api.Query{Prefix: "zeta", Limit: 1})
	if err != nil || meta.Next != "" {
		t.Errorf("the last page says that %q is next: %v", meta.Next, err)
	}
}

func TestUniquePrefixes(t *testing.T) {
	w := newWorld(t)
	n := w.node("aabbcc01", "n1")
	w.node("aabbcc02", "n2")
	w.node("aabb", "n3")
	for given, want := range map[string]string{"aabbcc01": "n1", "aabbcc02": "n2", string(n.ID): "n1", id("aabb"): "n3", "aabb0": "n3"} {
		if got, _, err := w.client.Node(t.Context(), given, nil); err != nil || got.Name != want {
			t.Errorf("%s: %v", given, err)
		}
	}
	_, _, err := w.client.Node(t.Context(), "aabb", nil)
	if structs.KindOf(err) != structs.Invalid || !strings.Contains(err.Error(), "aabb0000, aabbcc01, aabbcc02") {
		t.Errorf("ambiguous: %v", err)
	}
}

func TestLeaderless(t *testing.T) {
	w := newWorld(t)
	w.propose(mustSubmit(job("web", 1)))
	w.region.leaderless = true
	if status, header, body := w.ask("GET", "/v1/jobs", "", ""); status != 503 || header.Get("Retry-After") == "" {
		t.Errorf("%d %s", status, body)
	}
	status, header, body := w.ask("GET", "/v1/jobs?stale", "", "")
	if status != 200 || header.Get("X-Proffer-Known-Leader") != "false" || header.Get("X-Proffer-Last-Contact") != "3s" || !strings.Contains(body, "web") {
		t.Errorf("%d %v %s", status, header, body)
	}
	if status, _, body := w.ask("GET", "/v1/status/leader", "", ""); status != 503 {
		t.Errorf("%d %s", status, body)
	}
	status, _, body = w.ask("POST", "/v1/jobs/plan?x", "application/json", "")
	if status != 400 {
		t.Errorf("%d %s", status, body)
	}
}

func TestBlockingQueryWakes(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, _ *pipes) {
		w.propose(mustSubmit(job("web", 1)))
		w.propose(mustSubmit(job("other", 1)))
		_, meta, err := w.client.JobStatus(t.Context(), "web", nil)
		if err != nil {
			t.Fatal(err)
		}
		type answer struct {
			status *api.JobStatus
			meta   *api.Meta
			err    error
		}
		answers := make(chan answer)
		go func() {
			s, m, err := w.client.JobStatus(t.Context(), "web", &api.Query{Index: meta.Index, Wait: time.Hour})
			answers <- answer{s, m, err}
		}()
		synctest.Wait()
		begun := time.Now()
		w.propose(&state.ScaleJob{Name: "other", Group: "web", Count: 7}) // not what it waits for
		synctest.Wait()
		select {
		case <-answers:
			t.Error("it woke for another job")
		default:
		}
		w.propose(&state.ScaleJob{Name: "web", Group: "web", Count: 7})
		a := <-answers
		if a.err != nil || a.status.Groups[0].Wanted != 7 || a.meta.Index <= meta.Index || time.Since(begun) != 0 {
			t.Errorf("%+v %v after %s", a.status, a.err, time.Since(begun))
		}
	})
}

func TestBlockingQueryEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, _ *pipes) {
		w.propose(mustSubmit(job("web", 1)))
		for wait, longest := range map[time.Duration]time.Duration{time.Minute: time.Minute, 0: defaultWait, 24 * time.Hour: maxWait} {
			begun := time.Now()
			jobs, meta, err := w.client.Jobs(t.Context(), &api.Query{Index: 1, Wait: wait})
			took := time.Since(begun)
			if err != nil || len(jobs) != 1 || meta.Index != 1 || took < longest || took > longest+longest/16 {
				t.Errorf("wait %s: %d jobs, %v, after %s", wait, len(jobs), err, took)
			}
		}
	})
}

func TestEventStream(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, _ *pipes) {
		w.propose(mustSubmit(job("web", 1)))
		ctx, stop := context.WithCancel(t.Context())
		lines := make(chan *api.Events, 100)
		done := make(chan error, 1)
		go func() {
			done <- w.client.Events(ctx, api.EventQuery{}, func(e *api.Events) error { lines <- e; return nil })
		}()
		if e := <-lines; e.Index != 1 || len(e.Events) != 0 {
			t.Errorf("the first line is %+v", e)
		}
		begun := time.Now()
		if e := <-lines; e.Index != 1 || len(e.Events) != 0 || time.Since(begun) != heartbeat {
			t.Errorf("%+v after %s is no heartbeat", e, time.Since(begun))
		}
		w.propose(mustSubmit(job("web", 2)))
		e := <-lines
		topics := map[string]bool{}
		for _, event := range e.Events {
			topics[event.Topic] = true
			if event.Key == "" || len(event.Record) == 0 {
				t.Errorf("%+v", event)
			}
		}
		if e.Index != 2 || !topics["job"] || !topics["version"] {
			t.Errorf("%+v", e)
		}
		stop()
		<-done

		// Who comes back with the index gets what was missed, and only that.
		w.propose(mustSubmit(job("web", 3)))
		enough := errors.New("enough")
		var got []uint64
		index := uint64(1)
		if err := w.client.Events(t.Context(), api.EventQuery{Index: &index, Topics: []string{"version"}}, func(e *api.Events) error {
			if len(e.Events) > 0 {
				got = append(got, e.Index)
			}
			if e.Index == 3 {
				return enough
			}
			return nil
		}); err != enough || !slices.Equal(got, []uint64{2, 3}) {
			t.Errorf("%v %v", got, err)
		}
	})
}

func TestServerSentEvents(t *testing.T) {
	w := newWorld(t)
	w.propose(mustSubmit(job("web", 1)))
	w.propose(mustSubmit(job("web", 2)))
	r, _ := http.NewRequestWithContext(t.Context(), "GET", w.url+"/v1/events?job=web", nil)
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Last-Event-ID", "1")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var text []byte
	buffer := make([]byte, 4096)
	for !strings.Contains(string(text), "id: 2\ndata: {") || !strings.HasSuffix(string(text), "\n\n") {
		n, err := response.Body.Read(buffer)
		if err != nil {
			t.Fatalf("%v after %q", err, text)
		}
		text = append(text, buffer[:n]...)
	}
	if !strings.HasPrefix(string(text), "id: 1\ndata: {\"index\":1}\n\n") || response.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("%q", text)
	}
}

// A reader that is too slow is told so, and the stream ends.
func TestEventsThatAreGone(t *testing.T) {
	w := newWorld(t)
	w.propose(mustSubmit(job("web", 1)))
	var raw bytes.Buffer
	if err := w.region.store.Image().Persist(&raw); err != nil {
		t.Fatal(err)
	}
	if err := w.region.store.Restore(&raw); err != nil {
		t.Fatal(err)
	}
	index := uint64(0)
	err := w.client.Events(t.Context(), api.EventQuery{Index: &index}, func(*api.Events) error { return errors.New("an event") })
	if structs.KindOf(err) != structs.Conflict || !strings.Contains(err.Error(), "read the lists again") {
		t.Error(err)
	}
	if status, _, _ := w.ask("GET", "/v1/events?index=0", "", ""); status != http.StatusGone {
		t.Errorf("status %d", status)
	}
}

func TestLogs(t *testing.T) {
	w := newWorld(t)
	n := w.node("aa01", "n1")
	w.submit(job("web", 1))
	w.place("bb01", n, "web", 0)
	node := w.region.nodes[n.ID]
	node.frames = []*api.LogFrame{{Stream: "stdout", Data: []byte("one\n")}, {Stream: "stderr", Data: []byte("two\n")}}
	for query, want := range map[string]string{"": "one\ntwo\n", "?stream=stdout": "one\n", "?stream=stderr": "two\n"} {
		if status, _, body := w.ask("GET", "/v1/allocation/bb01/logs/main"+query, "", ""); status != 200 || body != want {
			t.Errorf("%s: %d %q", query, status, body)
		}
	}
	if status, _, body := w.ask("GET", "/v1/allocation/bb01/logs/main?stream=x", "", ""); status != 400 {
		t.Errorf("%d %s", status, body)
	}
	node.logsErr = structs.Errorf(structs.Unavailable, "node n1", "the session ended")
	var got string
	err := w.client.Logs(t.Context(), &api.LogsRequest{Alloc: "bb01", Task: "main", Stdout: true, Stderr: true}, func(f *api.LogFrame) error {
		got += string(f.Data)
		return nil
	})
	if got != "one\ntwo\n" || structs.KindOf(err) != structs.Unavailable {
		t.Errorf("%q, then %v", got, err)
	}
	node.frames = nil
	node.logsErr = structs.Errorf(structs.NotFound, "task main", "it has no output")
	if err := w.client.Logs(t.Context(), &api.LogsRequest{Alloc: "bb01", Task: "main", Stdout: true}, nil); structs.KindOf(err) != structs.NotFound {
		t.Error(err)
	}
}

// pair returns the two ends of a connection.
func pair(t *testing.T) (here, there *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a.(*net.TCPConn), b.(*net.TCPConn)
}

func TestForward(t *testing.T) {
	w := newWorld(t)
	n := w.node("aa01", "n1")
	w.submit(job("web", 1))
	w.place("bb01", n, "web", 0)

	// Both directions end by themselves: what comes after the end of ours arrives.
	here, there := pair(t)
	done := make(chan error, 1)
	go func() { done <- w.client.Forward(t.Context(), "bb01", "echo", there) }()
	large := strings.Repeat("0123456789abcdef", 64<<10) // 1 MiB, in many messages
	go func() {
		io.WriteString(here, large)
		here.CloseWrite()
	}()
	if got, err := io.ReadAll(here); err != nil || string(got) != "hello "+large+" bye" {
		t.Errorf("%d bytes came back: %v", len(got), err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}

	// What is refused is said before anything is connected.
	here, there = pair(t)
	if err := w.client.Forward(t.Context(), "bb01", "none", there); structs.KindOf(err) != structs.NotFound || !strings.Contains(err.Error(), `no port "none"`) {
		t.Error(err)
	}
	if _, err := here.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection is open: %v", err)
	}

	// One that goes away without a word leaves nothing behind.
	here, there = pair(t)
	go func() { done <- w.client.Forward(t.Context(), "bb01", "echo", there) }()
	if _, err := io.ReadFull(here, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	here.SetLinger(0) // a reset
	here.Close()
	<-done
	w.service.hijacked.Wait()
}

func TestExec(t *testing.T) {
	w := newWorld(t)
	n := w.node("aa01", "n1")
	w.submit(job("web", 1))
	w.place("bb01", n, "web", 0)
	run := func(req *api.ExecRequest) (*api.ExecResult, error) {
		req.Alloc, req.Task = "bb01", "main"
		return w.client.Exec(t.Context(), req)
	}
	var out, errs bytes.Buffer
	if result, err := run(&api.ExecRequest{Command: []string{"fail"}, Stdout: &out, Stderr: &errs}); err != nil || result.Code != 3 || errs.String() != "no\n" {
		t.Errorf("%+v %v %q", result, err, errs.String())
	}
	if _, err := run(&api.ExecRequest{Command: []string{"missing"}}); structs.KindOf(err) != structs.NotFound {
		t.Error(err)
	}
	sizes := make(chan drivers.Size, 1)
	sizes <- drivers.Size{Rows: 1, Cols: 2}
	out.Reset()
	if _, err := run(&api.ExecRequest{Command: []string{"size"}, TTY: true, Size: drivers.Size{Rows: 24, Cols: 80}, Resize: sizes, Stdout: &out}); err != nil || !strings.HasSuffix(out.String(), "1x2;") {
		t.Errorf("%q %v", out.String(), err)
	}
	large := strings.Repeat("0123456789abcdef", 64<<10) // 1 MiB, in many messages
	out.Reset()
	if _, err := run(&api.ExecRequest{Command: []string{"cat"}, Stdin: strings.NewReader(large), Stdout: &out}); err != nil || out.String() != large {
		t.Errorf("%d bytes came back: %v", out.Len(), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := w.client.Exec(ctx, &api.ExecRequest{Alloc: "bb01", Task: "main", Command: []string{"wait"}})
		ended <- err
	}()
	cancel()
	if err := <-ended; err == nil {
		t.Error("a cancelled command succeeded")
	}
	w.service.hijacked.Wait() // the handler ended with its connection
}
