package mesos

import (
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
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
