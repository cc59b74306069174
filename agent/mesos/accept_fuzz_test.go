package mesos

import (
	"log/slog"
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/structs"
)

// What a framework says of itself and wants done with offers, whatever it is, is refused with a reason or becomes work that is whole.
func FuzzAccept(f *testing.F) {
	room := []wire.Resource{{Name: "disk", Type: wire.ValueScalar, Scalar: &wire.Scalar{Value: 64},
		Reservations: []wire.Reservation{{Type: new(wire.ReservationDynamic), Role: new("eng")}}}}
	volume := room[0]
	volume.Disk = &wire.DiskInfo{Persistence: &wire.Persistence{ID: "data"}, Volume: &wire.Volume{ContainerPath: "data", Mode: wire.VolumeRW}}
	one := *taskInfo("one", nil)
	one.Resources = append(one.Resources, volume, wire.Resource{Name: "ports", Type: wire.ValueRanges, Ranges: &wire.Ranges{Range: []wire.Range{{Begin: 31000, End: 31002}}}})
	guest := *taskInfo("two", func(t *wire.TaskInfo) {
		t.Command, t.Executor = nil, &wire.ExecutorInfo{ExecutorID: wire.ID{Value: "x"}, Type: new(wire.ExecutorCustom), Command: &wire.CommandInfo{Value: new("run")}}
	})
	for _, ops := range [][]wire.Operation{
		{{Type: new(wire.OperationLaunch), Launch: &wire.Launch{Tasks: []wire.TaskInfo{one, guest}}}},
		{{Type: new(wire.OperationLaunchGroup), Group: &wire.LaunchGroup{Executor: wire.ExecutorInfo{ExecutorID: wire.ID{Value: "pod"}, Type: new(wire.ExecutorDefault)},
			Tasks: wire.TaskGroupInfo{Tasks: []wire.TaskInfo{one}}}}},
		{{Type: new(wire.OperationReserve), Reserve: &wire.Reserve{Resources: room}}, {Type: new(wire.OperationUnreserve), Unreserve: &wire.Unreserve{Resources: room}}},
		{{Type: new(wire.OperationCreate), Create: &wire.Volumes{Volumes: []wire.Resource{volume}}}, {Type: new(wire.OperationDestroy), Destroy: &wire.Volumes{Volumes: []wire.Resource{volume}}},
			{Type: new(wire.OperationGrowVolume), Grow: &wire.GrowVolume{Volume: volume, Addition: room[0]}},
			{Type: new(wire.OperationShrinkVolume), Shrink: &wire.ShrinkVolume{Volume: volume, Subtract: wire.Scalar{Value: 1}}}},
		{{Type: new(wire.OperationCreateDisk)}, {}},
	} {
		c := &wire.Call{Type: new(wire.CallAccept), Accept: &wire.Accept{OfferIDs: []wire.ID{{Value: "o"}}, Operations: ops, Filters: &wire.Filters{RefuseSeconds: new(-1.0)}}}
		f.Add(true, wire.JSON.Marshal(c))
		f.Add(false, wire.Protobuf.Marshal(c))
	}
	f.Add(true, wire.JSON.Marshal(&wire.Call{Type: new(wire.CallSubscribe), Subscribe: &wire.Subscribe{FrameworkInfo: wire.FrameworkInfo{User: "u", Name: "n",
		FailoverTimeout: new(1e9), OfferFilters: map[string]*wire.OfferFilters{"*": {}}}}}))
	s := &Scheduler{Log: slog.New(slog.DiscardHandler)}
	f.Fuzz(func(t *testing.T, json bool, body []byte) {
		e := wire.Protobuf
		if json {
			e = wire.JSON
		}
		c := &wire.Call{}
		if e.Unmarshal(body, c) != nil || check(c) != nil && c.Accept == nil {
			return
		}
		if x := c.Subscribe; x != nil {
			if of, err := s.frameworkOf(&x.FrameworkInfo, x.SuppressedRoles, x.OfferConstraints); err == nil && (of.FailoverTimeout < 0 || len(of.Problems()) > 0) {
				t.Errorf("it is taken: %+v", of)
			}
		}
		if c.Request != nil {
			wantsOf(c.Request)
		}
		if c.Accept == nil {
			return
		}
		if filter := filterOf(c.Accept.Filters); filter.Refuse < 0 || filter.Refuse > allocator.MaxRefuse {
			t.Errorf("it refuses for %s", filter.Refuse)
		}
		for i := range c.Accept.Operations {
			op := &c.Accept.Operations[i]
			wishes := s.operations(spark, op)
			told := 0
			for _, w := range wishes {
				told += len(w.tasks)
				if w.fault == nil && w.op == nil {
					t.Errorf("%s is neither done nor refused", wire.JSON.Marshal(op))
				}
				if w.fault == nil && w.op.Launch != nil {
					whole(t, w.op.Launch.Resources)
				}
			}
			if all := len(tasksOf(op)); all > 0 && op.Type != nil && (*op.Type == wire.OperationLaunch && op.Launch != nil) && told != all {
				t.Errorf("of %d tasks %d are told of", all, told)
			}
		}
	})
}

// whole demands an amount that can be accounted for.
func whole(t *testing.T, r structs.Resources) {
	if r.CPU < 0 || r.Memory < 0 || r.Disk < 0 || r.Ports < 0 {
		t.Errorf("it takes %+v", r)
	}
}
