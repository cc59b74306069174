package mesos

import (
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// A framework that is refused is told what of it is wrong.
func TestRefusedFrameworksHearOfWhat(t *testing.T) {
	for want, info := range map[string]*wire.FrameworkInfo{
		"name: it has none": {User: "u"},
		"user: it has control characters, or more than 1024 bytes": {User: "u\n", Name: "n"},
		`"../x" is not a valid role`:                               {User: "u", Name: "n", Role: new("../x")},
	} {
		if _, err := frameworkOf(info, nil, nil); err == nil || plain(err) != want {
			t.Errorf("%q, want %q", plain(err), want)
		}
	}
}

// Clients that mean "for ever" say more than is kept, up to what Mesos can say.
func TestLongFailoverTimeouts(t *testing.T) {
	for seconds, want := range map[float64]structs.Duration{0: 0, 3.6e6: 3.6e15, 1 << 31: structs.MaxFailover, 9.2e9: structs.MaxFailover, 1e10: -1, -1: -1} {
		f, err := frameworkOf(&wire.FrameworkInfo{User: "u", Name: "n", FailoverTimeout: &seconds}, nil, nil)
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
		s.count(c)
	}
	if all, again := s.Calls(wire.CallSubscribe); all != 2 || again != 1 {
		t.Errorf("%d subscribed, %d of them again", all, again)
	}
	if all, again := s.Calls(wire.CallAccept); all != 1 || again != 0 {
		t.Errorf("%d accepts, %d", all, again)
	}
}
