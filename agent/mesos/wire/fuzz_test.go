package wire

import (
	"bufio"
	"bytes"
	"testing"
)

// messages are those that strangers send, and those that they are sent.
var messages = []func() any{
	func() any { return &Call{} }, func() any { return &Event{} }, func() any { return &ExecutorCall{} }, func() any { return &ExecutorEvent{} },
	func() any { return &OperatorCall{} }, func() any { return &OperatorResponse{} }, func() any { return &OperatorEvent{} },
	func() any { return &AgentCall{} }, func() any { return &AgentResponse{} },
}

// samples are messages with much in them, by their place in messages.
func samples() map[byte][]any {
	task := TaskInfo{Name: "t", TaskID: ID{"t"}, AgentID: ID{"a"}, Data: []byte{0, 1}, Resources: []Resource{
		{Name: "cpus", Type: ValueScalar, Scalar: &Scalar{0.5}, Allocation: &AllocationInfo{Role: new("*")}},
		{Name: "ports", Type: ValueRanges, Ranges: &Ranges{Range: []Range{{Begin: 1, End: 1 << 63}}}, Role: new("eng"), Reservation: &Reservation{}},
		{Name: "disk", Type: ValueScalar, Scalar: &Scalar{1}, Disk: &DiskInfo{Persistence: &Persistence{ID: "p"}, Volume: &Volume{ContainerPath: "p", Mode: VolumeRW}}}},
		Command: &CommandInfo{Value: new("true"), Arguments: []string{"a"}, URIs: []URI{{Value: "http://h/f"}}},
		Labels:  &Labels{Labels: []Label{{Key: "k"}}}, KillPolicy: &KillPolicy{GracePeriod: &DurationInfo{Nanoseconds: -1}}}
	status := TaskStatus{TaskID: ID{"t"}, State: TaskRunning, UUID: bytes.Repeat([]byte{7}, 16), Source: new(SourceExecutor), Healthy: new(true), Timestamp: new(1e9),
		ContainerStatus: &ContainerStatus{ContainerID: &ContainerID{Value: "c", Parent: &ContainerID{Value: "p"}}}}
	return map[byte][]any{
		0: {&Call{FrameworkID: &ID{"f"}, Type: new(CallAccept), Accept: &Accept{OfferIDs: []ID{{"o"}}, Filters: &Filters{RefuseSeconds: new(1e300)},
			Operations: []Operation{{Type: new(OperationLaunch), ID: &ID{"op"}, Launch: &Launch{Tasks: []TaskInfo{task}}},
				{Type: new(OperationLaunchGroup), Group: &LaunchGroup{Executor: ExecutorInfo{ExecutorID: ID{"x"}}, Tasks: TaskGroupInfo{Tasks: []TaskInfo{task}}}},
				{Type: new(OperationReserve), Reserve: &Reserve{Resources: task.Resources}}}}},
			&Call{Type: new(CallSubscribe), Subscribe: &Subscribe{FrameworkInfo: FrameworkInfo{User: "u", Name: "n", FailoverTimeout: new(-1.0)},
				OfferConstraints: &OfferConstraints{RoleConstraints: map[string]*RoleConstraints{"eng": {Groups: []ConstraintGroup{{Constraints: []AttributeConstraint{
					{Selector: Selector{Attribute: new("a")}, Predicate: Predicate{Exists: &Exists{}}}}}}}}}}}},
		1: {&Event{Type: new(EventUpdate), Update: &Update{Status: status}}, &Event{Type: new(EventFailure), Failure: &Failure{Status: new(int32(-1))}}},
		2: {&ExecutorCall{ExecutorID: ID{"x"}, FrameworkID: ID{"f"}, Type: new(ExecutorCallSubscribe), Subscribe: &ExecutorSubscribe{Tasks: []TaskInfo{task},
			Updates: []Update{{Status: status}}}}},
		3: {&ExecutorEvent{Type: new(ExecutorEventLaunch), Launch: &ExecutorLaunch{Task: task}}},
		4: {&OperatorCall{Type: new(OperatorUpdateQuota), UpdateQuota: &UpdateQuota{Configs: []QuotaConfig{{Role: "eng", Limits: map[string]*Scalar{"cpus": {1}}}}}},
			&OperatorCall{Type: new(OperatorSubscribe), Subscribe: &Follow{Types: []string{"TASK_ADDED"}, After: new("7.1.1")}},
			&OperatorCall{Type: new(OperatorReserveResources), Reserve: &AgentReserve{AgentID: ID{"a"}, Resources: task.Resources}}},
		6: {&OperatorEvent{Type: new(EventOperatorTaskUpdated), ID: new("7"), TaskUpdated: &TaskUpdated{FrameworkID: ID{"f"}, Status: status}}},
		7: {&AgentCall{}},
	}
}

// Any bytes are read as any message or refused; what is read is the same after it was written, in either encoding, and takes no more room than
// what it was read from allows.
func FuzzMessages(f *testing.F) {
	for kind, all := range samples() {
		for _, m := range all {
			f.Add(kind, JSON.Marshal(m))
			f.Add(kind, Protobuf.Marshal(m))
		}
	}
	f.Add(byte(0), []byte(`{"accept":{"offer_ids":{"value":"one"},"operations":null}}`))
	f.Add(byte(2), bytes.Repeat([]byte{0x22}, 200))
	f.Fuzz(func(t *testing.T, kind byte, raw []byte) {
		made := messages[int(kind)%len(messages)]
		for _, e := range []Encoding{JSON, Protobuf} {
			m := made()
			if e.Unmarshal(raw, m) != nil {
				continue
			}
			text := JSON.Marshal(m)
			for _, through := range []Encoding{JSON, Protobuf} {
				again := made()
				written := through.Marshal(m)
				if err := through.Unmarshal(written, again); err != nil {
					t.Fatalf("%T: %q cannot be read again: %v", m, written, err)
				}
				if back := JSON.Marshal(again); !bytes.Equal(back, text) {
					t.Fatalf("%T: %s became %s", m, text, back)
				}
			}
		}
	})
}

// A stream of any bytes is records of bounded size up to where it breaks, and those are what the stream says.
func FuzzRecords(f *testing.F) {
	f.Add([]byte("3\nabc10\n0123456789"))
	f.Add([]byte("4194304\nx"))
	f.Add([]byte("007\n0123456"))
	f.Add([]byte("18446744073709551617\nx"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, at := bufio.NewReaderSize(bytes.NewReader(raw), 16), 0
		for {
			record, err := ReadRecord(r)
			if err != nil {
				return
			}
			if len(record) == 0 || len(record) > MaxRecord {
				t.Fatalf("a record of %d bytes", len(record))
			}
			at += bytes.IndexByte(raw[at:], '\n') + 1
			if !bytes.Equal(raw[at:at+len(record)], record) {
				t.Fatalf("%q is not what comes at %d", record, at)
			}
			at += len(record)
		}
	})
}
