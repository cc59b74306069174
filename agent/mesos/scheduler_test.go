package mesos

import (
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// A framework that is refused is told what of it is wrong.
func TestRefusedFrameworksHearOfWhat(t *testing.T) {
	for want, info := range map[string]*wire.FrameworkInfo{
		"name: it has none": {User: "u"},
		"user: it has control characters, or more than 1024 bytes":             {User: "u\n", Name: "n"},
		`"../x" is not a valid role (use up to eight names joined by slashes)`: {User: "u", Name: "n", Role: new("../x")},
	} {
		if _, err := (&Scheduler{}).frameworkOf(info, nil, nil); err == nil || plain(err) != want {
			t.Errorf("%q, want %q", plain(err), want)
		}
	}
}

// Clients that mean "for ever" say more than is kept, up to what Mesos can say.
func TestLongFailoverTimeouts(t *testing.T) {
	for seconds, want := range map[float64]structs.Duration{0: 0, 3.6e6: 3.6e15, 1 << 31: structs.MaxFailover, 9.2e9: structs.MaxFailover, 1e10: -1, -1: -1} {
		f, err := (&Scheduler{}).frameworkOf(&wire.FrameworkInfo{User: "u", Name: "n", FailoverTimeout: &seconds}, nil, nil)
		switch {
		case want < 0 && err == nil:
			t.Errorf("%v seconds are taken for %s", seconds, f.FailoverTimeout)
		case want >= 0 && (err != nil || f.FailoverTimeout != want):
			t.Errorf("%v seconds: %+v, %v", seconds, f, err)
		}
	}
}

func TestCallsAreCounted(t *testing.T) {
	s := &Scheduler{}
	for _, c := range []*wire.Call{{Type: new(wire.CallSubscribe)}, {Type: new(wire.CallSubscribe), FrameworkID: &wire.ID{Value: "f"}},
		{Type: new(wire.CallAccept), FrameworkID: &wire.ID{Value: "f"}}, {Type: new(wire.CallType(99))}, {Type: new(wire.CallType(-1))}} {
		s.Counts.Count(c)
	}
	if all, again := s.Counts.Calls(wire.CallSubscribe); all != 2 || again != 1 {
		t.Errorf("%d subscribed, %d of them again", all, again)
	}
	if all, again := s.Counts.Calls(wire.CallAccept); all != 1 || again != 0 {
		t.Errorf("%d accepts, %d", all, again)
	}
}

// What a task hit is told with its end, a reason of the region beside the words of its executor, and a command's executor is called like its task.
func TestWhatStatusesSay(t *testing.T) {
	n := &server.TaskNews{Task: "t", Alloc: "a", Limit: structs.Resources{Memory: 64 << 20}, TaskUpdate: structs.TaskUpdate{State: structs.TaskFailed, Reason: state.ReasonMemory}}
	s := statusFrom(&structs.Framework{}, n)
	if want := `{"resources":[{"name":"mem","type":"SCALAR","scalar":{"value":64.0}}]}`; s.Limitation == nil || string(wire.JSON.Marshal(s.Limitation)) != want {
		t.Errorf("limitation %s, want %s", wire.JSON.Marshal(s.Limitation), want)
	}
	if s.ExecutorID == nil || s.ExecutorID.Value != "t" || *s.Reason != wire.ReasonContainerLimitationMemory {
		t.Errorf("%s", wire.JSON.Marshal(&s))
	}
	n = &server.TaskNews{Task: "t", Alloc: "a", Executor: "x", TaskUpdate: structs.TaskUpdate{State: structs.TaskKilled, Reason: state.ReasonDraining,
		Status: wire.Protobuf.Marshal(&wire.TaskStatus{TaskID: wire.ID{Value: "t"}, State: wire.TaskKilled, Message: new("bye")})}}
	s = statusFrom(&structs.Framework{}, n)
	if s.Limitation != nil || s.ExecutorID.Value != "x" || s.Reason == nil || *s.Reason != wire.ReasonAgentDraining || *s.Message != "bye" || *s.Source != wire.SourceExecutor {
		t.Errorf("%s", wire.JSON.Marshal(&s))
	}
	if s = statusFrom(&structs.Framework{}, &server.TaskNews{Task: "t", Server: true, TaskUpdate: structs.TaskUpdate{State: structs.TaskUnknown}}); s.ExecutorID != nil {
		t.Errorf("what is not known has an executor: %s", wire.JSON.Marshal(&s))
	}
	n = &server.TaskNews{Task: "t", Alloc: "a", Executor: "x", TaskUpdate: structs.TaskUpdate{State: structs.TaskDropped, Reason: "EXECUTOR_TERMINATED"}}
	if s = statusFrom(&structs.Framework{}, n); s.State != wire.TaskLost || s.Message == nil || !strings.Contains(*s.Message, "executor ended") {
		t.Errorf("a task whose executor ended is told %s", wire.JSON.Marshal(&s))
	}
}
