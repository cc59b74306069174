package operator

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
)

// No call, whatever it is, has another status than the table has.
func FuzzOperatorCall(f *testing.F) {
	for _, c := range []*wire.OperatorCall{
		{Type: new(wire.OperatorGetState)}, {Type: new(wire.OperatorSubscribe)},
		{Type: new(wire.OperatorSubscribe), Subscribe: &wire.Follow{Types: []string{"TASK_ADDED"}, Roles: []string{"eng"}, After: new("3.1.1")}},
		{Type: new(wire.OperatorReserveResources), Reserve: &wire.AgentReserve{AgentID: wire.ID{Value: "n1"}, Resources: []wire.Resource{{Name: "cpus", Type: wire.ValueScalar,
			Scalar: &wire.Scalar{Value: 1}, Reservations: []wire.Reservation{{Type: new(wire.ReservationDynamic), Role: new("eng")}}}}}},
		{Type: new(wire.OperatorUpdateQuota), UpdateQuota: &wire.UpdateQuota{Configs: []wire.QuotaConfig{{Role: "eng", Limits: map[string]*wire.Scalar{"cpus": {Value: 1e300}}}}}},
		{Type: new(wire.OperatorUpdateWeights), UpdateWeights: &wire.Weights{Weights: []wire.WeightInfo{{Weight: -1, Role: new("a//b")}}}},
		{Type: new(wire.OperatorUpdateMaintenanceSchedule), UpdateSchedule: &wire.MaintenancePlan{Schedule: wire.Schedule{Windows: []wire.Window{{
			Machines: []wire.MachineID{{Hostname: new("n1")}}, Unavailability: wire.Unavailability{Start: wire.TimeInfo{Nanoseconds: -1 << 63}}}}}}},
		{Type: new(wire.OperatorDrainAgent), Drain: &wire.DrainAgent{AgentID: wire.ID{Value: "n1"}, MaxGrace: &wire.Duration{Seconds: new(int64(1 << 62))}}},
		{Type: new(wire.OperatorTeardown), Teardown: &wire.Teardown{FrameworkID: wire.ID{Value: "f1"}}},
	} {
		f.Add(true, wire.JSON.Marshal(c))
		f.Add(false, wire.Protobuf.Marshal(c))
	}
	f.Fuzz(func(t *testing.T, json bool, body []byte) {
		e := wire.Protobuf
		if json {
			e = wire.JSON
		}
		r := peopled(t)
		s := r.servers()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if c := (&wire.OperatorCall{}); e.Unmarshal(body, c) == nil && c.Type != nil && *c.Type == wire.OperatorSubscribe {
			cancel() // the reader went: the state is written, and the stream ends
		}
		req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/api/v1", bytes.NewReader(body))
		req.Header.Set("Content-Type", e.ContentType())
		req.Header.Set("Accept", e.ContentType())
		w := httptest.NewRecorder()
		s.Call(w, req, mesos.Caller{Actor: "op"})
		switch w.Code {
		case 200, 202, 400, 404, 409, 410, 413, 501:
		default:
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
