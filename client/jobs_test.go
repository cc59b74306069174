package client

import (
	"testing"

	"github.com/proffer/proffer/structs"
)

// A message has a version for each task of a framework, and there may be more of them than are remembered of a session.
func TestAMessageHasMoreJobsThanAreRemembered(t *testing.T) {
	j := newJobs()
	version := func(n int) *structs.JobVersion {
		return &structs.JobVersion{Job: &structs.Job{Name: "j"}, Version: uint64(n)}
	}
	var all []*structs.JobVersion
	for n := range 4 * maxSent {
		all = append(all, version(n))
	}
	j.add(all)
	for _, v := range all {
		if j.find(keyOf(v)) != v {
			t.Fatalf("version %d of the message is not there", v.Version)
		}
	}
	j.add([]*structs.JobVersion{version(-1)})
	left := 0
	for _, v := range all {
		if j.find(keyOf(v)) != nil {
			left++
		}
	}
	if left != maxSent-1 {
		t.Errorf("%d versions are remembered when the next message came, want %d", left, maxSent-1)
	}
}
