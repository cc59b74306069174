package mesos_test

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
)

// operates sends a call of an operator and demands a status. What has no content has no type either: clients take it for an answer otherwise.
func (f *framework) operates(c *wire.OperatorCall, status int) string {
	f.r.t.Helper()
	kind := f.encoding.ContentType()
	req, err := http.NewRequestWithContext(context.Background(), "POST", "http://"+f.r.leader().ip+":5050/api/v1", strings.NewReader(string(f.encoding.Marshal(c))))
	f.r.check(err)
	req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("ann:"+token)))
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Accept", kind)
	res, err := f.client.Do(req)
	f.r.check(err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	f.r.check(err)
	if res.StatusCode != status {
		f.r.t.Errorf("%s is answered %d %s, want %d", c.Type, res.StatusCode, text, status)
	}
	if res.StatusCode < 300 {
		want := kind
		if len(text) == 0 {
			want = ""
		}
		if types := res.Header.Values("Content-Type"); strings.Join(types, ",") != want {
			f.r.t.Errorf("%s is answered %d bytes of the type %q, want %q", c.Type, len(text), types, want)
		}
	}
	return string(text)
}

func operatorAnswers(r *region, e wire.Encoding) {
	f := r.framework(home, e).begin()
	is := func(kind wire.OperatorCallType, status int, change func(*wire.OperatorCall)) {
		r.t.Helper()
		c := &wire.OperatorCall{Type: &kind}
		change(c)
		if said := f.operates(c, status); status < 300 && said != "" {
			r.t.Errorf("%s is answered %q", kind, said)
		}
	}
	node := wire.ID{Value: string(r.nodes[0].id)}
	nobody := wire.ID{Value: "nobody"}
	asked := func(name string, amount float64) wire.Resource {
		x := scalar(name, amount)
		x.Reservations = []wire.Reservation{{Type: new(wire.ReservationDynamic), Role: new("eng")}}
		return x
	}
	room := []wire.Resource{asked("disk", 1024), asked("cpus", 1)}
	volume := asked("disk", 512)
	volume.Disk = &wire.DiskInfo{Persistence: &wire.Persistence{ID: "data"}, Volume: &wire.Volume{ContainerPath: "data", Mode: wire.VolumeRW}}

	// The six operations on resources.
	is(wire.OperatorReserveResources, 202, func(c *wire.OperatorCall) { c.Reserve = &wire.AgentReserve{AgentID: node, Resources: room} })
	is(wire.OperatorReserveResources, 409, func(c *wire.OperatorCall) {
		c.Reserve = &wire.AgentReserve{AgentID: node, Resources: []wire.Resource{asked("cpus", 1000)}}
	})
	is(wire.OperatorReserveResources, 400, func(c *wire.OperatorCall) { c.Reserve = &wire.AgentReserve{AgentID: nobody, Resources: room} })
	is(wire.OperatorCreateVolumes, 202, func(c *wire.OperatorCall) {
		c.Create = &wire.AgentVolumes{AgentID: node, Volumes: []wire.Resource{volume}}
	})
	is(wire.OperatorGrowVolume, 202, func(c *wire.OperatorCall) {
		c.Grow = &wire.AgentGrow{AgentID: &node, Volume: volume, Addition: asked("disk", 256)}
	})
	is(wire.OperatorShrinkVolume, 202, func(c *wire.OperatorCall) {
		c.Shrink = &wire.AgentShrink{AgentID: &node, Volume: volume, Subtract: wire.Scalar{Value: 256}}
	})
	is(wire.OperatorShrinkVolume, 400, func(c *wire.OperatorCall) {
		c.Shrink = &wire.AgentShrink{Volume: volume, Subtract: wire.Scalar{Value: 1}}
	})
	is(wire.OperatorDestroyVolumes, 202, func(c *wire.OperatorCall) {
		c.Destroy = &wire.AgentVolumes{AgentID: node, Volumes: []wire.Resource{volume}}
	})
	is(wire.OperatorDestroyVolumes, 409, func(c *wire.OperatorCall) {
		c.Destroy = &wire.AgentVolumes{AgentID: node, Volumes: []wire.Resource{volume}}
	})
	is(wire.OperatorUnreserveResources, 202, func(c *wire.OperatorCall) { c.Unreserve = &wire.AgentUnreserve{AgentID: node, Resources: room} })
	is(wire.OperatorUnreserveResources, 409, func(c *wire.OperatorCall) { c.Unreserve = &wire.AgentUnreserve{AgentID: node, Resources: room} })

	// All that changes something else.
	is(wire.OperatorUpdateWeights, 200, func(c *wire.OperatorCall) {
		c.UpdateWeights = &wire.Weights{Weights: []wire.WeightInfo{{Weight: 2, Role: new("eng")}}}
	})
	is(wire.OperatorUpdateQuota, 200, func(c *wire.OperatorCall) {
		c.UpdateQuota = &wire.UpdateQuota{Configs: []wire.QuotaConfig{{Role: "eng", Guarantees: map[string]*wire.Scalar{"cpus": {Value: 1}}}}}
	})
	is(wire.OperatorSetQuota, 200, func(c *wire.OperatorCall) {
		c.SetQuota = &wire.SetQuota{Request: wire.QuotaRequest{Role: new("eng"), Guarantee: []wire.Resource{scalar("cpus", 2)}}}
	})
	is(wire.OperatorSetQuota, 409, func(c *wire.OperatorCall) {
		c.SetQuota = &wire.SetQuota{Request: wire.QuotaRequest{Role: new("ops"), Guarantee: []wire.Resource{scalar("cpus", 2000)}}}
	})
	is(wire.OperatorRemoveQuota, 200, func(c *wire.OperatorCall) { c.RemoveQuota = &wire.RemoveQuota{Role: "eng"} })
	is(wire.OperatorRemoveQuota, 400, func(c *wire.OperatorCall) { c.RemoveQuota = &wire.RemoveQuota{Role: "eng"} })
	machine := []wire.MachineID{{Hostname: new(r.nodes[0].name)}}
	is(wire.OperatorStartMaintenance, 400, func(c *wire.OperatorCall) { c.StartMachines = &wire.Machines{Machines: machine} })
	is(wire.OperatorUpdateMaintenanceSchedule, 200, func(c *wire.OperatorCall) {
		c.UpdateSchedule = &wire.MaintenancePlan{Schedule: wire.Schedule{Windows: []wire.Window{{Machines: machine,
			Unavailability: wire.Unavailability{Start: wire.TimeInfo{Nanoseconds: time.Now().Add(time.Hour).UnixNano()}}}}}}
	})
	is(wire.OperatorStartMaintenance, 200, func(c *wire.OperatorCall) { c.StartMachines = &wire.Machines{Machines: machine} })
	is(wire.OperatorStopMaintenance, 200, func(c *wire.OperatorCall) { c.StopMachines = &wire.Machines{Machines: machine} })
	is(wire.OperatorDrainAgent, 200, func(c *wire.OperatorCall) { c.Drain = &wire.DrainAgent{AgentID: node} })
	is(wire.OperatorDrainAgent, 400, func(c *wire.OperatorCall) { c.Drain = &wire.DrainAgent{AgentID: nobody} })
	is(wire.OperatorReactivateAgent, 200, func(c *wire.OperatorCall) { c.Reactivate = &wire.NamedAgent{AgentID: node} })
	is(wire.OperatorDeactivateAgent, 200, func(c *wire.OperatorCall) { c.Deactivate = &wire.NamedAgent{AgentID: node} })
	is(wire.OperatorReactivateAgent, 200, func(c *wire.OperatorCall) { c.Reactivate = &wire.NamedAgent{AgentID: node} })
	is(wire.OperatorReactivateAgent, 400, func(c *wire.OperatorCall) { c.Reactivate = &wire.NamedAgent{AgentID: node} })
	r.nodes[1].powerOff()
	away := wire.ID{Value: string(r.nodes[1].id)}
	r.eventually("the node is away", func() bool { return r.snapshot().Node(r.nodes[1].id).Status != "ready" })
	is(wire.OperatorMarkAgentGone, 200, func(c *wire.OperatorCall) { c.MarkGone = &wire.NamedAgent{AgentID: away} })
	is(wire.OperatorMarkAgentGone, 404, func(c *wire.OperatorCall) { c.MarkGone = &wire.NamedAgent{AgentID: nobody} })
	is(wire.OperatorTeardown, 200, func(c *wire.OperatorCall) { c.Teardown = &wire.Teardown{FrameworkID: *f.info.ID} })
	is(wire.OperatorTeardown, 400, func(c *wire.OperatorCall) { c.Teardown = &wire.Teardown{FrameworkID: *f.info.ID} })
	if said := f.ended(); said != "Framework has been removed" {
		r.t.Errorf("the framework is told %q", said)
	}

	// What asks for something has an answer, and a type.
	for number, name := range wire.OperatorCallType(0).Names() {
		kind := wire.OperatorCallType(number)
		if !strings.HasPrefix(name, "GET_") {
			continue
		}
		if said := f.operates(&wire.OperatorCall{Type: &kind}, 200); said == "" {
			r.t.Errorf("%s has no answer", name)
		}
	}
	is(wire.OperatorUnknown, 501, func(*wire.OperatorCall) {})
}
